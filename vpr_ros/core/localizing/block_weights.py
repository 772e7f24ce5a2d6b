"""Weights over the cells of a map at each speed, kept apart only where they stand out.

The cells are those of a regular grid along the mapped drive, M of them, about one per place, in
blocks of some cells. A map of some thousand places is one block, always at work, and nothing is
left out. Of a larger map those blocks are at work that stand out: where a search finds what is
like the image, and where weight has gathered. All other cells share one weight for each speed, the
usual one. A block that no longer stands out goes back to them.
"""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.mapping.index import best_of
from vpr_ros.core.mapping.positions import distinct
from vpr_ros.core.types import Rows

Array: TypeAlias = NDArray[np.float32]

MOST_BLOCKS = 256  # at work at a time, of a large map

_BLOCK = 16  # cells, of a large map; a small one is a single block
_STANDS_OUT = 1.5  # times the usual weight, from which on a block stays at work
_CELLS_OF_A_PLACE = 4  # looked at for each place asked for
_OFF_GRID, _USUAL = 0, 1  # the first two rows of the weights: no cells, and a block not at work
_NONE: Rows = np.empty(0, np.int64)


class BlockWeights:
    """Weights of the cells of a grid, for each of V speeds.

    values: [V, 2 + A, cells], of which the last A rows are those of the blocks at work; blocks:
    [A] at work, ascending; size: cells of a block; places: [blocks, cells], the place of each
    cell, -1 for none; usual_cells: how many cells share the usual weight.
    """

    def __init__(self, place_of_cell: Rows, speeds: int, *, is_whole: bool) -> None:
        """place_of_cell: [M], -1 for none; is_whole: all cells are one block, always at work."""
        self.is_whole = is_whole
        self.size = len(place_of_cell) if is_whole else _BLOCK
        self._length, self._speeds = len(place_of_cell), speeds
        count = -(-self._length // self.size)
        places = np.full(count * self.size, -1, np.int32)
        places[: self._length] = place_of_cell
        self.places = places.reshape(count, self.size)
        self._mapped_cells = int((places >= 0).sum())
        self.reset()

    def reset(self) -> None:
        """Half of all weight for the cells of the grid, the same for each."""
        count = len(self.places)
        self._slots = np.full(count + 2, _USUAL, np.int32)  # row of each block's weights, and
        self._slots[[0, -1]] = _OFF_GRID  # before the first block and behind the last
        self.blocks = _NONE
        self.values: Array = np.zeros((self._speeds, 2, self.size), np.float32)
        self.values[:, _USUAL] = 0.5 / (self._speeds * self._length)
        self._let_in(self.places >= 0)
        if self.is_whole:
            self.put_to_work(np.arange(count))

    def spread(self, on_cells: Array, speeds: Array) -> None:
        """Begin with weights of cells [M], at each speed in the same shares [V]."""
        self.reset()
        cells = np.zeros(self.places.shape, np.float32)  # [blocks, cells]
        cells.ravel()[: self._length] = on_cells
        if not self.is_whole:
            highest = cells.max(axis=1)
            stand_out = np.flatnonzero(highest > _STANDS_OUT * cells.sum() / self._mapped_cells)
            heaviest = stand_out[np.argsort(-highest[stand_out], kind='stable')[:MOST_BLOCKS]]
            self.put_to_work(np.sort(heaviest))
        self.at_work[...] = speeds[:, None, None] * cells[self.blocks]
        left = float(cells.sum() - cells[self.blocks].sum()) / max(self.usual_cells, 1)
        self.usual[...] = max(left, 0.0) * speeds[:, None]

    @property
    def at_work(self) -> Array:
        """Weights [V, A, cells] of the blocks at work, to be changed in place."""
        return self.values[:, _USUAL + 1 :]

    @property
    def usual(self) -> Array:
        """The weight of each other cell [V, cells], the same along a row; changed in place."""
        return self.values[:, _USUAL]

    @property
    def of_cells(self) -> Array:
        """Weight of each cell [M], of all speeds."""
        slots = self._slots[1:-1]
        weight = self.values.sum(axis=0)[slots]  # [blocks, cells]
        weight[self.places < 0] = 0
        weight[(slots == _USUAL)[:, None] & ~self._is_open] = 0
        return np.asarray(weight.ravel()[: self._length])

    @property
    def of_speeds(self) -> Array:
        """Weight of each speed [V], of all cells."""
        return np.asarray(self.at_work.sum(axis=(1, 2)) + self.usual[:, 0] * self.usual_cells)

    def total(self) -> float:
        """Weight on the map."""
        at_work = self.at_work.sum(dtype=np.float64)
        usual = self.usual[:, 0].sum(dtype=np.float64) * self.usual_cells
        return float(at_work + usual)

    def best_places(self, count: int) -> tuple[Rows, Array]:
        """The K places of most weight and their weights [K], best first; equal ones in order.

        K is `count`, or less where fewer places have weights of their own: of those that share the
        usual weight none is named.
        """
        best, cells = best_of(self.at_work.sum(axis=0).ravel(), _CELLS_OF_A_PLACE * count)
        owners = self.places[self.blocks].ravel()[cells]
        rows, inverse = np.unique(owners[owners >= 0], return_inverse=True)
        weight = np.bincount(inverse, best[owners >= 0], minlength=len(rows)).astype(np.float32)
        order = np.argsort(-weight, kind='stable')[:count]
        return rows[order].astype(np.int64), weight[order]

    def at(self, cells: Rows) -> Array:
        """Weights [V, K] of cells [K]."""
        slots, inside = self._slot_of(cells)
        return np.asarray(self.values[:, slots, inside])

    def stand_out(self, cells: Rows) -> NDArray[np.bool_]:
        """Which of cells [K] have clearly more than the usual weight."""
        return np.asarray(self.at(cells).sum(axis=0) > _STANDS_OUT * self.usual[:, 0].sum())

    def transfer(self, source: Rows, target: Rows, weight: Array, arriving: Array) -> None:
        """Take weight [V, L] from cells [L] at work, and give others [L] what arrives there."""
        slots, inside = self._slot_of(source)
        self.values[:, slots, inside] -= weight
        slots, inside = self._slot_of(target)
        for values, given in zip(self.values, arriving, strict=True):
            np.add.at(values, (slots, inside), given)

    def multiply(self, cells: Rows, factor: np.float32) -> None:
        """Multiply the weights of those of cells [K] that are at work."""
        slots, inside = self._slot_of(cells)
        at_work = slots > _USUAL
        self.values[:, slots[at_work], inside[at_work]] *= factor

    def restrict(self, cells: Rows) -> None:
        """Take the weight of all but cells [K], until `open`."""
        if not self.is_whole:
            blocks = distinct(cells // self.size)
            self.put_to_work(blocks if len(blocks) <= MOST_BLOCKS else _NONE)
        is_open = np.zeros_like(self._is_open)
        is_open.ravel()[cells] = True
        self._let_in(is_open)
        self.values *= self._allowed()

    def fill(self) -> None:
        """Give the cells that `restrict` has left the same weight, at all speeds."""
        self.values[:, self._allowed()] = 1.0

    def open(self) -> None:
        """Share the usual weight with cells that had none."""
        if self._open_cells == self._mapped_cells:
            return
        before = self.usual_cells
        self._let_in(self.places >= 0)
        self.usual[...] *= np.float32(before / max(self.usual_cells, 1))

    def move(
        self, shifts: NDArray[np.float64], likely: Rows, *, stays: float, arrives: float
    ) -> None:
        """Move on by so many cells at each speed [V], and have likely blocks at work.

        stays: share of the weight that does not leave the map; arrives: weight that comes to each
        cell at each speed. What leaves the grid is gone, and what comes in at its end is only what
        arrives.
        """
        blocks = self.blocks if self.is_whole else self._reached(shifts, likely)
        self.values = self._shifted(blocks, shifts, stays=stays, arrives=arrives)
        self._use(blocks)
        if not self.is_whole:
            self._let_go(likely)

    def put_to_work(self, blocks: Rows) -> None:
        """Give further blocks weights of their own, which begin at the usual one."""
        wanted = np.union1d(self.blocks, blocks)
        slots = np.concatenate([[_OFF_GRID, _USUAL], self._slots[wanted + 1]])
        self.values = self.values[:, slots]
        self._use(wanted)

    def _shifted(
        self, blocks: Rows, shifts: NDArray[np.float64], *, stays: float, arrives: float
    ) -> Array:
        """The values [V, 2 + B, cells] of blocks [B] after a move."""
        whole = np.floor(shifts).astype(np.int64)
        part = (shifts - whole).astype(np.float32)
        # A cell takes from two cells, the first of which is 1 + whole cells before it.
        ahead, first = np.divmod(-whole - 1, self.size)
        sources = blocks + ahead[:, None] + 1  # [V, B], and 1 as the slots have it
        slots = self._slots[
            np.clip(np.stack([sources, sources + 1], axis=2), 0, len(self._slots) - 1)
        ]
        moved = np.empty((self._speeds, 2 + len(blocks), self.size), np.float32)
        moved[:, _OFF_GRID] = 0
        moved[:, _USUAL] = stays * self.usual + arrives
        slots += (np.arange(self._speeds, dtype=np.int32) * self.values.shape[1])[:, None, None]
        taken = self.values.reshape(-1, self.size).take(slots, axis=0)
        pieces = taken.reshape(self._speeds, len(blocks), 2 * self.size)
        for speed, (begin, share) in enumerate(zip(first.tolist(), part.tolist())):
            cv2.addWeighted(
                pieces[speed, :, begin + 1 : begin + 1 + self.size],
                stays * (1 - share),
                pieces[speed, :, begin : begin + self.size],
                stays * share,
                arrives,
                dst=moved[speed, _USUAL + 1 :],
            )
        return moved

    def _reached(self, shifts: NDArray[np.float64], likely: Rows) -> Rows:
        """Blocks, ascending, that weight at work may move to, and likely ones."""
        reach = int(np.abs(shifts).max()) + 1
        if reach < self.size:  # only from a block's ends to its neighbours
            weight = self.at_work.sum(axis=0)  # [A, cells]
            stands_out = weight > _STANDS_OUT * self.usual[:, 0].sum()
            before = self.blocks[stands_out[:, :reach].any(axis=1)] - 1
            after = self.blocks[stands_out[:, -reach:].any(axis=1)] + 1
            reached = np.concatenate([before, self.blocks, after])
        else:
            behind = np.unique(np.floor(shifts) // self.size).astype(np.int64)
            reached = (self.blocks[:, None] + np.unique([behind, behind + 1])).ravel()
        inside = (reached >= 0) & (reached < len(self.places))
        return distinct(np.concatenate([reached[inside], likely]))

    def _let_go(self, likely: Rows) -> None:
        """Return blocks that do not stand out to the usual weight."""
        weight = self.values.sum(axis=0)  # [2 + A, cells]
        highest = weight[_USUAL + 1 :].max(axis=1, initial=0)
        stays = highest > _STANDS_OUT * weight[_USUAL, 0]
        if stays.sum() > MOST_BLOCKS:
            stays[:] = False
            stays[np.argpartition(-highest, MOST_BLOCKS)[:MOST_BLOCKS]] = True
        stays[self._slots[likely + 1] - (_USUAL + 1)] = True
        if stays.all():
            return
        mapped = self.places[self.blocks[~stays]] >= 0
        gone = (self.at_work[:, ~stays] * mapped).sum(axis=(1, 2))  # [V]
        before = self.usual_cells
        self.values = self.values[:, np.concatenate([[True, True], stays])]
        self._use(self.blocks[stays])
        usual = self.usual[:, 0] * before + gone
        self.usual[...] = (usual / max(self.usual_cells, 1))[:, None]

    def _use(self, blocks: Rows) -> None:
        """Know that the rows of the values are those of these blocks."""
        self._slots[self.blocks + 1] = _USUAL
        self._slots[blocks + 1] = _USUAL + 1 + np.arange(len(blocks))
        self.blocks = blocks
        at_work = int(self._is_open[blocks].sum())
        self.usual_cells = self._open_cells - at_work

    def _let_in(self, is_open: NDArray[np.bool_]) -> None:
        """Have the usual weight only where the robot may be: in mapped cells [blocks, cells]."""
        self._is_open, self._open_cells = is_open, int(np.count_nonzero(is_open))
        self._use(self.blocks)

    def _allowed(self) -> NDArray[np.bool_]:
        """Where values may have weight [2 + A, cells]."""
        allowed = np.zeros(self.values.shape[1:], np.bool_)
        allowed[_USUAL] = self.usual_cells > 0
        allowed[_USUAL + 1 :] = self._is_open[self.blocks]
        return allowed

    def _slot_of(self, cells: Rows) -> tuple[NDArray[np.int32], Rows]:
        """Where the weights of cells [K] are: row and column."""
        return self._slots[cells // self.size + 1], cells % self.size
