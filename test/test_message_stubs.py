"""The types of ROS messages that mypy is given are those that the messages have."""

import array
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2, from apt or from the wheels of `make setup`')
from conftest import ROOT

sys.path.insert(0, str(ROOT / 'tools'))
from message_stubs import held, stub_of, write_stubs

PLAIN = {'str': str, 'bool': bool, 'bytes': bytes, 'int': int, 'float': float}


def is_of(value: Any, type_: str) -> bool:
    """Whether a value of a message is what the stub says."""
    if type_.startswith('NDArray'):
        return isinstance(value, np.ndarray)
    if type_.startswith('array.array'):
        return isinstance(value, array.array)
    if type_.startswith('list'):
        return isinstance(value, list)
    if type_ in PLAIN:
        return type(value) is PLAIN[type_]
    return type(value).__name__ == type_.rpartition('.')[2]


@pytest.mark.parametrize('package', ['diagnostic_msgs', 'geometry_msgs', 'sensor_msgs'])
def test_each_field_of_a_new_message_holds_what_its_stub_says(package: str) -> None:
    messages = __import__(f'{package}.msg').msg
    kinds = [kind for kind in vars(messages).values() if isinstance(kind, type)]
    wrong = [
        f'{kind.__name__}.{field}: {type_}'
        for kind in kinds
        for field, type_ in kind.get_fields_and_field_types().items()
        if not is_of(getattr(kind(), field), held(type_))
    ]
    assert len(kinds) >= 3 and wrong == []


def test_a_stub_has_constants_fields_and_the_parts_of_a_service(tmp_path: Path) -> None:
    from diagnostic_msgs import msg

    assert '    WARN: ClassVar[bytes]' in stub_of(msg).splitlines()
    write_stubs(tmp_path, ['std_srvs', 'a_package_that_is_not_installed'])
    assert [path.name for path in tmp_path.iterdir()] == ['std_srvs']
    stub = (tmp_path / 'std_srvs' / 'srv' / '__init__.pyi').read_text()
    compile(stub, 'stub', 'exec')
    assert 'class Trigger:\n    class Request:' in stub and 'def success(self) -> bool' in stub
