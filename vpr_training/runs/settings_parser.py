"""Settings from files and flags, by jsonargparse.

Files, command line and help are made from the dataclasses of `settings`; unknown keys and values
of another type are refused. `python -m vpr_training.train --print_config` prints them all.
"""

import re
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from jsonargparse import (
    ArgumentError,
    ArgumentParser,
    DefaultHelpFormatter,
    set_parsing_settings,
)

from vpr_ros.core.documents import parse_yaml, read_bytes
from vpr_ros.core.errors import DocumentError
from vpr_ros.core.settings import did_you_mean
from vpr_training.basics.errors import TrainingError
from vpr_training.runs.settings import TrainConfig

set_parsing_settings(docstring_parse_attribute_docstrings=True)


_SEE = 'see --help'
_UNKNOWN = re.compile(r'unrecognized arguments: -*([^\s=]+)', re.IGNORECASE)
_OF_TYPE = re.compile(r'Parser key "(\S+)": Expected an? <class \'(\w+)\'>\. Got value: (.*)')
_ONE_OF = re.compile(r'Parser key "(\S+)": Expected a typing\.Literal\[(.*)\]\. Got value: (.*)')
_KINDS = {
    'tuple': 'a list such as [a, b]',
    'dict': 'options such as {a: 1, b: 2}',
    'bool': 'true or false',
    'float': 'a finite number such as 0.001',
    'int': 'a whole number such as 10',
}
_GROUPS = {
    entry.name for entry in fields(TrainConfig) if is_dataclass(getattr(TrainConfig(), entry.name))
}


class HelpFormatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Settings with their defaults, below a description whose lines stay as they are."""

    def format_help(self) -> str:
        """The help without the backspace that jsonargparse puts before `[=flags]`."""
        return super().format_help().replace(' \b', '')


def settings_parser(**words: Any) -> ArgumentParser:
    """A parser with --config and a flag for each setting; words: as argparse takes them."""
    parser = ArgumentParser(formatter_class=HelpFormatter, exit_on_error=False, **words)
    parser.add_argument(
        '--config', action='config', help='a file of settings, such as config/train/*.yaml'
    )
    parser.add_class_arguments(TrainConfig)
    return parser


def parse(parser: ArgumentParser, argv: Sequence[str] | None) -> Any:
    """Arguments of the command line; TrainingError for what it cannot mean."""
    words: list[str] = []
    for one in argv or sys.argv[1:]:  # a flag and its value may be one word, a path may have a =
        words += one.split('=', 1) if one.startswith('--') else [one]
    for word, after in pairwise(words):
        if word == '--config':
            _require_settings(Path(after), _names(parser))
    try:
        return parser.parse_args(argv)
    except ArgumentError as error:
        raise TrainingError(_told(' '.join(str(error).split()), _names(parser))) from error


def _names(parser: ArgumentParser) -> list[str]:
    """Names of all settings and flags, such as optimizer.lr."""
    return [action.dest for action in parser._actions]


def _told(said: str, known: Sequence[str]) -> str:
    """What jsonargparse said, in the words of this project."""
    if unknown := _UNKNOWN.match(said):
        return f'{said}; {did_you_mean(unknown[1], known, otherwise=_SEE, prefix="--")}'
    if found := _OF_TYPE.fullmatch(said):
        return f'{found[1]} is {found[3]}, expected {_KINDS.get(found[2], found[2])}'
    if found := _ONE_OF.fullmatch(said):
        choices = found[2].replace("'", '')
        return f'{found[1]} is {found[3]}, expected one of {choices}'
    return said


def _require_settings(path: Path, known: Sequence[str]) -> None:
    """Raise TrainingError for a file of settings that jsonargparse cannot read, or never ends to.

    known: names of settings. jsonargparse names no file, ends with a traceback where it is not
    UTF-8, and takes the last of two keys of one name.
    """
    try:
        held = parse_yaml(read_bytes(path))
    except OSError as error:
        raise TrainingError(f'{path}: {error.strerror or error}') from error
    except DocumentError as error:
        raise TrainingError(f'{path}: {error}') from error
    if not isinstance(held, dict):
        raise TrainingError(f'{path}: holds no settings, expected some as in config/train/*.yaml')
    if empty := [key for key, value in held.items() if value is None and key in _GROUPS]:
        raise TrainingError(
            f'{path}: {empty[0]} has no settings below it; give some, or remove the line'
        )
    for key, value in held.items():
        below = value if key in _GROUPS and isinstance(value, dict) else {}
        for name in (str(key), *(f'{key}.{inner}' for inner in below)):
            if name not in known:
                advice = did_you_mean(name, known, otherwise=_SEE)
                raise TrainingError(f'{path}: no setting {name}; {advice}')


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
    parser = settings_parser()
    return settings(parser, parse(parser, ['--config', str(path), *overrides]), source=str(path))
