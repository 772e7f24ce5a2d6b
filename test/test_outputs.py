"""Whatever cannot be written is told before the work: each input here is missing or broken."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from conftest import ROOT
from worlds import straight_drive, unit_rows, write_map

from vpr_ros import build_engine, build_map, calibrate, evaluate_bag, images_to_bag, map
from vpr_ros.core.writer_lock import only_writer

Main = Callable[[list[str]], int]
DAY = str(ROOT / 'demo' / 'drives' / 'day')
JUDGE = ['--map', 'nowhere', '--bag', DAY]
COMMANDS: list[tuple[Main, list[str], str]] = [
    (build_map.main, ['--bag', 'nowhere'], '--output'),
    (build_map.main, ['--bags', DAY, '--work', 'work'], '--output'),
    (build_engine.main, ['--model', 'nowhere'], '--cache'),
    (build_engine.main, ['--choose', '--model', 'nowhere'], '--cache'),
    *((evaluate_bag.main, JUDGE, flag) for flag in ('--json', '--report', '--tum', '--rerun')),
    (images_to_bag.main, ['nowhere'], '--output'),
    (images_to_bag.main, ['nowhere', '--storage', 'ros1'], '--output'),
    (map.main, ['info', 'nowhere'], '--picture'),
    (map.main, ['check', 'nowhere'], '--report'),
    (map.main, ['prune', 'map', '--bag', 'nowhere'], '--output'),
    (map.main, ['merge', 'nowhere', 'nowhere'], '--output'),
    (map.main, ['pull', '--fleet', 'nowhere'], '--output'),
    *(
        (map.main, ['export', 'nowhere'], f'--{name}')
        for name in ('tum', 'csv', 'geojson', 'images', 'npz', 'faiss')
    ),
    (map.main, ['export', 'nowhere', '--half'], '--slim'),
]
SUFFIXES = {'--rerun': '.rrd', 'ros1': '.bag'}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a map and a plain file."""
    monkeypatch.chdir(tmp_path)
    write_map(tmp_path / 'map', unit_rows(3, 16), straight_drive(3))
    (tmp_path / 'file').write_text('kept')
    return tmp_path


def require_told(main: Main, words: list[str], flag: str, capsys: pytest.CaptureFixture) -> None:
    suffix = next((SUFFIXES[word] for word in (flag, *words) if word in SUFFIXES), '')
    before = sorted(Path.cwd().rglob('*'))
    for place in (f'file/out{suffix}', f'/proc/self/out{suffix}'):
        assert main([*words, flag, place]) == 2
        error = capsys.readouterr().err
        assert f'error: {place}: cannot be written' in error and error.count('\n') == 1
    assert sorted(Path.cwd().rglob('*')) == before and Path('file').read_text() == 'kept'


@pytest.mark.parametrize(('main', 'words', 'flag'), COMMANDS)
def test_an_output_that_cannot_be_written_is_told_before_any_input_is_read(
    main: Main, words: list[str], flag: str, capsys: pytest.CaptureFixture
) -> None:
    if flag == '--rerun':
        pytest.importorskip('rerun', reason='needs rerun-sdk: make setup-test')
    require_told(main, words, flag, capsys)


@pytest.mark.parametrize(
    ('name', 'words', 'flag'),
    [
        ('export', ['--config', 'nowhere'], '--output'),
        ('export', ['--from', 'nowhere', '--precision', 'int8'], '--output'),
        ('export_xfeat', [], '--output'),
        ('evaluate', ['--model', 'nowhere', '--dataset', 'nowhere'], '--json'),
        ('evaluate', ['--model', 'nowhere', '--dataset', 'nowhere'], '--report'),
        ('data.__main__', ['inspect', 'nowhere', '--deep'], '--picture'),
        ('train', ['--data.root=map', '--network.weights=null'], '--output'),
        ('whitening', ['--data.root=map', '--network.weights=null'], '--output'),
    ],
)
def test_an_output_of_the_trainer_that_cannot_be_written_is_told_before_any_input_is_read(
    name: str, words: list[str], flag: str, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip('torch', reason='needs torch: make setup-training')
    pytest.importorskip('lightning', reason='make setup-training')
    main = import_module(f'vpr_training.{name}').main
    require_told(main, words, flag, capsys)


@pytest.mark.parametrize(
    ('main', 'words'),
    [
        (calibrate.main, ['--map', 'map', '--bag', 'nowhere']),
        (map.main, ['append', 'map', '--bag', 'nowhere']),
        (map.main, ['prune', 'map', '--bag', 'nowhere']),
        (build_map.main, ['--bag', 'nowhere', '--output', 'map']),
    ],
)
def test_a_map_that_another_program_changes_is_told_before_the_drive_is_read(
    home: Path, main: Main, words: list[str], capsys: pytest.CaptureFixture
) -> None:
    with only_writer(home / 'map'):
        assert main(words) == 2
    error = capsys.readouterr().err
    assert 'error: map: cannot be written (' in error and 'is writing it; wait' in error


def test_a_file_in_a_folder_that_is_missing_or_in_place_of_a_folder_is_refused(
    home: Path, capsys: pytest.CaptureFixture
) -> None:
    for place, said in (
        ('new/page.html', 'cannot be written, because there is no folder new; create it first'),
        ('map', 'cannot be written (it exists and is not a regular file)'),
    ):
        assert map.main(['check', 'nowhere', '--report', place]) == 2
        assert capsys.readouterr().err == f'error: {place}: {said}\n'
    assert not (home / 'new').exists()
