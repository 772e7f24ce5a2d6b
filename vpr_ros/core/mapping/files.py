"""The files of a map: opened, compared with their digests, and with the form that they must have.

A map may come from anywhere. Only regular files are opened, so that none leads out of the map or
never ends. A digest says that a file is the one that was written, not that its writer was right,
so that an array's dtype and shape are compared as well. Files from 64 MB on have a second digest,
of samples, because opening a map must be quick.
"""

import hashlib
import mmap
import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core import documents
from vpr_ros.core.errors import DocumentError, MapError, blames_path, told
from vpr_ros.core.lfs import LFS_ADVICE, is_lfs_content
from vpr_ros.core.mapping.layout import ArrayForm

LARGE_BYTES = 64_000_000
"""Files from this size on are checked by samples when a map is opened, which must be quick."""
_BLOCKS, _BLOCK_BYTES = 256, 4096  # of the samples
_READ_BYTES = 1 << 20
_SPARE_FILES = 200  # that whoever opens a map opens besides
RESTORE = 'restore it or rebuild the map with build_map'
"""What to do about a damaged file."""


def open_regular(path: Path) -> BinaryIO:
    """Open a file of a map for reading.

    Raises OSError where that fails, and MapError where it is a link, a device or a pipe.
    """
    try:
        return documents.open_regular(path)
    except DocumentError as error:
        is_link = path.is_symlink()
        advice = 'copy the map with its content (cp -rL)' if is_link else RESTORE
        raise MapError(f'{path}: {error}; {advice}') from error


def file_digest(path: Path) -> str:
    """The entry of a file in map.yaml: its sha256, and for a large file also that of samples."""
    whole = _whole_sha256(path)
    return f'{whole}:{_sampled_sha256(path)}' if path.stat().st_size >= LARGE_BYTES else whole


def check_file(path: Path, expected: str, *, whole: bool = False) -> None:
    """Raise MapError for a file that is missing or differs from its digest.

    A large file is checked by samples unless `whole` is given.
    """
    digest, _, sampled = expected.partition(':')
    by_samples = bool(sampled) and not whole
    expected_sha256 = sampled if by_samples else digest
    try:
        found = _sampled_sha256(path) if by_samples else _whole_sha256(path)
    except OSError as error:
        raise unreadable(path, error) from error
    if found != expected_sha256:
        with open_regular(path) as file:
            is_pointer = is_lfs_content(file.read(100))
        if is_pointer:
            raise MapError(f'{path}: {LFS_ADVICE}')
        raise MapError(
            f'{path}: sha256 {found[:12]}, map.yaml says {expected_sha256[:12]}; '
            f'the file is damaged, {RESTORE}'
        )


def unreadable(path: Path, error: Exception) -> MapError:
    """The error for a map, or a file of one, that cannot be read."""
    if blames_path(error):
        return MapError(told(error))  # the map may be in order
    said = getattr(error, 'strerror', None) or f'cannot be read ({error})'
    return MapError(f'{path}: {said}; {RESTORE}')


def load_array(part: Path, name: str, *, mapped: bool = False) -> NDArray[Any]:
    """One of a part's arrays, in memory or mapped from disk; layout.py has their shapes.

    Raises MapError where it is missing or damaged.
    """
    path = part / f'{name}.npy'
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode='r')  # type: ignore[no-untyped-call]
    except Exception as error:  # numpy's parser of headers raises what Python's raises
        raise unreadable(path, error) from error
    return array if mapped else np.array(array)


def require_form(path: Path, array: NDArray[Any], form: ArrayForm, rows: int) -> None:
    """Raise MapError for an array of another dtype, another shape, or with columns first."""
    wanted = form.shape(rows)
    if (array.dtype, array.shape) != (form.dtype, wanted) or not array.flags.c_contiguous:
        order = '' if array.flags.c_contiguous else ', columns first'
        raise MapError(
            f'{path}: {array.dtype} {list(array.shape)}{order}, '
            f'expected {form.dtype} {list(wanted)}; {RESTORE}'
        )


def mapped_file(path: Path) -> mmap.mmap | bytes:
    """A file's bytes by `documents.mapped`; raises OSError and MapError."""
    with open_regular(path) as file:
        return documents.mapped(file)


def allow_open_files(number: int) -> None:
    """Let this process hold so many files more than now, as far as the system lets it.

    A map holds its files, some for each part, and a process may have 1024 unless it asks for more.
    """
    held = sum(1 for _ in Path('/proc/self/fd').iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = held + number + _SPARE_FILES
    if soft == resource.RLIM_INFINITY or wanted <= soft:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(allowed, soft), hard))


def _whole_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _sampled_sha256(path: Path) -> str:
    """sha256 of a file's size and of some hundred blocks, spread evenly from its start to its end.

    A file that is cut, mixed up or rewritten differs; a single flipped bit mostly does not.
    """
    with open_regular(path) as file:
        size = file.seek(0, os.SEEK_END)
        digest = hashlib.sha256(str(size).encode())
        for start in np.linspace(0, max(size - _BLOCK_BYTES, 0), _BLOCKS).astype(np.int64):
            file.seek(int(start))
            digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()
