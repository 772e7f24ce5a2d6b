"""Descriptors of many images on disk, so that a million of them need no more memory than a few.

Rows go to a .npy file one batch after another. The file's name is a digest of the model and of the
images (their paths, sizes and times of change), so that the same question finds the same answer
again; an interrupted run leaves its rows, and the next one goes on behind them. Of a model with
cells, their signs (8 bytes a cell of 64 numbers) go to a second file beside the first one.

Several workers describe a bounded number of images each, into such files of their own, which are
put together at the end: the same bytes, whoever wrote them. A worker that is killed loses the rows
of its last batch.
"""

import fcntl
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.batch.workers import ALONE, WorkerLost, Workers, carried_out
from vpr_ros.core.atomic import place_file
from vpr_ros.core.cache import cache_folder, files_digest
from vpr_ros.core.describing.describe import OFF_UNIT, Describer
from vpr_ros.core.errors import ImageError
from vpr_ros.core.image import read
from vpr_ros.core.matching.bits import packed
from vpr_ros.core.npy import NpyWriter, start_of_rows
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import CellBits, Descriptors
from vpr_ros.drives.prefetch import prefetched
from vpr_training.basics.errors import TrainingError

BATCH = 8  # rows written at once
_BLOCK_BYTES = 64 << 20  # of rows that are in memory at once
_FLOAT, _BITS = np.dtype('<f4'), np.dtype('u1')
SHARD = 1000  # images that one of several workers describes at a time
_ROWS_COPIED = 4096  # at once, when shards are put together
_PARTIAL = '.partial'  # ends the name of a file that is being written


RowsFrom: TypeAlias = Callable[[int], Iterator[list[NDArray[np.generic]]]]
"""From how many rows are there: the further ones, and beside them bits of cells if there are."""


