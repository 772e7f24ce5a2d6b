"""Folders and files that are wholly the old ones or wholly the new ones, whatever happens.

What is new is made beside its target under a hidden name, synced, and given the target's name when
it is complete. Three kinds of hidden names stand beside a target `map`, none of them for long:

    .map.lock          locked by the one program that writes `map`, and says who that is
    .map.partial-...   being made, or being removed
    .map.old-...       the old folder, whole, between two renames

Promised:

- An error leaves the old one under its name. So does a kill or a power cut, before the commit;
  after it the new one is there. The commit is one system call (renameat2, Linux). Where not even
  the undoing of a failed commit succeeds, the new one stays, whole.
- Where the file system cannot exchange two folders (NFS, FAT, exFAT) the commit is two renames. An
  error between them renames the old one back. A kill between them leaves it as `.map.old-...`:
  whoever opens or writes `map` next gives it its name again (`recover_folder`).
- A folder has one writer at a time (writer_lock.py). Another one is told who that is, before it
  does any work. Leftovers of writers that are gone are removed by the next one.
- Content and folders are synced before they get the name, and the name is before anything old is
  removed. What a file system or disk makes of a sync is theirs.

Where a file system has no locks nobody is told of others and leftovers stay; nothing collides,
because hidden names are random.
"""

import ctypes
import errno
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from vpr_ros.core.writer_lock import locked, real_path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RANDOM = r'(?:[0-9a-f]{12}|[0-9]{1,10})'  # earlier programs took their process number
_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES)
_NOT_REPLACEABLE = {
    errno.EBUSY: 'it is a mount point, which cannot be replaced; write to a folder within it',
    errno.EXDEV: 'it is part of a container image, where no folder can be replaced; '
    'write to a volume or under another name',
}
_FORBIDDING = ('ext2', 'ext3', 'ext4', 'xfs', 'f2fs', 'tmpfs', 'overlay', 'vfat', 'exfat')
_BETWEEN_RENAMES_S = 2.0  # longer than a living writer needs
_POLL_S = 0.01  # between two looks


@contextmanager
def staged_folder(target: Path, *, alone: bool | None = None) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `target` when the block ends without an error.

    alone: what `only_writer` gave, where the caller holds it already. Raises OSError where the
    folder cannot be written, and before the block where another program writes it or where it
    could never be replaced; the target is untouched then, and whenever the block raises. A link to
    a folder stays, and leads to the new one.
    """
    target = real_path(target)
    os.makedirs(target.parent, exist_ok=True)
    with locked(target) if alone is None else nullcontext(alone) as is_alone:
        if os.path.lexists(target) and not target.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, 'it is not a folder', str(target))
        if is_alone:
            _put_back(target)
            _remove_leftovers(target)
        staging = _beside(target, 'partial')
        os.mkdir(staging)
        try:
            _require_replaceable(target, staging)
            yield staging
            _sync_tree(staging)
            _put_in_place(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """Yield a path whose file takes the place of `target` when the block ends without an error.

    Another writer of the same file is waited for. Raises OSError where it cannot be written.
    """
    target = target.absolute()
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, 'it exists and is not a regular file', str(target))
    with locked(target, patience_s=math.inf) as is_alone:
        if is_alone:
            _remove_leftovers(target)
        staging = _beside(target, 'partial')
        try:
            yield staging
            place_file(staging, target)
        finally:
            with suppress(OSError):
                os.unlink(staging)


@contextmanager
def unwritable_as(
    kind: type[Exception],
    target: Path | str,
    *,
    also: type[Exception] = OSError,
    next_step: str = '',
) -> Iterator[None]:
    """Raise `kind`, which says that the target cannot be written, where the block raises OSError.

    also: what else the block raises where a write fails; next_step: follows the reason.
    """
    try:
        yield
    except (OSError, also) as error:
        raise kind(unwritable(target, error) + (next_step and f'; {next_step}')) from error


def unwritable(target: Path | str, error: Exception) -> str:
    """That a target cannot be written and why, as one line without the names of hidden files."""
    reason = getattr(error, 'strerror', None) or str(error) or type(error).__name__
    return f'{target}: cannot be written ({" ".join(reason.split())})'


def require_writable(target: Path) -> None:
    """Raise OSError where nothing can be made under a name, and nothing in folders above it.

    Makes an empty folder beside the target, or beside the first folder above it that is missing,
    and removes it. Permissions alone do not tell: root has them all, also on a read-only disk.
    """
    target = target.absolute()
    while not os.path.lexists(target.parent):
        target = target.parent
    made = _beside(target, 'partial')
    os.mkdir(made)
    os.rmdir(made)


def replace_file(target: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part."""
    with staged_file(target) as staging:
        staging.write_bytes(content)


