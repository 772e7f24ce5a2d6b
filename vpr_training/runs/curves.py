"""The curves of a run, drawn at its end: curves.png in its folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from vpr_training.basics.panels import panels, save


def draw_run(history: Sequence[Mapping[str, float]], path: Path, *, title: str = '') -> None:
    """Loss, learning rate and recall of one run over its epochs, side by side.

    history: a row an epoch, as in epochs.csv; epoch 0, before training, has recall only.
    """
    save(_drawn(history, title), path)


def _drawn(history: Sequence[Mapping[str, float]], title: str) -> Figure:
    """The figure: recall only where it was measured, mined pairs only where some were mined."""
    recalls = list(dict.fromkeys(key for row in history for key in row if key.endswith('/R@1')))
    figure, axes = panels(3 if recalls else 2)
    trained = [row for row in history if 'loss' in row]
    epochs = [row['epoch'] for row in trained]
    axes[0].plot(epochs, [row['loss'] for row in trained], marker='.')
    axes[0].set_ylabel('loss')
    shares = [row['mined_share'] for row in trained]
    if any(shares):
        mined = axes[0].twinx()
        mined.plot(epochs, shares, color='tab:gray', linestyle=':')
        mined.set_ylabel('share of pairs mined (dotted)')
    axes[1].plot(epochs, [row['lr'] for row in trained], marker='.')
    axes[1].set_ylabel('learning rate')
    for name in recalls:
        rows = [row for row in history if name in row]
        axes[2].plot(
            [row['epoch'] for row in rows], [row[name] for row in rows], marker='.', label=name
        )
        axes[2].set_ylabel('recall')
        axes[2].legend(fontsize='small')
    figure.suptitle(title)
    return figure