@dataclass(frozen=True, slots=True)
class DescriptorFile:
    """Rows [N, D] on disk, float32 of unit norm, and cells beside them."""

    path: Path
    rows: int  # N
    size: int  # D
    cells: tuple[int, int, int] | None = None  # h, w and C; None: the model has none

    def array(self) -> Descriptors:
        """All rows, opened by memory map."""
        rows: Descriptors = np.load(self.path, mmap_mode='r', allow_pickle=False)
        return rows

    @property
    def cells_path(self) -> Path:
        """Where the cells are, uint8 [N, h * w * C / 8]."""
        return self.path.with_suffix('.cells.npy')

    def cell_bits(self) -> CellBits:
        """All cells [N, h * w, C / 8], opened by memory map; only of a model that has them."""
        assert self.cells is not None
        rows, columns, numbers = self.cells
        bits: CellBits = np.load(self.cells_path, mmap_mode='r', allow_pickle=False)
        return bits.reshape(self.rows, rows * columns, numbers // 8)

    @property
    def complete(self) -> bool:
        """Whether all is there; the descriptors get their name last."""
        return self._is_whole(self.path, self.size * _FLOAT.itemsize) and (
            self.cells is None or self._is_whole(self.cells_path, math.prod(self.cells) // 8)
        )

    def _is_whole(self, path: Path, row_bytes: int) -> bool:
        """Whether a file has all rows; one that was cut off is made anew."""
        try:
            return path.stat().st_size > self.rows * row_bytes
        except FileNotFoundError:
            return False

    def blocks(self) -> Iterator[Descriptors]:
        """All rows in order, a bounded number at a time; [n, D] each."""
        at_once = max(1, _BLOCK_BYTES // (self.size * _FLOAT.itemsize))
        with self.path.open('rb') as file:
            try:
                file.seek(start_of_rows(file, _FLOAT, self.size))
            except ValueError as error:
                raise TrainingError(
                    f'{self.path}: this is not a file of descriptors ({error}); delete it'
                ) from error
            for start in range(0, self.rows, at_once):
                count = min(at_once, self.rows - start) * self.size
                yield np.fromfile(file, dtype=_FLOAT, count=count).reshape(-1, self.size)


def default_cache() -> Path:
    """Where descriptors are kept: vpr_ros/descriptors in the user's cache folder."""
    return cache_folder('vpr_ros') / 'descriptors'


@contextmanager
def forgotten_folder(prefix: str) -> Iterator[Path]:
    """A folder for descriptors that are not kept, so that Ctrl-C does not say that they are."""
    try:
        with tempfile.TemporaryDirectory(prefix=prefix) as folder:
            yield Path(folder)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt('stopped; nothing is kept, start again') from interrupt


def described_files(
    describer: Describer,
    paths: Sequence[Path],
    folder: Path,
    *,
    label: str = '',
    workers: Workers = ALONE,
) -> DescriptorFile:
    """Descriptors, and cells, of N image files, taken from `folder` as far as they are there.

    A folder is for one backend: its files are named by graph and images, not by what runs the
    graph. Each image is decoded once. A progress bar on a terminal. workers: who describes;
    `describer` has to be one that another process can open again. Raises ImageError naming an
    unreadable image and TrainingError where the folder cannot be written or a worker is lost; what
    was described stays.
    """
    wanted = _wanted(describer, paths, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if wanted.complete:
            return wanted
        if workers == ALONE:
            with _bar(len(paths), label) as bar:
                _write_rest(wanted, partial(_described, describer, paths, wanted), bar)
        else:
            _describe_in_shards(describer, paths, wanted, workers, label)
    except OSError as error:
        raise TrainingError(
            f'{folder}: descriptors cannot be kept there ({error.strerror or error}); '
            'choose another folder with --cache'
        ) from error
    return wanted


def images_digest(paths: Sequence[Path]) -> str:
    """See files_digest; raises ImageError naming a missing image."""
    try:
        return files_digest(paths)
    except OSError as error:
        raise ImageError(f'{error.filename}: {error.strerror or error}') from error


def _wanted(describer: Describer, paths: Sequence[Path], folder: Path) -> DescriptorFile:
    card = describer.model.card
    key = f'{describer.model.graph_sha256[:16]}-{images_digest(paths)[:24]}'
    return DescriptorFile(folder / f'{key}.npy', len(paths), card.descriptor_size, card.cells)


@dataclass(frozen=True, slots=True)
class Shard:
    """Images that one worker describes."""

    describer: Describer
    paths: tuple[Path, ...]
    folder: Path


def describe_shard(shard: Shard, threads: int) -> None:
    """Describe the images of a shard that are not described yet; runs in a worker."""
    wanted = _wanted(shard.describer, shard.paths, shard.folder)
    shard.folder.mkdir(parents=True, exist_ok=True)
    if not wanted.complete:
        rows = partial(_described, shard.describer, shard.paths, wanted, threads=threads)
        _write_rest(wanted, rows, tqdm(disable=True))


def _describe_in_shards(
    describer: Describer,
    paths: Sequence[Path],
    wanted: DescriptorFile,
    workers: Workers,
    label: str,
) -> None:
    """Have all shards described, and put their rows together."""
    folder = wanted.path.parent.absolute() / 'shards'
    absolute = [path.absolute() for path in paths]
    shards = [
        Shard(describer, tuple(absolute[start : start + SHARD]), folder)
        for start in range(0, len(paths), SHARD)
    ]
    files = [_wanted(describer, shard.paths, folder) for shard in shards]
    left = [shard for shard, file in zip(shards, files) if not file.complete]
    with _bar(len(paths), label) as bar:
        bar.update(sum(file.rows for file in files if file.complete))
        for shard, result in carried_out(describe_shard, left, workers):
            if isinstance(result, WorkerLost):
                raise TrainingError(f'{shard.paths[0]} and {len(shard.paths) - 1} more: {result}')
            bar.update(len(shard.paths))
    _write_rest(wanted, partial(_rows_of, files), tqdm(disable=True))
    for file in files:
        for path in (file.path, file.cells_path):
            path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()  # unless another run has its own in it


def _rows_of(files: Sequence[DescriptorFile], done: int) -> Iterator[list[NDArray[np.generic]]]:
    """Rows of files and bits of their cells beside them, from the `done`-th row on."""
    for file in files:
        parts: list[NDArray[np.generic]] = [file.array()]
        if file.cells is not None:
            parts.append(file.cell_bits().reshape(file.rows, -1))
        for start in range(min(done, file.rows), file.rows, _ROWS_COPIED):
            yield [part[start : start + _ROWS_COPIED] for part in parts]
        done = max(done - file.rows, 0)


def _write_rest(wanted: DescriptorFile, rows: RowsFrom, bar: 'tqdm[NoReturn]') -> None:
    """Append what is missing, then give the files their names; two runs never write together."""
    growing = wanted.path.with_suffix(_PARTIAL)
    with ExitStack() as opened:
        file = opened.enter_context(_kept(growing))
        fcntl.flock(file, fcntl.LOCK_EX)
        if wanted.complete:
            growing.unlink(missing_ok=True)  # made anew after the other run had renamed its own
            return
        writers = [NpyWriter(file, _FLOAT, wanted.size, keep_rows=wanted.rows)]
        places = [(growing, wanted.path)]
        if wanted.cells is not None:
            beside = wanted.cells_path.with_suffix(_PARTIAL)
            bits, done = opened.enter_context(_kept(beside)), writers[0].rows
            height, width, numbers = wanted.cells
            bytes_each = height * width * numbers // 8
            writers.append(NpyWriter(bits, _BITS, bytes_each, keep_rows=done))
            if writers[1].rows < done:  # stopped between the two: both go on from the same row
                writers[0] = NpyWriter(file, _FLOAT, wanted.size, keep_rows=writers[1].rows)
            places.insert(0, (beside, wanted.cells_path))
        _append_rest(rows, writers, wanted, bar)
        for writer in writers:
            writer.finish()
        for source, target in places:
            place_file(source, target)


def _kept(path: Path) -> BinaryIO:
    """A file, open for reading and writing, made if it is missing.

    It is never emptied: another run may be writing.
    """
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), 'r+b')


def _append_rest(
    rows: RowsFrom, writers: Sequence[NpyWriter], wanted: DescriptorFile, bar: 'tqdm[NoReturn]'
) -> None:
    """Append the rows behind those that the writers have, one writer for each part of `rows`."""
    bar.update(writers[0].rows)
    try:
        for parts in rows(writers[0].rows):
            for writer, part in zip(writers, parts, strict=True):
                writer.append(part)
                writer.flush()
            bar.update(len(parts[0]))
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(
            f'stopped after {writers[0].rows} of {counted(wanted.rows, "image")}; '
            'the same command continues from there'
        ) from interrupt


def _bar(images: int, label: str) -> 'tqdm[NoReturn]':
    return tqdm(total=images, desc=label, unit='image', disable=None, leave=False)


def _described(
    describer: Describer,
    paths: Sequence[Path],
    wanted: DescriptorFile,
    done: int,
    *,
    threads: int | None = None,
) -> Iterator[list[NDArray[np.generic]]]:
    """Descriptors of files from the `done`-th on, [up to BATCH, D], and bits of their cells.

    threads: at most so many describe at once; None: as many as the describer likes.
    """
    at_once = min(describer.at_once, threads or describer.at_once)
    card = describer.model.card

    def work(path: Path) -> list[NDArray[np.generic]]:
        image = read(path, at_least_hw=card.image_size)
        if wanted.cells is None:
            return [describer.describe([image])[0]]
        descriptors, cells = describer.describe_with_cells([image])
        if cells is None or cells.shape[1:] != wanted.cells:
            shape = None if cells is None else cells.shape[1:]
            raise TrainingError(
                f'{card.name}: cells of shape {shape} of {path}, expected {wanted.cells}'
            )
        return [descriptors[0], packed(cells[0]).ravel()]

    rows: list[list[NDArray[np.generic]]] = []
    for path, found in prefetched(paths[done:], work, workers=at_once):
        if isinstance(found, ImageError):
            raise found
        norm = float(np.linalg.norm(found[0]))
        if found[0].shape != (wanted.size,) or not abs(norm - 1) < OFF_UNIT:
            raise TrainingError(
                f'{card.name}: a descriptor of {path} has shape {found[0].shape}, norm {norm:g}; '
                f'expected shape ({wanted.size},) and norm 1'
            )
        rows.append(found)
        if len(rows) == BATCH:
            yield [np.array(part) for part in zip(*rows, strict=True)]
            rows = []
    if rows:
        yield [np.array(part) for part in zip(*rows, strict=True)]
