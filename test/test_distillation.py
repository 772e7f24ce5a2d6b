"""Distillation: a student learns to see as its teacher does, from images without labels."""

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: make setup-training')
pytest.importorskip('lightning', reason='make setup-training')
from test_train import SMALL, draw_place, epochs, in_process, one_line, steps, until

from vpr_training.data.augmentation import random_crop
from vpr_training.exporting.model_folder import export_checkpoint
from vpr_training.exporting.network_from_graph import load_model
from vpr_training.learning.distillation import (
    unexplained_cells,
    unexplained_maps,
    unexplained_similarities,
)
from vpr_training.models.checkpoints import load_checkpoint
from vpr_training.models.network import ExportedNetwork, Network, NetworkConfig
from vpr_training.runs.settings_parser import read_settings
from vpr_training.train import main as train
from vpr_training.whitening import main as whiten

TRAINING = Path(__file__).parent.parent / 'config' / 'train'


@pytest.fixture(scope='module')
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures in two folders, with names that repeat; nothing is known about them."""
    folder = tmp_path_factory.mktemp('images')
    for part in ('first', 'second'):
        (folder / part).mkdir()
        for number in range(20):
            picture = draw_place(number, 0 if part == 'first' else 1)
            cv2.imwrite(str(folder / part / f'{number}.jpg'), picture)
    return folder


@pytest.fixture(scope='module')
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a network with maps of other channels and cells than a student's."""
    torch.manual_seed(7)
    network = Network(
        NetworkConfig(
            weights=None, last_stage=3, frozen_stages=0, aggregator='gem',
            image_height=64, image_width=64,
        )
    )  # fmt: skip
    path = tmp_path_factory.mktemp('teacher') / 'teacher.ckpt'
    held = {**vars_of(network.config), 'weights': None}
    torch.save({'network': held, 'state_dict': network.state_dict()}, path)
    return path


def vars_of(config: NetworkConfig) -> dict[str, object]:
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


def flags(teacher: Path, images: Path) -> list[str]:
    """Of a run that learns from a teacher."""
    return [
        *SMALL,
        f'--distillation.teacher={teacher}',
        f'--data.root={images}',
        '--data.images_per_place=1',
        '--data.min_images_per_place=1',
        '--data.places_per_batch=8',
        '--data.augment_crop=0.5',
        '--epochs=4',
    ]


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory: pytest.TempPathFactory, teacher: Path, images: Path) -> Path:
    run = tmp_path_factory.mktemp('runs') / 'unbroken'
    assert train([*flags(teacher, images), f'--output={run}']) == 0
    return run


def test_what_the_maps_leave_unexplained_is_that_of_a_loop_over_channels() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.normal(5, 3, (4, 2, 3, 3)), rng.normal(-2, 0.1, (4, 1, 3, 3))]
    read = rng.normal(size=(4, 3, 3, 3))
    expected = []
    for start, held in ((0, maps[0]), (2, maps[1])):
        squares = []
        for channel in range(held.shape[1]):
            wanted = held[:, channel]
            standard = (wanted - wanted.mean()) / wanted.std()
            squares.append(((read[:, start + channel] - standard) ** 2).mean())
        expected.append(np.mean(squares))
    parts = [torch.tensor(read[:, :2]), torch.tensor(read[:, 2:])]
    found = unexplained_maps(parts, [torch.tensor(one) for one in maps])
    assert float(found) == pytest.approx(np.mean(expected), rel=2e-3)  # batch_norm has an epsilon


