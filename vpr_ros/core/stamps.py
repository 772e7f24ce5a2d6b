"""Stamps as text: in seconds with all their digits, and in whatever unit other programs write."""

from decimal import Decimal, InvalidOperation

_UNITS = (
    (10**17, 1, 'nanoseconds'),
    (10**14, 10**3, 'microseconds'),
    (10**11, 10**6, 'milliseconds'),
    (0, 10**9, 'seconds'),
)
"""The least number that has a unit today, its nanoseconds, and its name."""
_MOST_NS = Decimal(2**63)
_WALL_S = 631_152_000, 4_102_444_800  # from 1990 to 2100


def exact_seconds(stamp_ns: int) -> str:
    """A stamp in seconds with all its nanoseconds; those before 1970 are negative."""
    seconds, nanoseconds = divmod(abs(stamp_ns), 10**9)
    return f'{"-" if stamp_ns < 0 else ""}{seconds}.{nanoseconds:09d}'


def parsed_stamp(text: str) -> tuple[int, str]:
    """Nanoseconds of a number, and the unit that a number of its size has today.

    Raises ValueError for what is no finite number, or too large for 64 bits.
    """
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f'{text!r} is not a number') from error
    if not number.is_finite():
        raise ValueError(f'{text!r} is not finite')
    size = number.copy_abs()  # abs() computes, and the result for a huge number is no Decimal
    factor, unit = next((ns, name) for least, ns, name in _UNITS if size >= least)
    if size >= _MOST_NS / factor:
        raise ValueError(f'{text!r} is too large for a stamp')
    return int((number * factor).to_integral_value()), unit


def wall_time_ns(text: str) -> int | None:
    """Nanoseconds since 1970 of a number that tells a wall time in any unit; None for others.

    A date such as 20260131120000 is no such number.
    """
    try:
        stamp_ns, unit = parsed_stamp(text)
    except ValueError:
        return None
    is_number = text.replace('.', '', 1).isdecimal() and text[0] != '0'
    is_number &= unit != 'seconds' or '.' in text  # a short one may count anything
    within = _WALL_S[0] <= stamp_ns / 1e9 <= _WALL_S[1]
    return stamp_ns if is_number and within else None
