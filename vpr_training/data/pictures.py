"""Pictures of data sets: where places are, how many images they have, some to look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vpr_ros.core.errors import ImageError
from vpr_ros.core.image import read, resize
from vpr_ros.core.names import as_text
from vpr_training.basics.panels import panels, save
from vpr_training.data.places import PlaceSet
from vpr_training.data.recall_set import RecallSet

_PLACES_SHOWN = 4
_TILE_HW = (90, 120)


def draw_places(places: PlaceSet, path: Path) -> None:
    """Where the images of a training set are, how many a place has, and some places to look at.

    Positions are coloured by place; cities each have coordinates of their own, so the one with the
    most places is drawn.
    """
    figure, axes = panels(2, xlabel='')
    figure.set_size_inches(9.2, 7.5)
    city = int(np.bincount(places.city).argmax())
    rows = np.concatenate([places.rows(int(p)) for p in np.flatnonzero(places.city == city)])
    known = rows[np.isfinite(places.positions_m[rows]).all(axis=1)]
    if len(known):
        positions = places.positions_m[known] - places.positions_m[known].min(axis=0)
        axes[0].scatter(*positions.T, c=places.place_of(known) % 20, cmap='tab20', s=6)
        axes[0].set_aspect('equal', adjustable='datalim')
    title = as_text(places.cities[city]) if len(known) else 'no positions'
    axes[0].set(title=title, xlabel='x [m]', ylabel='y [m]')
    _counts(axes[1], np.diff(places.starts).tolist())
    axes[1].set(xlabel='images', ylabel='places', title='images per place')
    shown = np.linspace(0, places.places - 1, min(_PLACES_SHOWN, places.places)).astype(int)
    pictures = [[places.path(int(row)) for row in places.rows(int(p))[:6]] for p in shown]
    _montage(figure, axes, pictures, 'a row is a place')
    save(figure, path)


def draw_recall_set(images: RecallSet, path: Path) -> None:
    """How many true matches queries have, and some queries beside theirs."""
    figure, axes = panels(1, xlabel='')
    figure.set_size_inches(9.2, 7.5)
    _counts(axes[0], [len(rows) for rows in images.positives])
    axes[0].set(xlabel='true matches', ylabel='queries', title=images.name)
    matchable = [q for q, rows in enumerate(images.positives) if len(rows)]
    shown = matchable[:: max(len(matchable) // _PLACES_SHOWN, 1)][:_PLACES_SHOWN]
    pictures = [
        [images.queries[q], *(images.database[row] for row in images.positives[q][:5])]
        for q in shown
    ]
    _montage(figure, axes, pictures, 'a query, then its true matches')
    save(figure, path)


def _counts(axes: Any, counts: Sequence[int]) -> None:
    """A histogram of whole numbers."""
    step = max((max(counts) - min(counts)) // 20, 1)
    axes.hist(counts, bins=np.arange(min(counts), max(counts) + 2 * step, step) - 0.5, rwidth=0.9)


def _montage(
    figure: Figure, axes: list[Any], pictures: Sequence[Sequence[Path]], title: str
) -> None:
    """Rows of pictures below the axes that a figure has."""
    columns = max((len(row) for row in pictures), default=0)
    if not columns:
        return
    height, width = _TILE_HW
    sheet = np.full((len(pictures) * height, columns * width, 3), 255, dtype=np.uint8)
    for line, row in enumerate(pictures):
        for column, file in enumerate(row):
            try:
                tile = resize(read(file), _TILE_HW)
            except ImageError:
                continue  # stays white: a broken image is the caller's to report
            sheet[line * height : (line + 1) * height, column * width : (column + 1) * width] = (
                tile
            )
    grid = figure.add_gridspec(2, len(axes), height_ratios=(1, 1.6))
    for column, one in enumerate(axes):
        one.set_subplotspec(grid[0, column])
    below = figure.add_subplot(grid[1, :])
    below.imshow(sheet)
    below.set_axis_off()
    below.set_title(title)
