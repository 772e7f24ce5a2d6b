"""R@1 over the bytes that a map keeps of a place, by the shipped model's descriptor and cells.

    python benchmarks/bytes_curve.py [--model DIR] [--data DIR] [--figure FILE]

Nothing is trained. Descriptor and cells are those of the graph, and less of them is kept: k of the
64 bits of a cell (the graph turns its numbers so that each sign says as much as the others), means
of 2 x 2 cells, or halves in place of floats. Every image is described once. The demo's queries are
the frames at dusk that have a mapped place. Brackets are 95 % block bootstrap intervals.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from inputs import ROOT, add_data_argument
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.image import read
from vpr_ros.core.intervals import difference_interval, drive_interval
from vpr_ros.core.matching.bits import packed
from vpr_ros.core.recall import first_hit_rank
from vpr_ros.core.types import CellBits, Descriptors, Image, Rows
from vpr_ros.drives import open_drive
from vpr_ros.evaluating.tolerance import Tolerance
from vpr_training.basics.panels import panels, save
from vpr_training.data.layouts import open_recall_set
from vpr_training.evaluating.ranking import rank
from vpr_training.evaluating.verifying import ranked_anew

FIGURE = ROOT / 'docs' / 'pictures' / 'bytes.png'
DEVELOPMENT = ('ie_tower_indoor', 'cambridge_streetview', 'demo')
REPORTED = (
    'corridor', 'rtabmap_corridor_loop', 'gardenspoint_thumb', 'nordland_64x32', 'lund_street_gps',
)  # fmt: skip
RIGHT = Tolerance(5.0, float(np.radians(45)))  # a place of the demo
Bools: TypeAlias = NDArray[np.bool_]
Load: TypeAlias = Callable[[], Image]


@dataclass(frozen=True)
class Seen:
    """What the graph makes of N images."""

    descriptors: Descriptors  # [N, D]
    fine: CellBits  # [N, h * w, C / 8]
    coarse: CellBits  # [N, h / 2 * w / 2, C / 8]

    def of(self, rows: Rows) -> 'Seen':
        """Some of the images."""
        return Seen(self.descriptors[rows], self.fine[rows], self.coarse[rows])


@dataclass(frozen=True)
class Asked:
    """A set, described."""

    name: str
    database: Seen
    queries: Seen
    positives: Sequence[Rows]  # Q arrays of rows of the database
    earlier_than: Rows | None  # [Q], see RecallSet


@dataclass(frozen=True)
class Way:
    """What is kept of a place, and how many candidates are verified by it."""

    bits: int  # of a cell; 0: no cells are kept
    best: int = 25
    is_coarse: bool = False
    has_halves: bool = False  # of the descriptor's numbers

    def __str__(self) -> str:
        numbers = f'512 {"halves" if self.has_halves else "floats"}'
        if not self.bits:
            return f'{numbers} alone'
        side = 10 if self.is_coarse else 20
        return f'{numbers}, {side} x {side} cells of {self.bits} bits, the best {self.best}'

    def place_bytes(self, seen: Seen) -> int:
        """Bytes of a place."""
        numbers = seen.descriptors.shape[1] * (2 if self.has_halves else 4)
        return numbers + (seen.coarse if self.is_coarse else seen.fine).shape[1] * self.bits // 8

    def hits(self, asked: Asked, grid: tuple[int, int]) -> Bools:
        """Whether the first answer to each query is right, [Q]."""
        database, queries = (self._rows(seen) for seen in (asked.database, asked.queries))
        ranked = rank(database, queries, asked.earlier_than, self.best)
        if self.bits:
            ranked = ranked_anew(
                ranked,
                database=database,
                queries=queries,
                database_bits=self._cells(asked.database),
                query_bits=self._cells(asked.queries),
                grid=(grid[0] // 2, grid[1] // 2) if self.is_coarse else grid,
                best=self.best,
            )
        return first_hit_rank(ranked[:, :1], asked.positives) == 0

    def _rows(self, seen: Seen) -> Descriptors:
        rows = seen.descriptors
        return rows.astype(np.float16).astype(np.float32) if self.has_halves else rows

    def _cells(self, seen: Seen) -> CellBits:
        return (seen.coarse if self.is_coarse else seen.fine)[..., : self.bits // 8]


SHIPPED = Way(64)
WAYS = (
    Way(0),
    Way(8),
    Way(16),
    Way(32),
    Way(48),
    SHIPPED,
    Way(64, best=10),
    Way(64, best=50),
    Way(32, best=50),
    Way(64, has_halves=True),
    Way(64, is_coarse=True),
    Way(64, is_coarse=True, best=50),
    Way(32, is_coarse=True),
)
CURVES = {
    '20 x 20 cells of 0 to 64 bits': WAYS[:6],
    '10 x 10 cells of 0, 32 and 64 bits': (WAYS[0], WAYS[12], WAYS[10]),
}


def described(loads: Iterable[Load], describer: OnnxDescriber, label: str) -> Seen:
    """What the graph makes of images, one after another."""
    rows, fine, coarse = [], [], []
    for load in tqdm(list(loads), desc=label, unit='image', disable=None, leave=False):
        descriptors, cells = describer.describe_with_cells([load()])
        assert cells is not None
        high, wide, numbers = cells[0].shape
        blocks = cells[0].astype(np.float32).reshape(high // 2, 2, wide // 2, 2, numbers)
        rows.append(descriptors[0])
        fine.append(packed(cells[0]))
        coarse.append(packed(blocks.mean(axis=(1, 3))))
    return Seen(np.stack(rows), np.stack(fine), np.stack(coarse))


def opened(name: str, data: Path, describer: OnnxDescriber) -> Asked:
    """A set by the name of its folder, or the demo."""
    if name == 'demo':
        return demo(describer)
    images = open_recall_set(data / name)
    loads = [lambda path=path: read(path) for path in images.database]
    database = described(loads, describer, name)
    if images.earlier_than is not None:
        queries = database.of(images.earlier_than)
    else:
        queries = described(
            [lambda path=path: read(path) for path in images.queries], describer, name
        )
    return Asked(name, database, queries, images.positives, images.earlier_than)


def demo(describer: OnnxDescriber) -> Asked:
    """The frames at dusk that have a mapped place, among those by day."""
    loads, poses = [], []
    for name in ('day', 'dusk'):
        drive = open_drive(ROOT / 'demo' / 'drives' / name)
        frames = list(drive.frames())
        found, known = drive.trajectory.at(np.array([frame.stamp_ns for frame in frames]))
        loads.append([frames[row].load for row in np.flatnonzero(known)])
        poses.append(found[known])
    right = RIGHT.accepts(poses[0][None], poses[1][:, None])  # [Q, N]
    mapped = np.flatnonzero(right.any(axis=1))
    day = described(loads[0], describer, 'demo')
    dusk = described([loads[1][row] for row in mapped], describer, 'demo')
    return Asked('demo', day, dusk, [np.flatnonzero(row) for row in right[mapped]], None)


def means(hits: Sequence[Bools]) -> float:
    """Of the sets' R@1; a set counts as one."""
    return float(np.mean([hit.mean() for hit in hits]))


