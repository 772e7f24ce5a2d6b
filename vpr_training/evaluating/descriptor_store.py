"""Descriptors of many images on disk, so that a million of them need no more memory than a few.

Rows go to a .npy file one batch after another. The file's name is a digest of the model and of the
images (their paths, sizes and times of change), so that the same question finds the same answer
again; an interrupted run leaves its rows, and the next one goes on behind them.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.core.atomic import place_file
from vpr_ros.core.cache import cache_folder
from vpr_ros.core.describing.describe import Describer
from vpr_ros.core.errors import ImageError
from vpr_ros.core.image import read
from vpr_ros.core.npy import NpyWriter, start_of_rows
from vpr_ros.core.types import Descriptors, Image
from vpr_ros.drives.prefetch import described
from vpr_training.basics.errors import TrainingError

BATCH = 8  # rows written at once
_BLOCK_BYTES = 64 << 20  # of rows that are in memory at once
_FLOAT = np.dtype('<f4')


@dataclass(frozen=True, slots=True)
class DescriptorFile:
    """Rows [N, D] on disk, float32 of unit norm."""

    path: Path
    rows: int  # N
    size: int  # D

    def array(self) -> Descriptors:
        """All rows, opened by memory map."""
        rows: Descriptors = np.load(self.path, mmap_mode='r', allow_pickle=False)
        return rows

    def blocks(self) -> Iterator[Descriptors]:
        """All rows in order, a bounded number at a time; [n, D] each."""
        at_once = max(1, _BLOCK_BYTES // (self.size * _FLOAT.itemsize))
        with self.path.open('rb') as file:
            try:
                file.seek(start_of_rows(file, _FLOAT, self.size))
            except ValueError as error:
                raise TrainingError(
                    f'{self.path}: not a file of descriptors ({error}); delete it'
                ) from error
            for start in range(0, self.rows, at_once):
                count = min(at_once, self.rows - start) * self.size
                yield np.fromfile(file, dtype=_FLOAT, count=count).reshape(-1, self.size)


def default_cache() -> Path:
    """Where descriptors are kept: vpr_ros/descriptors in the user's cache folder."""
    return cache_folder('vpr_ros') / 'descriptors'


def described_files(
    describer: Describer, paths: Sequence[Path], folder: Path, *, label: str = ''
) -> DescriptorFile:
    """Descriptors of N image files, taken from `folder` as far as they are there.

    Each image is decoded once. A progress bar on a terminal. Raises ImageError naming an
    unreadable image and TrainingError where the folder cannot be written; what was described
    stays.
    """
    size = describer.model.card.descriptor_size
    key = f'{describer.model.graph_sha256[:16]}-{images_digest(paths)[:24]}'
    complete = DescriptorFile(folder / f'{key}.npy', len(paths), size)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not complete.path.exists():
            _describe_rest(describer, paths, folder / f'{key}.partial', complete, label)
    except OSError as error:
        raise TrainingError(
            f'{folder}: descriptors cannot be kept there ({error.strerror or error}); '
            'choose another folder with --cache'
        ) from error
    return complete


def images_digest(paths: Sequence[Path]) -> str:
    """Hex digest of files' paths, sizes and times of change; ImageError names a missing one."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            found = path.stat()
        except OSError as error:
            raise ImageError(f'{path}: {error.strerror or error}') from error
        digest.update(os.fsencode(path.absolute()))  # a name need not be text
        digest.update(f'\0{found.st_size}\0{found.st_mtime_ns}\n'.encode())
    return digest.hexdigest()


def _describe_rest(
    describer: Describer,
    paths: Sequence[Path],
    partial: Path,
    complete: DescriptorFile,
    label: str,
) -> None:
    """Append what is missing, then give the file its name; two runs never write together."""
    # Made if it is missing and never emptied: another run may be writing.
    with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT, 0o666), 'r+b') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if complete.path.exists():
            partial.unlink(missing_ok=True)  # made anew after the other run had renamed its own
            return
        written = NpyWriter(file, _FLOAT, complete.size, keep_rows=complete.rows)
        done = written.rows
        with tqdm(
            total=len(paths), initial=done, desc=label, unit='image', disable=None, leave=False
        ) as progress:
            try:
                for rows in _descriptors(describer, paths[done:], complete.size):
                    written.append(rows)
                    written.flush()
                    done = written.rows
                    progress.update(len(rows))
            except KeyboardInterrupt as interrupt:
                raise KeyboardInterrupt(
                    f'stopped by Ctrl-C after {done} of {len(paths)} images; '
                    'the same command goes on from there'
                ) from interrupt
        written.finish()
        place_file(partial, complete.path)


def _read(path: Path, needed_hw: tuple[int, int]) -> Image:
    return read(path, at_least_hw=needed_hw)


def _descriptors(
    describer: Describer, paths: Sequence[Path], size: int
) -> Iterator[NDArray[np.float32]]:
    """Descriptors of files, [up to BATCH, size] at a time."""
    rows: list[Descriptors] = []
    for path, found in described(paths, _read, describer):
        if isinstance(found, ImageError):
            raise found
        _, row = found
        if row.shape != (size,) or not np.isfinite(row).all():
            raise TrainingError(
                f'{describer.model.card.name}: a descriptor of shape {row.shape} of {path}, '
                f'expected finite values of shape ({size},)'
            )
        rows.append(row)
        if len(rows) == BATCH:
            yield np.array(rows, dtype=_FLOAT)
            rows = []
    if rows:
        yield np.array(rows, dtype=_FLOAT)
