"""The launch files, executed with a stand-in for launch: what they start, and what they refuse."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip('ament_index_python', reason='needs ROS 2, or the wheels of `make setup`')
import launch_stand_in
from launch_stand_in import LogInfo, Node, arguments_of, launched
from worlds import straight_drive, unit_rows, write_map, write_tiny_model

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / 'launch' / 'localize.launch.py'
NAV2 = ROOT / 'launch' / 'localize_nav2.launch.py'
CONTRACT = {
    'map', 'model', 'params_file', 'namespace', 'use_sim_time', 'autostart', 'image_topic',
    'image_transport', 'log_level', 'rviz',
}  # fmt: skip


@pytest.fixture(autouse=True)
def _launch(monkeypatch: pytest.MonkeyPatch) -> None:
    launch_stand_in.put_in_place(monkeypatch)


def install(prefix: Path, package: str, executable: str) -> Path:
    """A package with an executable that does nothing, where ROS looks for it."""
    mark = prefix / 'share/ament_index/resource_index/packages' / package
    program = prefix / 'lib' / package / executable
    for path in (mark, program):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('#!/bin/sh\n')
    program.chmod(0o755)
    return program


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only installation that ROS knows of."""
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path / 'prefix'))
    (tmp_path / 'prefix').mkdir()
    return tmp_path / 'prefix'


def only(actions: list[Any]) -> Any:
    assert len(actions) == 1
    return actions[0]


# The node ----------------------------------------------------------------------------------------


def test_the_arguments_of_the_contract_are_declared() -> None:
    declared = arguments_of(FILE)
    assert set(declared) >= CONTRACT
    assert declared['autostart'] == 'true' and declared['rviz'] == 'false'


def test_what_is_given_overrides_the_file_and_nothing_else_does() -> None:
    node = only(launched(FILE, map='/maps/7', image_topic='/cam', publish_tf='true'))
    assert node.files == [str(ROOT / 'config/localize.yaml')]
    assert node.parameters == {
        'map': '/maps/7',
        'image_topic': '/cam',
        'publish_tf': True,
        'use_sim_time': False,
        'autostart': True,
    }
    assert (node.name, node.exec_name, node.output) == ('localize', 'localize', 'screen')


def test_tf_is_that_of_the_namespace_as_in_nav2() -> None:
    node = only(launched(FILE, namespace='robot_1'))
    assert node.namespace == 'robot_1'
    assert node.remappings == [('/tf', 'tf'), ('/tf_static', 'tf_static')]


def test_the_topics_that_are_no_parameters_can_be_remapped() -> None:
    node = only(
        launched(
            FILE,
            image_topic='/front/image_raw, rear/image',
            camera_info_topic='/front/info,/rear/info',
            odom_topic='/wheels/odom',
            gps_topic='/fix',
        )
    )
    assert node.remappings[2:] == [
        ('odom', '/wheels/odom'),
        ('gps/fix', '/fix'),
        ('/front/camera_info', '/front/info'),
        ('rear/camera_info', '/rear/info'),
    ]


def test_a_node_that_ended_is_started_again_if_asked() -> None:
    assert only(launched(FILE)).respawn is False
    node = only(launched(FILE, use_respawn='true', respawn_delay='0.5'))
    assert node.respawn is True and node.respawn_delay == 0.5


@pytest.mark.parametrize(
    ('arguments', 'told'),
    [
        ({'log_level': 'loud'}, 'log_level:=loud: expected debug, info, warn, error, fatal'),
        ({'rviz': 'yes'}, 'rviz:=yes: expected true or false'),
        ({'respawn_delay': 'soon'}, 'respawn_delay:=soon: expected seconds'),
        ({'params_file': '/none.yaml'}, 'params_file:=/none.yaml: no such file; expected'),
        ({'params_file': 'broken'}, 'line 3.*copy that file'),
        ({'params_file': 'other'}, 'no ros__parameters in it; expected'),
        (
            {'camera_info_topic': '/a,/b', 'image_topic': '/c'},
            '2 topics, expected one for each of /c',
        ),
    ],
)
def test_an_argument_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, arguments: dict[str, str], told: str
) -> None:
    (tmp_path / 'broken').write_text('/**:\n  ros__parameters:\n    map: [a\n')
    (tmp_path / 'other').write_text('camera: 1\n')
    if arguments.get('params_file') in ('broken', 'other'):
        arguments = {'params_file': str(tmp_path / arguments['params_file'])}
    with pytest.raises(Exception, match=told) as caught:
        launched(FILE, **arguments)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('level', ['debug', 'WARN', 'localize:=debug'])
