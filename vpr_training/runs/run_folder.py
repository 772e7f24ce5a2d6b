"""The folder of a training run: everything that is needed to repeat it or to go on with it.

config.yaml      all settings, resolved
run.json         versions, git revision, machine, command, seed
epochs.csv       one row an epoch, 0 before training: loss, mined share, rate, recall, time
steps.csv        one row a step: loss, mined share, learning rate, images per second
curves.png       the same to look at
tensorboard/     the same for TensorBoard
last.ckpt        to go on from; written at every epoch's end, every few minutes, and on Ctrl-C
best.ckpt        of the best epoch so far; what to export
result.json      at the end: the best epoch and its figures
"""

import io
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from vpr_ros.core.atomic import unwritable_as
from vpr_ros.core.writer_lock import only_writer
from vpr_training.basics.errors import TrainingError
from vpr_training.basics.files import require_writable_folder, write_csv, write_file, write_json
from vpr_training.models.tensors import read_state

_PACKAGES = (
    'vpr_ros', 'torch', 'lightning', 'pytorch-metric-learning', 'numpy', 'opencv-python-headless',
)  # fmt: skip
_NAMES = (
    'config.yaml', 'epochs.csv', 'steps.csv', 'curves.png', 'result.json',
    'model', 'map', 'comparison.json', 'comparison.png',
)  # fmt: skip
"""What a run writes besides run.json and checkpoints."""
_STEP_COLUMNS = ('step', 'epoch', 'loss', 'mined_share', 'lr', 'images_per_s')


class RunFolder:
    """Files of one run; only the first of several processes writes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config, self.last, self.best = (
            folder / name for name in ('config.yaml', 'last.ckpt', 'best.ckpt')
        )
        self._provenance = folder / 'run.json'

    def require_new(self) -> None:
        """Raise TrainingError where a run here would replace another one, or other files."""
        if self.last.exists():
            raise TrainingError(
                f'{self.folder}: this folder already holds a run; continue it with '
                f'--resume {shlex.quote(str(self.folder))}, or choose another --output'
            )
        if self.best.exists():
            raise TrainingError(
                f'{self.folder}: this folder already holds best.ckpt; choose another --output'
            )
        others = [name for name in _NAMES if (self.folder / name).exists()]
        if others and not self._provenance.exists():
            raise TrainingError(
                f'{self.folder}: this folder holds {others[0]}, which a run would replace, but '
                f'no run ({self._provenance.name}); choose another --output'
            )

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Be the one program that trains in the folder until the block ends.

        Raises TrainingError that says who else does, and where the folder cannot be written.
        """
        require_writable_folder(self.folder)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            try:
                held.enter_context(only_writer(self.folder))
            except OSError as error:
                raise TrainingError(f'{self.folder}: {error.strerror or error}') from error
            yield

    def create(self, config_yaml: str, *, seed: int) -> None:
        """Begin a run; TrainingError where the folder already holds one or cannot be written."""
        self.require_new()
        write_json(self._provenance, _provenance(seed))
        self.keep_settings(config_yaml)

    def keep_settings(self, config_yaml: str) -> None:
        """Write the settings with which the run goes on; TrainingError where that fails."""
        write_file(self.config, config_yaml)

    def save(self, path: Path, checkpoint: Mapping[str, Any]) -> None:
        """Write a checkpoint; the old one stays whole until the new one is on the disk."""
        buffer = io.BytesIO()
        torch.save(dict(checkpoint), buffer)
        write_file(path, buffer.getvalue())

    def load(self) -> dict[str, Any]:
        """The last checkpoint; TrainingError where there is none or it is damaged."""
        if not self.last.exists():
            again = (
                f'start another one with --init {shlex.quote(str(self.best))}'
                if self.best.exists()
                else 'start it again without --resume'
            )
            raise TrainingError(
                f'{self.folder}: this run has no last.ckpt from which to continue; {again}'
            )
        return read_state(self.last)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return (self.folder / 'result.json').exists()

    def next_step(self) -> str:
        """What to do with a finished run, as a line; with last.ckpt where best.ckpt is gone."""
        held = shlex.quote(str(self.best if self.best.exists() else self.last))
        return f'next: python -m vpr_training.export --checkpoint {held} --output MODEL'

    def finish(self, best: Mapping[str, float]) -> None:
        """End the run; best: the row of its best epoch."""
        write_json(self.folder / 'result.json', best)

    def write_epochs(self, rows: Sequence[Mapping[str, float]]) -> None:
        """The table of epochs, whole."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        write_csv(self.folder / 'epochs.csv', columns, rows)

    def open_steps(self, first_step: int) -> 'StepLog':
        """The table of steps, to go on at `first_step`; later rows of a killed run are dropped."""
        path = self.folder / 'steps.csv'
        kept = [','.join(_STEP_COLUMNS)]
        if path.is_file() and first_step:
            # A crash of the machine may leave anything behind the rows that are kept.
            rows = path.read_text(encoding='utf-8', errors='replace').splitlines()[1:]
            kept += [row for row in rows if row.split(',')[0].isdigit()][:first_step]
        write_file(path, '\n'.join(kept) + '\n')
        return StepLog(path)


class StepLog:
    """Appends rows to steps.csv."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with unwritable_as(TrainingError, path):
            self._file = path.open('a', encoding='utf-8')

    def write(self, **row: float) -> None:
        """One step; the names are the columns'."""
        with unwritable_as(TrainingError, self._path):
            self._file.write(','.join(f'{row[name]:.9g}' for name in _STEP_COLUMNS) + '\n')

    def flush(self) -> None:
        """Bring the rows to the disk."""
        with unwritable_as(TrainingError, self._path):
            self._file.flush()

    def close(self) -> None:
        """End the file, with the rows that the disk still takes."""
        with unwritable_as(TrainingError, self._path):
            self._file.close()


def _provenance(seed: int) -> dict[str, Any]:
    return {
        'command': sys.argv,
        'seed': seed,
        'git_revision': _git('rev-parse', 'HEAD'),
        'git_changed': bool(_git('status', '--porcelain', '--untracked-files=no')),
        'python': platform.python_version(),
        'machine': platform.platform(),
        'gpus': [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        'packages': {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """What git says of the source tree; None without git or outside a repository."""
    try:
        said = subprocess.run(
            ['git', '-C', str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()
