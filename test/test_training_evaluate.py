"""`vpr_training.evaluate` measures what a naive loop measures, without torch.

It says what it cannot read.
"""

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from worlds import unit_rows, write_tiny_model

from vpr_ros.batch.workers import Workers
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.errors import ImageError
from vpr_ros.core.image import encode_jpeg, read
from vpr_training.basics.errors import TrainingError
from vpr_training.data.layouts import open_recall_set
from vpr_training.evaluate import main
from vpr_training.evaluating import descriptor_store
from vpr_training.evaluating.descriptor_store import described_files, forgotten_folder
from vpr_training.evaluating.ranking import rank_blocks, rank_earlier
from vpr_training.evaluating.recall import RECALL_NS, examine
from vpr_training.evaluating.third_party_onnx import InputForm, OnnxFile

ROOT = Path(__file__).resolve().parents[1]
PLACES, QUERIES = 40, 25


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


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


def test_recall_equals_a_naive_loop(model_folder: Path, walk: Path, tmp_path: Path) -> None:
    describer = OnnxDescriber(Model.open(model_folder))
    images = open_recall_set(walk)
    found = examine(describer, images, tmp_path / 'store').recall
    hits = dict.fromkeys(RECALL_NS, 0)
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
    ranked = rank_earlier(frames, frames[queries], queries, 5)
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
        ({'--model': 'nowhere'}, 'no such model folder, ONNX file or checkpoint'),
        ({'--dataset': 'nowhere'}, 'no such folder'),
        ({'--radius': '0'}, '--radius 0: expected a number above 0'),
        ({'--radius': 'inf'}, '--radius inf: expected a number above 0'),
        ({'--json': '/proc/self/figures.json'}, 'cannot be written'),
        ({'--json': 'x.html', '--report': './x.html'}, '--json and --report: both write x.html'),
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


def test_a_folder_without_a_card_is_told_with_what_to_give(
    tmp_path: Path, walk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'run').mkdir()
    given = ['--model', str(tmp_path / 'run'), '--dataset', str(walk)]
    assert main(given) == 2
    error = capsys.readouterr().err
    assert 'run: no model here (no card.json); give a folder that `python -m vpr_' in error
    for name in ('best.ckpt', 'last.ckpt'):
        (tmp_path / 'run' / name).write_bytes(b'')
    assert main(given) == 2
    error = capsys.readouterr().err
    assert 'no model here (no card.json), but best.ckpt, last.ckpt; give a checkpoint' in error


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


def run(model_folder: Path, data: Path, *words: str) -> int:
    return main(['--model', str(model_folder), '--dataset', str(data), *words])


def figures_of(tmp_path: Path, *words: str) -> dict:
    out = tmp_path / 'figures.json'
    assert main([*words, '--json', str(out)]) == 0
    return json.loads(out.read_text())


@pytest.mark.parametrize('sizes', [[40], [7, 0, 30, 3]])
def test_a_database_in_blocks_is_searched_like_a_whole_one(sizes: list[int]) -> None:
    database, queries = unit_rows(40, 16), unit_rows(9, 16, seed=1)
    blocks = np.split(database, np.cumsum(sizes)[:-1])
    ranked = rank_blocks(blocks, queries, 6)
    for query, row in zip(queries, ranked):
        expected = sorted(range(40), key=lambda place: -float(database[place] @ query))[:6]
        assert row.tolist() == expected


class Counting:
    """A describer that counts images, and stops after some as a user does."""

    def __init__(self, inner: OnnxDescriber, stop_after: int | None = None) -> None:
        self.inner, self.model, self.count, self.stop_after = inner, inner.model, 0, stop_after
        self.at_once, self.counting = inner.at_once, threading.Lock()

    def describe(self, images):
        with self.counting:
            if self.stop_after is not None and self.count + len(images) > self.stop_after:
                raise KeyboardInterrupt
            self.count += len(images)
        return self.inner.describe(images)

    def describe_with_cells(self, images):
        return self.describe(images), None


