"""Measure how often a model finds the right place: Recall@N on a data set with known truth.

Describing, searching and counting are the core's own functions, the ones the robot runs, so a
figure from here is a figure of what is deployed. An exported model needs no torch; a checkpoint is
exported to a temporary folder first.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.command import command
from vpr_ros.core.atomic import replace_file
from vpr_ros.core.describe import Describer, OnnxDescriber
from vpr_ros.core.image import read
from vpr_ros.core.index import ExactIndex
from vpr_ros.core.model import Model
from vpr_ros.core.recall import Recall, recall_at
from vpr_ros.core.types import Descriptors
from vpr_training.data.layouts import open_recall_set
from vpr_training.data.recall_set import RecallSet, Rows
from vpr_training.errors import TrainingError

RECALL_NS = (1, 5, 10, 15, 20, 25)
_BATCH = 8  # images described at once
_BLOCK = 256  # queries whose similarities to the database are held at once, in a sequence


def measure(describer: Describer, images: RecallSet, *, ns: Sequence[int] = RECALL_NS) -> Recall:
    """Recall@N of a model on a set, by exact search; ImageError names an unreadable image."""
    database = describe_files(describer, images.database, label='database')
    if images.earlier_than is None:
        queries = describe_files(describer, images.queries, label='queries')
    else:
        queries = database[images.earlier_than]
    ranked = rank(database, queries, images.earlier_than, max(ns))
    return recall_at(ranked, images.positives, ns)


def rank(
    database: Descriptors, queries: Descriptors, earlier_than: Rows | None, k: int
) -> NDArray[np.int64]:
    """The k most similar rows of a database [N, D] for each query [Q, D], by exact search: [Q, k].

    earlier_than: [Q], each query may only match database rows before this one; None: all.
    """
    if earlier_than is None:
        return ExactIndex([database]).search(queries, k)[1]
    return rank_earlier(database, earlier_than, k)


def describe_files(describer: Describer, paths: Sequence[Path], *, label: str = '') -> Descriptors:
    """Descriptors [N, D] of N image files, each decoded once; a progress bar on a terminal."""
    found = np.empty((len(paths), describer.model.card.descriptor_size), dtype=np.float32)
    with tqdm(total=len(paths), desc=label, unit='image', disable=None, leave=False) as progress:
        for start in range(0, len(paths), _BATCH):
            batch = [read(path) for path in paths[start : start + _BATCH]]
            found[start : start + len(batch)] = describer.describe(batch)
            progress.update(len(batch))
    return found


def rank_earlier(frames: Descriptors, queries: Rows, k: int) -> NDArray[np.int64]:
    """For rows `queries` [Q] of a sequence [N, D] the k most similar earlier rows [Q, k].

    Best first, -1 where fewer are.
    """
    ranked = np.full((len(queries), k), -1, dtype=np.int64)
    for start in range(0, len(queries), _BLOCK):
        rows = queries[start : start + _BLOCK]
        similarity = frames[rows] @ frames.T  # [b, N]
        for number, (row, values) in enumerate(zip(rows, similarity, strict=True), start=start):
            best = np.argsort(-values[:row], kind='stable')[:k]
            ranked[number, : len(best)] = best
    return ranked


def as_json(recall: Recall, images: RecallSet, model: Model) -> dict[str, Any]:
    """What --json writes."""
    return {
        'recall': {str(n): share for n, share in recall.at.items()},
        'recall_interval': {str(n): list(interval) for n, interval in recall.interval.items()},
        'queries': recall.queries,
        'database': len(images.database),
        'unmatchable': recall.unmatchable,
        'dataset': images.name,
        'truth': images.truth,
        'model': model.card.name,
        'model_sha256': model.card.sha256,
    }


def as_table(recall: Recall, images: RecallSet, model: Model) -> str:
    """The figures for a person."""
    rows = [
        (f'Recall@{n}', f'{recall.at[n]:.3f}   [{low:.3f}, {high:.3f}]')
        for n, (low, high) in recall.interval.items()
    ]
    rows += [
        ('queries / database', f'{recall.queries} / {len(images.database)}'),
        ('unmatchable', f'{recall.unmatchable} queries without a true match, counted as misses'),
        ('right is', images.truth),
        ('model', f'{model.card.name} ({model.card.sha256[:12]})'),
    ]
    width = max(len(name) for name, _ in rows)
    return '\n'.join([images.name, *(f'  {name:<{width}}  {value}' for name, value in rows)])


def open_model(path: Path, scratch: ExitStack) -> Model:
    """A model folder, or a checkpoint exported to one; raises VprError.

    The exported folder lives as long as `scratch`.
    """
    if path.is_dir():
        return Model.open(path)
    if not path.exists():
        raise TrainingError(f'{path}: no such model folder or checkpoint')
    try:
        from vpr_training.export import export_checkpoint
    except ImportError as error:
        raise TrainingError(
            f'{path}: a checkpoint needs torch and onnx ({error}); '
            'make setup-training, or give an exported model'
        ) from error
    folder = Path(scratch.enter_context(tempfile.TemporaryDirectory(prefix='evaluate-')))
    return export_checkpoint(path, folder / path.stem)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m vpr_training.evaluate',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--model',
        required=True,
        type=Path,
        metavar='MODEL',
        help='a model folder, or a checkpoint',
    )
    parser.add_argument(
        '--dataset',
        required=True,
        type=Path,
        metavar='DIR',
        help='database/ and queries/ with gt.csv or with @utm@ names, '
        'or one sequence: images/ with gt.csv',
    )
    parser.add_argument(
        '--radius',
        type=float,
        metavar='M',
        help='metres within which an answer is right (25); '
        'gt.csv, where there is one, decides instead',
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there')
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    arguments = _parser().parse_args(argv)
    if arguments.radius is not None and not arguments.radius > 0:
        raise TrainingError(f'--radius {arguments.radius:g}: expected more than 0 metres')
    images = open_recall_set(arguments.dataset, radius_m=arguments.radius)
    with ExitStack() as scratch:
        model = open_model(arguments.model, scratch)
        recall = measure(OnnxDescriber(model), images)
    print(as_table(recall, images, model))
    if arguments.json:
        _write_json(arguments.json, as_json(recall, images, model))
    return 0


def _write_json(path: Path, figures: dict[str, Any]) -> None:
    try:
        replace_file(path, (json.dumps(figures, indent=2) + '\n').encode())
    except OSError as error:
        raise TrainingError(f'{path}: cannot be written ({error.strerror or error})') from error


if __name__ == '__main__':
    sys.exit(main())
