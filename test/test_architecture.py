"""Imports point inward.

The core knows nothing of ROS or torch, the trainer knows only the core and recorded drives.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROS = {
    'rclpy', 'sensor_msgs', 'geometry_msgs', 'nav_msgs', 'std_msgs', 'std_srvs',
    'visualization_msgs', 'diagnostic_msgs', 'lifecycle_msgs', 'rcl_interfaces',
    'builtin_interfaces', 'rosgraph_msgs', 'vpr_msgs', 'tf2_ros', 'tf2_msgs', 'launch',
    'launch_ros',
}  # fmt: skip
TORCH = {'torch', 'torchvision', 'lightning', 'pytorch_metric_learning'}

FORBIDDEN = {
    'vpr_ros/core': ROS | TORCH | {'rosbags', 'vpr_training', 'vpr_ros outside vpr_ros.core'},
    'vpr_ros/core/mapping': {'vpr_ros.core.localizing'},
    'vpr_ros/drives': ROS | TORCH | {'vpr_training', 'vpr_ros.report', 'vpr_ros.localize'},
    'vpr_ros/report': ROS | TORCH | {'vpr_training'},
    'vpr_ros': TORCH | {'vpr_training'},
    'vpr_training': ROS
    | {'vpr_ros.node.conversions', 'vpr_ros.localize', 'vpr_ros.evaluating.live'},
}


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            names.add(node.module or '')
    return names


def breaks(name: str, rule: str) -> bool:
    """Whether importing `name` breaks a rule."""
    if rule == 'vpr_ros outside vpr_ros.core':
        return name.split('.')[0] == 'vpr_ros' and name.split('.')[:2] != ['vpr_ros', 'core']
    return name == rule or name.startswith(f'{rule}.')


@pytest.mark.parametrize('folder', FORBIDDEN)
def test_imports_point_inward(folder: str) -> None:
    wrong = [
        f'{path.relative_to(ROOT)} imports {name}'
        for path in sorted((ROOT / folder).rglob('*.py'))
        for name in sorted(imported(path))
        if any(breaks(name, rule) for rule in FORBIDDEN[folder])
    ]
    assert not wrong


def test_only_one_module_loads_numpy_files_and_never_by_pickle() -> None:
    for package in ('vpr_ros', 'vpr_training'):
        for path in (ROOT / package).rglob('*.py'):
            text = path.read_text(encoding='utf-8')
            assert 'import pickle' not in text and 'allow_pickle=True' not in text, path
            assert 'weights_only=False' not in text, path
            assert text.count('np.load(') == text.count('allow_pickle=False'), path
