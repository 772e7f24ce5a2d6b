"""What half precision, or bytes, of a map's descriptors cost in recall and in time.

    python benchmarks/halves.py [--model DIR] [--data DIR] [--sets NAME ...]

The rows of the map are rounded, the queries are not. `bytes` are int8, each row scaled by its
largest number, as codes have them. Descriptors are kept where vpr_training.evaluate keeps them.
`moved` are queries whose first match is another than by float32. Products are with 10,000 rows, on
one thread, in turns, in milliseconds of the processor.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from contenders import SETS, open_sets
from inputs import ROOT, add_data_argument

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.mapping.halves import as_floats
from vpr_ros.core.mapping.products import products
from vpr_ros.core.recall import recall_at
from vpr_ros.core.types import Descriptors
from vpr_training.evaluating.descriptor_store import default_cache, described_files
from vpr_training.evaluating.ranking import rank

PLACES, ROUNDS, AT_ONCE = 10_000, 15, 200


def in_bytes(rows: Descriptors) -> Descriptors:
    """Rows [N, D] as int8 with a scale each say them."""
    scales = np.abs(rows).max(axis=1, keepdims=True) / 127
    return np.rint(rows / scales).astype(np.int8).astype(np.float32) * scales


FORMS: dict[str, Callable[[Descriptors], Descriptors]] = {
    'float32': lambda rows: rows,
    'float16': lambda rows: as_floats(rows.astype(np.float16)),
    'bytes': in_bytes,
}


def recalls(model: Path, data: Path, sets: list[str]) -> None:
    """A row for each set: R@1 / R@5 of each form, and queries whose first match moved."""
    print('| set, queries | ' + ' | '.join(FORMS) + ' | moved by float16, bytes |')
    print('|---' * (len(FORMS) + 2) + '|')
    describer = OnnxDescriber(Model.open(model, precision='fp32'))
    for images in open_sets(data, sets):
        database = described_files(describer, images.database, default_cache()).array()
        queries = (
            described_files(describer, images.queries, default_cache()).array()
            if images.earlier_than is None
            else database[images.earlier_than]
        )
        ranked = {
            name: rank(form(database), queries, images.earlier_than, 5)
            for name, form in FORMS.items()
        }
        found = {
            name: recall_at(rows, images.positives, (1, 5)).at for name, rows in ranked.items()
        }
        first = {name: rows[:, 0] for name, rows in ranked.items()}
        moved = [int((first[name] != first['float32']).sum()) for name in ('float16', 'bytes')]
        cells = [f'{at[1]:.4f} / {at[5]:.4f}' for at in found.values()]
        print(f'| {images.name}, {len(queries)} | {" | ".join(cells)} | {moved[0]}, {moved[1]} |')


def times(size: int) -> None:
    """Milliseconds of one query's product with all rows, by form."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((PLACES, size), dtype=np.float32)
    halves, query = rows.astype(np.float16), rows[0].copy()

    def by_parts() -> None:
        for start in range(0, PLACES, AT_ONCE):
            products(as_floats(halves[start : start + AT_ONCE]), query)

    ways: dict[str, Callable[[], object]] = {
        'float32': lambda: products(rows, query),
        'float16, as numpy multiplies it': lambda: np.einsum('nd,d->n', halves, query),
        'float16, widened by OpenCV, 200 rows at a time': by_parts,
        'widening all rows once': lambda: as_floats(halves),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.thread_time()
            way()
            taken[name].append(1e3 * (time.thread_time() - started))
    for name, values in taken.items():
        print(f'{name:<48}{np.median(values):8.2f} ms')


def main() -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', type=Path, default=ROOT / 'models' / 'lite0-vlad')
    parser.add_argument('--sets', nargs='*', default=list(SETS), metavar='NAME')
    add_data_argument(parser)
    arguments = parser.parse_args()
    recalls(arguments.model, arguments.data, arguments.sets)
    times(512)


if __name__ == '__main__':
    main()
