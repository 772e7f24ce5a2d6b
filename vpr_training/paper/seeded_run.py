"""One training run of an experiment: what state it is in, how to go on, and what it measured."""

import csv
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from vpr_training.basics.errors import TrainingError
from vpr_training.basics.files import write_json
from vpr_training.data.recall_set import RecallSet
from vpr_training.evaluating.descriptor_store import images_digest
from vpr_training.models.checkpoints import load_checkpoint
from vpr_training.models.network import ExportedNetwork
from vpr_training.runs.run_folder import RunFolder
from vpr_training.runs.settings import TrainConfig
from vpr_training.runs.settings_parser import read_settings
from vpr_training.runs.start import from_anywhere, started
from vpr_training.runs.validation import Validation

State = Literal['new', 'stopped', 'trained', 'measured']


@dataclass(frozen=True)
class Run:
    """Settings, the folder of their run, and what differs from the file of settings."""

    config: Path
    folder: Path
    overrides: tuple[str, ...]

    def state(self) -> State:
        """How far it is."""
        if RunFolder(self.folder).finished:
            return 'measured' if self._held() else 'trained'
        return 'stopped' if RunFolder(self.folder).last.exists() else 'new'

    def command(self, *, validation: Sequence[str]) -> list[str]:
        """The command that trains it, from the start or from where it was."""
        train = [sys.executable, '-m', 'vpr_training.train']
        if self.state() == 'stopped':
            return [*train, '--resume', str(self.folder)]
        roots = [str(Path(root).absolute()) for root in validation]
        return [
            *train,
            f'--config={self.config}',
            *self.overrides,
            f'--validation.roots={json.dumps(roots)}',
            f'--output={self.folder}',
        ]

    def require_same_settings(self) -> None:
        """Raise TrainingError where the folder holds a run of other settings, or of none.

        Its validation set is another matter, see `require_chosen_on`.
        """
        if self.state() == 'new':
            return
        held = read_settings(RunFolder(self.folder).config)
        wanted = replace(started(from_anywhere(self.settings())), validation=held.validation)
        if others := _differing(held, wanted):
            raise TrainingError(
                f'{self.folder}: holds a run of other settings: {"; ".join(others)}; choose '
                'another --output'
            )

    def require_chosen_on(self, root: str) -> None:
        """Raise TrainingError where another set than that at `root` chose the best epoch."""
        held = read_settings(RunFolder(self.folder).config).validation.roots
        chose = str(Path(held[0]).resolve()) if held else 'the loss'
        if chose != str(Path(root).resolve()):
            raise TrainingError(
                f'{self.folder}: {chose} chose its best epoch, and the first set of --evaluate is '
                f'{root}; give that one first, or choose another --output'
            )

    def measure(self, sets: Mapping[str, RecallSet]) -> list[str]:
        """Measure the best checkpoint on all sets that it was not measured on as they are now.

        The figures are kept in the run's folder. Returns the names of the sets that were measured.
        """
        held, best = self._held(), RunFolder(self.folder).best
        if not best.exists():
            raise TrainingError(
                f'{best}: no such file, so the run cannot be measured; remove {self.folder} to '
                'train it again'
            )
        digests = {name: _digest(images, best) for name, images in sets.items()}
        left = [name for name in sets if held.get(name, {}).get('set') != digests[name]]
        if not left:
            return []
        network = ExportedNetwork(load_checkpoint(best))
        for name in left:
            recalls = Validation([sets[name]], batch=16, workers=2).measure(
                network, torch.device('cpu')
            )
            held[name] = {**asdict(recalls[sets[name].name]), 'set': digests[name]}
            write_json(self._figures, held)
        return left

    def recall(self, sets: Iterable[str]) -> dict[str, dict[str, float]]:
        """Measured recall: name of the set, of these -> N -> share."""
        held = self._held()
        return {name: held[name]['at'] for name in sets}

    def _held(self) -> dict[str, Any]:
        """What was measured so far: name of the set -> its figures and the digest of the set.

        A file that is damaged counts as none: what it held is measured again.
        """
        try:
            held = json.loads(self._figures.read_text(encoding='utf-8'))
        except (OSError, ValueError):
            return {}
        return held if isinstance(held, dict) else {}

    def history(self) -> list[dict[str, float]]:
        """The rows of epochs.csv; empty where there is none."""
        path = self.folder / 'epochs.csv'
        if not path.exists():
            return []
        with path.open(encoding='utf-8', newline='') as file:
            return [
                {name: float(value) for name, value in row.items() if value}
                for row in csv.DictReader(file)
            ]

    def settings(self) -> TrainConfig:
        """The file of settings with what differs from it; raises TrainingError."""
        return read_settings(self.config, self.overrides)

    @property
    def _figures(self) -> Path:
        return self.folder / 'measured.json'


def _differing(held: Any, wanted: Any, above: str = '') -> list[str]:
    """The settings that two dataclasses of one kind have with other values, with both values."""
    found = []
    for entry in fields(held):
        old, new = getattr(held, entry.name), getattr(wanted, entry.name)
        if is_dataclass(old):
            found += _differing(old, new, f'{above}{entry.name}.')
        elif old != new:
            found.append(f'{above}{entry.name} is {old}, not {new}')
    return found


def _digest(images: RecallSet, checkpoint: Path) -> str:
    """Of a checkpoint and a set's images, by paths, sizes and times, and of what is right."""
    files = (*images.database, *images.queries, checkpoint)
    digest = hashlib.sha256(images_digest(files).encode())
    digest.update(images.truth.encode())
    for rows in images.positives:
        digest.update(f'{rows.tolist()}\n'.encode())
    return digest.hexdigest()


def duration(seconds: float) -> str:
    """3 h 20 min, 5 min or 12 s."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    hours, minutes = divmod(round(seconds / 60), 60)
    return f'{hours} h {minutes} min' if hours else f'{minutes} min'