def test_every_log_level_of_ros_can_be_given(level: str) -> None:
    assert only(launched(FILE, log_level=level)).ros_arguments == ['--log-level', level]


# Which executable --------------------------------------------------------------------------------


@pytest.mark.parametrize('linked', [False, True], ids=['copied', 'linked'])
def test_the_node_is_the_one_that_was_installed_with_the_file(
    tmp_path: Path, prefix: Path, linked: bool
) -> None:
    install(prefix, 'vpr_ros', 'localize')  # another installation, which ROS would take
    own = install(tmp_path / 'venv', 'vpr_ros', 'localize')
    share = tmp_path / 'venv/share/vpr_ros'
    for name in ('launch', 'config'):
        (share / name).parent.mkdir(parents=True, exist_ok=True)
        if linked:
            (share / name).symlink_to(ROOT / name)
        else:
            (share / name).mkdir()
            for path in (ROOT / name).glob('*.*'):
                (share / name / path.name).write_bytes(path.read_bytes())
    node = only(launched(share / 'launch/localize.launch.py'))
    assert node.command[0] == str(own)
    assert sys.executable not in node.command


def test_a_file_in_the_sources_starts_the_installed_node(prefix: Path) -> None:
    installed = install(prefix, 'vpr_ros', 'localize')
    assert only(launched(FILE)).command[0] == str(installed)


# RViz --------------------------------------------------------------------------------------------


def topics(layout: Path) -> list[str]:
    manager = yaml.safe_load(layout.read_text())['Visualization Manager']
    entries = [*manager['Displays'], *manager['Tools']]
    return [entry['Topic']['Value'] for entry in entries if 'Topic' in entry]


def layout_of(rviz: Node) -> Path:
    return Path(rviz.arguments[rviz.arguments.index('-d') + 1])


def test_without_rviz_there_is_a_line_and_the_node(prefix: Path) -> None:
    line, node = launched(FILE, rviz='true')
    assert isinstance(line, LogInfo) and 'rviz2 is not installed' in line.msg
    assert node.name == 'localize'


def test_rviz_starts_before_the_node_and_shows_what_the_layout_has(prefix: Path) -> None:
    install(prefix, 'rviz2', 'rviz2')
    rviz, node = launched(FILE, rviz='true', use_sim_time='true')
    assert (rviz.package, rviz.executable, node.name) == ('rviz2', 'rviz2', 'localize')
    assert rviz.parameters == {'use_sim_time': True}
    assert topics(layout_of(rviz)) == topics(ROOT / 'config/rviz/localize.rviz')


def test_rviz_shows_the_namespace_the_cameras_and_the_transport(prefix: Path) -> None:
    install(prefix, 'rviz2', 'rviz2')
    rviz, _ = launched(
        FILE,
        rviz='true',
        namespace='/robot_1',
        image_topic='/front/image, rear/image',
        image_transport='compressed',
    )
    assert topics(layout_of(rviz)) == [
        '/robot_1/localize/places',
        '/robot_1/localize/markers',
        '/robot_1/localize/candidates',
        '/robot_1/localize/pose',
        '/front/image/compressed',
        '/robot_1/rear/image/compressed',
        '/robot_1/localize/debug_image',
        '/robot_1/initialpose',
    ]
    assert rviz.namespace == '/robot_1'
    assert rviz.remappings == [('/tf', 'tf'), ('/tf_static', 'tf_static')]


@pytest.mark.parametrize('node', ['/**', 'localize', '/robot/localize', '/**/localize'])
def test_rviz_shows_the_camera_of_the_parameter_file(
    prefix: Path, tmp_path: Path, node: str
) -> None:
    install(prefix, 'rviz2', 'rviz2')
    file = tmp_path / 'given.yaml'
    given = {'image_topic': '/cam', 'image_transport': 'compressed'}
    other = {'ros__parameters': {'image_topic': '/wrong'}}
    file.write_text(yaml.safe_dump({node: {'ros__parameters': given}, 'amcl': other}))
    rviz, _ = launched(FILE, rviz='true', params_file=file)
    assert '/cam/compressed' in topics(layout_of(rviz))


# Nav2 --------------------------------------------------------------------------------------------


@pytest.fixture
def nav2(prefix: Path) -> Path:
    install(prefix, 'nav2_lifecycle_manager', 'lifecycle_manager')
    install(prefix, 'nav2_map_server', 'map_server')
    return prefix