def test_an_interrupted_run_goes_on_and_a_second_one_describes_nothing(
    model_folder: Path, walk: Path, tmp_path: Path
) -> None:
    describer = OnnxDescriber(Model.open(model_folder))
    images, store = open_recall_set(walk), tmp_path / 'store'
    stopped = Counting(describer, stop_after=20)
    with pytest.raises(KeyboardInterrupt, match='16 of 40 images; the same command continues'):
        examine(stopped, images, store)
    partial = next(store.glob('*.partial'))
    partial.write_bytes(partial.read_bytes() + b'half a row')
    second, third = Counting(describer), Counting(describer)
    found = examine(second, images, store)
    assert second.count == PLACES - 16 + QUERIES
    again = examine(third, images, store)
    assert third.count == 0
    np.testing.assert_array_equal(found.ranked, again.ranked)
    assert found.recall == examine(describer, images, tmp_path / 'fresh').recall


def test_an_interrupted_run_does_not_say_that_it_goes_on_where_it_keeps_nothing(
    model_folder: Path, walk: Path
) -> None:
    describer = Counting(OnnxDescriber(Model.open(model_folder)), stop_after=20)
    with (
        pytest.raises(KeyboardInterrupt, match=r'^stopped; nothing is kept, start again$'),
        forgotten_folder('test-') as store,
    ):
        examine(describer, open_recall_set(walk), store)
    assert not store.exists()


def test_a_changed_image_or_model_is_described_anew(
    model_folder: Path, walk: Path, tmp_path: Path
) -> None:
    store, images = tmp_path / 'store', open_recall_set(walk)
    examine(OnnxDescriber(Model.open(model_folder)), images, store)
    (walk / 'queries' / '003.jpg').write_bytes(picture(999))
    changed = Counting(OnnxDescriber(Model.open(model_folder)))
    examine(changed, images, store)
    assert changed.count == QUERIES
    other = Counting(OnnxDescriber(write_tiny_model(tmp_path / 'other', grid=4)))
    examine(other, images, store)
    assert other.count == PLACES + QUERIES


def test_several_workers_write_the_same_bytes_and_keep_what_is_done(
    tmp_path: Path, walk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptor_store, 'SHARD', 15)
    describer = OnnxDescriber(write_tiny_model(tmp_path / 'tiny', cells=True), singly=False)
    paths, two = sorted((walk / 'database').iterdir()), Workers(count=2, threads=1)
    paths[-1].write_bytes(b'no image')
    store = tmp_path / 'two'
    with pytest.raises(ImageError, match=paths[-1].name):
        described_files(describer, paths, store, workers=two)
    assert list(store.glob('shards/*.cells.npy'))  # of the others, as far as they were
    paths[-1].write_bytes(picture(39))
    found = described_files(describer, paths, store, workers=two)
    assert not list((store / 'shards').glob('*.npy'))
    alone = described_files(describer, paths, tmp_path / 'alone')
    for mine, theirs in ((found.path, alone.path), (found.cells_path, alone.cells_path)):
        assert mine.read_bytes() == theirs.read_bytes()


def test_several_workers_end_without_a_word(model_folder: Path, walk: Path) -> None:
    """Python tells of what killed processes leave behind, such as semaphores, at its end."""
    words = ['--model', str(model_folder), '--dataset', str(walk), '--workers', '2']
    command = [sys.executable, '-m', 'vpr_training.evaluate', *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, '')
    assert 'Recall@1' in done.stdout


def test_without_a_cache_nothing_is_left(
    model_folder: Path, walk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'home'))
    assert run(model_folder, walk, '--no-cache') == 0
    assert not (tmp_path / 'home').exists()
    assert run(model_folder, walk) == 0
    assert len(list((tmp_path / 'home' / 'vpr_ros' / 'descriptors').glob('*.npy'))) == 2


