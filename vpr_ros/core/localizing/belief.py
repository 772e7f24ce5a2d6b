"""What a drive so far tells about where the robot is: a discrete Bayes filter.

One image alone lies now and then, and look-alike places can never be told apart by it. A drive
can: places follow one another, and a robot moves along them at a speed that changes slowly. The
state is therefore a place and a speed along the mapped drive (forwards or backwards), and one more
state "elsewhere", off the map. A walk without a speed would lag behind a moving robot, because
standing still is its likeliest move.

Evidence is the whole row of similarities, not its best few, in two steps:

- From each place's similarity its background is subtracted: the mean over the drive so far, which
  begins at the place's mean similarity to the map. What is left is what this image has that the
  others have not; light, weather and season, which all images of a drive share, are gone. In terms
  of descriptors this is the cosine between query and place, each centred by the mean of its drive.
- The row is brought to mean 0 and variance 1. "Elsewhere" is a fixed height in that scale, so that
  an image that fits no place better than chance speaks for "elsewhere".

Images that repeat each other are no independent evidence: a row counts by how far it differs from
the last one that counted. A camera that repeats itself proves nothing, neither for a place nor for
"elsewhere": the robot is taken to stand, and the belief waits. Only odometry that says that the
robot moves all the same moves the belief without a new image. Whether a fix may be repeated is for
the judge to say: without odometry, the camera may have stopped while the robot drives.

All is kept on a regular grid along the mapped drive, where moving is a shift of an array: a frame
costs a few passes over [V, M] (V speeds, M grid cells, about one per place). OpenCV's arithmetic
takes half the passes that numpy's does.
"""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.localizing.standing import Standing
from vpr_ros.core.mapping.grid import Background, PlaceGrid
from vpr_ros.core.mapping.index import best_of
from vpr_ros.core.mapping.products import products

Array: TypeAlias = NDArray[np.float32]
Rows: TypeAlias = NDArray[np.int64]

IDENTICAL = 5e-5
"""Novelty of an image that is the last one to the bit, but for the rounding of sums."""

SPEEDS = np.linspace(-1.0, 1.0, 17)  # as shares of the bound, V of them

_SHARPNESS = 0.6  # nats of log likelihood for one standard deviation of a row
_ELSEWHERE_HEIGHT = 1.5  # standard deviations of a row
_ACCELERATION = 0.02  # share of the weight whose speed changes by one step, per frame
_ACCELERATES_EVERY = 3  # frames
_GETS_LOST = 1e-2  # of leaving the map, or being carried away, per frame
_LOST_PER_S = 2e-3  # the same for the time without a frame
_COMES_BACK = 0.1  # of coming onto the map from elsewhere, per frame
_CHANGES_BRANCH = 0.02  # share of the weight that goes over to another branch nearby, per frame
_BACKGROUND_FRAMES = 10.0  # frames of a drive that weigh as much as the map's own background
_REMEMBERED_FRAMES = 300.0  # of a drive in the background
_INDEPENDENT = 0.02  # 1 - correlation of two rows from which on both count in full
_REPEATED = 0.01  # novelty below which an image shows what the last one showed
_STANDSTILL_M = 0.1  # by odometry, below which a repeated image means that nothing happened
_FASTER_THAN_MAPPED = 2.0  # bound on the speed where none is given, in mapping speeds
_FLAT = 1e-6  # a row that varies less than this tells nothing
_CELLS_OF_A_PLACE = 4  # looked at for each place asked for


def speed_bound_mps(grid: PlaceGrid, max_speed_mps: float) -> float:
    """Bound on the robot's speed: the one that is given, or for 0 twice the mapping speed."""
    return max_speed_mps or _FASTER_THAN_MAPPED * grid.mapping_speed_mps


class _Seen:
    """What one camera has seen of a drive so far."""

    def __init__(self, background: Array) -> None:
        self.background = background.copy()  # [N], mean similarity of its images to each place
        self.frames = _BACKGROUND_FRAMES  # that weigh in it
        self.row: Array | None = None  # [N], of its last image


