"""`make workspace`: both packages where colcon and rosdep look for packages."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from interfaces import sourced

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / 'tools' / 'workspace.py'
BOTH = ['vpr_msgs', 'vpr_ros']


def linked(*arguments: str | Path, tool: Path = TOOL) -> 'subprocess.CompletedProcess[str]':
    return subprocess.run(
        [sys.executable, tool, *arguments], capture_output=True, text=True, check=False
    )


def listed(folder: Path, home: Path) -> list[list[str]]:
    """What a plain `colcon list` finds from a folder on."""
    pytest.importorskip(
        'colcon_core', reason='colcon is not installed (requirements/test.txt has it)'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', 'colcon', 'list'],
        cwd=folder,
        env=os.environ | {'COLCON_HOME': str(home), 'COLCON_LOG_PATH': str(home / 'log')},
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(line.split('\t') for line in done.stdout.splitlines())


def test_a_plain_colcon_finds_both_packages(tmp_path: Path) -> None:
    assert linked(tmp_path / 'ws').returncode == 0
    assert listed(tmp_path / 'ws', tmp_path / 'home') == [
        ['vpr_msgs', 'src/vpr_msgs', '(ros.ament_cmake)'],
        ['vpr_ros', 'src/vpr_ros', '(ros.ament_python)'],
    ]


def test_a_plain_colcon_in_the_clone_finds_both_packages(tmp_path: Path) -> None:
    assert [name for name, *_ in listed(ROOT, tmp_path)] == BOTH


def test_rosdep_and_bloom_find_both_packages(tmp_path: Path) -> None:
    packages = pytest.importorskip('catkin_pkg.packages', reason='rosdep crawls by catkin_pkg')
    assert linked(tmp_path / 'ws').returncode == 0
    found = packages.find_packages(str(tmp_path / 'ws/src'), warnings=[])
    assert sorted(package.name for package in found.values()) == BOTH
    assert [*packages.find_packages(str(ROOT), warnings=[])] == ['.']  # why there are links


def test_a_second_call_changes_nothing(tmp_path: Path) -> None:
    assert linked(tmp_path).returncode == 0
    again = linked(tmp_path)
    assert again.returncode == 0 and again.stdout.count('led already') == 2


def test_a_clone_in_the_workspace_stays_and_gets_its_messages_beside_it(tmp_path: Path) -> None:
    clone = tmp_path / 'ws/src/vpr_ros'
    (clone / 'tools').mkdir(parents=True)
    shutil.copy2(TOOL, clone / 'tools')
    shutil.copytree(ROOT / 'vpr_msgs', clone / 'vpr_msgs')
    shutil.copy2(ROOT / 'package.xml', clone)
    assert linked(tmp_path / 'ws', tool=clone / 'tools/workspace.py').returncode == 0
    assert not clone.is_symlink()
    beside = tmp_path / 'ws/src/vpr_msgs'
    assert beside.readlink() == Path('vpr_ros/vpr_msgs')
    shutil.move(tmp_path / 'ws', tmp_path / 'moved')
    assert (tmp_path / 'moved/src/vpr_msgs/package.xml').is_file()


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / 'src/vpr_msgs').mkdir(parents=True)
    done = linked(tmp_path)
    assert done.returncode == 2 and 'vpr_msgs is there already' in done.stderr
    assert not (tmp_path / 'src/vpr_ros').exists()


@pytest.mark.parametrize('arguments', [(), ('',), ('--help',), ('a', 'b'), (ROOT,)])
def test_a_workspace_that_cannot_be_one_is_refused(arguments: tuple[str, ...]) -> None:
    done = linked(*arguments)
    assert done.returncode == 2 and done.stderr.startswith('workspace: ')
    assert not (ROOT / 'src').exists()


def test_make_has_a_verb_for_it(tmp_path: Path) -> None:
    done = subprocess.run(
        ['make', '--no-print-directory', 'workspace', f'WS={tmp_path}'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / 'src').iterdir()) == BOTH


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_plain_colcon_build_builds_messages_that_the_node_can_use(ros_workspace: Path) -> None:
    environment = sourced(ros_workspace / 'install/local_setup.bash')
    assert str(ros_workspace / 'install/vpr_ros') in environment['AMENT_PREFIX_PATH']
    asked = (
        'import vpr_msgs; from vpr_ros.node.conversions import PlaceMatchArray; '
        'import vpr_ros; print(vpr_msgs.__file__, vpr_ros.__file__); PlaceMatchArray()'
    )
    printed = subprocess.run(
        [sys.executable, '-c', asked],
        cwd=ros_workspace,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert printed.returncode == 0, printed.stderr
    for package, path in zip(BOTH, printed.stdout.split(), strict=True):
        assert path.startswith(str(ros_workspace / 'install' / package))
