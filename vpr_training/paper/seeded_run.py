"""One training run of an experiment: what state it is in, how to go on, and what it measured."""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from vpr_training.basics.errors import TrainingError
from vpr_training.basics.files import write_file, write_json
from vpr_training.data.recall_set import RecallSet
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
        return [
            *train,
            f'--config={self.config}',
            f'--output={self.folder}',
            f'--validation.roots={json.dumps(list(validation))}',
            *self.overrides,
        ]

    def measure(self, sets: Mapping[str, RecallSet]) -> None:
        """Measure the best checkpoint on all sets and keep the figures in the run's folder."""
        network = ExportedNetwork(load_checkpoint(RunFolder(self.folder).best))
        found = {}
        for name, images in sets.items():
            recalls = Validation([images], batch=16, workers=2).measure(
                network, torch.device('cpu')
            )
            found[name] = asdict(recalls[images.name])
        write_json(self._figures, found)

    def recall(self) -> dict[str, dict[str, float]]:
        """Measured recall: name of the set -> N -> share."""
        held = json.loads(self._figures.read_text(encoding='utf-8'))
        return {name: figures['at'] for name, figures in held.items()}

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
        held: Any = json.loads(self._given.read_text(encoding='utf-8'))
        if tuple(held) != self.overrides:
            raise TrainingError(
                f'{self.folder}: its runs had the flags {" ".join(held) or "(none)"}, and now '
                f'they are {" ".join(self.overrides) or "(none)"}; choose another --output'
            )


def duration(seconds: float) -> str:
    """3 h 20 min, 5 min or 12 s."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    hours, minutes = divmod(round(seconds / 60), 60)
    return f'{hours} h {minutes} min' if hours else f'{minutes} min'
