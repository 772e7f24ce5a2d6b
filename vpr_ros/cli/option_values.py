"""What the values of options may be: numbers within a range, and files to write.

A number that cannot be is refused where it is read, in the same words, and not by a traceback of
what would have computed with it.
"""

import argparse
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from vpr_ros.core.atomic import require_writable, unwritable_as
from vpr_ros.core.describing.model import CARD_NAME
from vpr_ros.core.describing.precision import MOST_THREADS
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.mapping.layout import HEADER_NAME

_NEEDED_NAMES = (HEADER_NAME, 'metadata.yaml', CARD_NAME)
_NEEDED_SUFFIXES = ('.bag', '.db3', '.mcap', '.onnx')


def positive(text: str) -> float:
    """The type of an option that is a finite number above 0."""
    return _number(text, 'a number above 0', lambda value: 0 < value < math.inf)


def not_negative(text: str) -> float:
    """The type of an option that is a finite number from 0."""
    return _number(text, 'a number of at least 0', lambda value: 0 <= value < math.inf)


def count(text: str) -> int:
    """The type of an option that is a whole number from 0."""
    expected = 'a whole number of at least 0'
    return int(_number(text, expected, lambda value: value >= 0 and value % 1 == 0))


def threads(text: str) -> int:
    """The type of an option that is a number of threads; 0 stands for every core."""
    expected = f'a whole number from 0 to {MOST_THREADS}'
    return int(_number(text, expected, lambda n: 0 <= n <= MOST_THREADS and n % 1 == 0))


def between(low: float, high: float) -> Callable[[str], float]:
    """The type of an option that is a number from `low` to `high`."""

    def within(text: str) -> float:
        return _number(text, f'{low:g} to {high:g}', lambda value: low <= value <= high)

    return within


def _number(text: str, expected: str, accepts: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not accepts(value):
        raise argparse.ArgumentTypeError(f'{text}: expected {expected}')
    return value


def output_file(text: str) -> Path:
    """The type of an option that names a file to write: never one that a map or a bag needs.

    A slip of the keyboard would otherwise replace what a whole drive made. Raises ConfigError for
    a file that cannot be written, which is told before the work and not after it.
    """
    path = Path(text)
    above = path.absolute().parents  # of parts/0000/poses.npy in a map
    is_part = len(above) > 2 and above[1].name == 'parts' and (above[2] / HEADER_NAME).exists()
    is_needed = path.name in _NEEDED_NAMES or path.suffix in _NEEDED_SUFFIXES or is_part
    if is_needed and path.exists():
        raise argparse.ArgumentTypeError(
            f'{text}: a file of a map, a bag or a model, which is not replaced; give another name'
        )
    if path.exists() and not path.is_file():
        raise ConfigError(f'{text}: cannot be written (it exists and is not a regular file)')
    if not path.parent.exists():
        raise ConfigError(
            f'{text}: cannot be written, because there is no folder {path.parent}; create it first'
        )
    with unwritable_as(ConfigError, text):
        require_writable(path)
    return path


def require_different(outputs: Mapping[str, Path | None]) -> None:
    """Raise ConfigError where two options name one output, of which only the last would be left.

    outputs: paths by their options; None of an option that was not given.
    """
    held: dict[str, str] = {}
    for name, path in outputs.items():
        other = name if path is None else held.setdefault(os.path.realpath(path), name)
        if other != name:
            raise ConfigError(
                f'--{other} and --{name}: both write {path}, expected another name for each'
            )
