"""Names of files as text.

To Linux a name is bytes. Names that are not UTF-8 (old disks, archives made elsewhere) reach
Python as text with surrogates. That text opens the file, but cannot be written anywhere. So what
is written of a name is `as_text(name)`.
"""

import re
from typing import Any

_SURROGATE = re.compile('[\ud800-\udfff]')
_NOT_IN_A_LINE = re.compile('[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF  # as which Python reads the bytes that are not UTF-8


def as_text(name: str) -> str:
    r"""A name with each byte that is not UTF-8 written as `\xdf`; other names stay as they are."""
    return _SURROGATE.sub(_escaped, name)


def one_line(name: str) -> str:
    r"""A name as text on one line: what ends a line or is a control character becomes `\x0a`."""
    return _NOT_IN_A_LINE.sub(_escaped, name)


def printable(text: str, *, kept: str = '') -> str:
    r"""Text of others for a terminal: what is no visible character becomes `\x1b`.

    A terminal obeys such characters: they can hide lines, or write into the clipboard. kept: those
    that stay as they are.
    """
    if text.isprintable():
        return text
    return ''.join(
        one if one.isprintable() or one in kept else _code(ord(one)) for one in as_text(text)
    )


def cleaned(values: Any) -> Any:
    """Mappings, lists and tuples with all text in them by `as_text`."""
    if isinstance(values, str):
        return as_text(values)
    if isinstance(values, dict):
        return {cleaned(key): cleaned(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return type(values)(cleaned(value) for value in values)
    return values


def _code(number: int) -> str:
    return f'\\x{number:02x}' if number < 256 else f'\\u{number:04x}'


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    is_byte = _FIRST_BYTE <= code <= _LAST_BYTE
    return _code(code - 0xDC00 if is_byte else code)
