"""What place-recognition models are compared with: four training-free descriptors.

hog     histograms of gradient directions of the whole picture (Dalal and Triggs 2005)
gem32   EfficientNet-Lite0, ImageNet weights: generalized mean (3) of the last map
gem16   the same of the map at stride 16
grid16  that map averaged to 4 x 4, centred channel by channel
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import cv2
import numpy as np
from inputs import ROOT
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.image import read, resize
from vpr_ros.core.mapping.described import describe_as_kept
from vpr_ros.core.types import CellBits, Described, Descriptors, Image
from vpr_training.data.layouts import open_recall_set
from vpr_training.data.recall_set import RecallSet
from vpr_training.evaluating.ranking import rank
from vpr_training.evaluating.verifying import BEST, ranked_anew
from vpr_training.exporting.model_folder import export, load_untrained
from vpr_training.models.network import Network

LITE0 = ROOT / 'config' / 'models' / 'lite0.yaml'
SETS = (
    'corridor', 'rtabmap_corridor_loop', 'gardenspoint_thumb', 'nordland_64x32',
    'lund_street_gps', 'ie_tower_indoor', 'cambridge_streetview', 'sfxl_toy',
)  # fmt: skip
THE_SIX = SETS[:6]
"""Sets of which tables give the mean."""
SIZE_HW = 320, 320
Made = TypeVar('Made')
REFERENCES = ('hog', 'gem32', 'gem16', 'grid16')


@dataclass(frozen=True)
class Contender:
    """Something that turns an image uint8 [320, 320, 3] into a unit descriptor [D].

    And into cells [h * w, C / 8], where it has some: (h, w) is their grid.
    """

    name: str
    describe: Callable[[Image], Described]
    grid: tuple[int, int] | None = None


@dataclass(frozen=True)
class Seen:
    """What a contender makes of N images."""

    descriptors: Descriptors  # [N, D]
    cells: CellBits | None = None  # [N, h * w, C / 8]
    grid: tuple[int, int] = (0, 0)

    def of(self, rows: NDArray[np.int64]) -> 'Seen':
        """Some of the images."""
        cells = None if self.cells is None else self.cells[rows]
        return Seen(self.descriptors[rows], cells, self.grid)

    def rank(
        self, queries: 'Seen', earlier_than: NDArray[np.int64] | None, count: int
    ) -> NDArray[np.int64]:
        """The `count` best rows of these for each query, [Q, count]; matched where cells are."""
        if self.cells is None or queries.cells is None:
            return rank(self.descriptors, queries.descriptors, earlier_than, count)
        ranked = rank(self.descriptors, queries.descriptors, earlier_than, max(count, BEST))
        return ranked_anew(
            ranked,
            database=self.descriptors,
            queries=queries.descriptors,
            database_bits=self.cells,
            query_bits=queries.cells,
            grid=self.grid,
            best=BEST,
        )[:, :count]


class _Last(Generic[Made]):
    """Remembers the last image, of which two contenders use what was made: one pass for both."""

    def __init__(self, describe: Callable[[Image], Made]) -> None:
        self._describe = describe
        self._held: tuple[Image, Made] | None = None

    def __call__(self, image: Image) -> Made:
        if self._held is None or self._held[0] is not image:
            self._held = image, self._describe(image)
        return self._held[1]


def hog(image: Image) -> Descriptors:
    """Cells of 40 x 40 pixels, 9 directions, blocks of 2 x 2 cells."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    finder = cv2.HOGDescriptor(SIZE_HW, (80, 80), (40, 40), (40, 40), 9)
    return unit(np.asarray(finder.compute(grey), dtype=np.float32).ravel())


def unit(vector: Descriptors) -> Descriptors:
    """At length 1; a vector of zeros stays."""
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


@contextmanager
def contenders(models: Sequence[Path]) -> Iterator[list[Contender]]:
    """The four references, then the model folders by their fp32 graphs."""
    with tempfile.TemporaryDirectory(prefix='contenders-') as scratch:
        network, card = load_untrained(LITE0)
        halves = OnnxDescriber(export(network, card, Path(scratch) / 'lite0'), threads=1)
        cells = replace(
            network.config, taps=('stride16',), aggregator='gem', aggregator_options={}
        )
        pooled = Network(cells)
        sized = replace(card, descriptor_size=pooled.descriptor_size, recall={})
        gem16 = OnnxDescriber(export(pooled, sized, Path(scratch) / 'gem16'), threads=1)
        things = network.backbone.channels[-1]
        both = _Last(lambda image: halves.describe([image])[0])
        yield [
            Contender('hog', lambda image: Described(hog(image))),
            Contender('gem32', lambda image: Described(unit(both(image)[:things]))),
            Contender('gem16', lambda image: Described(gem16.describe([image])[0])),
            Contender('grid16', lambda image: Described(unit(both(image)[things:]))),
            *(one for path in models for one in of_folder(path)),
        ]


def of_folder(path: Path) -> list[Contender]:
    """A model folder by its descriptor, and with its cells where it has some."""
    describer = OnnxDescriber(Model.open(path, precision='fp32'), threads=1)
    seen = _Last(lambda image: describe_as_kept(describer, image))  # once for both
    plain = Contender(path.name, lambda image: Described(seen(image).descriptor))
    cells = describer.model.card.cells
    if cells is None:
        return [plain]
    return [plain, Contender(f'{path.name} with cells', seen, cells[:2])]


def open_sets(data: Path, names: Sequence[str]) -> list[RecallSet]:
    """Evaluation sets by their folders' names."""
    return [open_recall_set(data / name) for name in names]


def describe_all(
    described_by: Sequence[Contender],
    paths: Sequence[Path],
    *,
    disturb: Callable[[Image], Image] | None = None,
    label: str = '',
) -> dict[str, Seen]:
    """What each contender makes of image files, every image read once."""
    rows: dict[str, list[Described]] = {one.name: [] for one in described_by}
    for path in tqdm(paths, desc=label, unit='image', disable=None, leave=False):
        image = resize(read(path), SIZE_HW)
        if disturb:
            image = disturb(image)
        for one in described_by:
            rows[one.name].append(one.describe(image))
    return {one.name: _stacked(rows[one.name], one.grid) for one in described_by}


def _stacked(rows: Sequence[Described], grid: tuple[int, int] | None) -> Seen:
    descriptors = np.stack([row.descriptor for row in rows])
    if grid is None:
        return Seen(descriptors)
    return Seen(descriptors, np.stack([row.cells for row in rows if row.cells is not None]), grid)
