"""Tell by its files which layout a folder has."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from vpr_training.data import truth_table, utm_names
from vpr_training.data.recall_set import RecallSet
from vpr_training.errors import DatasetError


class _Read(Protocol):
    def __call__(self, folder: Path, *, radius_m: float | None) -> RecallSet: ...


# A table of truth is asked for first: it is somebody's explicit word.
_LAYOUTS: tuple[tuple[str, Callable[[Path], bool], _Read], ...] = (
    (
        'gt.csv with database/ and queries/, or with images/',
        truth_table.recognizes,
        truth_table.read,
    ),
    ('database/ and queries/ with @utm@ names', utm_names.recognizes, utm_names.read),
)


def open_recall_set(folder: Path, *, radius_m: float | None = None) -> RecallSet:
    """Read an evaluation set of any known layout.

    Raises DatasetError naming the layouts that were looked for.

    radius_m: how far from the query an answer is right, where positions are known; None: the
    layout's own.
    """
    if not folder.is_dir():
        raise DatasetError(f'{folder}: no such folder')
    for _, recognizes, read in _LAYOUTS:
        if recognizes(folder):
            return read(folder, radius_m=radius_m)
    looked_for = '; '.join(layout for layout, _, _ in _LAYOUTS)
    raise DatasetError(f'{folder}: not a known evaluation set, expected {looked_for}')
