"""What an image of a drive says of each place: evidence for the belief.

Evidence is how far a place stands out of the whole row of similarities, in two steps:

- From each place's similarity its background is subtracted: the mean over the drive so far, which
  begins at the place's mean similarity to the map. What is left is what this image has that the
  others have not; light, weather and season, which all images of a drive share, are gone. In terms
  of descriptors this is the cosine between query and place, each centred by the mean of its drive.
  A mean of rows is the row of a mean: the background is one vector, and the row at any place costs
  one product with the query less that vector.
- The row is brought to mean 0 and variance 1. "Elsewhere" is a fixed height in that scale, so that
  an image that fits no place better than chance speaks for "elsewhere".

Images that repeat each other are no independent evidence: a row counts by how far it differs from
the last one that counted. A camera that repeats itself proves nothing, neither for a place nor for
"elsewhere".
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.mapping.background import Background
from vpr_ros.core.mapping.positions import stretches
from vpr_ros.core.mapping.products import products
from vpr_ros.core.types import Rows

Array: TypeAlias = NDArray[np.float32]

_SHARPNESS = 0.6  # nats of log likelihood for one standard deviation of a row
_ELSEWHERE_HEIGHT = 1.5  # standard deviations of a row
_BACKGROUND_FRAMES = 10.0  # frames of a drive that weigh as much as the map's own background
_REMEMBERED_FRAMES = 300.0  # of a drive in the background
_INDEPENDENT = 0.02  # 1 - correlation of two rows from which on both count in full
_FLAT = 1e-6  # a row that varies less than this tells nothing
_MOST_NATS = 80.0  # of a row at one place: float32 ends at e^88, and cells tell up to 3 more


@dataclass(frozen=True, slots=True)
class Row:
    """One image's row of similarities less their background, scaled to mean 0 and variance 1."""

    contrast: Array  # the query less the mean of its drive: [N], or [D] of a large map
    heights: Array  # [N], or [S] of the places that stand for a large map
    mean: float  # before it was scaled
    spread: float  # before


class View:
    """What a camera that looks another way sees of the map."""

    def __init__(self, places_seen: Rows) -> None:
        """places_seen: [N], see Belief.step."""
        self.places_seen = places_seen
        self.share = float((places_seen >= 0).mean())  # of the map that it sees something of
        self._order = np.argsort(places_seen)
        self._sorted = places_seen[self._order]

    def where_seen(self, places: Rows) -> Rows:
        """All places where one of some places [K] is seen."""
        starts = np.searchsorted(self._sorted, places, 'left')
        ends = np.searchsorted(self._sorted, places, 'right')
        return np.asarray(self._order[stretches(starts, ends)])


class _Seen:
    """What one camera has seen of a drive so far."""

    def __init__(self, background: Array) -> None:
        self.background = background.copy()  # mean of its images, as a query
        self.frames = _BACKGROUND_FRAMES  # that weigh in it
        self.row: Array | None = None  # heights of its last image


class ImageEvidence:
    """The rows of a drive's images, held against what its cameras have seen before.

    A query is [N], the similarity of a descriptor to all places, or of a large map, the
    descriptor [D].
    """

    def __init__(self, background: Background) -> None:
        """background: what the places of the map have in common."""
        self._map = background
        self._views: dict[int, View] = {}  # by camera
        self._seen: dict[int, _Seen] = {}  # by camera

    def forget(self) -> None:
        """Forget what was seen; a new drive begins."""
        self._seen = {}

    def contrast(self, query: Array, camera: int) -> Array:
        """The query less the mean of its drive, both [N] or [D] as in `Belief.step`."""
        return np.asarray(query - self._of(camera).background)

    def row(self, query: Array, camera: int) -> Row | None:
        """How far places stand out of a query's row; None for a flat one, which tells nothing."""
        contrast = self.contrast(query, camera)
        row = self._map.row(contrast)
        wide = row.astype(np.float64)
        mean = float(wide.mean())
        wide -= mean
        spread = float(np.sqrt((wide * wide).mean()))
        if spread <= _FLAT:
            return None
        return Row(contrast, (row - np.float32(mean)) * np.float32(1 / spread), mean, spread)

    def novelty(self, row: Row, camera: int) -> float:
        """How far a camera's row is new evidence, in [0, 1]."""
        before = self._of(camera).row
        if before is None:
            return 1.0
        correlation = float(products(before[None], row.heights)[0]) / len(row.heights)
        return float(np.clip((1 - correlation) / _INDEPENDENT, 0.0, 1.0))

    def remember(self, row: Row, camera: int, counts: float) -> None:
        """Let a row be its camera's last one, and part of the background as far as it counts."""
        seen = self._of(camera)
        seen.row = row.heights
        seen.frames = min(seen.frames + counts, _REMEMBERED_FRAMES)
        seen.background += np.float32(counts / seen.frames) * row.contrast

    def view(self, camera: int, places_seen: Rows) -> View:
        """What a camera sees at each place [N], -1 for none; kept until it sees something else."""
        known = self._views.get(camera)
        if known is None or known.places_seen is not places_seen:
            known = self._views[camera] = View(places_seen)
        return known

    def likelihood(
        self,
        row: Row | None,
        counts: float,
        places: Rows,
        *,
        view: View | None,
        told: tuple[Rows, Array] | None,
    ) -> Array:
        """How much likelier an image is with the robot at places [K] than elsewhere.

        counts: its evidence, in [0, 1]; view: of a camera that looks another way; told: what more
        is known of some places, in nats (see Belief.step).
        """
        if view is None:
            likelihood = self._likelihood(row, counts, places)
        else:
            places = view.places_seen[places]
            sees = places >= 0  # where nothing is mapped, an image says nothing
            likelihood = np.ones(len(places), np.float32)
            likelihood[sees] = self._likelihood(row, counts, places[sees])
        if told is not None:
            likelihood *= np.exp(np.float32(counts) * _at(places, *told))
        return likelihood

    def usual_likelihood(self, row: Row | None, counts: float, view: View | None) -> float:
        """The same of all places together."""
        if row is None or counts == 0:
            return 1.0
        likelihood = float(_likelier(row.heights, counts).mean())
        return likelihood if view is None else 1 + view.share * (likelihood - 1)

    def _likelihood(self, row: Row | None, counts: float, places: Rows) -> Array:
        """How much likelier a row is where places [K] are seen than elsewhere."""
        if row is None or counts == 0:
            return np.ones(len(places), np.float32)
        if self._map.has_all:
            return _likelier(row.heights[places], counts)
        found = self._map.row_at(places, row.contrast)
        return _likelier((found - np.float32(row.mean)) * np.float32(1 / row.spread), counts)

    def _of(self, camera: int) -> _Seen:
        if camera not in self._seen:
            self._seen[camera] = _Seen(self._map.mean)
        return self._seen[camera]


def _likelier(heights: Array, counts: float) -> Array:
    """How much likelier an image is at places of heights [K] than elsewhere."""
    above = heights - np.float32(_ELSEWHERE_HEIGHT)
    nats = np.float32(_SHARPNESS * counts) * above
    return np.asarray(np.exp(np.minimum(nats, np.float32(_MOST_NATS))))


def _at(rows: Rows, places: Rows, values: Array) -> Array:
    """The value of each row [R] that is one of places [K] with values [K], and 0 elsewhere."""
    found = np.zeros(len(rows), np.float32)
    if len(places):
        order = np.argsort(places)
        at = order[np.minimum(np.searchsorted(places, rows, sorter=order), len(places) - 1)]
        same = places[at] == rows
        found[same] = values[at[same]]
    return found