def place_file(made: Path, target: Path) -> None:
    """Give a complete file its name; what had the name before is replaced in the same step."""
    _sync(made)
    os.replace(made, target)
    _sync_names(target.parent)


def recover_folder(target: Path) -> None:
    """Rename a folder back whose writer was killed while replacing it; call it before opening.

    Does nothing where `target` is there, where nothing was moved aside, and where the user may not
    rename it.
    """
    target = real_path(target)
    ends_s = time.monotonic() + _BETWEEN_RENAMES_S
    while not os.path.lexists(target) and _hidden(target, 'old'):
        is_late = time.monotonic() > ends_s
        try:
            with locked(target, patience_s=0) as is_alone:
                if is_alone or is_late:
                    _put_back(target)
        except OSError as error:
            if error.errno != errno.EBUSY or is_late:
                return
        time.sleep(_POLL_S)  # a writer that lives is between its renames


def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f'.{target.name}.{kind}-{secrets.token_hex(6)}')


def _hidden(target: Path, kind: str) -> list[Path]:
    """What is beside a target under one of the hidden names."""
    name = re.compile(rf'\.{re.escape(target.name)}\.{kind}-{_RANDOM}')
    with suppress(OSError):
        return [target.parent / one for one in os.listdir(target.parent) if name.fullmatch(one)]
    return []


# Names ---------------------------------------------------------------------------------------


def _require_replaceable(target: Path, staging: Path) -> None:
    """Raise OSError where the commit would fail, which may be hours away.

    The kernel says so when asked to rename the target onto a folder with something in it, which
    POSIX forbids. File systems that might do it nevertheless are not asked. The working directory
    is not replaced either: programs in it, the user's shell among them, would be left nowhere.
    """
    with suppress(FileNotFoundError):  # the working directory is gone
        if Path.cwd().is_relative_to(target):
            reason = 'it is the working directory; start the command in another one'
            raise OSError(errno.EBUSY, reason, str(target))
    if not os.path.lexists(target) or _file_system(target.parent) not in _FORBIDDING:
        return
    obstacle = staging / 'obstacle'
    os.mkdir(obstacle)
    try:
        os.rename(target, staging)
    except OSError as error:
        if error.errno in _NOT_REPLACEABLE:
            reason = _NOT_REPLACEABLE[error.errno]
            raise OSError(error.errno, reason, str(target)) from error
    os.rmdir(obstacle)


def _file_system(folder: Path) -> str:
    """The type of the file system that a folder is on, for example ext4; empty where unknown."""
    device = os.stat(folder).st_dev
    number = f'{os.major(device)}:{os.minor(device)}'
    with suppress(OSError, ValueError, IndexError):
        for line in Path('/proc/self/mountinfo').read_text(encoding='utf-8').splitlines():
            fields = line.split()
            if fields[2] == number:
                return fields[fields.index('-') + 1]
    return ''


def _put_in_place(staging: Path, target: Path) -> None:
    """Give `staging` the target's name, and an old target that of `staging`."""
    if not os.path.lexists(target):
        os.rename(staging, target)
        _sync_names(target.parent)
    elif _exchange(staging, target):
        try:
            _sync_names(target.parent)
        except BaseException:
            _exchange(staging, target)
            raise
    else:
        _rename_twice(staging, target)


def _rename_twice(staging: Path, target: Path) -> None:
    aside = _beside(target, 'old')
    try:
        os.rename(target, aside)
        _sync_names(target.parent)
        os.rename(staging, target)
        _sync_names(target.parent)
        os.rename(aside, staging)  # so that what is called old is always whole
    except BaseException:
        if os.path.lexists(aside):
            if os.path.lexists(target):
                os.rename(target, staging)
            os.rename(aside, target)
        raise


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step; False where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), 'renameat2', None)
    if renameat2 is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    return bool(renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)


def _put_back(target: Path) -> None:
    """Rename the last folder that was moved aside back to the target, if there is no target."""
    aside = sorted(_hidden(target, 'old'), key=lambda path: os.lstat(path).st_ctime_ns)
    if aside and not os.path.lexists(target):
        os.rename(aside.pop(), target)
        _sync_names(target.parent)


def _remove_leftovers(target: Path) -> None:
    """Remove what writers that are gone have left; only for who holds the lock."""
    if os.path.lexists(target):
        for aside in _hidden(target, 'old'):
            os.rename(aside, _beside(target, 'partial'))
    for leftover in _hidden(target, 'partial'):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            with suppress(OSError):
                os.unlink(leftover)


# Syncs ---------------------------------------------------------------------------------------


def _sync_tree(folder: Path) -> None:
    for path in [*folder.rglob('*'), folder]:
        _sync_names(path) if path.is_dir() else _sync(path)


def _sync_names(folder: Path) -> None:
    """Sync what is in a folder, as far as its file system can."""
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
