"""Pictures of an evaluation: what a robot believed, drawn over what was true."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from vpr_ros.core.place_map import PlaceMap
from vpr_ros.evaluation import Evaluation, Tolerance

_MAP, _TRUE, _RIGHT, _WRONG, _SILENT = '#c8ccd2', '#30363d', '#2e8b57', '#d1432b', '#e0a030'


def draw_paths(
    evaluation: Evaluation, place_map: PlaceMap, tolerance: Tolerance, path: Path, *, title: str
) -> None:
    """Write a PNG of the map's places, the true path and the fixes.

    Each fix is joined to the true position; where there was none is shown too.
    """
    places = place_map.base_poses()
    fixed = np.array([answer.pose is not None for answer in evaluation.answers])
    poses = np.array(
        [answer.pose for answer in evaluation.answers if answer.pose is not None]
    ).reshape(-1, 7)
    truth = evaluation.truth
    right = tolerance.accepts(poses, truth[fixed])
    figure = Figure(figsize=(9, 7), dpi=130, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(places[:, 0], places[:, 1], '.', color=_MAP, markersize=7, label='mapped places')
    axes.plot(truth[:, 0], truth[:, 1], '-', color=_TRUE, linewidth=1, label='true path')
    for chosen, colour, name in ((right, _RIGHT, 'right'), (~right, _WRONG, 'wrong')):
        joined = np.stack([truth[fixed][chosen, :2], poses[chosen, :2]], axis=1)  # [n, 2, 2]
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
