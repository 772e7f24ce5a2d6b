"""`vpr_training.evaluate` measures what a naive loop measures, without torch.

It says what it cannot read.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from worlds import unit_rows, write_tiny_model

from vpr_ros.core.describe import OnnxDescriber
from vpr_ros.core.image import encode_jpeg, read
from vpr_training.data.layouts import open_recall_set
from vpr_training.evaluate import main, measure, rank_earlier

PLACES, QUERIES = 40, 25


def picture(seed: int, *, noise: float = 0) -> bytes:
    rng = np.random.default_rng(seed)
    cells = rng.uniform(0, 255, (4, 4, 3)).repeat(16, 0).repeat(16, 1)
    seen = cells + np.random.default_rng(seed + 999).normal(0, noise + 1e-9, cells.shape)
    return encode_jpeg(np.clip(seen, 0, 255).astype(np.uint8))


@pytest.fixture(scope='module')
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp('models') / 'tiny').folder


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    folder = tmp_path / 'walk'
    for half in ('database', 'queries'):
        (folder / half).mkdir(parents=True)
    for row in range(PLACES):
        (folder / 'database' / f'{row:03}.jpg').write_bytes(picture(row))
    lines = []
    for row in range(QUERIES):
        (folder / 'queries' / f'{row:03}.jpg').write_bytes(picture(row, noise=150))
        # every fifth query has a truth that its picture does not show, the last has none
        place = row if row % 5 else row + 1
        lines.append(f'{row:03}.jpg,{f"{place:03}.jpg" if row < QUERIES - 1 else ""}')
    (folder / 'gt.csv').write_text('query,positives\n' + '\n'.join(lines) + '\n')
    return folder


def test_recall_equals_a_naive_loop(model_folder: Path, walk: Path) -> None:
    from vpr_ros.core.model import Model

    describer = OnnxDescriber(Model.open(model_folder))
    images = open_recall_set(walk)
    found = measure(describer, images, ns=(1, 5))
    hits = {1: 0, 5: 0}
    for query, true_rows in zip(images.queries, images.positives):
        seen = describer.describe([read(query)])[0]
        similarity = [
            float(describer.describe([read(path)])[0] @ seen) for path in images.database
        ]
        best = sorted(range(len(similarity)), key=lambda row: -similarity[row])
        for n in hits:
            hits[n] += any(row in true_rows for row in best[:n])
    assert found.at == {n: pytest.approx(count / QUERIES) for n, count in hits.items()}
    assert found.queries == QUERIES and found.unmatchable == 1
    assert 0.5 < found.at[1] < 0.9


def test_a_sequence_ranks_earlier_frames_only() -> None:
    frames = unit_rows(50, 8)
    queries = np.array([0, 3, 49])
    ranked = rank_earlier(frames, queries, 5)
    for query, row in zip(queries, ranked):
        earlier = sorted(range(query), key=lambda other: -float(frames[other] @ frames[query]))[:5]
        assert row.tolist() == earlier + [-1] * (5 - len(earlier))


def test_the_command_prints_a_table_and_writes_the_contract(
    model_folder: Path, walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'figures.json'
    status = main(
        [
            '--model',
            str(model_folder),
            '--dataset',
            str(walk),
            '--radius',
            '25',
            '--json',
            str(out),
        ]
    )
    printed = capsys.readouterr().out
    figures = json.loads(out.read_text())
    assert status == 0 and 'Recall@1' in printed and 'gt.csv' in printed
    assert set(figures['recall']) == {'1', '5', '10', '15', '20', '25'}
    assert figures['queries'] == QUERIES and figures['database'] == PLACES
    assert figures['unmatchable'] == 1
    low, high = figures['recall_interval']['1']
    assert low <= figures['recall']['1'] <= high


@pytest.mark.parametrize(
    ('changed', 'said'),
    [
        ({'--model': 'nowhere'}, 'no such model folder or checkpoint'),
        ({'--dataset': 'nowhere'}, 'no such folder'),
        ({'--radius': '0'}, 'expected more than 0 metres'),
        ({'--radius': 'nan'}, 'expected more than 0 metres'),
        ({'--json': '/proc/self/figures.json'}, 'cannot be written'),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    model_folder: Path,
    walk: Path,
    changed: dict[str, str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = {'--model': str(model_folder), '--dataset': str(walk)} | changed
    assert main([word for pair in options.items() for word in pair]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count('\n') == 1


def test_an_unreadable_image_is_named(
    model_folder: Path, walk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (walk / 'database' / '007.jpg').write_bytes(b'')
    assert main(['--model', str(model_folder), '--dataset', str(walk)]) == 2
    assert '007.jpg' in capsys.readouterr().err


def test_an_exported_model_is_measured_without_torch(model_folder: Path, walk: Path) -> None:
    program = (
        'import sys\n'
        'sys.modules["torch"] = None\n'
        'from vpr_training.evaluate import main\n'
        f'sys.exit(main(["--model", {str(model_folder)!r}, "--dataset", {str(walk)!r}]))\n'
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'Recall@1' in done.stdout
