"""All shipped models side by side: recall without and with verification, bytes and milliseconds.

    python benchmarks/models.py [--models DIR ...] [--sets NAME ...] [--data DIR] [--cache DIR]

Recall is that of `vpr_training.evaluate`, of single images, by the fp32 graphs, with 95 %
intervals of R@1. A star marks a set of which a model has seen images without labels. Milliseconds
are of the processor, on one thread, for descriptor and cells of one image, all graphs in turns:
other programs change them less than they change the time of day.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from contenders import SETS, THE_SIX, open_sets
from inputs import MODELS, add_data_argument

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model, ModelCard
from vpr_ros.core.recall import Recall
from vpr_training.evaluating.descriptor_store import default_cache
from vpr_training.evaluating.recall import Measured, examine

_ROUNDS, _IN_A_ROW = 7, 3
_FLOAT_BYTES, _BITS = 4, 8


def bytes_a_place(card: ModelCard) -> int:
    """Of a map's descriptor and cells; thumbnails and landmarks apart."""
    rows, columns, numbers = card.cells or (0, 0, 0)
    return card.descriptor_size * _FLOAT_BYTES + rows * columns * numbers // _BITS


def processor_ms(models: Sequence[Path]) -> dict[tuple[str, str], float]:
    """Model and graph -> median of an image on one thread."""
    describers = {
        (folder.name, precision): OnnxDescriber(Model.open(folder, precision=precision), threads=1)
        for folder in models
        for precision in ('fp32', 'int8')
        if precision == 'fp32' or precision in Model.open(folder, precision='fp32').card.precisions
    }
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    taken: dict[tuple[str, str], list[float]] = {name: [] for name in describers}
    for _ in range(_ROUNDS):
        for name, describer in describers.items():
            started = time.process_time()
            for _ in range(_IN_A_ROW):
                describer.describe_with_cells([image])
            taken[name].append(1e3 * (time.process_time() - started) / _IN_A_ROW)
    return {name: float(np.median(times)) for name, times in taken.items()}


def said(recall: Recall) -> str:
    """R@1 / R@5 and the interval of R@1."""
    low, high = recall.interval[1]
    return f'{recall.at[1]:.3f} / {recall.at[5]:.3f} [{low:.2f}, {high:.2f}]'


def rows_of_sets(found: Mapping[str, Sequence[Measured]]) -> list[str]:
    """A row for each set and way, a column for each model."""
    models = [one.card for one in next(iter(found.values()))]
    lines = [
        '| set, queries | verified | ' + ' | '.join(card.name for card in models) + ' |',
        '|---|---|' + '---|' * len(models),
    ]
    for images, measured in found.items():
        for verified in (False, True):
            answers = [one.verified if verified else one.answers for one in measured]
            cells = [
                ('*' if images in one.card.provenance.get('trained_on', []) else '')
                + ('' if answer is None else said(answer.recall))
                for one, answer in zip(measured, answers, strict=True)
            ]
            queries = measured[0].recall.queries
            title = '' if verified else f'{images}, {queries}'
            lines.append(
                f'| {title} | {"yes" if verified else "no"} | ' + ' | '.join(cells) + ' |'
            )
    return lines


def mean(measured: Sequence[Measured], n: int, *, verified: bool) -> float:
    """Of R@n over sets."""
    answers = [one.verified if verified else one.answers for one in measured]
    return float(np.mean([one.recall.at[n] for one in answers if one is not None]))


def rows_of_models(
    found: Mapping[str, Sequence[Measured]], taken_ms: Mapping[tuple[str, str], float]
) -> list[str]:
    """A row for each model: means over the six sets, bytes per place, milliseconds per image."""
    lines = [
        '| model | R@1 / R@5, mean of the six | verified | bytes per place | '
        'ms, fp32 | ms, int8 |',
        '|---|---|---|---|---|---|',
    ]
    for number, one in enumerate(next(iter(found.values()))):
        of_six = [measured[number] for images, measured in found.items() if images in THE_SIX]
        means = [
            f'{mean(of_six, 1, verified=way):.3f} / {mean(of_six, 5, verified=way):.3f}'
            if of_six and (one.verified or not way)
            else ''
            for way in (False, True)
        ]
        times = [taken_ms.get((one.card.name, precision)) for precision in ('fp32', 'int8')]
        columns = [
            one.card.name,
            *means,
            f'{bytes_a_place(one.card):,}',
            *('' if ms is None else f'{ms:.1f}' for ms in times),
        ]
        lines.append('| ' + ' | '.join(columns) + ' |')
    return lines


def main() -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--models', nargs='*', type=Path, metavar='DIR', help='default: models/*')
    parser.add_argument('--sets', nargs='*', default=list(SETS), metavar='NAME')
    parser.add_argument('--cache', type=Path, default=default_cache(), metavar='DIR')
    add_data_argument(parser)
    arguments = parser.parse_args()
    models = arguments.models or MODELS
    describers = [
        OnnxDescriber(Model.open(folder, precision='fp32'), singly=False) for folder in models
    ]
    found = {
        images.name: [
            examine(describer, images, arguments.cache, verify=None) for describer in describers
        ]
        for images in open_sets(arguments.data, arguments.sets)
    }
    print('\n'.join(rows_of_models(found, processor_ms(models))))
    print()
    print('\n'.join(rows_of_sets(found)))


if __name__ == '__main__':
    main()
