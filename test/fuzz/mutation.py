"""Inputs that nobody would write: seeds with bits, numbers, words and pieces changed."""

import random
from collections.abc import Callable, Sequence

_NUMBERS = (0, 1, 7, 8, 16, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1)
_WORDS = (
    b'nan', b'inf', b'-inf', b'1e999', b'-1', b'0', b'1e308', b'-0.0', b'true', b'null', b'None',
    b'[]', b'{}', b'""', b'~', b': ', b'- ', b'\n', b'\0', b'\xff', b'\xef\xbb\xbf', b',', b';',
    b'@', b'@@', b'..', b'/', b'../..', b'!!python/object:x', b'&a', b'*a', b'!!binary x', b'<<: ',
    b'0x10', b'1_0', b'.', '½'.encode(), '٣'.encode(), b'99999999999999999999', b'"', b'|',
)  # fmt: skip
LARGEST = 1 << 18

Seeds = Sequence[bytes]


def mutated(rng: random.Random, seeds: Seeds, *, words: Sequence[bytes] = ()) -> bytes:
    """A seed after some changes, the fewer the likelier; at times a seed as it is."""
    content = bytearray(rng.choice(seeds))
    for _ in range(int(rng.expovariate(0.4))):
        rng.choice(_CHANGES)(rng, content, seeds)
    if words and rng.random() < 0.2:
        _put(rng, content, rng.choice(words))
    return bytes(content[:LARGEST])


def _place(rng: random.Random, content: bytearray) -> int:
    return rng.randrange(len(content) + 1)


def _flip(rng: random.Random, content: bytearray, seeds: Seeds) -> None:
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _set(rng: random.Random, content: bytearray, seeds: Seeds) -> None:
    if content:
        content[rng.randrange(len(content))] = rng.randrange(256)


def _number(rng: random.Random, content: bytearray, seeds: Seeds) -> None:
    size = rng.choice((1, 2, 4, 8))
    number = rng.choice(_NUMBERS) % (1 << 8 * size)
    start = _place(rng, content)
    content[start : start + size] = number.to_bytes(size, rng.choice(('little', 'big')))


def _cut(rng: random.Random, content: bytearray, seeds: Seeds) -> None:
    del content[_place(rng, content) :]


def _delete(rng: random.Random, content: bytearray, seeds: Seeds) -> None:
    start = _place(rng, content)
    del content[start : start + rng.choice((1, 2, 4, 16, 256))]


def _repeat(rng: random.Random, content: bytearray, seeds: Seeds) -> None:
    start = _place(rng, content)
    piece = content[start : start + rng.choice((1, 4, 16, 64))]
    content[start:start] = piece * rng.choice((1, 2, 16))


def _word(rng: random.Random, content: bytearray, seeds: Seeds) -> None:
    _put(rng, content, rng.choice(_WORDS))


def _splice(rng: random.Random, content: bytearray, seeds: Seeds) -> None:
    other = rng.choice(seeds)
    start = rng.randrange(len(other) + 1)
    piece = other[start : start + rng.choice((4, 32, 256, 4096))]
    _put(rng, content, piece)


def _line(rng: random.Random, content: bytearray, seeds: Seeds) -> None:
    """Move, double or drop a line; for tables and settings."""
    lines = content.split(b'\n')
    line = lines.pop(rng.randrange(len(lines)))
    for _ in range(rng.randrange(3)):
        lines.insert(rng.randrange(len(lines) + 1), line)
    content[:] = b'\n'.join(lines)


def _value(rng: random.Random, content: bytearray, seeds: Seeds) -> None:
    """Put a word in place of what stands between two marks."""
    marks = [place for place, byte in enumerate(content) if byte in b' ,:;\n[]{}"@']
    if len(marks) > 1:
        first = rng.randrange(len(marks) - 1)
        content[marks[first] + 1 : marks[first + 1]] = rng.choice(_WORDS)


def _put(rng: random.Random, content: bytearray, piece: bytes | bytearray) -> None:
    start = _place(rng, content)
    end = start + (len(piece) if rng.random() < 0.5 else 0)
    content[start:end] = piece


_CHANGES: Sequence[Callable[[random.Random, bytearray, Seeds], None]] = (
    _flip, _flip, _set, _number, _number, _cut, _delete, _repeat, _word, _splice, _line, _value,
    _value,
)  # fmt: skip


class Choices:
    """Fields that are taken from an input, so that an input is bytes whatever it stands for."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next bytes; zeros behind the end."""
        found = self._content[self._at : self._at + size]
        self._at += size
        return found.ljust(size, b'\0')

    def number(self, size: int = 1) -> int:
        """The next number of so many bytes."""
        return int.from_bytes(self.take(size), 'little')

    def one_of(self, values: Sequence[object]) -> object:
        """One of these."""
        return values[self.number() % len(values)]

    def rest(self) -> bytes:
        """What is left."""
        return self._content[self._at :]
