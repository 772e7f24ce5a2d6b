"""Panels to draw into by matplotlib without a screen, and the file that they become."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vpr_training.basics.errors import TrainingError


def panels(count: int, *, rows: int = 1, xlabel: str = 'epoch') -> tuple[Figure, list[Any]]:
    """A figure of rows x count axes with a grid, over epochs."""
    figure = Figure(figsize=(4.6 * count, 3.4 * rows), layout='constrained')
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, count, squeeze=False).flat)
    for one in axes:
        one.set_xlabel(xlabel)
        one.grid(alpha=0.3)
        if xlabel == 'epoch':
            one.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of its name; TrainingError where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise TrainingError(f'{path}: cannot be written ({error})') from error
