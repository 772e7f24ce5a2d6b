"""Recall of the shipped models beside four training-free references, on every set.

    python benchmarks/recall.py [--models DIR ...] [--data DIR] [--sets NAME ...]

Prints a Markdown table of R@1 / R@5 with 95 % block bootstrap intervals of R@1. A star marks a set
of which a model has seen images in training, as its card tells (provenance, trained_on).
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from contenders import REFERENCES, SETS, THE_SIX, contenders, describe_all, open_sets
from inputs import MODELS, add_data_argument

from vpr_ros.core.describing.model import CARD_NAME, read_card
from vpr_ros.core.recall import Recall, recall_at


def measured(models: list[Path], data: Path, sets: list[str]) -> dict[str, dict[str, Recall]]:
    """Set -> contender -> recall."""
    found: dict[str, dict[str, Recall]] = {}
    with contenders(models) as all_of_them:
        for images in open_sets(data, sets):
            database = describe_all(all_of_them, images.database, label=images.name)
            queries = (
                describe_all(all_of_them, images.queries, label=images.name)
                if images.earlier_than is None
                else {name: rows.of(images.earlier_than) for name, rows in database.items()}
            )
            found[images.name] = {
                name: recall_at(
                    database[name].rank(queries[name], images.earlier_than, 5),
                    images.positives,
                    (1, 5),
                )
                for name in database
            }
    return found


def table(found: Mapping[str, Mapping[str, Recall]], seen: Mapping[str, set[str]]) -> str:
    """A row for each set, a column for each contender, and means over the sets nobody saw."""
    names = list(next(iter(found.values())))
    unseen = [
        images for images in found if not any(images in seen.get(name, ()) for name in names)
    ]
    lines = [
        '| set, queries | ' + ' | '.join(names) + ' |',
        '|---|' + '---|' * len(names),
    ]
    for images, by_name in found.items():
        cells = [
            f'{"*" if images in seen.get(name, ()) else ""}{one.at[1]:.3f} / {one.at[5]:.3f}'
            f' [{one.interval[1][0]:.2f}, {one.interval[1][1]:.2f}]'
            for name, one in by_name.items()
        ]
        lines.append(f'| {images}, {by_name[names[0]].queries} | ' + ' | '.join(cells) + ' |')
    for title, rows in (
        ('mean of the sets that no model saw', unseen),
        ('mean of the six', [images for images in found if images in THE_SIX]),
    ):
        if not rows:
            continue
        means = [
            f'{np.mean([found[images][name].at[1] for images in rows]):.3f} / '
            f'{np.mean([found[images][name].at[5] for images in rows]):.3f}'
            for name in names
        ]
        lines.append(f'| **{title}** | ' + ' | '.join(means) + ' |')
    return '\n'.join(lines)


def main() -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--models', nargs='*', type=Path, metavar='DIR', help='default: models/*')
    parser.add_argument('--sets', nargs='*', default=list(SETS), metavar='NAME')
    add_data_argument(parser)
    arguments = parser.parse_args()
    models = MODELS if arguments.models is None else arguments.models
    seen = {
        path.name: set(read_card(path / CARD_NAME).provenance.get('trained_on', []))
        for path in models
    }
    found = measured(models, arguments.data, arguments.sets)
    print(table(found, seen))
    best = {
        images: max((by_name[name].at[1], name) for name in REFERENCES)
        for images, by_name in found.items()
    }
    said = ', '.join(f'{images} {name} {share:.3f}' for images, (share, name) in best.items())
    print(f'\nbest reference of each set: {said}')


if __name__ == '__main__':
    main()