class Belief:
    """Weights over the places of a map and "elsewhere", changed by each frame."""

    def __init__(
        self, grid: PlaceGrid, background: Background, *, max_speed_mps: float = 0.0
    ) -> None:
        """max_speed_mps: bound on the robot's speed; 0 takes twice the mapping speed."""
        self._grid = grid
        self._map_background = background
        self._speeds_mps = speed_bound_mps(grid, max_speed_mps) * SPEEDS
        self.reset()

    def reset(self) -> None:
        """Know nothing: on the map, anywhere, or elsewhere alike."""
        cells = len(self._grid)
        each = 0.5 / (len(SPEEDS) * cells)
        self._weight: Array = np.full((len(SPEEDS), cells), each, np.float32)
        self._moved = np.zeros_like(self._weight)
        self._scale = 1.0  # of the stored weights: applied by the next frame's passes
        self._cells: Array = np.full(cells, 0.5 / cells, np.float32)
        self.elsewhere = 0.5
        self._seen: dict[int, _Seen] = {}  # by camera
        self._stamp_ns: int | None = None
        self._held_m = 0.0  # travelled, by odometry, while images repeated each other
        self._frames = 0

    def standing(self) -> Standing:
        """What is known now, in terms of places."""
        owners = self._grid.place_of_cell  # [M]
        speeds = self._weight.sum(axis=1) + np.float32(_FLAT)  # [V], also without any weight
        on_places = owners >= 0
        weight = np.bincount(owners[on_places], self.cells[on_places], self._grid.places)
        return Standing(
            weight=weight.astype(np.float32),
            elsewhere=self.elsewhere,
            speeds=speeds / speeds.sum(),
            stamp_ns=self._stamp_ns,
            held_m=self._held_m,
        )

    def begin_at(self, standing: Standing) -> None:
        """Know what `standing` says of the places of this map, and nothing else."""
        self.reset()
        self._cells = self._grid.on_cells(standing.weight)
        self._weight = np.ascontiguousarray(np.outer(standing.speeds, self._cells), np.float32)
        self.elsewhere = standing.elsewhere
        self._stamp_ns, self._held_m = standing.stamp_ns, standing.held_m

    def step(
        self,
        similarity: Array,
        *,
        stamp_ns: int,
        travelled_m: float | None = None,
        evidence: float = 1.0,
        camera: int = 0,
        places_seen: Rows | None = None,
        told: tuple[Rows, Array] | None = None,
    ) -> float:
        """Take one frame; returns how new it was, in [0, 1]: below IDENTICAL, it is the last one.

        similarity: [N], of its descriptor to all places; travelled_m: how far odometry says the
        robot moved since the last frame; evidence: in [0, 1], less for an image that shows little;
        camera: the number of its camera, the same for all that look the same way; places_seen:
        [N], the place that it sees at each place, -1 for none, where it looks another way than the
        first (see rig.py); told: some of the N rows [K], and how much likelier the image is there
        than elsewhere, in nats [K], by more than its similarity.
        """
        if camera not in self._seen:
            self._seen[camera] = _Seen(self._map_background.similarity)
        seen = self._seen[camera]
        row = np.asarray(similarity, np.float32)
        height = self._height(row, seen)
        novelty = 1.0 if evidence == 0 or height is None else _novelty(height, seen)
        if travelled_m is not None:
            travelled_m += self._held_m
        before_ns = stamp_ns if self._stamp_ns is None else self._stamp_ns
        elapsed_s = max(stamp_ns - before_ns, 0) / 1e9
        self._stamp_ns = max(stamp_ns, before_ns)
        if novelty < _REPEATED and (travelled_m or 0.0) < _STANDSTILL_M:
            self._held_m = travelled_m or 0.0
            return novelty
        self._held_m = 0.0
        likelihood = self._likelihood(row, height, evidence * novelty, seen)
        if told is not None:
            likelihood[told[0]] *= np.exp(np.float32(evidence * novelty) * told[1])
        if places_seen is not None:  # where nothing is mapped, an image says nothing
            likelihood = np.where(places_seen >= 0, likelihood[places_seen], np.float32(1))
        self._move(elapsed_s, travelled_m, self._on_cells(likelihood))
        return novelty

    def restrict(self, inside: NDArray[np.bool_], *, on_map: bool) -> None:
        """Take the weight of all but some of the places [N]; without one of them nothing changes.

        on_map: the robot is at one of these, and not elsewhere.
        """
        grid = self._grid
        allowed = inside[grid.place_of_cell] & (grid.place_of_cell >= 0)  # [M]
        if not allowed.any():
            return
        self._weight *= allowed
        if on_map:
            if not (self._cells * allowed).sum() > 0:
                self._weight[:, allowed] = 1.0
            self.elsewhere = 0.0
        total = self._scale * float(self._weight.sum(dtype=np.float64)) + self.elsewhere
        self._scale, self.elsewhere = self._scale / total, self.elsewhere / total

    @property
    def cells(self) -> Array:
        """Weight of each grid cell [M]; with `elsewhere` they sum to one."""
        return self._cells

    def places(self, count: int) -> tuple[Rows, Array]:
        """The `count` places of most weight and their weights, best first; equal ones in order."""
        best, cells = best_of(self._cells, _CELLS_OF_A_PLACE * count)
        owners = self._grid.place_of_cell[cells]
        rows, inverse = np.unique(owners[owners >= 0], return_inverse=True)
        weight = np.bincount(inverse, best[owners >= 0], minlength=len(rows)).astype(np.float32)
        order = np.argsort(-weight, kind='stable')[:count]
        return rows[order], weight[order]

    def _height(self, similarity: Array, seen: _Seen) -> Array | None:
        """How far each place [N] stands out of a row [N]: mean 0, variance 1.

        None for a flat row, which tells nothing.
        """
        row = similarity - seen.background
        row -= row.mean()
        row /= self._map_background.distance
        mean, spread = (float(value.item()) for value in cv2.meanStdDev(row))
        return None if spread <= _FLAT else (row - mean) * np.float32(1 / spread)

    def _likelihood(
        self, similarity: Array, height: Array | None, evidence: float, seen: _Seen
    ) -> Array:
        """How much likelier a row [N] is at each place [N] than elsewhere."""
        if height is None or evidence == 0:
            return np.ones_like(similarity)
        seen.row = height
        seen.frames = min(seen.frames + evidence, _REMEMBERED_FRAMES)
        cv2.accumulateWeighted(similarity, seen.background, evidence / seen.frames)
        likelihood: Array = height - np.float32(_ELSEWHERE_HEIGHT)
        likelihood *= np.float32(_SHARPNESS * evidence)
        np.exp(likelihood, out=likelihood)
        return likelihood

    def _on_cells(self, likelihood: Array) -> Array:
        """A value of each place [N] at each cell [M]; 0 inside a break."""
        if self._grid.is_regular:
            return likelihood
        on_cells = likelihood[self._grid.place_of_cell]
        on_cells[self._grid.place_of_cell < 0] = 0
        return on_cells

    def _move(self, elapsed_s: float, travelled_m: float | None, likelihood: Array) -> None:
        """Predict and weigh in one go, speed by speed.

        Speeds change only now and then, up and down in turn, which saves half the passes.
        """
        self._frames += 1
        leaves = min(_GETS_LOST + _LOST_PER_S * elapsed_s, 0.5)
        arrives = _COMES_BACK * self.elsewhere / self._weight.size
        stays = (1 - leaves) * self._scale
        self._enter_branches()
        if self._frames % _ACCELERATES_EVERY == 0:
            self._accelerate(1 if self._frames % (2 * _ACCELERATES_EVERY) else -1)
        for speed, shift in enumerate(self._shifts(elapsed_s, travelled_m).tolist()):
            moved = self._moved[speed]
            _shifted(self._weight[speed], shift, moved, times=stays, plus=arrives)
            cv2.multiply(moved, likelihood, dst=moved)
        gone = (1 - _COMES_BACK) * self.elsewhere + leaves * (1 - self.elsewhere)
        self._weight, self._moved = self._moved, self._weight
        self._cells = self._weight.sum(axis=0)
        self._scale = 1 / (float(self._cells.sum()) + gone)
        self._cells *= np.float32(self._scale)
        self.elsewhere = gone * self._scale

    def _accelerate(self, towards: int) -> None:
        """Let a share of each speed's weight go over to the next one, up (1) or down (-1)."""
        share, last = _ACCELERATION * _ACCELERATES_EVERY, len(SPEEDS) - 1
        for speed in range(len(SPEEDS)):
            source = min(max(speed - towards, 0), last)
            cv2.addWeighted(
                self._weight[speed],
                1 - share,
                self._weight[source],
                share,
                0,
                dst=self._moved[speed],
            )
        self._weight, self._moved = self._moved, self._weight

    def _shifts(self, elapsed_s: float, travelled_m: float | None) -> NDArray[np.float64]:
        """How many cells each speed moves on [V].

        Odometry gives the distance; the speeds then stand for direction, and for how much longer
        or shorter the mapping drive was than this one.
        """
        if travelled_m is None:
            return np.asarray(self._speeds_mps * elapsed_s / self._grid.cell_m)
        stretched = np.sign(SPEEDS) * (0.75 + 0.5 * np.abs(SPEEDS))
        return np.asarray(travelled_m * stretched / self._grid.cell_m)

    def _enter_branches(self) -> None:
        """Let a little weight go over to other branches that pass nearby, and turn with them."""
        grid = self._grid
        if len(grid.link_from) == 0:
            return
        going = _CHANGES_BRANCH * self._weight[:, grid.link_from]  # [V, L]
        self._weight[:, grid.link_from] -= going
        going = np.where(grid.link_turns, going[::-1], going)
        for weight, arriving in zip(self._weight, going, strict=True):
            np.add.at(weight, grid.link_to, arriving)


