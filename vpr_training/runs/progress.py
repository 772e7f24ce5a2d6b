"""How far a run is, as a checkpoint carries it, which may hold anything in its place."""

from dataclasses import dataclass, field, fields
from typing import Any


@dataclass
class Progress:
    """How far a run is; a checkpoint carries it."""

    epoch: int = 0  # that is running
    batch: int = 0  # steps done in it; each process has done one batch in each
    done: int = 0  # batches done in it by all processes, of which there may have been more before
    order: str = ''  # of its batches, see PlaceSampler.order; empty: not begun
    step: int = 0  # optimizer steps in all
    loss_sum: float = 0.0  # over the batches of this epoch
    mined_sum: float = 0.0
    seconds: float = 0.0  # of training in this epoch
    best: float | None = None  # R@1 of the first validation set, or less the loss
    best_epoch: int = 0  # 0: before training
    worse: int = 0  # validations since the best
    history: list[dict[str, float]] = field(default_factory=list)  # a row an epoch

    def check(self) -> None:
        """Raise ValueError for what no run can have come to."""
        for entry in fields(self):
            value, kind = getattr(self, entry.name), type(entry.default)
            if kind in (int, float, str) and not _is_of(kind, value):
                raise ValueError(f'progress: {entry.name} is {value!r}')
        rows: Any = self.history
        if not isinstance(rows, list) or not all(map(_is_epoch, rows)):
            raise ValueError('progress: history is no table of epochs')
        if self.best is None:
            return
        if not _is_of(float, self.best):
            raise ValueError(f'progress: best is {self.best!r}')
        if all(row['epoch'] != self.best_epoch for row in self.history):
            raise ValueError(f'progress: history has no epoch {self.best_epoch}, the best one')


def _is_of(kind: type, value: Any) -> bool:
    """Whether a value is a count (int), a figure (float) or text (str)."""
    if kind is int:
        return type(value) is int and value >= 0
    return isinstance(value, str) if kind is str else type(value) in (int, float)


def _is_epoch(row: Any) -> bool:
    """Whether a row of the history is of the form that the end of an epoch gives it."""
    return isinstance(row, dict) and all(
        _is_of(float, value) for value in (row.get('epoch'), *row.values())
    )
