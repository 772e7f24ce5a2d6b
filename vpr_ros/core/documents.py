"""YAML and JSON that may come from anywhere: bounded before they are parsed.

A file of some kB can hold a structure that takes all memory or all of the stack: aliases of
aliases, ten thousand brackets, a number of a million digits. So size and depth are limited, with
aliases counted as what they stand for. Only regular files are read: a device never ends.
"""

import json
import mmap
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import yaml

from vpr_ros.core.errors import DocumentError

MOST_BYTES = 1 << 20
"""Largest size of a document, unless the reader of a YAML one gives another."""

MOST_DEPTH = 32
"""Deepest nesting of mappings and lists."""

_MOST_VALUES = 2_000_000
_MOST_DIGITS = 250  # of a number, so that a float holds it, also where its digits are hexadecimal
_JSON_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)


def open_regular(path: Path, *, follow_links: bool = False) -> BinaryIO:
    """Open a file for reading.

    Raises OSError where that fails, and DocumentError where it is a link, a device or a pipe.
    """
    mode = (path.stat() if follow_links else path.lstat()).st_mode
    if stat.S_ISLNK(mode):
        raise DocumentError('it is a symbolic link, expected a file')
    if not stat.S_ISREG(mode):
        raise DocumentError('it is not a regular file')
    flags = os.O_RDONLY | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW)
    return os.fdopen(os.open(path, flags), 'rb')


def mapped(file: BinaryIO) -> mmap.mmap | bytes:
    """An open file's bytes, of which only those are read that are used.

    They stay when the file is closed, and when another one takes its name.
    """
    is_empty = file.seek(0, os.SEEK_END) == 0  # which cannot be mapped
    return b'' if is_empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def read_bytes(path: Path, *, follow_links: bool = True) -> bytes:
    """A regular file of at most MOST_BYTES; raises OSError and DocumentError."""
    with open_regular(path, follow_links=follow_links) as file:
        content = file.read(MOST_BYTES + 1)
    _require_size(content, MOST_BYTES)
    return content


def lines_of(file: TextIO) -> Iterator[str]:
    """The lines of a table; raises DocumentError for one without an end.

    A file with holes takes no room on a disk, and its one line all memory.
    """
    while line := file.readline(MOST_BYTES):
        if len(line) == MOST_BYTES:
            raise DocumentError(f'it has a line of more than {MOST_BYTES} characters')
        yield line


def parse_yaml(content: bytes | str, *, most_bytes: int = MOST_BYTES) -> Any:
    """What a YAML document holds; raises DocumentError, which does not name the file."""
    text = _text(content, most_bytes)
    try:
        return yaml.load(text, Loader=_BoundedLoader)
    except DocumentError:
        raise
    except yaml.YAMLError as error:
        raise DocumentError(f'not valid YAML ({" ".join(str(error).split())})') from error
    except Exception as error:  # what the constructors of dates and numbers raise
        raise DocumentError(f'not valid YAML ({type(error).__name__}: {error})') from error


def parse_json(content: bytes | str) -> Any:
    """What a JSON document holds; raises DocumentError, which does not name the file."""
    text = _text(content, MOST_BYTES)
    depth = 0
    for token in _JSON_TOKEN.finditer(text):
        depth += {'[': 1, '{': 1, ']': -1, '}': -1}.get(token[0], 0)
        _require_depth(depth)
    try:
        return json.loads(text, parse_int=_whole)
    except ValueError as error:
        raise DocumentError(f'not valid JSON ({error})') from error


class _BoundedLoader(yaml.SafeLoader):
    """Reads plain values of a bounded depth."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth, self._values = 0, 0
        self._sizes: dict[int, tuple[int, int]] = {}  # of each node, its values and its height

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Count the values, and refuse too many and too deep ones."""
        is_alias, before = self.check_event(yaml.AliasEvent), self._values
        self._depth += 1
        _require_depth(self._depth)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias:
            if id(node) not in self._sizes:
                raise DocumentError('an alias in it refers to a value that contains the alias')
            values, height = self._sizes[id(node)]
            self._values += values
            _require_depth(self._depth + height)
        else:
            self._values += 1
            _require_distinct_keys(node)
            heights = [self._sizes[id(child)][1] for child in _children(node)]
            height = 1 + max(heights, default=0)
            self._sizes[id(node)] = self._values - before, height
        if self._values > _MOST_VALUES:
            raise DocumentError(f'it has more than {_MOST_VALUES} values')
        return node

    def construct_number(self, node: Any) -> int | float:
        """An integer or a float of a usual length."""
        _require_digits(node.value)
        if node.tag.endswith(':int'):
            return int(self.construct_yaml_int(node))
        return float(self.construct_yaml_float(node))


for _kind in ('int', 'float'):
    _BoundedLoader.add_constructor(f'tag:yaml.org,2002:{_kind}', _BoundedLoader.construct_number)


def _children(node: Any) -> list[Any]:
    """The items of a list, the keys and values of a mapping."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _require_distinct_keys(node: Any) -> None:
    """Raise DocumentError for a mapping with a key twice: the earlier one would be lost."""
    lines: dict[str, int] = {}
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(':merge'):
            continue
        line = key.start_mark.line + 1
        if key.value in lines:
            first = lines[key.value]
            where = f'line {line}' if first == line else f'lines {first} and {line}'
            raise DocumentError(f'{key.value} is there twice, in {where}')
        lines[key.value] = line


def _whole(digits: str) -> int:
    _require_digits(digits)
    return int(digits)


def _require_digits(number: str) -> None:
    if len(number) > _MOST_DIGITS:
        raise DocumentError(
            f'it has a number of {len(number)} digits, expected at most {_MOST_DIGITS}'
        )


def _text(content: bytes | str, most_bytes: int) -> str:
    if isinstance(content, str):
        content = content.encode('utf-8', 'surrogatepass')
    _require_size(content, most_bytes)
    try:
        return content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise DocumentError(f'it is not UTF-8 text ({error})') from error


def _require_size(content: bytes, most_bytes: int) -> None:
    if len(content) > most_bytes:
        raise DocumentError(f'it is larger than {most_bytes / 1e6:.1f} MB, expected less')


def _require_depth(depth: int) -> None:
    if depth > MOST_DEPTH:
        raise DocumentError(f'its lists and mappings are nested more than {MOST_DEPTH} deep')
