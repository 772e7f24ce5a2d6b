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

All is kept on a regular grid along the mapped drive, M cells, about one per place, in blocks of
some cells. A map of some thousand places is one block, always at work, and the filter is exact. Of
a larger map those blocks are at work that stand out: where a search finds what is like the image,
and where weight has gathered. All other cells share one weight for each speed, which changes as
the weight of the usual place does. A block that no longer stands out goes back to them.
"""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.localizing.image_evidence import ImageEvidence, Row, View
from vpr_ros.core.localizing.standing import Standing
from vpr_ros.core.mapping.background import Background
from vpr_ros.core.mapping.grid import PlaceGrid
from vpr_ros.core.mapping.index import best_of
from vpr_ros.core.mapping.positions import distinct, stretches
from vpr_ros.core.types import Rows

Array: TypeAlias = NDArray[np.float32]

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
_CELLS_OF_A_PLACE = 4  # looked at for each place asked for

_BLOCK = 16  # cells, of a large map; a small one is a single block
_MOST_BLOCKS = 256  # at work at a time, of a large map
_LOOKS_AT, _LOOKS_AT_SETTLED = 256, 64  # places found by contrast
_SETTLED = 0.5  # weight at work
_STANDS_OUT = 1.5  # times the usual weight, from which on a block stays at work
_OFF_GRID, _USUAL = 0, 1  # the first two rows of the weights: no cells, and a block not at work
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
        self._has_all = background.has_all
        self._images = ImageEvidence(background)
        self._speeds_mps = speed_bound_mps(grid, max_speed_mps) * SPEEDS
        self._size = len(grid) if self._has_all else _BLOCK  # cells of a block
        count = -(-len(grid) // self._size)
        places = np.full(count * self._size, -1, np.int32)
        places[: len(grid)] = grid.place_of_cell
        self._places = places.reshape(count, self._size)  # of each block's cells; -1 for none
        self._mapped_cells = int((places >= 0).sum())
        self._links = np.searchsorted(
            grid.link_from, np.arange(count + 1) * self._size
        )  # of blocks
        self._owners = np.maximum.accumulate(grid.place_of_cell)  # [M], also inside breaks
        self.reset()

    def reset(self) -> None:
        """Forget the drive: anywhere on the map is as likely as elsewhere."""
        count = len(self._places)
        self._slots = np.full(count + 2, _USUAL, np.int32)  # row of each block's weights, and
        self._slots[[0, -1]] = _OFF_GRID  # before the first block and behind the last
        self._blocks = _NONE  # [A] at work, ascending
        # [V, 2 + A, cells]
        self._weight: Array = np.zeros((len(SPEEDS), 2, self._size), np.float32)
        self._weight[:, _USUAL] = 0.5 / (len(SPEEDS) * len(self._grid))
        self._let_in(self._places >= 0)
        self._is_restricted = False  # since the last frame
        if self._has_all:
            self._put_to_work(np.arange(count))
        self.elsewhere = 0.5
        self._images.forget()
        self._stamp_ns: int | None = None
        self._held_m = 0.0  # travelled, by odometry, while images repeated each other
        self._frames = 0

    def standing(self) -> Standing:
        """What is known now, in terms of places."""
        owners = self._grid.place_of_cell  # [M]
        at_work = self._weight[:, _USUAL + 1 :].sum(axis=(1, 2))
        usual = self._weight[:, _USUAL, 0] * self._usual_cells
        speeds = at_work + usual + np.float32(_LEAST_SHARE)  # [V]
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
        cells = np.zeros(self._places.shape, np.float32)  # [blocks, cells]
        cells.ravel()[: len(self._grid)] = self._grid.on_cells(standing.weight)
        if not self._has_all:
            highest = cells.max(axis=1)
            stand_out = np.flatnonzero(highest > _STANDS_OUT * cells.sum() / self._mapped_cells)
            heaviest = stand_out[np.argsort(-highest[stand_out], kind='stable')[:_MOST_BLOCKS]]
            self._put_to_work(np.sort(heaviest))
        speeds = standing.speeds[:, None, None]
        self._weight[:, _USUAL + 1 :] = speeds * cells[self._blocks]
        left = float(cells.sum() - cells[self._blocks].sum()) / max(self._usual_cells, 1)
        self._weight[:, _USUAL] = max(left, 0.0) * standing.speeds[:, None]
        self.elsewhere = standing.elsewhere
        self._stamp_ns, self._held_m = standing.stamp_ns, standing.held_m

    @property
    def needs_every_place(self) -> bool:
        """Whether a query is its similarity to all places: the map is small enough for that."""
        return self._has_all

    def contrast(self, query: Array, camera: int = 0) -> Array:
        """The query less the mean of its drive: what a large map is searched for."""
        return self._images.contrast(query, camera)

    @property
    def looks_at(self) -> int:
        """How many places a search by contrast should find, fewer once it knows where it is."""
        at_work = float(self._weight[:, _USUAL + 1 :].sum())
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
        blocks = distinct(cells // self._size)
        if not self._has_all:
            self._put_to_work(blocks if len(blocks) <= _MOST_BLOCKS else _NONE)
        is_open = np.zeros_like(self._is_open)
        is_open.ravel()[cells] = True
        self._let_in(is_open)
        allowed = np.zeros(self._weight.shape[1:], np.bool_)
        allowed[_USUAL] = self._usual_cells > 0
        allowed[_USUAL + 1 :] = self._is_open[self._blocks]
        self._is_restricted = True
        self._weight *= allowed
        if on_map:
            if not self._total() > 0:
                self._weight[:, allowed] = 1.0
            self.elsewhere = 0.0
        self._scale_to_one()

    def hear(self, places: Rows, nats: float) -> None:
        """Take what something else than the image's similarities says of places [K], in nats."""
        slots, inside = self._slot_of(self._cells_of(np.sort(places)))
        at_work = slots > _USUAL
        self._weight[:, slots[at_work], inside[at_work]] *= np.float32(np.exp(nats))
        self._scale_to_one()

    @property
    def cells(self) -> Array:
        """Weight of each grid cell [M]; with `elsewhere` they sum to one."""
        slots = self._slots[1:-1]
        weight = self._weight.sum(axis=0)[slots]  # [blocks, cells]
        weight[self._places < 0] = 0
        weight[(slots == _USUAL)[:, None] & ~self._is_open] = 0
        return np.asarray(weight.ravel()[: len(self._grid)])

    def places(self, count: int) -> tuple[Rows, Array]:
        """The `count` places of most weight and their weights, best first; equal ones in order.

        Of places that share the usual weight none is named.
        """
        best, cells = best_of(
            self._weight[:, _USUAL + 1 :].sum(axis=0).ravel(), _CELLS_OF_A_PLACE * count
        )
        owners = self._places[self._blocks].ravel()[cells]
        rows, inverse = np.unique(owners[owners >= 0], return_inverse=True)
        weight = np.bincount(inverse, best[owners >= 0], minlength=len(rows)).astype(np.float32)
        order = np.argsort(-weight, kind='stable')[:count]
        return rows[order].astype(np.int64), weight[order]

    def _weigh(
        self, row: Row | None, counts: float, told: tuple[Rows, Array] | None, view: View | None
    ) -> None:
        """Multiply by how much likelier an image is at each place than elsewhere.

        counts: the image's evidence, in [0, 1].
        """
        places = self._places[self._blocks]  # [A, cells]
        mapped = places >= 0
        of_cells = np.zeros(places.shape, np.float32)
        of_cells[mapped] = self._images.likelihood(
            row, counts, places[mapped].astype(np.int64), view=view, told=told
        )
        self._weight[:, _USUAL + 1 :] *= of_cells
        self._weight[:, _USUAL] *= self._images.usual_likelihood(row, counts, view)
        self._scale_to_one()

    def _move(self, elapsed_s: float, travelled_m: float | None, likely: Rows) -> None:
        """Predict, and activate blocks that are likely or that weight moves to.

        Speeds change only now and then, up and down in turn.
        """
        self._frames += 1
        if not self._is_restricted:
            self._open()
        self._is_restricted = False
        leaves = min(_GETS_LOST + _LOST_PER_S * elapsed_s, 0.5)
        arrives = _COMES_BACK * self.elsewhere / (len(SPEEDS) * len(self._grid))
        self._enter_branches()
        if self._frames % _ACCELERATES_EVERY == 0:
            self._accelerate(1 if self._frames % (2 * _ACCELERATES_EVERY) else -1)
        shifts = self._shifts(elapsed_s, travelled_m)
        blocks = self._blocks
        if not self._has_all:
            blocks = self._reached(shifts, likely)
        self._weight = self._shifted(blocks, shifts, stays=1 - leaves, arrives=arrives)
        self._use(blocks)
        self.elsewhere = (1 - _COMES_BACK) * self.elsewhere + leaves * (1 - self.elsewhere)
        if not self._has_all:
            self._let_go(likely)

    def _shifted(
        self, blocks: Rows, shifts: NDArray[np.float64], *, stays: float, arrives: float
    ) -> Array:
        """Weights [V, 2 + B, cells] of blocks [B], moved on by so many cells at each speed [V].

        What leaves the grid is gone, and what comes in at its end is only what arrives.
        """
        whole = np.floor(shifts).astype(np.int64)
        part = (shifts - whole).astype(np.float32)
        # A cell takes from two cells, the first of which is 1 + whole cells before it.
        ahead, first = np.divmod(-whole - 1, self._size)
        sources = blocks + ahead[:, None] + 1  # [V, B], and 1 as the slots have it
        slots = self._slots[
            np.clip(np.stack([sources, sources + 1], axis=2), 0, len(self._slots) - 1)
        ]
        moved = np.empty((len(SPEEDS), 2 + len(blocks), self._size), np.float32)
        moved[:, _OFF_GRID] = 0
        moved[:, _USUAL] = stays * self._weight[:, _USUAL] + arrives
        slots += (np.arange(len(SPEEDS), dtype=np.int32) * self._weight.shape[1])[:, None, None]
        taken = self._weight.reshape(-1, self._size).take(slots, axis=0)
        pieces = taken.reshape(len(SPEEDS), len(blocks), 2 * self._size)
        for speed, (begin, share) in enumerate(zip(first.tolist(), part.tolist())):
            cv2.addWeighted(
                pieces[speed, :, begin + 1 : begin + 1 + self._size],
                stays * (1 - share),
                pieces[speed, :, begin : begin + self._size],
                stays * share,
                arrives,
                dst=moved[speed, _USUAL + 1 :],
            )
        return moved

    def _reached(self, shifts: NDArray[np.float64], likely: Rows) -> Rows:
        """Blocks, ascending, that weight at work may move to, and likely ones."""
        reach = int(np.abs(shifts).max()) + 1
        if reach < self._size:  # only from a block's ends to its neighbours
            weight = self._weight[:, _USUAL + 1 :].sum(axis=0)  # [A, cells]
            stands_out = weight > _STANDS_OUT * self._weight[:, _USUAL, 0].sum()
            before = self._blocks[stands_out[:, :reach].any(axis=1)] - 1
            after = self._blocks[stands_out[:, -reach:].any(axis=1)] + 1
            reached = np.concatenate([before, self._blocks, after])
        else:
            behind = np.unique(np.floor(shifts) // self._size).astype(np.int64)
            reached = (self._blocks[:, None] + np.unique([behind, behind + 1])).ravel()
        inside = (reached >= 0) & (reached < len(self._places))
        return distinct(np.concatenate([reached[inside], likely]))

    def _use(self, blocks: Rows) -> None:
        """Rearrange the rows of the weights for these blocks."""
        self._slots[self._blocks + 1] = _USUAL
        self._slots[blocks + 1] = _USUAL + 1 + np.arange(len(blocks))
        self._blocks = blocks
        at_work = int(self._is_open[blocks].sum())
        self._usual_cells = self._open_cells - at_work  # that share the usual weight

    def _let_in(self, is_open: NDArray[np.bool_]) -> None:
        """Have the usual weight only where the robot may be: in mapped cells [blocks, cells]."""
        self._is_open, self._open_cells = is_open, int(np.count_nonzero(is_open))
        self._use(self._blocks)

    def _put_to_work(self, blocks: Rows) -> None:
        """Give further blocks weights of their own, which begin at the usual one."""
        wanted = np.union1d(self._blocks, blocks)
        slots = np.concatenate([[_OFF_GRID, _USUAL], self._slots[wanted + 1]])
        self._weight = self._weight[:, slots]
        self._use(wanted)

    def _let_go(self, likely: Rows) -> None:
        """Return blocks that do not stand out to the usual weight."""
        weight = self._weight.sum(axis=0)  # [2 + A, cells]
        highest = weight[_USUAL + 1 :].max(axis=1, initial=0)
        stays = highest > _STANDS_OUT * weight[_USUAL, 0]
        if stays.sum() > _MOST_BLOCKS:
            stays[:] = False
            stays[np.argpartition(-highest, _MOST_BLOCKS)[:_MOST_BLOCKS]] = True
        stays[self._slots[likely + 1] - (_USUAL + 1)] = True
        if stays.all():
            return
        mapped = self._places[self._blocks[~stays]] >= 0
        gone = (self._weight[:, _USUAL + 1 :][:, ~stays] * mapped).sum(axis=(1, 2))  # [V]
        before = self._usual_cells
        self._weight = self._weight[:, np.concatenate([[True, True], stays])]
        self._use(self._blocks[stays])
        usual = self._weight[:, _USUAL, 0] * before + gone
        self._weight[:, _USUAL] = (usual / max(self._usual_cells, 1))[:, None]

    def _open(self) -> None:
        """Share the usual weight with cells that had none."""
        if self._open_cells == self._mapped_cells:
            return
        before = self._usual_cells
        self._let_in(self._places >= 0)
        self._weight[:, _USUAL] *= np.float32(before / max(self._usual_cells, 1))

    def _total(self) -> float:
        """Weight on the map, before it is scaled."""
        at_work = self._weight[:, _USUAL + 1 :].sum(dtype=np.float64)
        usual = self._weight[:, _USUAL, 0].sum(dtype=np.float64) * self._usual_cells
        return float(at_work + usual)

    def _scale_to_one(self) -> None:
        total = self._total() + self.elsewhere
        self._weight *= np.float32(1 / total)
        self.elsewhere /= total

    def _accelerate(self, towards: int) -> None:
        """Let a share of each speed's weight go over to the next one, up (1) or down (-1)."""
        share = np.float32(_ACCELERATION * _ACCELERATES_EVERY)
        source = np.clip(np.arange(len(SPEEDS)) - towards, 0, len(SPEEDS) - 1)
        self._weight *= 1 - share
        self._weight += share / (1 - share) * self._weight[source]

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
        links = stretches(self._links[self._blocks], self._links[self._blocks + 1])
        if not self._has_all:  # between cells of usual weight nothing changes
            slots, inside = self._slot_of(self._grid.link_from[links])
            weight = self._weight[:, slots, inside].sum(axis=0)
            links = links[weight > _STANDS_OUT * self._weight[:, _USUAL, 0].sum()]
            self._put_to_work(distinct(self._grid.link_to[links] // self._size))
        if len(links) == 0:
            return
        slots, inside = self._slot_of(self._grid.link_from[links])
        going = _CHANGES_BRANCH * self._weight[:, slots, inside]  # [V, L]
        self._weight[:, slots, inside] -= going
        going = np.where(self._grid.link_turns[links], going[::-1], going)
        slots, inside = self._slot_of(self._grid.link_to[links])
        for weight, arriving in zip(self._weight, going, strict=True):
            np.add.at(weight, (slots, inside), arriving)

    def _slot_of(self, cells: Rows) -> tuple[NDArray[np.int32], Rows]:
        """Where the weights of cells [K] are: row and column."""
        return self._slots[cells // self._size + 1], cells % self._size

    def _cells_of(self, places: Rows) -> Rows:
        """Cells of places [K], ascending as these are."""
        starts = np.searchsorted(self._owners, places, 'left')
        cells = stretches(starts, np.searchsorted(self._owners, places, 'right'))
        return np.asarray(cells[self._grid.place_of_cell[cells] >= 0])

    def _blocks_of(self, places: Rows, view: View | None) -> Rows:
        """Blocks, ascending, where a camera sees places [K]; of a small map none is asked for."""
        if self._has_all:
            return _NONE
        if view is not None:
            places = view.where_seen(places)
        cells = np.searchsorted(self._owners, places, 'left')
        return distinct(np.minimum(cells, len(self._owners) - 1) // self._size)
