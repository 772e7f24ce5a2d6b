"""Compact codes of many descriptors, which find the few rows that are worth an exact comparison.

A large part of a map has two coarser copies of its descriptors:

    codes_0.faiss ...  product quantization, 4 bits for each of at most 128 groups of dimensions,
                       scanned by SIMD table look-ups (Andre et al., Cache locality is not enough,
                       VLDB 2015, as faiss has it); row r is in file r modulo their number
    bytes.npy          int8 [n, D], each row scaled by its largest number
    byte_scales.npy    float32 [n]

The scan of the first leaves one row in five hundred, the second a few dozen. The bytes are mapped
from disk, so that memory is bounded by their size however long the search runs; the descriptors
themselves are read row by row and never become resident.
"""

import os
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.mapping.halves import as_floats
from vpr_ros.core.mapping.products import products
from vpr_ros.core.npy import NpyWriter
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import Descriptors

CODED_FROM_BYTES, CODED_FROM_PLACES = 8_000_000, 5_000  # less is scanned in a millisecond
SHARDS = 4  # scanned at the same time where there are as many cores
_FILES = tuple(f'codes_{shard}.faiss' for shard in range(SHARDS))
CODE_FILES = (*_FILES, 'bytes.npy', 'byte_scales.npy')
_MOST_DIMENSIONS, _MOST_GROUPS = 512, 128  # above, the table look-ups leave the fast path
_SAMPLE = 20_000_000  # numbers of the rows that the codes are trained on, 80 MB
_PASSES = 4  # over the sample, to find its principal axes
_CHUNK = 32_000_000  # numbers of the rows that are encoded at a time
_SCANNED_SHARE, _FEWEST_SCANNED = 500, 500
_THREAD_SCANS = 100_000  # rows, which pay for waking threads
COMPARED = 16  # rows read exactly, beyond those that are asked for


