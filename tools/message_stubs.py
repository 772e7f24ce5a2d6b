"""Write types of ROS messages for mypy, because the messages themselves have none.

    python tools/message_stubs.py DIR

writes a stub of each message and service below DIR, which mypy finds by MYPYPATH. Fields and
constants are asked of the installed classes, so that the stubs are of the ROS that is used.
"""

import argparse
import importlib
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PACKAGES = (
    'action_msgs', 'builtin_interfaces', 'diagnostic_msgs', 'geometry_msgs', 'lifecycle_msgs',
    'nav_msgs', 'rcl_interfaces', 'rosgraph_msgs', 'sensor_msgs', 'service_msgs', 'std_msgs',
    'std_srvs', 'tf2_msgs', 'type_description_interfaces', 'unique_identifier_msgs',
    'visualization_msgs',
)  # fmt: skip
"""What both packages use, and what rclpy and these messages use in turn."""

_HEAD = """import array
from collections.abc import Sequence
from typing import Any, ClassVar
from numpy.typing import NDArray
"""
_FLOATS, _TEXTS = ('float', 'double'), ('string', 'wstring')
_ARRAY = re.compile(r'(?P<element>.+)\[(?P<count>\d+)\]$')
_SEQUENCE = re.compile(r'sequence<(?P<element>.+?)(, \d+)?>$')


def main() -> int:
    """The command; see --help."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path, metavar='DIR')
    write_stubs(parser.parse_args().folder)
    return 0


def write_stubs(folder: Path, packages: Iterable[str] = PACKAGES) -> None:
    """Write the stubs of the packages that are installed."""
    for package in packages:
        for kind in ('msg', 'srv'):
            try:
                module = importlib.import_module(f'{package}.{kind}')
            except ModuleNotFoundError:
                continue
            path = folder / package / kind / '__init__.pyi'
            path.parent.mkdir(parents=True, exist_ok=True)
            (folder / package / '__init__.pyi').touch()
            path.write_text(stub_of(module), encoding='utf-8')


def stub_of(module: Any) -> str:
    """The stub of a package's messages or of its services."""
    public = {
        name: kind
        for name, kind in sorted(vars(module).items())
        if isinstance(kind, type) and '_' not in name  # parts of services have one
    }
    lines = [line for name, kind in public.items() for line in _class(name, kind)]
    used = sorted(set(re.findall(r'\b(\w+)\.msg\.', '\n'.join(lines))))
    return '\n'.join([_HEAD, *(f'import {package}.msg' for package in used), *lines, ''])


def _class(name: str, kind: Any) -> Iterator[str]:
    """The lines of a message, or of a service with its request and its response."""
    if hasattr(kind, 'get_fields_and_field_types'):
        yield from _message(name, kind)
        return
    yield f'class {name}:'
    for part in ('Request', 'Response'):
        yield from (f'    {line}' for line in _message(part, getattr(kind, part)))


def _message(name: str, kind: Any) -> Iterator[str]:
    fields = kind.get_fields_and_field_types()
    yield f'class {name}:'
    constants = vars(type(kind)).get(f'_Metaclass_{kind.__name__}__constants', {})
    for constant, value in constants.items():
        yield f'    {constant}: ClassVar[{type(value).__name__}]'
    given = ', '.join(f'{field}: {taken(type_)} = ...' for field, type_ in fields.items())
    yield f'    def __init__(self{", *, " if given else ""}{given}) -> None: ...'
    for field, type_ in fields.items():
        yield '    @property'
        yield f'    def {field}(self) -> {held(type_)}: ...'
        yield f'    @{field}.setter'
        yield f'    def {field}(self, value: {taken(type_)}) -> None: ...'


def held(type_: str) -> str:
    """The Python type of a field's value, of a type as messages name it."""
    if found := _ARRAY.match(type_):
        element = found['element']
        return 'NDArray[Any]' if _is_number(element) else f'list[{held(element)}]'
    if found := _SEQUENCE.match(type_):
        element = found['element']
        of = 'float' if element in _FLOATS else 'int'
        return f'array.array[{of}]' if _is_number(element) else f'list[{held(element)}]'
    if '/' in type_:
        package, name = type_.split('/')
        return f'{package}.msg.{name}'
    if type_.startswith(_TEXTS):
        return 'str'
    return {'boolean': 'bool', 'octet': 'bytes'}.get(type_, 'float' if type_ in _FLOATS else 'int')


def taken(type_: str) -> str:
    """What may be given for a field; sequences and arrays take more than they hold."""
    if found := _ARRAY.match(type_) or _SEQUENCE.match(type_):
        element = found['element']
        if _is_number(element):
            of = 'float' if element in _FLOATS else 'int'
            return f'Sequence[{of}] | array.array[{of}] | NDArray[Any] | bytes'
        return f'Sequence[{held(element)}]'
    return held(type_)


def _is_number(type_: str) -> bool:
    return type_ in _FLOATS or re.fullmatch(r'u?int\d+', type_) is not None


if __name__ == '__main__':
    sys.exit(main())
