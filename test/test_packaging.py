"""One tree, two installers: colcon and pip find the same package and give working executables."""

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import launch_stand_in
import pytest

ROOT = Path(__file__).resolve().parent.parent
FIELDS = ('name', 'version', 'description', 'license', 'maintainer', 'maintainer-email')
EXECUTABLES = (
    'localize',
    'build_map',
    'evaluate_bag',
    'calibrate',
    'replay_bag',
    'images_to_bag',
    'map',
    'build_engine',
)


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """Run a command and return its standard output; a failure shows everything that it printed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | (env or {}),
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, (
        f'{command} ended with {done.returncode}\n{done.stdout}{done.stderr}'
    )
    return done.stdout


@pytest.fixture
def colcon(tmp_path):
    """Return a function that runs this interpreter's colcon with a home and a log of its own."""
    pytest.importorskip(
        'colcon_core', reason='colcon is not installed (requirements/test.txt has it)'
    )

    def run_colcon(*arguments: str | Path, cwd: Path = ROOT) -> str:
        env = {'COLCON_HOME': str(tmp_path / 'home'), 'COLCON_LOG_PATH': str(tmp_path / 'log')}
        return run(sys.executable, '-W', 'ignore', '-m', 'colcon', *arguments, cwd=cwd, env=env)

    return run_colcon


@pytest.fixture
def clone(tmp_path):
    """Return a copy of what belongs to the package, so that a build leaves this tree clean."""
    copy = tmp_path / 'clone'
    copy.mkdir()
    for name in ('package.xml', 'setup.py', 'setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE'):
        if (ROOT / name).is_file():
            shutil.copy2(ROOT / name, copy)
    ignore = shutil.ignore_patterns('__pycache__', '*.egg-info')
    for name in ('vpr_ros', 'vpr_training', 'resource', 'launch', 'config', 'models'):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    return copy


def manifest(folder: Path) -> dict[str, str | None]:
    """Return what a package.xml says of the fields that setup.py says too."""
    root = ElementTree.parse(folder / 'package.xml').getroot()
    texts = {field: root.findtext(field) for field in FIELDS}
    maintainer = root.find('maintainer')
    assert maintainer is not None
    return texts | {'maintainer-email': maintainer.get('email')}


def test_colcon_sees_both_packages_with_their_build_types(colcon):
    lines = colcon('list', '--base-paths', '.', 'vpr_msgs').splitlines()
    assert sorted(line.split('\t') for line in lines) == [
        ['vpr_msgs', 'vpr_msgs', '(ros.ament_cmake)'],
        ['vpr_ros', '.', '(ros.ament_python)'],
    ]


def test_package_xml_and_setup_py_agree():
    printed = run(sys.executable, '-W', 'ignore', 'setup.py', *(f'--{field}' for field in FIELDS))
    assert manifest(ROOT) == dict(zip(FIELDS, printed.splitlines()[-len(FIELDS) :], strict=True))


def test_both_packages_have_one_version_one_licence_and_one_maintainer():
    ours, messages = manifest(ROOT), manifest(ROOT / 'vpr_msgs')
    for field in ('version', 'license', 'maintainer', 'maintainer-email'):
        assert ours[field] == messages[field]


def test_setup_py_is_the_only_home_of_the_metadata_but_of_the_version():
    setup = (ROOT / 'setup.py').read_text()
    assert manifest(ROOT)['version'] not in setup
    lines = (ROOT / 'pyproject.toml').read_text().splitlines()
    assert '[build-system]' in lines
    assert not [line for line in lines if line.startswith('[project')]


@pytest.mark.parametrize('folder', ['launch', 'config', 'test'])
def test_no_folder_shadows_an_installed_package(folder):
    assert not (ROOT / folder / '__init__.py').exists()


@pytest.mark.parametrize('name', EXECUTABLES)
def test_each_executable_is_a_module_with_a_main(name):
    tree = ast.parse((ROOT / 'vpr_ros' / f'{name}.py').read_text())
    assert 'main' in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_pip_installs_executables_that_run_and_what_they_share(clone, tmp_path):
    prefix = tmp_path / 'prefix'
    pip = (sys.executable, '-m', 'pip', '--disable-pip-version-check', 'install', '--quiet')
    # Else pip takes this environment's own installation away, even for another prefix.
    pip = (*pip, '--ignore-installed')
    run(
        *pip, '--no-deps', '--no-build-isolation', '--no-index', '--prefix', prefix, '.', cwd=clone
    )
    assert_shared(prefix)
    python = f'python{sys.version_info.major}.{sys.version_info.minor}'
    paths = [str(prefix / 'lib' / python / 'site-packages'), os.environ.get('PYTHONPATH', '')]
    environment = {'PYTHONPATH': os.pathsep.join(filter(None, paths))}
    for folder in (prefix / 'bin', prefix / 'lib/vpr_ros'):
        assert_executable(folder)
        assert 'usage' in run(folder / 'build_map', '--help', cwd=tmp_path, env=environment)
    # The prefix is not the interpreter's, as of pip install --user.
    found = 'from vpr_ros.core.describing.shipped import default_model; print(default_model())'
    said = run(sys.executable, '-c', found, cwd=tmp_path, env=environment)
    assert said.strip() == str(prefix / 'share/vpr_ros/models/lite0-vlad')


