"""Print config/train/all_settings.yaml: every training setting with its default and meaning.

python -m vpr_training.config > config/train/all_settings.yaml
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from docstring_parser import parse_from_object

from vpr_ros.cli.command import Parser, command
from vpr_training.runs.settings import TrainConfig


def all_settings() -> str:
    """The text of config/train/all_settings.yaml: every key with its default and meaning."""
    lines = [
        '# Every setting of `python -m vpr_training.train`, with its default and meaning. Made by',
        '# `python -m vpr_training.config`; a file of settings needs only what differs.',
        *_documented(TrainConfig(), indent=''),
    ]
    return '\n'.join(lines) + '\n'


def _documented(section: Any, *, indent: str) -> list[str]:
    documents = documents_of(type(section))
    lines = []
    for entry in fields(section):
        value = getattr(section, entry.name)
        lines.append(f'{indent}# {documents[entry.name]}')
        if is_dataclass(value):
            lines += [f'{indent}{entry.name}:', *_documented(value, indent=f'{indent}  ')]
        else:
            held = list(value) if isinstance(value, tuple) else value
            lines.append(f'{indent}{entry.name}: {json.dumps(held)}')
    return lines


def documents_of(section: type) -> dict[str, str]:
    """What each setting of a section means."""
    return {
        one.args[1]: ' '.join((one.description or '').split())
        for one in parse_from_object(section).meta
        if one.args[0] == 'attribute'
    }


def make_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    return Parser(
        prog='python -m vpr_training.config',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    make_parser().parse_args(argv)
    print(all_settings(), end='')
    return 0


if __name__ == '__main__':
    sys.exit(main())
