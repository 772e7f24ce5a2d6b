"""Build the wheel and test it outside of the tree; make a release of it.

    python tools/release.py wheel             # dist/vpr_ros-X.Y.Z-py3-none-any.whl, tested
    python tools/release.py release 0.2.0     # and a new version, a section of CHANGELOG.md, a tag

The version has one home, package.xml, where setup.py reads it. vpr_msgs is another package with a
package.xml of its own, which a release keeps alike. A release changes nothing unless the tree is
clean and the wheel passes its test, and it pushes nothing.

Exit status: 0 done; 1 the wheel failed its test; 2 a release that cannot be.
"""

import argparse
import datetime
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MANIFESTS = ('package.xml', 'vpr_msgs/package.xml')
CHANGELOG = 'CHANGELOG.md'
_VERSION = re.compile(r'(?<=<version>)[^<]+(?=</version>)')
_NUMBERED = re.compile(r'\d+\.\d+\.\d+')
_UNRELEASED = '## Unreleased\n'
_TYPED = ('vpr_ros/py.typed', 'vpr_training/py.typed')


class ReleaseError(Exception):
    """What was asked for cannot be released; says what to do first."""


class WheelError(Exception):
    """The wheel does not do what it should."""


def main() -> int:
    """Do what was asked for, and tell sizes and seconds."""
    arguments = _parser().parse_args()
    try:
        if arguments.verb == 'wheel':
            print('\n'.join(tested_wheel()))
        else:
            print('\n'.join(release(arguments.version)))
    except WheelError as error:
        print(f'release: {error}', file=sys.stderr)
        return 1
    except ReleaseError as error:
        print(f'release: {error}', file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='VERB')
    verbs.add_parser('wheel', help='build it into dist/ and test it in a clean environment')
    made = verbs.add_parser('release', help='the same with a new version, a commit and a tag')
    made.add_argument('version', metavar='X.Y.Z')
    return parser


def release(version: str) -> list[str]:
    """Release the tree as `version`; lines that say what was done and what is left to do.

    Raises ReleaseError before anything is changed. WheelError leaves the files as they were.
    """
    check_version(version, _version())
    if changed := _run('git', 'status', '--porcelain', '--untracked-files=no').strip():
        raise ReleaseError(f'the tree has changes, commit them first: {changed.splitlines()[0]}')
    if _run('git', 'tag', '--list', f'v{version}').strip():
        raise ReleaseError(f'v{version} is a tag already; choose a later version')
    before = {name: (ROOT / name).read_text(encoding='utf-8') for name in (*MANIFESTS, CHANGELOG)}
    after = {name: with_version(before[name], version) for name in MANIFESTS}
    after[CHANGELOG] = with_section(before[CHANGELOG], version, datetime.date.today())
    try:
        _write(after)
        lines = tested_wheel()
        _run('git', 'add', *after)
        _run('git', 'commit', '--quiet', '--message', f'Release {version}')
    except BaseException:
        _write(before)
        _run('git', 'reset', '--quiet')
        raise
    _run('git', 'tag', '--annotate', f'v{version}', '--message', f'vpr_ros {version}')
    return [*lines, f'committed and tagged v{version}; next: git push --follow-tags']


def check_version(version: str, last: str) -> None:
    """Raise ReleaseError unless `version` is three numbers that come after `last`."""
    if not _NUMBERED.fullmatch(version):
        raise ReleaseError(f'{version!r}: expected three numbers, as make release VERSION=0.2.0')
    if _numbers(version) < _numbers(last):
        raise ReleaseError(f'{version}: comes before {last}, which the tree has')


def with_version(manifest: str, version: str) -> str:
    """Return a package.xml with another version."""
    return _VERSION.sub(version, manifest, count=1)


def with_section(changelog: str, version: str, date: datetime.date) -> str:
    """Return the changelog with what is unreleased under a version, and an empty new section.

    Raises ReleaseError where nothing is unreleased.
    """
    head, found, rest = changelog.partition(_UNRELEASED)
    section = rest.partition('\n## ')[0]
    if not found or not section.strip():
        raise ReleaseError(f'{CHANGELOG}: "Unreleased" is empty; write there what users notice')
    return f'{head}{_UNRELEASED}\n## {version} - {date.isoformat()}\n{rest}'


