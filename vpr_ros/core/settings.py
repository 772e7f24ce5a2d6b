"""Settings as fields of a dataclass, each with its default, unit, legal range and one sentence.

ROS parameters, config/localize.yaml and the documentation are made from these fields; nothing
repeats them.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import Field, field, fields
from typing import Any, TypeAlias, TypeVar

from vpr_ros.core.errors import ConfigError
from vpr_ros.core.plurals import counted

Value: TypeAlias = bool | int | float | str | list[float]
Settings = TypeVar('Settings')


def knob(
    default: Any,
    sentence: str,
    *,
    unit: str = '',
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    at_configure: bool = False,
) -> Any:
    """Declare a field of a settings dataclass with all that is known about it.

    at_configure: the value is taken when the node is configured and cannot change until it is
    cleaned up.
    """
    described = {
        'sentence': sentence,
        'unit': unit,
        'low': low,
        'high': high,
        'choices': choices,
        'at_configure': at_configure,
    }
    if isinstance(default, tuple):
        return field(default_factory=lambda: list(default), metadata=described)
    return field(default=default, metadata=described)


def check(declared: Field[Any], value: Any) -> Any:
    """Return `value` if it is legal for the field.

    Raises ConfigError saying what came and what was expected.
    """
    default = default_of(declared)
    name, facts = declared.name, declared.metadata
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(default, list) and isinstance(value, Iterable) and not isinstance(value, str):
        try:
            value = [float(number) for number in value]
        except (TypeError, ValueError):
            raise ConfigError(f'{name}: {value!r}, expected a list of numbers') from None
    if not isinstance(value, type(default)) or isinstance(value, bool) != isinstance(
        default, bool
    ):
        raise ConfigError(
            f'{name}: {value!r} is {type(value).__name__}, expected {type(default).__name__}'
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f'{name}: {value}, expected a finite number')
    low, high = facts['low'], facts['high']
    if low is not None and not low <= value <= high:
        raise ConfigError(
            f'{name}: {value}, expected {low:g} to {high:g} {facts["unit"]}'.rstrip()
        )
    if facts['choices'] and value not in facts['choices']:
        raise ConfigError(f'{name}: {value!r}, expected one of {", ".join(facts["choices"])}')
    if isinstance(value, list) and len(value) % 7:
        raise ConfigError(
            f'{name}: {counted(len(value), "number")}, expected 7 (x y z qx qy qz qw) of each '
            'camera or none'
        )
    return value


def default_of(declared: Field[Any]) -> Any:
    """A field's default, made anew where it is a list."""
    return declared.default_factory() if callable(declared.default_factory) else declared.default


def checked(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """An instance of a settings dataclass from names and values.

    Raises ConfigError for an unknown name or an illegal value.
    """
    declared = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(values.keys() - declared.keys()):
        raise ConfigError(
            f'{", ".join(unknown)}: no such setting; the settings are {", ".join(declared)}'
        )
    return kind(**{name: check(declared[name], value) for name, value in values.items()})


def did_you_mean(name: str, known: Iterable[str], *, otherwise: str, prefix: str = '') -> str:
    """Advice on a name that is none of the known ones: the nearest, or else `otherwise`.

    prefix: of names where they are written, as the `--` of options.
    """
    known = list(known)
    word = name.lstrip('-')
    # A part of a name is meant more often than a name that has some letters in common.
    longer = [other for other in known if len(word) > 3 and word in other]
    nearest = longer if len(longer) == 1 else difflib.get_close_matches(name, known, n=1)
    return f'did you mean {prefix}{nearest[0]}?' if nearest else otherwise
