"""Folders and files that are wholly the old ones or wholly the new ones, whatever happens.

A folder is built beside its target under a hidden name, synced, and exchanged with the target in
one system call (renameat2, Linux); where the file system cannot exchange, the old folder is moved
aside for the moment between two renames. A full disk, an exception or a kill leaves the target as
it was; leftovers of dead builders are removed by the next one.
"""

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `target` when the block ends without an error.

    Raises OSError where the parent cannot be written; the target is untouched then, and whenever
    the block raises. A link to a folder stays, and leads to the new one.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    staging = target.with_name(f'.{target.name}.partial-{os.getpid()}')
    staging.mkdir()
    try:
        yield staging
        _sync_tree(staging)
        _put_in_place(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """Yield a path whose file takes the place of `target` when the block ends without an error."""
    target = target.absolute()
    staging = target.with_name(f'.{target.name}.partial-{os.getpid()}')
    try:
        yield staging
        _sync_path(staging)
        staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)
    _sync_path(target.parent)


def replace_file(target: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part."""
    with staged_file(target) as staging:
        staging.write_bytes(content)


def _put_in_place(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
    elif not _exchange(staging, target):
        aside = target.with_name(f'.{target.name}.old-{os.getpid()}')
        target.rename(aside)
        staging.rename(target)
        shutil.rmtree(aside, ignore_errors=True)
    _sync_path(target.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step; False where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), 'renameat2', None)
    if renameat2 is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    return bool(renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)


def _remove_leftovers(target: Path) -> None:
    for leftover in target.parent.glob(f'.{target.name}.partial-*'):
        if leftover.is_dir() and not _is_alive(leftover.name.rpartition('-')[2]):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_alive(process_id: str) -> bool:
    return process_id.isdigit() and Path('/proc', process_id).exists()


def _sync_tree(folder: Path) -> None:
    for path in [*folder.rglob('*'), folder]:
        _sync_path(path)


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
