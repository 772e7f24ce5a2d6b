"""The containers' steps, run outside of a container, and what the containers are made of."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

STEPS = ROOT / 'docker' / 'steps'
DOCKERFILES = (ROOT / 'docker' / 'Dockerfile', ROOT / 'docker' / 'Dockerfile.jetpack')


@pytest.mark.timeout(400)
def test_the_steps_build_a_workspace_whose_commands_map_and_evaluate_the_demo(
    tmp_path: Path,
) -> None:
    """Without vpr_msgs, for which ROS 2 would have to be installed."""
    pytest.importorskip('colcon_core', reason='requirements/test.txt has colcon')
    variables = os.environ | {'COLCON_HOME': str(tmp_path / 'home')}
    variables.pop('PYTHONPATH', None)
    variables |= {'PYTHONWARNINGS': 'ignore', 'COLCON_LOG_PATH': str(tmp_path / 'log')}
    said = ''
    for step, *arguments in (
        ('workspace.sh', '--base-paths', 'src/vpr_ros', '--symlink-install'),
        ('check.sh',),
    ):
        done = subprocess.run(
            [STEPS / step, sys.prefix, tmp_path / 'ws', *arguments],
            env=variables,
            text=True,
            capture_output=True,
            timeout=380,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said = done.stdout
    assert re.search(r'^build_map .*145 places', said, re.MULTILINE)
    assert re.search(r'^evaluate_bag .*Recall@1 0\.8', said, re.MULTILINE)


def test_a_check_of_commands_that_are_not_there_fails_in_one_line(tmp_path: Path) -> None:
    check = [sys.executable, ROOT / 'tools/check_installed.py', '--commands', tmp_path]
    done = subprocess.run(check, text=True, capture_output=True, check=False)
    assert done.returncode == 1 and 'build_map' in done.stderr and done.stderr.count('\n') == 1


@pytest.mark.parametrize('dockerfile', DOCKERFILES, ids=lambda path: path.name)
def test_everything_that_a_container_copies_is_in_the_tree_and_not_ignored(
    dockerfile: Path,
) -> None:
    let_in = [
        line.removeprefix('!')
        for line in (ROOT / '.dockerignore').read_text().splitlines()
        if line.startswith('!')
    ]
    copied = re.findall(r'^COPY (?!--from)(.+) \S+$', dockerfile.read_text(), re.MULTILINE)
    assert copied
    for name in (word for line in copied for word in line.split() if word != '.'):
        assert (ROOT / name).exists(), name
        assert any(name == top or name.startswith(f'{top}/') for top in let_in), name
    assert all((ROOT / name).exists() for name in let_in)


def test_the_last_stage_of_a_container_does_not_run_as_root() -> None:
    for dockerfile in DOCKERFILES:
        stage = dockerfile.read_text().rpartition('\nFROM ')[2]
        assert re.search(r'^USER [1-9]\d*$', stage, re.MULTILINE)


def test_the_devcontainer_names_a_stage_and_a_file_that_are_there() -> None:
    folder = ROOT / '.devcontainer'
    build = json.loads((folder / 'devcontainer.json').read_text())['build']
    dockerfile = (folder / build['dockerfile']).resolve()
    assert f' AS {build["target"]}\n' in dockerfile.read_text()
    assert (folder / build['context']).resolve() == ROOT


def test_workflows_test_each_python_that_the_package_allows() -> None:
    workflow = yaml.safe_load((ROOT / '.github/workflows/ci.yml').read_text())
    setup = (ROOT / 'setup.py').read_text()
    low, high = map(int, re.search(r"python_requires='>=3\.(\d+),<3\.(\d+)'", setup).groups())
    tested = workflow['jobs']['test']['strategy']['matrix']['python']
    assert tested == [f'3.{minor}' for minor in range(low, high)]


@pytest.mark.parametrize('program', ['hadolint', 'shellcheck', 'actionlint', 'check-jsonschema'])
def test_the_linters_of_these_files_are_pinned(program: str) -> None:
    pins = (ROOT / 'requirements/lint-files.txt').read_text()
    assert re.search(rf'^{program}[a-z-]*==', pins, re.MULTILINE)
    assert program in (ROOT / 'tools/lint_files.sh').read_text()


def test_workflows_call_targets_that_the_makefile_has() -> None:
    targets = re.findall(r'^([a-z-]+):(?!=)', (ROOT / 'Makefile').read_text(), re.MULTILINE)
    texts = [path.read_text() for path in (ROOT / '.github/workflows').glob('*.yml')]
    texts.append((ROOT / '.ci/run').read_text())
    called = {word for text in texts for word in re.findall(r'\bmake ([a-z-]+) ', text)}
    assert called and called <= set(targets)
    assert shutil.which('make')


@pytest.mark.parametrize(
    ('failing', 'status'),
    [('', 0), ('setup-lint', 1), ('lint', 1), ('test', 2)],
    ids=lambda value: str(value) or 'nothing',
)
def test_ci_always_tests_last_and_fails_where_lint_failed(
    tmp_path: Path, failing: str, status: int
) -> None:
    """With a stand-in for make, which tells what it was asked for."""
    (tmp_path / 'chromium').touch(0o755)
    make = tmp_path / 'make'
    make.write_text(f'#!/bin/sh\necho "$@"\n[ "$1" != "{failing}" ] || exit {status}\n')
    make.chmod(0o755)
    variables = os.environ | {'PATH': f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'}
    done = subprocess.run(
        [ROOT / '.ci/run'], env=variables, text=True, capture_output=True, check=False
    )
    lines = done.stdout.splitlines()
    assert (done.returncode == 0) is (failing == '')
    assert lines[0] == 'setup-lint TRAINING=1' and lines[-1] == 'test TRAINING=1'
    assert ('lint TRAINING=1' in lines) is (failing != 'setup-lint')
    assert any('lint failed' in line for line in lines) is ('lint' in failing)
