"""Pictures that are turned compared with the map's are told, on the drives of the demo."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.errors import ImageError
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Image
from vpr_ros.drives import open_drive
from vpr_ros.drives.drive import RecordedFrame
from vpr_ros.evaluating.answers import Answer
from vpr_ros.evaluating.measuring import Way, measured
from vpr_ros.evaluating.setups import opened_maps, setups_of
from vpr_ros.evaluating.tolerance import Tolerance
from vpr_ros.evaluating.turned import turned_said
from vpr_ros.map_care.build import MapOptions, build_map
from vpr_ros.map_care.spacing import Spacing

DRIVES = Path(__file__).resolve().parents[1] / 'demo' / 'drives'


class Turned:
    """The demo at dusk without its last street, with every image changed."""

    def __init__(self, change: Callable[[Image], Image], *, count: int = 100) -> None:
        self._drive, self._change, self._count = open_drive(DRIVES / 'dusk'), change, count

    def __getattr__(self, name: str) -> object:
        return getattr(self._drive, name)

    def __len__(self) -> int:
        return self._count

    def frames(self) -> Iterator[RecordedFrame]:
        for frame, _ in zip(self._drive.frames(), range(self._count)):
            yield replace(frame, load=self._loading(frame))

    def _loading(self, frame: RecordedFrame) -> Callable[..., Image]:
        def load(*, at_least_hw: tuple[int, int] | None = None) -> Image:
            return np.ascontiguousarray(self._change(frame.load(at_least_hw=at_least_hw)))

        return load


@pytest.fixture(scope='module')
def map_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('turned') / 'map'
    describer = OnnxDescriber(Model.open(default_model()), singly=False)
    build_map(
        open_drive(DRIVES / 'day'), describer, folder, MapOptions(spacing=Spacing(metres=3.0))
    )
    return folder


@pytest.fixture
def localizer(map_folder: Path) -> Localizer:
    return Localizer(OnnxDescriber(Model.open(default_model())), PlaceMap.open(map_folder))


def answers(*, count: int = 100, fixes: int = 0) -> list[Answer]:
    pose = np.zeros(7)
    none = np.empty((0, 7))
    return [Answer(row, none, pose if row < fixes else None, 0.0, {}) for row in range(count)]


@pytest.mark.parametrize(
    ('change', 'remedy'),
    [
        (lambda image: image[::-1, ::-1], 'turned by 180 degrees'),
        (lambda image: np.rot90(image), 'turned by 90 degrees to the right'),
        (lambda image: np.rot90(image, -1), 'turned by 90 degrees to the left'),
        (lambda image: image[:, ::-1], 'mirrored'),
        (lambda image: image[::-1], 'mirrored and turned by 180 degrees'),
    ],
)
def test_a_turned_picture_is_told(
    localizer: Localizer, change: Callable[[Image], Image], remedy: str
) -> None:
    said = turned_said(Turned(change), answers(fixes=9), localizer)
    assert f'get a fix if they are {remedy}, and 9 of 100 as they are' in said
    assert int(said.split(': ')[1].split()[0]) > 30


def test_a_right_picture_another_view_and_a_drive_with_fixes_are_left_alone(
    localizer: Localizer,
) -> None:
    assert turned_said(Turned(lambda image: image), answers(), localizer) == ''
    narrow = Turned(lambda image: image[60:180, 80:240])
    assert turned_said(narrow, answers(), localizer) == ''
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    assert turned_said(Turned(lambda image: noise), answers(), localizer) == ''
    upside_down = Turned(lambda image: image[::-1, ::-1])
    assert turned_said(upside_down, answers(fixes=10), localizer) == ''
    assert turned_said(upside_down, answers(count=19), localizer) == ''


def test_images_that_cannot_be_used_do_not_end_it(localizer: Localizer) -> None:
    def broken(image: Image) -> Image:
        raise ImageError('broken')

    assert turned_said(Turned(broken), answers(), localizer) == ''


def test_an_evaluation_notes_it(map_folder: Path) -> None:
    (setup,) = setups_of(opened_maps([map_folder], [], precision='auto'), {}, [])
    drive = Turned(lambda image: image[::-1, ::-1], count=40)
    variant = measured(setup, [drive], Way(tolerance=Tolerance(5.0)))
    assert variant.evaluation.answered < 0.1
    assert any('get a fix if they are turned by 180 degrees' in note for note in drive.warnings)
