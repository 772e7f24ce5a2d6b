"""Find what an ONNX file would load besides itself, before anything runs it.

A model or a map may come from anywhere. Its graph may name further files, for weights or compiled
parts, and custom operators. No model here needs those, so such a graph is refused before
onnxruntime or TensorRT sees it. This module reads the few protobuf fields that name them, because
a robot lacks the package onnx. It skips the weights. The numbers of the fields are those of
onnx.proto.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from vpr_ros.core.errors import ModelError

Content: TypeAlias = memoryview

KNOWN_DOMAINS = frozenset({'', 'ai.onnx', 'ai.onnx.ml', 'com.microsoft'})
"""Of the operators that onnxruntime has itself."""

_FROM_FILES = ('EPContext',)  # operators that load a compiled part from a file
_MOST_DEPTH = 32  # of graphs in the attributes of each other's nodes
_VARINT, _EIGHT_BYTES, _MEASURED, _FOUR_BYTES = 0, 1, 2, 5  # protobuf's wire types
_GRAPHS = {  # kind of message -> field -> kind of what it holds
    'model': {7: 'graph', 20: 'training', 25: 'function'},
    'training': {1: 'graph', 2: 'graph'},
    'graph': {1: 'node', 5: 'tensor', 15: 'sparse'},
    'function': {7: 'node', 11: 'attribute'},
    'node': {5: 'attribute'},
    'attribute': {5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse'},
    'sparse': {1: 'tensor', 2: 'tensor'},
    'tensor': {},
}
_OP_TYPE, _NODE_DOMAIN, _FUNCTION_DOMAIN = 4, 7, 10
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor
_KEY, _VALUE = 1, 2


@dataclass(slots=True)
class Needs:
    """What a graph needs besides itself."""

    files: set[str] = field(default_factory=set)  # of its weights, as it names them
    domains: set[str] = field(default_factory=set)  # of its operators, without its own functions
    compiled: set[str] = field(default_factory=set)  # operators that load files


def require_self_contained(
    graph: bytes | memoryview, *, source: str, allowed_files: Collection[str] = ()
) -> None:
    """Raise ModelError, which begins with `source`, for a graph that loads or needs anything else.

    allowed_files: locations of weights that the caller has looked at.
    """
    found = needs(graph, source=source)
    if others := sorted(found.files - set(allowed_files)):
        raise ModelError(
            f'{source}: its weights are in the file {others[0]!r}, expected all of them in the '
            'graph itself; export it without external data'
        )
    if found.compiled:
        raise ModelError(
            f'{source}: its operator {min(found.compiled)} loads a compiled file, expected a '
            'plain graph'
        )
    if others := sorted(found.domains - KNOWN_DOMAINS):
        raise ModelError(
            f'{source}: its operators are of the domain {others[0]!r}, expected those of '
            'ONNX and onnxruntime; export it without custom operators'
        )


def needs(graph: bytes | memoryview, *, source: str) -> Needs:
    """Read what a graph needs; raises ModelError for what is no ONNX file."""
    found, own = Needs(), set[str]()
    try:
        with memoryview(graph) as content:
            _read(content, 'model', found, own, 0)
    except (IndexError, ValueError) as error:
        raise ModelError(f'{source}: not an ONNX file ({error})') from error
    found.domains -= own
    return found


def _read(content: Content, kind: str, found: Needs, own: set[str], depth: int) -> None:
    """Collect from one message; own: domains of the functions that the file brings itself."""
    if depth > 4 * _MOST_DEPTH:
        raise ValueError('its graphs are nested too deeply')
    inner = _GRAPHS[kind]
    texts: dict[int, str] = {}
    is_elsewhere = False
    for number, value in _fields(content):
        if isinstance(value, int):
            is_elsewhere |= number == _DATA_LOCATION and value != 0
        elif number == _EXTERNAL_DATA and kind == 'tensor':
            is_elsewhere = True
        elif number in inner:
            _read(value, inner[number], found, own, depth + 1)
        elif kind in ('node', 'function') and number in (_OP_TYPE, _NODE_DOMAIN, _FUNCTION_DOMAIN):
            texts[number] = bytes(value[:200]).decode()
    if kind == 'tensor' and is_elsewhere:
        found.files |= _locations(content)
    if kind == 'node':
        found.domains.add(texts.get(_NODE_DOMAIN, ''))
        if texts.get(_OP_TYPE) in _FROM_FILES:
            found.compiled.add(texts[_OP_TYPE])
    if kind == 'function':
        own.add(texts.get(_FUNCTION_DOMAIN, ''))


def _locations(tensor: Content) -> set[str]:
    """The files that a tensor names for its numbers; one without a name where it names none."""
    found = set()
    for number, value in _fields(tensor):
        if number == _EXTERNAL_DATA and not isinstance(value, int):
            entry = {at: text for at, text in _fields(value) if not isinstance(text, int)}
            if bytes(entry.get(_KEY, b'')) == b'location':
                found.add(bytes(entry.get(_VALUE, b'')).decode())
    return found or {''}


def _fields(content: Content) -> Iterator[tuple[int, int | Content]]:
    """Numbers and values of a message's fields; other than whole numbers they come as bytes."""
    place, end = 0, len(content)
    while place < end:
        tag, place = _varint(content, place)
        wire = tag & 7
        if wire == _VARINT:
            value, place = _varint(content, place)
            yield tag >> 3, value
            continue
        if wire == _MEASURED:
            length, place = _varint(content, place)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if wire == _EIGHT_BYTES else 4
        else:
            raise ValueError(f'wire type {wire}')
        if place + length > end:
            raise ValueError(f'a field of {length} bytes ends beyond the end of the file')
        yield tag >> 3, content[place : place + length]
        place += length


def _varint(content: Content, place: int) -> tuple[int, int]:
    """A whole number of up to ten bytes, and where the next field begins."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError('a number takes more than ten bytes')