def test_in_a_venv_the_launch_file_starts_the_node_by_the_venvs_interpreter(
    clone, tmp_path, monkeypatch
):
    prefix = tmp_path / 'venv'
    run(sys.executable, '-m', 'venv', '--without-pip', prefix)
    python = f'python{sys.version_info.major}.{sys.version_info.minor}'
    ours = prefix / 'lib' / python / 'site-packages' / 'ours.pth'  # what the package depends on
    ours.write_text(sysconfig.get_path('purelib') + '\n')
    pip = (sys.executable, '-m', 'pip', '--python', prefix, '--disable-pip-version-check')
    install = ('install', '--quiet', '--ignore-installed', '--no-deps', '--no-index')
    run(*pip, *install, '--no-build-isolation', '.', cwd=clone)
    shebang = (prefix / 'bin/localize').read_text().splitlines()[0]
    assert shebang == f'#!{prefix}/bin/{shebang.rpartition("/")[2]}'
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))  # not sourced
    assert_launched(prefix, monkeypatch)


@pytest.mark.parametrize(
    'flags',
    [(), ('--symlink-install',), ('--merge-install',)],
    ids=['copied', 'symlinked', 'merged'],
)
def test_colcon_builds_executables_that_run_and_what_they_share(
    colcon, clone, tmp_path, flags, monkeypatch
):
    install = tmp_path / 'install'
    colcon(
        'build',
        *('--base-paths', '.', '--packages-select', 'vpr_ros'),
        *('--build-base', tmp_path / 'build', '--install-base', install),
        *flags,
        cwd=clone,
    )
    prefix = install if '--merge-install' in flags else install / 'vpr_ros'
    assert_shared(prefix)
    assert_executable(prefix / 'lib/vpr_ros')
    sourced = ('bash', '-c', 'source install/local_setup.bash && exec "$@"', 'bash')
    assert 'usage' in run(*sourced, prefix / 'lib/vpr_ros/build_map', '--help', cwd=tmp_path)
    assert_launched(prefix, monkeypatch, *sourced, cwd=tmp_path)


def test_make_setup_links_every_executable():
    printed = run('make', '-s', '--eval', 'names:; @echo $(EXECUTABLES)', 'names')
    assert tuple(printed.split()) == EXECUTABLES


def assert_launched(
    prefix: Path, monkeypatch: pytest.MonkeyPatch, *before: str, cwd: Path = ROOT
) -> None:
    """Assert that a prefix's launch file runs the prefix's node by an interpreter that has it.

    The node tells of a log level that is none once it and rclpy are imported.
    """
    pytest.importorskip('rclpy', reason='the node needs ROS 2')
    launch_stand_in.put_in_place(monkeypatch)
    [node] = launch_stand_in.launched(prefix / 'share/vpr_ros/launch/localize.launch.py')
    assert node.command[0] == str(prefix / 'lib/vpr_ros/localize')
    done = subprocess.run(
        [*before, *node.command, '--ros-args', '--log-level', 'loud'],
        cwd=cwd,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2 and "localize: Couldn't parse log level" in done.stderr, done


def assert_shared(prefix: Path) -> None:
    """Assert that a prefix has what ROS looks for in share/."""
    share = prefix / 'share'
    assert (share / 'ament_index/resource_index/packages/vpr_ros').exists()
    assert (share / 'vpr_ros/package.xml').is_file()
    for top in ('launch', 'config', 'models'):
        for path in (ROOT / top).rglob('*'):
            if path.is_file() and path.suffix not in ('.pyc', '.partial'):
                assert (share / 'vpr_ros' / path.relative_to(ROOT)).is_file(), path


def assert_executable(folder: Path) -> None:
    """Assert that a folder has every command as a file that may be executed."""
    for name in EXECUTABLES:
        assert os.access(folder / name, os.X_OK), f'{folder}/{name}'


WHEELS = sorted(path.stem[4:] for path in (ROOT / 'requirements').glob('ros-*.txt'))


def without_ros_2(*arguments):
    """What make says where no ROS 2 is sourced, and its status."""
    variables = {name: value for name, value in os.environ.items() if name != 'ROS_DISTRO'}
    done = subprocess.run(
        ['make', *arguments], cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr, done.returncode


@pytest.mark.parametrize('wheels', WHEELS)
def test_an_environment_stays_with_the_ros_2_whose_wheels_it_has(tmp_path, wheels):
    (tmp_path / '.made').mkdir()
    (tmp_path / '.made' / f'wheels-{wheels}').touch()
    said, status = without_ros_2('help', f'VENV={tmp_path}')
    assert status == 0 and f'the wheels of {wheels} are used' in said


def test_a_ros_2_without_wheels_is_refused_with_those_that_have_some():
    said, status = without_ros_2('setup', 'WHEELS=humble')
    assert status == 2 and f'WHEELS is humble, expected one of: {" ".join(WHEELS)}' in said


@pytest.mark.parametrize('wheels', WHEELS)
def test_each_ros_2_has_pinned_wheels_of_the_same_packages_and_what_builds_messages(wheels):
    def asked(name):
        lines = (ROOT / f'requirements/ros-{name}.txt').read_text().partition('\n\n')[0]
        return [line.split('==')[0] for line in lines.splitlines() if line[0] != '#']

    assert asked(wheels) == asked('kilted') and 'ros-rclpy[fastrtps]' in asked(wheels)
    assert (ROOT / f'requirements/msgs-build-{wheels}.txt').is_file()
