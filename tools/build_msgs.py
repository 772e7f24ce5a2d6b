"""Build vpr_msgs into the running Python's virtual environment, from wheels alone.

Without a ROS 2 installation there is no colcon workspace to build interfaces in, yet the code
generators and every interface that vpr_msgs depends on exist as wheels. They go into a build
environment in a temporary folder, plain cmake builds against it, and only the result is installed
beside rclpy. A digest of the sources makes a second call free.

Exit status: 0 built, up to date, or no compiler (said in one line); 1 the build failed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / 'vpr_msgs'
REQUIREMENTS = ROOT / 'requirements'
PREFIX = Path(sys.prefix)
STAMP = PREFIX / 'share' / 'vpr_msgs' / 'built_from.sha256'
WITHOUT = 'going on without vpr_msgs: no ~/matches, ~/localize and ~/load_map'


class BuildError(Exception):
    """A step of the build failed; the message carries the end of its output."""


def main() -> int:
    """Build unless what is installed was made from the present sources."""
    digest = _digest_of_sources()
    if STAMP.is_file() and STAMP.read_text().strip() == digest:
        return 0
    if missing := missing_tool():
        print(f'build_msgs: {missing}; {WITHOUT}')
        return 0
    print('build_msgs: building vpr_msgs (under a minute) ...', flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix='vpr_msgs-') as scratch:
            _build(Path(scratch))
    except BuildError as error:
        print(f'build_msgs: {error}')
        print('build_msgs: failed; `make setup MSGS=0` goes on without vpr_msgs')
        return 1
    STAMP.write_text(digest + '\n')
    return 0


def _digest_of_sources() -> str:
    digest = hashlib.sha256(sys.version.encode())
    sources = (path for path in SOURCE.rglob('*') if path.is_file())
    for path in sorted([*sources, _tools(), *_pins(), Path(__file__)]):
        digest.update(path.name.encode() + b'\0' + path.read_bytes())
    return digest.hexdigest()


def _tools() -> Path:
    """Return the list of what builds interfaces for the ROS 2 that is installed."""
    return REQUIREMENTS / f'msgs-build-{distribution()}.txt'


def _pins() -> list[Path]:
    """Return the lists of what the robot has."""
    return [REQUIREMENTS / f'ros-{distribution()}.txt', REQUIREMENTS / 'robot.txt']


def distribution() -> str:
    """Return the name of the ROS 2 whose wheels are installed, such as kilted."""
    pin = f'ros-rclpy[fastrtps]=={version("ros-rclpy")}'
    for path in REQUIREMENTS.glob('ros-*.txt'):
        if pin in path.read_text().splitlines():
            return path.stem.removeprefix('ros-')
    raise BuildError(f'no list in {REQUIREMENTS} has {pin}; run make setup')


def missing_tool() -> str | None:
    """Return what a build lacks on this machine, and where it comes from; None if nothing."""
    for variable, names in (('CC', ('cc', 'gcc', 'clang')), ('CXX', ('c++', 'g++', 'clang++'))):
        chosen = os.environ.get(variable, '').split()[:1]
        if not any(shutil.which(name) for name in (chosen or names)):
            language = {'CC': 'C', 'CXX': 'C++'}[variable]
            return f'no {language} compiler (Debian, Ubuntu: apt install g++)'
    header = Path(sysconfig.get_path('include')) / 'Python.h'
    if not header.is_file():
        return f'no {header} (Debian, Ubuntu: apt install python3-dev)'
    return None


def _build(scratch: Path) -> None:
    environment = build_environment(scratch / 'env')
    python = scratch / 'env' / 'bin' / 'python'
    cmake = scratch / 'env' / 'bin' / 'cmake'
    tree = scratch / 'build'
    _run(
        cmake,
        *('-S', SOURCE, '-B', tree, '-G', 'Ninja', f'-DCMAKE_INSTALL_PREFIX={PREFIX}'),
        *cmake_arguments(python),
        env=environment,
    )
    _run(cmake, '--build', tree, env=environment)
    _remove_installed()
    _run(cmake, '--install', tree, env=environment)


def build_environment(folder: Path, *packages: str) -> dict[str, str]:
    """Make an environment with all that builds interfaces, and return its variables.

    packages: what else pip installs into it.
    """
    venv.create(folder, symlinks=True, with_pip=True)
    python = folder / 'bin' / 'python'
    environment = _clean_environment(folder)
    pip = (python, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check')
    wanted = ('-r', _tools(), '-c', _constraints(folder), *packages)
    _run(*pip, *wanted, env=environment)
    _point_exports_at(folder, python, environment)
    return environment


def cmake_arguments(python: Path) -> tuple[str, ...]:
    """Return what tells cmake to build for the interpreter of a build environment."""
    return (
        f'-DPython3_EXECUTABLE={python}',
        '-DPython3_FIND_VIRTUALENV=ONLY',
        '-DCMAKE_BUILD_TYPE=Release',
        '-DBUILD_TESTING=OFF',
    )


def _clean_environment(build_env: Path) -> dict[str, str]:
    """Return this process's environment as if the build environment, and no other, were active.

    The ROS wheels restart every interpreter with a library path of its own and mark that in a
    variable; a child Python of another environment must not inherit either.
    """
    dropped = {'_ROS_WHEELS_BOOTSTRAP_COMPLETE', 'LD_LIBRARY_PATH', 'PYTHONPATH', 'PYTHONHOME'}
    environment = {k: v for k, v in os.environ.items() if k not in dropped}
    environment['PATH'] = f'{build_env / "bin"}{os.pathsep}{environment.get("PATH", os.defpath)}'
    for name in ('VIRTUAL_ENV', 'AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH'):
        environment[name] = str(build_env)
    return environment


def _constraints(scratch: Path) -> Path:
    """Write the robot's pins as one constraints file; such a file may not name extras."""
    path = scratch / 'constraints.txt'
    path.write_text('\n'.join(pin.read_text() for pin in _pins()).replace('[fastrtps]', ''))
    return path


def _point_exports_at(build_env: Path, python: Path, environment: dict[str, str]) -> None:
    """Replace the header folders of the machine that built the wheels by this interpreter's."""
    ask = (
        'import numpy, sysconfig; print(numpy.get_include()); print(sysconfig.get_path("include"))'
    )
    numpy_include, python_include = _run(python, '-c', ask, env=environment).splitlines()
    for path in build_env.glob('share/*/cmake/export_*generator_pyExport.cmake'):
        parts = path.read_text().split('/opt/python/')
        for i, part in enumerate(parts[1:], start=1):
            end = min(part.find(c) for c in ';"' if c in part)
            parts[i] = (numpy_include if 'numpy' in part[:end] else python_include) + part[end:]
        path.write_text(''.join(parts))


def _remove_installed() -> None:
    """Take out an earlier build, so that a message that was renamed does not stay importable."""
    site_packages = Path(sysconfig.get_path('platlib'))
    for folder in (PREFIX / 'share', PREFIX / 'include', site_packages):
        for path in folder.glob('vpr_msgs*'):
            shutil.rmtree(path)
    for library in (PREFIX / 'lib').glob('libvpr_msgs__*'):
        library.unlink()


def _run(*command: str | Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        [str(part) for part in command], env=env, text=True, capture_output=True, check=False
    )
    if done.returncode:
        tail = '\n'.join((done.stdout + done.stderr).splitlines()[-40:])
        raise BuildError(f'{Path(command[0]).name} ended with status {done.returncode}\n{tail}')
    return done.stdout


if __name__ == '__main__':
    sys.exit(main())