def _novelty(row: Array, seen: _Seen) -> float:
    """How far a camera's row of mean 0 and variance 1 is new evidence, in [0, 1]."""
    if seen.row is None:
        return 1.0
    correlation = float(products(seen.row[None], row)[0]) / len(row)
    return float(np.clip((1 - correlation) / _INDEPENDENT, 0.0, 1.0))


def _shifted(
    row: Array, cells: float, out: Array, *, times: float = 1.0, plus: float = 0.0
) -> None:
    """Write `row` [M] moved on by a number of cells, `times` and `plus`, into `out`.

    What leaves the grid is gone, and what comes in at its end is only `plus`.
    """
    whole = int(np.floor(cells))
    stays, goes, size = (1 - cells + whole) * times, (cells - whole) * times, len(row)
    if 0 <= whole < size:
        out[:whole] = plus
        out[whole] = stays * row[0] + plus
        source, target = row[: size - whole], out[whole + 1 :]
    elif -size <= whole < 0:
        out[size + whole] = goes * row[-1] + plus
        out[size + whole + 1 :] = plus
        source, target = row[-whole - 1 :], out[: size + whole]
    else:
        out[:] = plus
        return
    if len(target):
        cv2.addWeighted(source[1:], stays, source[:-1], goes, plus, dst=target)
