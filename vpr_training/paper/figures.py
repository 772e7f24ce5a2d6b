"""The paper's four figures, from runs of experiments; the first needs none."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vpr_ros.core.image import read, resize
from vpr_training.basics.panels import panels, save
from vpr_training.data.recall_set import RecallSet
from vpr_training.learning.config import OptimizerConfig, SchedulerConfig
from vpr_training.learning.schedules import rates_over_epochs
from vpr_training.models.checkpoints import load_checkpoint
from vpr_training.models.network import ExportedNetwork
from vpr_training.paper.published import GRID, TABLES
from vpr_training.paper.seeded_run import Run
from vpr_training.runs.run_folder import RunFolder
from vpr_training.runs.validation import Validation

_SCHEDULERS: dict[str, SchedulerConfig] = {
    'MultiStepLR': SchedulerConfig(name='multi_step'),
    'ReduceLROnPlateau': SchedulerConfig(name='plateau'),
    'CosineAnnealingLR': SchedulerConfig(name='cosine'),
    'CyclicLR triangular2': SchedulerConfig(name='cyclic'),
}
_QUERIES, _SHOWN = 4, 3  # of figure 4: queries of a set, and images retrieved for each
_TILE_HW = (120, 160)
_RIGHT, _WRONG = (46, 139, 87), (209, 67, 43)


def draw_rates(output: Path, epochs: int) -> Path:
    """Figure 1: the learning rate over the epochs, with Adam's 2e-4.

    ReduceLROnPlateau, which the paper does not draw, is shown for a loss that never falls.
    """
    figure, axes = panels(4)
    for one, (name, scheduler) in zip(axes, _SCHEDULERS.items(), strict=True):
        rates = rates_over_epochs(OptimizerConfig(name='adam', lr=2e-4), scheduler, epochs)
        one.step(range(1, epochs + 1), rates, where='mid', marker='.')
        one.set(title=name, ylabel='learning rate')
        one.ticklabel_format(axis='y', style='sci', scilimits=(0, 0))
    path = output / 'figures' / 'learning_rate.png'
    save(figure, path)
    return path


def draw_grid(output: Path, runs: Mapping[str, Sequence[Run]], name: str) -> Path:
    """Figure 2: R@1 on the set of this name over learning rate and weight decay, GeM."""
    figure, axes = panels(len(GRID), xlabel='weight decay')
    for one, (optimizer, (rates, decays)) in zip(axes, GRID.items(), strict=True):
        values = np.array(
            [
                [
                    _mean_recall(runs[f'{optimizer}_lr{rate:g}_wd{decay:g}'], name)
                    for decay in decays
                ]
                for rate in rates
            ]
        )
        one.imshow(values, aspect='auto', cmap='viridis')
        one.grid(visible=False)
        one.set_xticks(range(len(decays)), [f'{decay:g}' for decay in decays])
        one.set_yticks(range(len(rates)), [f'{rate:g}' for rate in rates])
        one.set(title=f'GeM, {optimizer}: R@1 in percent', ylabel='learning rate')
        for (row, column), value in np.ndenumerate(values):
            ink = 'black' if value > (values.min() + values.max()) / 2 else 'white'
            one.text(column, row, f'{value:.1f}', ha='center', va='center', color=ink, fontsize=10)
    path = output / 'figures' / 'grid.png'
    save(figure, path)
    return path


def draw_epochs(output: Path, runs: Mapping[str, Sequence[Run]]) -> Path:
    """Figure 3: R@1 per epoch for each scheduler, mean and range over the seeds."""
    poolings = list(dict.fromkeys(row.pooling for row in TABLES['schedulers']))
    figure, axes = panels(len(poolings))
    for one, pooling in zip(axes, poolings, strict=True):
        for row in TABLES['schedulers']:
            if row.pooling != pooling:
                continue
            curves = [_recall_per_epoch(run) for run in runs[row.config]]
            epochs = sorted(set.intersection(*(set(curve) for curve in curves)))
            values = np.array([[curve[epoch] for epoch in epochs] for curve in curves])
            (line,) = one.plot(epochs, values.mean(axis=0), marker='.', label=row.varied)
            one.fill_between(
                epochs, values.min(axis=0), values.max(axis=0), alpha=0.15, color=line.get_color()
            )
        one.set(title=pooling, ylabel='R@1 on the validation set')
        one.legend(fontsize='small')
    path = output / 'figures' / 'epochs.png'
    save(figure, path)
    return path


def draw_retrieved(
    output: Path,
    runs: Mapping[str, Sequence[Run]],
    sets: Mapping[str, RecallSet],
    anew: Collection[str],
) -> Iterator[Path]:
    """Figure 4: queries and what AVG, GeM and MixVPR retrieve for them, a picture per set.

    Green frames are right, red ones wrong. The queries are those on which the poolings disagree
    most, else the first ones. anew: sets whose picture is out of date; others keep theirs.
    """
    rows = TABLES['pooling']
    networks = {
        row.pooling: ExportedNetwork(load_checkpoint(RunFolder(runs[row.config][0].folder).best))
        for row in rows
    }
    for name, images in sets.items():
        path = output / 'figures' / f'retrieved_{_file_name(name)}.png'
        if name not in anew and path.exists():
            yield path
            continue
        ranked = {
            pooling: Validation([images], batch=16, workers=2).rank(
                network, images, torch.device('cpu')
            )[:, :_SHOWN]
            for pooling, network in networks.items()
        }
        _side_by_side(images, ranked, path)
        yield path


def _file_name(name: str) -> str:
    """Of a set; a slash in it is no folder."""
    return ''.join(letter if letter.isalnum() or letter in '-.' else '_' for letter in name)


def _side_by_side(images: RecallSet, ranked: Mapping[str, NDArray[np.int64]], path: Path) -> None:
    right = {
        pooling: np.array(
            [np.isin(row, true) for row, true in zip(rows, images.positives, strict=True)]
        )
        for pooling, rows in ranked.items()
    }  # [Q, shown]
    firsts = np.stack([hits[:, 0] for hits in right.values()])  # [poolings, Q]
    queries = np.argsort(-firsts.std(axis=0), kind='stable')[:_QUERIES]
    figure, axes = panels(1 + len(ranked) * _SHOWN, rows=len(queries), xlabel='')
    figure.set_size_inches(1.7 * (1 + len(ranked) * _SHOWN), 1.45 * len(queries))
    places = iter(axes)
    for line, query in enumerate(queries):
        _picture(next(places), images.queries[query], 'query' if line == 0 else '', None)
        for pooling, rows in ranked.items():
            for column in range(_SHOWN):
                title = f'{pooling} {column + 1}' if line == 0 else ''
                if rows[query, column] < 0:  # the set has no more images for this query
                    axis = next(places)
                    axis.set_axis_off()
                    axis.set_title(title, fontsize='small')
                    continue
                colour = _RIGHT if right[pooling][query, column] else _WRONG
                _picture(next(places), images.database[rows[query, column]], title, colour)
    save(figure, path)


def _picture(axes: object, image: Path, title: str, frame: tuple[int, int, int] | None) -> None:
    pixels = resize(read(image), _TILE_HW).copy()
    if frame:
        height, width = _TILE_HW
        cv2.rectangle(pixels, (2, 2), (width - 3, height - 3), frame, 5)
    axes.imshow(pixels)  # type: ignore[attr-defined]
    axes.set_axis_off()  # type: ignore[attr-defined]
    axes.set_title(title, fontsize='small')  # type: ignore[attr-defined]


def _mean_recall(runs: Sequence[Run], name: str) -> float:
    """R@1 on the set of this name, in percent, over the seeds."""
    return 100 * float(np.mean([run.recall([name])[name]['1'] for run in runs]))


def _recall_per_epoch(run: Run) -> dict[int, float]:
    return {
        int(row['epoch']): next(value for key, value in row.items() if key.endswith('/R@1'))
        for row in run.history()
        if any(key.endswith('/R@1') for key in row)
    }
