"""What a release changes, and what it refuses."""

import datetime
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / 'tools'))
import release

DATE = datetime.date(2026, 12, 1)


def test_what_is_unreleased_goes_under_the_version_and_a_new_section_is_empty() -> None:
    before = (
        '# Changelog\n\nwords\n\n## Unreleased\n\n### Added\n- a thing\n\n## 0.1.0 - 2026-01-01\n'
    )
    after = release.with_section(before, '0.2.0', DATE)
    assert after == before.replace(
        '## Unreleased\n', '## Unreleased\n\n## 0.2.0 - 2026-12-01\n'
    )  # fmt: skip
    with pytest.raises(release.ReleaseError, match='"Unreleased" is empty'):
        release.with_section(after, '0.3.0', DATE)


def test_the_changelog_of_this_tree_can_be_released() -> None:
    text = (ROOT / 'CHANGELOG.md').read_text()
    assert '## 9.9.9 - 2026-12-01\n' in release.with_section(text, '9.9.9', DATE)


@pytest.mark.parametrize('name', release.MANIFESTS)
def test_a_manifest_gets_the_version_and_nothing_else_changes(name: str) -> None:
    before = (ROOT / name).read_text()
    after = release.with_version(before, '9.9.9')
    changed = [pair for pair in zip(before.splitlines(), after.splitlines()) if len({*pair}) > 1]
    assert [new.strip() for _, new in changed] == ['<version>9.9.9</version>']


@pytest.mark.parametrize('version', ['', '1.0', 'v1.0.0', '1.0.0rc1', '0.0.9'])
def test_a_version_that_cannot_follow_is_refused(version: str) -> None:
    with pytest.raises(release.ReleaseError):
        release.check_version(version, '0.1.0')


def test_versions_are_compared_as_numbers() -> None:
    for version in ('0.1.0', '0.10.0', '1.0.0'):
        release.check_version(version, '0.1.0')
    release.check_version('0.10.0', '0.9.0')


def test_a_wheel_without_its_types_or_with_tests_in_it_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / 'a.whl'
    whole = ('vpr_ros/py.typed', 'vpr_training/py.typed')
    for names, said in (
        (whole[:1], 'vpr_training/py.typed'),
        ((*whole, 'test/x.py'), 'test/x.py'),
    ):
        with zipfile.ZipFile(wheel, 'w') as archive:
            for name in names:
                archive.writestr(name, 'x')
        with pytest.raises(release.WheelError, match=said):
            release.check_content(wheel)
    with zipfile.ZipFile(wheel, 'w') as archive:
        for name in whole:
            archive.writestr(name, 'xx')
    assert release.check_content(wheel) == 4


def test_a_release_of_a_version_that_cannot_be_ends_in_one_line_and_changes_nothing() -> None:
    before = {name: (ROOT / name).read_text() for name in (*release.MANIFESTS, 'CHANGELOG.md')}
    command = [sys.executable, ROOT / 'tools/release.py', 'release', '0.0.1']
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 2 and done.stderr.count('\n') == 1
    assert 'release: 0.0.1: comes before' in done.stderr
    assert before == {name: (ROOT / name).read_text() for name in before}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the files that a release writes; the wheel is a stand-in that is well."""
    for name in (*release.MANIFESTS, 'CHANGELOG.md'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    for key, value in (('NAME', 'a'), ('EMAIL', 'a@example.org')):
        monkeypatch.setenv(f'GIT_AUTHOR_{key}', value)
        monkeypatch.setenv(f'GIT_COMMITTER_{key}', value)
    monkeypatch.setattr(release, 'ROOT', tmp_path)
    monkeypatch.setattr(release, 'tested_wheel', lambda: ['tested'])
    for arguments in (('init', '-q'), ('add', '.'), ('commit', '-qm', 'before')):
        release._run('git', *arguments)
    return tmp_path


def test_a_release_commits_and_tags_the_version_of_both_packages(tree: Path) -> None:
    lines = release.release('9.9.9')
    assert lines[0] == 'tested' and 'git push --follow-tags' in lines[-1]
    assert release._run('git', 'show', '-s', '--format=%s', 'v9.9.9^{commit}') == 'Release 9.9.9\n'
    assert not release._run('git', 'status', '--porcelain')
    assert all('<version>9.9.9<' in (tree / name).read_text() for name in release.MANIFESTS)
    with pytest.raises(release.ReleaseError, match='is a tag already'):
        release.release('9.9.9')


def test_a_release_whose_wheel_fails_leaves_the_tree_as_it_was(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> list[str]:
        raise release.WheelError('no recall')

    monkeypatch.setattr(release, 'tested_wheel', fails)
    with pytest.raises(release.WheelError):
        release.release('9.9.9')
    assert not release._run('git', 'status', '--porcelain')
    assert not release._run('git', 'tag', '--list')


def test_a_tree_with_changes_is_not_released(tree: Path) -> None:
    with (tree / 'CHANGELOG.md').open('a') as file:
        file.write('more\n')
    with pytest.raises(release.ReleaseError, match=r'has changes.*CHANGELOG'):
        release.release('9.9.9')