def test_a_constant_explains_no_map_and_a_copy_explains_all() -> None:
    target = torch.randn(6, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    standard = (target - target.mean((0, 2, 3), keepdim=True)) / target.std(
        (0, 2, 3), keepdim=True, correction=0
    )
    assert float(unexplained_maps([torch.zeros_like(target)], [target])) == pytest.approx(
        1, abs=1e-3
    )
    assert float(unexplained_maps([standard], [target])) == pytest.approx(0, abs=1e-6)


def test_a_coarser_map_of_the_teacher_is_brought_to_the_size_of_the_student() -> None:
    coarse = torch.randn(3, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(unexplained_maps([torch.zeros(3, 2, 5, 4)], [coarse]))


def test_what_the_similarities_leave_unexplained_is_that_of_a_loop_over_pairs() -> None:
    rng = np.random.default_rng(1)
    student, teacher = (
        one / np.linalg.norm(one, axis=1, keepdims=True)
        for one in (rng.normal(size=(5, 3)), rng.normal(size=(5, 7)))
    )
    own, wanted = [], []
    for first in range(5):
        for second in range(first + 1, 5):
            own.append(sum(student[first] * student[second]))
            wanted.append(sum(teacher[first] * teacher[second]))
    expected = np.mean((np.array(own) - wanted) ** 2) / np.var(wanted)
    found = unexplained_similarities(torch.tensor(student), torch.tensor(teacher))
    assert float(found) == pytest.approx(expected)
    assert float(unexplained_similarities(torch.tensor(teacher), torch.tensor(teacher))) == 0


def test_what_cells_leave_unexplained_is_one_less_the_mean_of_their_cosines() -> None:
    rng = np.random.default_rng(2)
    own, wanted = (rng.normal(size=(2, 3, 4, 5)) for _ in range(2))
    own, wanted = (one / np.linalg.norm(one, axis=3, keepdims=True) for one in (own, wanted))
    cosines = [
        own[image, row, column] @ wanted[image, row, column]
        for image in range(2)
        for row in range(3)
        for column in range(4)
    ]
    found = unexplained_cells(torch.tensor(own), torch.tensor(wanted))
    assert float(found) == pytest.approx(1 - np.mean(cosines), abs=1e-6)
    assert float(unexplained_cells(torch.tensor(own), torch.tensor(own))) == pytest.approx(
        0, abs=1e-6
    )


def test_coarser_cells_of_the_teacher_are_brought_to_the_grid_of_the_student() -> None:
    coarse = torch.ones(2, 2, 2, 4) / 2
    assert float(unexplained_cells(torch.ones(2, 5, 3, 4) / 2, coarse)) == pytest.approx(0)


@pytest.fixture(scope='module')
def seeing(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A model folder with cells, learned on the images: a teacher of cells."""
    root = tmp_path_factory.mktemp('seeing')
    flags = [*SMALL[:6], '--network.cells=8', '--data.images_per_place=1', '--epochs=1']
    flags += ['--data.min_images_per_place=1', '--data.places_per_batch=8', '--seed=3']
    flags += ['--data.workers=0', f'--data.root={images}', f'--output={root / "run"}']
    assert whiten([*flags, '--network.descriptor_size=9']) == 0
    return export_checkpoint(root / 'run' / 'best.ckpt', root / 'model').folder


@pytest.mark.timeout(300)
def test_a_student_learns_the_cells_of_a_model_and_whitening_keeps_them(
    tmp_path: Path, images: Path, seeing: Path
) -> None:
    learning = ['--network.cells=8', '--distillation.cells=1', '--epochs=6']
    run = tmp_path / 'run'
    assert train([*flags(seeing, images), *learning, f'--output={run}']) == 0
    losses = [float(row['loss']) for row in epochs(run)]
    assert losses[-1] < losses[0]

    pictures = torch.from_numpy(
        np.stack([cv2.resize(cv2.imread(str(one)), (64, 64)) for one in images.rglob('*.jpg')])
    )
    teacher, student = load_model(seeing).eval(), load_checkpoint(run / 'last.ckpt').eval()

    @torch.no_grad()
    def left(student: Network) -> float:
        own, wanted = (
            one.cells_of(ExportedNetwork(one).maps(pictures)) for one in (student, teacher)
        )
        return float(unexplained_cells(own, wanted))

    torch.manual_seed(0)
    assert left(student) < 0.8 * left(Network(student.config).eval())

    kept = [*SMALL, *learning[:1], '--whitening.cells=false', '--network.descriptor_size=9']
    kept += ['--data.images_per_place=1', '--data.min_images_per_place=1', '--data.workers=0']
    kept += [f'--init={run / "last.ckpt"}', f'--data.root={images}', '--epochs=1']
    assert whiten([*kept, f'--output={tmp_path / "white"}']) == 0
    white = load_checkpoint(tmp_path / 'white' / 'best.ckpt')
    assert white.cells is not None and student.cells is not None
    for name, value in student.cells.state_dict().items():
        assert torch.equal(white.cells.state_dict()[name], value), name
    shorter = [flag.replace('size=9', 'size=5') for flag in kept if '--init' not in flag]
    shorter += [f'--init={tmp_path / "white" / "best.ckpt"}', f'--output={tmp_path / "shorter"}']
    assert whiten(shorter) == 0
    assert load_checkpoint(tmp_path / 'shorter' / 'best.ckpt').descriptor_size == 5


@pytest.mark.timeout(300)
def test_a_student_comes_nearer_to_its_teacher_without_labels(
    tmp_path: Path, unbroken: Path
) -> None:
    losses = [float(row['loss']) for row in epochs(unbroken)]
    assert losses[-1] < losses[0]
    card = export_checkpoint(unbroken / 'best.ckpt', tmp_path / 'model').card
    assert card.provenance['loss'] == 'distilled from teacher.ckpt'
    assert card.provenance['images'] == 40


@pytest.mark.timeout(300)
def test_a_distillation_that_is_killed_goes_on_with_the_same_steps(
    tmp_path: Path, teacher: Path, images: Path, unbroken: Path
) -> None:
    run = tmp_path / 'killed'
    process = in_process(*flags(teacher, images), f'--output={run}')
    until(lambda: (run / 'epochs.csv').exists() and len(epochs(run)) >= 2, process)
    process.kill()
    process.communicate()
    assert train([f'--resume={run}']) == 0
    assert steps(run) == steps(unbroken) and epochs(run) == epochs(unbroken)
    mine, theirs = load_checkpoint(run / 'last.ckpt'), load_checkpoint(unbroken / 'last.ckpt')
    for name, value in theirs.state_dict().items():
        assert torch.equal(mine.state_dict()[name], value), name


@pytest.mark.timeout(300)
def test_the_second_stage_starts_from_what_the_first_one_made(
    tmp_path: Path, images: Path, unbroken: Path
) -> None:
    lines = ['image,place_id'] + [
        f'{images / part / f"{number}.jpg"},{number}'
        for part in ('first', 'second')
        for number in range(20)
    ]
    (tmp_path / 'places.csv').write_text('\n'.join(lines) + '\n')
    run = tmp_path / 'places'
    learning = ['--epochs=1', f'--data.root={tmp_path}', f'--init={unbroken / "best.ckpt"}']
    assert train([*SMALL, *learning, f'--output={run}']) == 0
    assert 'adapter' not in torch.load(run / 'last.ckpt', weights_only=True)


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        ('--distillation.teacher=nowhere.ckpt', 'nowhere.ckpt: no such file'),
        ('--distillation.maps=-1', 'distillation.maps is -1'),
        ('--distillation.teacher=', 'data.images_per_place is 1'),
        ('--distillation.cells=-1', 'distillation.cells is -1'),
        ('--distillation.cells=1', 'the teacher has no cells'),
        ('--data.augment_crop=0', 'data.augment_crop is 0'),
        ('--data.cities=[third]', 'has no images in third'),
    ],
)
def test_what_cannot_be_distilled_is_one_line(
    tmp_path: Path,
    teacher: Path,
    images: Path,
    wrong: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train([*flags(teacher, images), wrong, f'--output={tmp_path / "run"}']) == 2
    assert said in one_line(capsys)
    assert not (tmp_path / 'run').exists()


def test_cells_of_another_size_than_the_teachers_are_refused(
    tmp_path: Path, images: Path, seeing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ['--distillation.cells=1', '--network.cells=16', f'--output={tmp_path / "run"}']
    assert train([*flags(seeing, images), *wrong]) == 2
    assert 'network.cells is 16, expected 8' in one_line(capsys)
    assert not (tmp_path / 'run').exists()


def test_a_random_crop_is_a_part_of_the_picture_with_at_least_its_share() -> None:
    rows, columns = np.mgrid[0:40, 0:60]
    image = np.stack([rows, columns, rows * 0], axis=2).astype(np.uint8)
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(200):
        part = random_crop(image, rng, least_share=0.3)
        top, left = int(part[0, 0, 0]), int(part[0, 0, 1])
        height, width = part.shape[:2]
        assert (part == image[top : top + height, left : left + width]).all()
        shares.append(height * width / 2400)
    assert 0.27 < min(shares) < 0.4 and max(shares) > 0.85


@pytest.mark.parametrize('aggregator', ['mixvpr', 'gem'])
def test_the_two_stages_are_of_one_network(aggregator: str) -> None:
    first, second = (
        read_settings(TRAINING / f'{stage}_resnet18_{aggregator}.yaml').network
        for stage in ('distill', 'places')
    )
    for name in ('backbone', 'last_stage', 'image_height', 'image_width', 'aggregator_options'):
        assert getattr(first, name) == getattr(second, name)
    assert first.aggregator == second.aggregator == aggregator


@pytest.mark.timeout(300)
def test_another_pooling_starts_from_the_same_students_backbone(
    tmp_path: Path, images: Path, unbroken: Path
) -> None:
    checkpoint = unbroken / 'best.ckpt'
    sibling = Network(
        NetworkConfig(
            weights=str(checkpoint), last_stage=2, frozen_stages=0, aggregator='avg',
            image_height=64, image_width=64,
        )
    )  # fmt: skip
    theirs = load_checkpoint(checkpoint).backbone.state_dict()
    assert theirs.keys() == sibling.backbone.state_dict().keys()
    for name, value in sibling.backbone.state_dict().items():
        assert torch.equal(value, theirs[name]), name
