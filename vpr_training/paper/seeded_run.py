"""One training run of an experiment: what state it is in, how to go on, and what it measured."""

import csv
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from vpr_training.basics.errors import TrainingError
from vpr_training.basics.files import write_file, write_json
from vpr_training.data.recall_set import RecallSet
from vpr_training.evaluating.descriptor_store import images_digest
from vpr_training.models.checkpoints import load_checkpoint
from vpr_training.models.network import ExportedNetwork
from vpr_training.runs.run_folder import RunFolder
from vpr_training.runs.settings import TrainConfig
from vpr_training.runs.settings_parser import read_settings
from vpr_training.runs.validation import Validation

State = Literal['new', 'stopped', 'trained', 'measured']


@dataclass(frozen=True)
class Run:
    """Settings, the folder of their run, and what differs from the file of settings."""

    config: Path
    folder: Path
    overrides: tuple[str, ...]

    def state(self) -> State:
        """How far it is; TrainingError if the folder holds a run of other settings."""
        if not (self.folder / 'last.ckpt').exists():
            return 'new'
        self._check_settings()
        if not RunFolder(self.folder).finished:
            return 'stopped'
        return 'measured' if self._figures.exists() else 'trained'

    def command(self, *, validation: Sequence[str]) -> list[str]:
        """The command that trains it, from the start or from where it was."""
        train = [sys.executable, '-m', 'vpr_training.train']
        if self.state() == 'stopped':
            return [*train, '--resume', str(self.folder)]
        write_file(self._given, json.dumps(self.overrides) + '\n')
        roots = [str(Path(root).absolute()) for root in validation]
        return [
            *train,
            f'--config={self.config}',
            f'--output={self.folder}',
            f'--validation.roots={json.dumps(roots)}',
            *self.overrides,
        ]

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
        held = self._held()
        digests = {name: _digest(images) for name, images in sets.items()}
        left = [name for name in sets if held.get(name, {}).get('set') != digests[name]]
        if not left:
            return []
        network = ExportedNetwork(load_checkpoint(RunFolder(self.folder).best))
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
        """What was measured so far: name of the set -> its figures and the digest of the set."""
        if not self._figures.exists():
            return {}
        held: dict[str, Any] = json.loads(self._figures.read_text(encoding='utf-8'))
        return held

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

    @property
    def _given(self) -> Path:
        return self.folder / 'overrides.json'

    def _check_settings(self) -> None:
        if not self._given.exists():
            raise TrainingError(
                f'{self.folder}: this run was not started by vpr_training.experiments (it has no '
                f'{self._given.name}); choose another --output'
            )
        held: Any = json.loads(self._given.read_text(encoding='utf-8'))
        if tuple(held) != self.overrides:
            raise TrainingError(
                f'{self.folder}: its runs had the flags {" ".join(held) or "(none)"}, and now '
                f'they are {" ".join(self.overrides) or "(none)"}; choose another --output'
            )


def _digest(images: RecallSet) -> str:
    """Of a set's images, by their paths, sizes and times, and of what is right."""
    digest = hashlib.sha256(images_digest((*images.database, *images.queries)).encode())
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
