"""The mapped drive on a regular grid, along which a belief moves: there, moving is a shift."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.types import Rows

Array: TypeAlias = NDArray[np.float32]

_BREAK = 5.0  # a step of the mapping drive this many times the usual one is a break in it
_BREAK_CELLS = 3  # how wide a break is on the grid
_BRANCH_CELLS = 5  # this far along the drive, a place nearby is on another branch
_SLOWEST_MPS = 0.05  # slower steps of the mapping drive say nothing about its speed
_CROWD = 32  # places of one cube that are looked at for links


@dataclass(frozen=True, slots=True)
class PlaceGrid:
    """The mapped drive as M cells of equal length, in the order in which it was driven."""

    cell_m: float  # length of a cell
    places: int  # N
    place_of_cell: Rows  # [M], the nearest place along the drive; -1 inside a break
    link_from: Rows  # [L], cells next to which another branch passes
    link_to: Rows  # [L], the nearest cell of that branch
    link_turns: NDArray[np.bool_]  # [L], whether that branch was driven the other way
    mapping_speed_mps: float  # the usual speed of the mapping drive

    def __len__(self) -> int:
        """Number of cells, M."""
        return len(self.place_of_cell)

    def on_cells(self, weight: Array) -> Array:
        """Weights of places [N] on the cells [M], in equal shares; all of them are somewhere."""
        cells = np.flatnonzero(self.place_of_cell >= 0)
        owners = self.place_of_cell[cells]  # ascending
        first, behind = (
            np.searchsorted(owners, np.arange(self.places), side) for side in ('left', 'right')
        )
        spread = np.zeros(len(self), np.float32)
        spread[cells] = (weight / np.maximum(behind - first, 1))[owners]
        without = np.flatnonzero(behind == first)  # a place that is nobody's nearest
        beside = cells[np.minimum(first[without], len(cells) - 1)]
        np.add.at(spread, beside, weight[without])
        return spread


def place_grid(
    positions_m: NDArray[np.float64],
    stamps_ns: Rows,
    is_distractor: NDArray[np.bool_] | None = None,
) -> PlaceGrid:
    """Lay places [N, 3], in the order of the mapping drive, onto a grid; stamps [N].

    is_distractor: [N], places that say nothing of how far apart places are; None: there are none.
    """
    moves = np.diff(positions_m, axis=0)  # [N - 1, 3]
    steps_m = np.linalg.norm(moves, axis=1)
    telling: NDArray[np.bool_] = np.ones(len(steps_m), dtype=bool)
    if is_distractor is not None:
        telling = ~(is_distractor[1:] | is_distractor[:-1])
    cell_m, breaks = _usual_step(steps_m, telling)
    travelled_m = np.where(breaks, _BREAK_CELLS * cell_m, steps_m)
    along = np.concatenate([[0.0], np.cumsum(travelled_m)]) / cell_m  # [N], in cells
    cell_of_place = np.rint(along).astype(np.int64)
    place_of_cell = np.searchsorted(
        (along[1:] + along[:-1]) / 2, np.arange(cell_of_place[-1] + 1)
    ).astype(np.int64)
    for before in np.flatnonzero(breaks):
        place_of_cell[cell_of_place[before] + 1 : cell_of_place[before + 1]] = -1
    from_place, to_place = _branches(positions_m, 1.5 * cell_m, cell_of_place)
    moves[breaks] = 0  # the robot did not drive there
    direction = np.pad(moves, [(1, 0), (0, 0)]) + np.pad(moves, [(0, 1), (0, 0)])  # [N, 3]
    turns = np.einsum('li,li->l', direction[from_place], direction[to_place]) < 0
    return PlaceGrid(
        cell_m=cell_m,
        places=len(positions_m),
        place_of_cell=place_of_cell,
        link_from=cell_of_place[from_place],
        link_to=cell_of_place[to_place],
        link_turns=turns,
        mapping_speed_mps=_usual_speed(
            steps_m[telling & ~breaks], np.diff(stamps_ns)[telling & ~breaks], cell_m
        ),
    )


def _usual_step(
    steps_m: NDArray[np.float64], telling: NDArray[np.bool_]
) -> tuple[float, NDArray[np.bool_]]:
    """Length of a cell, by the steps that are telling [N - 1], and which steps are breaks [N - 1].

    A cell is as long as the median step, and longer where the robot mostly stood still, so that
    there are never many more cells than places.
    """
    moving = steps_m[telling & (steps_m > 1e-3)]
    if moving.size == 0:
        return 1.0, np.zeros(len(steps_m), dtype=bool)
    usual_m = float(np.median(moving))
    breaks = steps_m > _BREAK * max(usual_m, float(steps_m[telling].mean()))
    return max(usual_m, float(steps_m[telling & ~breaks].mean())), breaks


def _usual_speed(steps_m: NDArray[np.float64], steps_ns: Rows, cell_m: float) -> float:
    """Median speed while moving, in m/s; a cell a second where the stamps do not tell."""
    timed = steps_ns > 0
    speeds = steps_m[timed] / steps_ns[timed] * 1e9
    speeds = speeds[speeds > _SLOWEST_MPS]
    return float(np.median(speeds)) if speeds.size else cell_m


def _branches(
    positions_m: NDArray[np.float64], radius_m: float, cell_of_place: Rows
) -> tuple[Rows, Rows]:
    """Places near which another branch passes, and the nearest place of that branch.

    Places are sorted into cubes of the radius' size, and only neighbouring cubes are compared.
    """
    cubes = np.floor(positions_m / radius_m).astype(np.int64)
    cubes -= cubes.min(axis=0) - 1
    sizes = cubes.max(axis=0) + 2
    keys = (cubes[:, 0] * sizes[1] + cubes[:, 1]) * sizes[2] + cubes[:, 2]
    order = np.argsort(keys, kind='stable')
    known, starts, counts = np.unique(keys[order], return_index=True, return_counts=True)
    cube = np.repeat(np.arange(len(known)), counts)  # of each place in this order
    nearest = np.full(len(keys), -1, dtype=np.int64)
    nearest_m = np.full(len(keys), radius_m)
    for offset in np.ndindex(3, 3, 3):
        wanted = known + ((offset[0] - 1) * sizes[1] + offset[1] - 1) * sizes[2] + offset[2] - 1
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        crowd = np.where(known[at] == wanted, counts[at], 0)  # of each cube's neighbour there
        for rank in range(min(int(crowd.max()), _CROWD)):
            with_one = np.flatnonzero(crowd[cube] > rank)
            here, there = order[with_one], order[starts[at[cube[with_one]]] + rank]
            apart_m = np.linalg.norm(positions_m[here] - positions_m[there], axis=1)
            branch = np.abs(cell_of_place[here] - cell_of_place[there]) > _BRANCH_CELLS
            better = branch & (apart_m < nearest_m[here])
            nearest[here[better]], nearest_m[here[better]] = there[better], apart_m[better]
    linked = np.flatnonzero(nearest >= 0)
    return linked, nearest[linked]