class CodedRows:
    """The codes of one part, opened."""

    def __init__(self, part: Path) -> None:
        """Open what write_codes has written; raises OSError, ValueError or RuntimeError."""
        self._shards = [faiss.read_index(str(part / name)) for name in _FILES]
        mapped = np.load(part / 'bytes.npy', mmap_mode='r', allow_pickle=False)
        self._bytes = np.asarray(mapped)  # still mapped, and indexed sooner than a memmap
        self._scales = np.load(part / 'byte_scales.npy', allow_pickle=False)
        self._rows = _RowFile(part / 'descriptors.npy')
        self._require_fit()
        self._pool = ThreadPoolExecutor(
            min(SHARDS, os.cpu_count() or 1), 'scan', faiss.omp_set_num_threads, (1,)
        )

    def search(
        self, asked: Sequence[tuple[Descriptors, int]]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Exact product [K] and row [K] of the best rows for vectors [D], best first.

        asked: each vector, and how many rows are wanted. One scan serves all. A row may be missed,
        the more likely the lower it ranks; what is found is exact for the first vector, and to the
        accuracy of the bytes for the others.
        """
        fewest = max(len(self._scales) // _SCANNED_SHARE, _FEWEST_SCANNED)
        wanted = max(fewest, *(4 * k for _, k in asked))
        scanned = self._scanned(np.array([vector for vector, _ in asked]), wanted)
        first = True
        found = []
        for (vector, k), rows in zip(asked, scanned):
            near = self.near(rows, vector)
            if first:
                rows = rows[_largest(near, k + COMPARED)]
                near = products(self.read(rows), vector)
                first = False
            order = np.lexsort((rows, -near))[:k]
            found.append((near[order], rows[order]))
        return found

    def near(self, rows: NDArray[np.int64], vector: Descriptors) -> NDArray[np.float32]:
        """Product [K] of some rows [K] with a vector [D], by their bytes."""
        read = self._bytes.take(rows, axis=0).astype(np.float32)
        return np.asarray(products(read, vector) * self._scales[rows])

    def read(self, rows: NDArray[np.int64]) -> Descriptors:
        """Descriptors [K, D] of some rows [K]; nothing else becomes resident."""
        return self._rows.read(rows)

    def _require_fit(self) -> None:
        """Raise ValueError where the codes are not those of the descriptors [n, D]."""
        count, size = self._rows.shape
        for name, array, dtype, shape in (
            ('bytes.npy', self._bytes, np.int8, (count, size)),
            ('byte_scales.npy', self._scales, np.float32, (count,)),
        ):
            if (array.dtype, array.shape) != (np.dtype(dtype), shape):
                raise ValueError(
                    f'{name}: {array.dtype} {list(array.shape)}, '
                    f'expected {np.dtype(dtype)} {list(shape)}'
                )
        for number, (name, shard) in enumerate(zip(_FILES, self._shards)):
            rows = len(range(number, count, SHARDS))
            if (shard.ntotal, shard.d) != (rows, size):
                raise ValueError(
                    f'{name}: {counted(shard.ntotal, "row")} of {counted(shard.d, "number")}, '
                    f'expected {rows} of {size}'
                )

    def _scanned(self, vectors: Descriptors, count: int) -> list[NDArray[np.int64]]:
        """The rows whose codes are most similar to each vector [Q, D], ascending."""
        # The rows lie evenly in the shards; a few more of each make up for chance.
        share = count / SHARDS
        each = int(share + 4 * share**0.5)

        def scan(shard: faiss.Index) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
            return shard.search(vectors, each)  # values and rows [Q, each] of one shard

        if len(self._scales) > _THREAD_SCANS:
            shards = list(self._pool.map(scan, self._shards))
        else:
            with _one_thread():
                shards = list(map(scan, self._shards))
        values = np.concatenate([found for found, _ in shards], axis=1)
        rows = np.concatenate(
            [ids * SHARDS + shard for shard, (_, ids) in enumerate(shards)], axis=1
        )
        found = []
        for best, row in zip(values, rows):
            if row.min(initial=0) < 0:  # of a shard with fewer rows than asked for
                best, row = best[row >= 0], row[row >= 0]
            found.append(np.sort(row[_largest(best, count)]))
        return found


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep OpenMP to this thread: for several vectors it would wake others, which wait in a loop.

    It is a setting of the calling thread alone.
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def codes_pay(places: int, descriptor_size: int) -> bool:
    """Whether a part of so many places is searched sooner by codes, and so has them."""
    return places >= CODED_FROM_PLACES and 4 * places * descriptor_size >= CODED_FROM_BYTES


def write_codes(part: Path, descriptors: Descriptors) -> None:
    """Write the codes of descriptors [n, D] into a part's folder."""
    count, size = descriptors.shape
    sampled = min(count, _SAMPLE // size)
    sample = as_floats(descriptors[np.linspace(0, count - 1, sampled).astype(np.int64)])
    trained = _trained(np.ascontiguousarray(sample))
    shards = [faiss.clone_index(trained) for _ in _FILES]
    scales = np.empty(count, dtype=np.float32)
    step = max(_CHUNK // size // SHARDS, 1) * SHARDS  # each chunk begins with the first shard
    with (part / 'bytes.npy').open('wb') as file:  # mapped, a full disk would kill the process
        rows_as_bytes = NpyWriter(file, np.dtype(np.int8), size)
        for start in range(0, count, step):
            chunk = np.ascontiguousarray(as_floats(descriptors[start : start + step]))
            done = slice(start, start + len(chunk))
            scales[done] = np.abs(chunk).max(axis=1) / 127
            rows_as_bytes.append(np.rint(chunk / np.maximum(scales[done, None], 1e-30)))
            for shard, index in enumerate(shards):
                index.add(np.ascontiguousarray(chunk[shard::SHARDS]))
        rows_as_bytes.finish()
    np.save(part / 'byte_scales.npy', scales)
    for name, index in zip(_FILES, shards):
        write_index(index, part / name)


def write_index(index: faiss.Index, path: Path) -> None:
    """Write an index of faiss; raises OSError where faiss itself would not see a failed write."""
    with path.open('wb') as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]


def _trained(sample: Descriptors) -> faiss.Index:
    """An empty index that has learnt from a sample [n, D]."""
    size = sample.shape[1]
    kept = min(size - size % 8, _MOST_DIMENSIONS)
    groups = max(number for number in range(2, _MOST_GROUPS + 1, 2) if kept % number == 0)
    scanned = faiss.IndexPQFastScan(kept, groups, 4, faiss.METRIC_INNER_PRODUCT)
    index = scanned if kept == size else faiss.IndexPreTransform(_reduction(sample, kept), scanned)
    index.train(sample)
    return index


def _reduction(sample: Descriptors, kept: int) -> faiss.LinearTransform:
    """The projection to `kept` dimensions that changes inner products least, nearly.

    By orthogonal iteration: all axes of a long descriptor would take minutes and gigabytes. Not
    centred: taking the mean from both sides would change the order of inner products.
    """
    axes = np.random.default_rng(0).standard_normal((sample.shape[1], kept), dtype=np.float32)
    for _ in range(_PASSES):
        axes = np.linalg.qr(sample.T @ (sample @ axes))[0]
    projection = np.ascontiguousarray(axes.T, dtype=np.float32)
    transform = faiss.LinearTransform(sample.shape[1], kept, False)
    faiss.copy_array_to_vector(projection.ravel(), transform.A)
    transform.is_trained = True
    return transform


def _largest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Where the `count` largest values are, in no order."""
    if count >= len(values):
        return np.arange(len(values))
    return np.argpartition(-values, count - 1)[:count]


class _RowFile:
    """Rows of a .npy file, read without mapping it."""

    def __init__(self, path: Path) -> None:
        header = np.load(path, mmap_mode='r', allow_pickle=False)
        self._offset, self.shape, self._dtype = header.offset, header.shape, header.dtype
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows [K, D]."""
        width = self.shape[1] * self._dtype.itemsize
        read = [
            os.pread(self._descriptor, width, self._offset + row * width) for row in rows.tolist()
        ]
        found = np.frombuffer(b''.join(read), dtype=self._dtype)
        return as_floats(found.reshape(len(rows), self.shape[1]))
