"""The demo's picture: what was mapped, what was driven, and what the robot said."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.evaluating.figures import Evaluation

_MAP, _TRUE, _RIGHT, _WRONG, _SILENT = '#c8ccd2', '#30363d', '#2e8b57', '#d1432b', '#e0a030'


def draw_paths(evaluation: Evaluation, place_map: PlaceMap, path: Path, *, title: str) -> None:
    """Write a PNG of the map's places, the true path and the fixes.

    Each fix is joined to the true position; where there was none is shown too.
    """
    places, judged = place_map.base_poses(), evaluation.judged.of(evaluation.judged.known)
    truth, poses, fixed = judged.truth, judged.poses, judged.fixed
    figure = Figure(figsize=(9, 7), dpi=130, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(places[:, 0], places[:, 1], '.', color=_MAP, markersize=7, label='mapped places')
    axes.plot(truth[:, 0], truth[:, 1], '-', color=_TRUE, linewidth=1, label='true path')
    groups = ((judged.right, _RIGHT, 'right'), (fixed & ~judged.right, _WRONG, 'wrong'))
    for chosen, colour, name in groups:
        joined = np.stack([truth[chosen, :2], poses[chosen, :2]], axis=1)  # [n, 2, 2]
        axes.add_collection(LineCollection(list(joined), colors=colour, linewidths=1, alpha=0.7))
        label = f'{name} fix ({chosen.sum()})'
        axes.plot(poses[chosen, 0], poses[chosen, 1], 'o', color=colour, markersize=4, label=label)
    silent = truth[~fixed]
    label = f'no fix ({len(silent)})'
    axes.plot(silent[:, 0], silent[:, 1], 'x', color=_SILENT, markersize=5, label=label)
    axes.set(xlabel='x [m]', ylabel='y [m]', title=title)
    axes.set_aspect('equal', adjustable='datalim')
    axes.legend(loc='best', fontsize='small', framealpha=0.9)
    axes.grid(color='#eeeeee')
    figure.savefig(path)
