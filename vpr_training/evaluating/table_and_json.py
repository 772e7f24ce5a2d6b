"""The figures of a model on a set, as a table for people and as JSON."""

from typing import Any

from vpr_ros.core.plurals import counted
from vpr_ros.core.recall import Recall
from vpr_training.data.recall_set import RecallSet
from vpr_training.evaluating.recall import Measured


def as_json(measured: Measured, images: RecallSet) -> dict[str, Any]:
    """What --json writes of one model."""
    return {
        **_figures(measured.recall),
        'recall_of_matchable': measured.matchable.shares(),
        'conditions': {name: _figures(part) for name, part in measured.conditions.items()},
        'verified': _verified(measured),
        'database': len(images.database),
        'dataset': images.name,
        'truth': images.truth,
        'left_out': list(images.left_out),
        'model': measured.card.name,
        'model_sha256': measured.card.sha256,
        'precision': measured.precision,
    }


def _verified(measured: Measured) -> dict[str, Any] | None:
    """The same with the best candidates verified; None where none were."""
    verified = measured.verified
    if verified is None:
        return None
    return {
        'candidates': measured.best,
        **_figures(verified.recall),
        'recall_of_matchable': verified.matchable.shares(),
        'conditions': {name: _figures(part) for name, part in verified.conditions.items()},
    }


def _figures(recall: Recall) -> dict[str, Any]:
    return {
        'recall': recall.shares(),
        'recall_interval': recall.intervals(),
        'queries': recall.queries,
        'unmatchable': recall.unmatchable,
    }


def as_table(measured: Measured, images: RecallSet) -> str:
    """The figures for a person."""
    recall, verified = measured.recall, measured.verified
    unmatchable = counted(recall.unmatchable, 'query')
    rows = [
        (
            f'Recall@{n}',
            recall.said(n) + (f'   verified {verified.recall.said(n)}' if verified else ''),
        )
        for n in recall.interval
    ]
    rows += [
        (
            f'Recall@1 {name}',
            f'{part.at[1]:.3f}'
            + (f'   verified {verified.conditions[name].at[1]:.3f}' if verified else '')
            + f'   of {counted(part.queries, "query")}',
        )
        for name, part in measured.conditions.items()
        if 1 in part.at
    ]
    rows += [
        *([('verified', f'the best {measured.best} of each query, by cells')] if verified else []),
        ('queries / database', f'{recall.queries} / {len(images.database)}'),
        ('unmatchable', f'{unmatchable} without a true match, counted as misses'),
        ('right is', images.truth),
        *(('left out', said) for said in images.left_out),
        ('model', f'{measured.card.name} ({measured.card.sha256[:12]}, {measured.precision})'),
    ]
    width = max(len(name) for name, _ in rows)
    return '\n'.join([images.name, *(f'  {name:<{width}}  {value}' for name, value in rows)])
