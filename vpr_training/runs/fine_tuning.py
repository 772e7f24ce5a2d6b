"""The end of fine-tuning: a model, a map, and what changed on places that nobody trained on.

The model is that of the last epoch. The epoch that is best on the held-out part would be chosen by
the very queries that it is measured on; with few queries that alone looks like a gain.
"""

import json
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vpr_ros.build_map import build_map
from vpr_ros.core.atomic import replace_file
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import ModelCard, write_model
from vpr_ros.core.recall import Recall, difference_interval
from vpr_ros.drives import open_drive
from vpr_training.basics.errors import TrainingError
from vpr_training.data import own_drive
from vpr_training.data.pictures import draw_comparison
from vpr_training.data.recall_set import RecallSet
from vpr_training.evaluate import open_describer
from vpr_training.evaluating.recall import Measured, examine
from vpr_training.evaluating.third_party_onnx import InputForm
from vpr_training.export import checked_graph, trained
from vpr_training.runs.run_folder import RunFolder
from vpr_training.runs.settings import TrainConfig

_SHOWN_NS = (1, 5)
_WEAKNESS = 'fine-tuned on one place: how well it finds other places was not measured'


@dataclass(frozen=True)
class Comparison:
    """One set before and after training, query by query."""

    images: RecallSet
    before: Measured
    after: Measured

    def difference(self, n: int) -> tuple[float, tuple[float, float]]:
        """Of R@n, and its paired 95 % bootstrap interval."""
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
            before, after = (_share(one.recall, n) for one in (self.before, self.after))
            rose = f'{change:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]'
            rows.append((f'R@{n}', before, after, rose))
        unmatchable = self.before.recall.unmatchable
        return '\n'.join(
            [
                f'{images.name}: {len(images.queries)} queries in {len(images.database)} images, '
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
            'before': _figures(self.before.recall),
            'after': _figures(self.after.recall),
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

    def __str__(self) -> str:
        tables = [str(one) for one in self.sets]
        if self.sets[0].better:
            return '\n'.join([*tables, f'fine-tuning helped: use {self.model}'])
        why = (
            'fine-tuning did not help here'
            if self.sets[0].difference(1)[0] <= 0
            else 'the gain may be chance, its interval includes 0'
        )
        return '\n'.join([*tables, f'keep {self.start}: {why} (the new one is {self.model})'])


def finish(config: TrainConfig, sets: Sequence[RecallSet], folder: RunFolder) -> Outcome:
    """Write model/, comparison.json and comparison.png into a run's folder; raises VprError.

    sets: to compare on, at least one. What is there already is replaced whole, or stays.
    """
    output = folder.folder / 'model'
    with ExitStack() as scratch:
        store = Path(scratch.enter_context(tempfile.TemporaryDirectory(prefix='finish-')))
        before = open_describer(Path(config.init), InputForm(), scratch, precision='fp32')
        old = before.model.card
        network, card = trained(folder.last, f'{old.name}-{folder.folder.resolve().name}')
        graph = checked_graph(network, card)
        after = OnnxDescriber(write_model(store / 'model', graph, card), singly=False)
        found = tuple(
            Comparison(images, examine(before, images, store), examine(after, images, store))
            for images in sets
        )
        write_model(output, graph, _card(card, old, found))
    outcome = Outcome(found, Path(config.init), output)
    _write(folder.folder / 'comparison.json', outcome)
    draw_comparison(
        {one.images.name: (one.before.recall, one.after.recall) for one in found},
        folder.folder / 'comparison.png',
        ns=_SHOWN_NS,
    )
    return outcome


def map_drive(config: TrainConfig, model: Path, folder: RunFolder) -> str:
    """Map the first drive that was trained on into a run's folder; raises VprError.

    Gives what came of it, for people; there is no map where the images are no drive.
    """
    root = Path(config.data.root)
    if not own_drive.recognizes(root):
        return f'no map: {root} is no drive'
    drive = own_drive.drives_of(root, config.data)[0]
    output = folder.folder / 'map'
    with ExitStack() as scratch:
        report = build_map(
            open_drive(drive, own_drive.drive_options(config.data)),
            open_describer(model, InputForm(), scratch, precision='fp32'),
            output,
            command=shlex.join(['python', '-m', 'vpr_training.train', *sys.argv[1:]]),
        )
    return f'{output}: {"; ".join(report.lines())}; of {drive} by {model}'


def _card(card: ModelCard, old: ModelCard, found: Sequence[Comparison]) -> ModelCard:
    """The new model's card, which tells what it came from and what became of it."""
    came_from = {'name': old.name, 'sha256': old.sha256, 'provenance': old.provenance}
    return replace(
        card,
        summary=f'{old.name}, fine-tuned on {card.provenance.get("training_data", "own images")}',
        licence=old.licence,
        provenance=card.provenance
        | {
            'fine_tuned_from': came_from,
            'recall_before': {one.images.name: _figures(one.before.recall) for one in found},
        },
        recall={one.images.name: _figures(one.after.recall) for one in found},
        weaknesses=(*old.weaknesses, _WEAKNESS),
        calibration=old.calibration,
    )


def _figures(recall: Recall) -> dict[str, float]:
    """As cards have them."""
    low, high = recall.interval[1]
    shares = {str(n): recall.at[n] for n in (1, 5, 10)}
    return shares | {'queries': recall.queries, '1_low': low, '1_high': high}


def _share(recall: Recall, n: int) -> str:
    low, high = recall.interval[n]
    return f'{recall.at[n]:.3f} [{low:.3f}, {high:.3f}]'


def _write(path: Path, outcome: Outcome) -> None:
    figures: Mapping[str, Any] = {
        'recommended': str(outcome.recommended),
        'sets': {one.images.name: one.as_json() for one in outcome.sets},
    }
    try:
        replace_file(path, (json.dumps(figures, indent=2) + '\n').encode())
    except OSError as error:
        raise TrainingError(f'{path}: cannot be written ({error.strerror or error})') from error