SEARCH = """
import resource, sys
from pathlib import Path
import numpy as np
from vpr_training.evaluating.descriptor_store import DescriptorFile
from vpr_training.evaluating import descriptor_store
from vpr_training.evaluating.descriptor_store import described_files, forgotten_folder
from vpr_training.evaluating.ranking import rank_blocks
queries = np.random.default_rng(0).standard_normal((20, 512)).astype(np.float32)
database = DescriptorFile(Path(sys.argv[1]), int(sys.argv[2]), 512)
ranked = rank_blocks(database.blocks(), queries, 25)
assert ranked.shape == (20, 25)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_the_memory_of_a_search_does_not_grow_with_the_database(tmp_path: Path) -> None:
    """400,000 rows are 0.8 GB, 100,000 are 0.2 GB; the peak may differ by 60 MB."""

    def peak_mb(rows: int) -> float:
        path = tmp_path / f'{rows}.npy'
        with path.open('wb') as file:  # a hole on the disk reads as zeros
            header = {'descr': '<f4', 'fortran_order': False, 'shape': (rows, 512)}
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + rows * 2048)
        done = subprocess.run(
            [sys.executable, '-c', SEARCH, str(path), str(rows)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        path.unlink()
        return int(done.stdout) / 1024

    assert peak_mb(400_000) - peak_mb(100_000) < 60


def utm_name(east: float, zone: int = 10, note: str = '') -> str:
    return f'@{east:.2f}@4181000.00@{zone}@S@@@@@@@@@{note}@.jpg'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """SF-XS's tree; every second test query is in the next zone, at the same metres."""
    for split in ('val', 'test'):
        for half in ('database', 'queries'):
            folder = tmp_path / 'toy_xs' / 'images' / split / half
            folder.mkdir(parents=True)
            for row in range(8):
                zone = 11 if half == 'queries' and split == 'test' and row % 2 else 10
                note = ('day', 'night')[row // 4] if half == 'queries' else ''
                name = utm_name(550_000 + 100 * row, zone, note)
                (folder / name).write_bytes(picture(row))
    return tmp_path / 'toy_xs'


def test_a_split_of_a_tree_is_chosen_and_zones_are_never_compared(
    model_folder: Path, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ('--model', str(model_folder), '--dataset', str(tree), '--no-cache')
    assert main([*words]) == 2
    assert 'has val, test; choose one with --split' in capsys.readouterr().err
    assert main([*words, '--split', 'train']) == 2
    assert 'no train/' in capsys.readouterr().err
    found = figures_of(tmp_path, *words, '--split', 'val')
    assert found['dataset'] == 'toy_xs val' and found['recall']['1'] == 1.0
    found = figures_of(tmp_path, *words, '--split', 'test')
    assert found['unmatchable'] == 4 and found['recall']['1'] == 0.5
    assert found['recall_of_matchable']['1'] == 1.0


def test_conditions_in_the_names_are_reported_apart(
    model_folder: Path, tree: Path, tmp_path: Path
) -> None:
    for path in (tree / 'images' / 'val' / 'queries').glob('*night*'):
        path.write_bytes(picture(77))  # none of the places
    words = ('--model', str(model_folder), '--dataset', str(tree), '--split', 'val', '--no-cache')
    found = figures_of(tmp_path, *words)['conditions']
    assert found['day']['recall']['1'] == 1.0 and found['night']['recall']['1'] <= 0.25
    assert found['day']['queries'] == found['night']['queries'] == 4


def write_float_graph(
    path: Path, *, layout: str = 'nchw', size: int | str = 64, batch: int | str = 'B'
) -> Path:
    """Cells of the tiny model from float planes in [0, 1], not brought to unit norm."""
    axes = [batch, 3, size, size] if layout == 'nchw' else [batch, size, size, 3]
    start = [] if layout == 'nchw' else [
        helper.make_node('Transpose', ['images'], ['planes'], perm=[0, 3, 1, 2])
    ]  # fmt: skip
    source = 'images' if layout == 'nchw' else 'planes'
    nodes = [
        *start,
        helper.make_node('AveragePool', [source], ['cells'], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node('Flatten', ['cells'], ['flat']),
        helper.make_node('ReduceMean', ['flat'], ['mean'], axes=[1], keepdims=1),
        helper.make_node('Sub', ['flat', 'mean'], ['descriptors']),
    ]
    graph = helper.make_graph(
        nodes,
        'float',
        [helper.make_tensor_value_info('images', TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info('descriptors', TensorProto.FLOAT, [batch, 192])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    path.write_bytes(made.SerializeToString())
    return path


@pytest.mark.parametrize(
    ('form', 'words'),
    [
        ({}, []),
        ({'layout': 'nhwc'}, []),
        ({'size': 'S'}, ['--image-size', '64x64']),
        ({'batch': 1}, []),
        ({'batch': 3}, []),
    ],
)
def test_a_foreign_graph_of_any_form_gives_the_same_recall(
    model_folder: Path, walk: Path, tmp_path: Path, form: dict, words: list[str]
) -> None:
    path = write_float_graph(tmp_path / 'foreign.onnx', **form)
    data = ('--dataset', str(walk), '--no-cache')
    found = figures_of(tmp_path, '--model', str(path), *data, '--scaling', 'unit', *words)
    ours = figures_of(tmp_path, '--model', str(model_folder), *data)
    assert found['recall'] == ours['recall'] and found['model'] == 'foreign'


def test_a_plain_graph_of_bytes_needs_no_option(
    model_folder: Path, walk: Path, tmp_path: Path
) -> None:
    data = ('--dataset', str(walk), '--no-cache')
    bare = figures_of(tmp_path, '--model', str(model_folder / 'model.onnx'), *data)
    assert bare['recall'] == figures_of(tmp_path, '--model', str(model_folder), *data)['recall']


def write_graph_with_weights_beside(path: Path, weights: np.ndarray) -> None:
    """Pixels times weights [192, D] that are in a file beside it, as of large networks."""
    graph = helper.make_graph(
        [
            helper.make_node(
                'AveragePool', ['images'], ['cells'], kernel_shape=[8, 8], strides=[8, 8]
            ),
            helper.make_node('Flatten', ['cells'], ['flat']),
            helper.make_node('MatMul', ['flat', 'weights'], ['descriptors']),
        ],
        'beside',
        [helper.make_tensor_value_info('images', TensorProto.FLOAT, ['B', 3, 64, 64])],
        [helper.make_tensor_value_info('descriptors', TensorProto.FLOAT, ['B', weights.shape[1]])],
        [numpy_helper.from_array(weights.astype(np.float32), 'weights')],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)])
    model.ir_version = 8
    data = path.with_suffix('.weights')
    data.unlink(missing_ok=True)  # onnx would append
    onnx.save_model(model, path, save_as_external_data=True, location=data.name, size_threshold=0)


def test_other_weights_beside_a_foreign_graph_are_another_model(
    walk: Path, tmp_path: Path
) -> None:
    path = tmp_path / 'foreign.onnx'
    data = ('--dataset', str(walk), '--scaling', 'unit')
    write_graph_with_weights_beside(path, np.eye(192) - 1 / 192)
    graph = path.read_bytes()
    good = figures_of(tmp_path, '--model', str(path), *data)
    write_graph_with_weights_beside(path, np.diag(np.arange(192) < 2))
    assert path.read_bytes() == graph
    poor = figures_of(tmp_path, '--model', str(path), *data)
    assert (
        poor['recall'] == figures_of(tmp_path, '--model', str(path), *data, '--no-cache')['recall']
    )
    assert poor['recall']['1'] < good['recall']['1']
    assert poor['model_sha256'] != good['model_sha256']


def test_scaling_is_what_its_name_says(tmp_path: Path) -> None:
    path = write_float_graph(tmp_path / 'foreign.onnx')
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for scaling, planes in (
        ('bytes', image.astype(float)),
        ('unit', image / 255),
        ('imagenet', (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
    ):
        cells = planes.reshape(8, 8, 8, 8, 3).mean(axis=(1, 3)).transpose(2, 0, 1).ravel()
        expected = (cells - cells.mean()) / np.linalg.norm(cells - cells.mean())
        found = OnnxFile(path, InputForm(scaling=scaling)).describe([image])[0]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ('form', 'words', 'said'),
    [
        (
            {},
            [],
            'not say how pixels are scaled; give --scaling with one of imagenet, unit, bytes',
        ),
        ({'size': 'S'}, ['--scaling', 'unit'], 'has no fixed size; give --image-size'),
        ({}, ['--scaling', 'unit', '--image-size', '32x32'], 'the graph takes 64x64'),
    ],
)
def test_what_a_foreign_graph_does_not_say_is_asked_for(
    walk: Path,
    tmp_path: Path,
    form: dict,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_float_graph(tmp_path / 'foreign.onnx', **form)
    assert run(path, walk, '--no-cache', *words) == 2
    error = capsys.readouterr().err
    assert said in error and error.count('\n') == 1


@pytest.mark.parametrize(
    ('last', 'axes', 'said'),
    [
        (('Transpose', {'perm': [1, 0]}), [192, 3], 'is of shape [192, 3] for 3 images'),
        (('ReduceMean', {'axes': [0], 'keepdims': 1}), [1, 192], 'is of shape [1, 192] for 3'),
        (
            ('Sub', {}),
            [3, 192],
            'has the length 0, expected a finite one above 0; check --scaling',
        ),
        (('Log', {}), [3, 192], 'has the length nan, expected'),
        (('Reshape', {'shape': [3, 12, 16]}), [3, 12, 16], '[3, 12, 16], a map or tokens'),
    ],
)
def test_a_foreign_graph_that_gives_no_descriptor_of_each_image_is_refused(
    walk: Path,
    tmp_path: Path,
    last: tuple[str, dict],
    axes: list[int],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_float_graph(tmp_path / 'foreign.onnx', batch=3)
    made = onnx.load(path)
    kind, attributes = last
    inputs = ['descriptors'] * (2 if kind == 'Sub' else 1)
    if shape := attributes.get('shape'):
        made.graph.initializer.append(onnx.numpy_helper.from_array(np.array(shape), 'shape'))
        inputs, attributes = [*inputs, 'shape'], {}
    made.graph.node.append(helper.make_node(kind, inputs, ['changed'], **attributes))
    del made.graph.output[:]
    made.graph.output.append(helper.make_tensor_value_info('changed', TensorProto.FLOAT, axes))
    onnx.save(made, path)
    assert run(path, walk, '--no-cache', '--scaling', 'unit') == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize('words', [['--scaling', 'unit'], ['--image-size', '8x8']])
def test_what_is_said_of_onnx_files_is_refused_for_other_models(
    model_folder: Path, walk: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model_folder, walk, '--no-cache', *words) == 2
    assert f'{words[0]}: has an effect only on ONNX files' in capsys.readouterr().err


def test_a_graph_of_grey_images_is_refused_without_asking_for_a_layout(tmp_path: Path) -> None:
    path = write_float_graph(tmp_path / 'foreign.onnx')
    made = onnx.load(path)
    made.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    made.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 64
    onnx.save(made, path)
    for layout in (None, 'nchw'):
        with pytest.raises(TrainingError, match='takes no RGB images'):
            OnnxFile(path, InputForm(layout=layout, scaling='unit'))


def test_descriptors_that_were_cut_off_are_made_again(
    model_folder: Path, walk: Path, tmp_path: Path
) -> None:
    words = ('--model', str(model_folder), '--dataset', str(walk), '--cache', str(tmp_path / 'c'))
    before = figures_of(tmp_path, *words)
    for file in (tmp_path / 'c').glob('*.npy'):
        file.write_bytes(file.read_bytes()[:-1000])
    assert figures_of(tmp_path, *words)['recall'] == before['recall']


def test_what_is_no_graph_is_one_line(
    walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'text.onnx').write_text('words')
    assert run(tmp_path / 'text.onnx', walk) == 2
    error = capsys.readouterr().err
    assert 'not an ONNX file' in error and error.count('\n') == 1


def test_the_report_compares_models_and_shows_the_failures(
    model_folder: Path, walk: Path, tmp_path: Path
) -> None:
    write_tiny_model(tmp_path / 'coarse', name='coarse', grid=2)
    page = tmp_path / 'page.html'
    words = ('--model', str(model_folder), '--model', str(tmp_path / 'coarse'))
    words += ('--dataset', str(walk), '--no-cache', '--report', str(page))
    found = figures_of(tmp_path, *words)
    assert [entry['model'] for entry in found['models']] == ['tiny', 'coarse']
    text = page.read_text()
    for recall in found['models']:
        assert f'{recall["recall"]["1"]:.3f}' in text
    wrong = {'000.jpg', '005.jpg', '010.jpg', '015.jpg', '020.jpg'} - {'024.jpg'}
    assert all(f'<h3>{name}</h3>' in text for name in wrong)
    assert 'Worst failures: coarse' in text and 'vpr_training.evaluate' in text
