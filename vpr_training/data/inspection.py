"""What a data set holds, in words, and which of its files are broken."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vpr_ros.core.errors import ImageError
from vpr_ros.core.image import read
from vpr_ros.core.plurals import counted
from vpr_training.data.places import PlaceSet
from vpr_training.data.recall_set import RecallSet

_CITIES_SHOWN, _BAR_WIDTH = 30, 40


def described(places: PlaceSet) -> str:
    """What a training set holds, for people."""
    sizes = np.diff(places.starts)
    lines = [
        str(places),
        f'  images per place: {sizes.min()} to {sizes.max()}, median {np.median(sizes):g}',
        *_histogram(sizes.tolist()),
    ]
    lines += [_city(places, city) for city in range(min(len(places.cities), _CITIES_SHOWN))]
    if len(places.cities) > _CITIES_SHOWN:
        more = counted(len(places.cities) - _CITIES_SHOWN, 'more city')
        lines.append(f'  and {more}')
    return '\n'.join(lines)


def described_recall_set(images: RecallSet) -> str:
    """What an evaluation set holds, for people."""
    positives = [len(rows) for rows in images.positives]
    matchable = [count for count in positives if count]
    lines = [
        f'{images.name}: {counted(len(images.database), "database image")}, '
        f'{counted(len(images.queries), "query")}',
        f'  right is: {images.truth}',
        *(f'  left out: {said}' for said in images.left_out),
        f'  unmatchable: {counted(positives.count(0), "query")} without a true match',
    ]
    if matchable:
        lines += [
            f'  true matches of the others: {min(matchable)} to {max(matchable)}, '
            f'median {np.median(matchable):g}',
            *_histogram(matchable),
        ]
    return '\n'.join(lines)


def broken(files: Sequence[Path]) -> list[str]:
    """What is wrong with the files that cannot be decoded."""

    def trouble(path: Path) -> str | None:
        try:
            read(path)
        except ImageError as error:
            return str(error)
        return None

    with ThreadPoolExecutor() as pool:
        found = tqdm(
            pool.map(trouble, files), total=len(files), unit='image', disable=None, delay=2
        )
        return [said for said in found if said]


def _city(places: PlaceSet, city: int) -> str:
    chosen = np.flatnonzero(places.city == city)
    rows = np.concatenate([places.rows(int(place)) for place in chosen])
    known = places.positions_m[rows]
    known = known[np.isfinite(known).all(axis=1)]
    name = places.cities[city] or 'all'
    text = f'  {name}: {counted(len(chosen), "place")}, {counted(len(rows), "image")}'
    if len(known):
        width, height = known.max(axis=0) - known.min(axis=0)
        text += f', {width:.0f} m x {height:.0f} m'
    return text


def _histogram(counts: Sequence[int]) -> list[str]:
    edges = np.unique(np.linspace(min(counts), max(counts) + 1, 9).astype(int))
    held, _ = np.histogram(counts, bins=np.append(edges[:-1], edges[-1] + (len(edges) == 1)))
    lines = []
    for low, high, count in zip(edges[:-1], edges[1:], held):
        span = f'{low}' if high - low == 1 else f'{low}-{high - 1}'
        bar = '#' * round(_BAR_WIDTH * count / max(held))
        lines.append(f'    {span:>9} {bar:<{_BAR_WIDTH}} {count}')
    return lines
