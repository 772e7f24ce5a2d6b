"""Imports point one way, and what needs no ROS or torch cannot reach them through others.

A room is a folder. The table below is the order of the rooms: a module imports from its own room
and from rooms further down, never upwards.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROS = {
    'rclpy', 'sensor_msgs', 'geometry_msgs', 'nav_msgs', 'std_msgs', 'std_srvs',
    'visualization_msgs', 'diagnostic_msgs', 'lifecycle_msgs', 'rcl_interfaces',
    'builtin_interfaces', 'rosgraph_msgs', 'vpr_msgs', 'tf2_ros', 'tf2_msgs', 'launch',
    'launch_ros', 'bond',
}  # fmt: skip
TORCH = {'torch', 'torchvision', 'lightning', 'pytorch_metric_learning'}

FLOORS = (
    {'vpr_ros'},  # the commands
    {'vpr_ros.map_care'},
    {'vpr_ros.fleet'},
    {'vpr_ros.evaluating'},
    {'vpr_ros.node'},
    {'vpr_ros.rerun_log'},
    {'vpr_ros.session'},
    {'vpr_ros.cli'},
    {'vpr_ros.drives'},
    {'vpr_ros.batch'},
    {'vpr_ros.report'},
    {'vpr_ros.core.localizing'},
    {'vpr_ros.core.mapping'},
    {'vpr_ros.core.landmarks'},
    {'vpr_ros.core.matching'},
    {'vpr_ros.core.describing'},
    {'vpr_ros.core'},  # the ground
)
"""Rooms from the top down. Rooms of one floor do not import each other."""

WITHOUT_ROS = (
    'vpr_ros.core',
    'vpr_ros.batch',
    'vpr_ros.drives',
    'vpr_ros.report',
    'vpr_ros.session',
)
"""Rooms that the trainer imports, or that are tested without ROS."""

COMMANDS = {
    'localize', 'build_map', 'evaluate_bag', 'calibrate', 'replay_bag', 'images_to_bag', 'map',
    'build_engine',
}  # fmt: skip


def name_of(path: Path) -> str:
    """The module that a file is."""
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


@cache
def modules(package: str) -> dict[str, Path]:
    return {name_of(path): path for path in sorted((ROOT / package).rglob('*.py'))}


@cache
def imported(path: Path) -> frozenset[str]:
    """Full names that a file imports, wherever in the file; `from a import b` is both."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f'{path}: relative import'
            names.add(node.module)
            names |= {f'{node.module}.{alias.name}' for alias in node.names}
    return frozenset(names)


def room_of(module: str) -> str:
    """The innermost folder of a module that is a room."""
    rooms = {room for floor in FLOORS for room in floor}
    while module not in rooms:
        module = module.rpartition('.')[0]
    return module


def floor_of(room: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if room in floor)


def reached(start: str, package: str = 'vpr_ros') -> dict[str, str]:
    """Every name that a module imports, directly or through modules of the package.

    With the module that imports it.
    """
    known, found, waiting = modules(package), {}, [start]
    seen = {start}
    while waiting:
        module = waiting.pop()
        for name in imported(known[module]):
            found.setdefault(name, module)
            inner = name if name in known else None
            if inner and inner not in seen:
                seen.add(inner)
                waiting.append(inner)
    return found


def test_the_top_level_holds_the_commands_and_nothing_else() -> None:
    held = {path.stem for path in (ROOT / 'vpr_ros').glob('*.py')} - {'__init__'}
    assert held == COMMANDS
    folders = {path.parent for path in (ROOT / 'vpr_ros').rglob('*.py')}
    rooms = {room.replace('.', '/') for floor in FLOORS for room in floor}
    assert {folder.relative_to(ROOT).as_posix() for folder in folders} == rooms


def test_imports_point_down_from_room_to_room() -> None:
    wrong = []
    for module, path in modules('vpr_ros').items():
        here = room_of(module)
        for name in sorted(imported(path) & modules('vpr_ros').keys()):
            there = room_of(name)
            if there == here:
                continue
            if floor_of(there) <= floor_of(here):
                wrong.append(f'{module} imports {name}')
    assert not wrong


@pytest.mark.parametrize('room', WITHOUT_ROS)
def test_no_ros_is_reached_from_here_not_even_through_others(room: str) -> None:
    wrong = [
        f'{module} reaches {name} through {through}'
        for module in modules('vpr_ros')
        if module == room or module.startswith(f'{room}.')
        for name, through in reached(module).items()
        if name.split('.')[0] in ROS
    ]
    assert not wrong


def test_no_torch_is_reached_from_the_robots_package() -> None:
    for module in modules('vpr_ros'):
        for name, through in reached(module).items():
            assert name.split('.')[0] not in TORCH | {'vpr_training'}, (module, name, through)


def test_the_fleets_engine_is_never_on_the_frames_path() -> None:
    known = modules('vpr_ros')
    rooms = ('vpr_ros.core', 'vpr_ros.session', 'vpr_ros.node')
    frames = [module for module in known if module.startswith(rooms)]
    for module in [*frames, 'vpr_ros.localize']:
        for name, through in reached(module).items():
            is_engine = name.split('.')[0] in {'lancedb', 'pyarrow'}
            assert not is_engine and not name.startswith('vpr_ros.fleet'), (module, name, through)


def test_the_core_knows_no_recordings() -> None:
    for module in modules('vpr_ros'):
        if module.startswith('vpr_ros.core'):
            assert not any(name.startswith('rosbags') for name in reached(module)), module


def test_the_trainer_reaches_no_ros() -> None:
    known = modules('vpr_training') | modules('vpr_ros')
    for module, path in modules('vpr_training').items():
        for name in imported(path):
            assert name.split('.')[0] not in ROS, (module, name)
            if name in known and name.startswith('vpr_ros'):
                ros = {inner for inner in reached(name) if inner.split('.')[0] in ROS}
                assert not ros, f'{module} imports {name}, which reaches {sorted(ros)}'


def test_only_one_module_loads_numpy_files_and_never_by_pickle() -> None:
    for package in ('vpr_ros', 'vpr_training'):
        for path in (ROOT / package).rglob('*.py'):
            text = path.read_text(encoding='utf-8')
            assert 'import pickle' not in text and 'allow_pickle=True' not in text, path
            assert 'weights_only=False' not in text, path
            handled = text.count('np.load(') + text.count('write_array(')
            assert handled == text.count('allow_pickle=False'), path