def table(sets: Sequence[Asked], found: dict[Way, dict[str, Bools]]) -> Iterator[str]:
    """A row for each way; the shipped one again with intervals."""
    yield (
        '| bytes per place | what is kept | '
        + ' | '.join(
            [
                *(one.name for one in sets),
                'mean of development',
                'mean of reported',
                'to the shipped',
            ]
        )
        + ' |'
    )
    yield '|' + '---|' * (len(sets) + 5)
    shipped = np.concatenate([found[SHIPPED][name] for name in DEVELOPMENT])
    for way, hits in sorted(found.items(), key=lambda item: item[0].place_bytes(sets[0].database)):
        pooled = np.concatenate([hits[name] for name in DEVELOPMENT])
        low, high = difference_interval(shipped, pooled)
        cells = [f'{hits[one.name].mean():.3f}' for one in sets]
        cells += [f'{means([hits[n] for n in part]):.3f}' for part in (DEVELOPMENT, REPORTED)]
        risen = f'{pooled.mean() - shipped.mean():+.3f} [{low:+.3f}, {high:+.3f}]'
        cells.append('' if way is SHIPPED else risen)
        size = f'{way.place_bytes(sets[0].database):,}'
        yield f'| {size} | {way} | ' + ' | '.join(cells) + ' |'
    ends = [drive_interval(found[SHIPPED][one.name], least=1) for one in sets]
    yield (
        '| | intervals of the shipped | '
        + ' | '.join([*(f'[{low:.2f}, {high:.2f}]' for low, high in ends), '', '', ''])
        + ' |'
    )


def draw(sets: Sequence[Asked], found: dict[Way, dict[str, Bools]], path: Path) -> None:
    """A panel for each group of sets, and a line for each set and their mean."""
    figure, axes = panels(2, xlabel='bytes per place')
    for axis, part in zip(axes, (DEVELOPMENT, REPORTED), strict=True):
        for (label, ways), style in zip(CURVES.items(), ('-', '--'), strict=True):
            size = [way.place_bytes(sets[0].database) for way in ways]
            for number, name in enumerate(part):
                shares = [found[way][name].mean() for way in ways]
                axis.plot(size, shares, style, color=f'C{number}', linewidth=0.8, label=(
                    name if style == '-' else None))  # fmt: skip
            mean = [means([found[way][name] for name in part]) for way in ways]
            axis.plot(size, mean, style, color='black', marker='.', label=f'mean, {label}')
        axis.set(ylim=(0, 1.02))
        axis.legend(fontsize='x-small', loc='upper center', bbox_to_anchor=(0.5, -0.2), ncol=2)
    axes[0].set(title='development sets', ylabel='R@1')
    axes[1].set(title='reported sets')
    save(figure, path)


def main() -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', type=Path, default=default_model(), metavar='DIR')
    parser.add_argument('--figure', type=Path, default=FIGURE, metavar='FILE')
    add_data_argument(parser)
    arguments = parser.parse_args()
    describer = OnnxDescriber(Model.open(arguments.model, precision='fp32'), threads=1)
    high, wide, _ = describer.model.card.cells or (0, 0, 0)
    if not high:
        parser.error(f'{arguments.model} has no cells; choose a model whose card has some')
    names = (*DEVELOPMENT, *REPORTED)
    sets = [opened(name, arguments.data, describer) for name in names]
    found = {way: {one.name: way.hits(one, (high, wide)) for one in sets} for way in WAYS}
    print('\n'.join(table(sets, found)))
    draw(sets, found, arguments.figure)
    print(f'\nfigure in {arguments.figure}')


if __name__ == '__main__':
    main()
