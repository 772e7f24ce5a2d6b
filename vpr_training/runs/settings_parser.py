"""Settings from files and flags, by jsonargparse.

Files, command line and help are made from the dataclasses of `settings`; unknown keys and values
of another type are refused. `python -m vpr_training.train --print_config` prints them all.
"""

from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from jsonargparse import (
    ArgumentError,
    ArgumentParser,
    DefaultHelpFormatter,
    set_parsing_settings,
)

from vpr_training.basics.errors import TrainingError
from vpr_training.runs.settings import TrainConfig

set_parsing_settings(docstring_parse_attribute_docstrings=True)


class HelpFormatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Settings with their defaults, below a description whose lines stay as they are."""


def add_settings(parser: ArgumentParser) -> None:
    """Add --config and a flag for each setting to a command's arguments."""
    parser.add_argument(
        '--config', action='config', help='a file of settings, such as config/train/*.yaml'
    )
    parser.add_class_arguments(TrainConfig)


def parse(parser: ArgumentParser, argv: Sequence[str] | None) -> Any:
    """Arguments of the command line; TrainingError for what it cannot mean."""
    try:
        return parser.parse_args(argv)
    except ArgumentError as error:
        said = ' '.join(str(error).split())
        # Of a file that is not YAML, jsonargparse does not say which.
        words = [word for flag in argv or () for word in flag.split('=', 1)]
        files = [after for word, after in pairwise(words) if word == '--config']
        where = f'{", ".join(files)}: ' if said.startswith('Problems parsing config') else ''
        raise TrainingError(where + said) from error


def settings(parser: ArgumentParser, arguments: Any, *, source: str) -> TrainConfig:
    """The settings among parsed arguments, checked; raises TrainingError."""
    made = parser.instantiate(arguments)
    config = TrainConfig(
        **{entry.name: getattr(made, entry.name) for entry in fields(TrainConfig)}
    )
    config.check(source)
    return config


def read_settings(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Settings from a YAML file and flags that go before it; raises TrainingError."""
    parser = ArgumentParser(exit_on_error=False)
    add_settings(parser)
    return settings(parser, parse(parser, ['--config', str(path), *overrides]), source=str(path))
