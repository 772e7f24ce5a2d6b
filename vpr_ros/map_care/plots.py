"""Pictures of a map: where its places are, where they look, and what a check-up found."""

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from vpr_ros.core.atomic import replace_file, unwritable_as
from vpr_ros.core.errors import MapError
from vpr_ros.core.geometry import rotate
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.plurals import counted
from vpr_ros.map_care.check import Findings, sampled

_NAMED_PARTS = 12  # in the legend
_MOST_VIEWS = 20_000  # lines of a picture
_VIEWS_PER_EXTENT = 60  # length of a view line
_DISTRACTOR = '#bbbbbb'
_POOR, _WRONG, _GAP = '#30363d', '#d1432b', '#e0a030'


def draw_places(place_map: PlaceMap, path: Path, *, title: str) -> None:
    """Write a PNG of a map's places, a colour for each recording, and where they look.

    Raises MapError where the file cannot be written.
    """
    figure, axes = _places_figure(place_map)
    axes.set_title(title, parse_math=False)  # dollars of a name are no formula
    axes.legend(loc='best', fontsize='small', framealpha=0.9)
    drawn = io.BytesIO()
    figure.savefig(drawn, format='png')
    with unwritable_as(MapError, path):
        replace_file(path.absolute(), drawn.getvalue())


def places_jpeg(place_map: PlaceMap, findings: Findings) -> bytes:
    """The same as a JPEG, with what a check-up found."""
    figure, axes = _places_figure(place_map)
    positions = place_map.poses[:, :2]
    pairs = [positions[[alias.place, alias.twin]] for alias in findings.aliases]
    axes.add_collection(
        LineCollection(pairs, colors=_WRONG, linewidths=1, alpha=0.6, label='look alike')
    )
    gaps = [positions[[gap.before, gap.after]] for gap in findings.gaps]
    axes.add_collection(LineCollection(gaps, colors=_GAP, linewidths=4, label='gap'))
    poor = positions[[image.place for image in findings.poor_images]].reshape(-1, 2)
    axes.plot(poor[:, 0], poor[:, 1], 'x', color=_POOR, markersize=6, label='poor image')
    axes.legend(loc='best', fontsize='small', framealpha=0.9)
    drawn = io.BytesIO()
    figure.savefig(drawn, format='jpeg', pil_kwargs={'quality': 85})
    return drawn.getvalue()


def _places_figure(place_map: PlaceMap) -> tuple[Figure, Axes]:
    positions = place_map.poses[:, :2]
    views = rotate(place_map.poses[:, 3:], np.array([0.0, 0.0, 1.0]))[:, :2]  # optical axes
    figure = Figure(figsize=(9, 7), dpi=130, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    length_m = max(float(np.ptp(positions, axis=0).max()), 1.0) / _VIEWS_PER_EXTENT
    header, ends = place_map.header, pairwise(place_map.part_starts.tolist())
    for number, (name, (start, end)) in enumerate(zip(header.parts, ends, strict=True)):
        is_distractor = name in header.distractor_parts
        colour = _DISTRACTOR if is_distractor else f'C{number % 10}'
        places = counted(end - start, 'distractor' if is_distractor else 'place')
        label = f'part {number}: {places}' if number < _NAMED_PARTS else None
        part = positions[start:end]
        axes.plot(part[:, 0], part[:, 1], '.', color=colour, markersize=5, label=label)
        if place_map.header.has_heading:
            shown = sampled(end - start, max(_MOST_VIEWS * (end - start) // len(positions), 1))
            tips = part[shown] + length_m * views[start:end][shown]
            looks = np.stack([part[shown], tips], axis=1)  # [n, 2, 2]
            axes.add_collection(
                LineCollection(list(looks), colors=colour, linewidths=0.6, alpha=0.6)
            )
    axes.set(xlabel='x [m]', ylabel='y [m]')
    axes.set_aspect('equal', adjustable='datalim')
    axes.grid(color='#eeeeee')
    return figure, axes
