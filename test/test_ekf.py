"""With robot_localization: what its filters are told, and that one node alone owns each transform.

The filter itself is in no package index and was not run. Its parameters' names are those of its
source (names_of_others.py).
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip('ament_index_python', reason='needs ROS 2, or the wheels of `make setup`')
import launch_stand_in
from launch_stand_in import Node, arguments_of, launched
from names_of_others import EKF, EKF_INPUTS, LIFECYCLE_MANAGER, MAP_SERVER, STATES
from test_launch_files import install

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / 'launch' / 'localize_ekf.launch.py'
NAV2 = ROOT / 'launch' / 'localize_nav2.launch.py'
CONFIG = ROOT / 'config' / 'robot_localization.yaml'
X, Y, YAW = 0, 1, 5


@pytest.fixture(autouse=True)
def _launch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The stand-in for launch, and an installation that has the others' programs."""
    launch_stand_in.put_in_place(monkeypatch)
    prefix = tmp_path / 'prefix'
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(prefix))
    for package, program in (
        ('robot_localization', 'ekf_node'),
        ('nav2_lifecycle_manager', 'lifecycle_manager'),
        ('nav2_map_server', 'map_server'),
    ):
        install(prefix, package, program)


def sections() -> dict[str, dict[str, Any]]:
    content = yaml.safe_load(CONFIG.read_text())
    return {name: section['ros__parameters'] for name, section in content.items()}


def is_known(name: str) -> bool:
    """Whether ekf_node declares a parameter."""
    numbered = re.fullmatch(r'([a-z]+?)(\d+)(.*)', name)
    if numbered is None or numbered[1] not in EKF_INPUTS:
        return name in EKF | {'use_sim_time'}
    return numbered[3] in EKF_INPUTS[numbered[1]]


def parameters_of(node: Node) -> dict[str, Any]:
    """What a filter gets: its section of the file, and what the launch file sets over it."""
    content = yaml.safe_load(Path(node.files[0]).read_text())
    return {**content[node.name]['ros__parameters'], **node.parameters}


@pytest.mark.parametrize('filter_name', ['ekf_map', 'ekf_odom'])
def test_robot_localization_has_every_parameter_of_the_file(filter_name: str) -> None:
    names = sections()[filter_name]
    assert [name for name in names if not is_known(name)] == []


def test_robot_localization_has_every_parameter_that_the_launch_file_sets() -> None:
    _, *filters = launched(FILE, odom_filter='true', odom_topic='/wheels', imu_topic='/gyro')
    assert [node.name for node in filters] == ['ekf_map', 'ekf_odom']
    for node in filters:
        assert [name for name in node.parameters if not is_known(name)] == []
        assert node.parameters['odom0'] == '/wheels' and node.parameters['imu0'] == '/gyro'


def test_nav2_has_every_parameter_that_it_is_given(tmp_path: Path) -> None:
    (tmp_path / 'plan.yaml').write_text('image: plan.pgm\n')
    given = {'occupancy_map': tmp_path / 'plan.yaml', 'bond_timeout': '2.0'}
    _, server, manager = launched(NAV2, **given)
    from_file = yaml.safe_load(Path(manager.files[0]).read_text())['/**']['ros__parameters']
    own = {'use_sim_time'}
    assert set(from_file) | set(manager.parameters) <= LIFECYCLE_MANAGER | own
    assert set(server.parameters) <= MAP_SERVER | own


@pytest.mark.parametrize('filter_name', ['ekf_map', 'ekf_odom'])
def test_vectors_have_as_many_numbers_as_the_filter_has_states(filter_name: str) -> None:
    for name, value in sections()[filter_name].items():
        if name.endswith('_config'):
            assert len(value) == STATES and all(isinstance(each, bool) for each in value), name
        elif name.endswith('covariance'):
            # rcl takes a list as one of floats only if all of them are.
            assert len(value) == STATES**2 and all(isinstance(each, float) for each in value)


