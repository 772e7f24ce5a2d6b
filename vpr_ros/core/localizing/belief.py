"""What a drive so far tells about where the robot is: a discrete Bayes filter.

One image alone lies now and then, and look-alike places can never be told apart by it. A drive
can: places follow one another, and a robot moves along them at a speed that changes slowly. The
state is therefore a place and a speed along the mapped drive (forwards or backwards), and one more
state "elsewhere", off the map. A walk without a speed would lag behind a moving robot, because
standing still is its likeliest move.

What an image says of the places is in image_evidence.py. While images repeat each other, the robot
is taken to stand, and the belief waits. Only odometry that says that the robot moves all the same
moves the belief without a new image. Whether a fix may be repeated is for the judge to say:
without odometry, the camera may have stopped while the robot drives.

All is kept on a regular grid along the mapped drive, M cells, about one per place. On a map of
some thousand places the filter is exact. On a larger one it works on what stands out, and all
other cells share one weight for each speed, which changes as that of the usual place does
(block_weights.py).
"""

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.localizing.block_weights import Array, BlockWeights
from vpr_ros.core.localizing.image_evidence import ImageEvidence, Row, View
from vpr_ros.core.localizing.standing import Standing
from vpr_ros.core.mapping.background import Background
from vpr_ros.core.mapping.grid import PlaceGrid
from vpr_ros.core.mapping.positions import distinct, stretches
from vpr_ros.core.types import Rows

IDENTICAL = 5e-5
"""Novelty of an image that is the last one to the bit, but for the rounding of sums."""

SPEEDS = np.linspace(-1.0, 1.0, 17)  # as shares of the bound, V of them

_ACCELERATION = 0.02  # share of the weight whose speed changes by one step, per frame
_ACCELERATES_EVERY = 3  # frames
_GETS_LOST = 1e-2  # of leaving the map, or being carried away, per frame
_LOST_PER_S = 2e-3  # the same for the time without a frame
_COMES_BACK = 0.1  # of coming onto the map from elsewhere, per frame
_CHANGES_BRANCH = 0.02  # share of the weight that goes over to another branch nearby, per frame
_REPEATED = 0.01  # novelty below which an image shows what the last one showed
_STANDSTILL_M = 0.1  # by odometry, below which a repeated image means that nothing happened
_FASTER_THAN_MAPPED = 2.0  # bound on the speed where none is given, in mapping speeds
_LEAST_SHARE = 1e-6  # of each speed, so that shares are known also without any weight

_LOOKS_AT, _LOOKS_AT_SETTLED = 256, 64  # places found by contrast
_SETTLED = 0.5  # weight at work
_NONE: Rows = np.empty(0, np.int64)


def speed_bound_mps(grid: PlaceGrid, max_speed_mps: float) -> float:
    """Bound on the robot's speed: the one that is given, or for 0 twice the mapping speed."""
    return max_speed_mps or _FASTER_THAN_MAPPED * grid.mapping_speed_mps