@pytest.mark.parametrize(
    ('mode', 'tf', 'pose'), [('localization', True, False), ('initialpose', False, True)]
)
def test_the_node_waits_for_the_manager_in_either_mode(
    nav2: Path, mode: str, tf: bool, pose: bool
) -> None:
    node, manager = launched(NAV2, mode=mode, map='/maps/office', namespace='robot')
    assert node.parameters == {
        'map': '/maps/office',
        'publish_tf': tf,
        'publish_initialpose': pose,
        'use_sim_time': False,
        'autostart': False,
    }
    assert manager.parameters == {
        'autostart': True,
        'use_sim_time': False,
        'node_names': ['localize'],
    }
    assert node.namespace == manager.namespace == 'robot'
    from_file = yaml.safe_load(Path(only(manager.files)).read_text())['/**']['ros__parameters']
    assert set(from_file) == {
        'bond_timeout',
        'attempt_respawn_reconnection',
        'bond_respawn_max_duration',
    }


def test_it_passes_on_all_that_the_other_launch_file_takes(nav2: Path) -> None:
    assert set(arguments_of(NAV2)) > set(arguments_of(FILE)) - {'publish_tf'} - {
        'publish_initialpose'
    }
    node, manager = launched(
        NAV2,
        use_respawn='true',
        odom_topic='/odometry',
        log_level='warn',
        use_sim_time='true',
        autostart='false',
        bond_timeout='0',
    )
    assert node.respawn and ('odom', '/odometry') in node.remappings
    assert node.parameters['autostart'] is False  # whatever the manager does
    assert node.parameters['use_sim_time'] and manager.parameters['use_sim_time']
    assert manager.parameters['autostart'] is False
    assert manager.parameters['bond_timeout'] == 0.0
    assert isinstance(manager.parameters['bond_timeout'], float)
    assert node.ros_arguments == manager.ros_arguments == ['--log-level', 'warn']


def test_a_map_server_is_managed_too(nav2: Path, tmp_path: Path) -> None:
    plan = tmp_path / 'plan.yaml'
    plan.write_text('image: plan.pgm\n')
    _, server, manager = launched(NAV2, occupancy_map=plan)
    assert server.parameters['yaml_filename'] == str(plan)
    assert ('/tf', 'tf') in server.remappings
    assert manager.parameters['node_names'] == ['map_server', 'localize']


def test_what_it_starts_is_brought_up_in_a_namespace(nav2: Path, tmp_path: Path) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2, or the wheels of `make setup`')
    from ros_world import domain

    program = install(nav2, 'vpr_ros', 'localize')
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m vpr_ros.localize "$@"\n')
    model = write_tiny_model(tmp_path / 'model')
    rows = unit_rows(4, model.card.descriptor_size)
    write_map(tmp_path / 'map', rows, straight_drive(4), model_sha256=model.card.sha256)
    node, _ = launched(
        NAV2, map=tmp_path / 'map', model=tmp_path / 'model', namespace='robot', odom_topic='/odo'
    )
    manager = [sys.executable, str(ROOT / 'test/nav2_manager_stand_in.py')]
    with domain() as (number, peer), (tmp_path / 'log').open('wb') as log:
        environment = {**os.environ, 'ROS_DOMAIN_ID': str(number)}
        process = subprocess.Popen(node.command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            printed = subprocess.run(
                [*manager, 'robot/localize', '0.0', 'startup'],
                env=environment,
                capture_output=True,
                text=True,
                timeout=90,
                check=False,
            ).stdout
            assert printed == 'startup: active without a bond\n', (tmp_path / 'log').read_text()
            peer.wait(
                lambda: bool(peer.node.get_subscriptions_info_by_topic('/odo')), 'no remapping'
            )
            assert peer.node.get_publishers_info_by_topic('/robot/localize/pose')
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
    assert 'it is ignored' not in (tmp_path / 'log').read_text()


def test_another_manager_may_have_the_node(prefix: Path) -> None:
    assert only(launched(NAV2, manager='false')).parameters['autostart'] is False


@pytest.mark.parametrize(
    ('arguments', 'told'),
    [
        ({'mode': 'amcl'}, 'mode:=amcl: expected localization or initialpose'),
        ({'occupancy_map': '/none'}, 'occupancy_map:=/none: no such file'),
        ({'bond_timeout': 'long'}, 'bond_timeout:=long: expected seconds'),
        ({'manager_params_file': '/none'}, 'manager_params_file:=/none: no such file'),
    ],
)
def test_what_nav2_could_not_use_is_told(nav2: Path, arguments: dict[str, str], told: str) -> None:
    with pytest.raises(Exception, match=told):
        launched(NAV2, **arguments)


def test_a_missing_nav2_is_told_before_anything_starts(prefix: Path) -> None:
    with pytest.raises(Exception, match='nav2-lifecycle-manager, or take manager:=false'):
        launched(NAV2)
