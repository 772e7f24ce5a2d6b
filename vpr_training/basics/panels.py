"""Panels to draw into by matplotlib without a screen, and the file that they become."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from vpr_ros.core.atomic import unwritable_as
from vpr_training.basics.errors import TrainingError
from vpr_training.basics.files import write_file


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


def _names_in(figure: Figure) -> Iterator[Text]:
    """Titles and legends: names in them may have dollars, which are no formulas."""
    yield from figure.texts
    for one in figure.axes:
        yield from (one.title, *one.texts)
        legend = one.get_legend()
        yield from legend.get_texts() if legend else ()


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of its name; TrainingError where that cannot be done."""
    for text in _names_in(figure):
        text.set_parse_math(False)
    drawn = io.BytesIO()
    with unwritable_as(TrainingError, path, also=ValueError):  # of a format it cannot write
        figure.savefig(drawn, dpi=120, format=path.suffix.removeprefix('.') or 'png')
    write_file(path, drawn.getvalue())