def tested_wheel() -> list[str]:
    """Build the wheel into dist/ and test it in a clean environment; sizes and seconds, as lines.

    Raises WheelError.
    """
    with tempfile.TemporaryDirectory(prefix='vpr_ros-wheel-') as folder:
        scratch = Path(folder)
        wheel, build_s = _built(scratch)
        unpacked = check_content(wheel)
        environment, install_s, installed = _installed(wheel, scratch / 'venv')
        tested = _tested(environment)
        kept = ROOT / 'dist' / wheel.name
        kept.parent.mkdir(exist_ok=True)
        shutil.copy2(wheel, kept)
    return [
        f'{kept.relative_to(ROOT)}: {kept.stat().st_size / 1e6:.1f} MB, '
        f'{unpacked / 1e6:.1f} MB unpacked, built in {build_s:.0f} s',
        f'clean environment: {installed / 1e6:.0f} MB with what it needs, '
        f'made in {install_s:.0f} s',
        *tested,
    ]


def check_content(wheel: Path) -> int:
    """Raise WheelError unless a wheel has what it should; its size unpacked, in bytes."""
    with zipfile.ZipFile(wheel) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    if missing := [name for name in _TYPED if name not in sizes]:
        raise WheelError(f'{wheel.name}: lacks {", ".join(missing)}, so that its types are lost')
    if strays := [name for name in sizes if name.startswith(('test/', 'demo/', 'benchmarks/'))]:
        raise WheelError(f'{wheel.name}: has {strays[0]}, which is not to be installed')
    return sum(sizes.values())


def _built(scratch: Path) -> tuple[Path, float]:
    """The wheel of the files that git knows, and how long it took: no stray file gets in."""
    source = scratch / 'source'
    names = _run('git', 'ls-files', '-z', '--cached').split('\0')
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    started = time.monotonic()
    pip = (sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation')
    _run(*pip, '--wheel-dir', str(scratch), str(source))
    (wheel,) = scratch.glob('*.whl')
    return wheel, time.monotonic() - started


def _installed(wheel: Path, environment: Path) -> tuple[Path, float, int]:
    """A clean environment with the wheel and the tested pins; seconds and bytes that it took."""
    started = time.monotonic()
    venv.create(environment, with_pip=True)
    pip = (str(environment / 'bin/python'), '-m', 'pip', 'install', '--quiet')
    pip = (*pip, '--disable-pip-version-check', '--no-input')
    _run(*pip, '-r', str(ROOT / 'requirements/robot.txt'), str(wheel))
    took = time.monotonic() - started
    files = (path for path in environment.rglob('*') if path.is_file() and not path.is_symlink())
    return environment, took, sum(path.stat().st_size for path in files)


def _tested(environment: Path) -> list[str]:
    """What the check of the installation printed; WheelError where it failed."""
    python = str(environment / 'bin/python')
    asked = (
        'import vpr_ros, importlib.metadata as m; print(vpr_ros.__file__, m.version("vpr_ros"))'
    )
    where = _run(python, '-I', '-c', asked)
    if not where.startswith(str(environment)) or where.split()[1] != _version():
        raise WheelError(f'expected version {_version()} in {environment}, found {where.strip()}')
    check = (python, '-I', str(ROOT / 'tools/check_installed.py'))
    return _run(*check, '--commands', str(environment / 'bin')).splitlines()


def _version() -> str:
    """The version of the tree, which package.xml has."""
    found = _VERSION.search((ROOT / MANIFESTS[0]).read_text(encoding='utf-8'))
    assert found is not None
    return found[0]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split('.'))


def _write(contents: dict[str, str]) -> None:
    for name, content in contents.items():
        (ROOT / name).write_text(content, encoding='utf-8')


def _run(*command: str) -> str:
    """What a command printed; WheelError with the end of its output where it failed."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise WheelError(f'{" ".join(command[:5])} ...: {done.stdout[-2000:]}')
    return done.stdout


if __name__ == '__main__':
    sys.exit(main())