def test_fixes_are_absolute_and_wheels_give_speeds_alone() -> None:
    fused = sections()['ekf_map']
    assert [row for row, used in enumerate(fused['pose0_config']) if used] == [X, Y, YAW]
    assert fused['pose0_differential'] is fused['pose0_relative'] is False
    for source in ('odom0', 'imu0'):
        assert not any(fused[f'{source}_config'][:6]), source
    assert 'pose0' not in sections()['ekf_odom']  # odom must not jump


def test_the_first_fix_passes_the_threshold_and_a_far_one_later_does_not() -> None:
    fused = sections()['ekf_map']
    start = np.array(fused['initial_estimate_covariance']).reshape(STATES, STATES)
    assert np.allclose(start, start.T) and (np.linalg.eigvalsh(start) > 0).all()
    rows = [X, Y, YAW]
    fix = np.diag([0.3, 0.3, 0.02]) ** 2  # what a fix of the demo has

    def is_taken(innovation: list[float], covariance: np.ndarray) -> bool:
        """As `FilterBase::checkMahalanobisThreshold` has it."""
        square = innovation @ np.linalg.solve(covariance + fix, innovation)
        return bool(square < fused['pose0_rejection_threshold'] ** 2)

    assert is_taken([400.0, -300.0, 3.0], start[np.ix_(rows, rows)])
    unset = 1e-9 * np.eye(3)  # the filter's default
    assert not is_taken([400.0, -300.0, 3.0], unset)
    tracking = np.diag([0.2, 0.2, 0.02]) ** 2
    assert is_taken([0.8, 0.0, 0.02], tracking) and not is_taken([5.0, 0.0, 0.0], tracking)


def test_the_filter_alone_gives_map_to_odom() -> None:
    node, fused = launched(FILE, map='/maps/office', namespace='robot')
    assert node.parameters['publish_tf'] is False
    assert parameters_of(fused)['publish_tf'] is True
    assert parameters_of(fused)['world_frame'] == 'map'
    assert fused.namespace == node.namespace == 'robot'
    assert set(fused.remappings) >= {('/tf', 'tf'), ('/tf_static', 'tf_static')}
    _, _, local = launched(FILE, map='/maps/office', odom_filter='true')
    assert parameters_of(local)['world_frame'] == 'odom'


def test_the_filter_starts_anew_where_the_localizer_found_itself_again() -> None:
    node, fused = launched(FILE, map='/maps/office')
    assert node.parameters['publish_initialpose'] is True
    assert ('set_pose', 'initialpose') in fused.remappings
    assert not {old for old, _ in node.remappings} & {'initialpose'}


def test_the_filters_are_in_the_localizers_frames(tmp_path: Path) -> None:
    file = tmp_path / 'mine.yaml'
    frames = {'map_frame': 'site', 'odom_frame': 'wheels', 'base_frame': 'chassis'}
    file.write_text(yaml.safe_dump({'localize': {'ros__parameters': frames}}))
    _, fused, local = launched(FILE, params_file=file, odom_filter='true')
    expected = {'map_frame': 'site', 'odom_frame': 'wheels', 'base_link_frame': 'chassis'}
    assert fused.parameters.items() >= (expected | {'world_frame': 'site'}).items()
    assert local.parameters.items() >= (expected | {'world_frame': 'wheels'}).items()


def test_it_passes_on_all_that_the_other_launch_file_takes() -> None:
    plain = set(arguments_of(FILE.with_name('localize.launch.py')))
    assert set(arguments_of(FILE)) >= plain - {'publish_tf', 'publish_initialpose'}
    node, fused = launched(FILE, use_sim_time='true', use_respawn='true', log_level='warn')
    assert node.parameters['use_sim_time'] is fused.parameters['use_sim_time'] is True
    assert node.respawn and fused.respawn
    assert node.ros_arguments == fused.ros_arguments == ['--log-level', 'warn']


def test_what_is_missing_is_said_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(Exception, match='ekf_params_file:=/none: no such file'):
        launched(FILE, ekf_params_file='/none')
    (tmp_path / 'empty').mkdir()
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path / 'empty'))
    with pytest.raises(Exception, match=r'install ros-.ROS_DISTRO-robot-localization'):
        launched(FILE)
