"""The figures of a model on a set, as a table for people and as JSON."""

from typing import Any

from vpr_ros.core.recall import Recall
from vpr_training.data.recall_set import RecallSet
from vpr_training.evaluating.recall import Measured


def as_json(measured: Measured, images: RecallSet) -> dict[str, Any]:
    """What --json writes of one model."""
    return {
        **_figures(measured.recall),
        'recall_of_matchable': _shares(measured.matchable),
        'conditions': {name: _figures(part) for name, part in measured.conditions.items()},
        'database': len(images.database),
        'dataset': images.name,
        'truth': images.truth,
        'left_out': list(images.left_out),
        'model': measured.card.name,
        'model_sha256': measured.card.sha256,
        'precision': measured.precision,
    }


def _figures(recall: Recall) -> dict[str, Any]:
    return {
        'recall': _shares(recall),
        'recall_interval': {str(n): list(interval) for n, interval in recall.interval.items()},
        'queries': recall.queries,
        'unmatchable': recall.unmatchable,
    }


def _shares(recall: Recall) -> dict[str, float]:
    return {str(n): share for n, share in recall.at.items()}


def as_table(measured: Measured, images: RecallSet) -> str:
    """The figures for a person."""
    recall = measured.recall
    rows = [
        (f'Recall@{n}', f'{recall.at[n]:.3f}   [{low:.3f}, {high:.3f}]')
        for n, (low, high) in recall.interval.items()
    ]
    rows += [
        (f'Recall@1 {name}', f'{part.at[1]:.3f}   of {part.queries} queries')
        for name, part in measured.conditions.items()
        if 1 in part.at
    ]
    rows += [
        ('queries / database', f'{recall.queries} / {len(images.database)}'),
        ('unmatchable', f'{recall.unmatchable} queries without a true match, counted as misses'),
        ('right is', images.truth),
        *(('left out', said) for said in images.left_out),
        ('model', f'{measured.card.name} ({measured.card.sha256[:12]}, {measured.precision})'),
    ]
    width = max(len(name) for name, _ in rows)
    return '\n'.join([images.name, *(f'  {name:<{width}}  {value}' for name, value in rows)])