class Belief:
    """Weights over the places of a map and "elsewhere", changed by each frame."""

    def __init__(
        self, grid: PlaceGrid, background: Background, *, max_speed_mps: float = 0.0
    ) -> None:
        """max_speed_mps: bound on the robot's speed; 0 takes twice the mapping speed."""
        self._grid = grid
        self._images = ImageEvidence(background)
        self._speeds_mps = speed_bound_mps(grid, max_speed_mps) * SPEEDS
        self._weights = BlockWeights(grid.place_of_cell, len(SPEEDS), is_whole=background.has_all)
        starts = np.arange(len(self._weights.places) + 1) * self._weights.size
        self._links = np.searchsorted(grid.link_from, starts)  # of blocks
        self._owners = np.maximum.accumulate(grid.place_of_cell)  # [M], also inside breaks
        self.reset()

    def reset(self) -> None:
        """Forget the drive: anywhere on the map is as likely as elsewhere."""
        self._weights.reset()
        self._is_restricted = False  # since the last frame
        self.elsewhere = 0.5
        self._images.forget()
        self._stamp_ns: int | None = None
        self._held_m = 0.0  # travelled, by odometry, while images repeated each other
        self._frames = 0

    def standing(self) -> Standing:
        """What is known now, in terms of places."""
        owners = self._grid.place_of_cell  # [M]
        speeds = self._weights.of_speeds + np.float32(_LEAST_SHARE)  # [V]
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
        self._weights.spread(self._grid.on_cells(standing.weight), standing.speeds)
        self.elsewhere = standing.elsewhere
        self._stamp_ns, self._held_m = standing.stamp_ns, standing.held_m

    @property
    def needs_every_place(self) -> bool:
        """Whether a query is its similarity to all places: the map is small enough for that."""
        return self._weights.is_whole

    def contrast(self, query: Array, camera: int = 0) -> Array:
        """The query [D] less the mean of its drive [D]: what a large map is searched for."""
        return self._images.contrast(query, camera)

    @property
    def looks_at(self) -> int:
        """How many places a search by contrast should find, fewer once it knows where it is."""
        at_work = float(self._weights.at_work.sum())
        return _LOOKS_AT_SETTLED if at_work > _SETTLED else _LOOKS_AT

    def step(
        self,
        query: Array,
        *,
        stamp_ns: int,
        likely: Rows | None = None,
        travelled_m: float | None = None,
        evidence: float = 1.0,
        camera: int = 0,
        places_seen: Rows | None = None,
        told: tuple[Rows, Array] | None = None,
    ) -> float:
        """Take one frame; returns how new it was, in [0, 1]: below IDENTICAL, it is the last one.

        query: [N], the similarity of its descriptor to all places, and of a large map, which does
        not need every place, the descriptor [D]; likely: places [L] of a large map that it may
        speak for, found by itself and by `contrast`; travelled_m: how far odometry says the robot
        moved since the last frame; evidence: in [0, 1], less for an image that shows little;
        camera: the number of its camera, the same for all that look the same way; places_seen:
        [N], the place that it sees at each place, -1 for none, where it looks another way than the
        first (see rig.py); told: some places [K], and how much likelier the image is there
        than elsewhere, in nats [K], by more than its similarity.
        """
        row = self._images.row(query, camera)
        novelty = 1.0 if evidence == 0 or row is None else self._images.novelty(row, camera)
        if travelled_m is not None:
            travelled_m += self._held_m
        before_ns = stamp_ns if self._stamp_ns is None else self._stamp_ns
        elapsed_s = max(stamp_ns - before_ns, 0) / 1e9
        self._stamp_ns = max(stamp_ns, before_ns)
        if novelty < _REPEATED and (travelled_m or 0.0) < _STANDSTILL_M:
            self._held_m = travelled_m or 0.0
            return novelty
        self._held_m = 0.0
        counts = evidence * novelty
        if row is not None and counts > 0:
            self._images.remember(row, camera, counts)
        view = None if places_seen is None else self._images.view(camera, places_seen)
        found = [likely, None if told is None else told[0]]
        likely = np.concatenate([rows for rows in found if rows is not None] or [_NONE])
        self._move(elapsed_s, travelled_m, self._blocks_of(likely, view))
        self._weigh(row, counts, told, view)
        return novelty

    def restrict(self, inside: Rows, *, on_map: bool) -> None:
        """Take the weight of all but some places [K], ascending; without any nothing changes.

        on_map: the robot is at one of these, and not elsewhere.
        """
        cells = self._cells_of(inside)
        if not len(cells):
            return
        self._weights.restrict(cells)
        self._is_restricted = True
        if on_map:
            if not self._weights.total() > 0:
                self._weights.fill()
            self.elsewhere = 0.0
        self._scale_to_one()

    def hear(self, places: Rows, nats: float) -> None:
        """Take what something else than the image's similarities says of places [K], in nats."""
        self._weights.multiply(self._cells_of(np.sort(places)), np.float32(np.exp(nats)))
        self._scale_to_one()

    @property
    def cells(self) -> Array:
        """Weight of each grid cell [M]; with `elsewhere` they sum to one."""
        return self._weights.of_cells

    def places(self, count: int) -> tuple[Rows, Array]:
        """The K places of most weight and their weights [K], best first; equal ones in order.

        K is `count`, or less where fewer places have weights of their own: of those that share the
        usual weight none is named.
        """
        return self._weights.best_places(count)

    def _weigh(
        self, row: Row | None, counts: float, told: tuple[Rows, Array] | None, view: View | None
    ) -> None:
        """Multiply by how much likelier an image is at each place than elsewhere.

        counts: the image's evidence, in [0, 1].
        """
        weights = self._weights
        places = weights.places[weights.blocks]  # [A, cells]
        mapped = places >= 0
        of_cells = np.zeros(places.shape, np.float32)
        of_cells[mapped] = self._images.likelihood(
            row, counts, places[mapped].astype(np.int64), view=view, told=told
        )
        weights.at_work[...] *= of_cells
        weights.usual[...] *= self._images.usual_likelihood(row, counts, view)
        self._scale_to_one()

    def _move(self, elapsed_s: float, travelled_m: float | None, likely: Rows) -> None:
        """Predict, and activate blocks that are likely or that weight moves to.

        Speeds change only now and then, up and down in turn.
        """
        self._frames += 1
        if not self._is_restricted:
            self._weights.open()
        self._is_restricted = False
        leaves = min(_GETS_LOST + _LOST_PER_S * elapsed_s, 0.5)
        arrives = _COMES_BACK * self.elsewhere / (len(SPEEDS) * len(self._grid))
        self._enter_branches()
        if self._frames % _ACCELERATES_EVERY == 0:
            self._accelerate(1 if self._frames % (2 * _ACCELERATES_EVERY) else -1)
        shifts = self._shifts(elapsed_s, travelled_m)
        self._weights.move(shifts, likely, stays=1 - leaves, arrives=arrives)
        self.elsewhere = (1 - _COMES_BACK) * self.elsewhere + leaves * (1 - self.elsewhere)

    def _scale_to_one(self) -> None:
        total = self._weights.total() + self.elsewhere
        self._weights.values *= np.float32(1 / total)
        self.elsewhere /= total

    def _accelerate(self, towards: int) -> None:
        """Let a share of each speed's weight go over to the next one, up (1) or down (-1)."""
        share = np.float32(_ACCELERATION * _ACCELERATES_EVERY)
        source = np.clip(np.arange(len(SPEEDS)) - towards, 0, len(SPEEDS) - 1)
        values = self._weights.values
        values *= 1 - share
        values += share / (1 - share) * values[source]

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
        weights = self._weights
        links = stretches(self._links[weights.blocks], self._links[weights.blocks + 1])
        if not weights.is_whole:  # between cells of usual weight nothing changes
            links = links[weights.stand_out(self._grid.link_from[links])]
            weights.put_to_work(distinct(self._grid.link_to[links] // weights.size))
        if len(links) == 0:
            return
        source, target = self._grid.link_from[links], self._grid.link_to[links]
        going = _CHANGES_BRANCH * weights.at(source)  # [V, L]
        turned = np.where(self._grid.link_turns[links], going[::-1], going)
        weights.transfer(source, target, going, turned)

    def _cells_of(self, places: Rows) -> Rows:
        """Cells of places [K], ascending as these are."""
        starts = np.searchsorted(self._owners, places, 'left')
        cells = stretches(starts, np.searchsorted(self._owners, places, 'right'))
        return np.asarray(cells[self._grid.place_of_cell[cells] >= 0])

    def _blocks_of(self, places: Rows, view: View | None) -> Rows:
        """Blocks, ascending, where a camera sees places [K]; of a small map none is asked for."""
        if self._weights.is_whole:
            return _NONE
        if view is not None:
            places = view.where_seen(places)
        cells = np.searchsorted(self._owners, places, 'left')
        return distinct(np.minimum(cells, len(self._owners) - 1) // self._weights.size)
