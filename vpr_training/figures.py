"""Pictures of training runs, drawn by matplotlib without a screen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vpr_training.errors import TrainingError


def draw_run(history: Sequence[Mapping[str, float]], path: Path, *, title: str = '') -> None:
    """Loss, learning rate and recall of one run over its epochs, side by side.

    history: a row an epoch, as in epochs.csv; epoch 0, before training, has recall only.
    """
    figure, axes = panels(3)
    trained = [row for row in history if 'loss' in row]
    epochs = [row['epoch'] for row in trained]
    axes[0].plot(epochs, [row['loss'] for row in trained], marker='.')
    axes[0].set_ylabel('loss')
    mined = axes[0].twinx()
    mined.plot(epochs, [row['mined_share'] for row in trained], color='tab:gray', linestyle=':')
    mined.set_ylabel('share of pairs mined (dotted)')
    axes[1].plot(epochs, [row['lr'] for row in trained], marker='.')
    axes[1].set_ylabel('learning rate')
    for name in dict.fromkeys(key for row in history for key in row if key.endswith('/R@1')):
        rows = [row for row in history if name in row]
        axes[2].plot(
            [row['epoch'] for row in rows], [row[name] for row in rows], marker='.', label=name
        )
        axes[2].legend(fontsize='small')
    axes[2].set_ylabel('recall')
    figure.suptitle(title)
    save(figure, path)


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
