"""Recall before and after fine-tuning, query by query, and which of the two models to use.

The new one is recommended only where its gain is more than chance explains.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.core.intervals import difference_interval
from vpr_ros.core.plurals import counted
from vpr_ros.core.recall import Recall
from vpr_training.basics.panels import panels, save
from vpr_training.data.recall_set import RecallSet
from vpr_training.evaluating.recall import Measured

_SHOWN_NS = (1, 5)


@dataclass(frozen=True)
class Comparison:
    """One set before and after training, query by query."""

    images: RecallSet
    before: Measured
    after: Measured

    def difference(self, n: int) -> tuple[float, tuple[float, float]]:
        """The difference of R@n, and its paired 95 % bootstrap interval."""
        hits = [
            (ranks >= 0) & (ranks < n) for ranks in (self.before.first_hit, self.after.first_hit)
        ]
        return self.after.recall.at[n] - self.before.recall.at[n], difference_interval(*hits)

    @property
    def better(self) -> bool:
        """Whether R@1 rose, by more than chance explains."""
        return self.difference(1)[1][0] > 0

    def __str__(self) -> str:
        images = self.images
        rows = [('', 'before', 'after', 'difference')]
        for n in _SHOWN_NS:
            change, interval = self.difference(n)
            before, after = (one.recall.said(n) for one in (self.before, self.after))
            rose = f'{change:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]'
            rows.append((f'R@{n}', before, after, rose))
        unmatchable = self.before.recall.unmatchable
        return '\n'.join(
            [
                f'{images.name}: {counted(len(images.queries), "query")} in '
                f'{counted(len(images.database), "image")}, '
                f'{unmatchable} of them without a true match; right is {images.truth}',
                *('  {:<4} {:<21} {:<21} {}'.format(*row).rstrip() for row in rows),
            ]
        )

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        found: dict[str, Any] = {
            'truth': self.images.truth,
            'queries': len(self.images.queries),
            'database': len(self.images.database),
            'unmatchable': self.before.recall.unmatchable,
            'before': figures_of(self.before.recall),
            'after': figures_of(self.after.recall),
        }
        for n in _SHOWN_NS:
            change, interval = self.difference(n)
            found[f'difference_{n}'] = {'value': change, 'interval': list(interval)}
        return found


@dataclass(frozen=True)
class Outcome:
    """What came of fine-tuning."""

    sets: tuple[Comparison, ...]
    start: Path  # the model or checkpoint that it began with
    model: Path  # the new one

    @property
    def recommended(self) -> Path:
        """The new model if R@1 rose on the first set for sure, else the one before."""
        return self.model if self.sets[0].better else self.start

    def as_json(self) -> dict[str, Any]:
        """What comparison.json holds."""
        return {
            'recommended': str(self.recommended),
            'sets': {one.images.name: one.as_json() for one in self.sets},
        }

    def __str__(self) -> str:
        tables = [str(one) for one in self.sets]
        if self.sets[0].better:
            return '\n'.join([*tables, f'fine-tuning helped: use {self.model}'])
        why = (
            'fine-tuning did not help here'
            if self.sets[0].difference(1)[0] <= 0
            else 'the gain may be chance, because its interval includes 0'
        )
        return '\n'.join([*tables, f'keep {self.start}: {why} (the new one is {self.model})'])


def draw_comparison(sets: Mapping[str, tuple[Recall, Recall]], path: Path) -> None:
    """Recall@N before and after training with 95 % intervals, a panel for each set."""
    figure, axes = panels(len(sets), xlabel='')
    for one, (name, recalls) in zip(axes, sets.items(), strict=True):
        for number, (label, recall) in enumerate(zip(('before', 'after'), recalls, strict=True)):
            shares = np.array([recall.at[n] for n in _SHOWN_NS])
            low, high = np.array([recall.interval[n] for n in _SHOWN_NS]).T
            # A bootstrap of few queries may not reach the share itself.
            errors = np.maximum([shares - low, high - shares], 0)
            at = np.arange(len(_SHOWN_NS)) + 0.4 * (number - 0.5)
            one.bar(at, shares, width=0.35, yerr=errors, capsize=4, label=label)
        one.set_xticks(range(len(_SHOWN_NS)), [f'R@{n}' for n in _SHOWN_NS])
        one.set(title=name, ylabel='recall', ylim=(0, 1.05))
        one.legend(fontsize='small', loc='lower right')
    save(figure, path)


def figures_of(recall: Recall) -> dict[str, float]:
    """The figures in the form of a card."""
    low, high = recall.interval[1]
    shares = {str(n): recall.at[n] for n in (1, 5, 10)}
    return shares | {'queries': recall.queries, '1_low': low, '1_high': high}
