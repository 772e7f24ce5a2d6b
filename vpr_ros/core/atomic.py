"""Folders and files that are wholly the old ones or wholly the new ones, whatever happens.

What is new is made beside its target under a hidden name, synced, and given the target's name when
it is complete. Four kinds of hidden names stand beside a target `map`, none of them for long:

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
- A folder has one writer at a time. Another one is told who that is, before it does any work.
- Leftovers of writers that are gone are removed by the next one. A writer is alive while it holds
  its lock (flock), which the kernel takes from it when it ends, on whatever host or container.
- Content and folders are synced before they get the name, and the name is before anything old is
  removed. What a file system or disk makes of a sync is theirs.

Where a file system has no locks nobody is told of others and leftovers stay; nothing collides,
because hidden names are random.
"""

import ctypes
import errno
import fcntl
import math
import os
import re
import secrets
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RANDOM = r'(?:[0-9a-f]{12}|[0-9]{1,10})'  # earlier programs took their process number
_NOT_PERMITTED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES)
_NOT_REPLACEABLE = {
    errno.EBUSY: 'it is a mount point, which cannot be replaced; write to a folder within it',
    errno.EXDEV: 'it is part of a container image, where no folder can be replaced; '
    'write to a volume or under another name',
}
_FORBIDDING = ('ext2', 'ext3', 'ext4', 'xfs', 'f2fs', 'tmpfs', 'overlay', 'vfat', 'exfat')
_BETWEEN_RENAMES_S = 2.0  # longer than a living writer needs
_PATIENCE_S = 0.5  # longer than a reader holds a lock to put a folder back
_POLL_S = 0.01
_COMMAND_CHARACTERS = 200


@contextmanager
def staged_folder(target: Path, *, alone: bool | None = None) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `target` when the block ends without an error.

    alone: what `only_writer` gave, where the caller holds it already. Raises OSError where the
    folder cannot be written, and before the block where another program writes it or where it
    could never be replaced; the target is untouched then, and whenever the block raises. A link to
    a folder stays, and leads to the new one.
    """
    target = _real(target)
    os.makedirs(target.parent, exist_ok=True)
    with _locked(target) if alone is None else nullcontext(alone) as is_alone:
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
    with _locked(target, patience_s=math.inf) as is_alone:
        if is_alone:
            _remove_leftovers(target)
        staging = _beside(target, 'partial')
        try:
            yield staging
            place_file(staging, target)
        finally:
            with suppress(OSError):
                os.unlink(staging)


@dataclass(frozen=True, slots=True)
class FolderKind:
    """Folders of one kind, such as maps: what they may replace, and how a failure is told."""

    mark: str  # the file that each of them has
    name: str  # for people, with its article
    error: type[Exception]  # where one cannot be written
    content: tuple[str, ...]  # patterns of the other names in them; each has one at least

    @contextmanager
    def staged(self, target: Path) -> Iterator[Path]:
        """As `staged_folder`; raises `error` where it raises OSError, and as `require_place`."""
        with unwritable_as(self.error, target):
            self._require_own(target)
            with staged_folder(target) as staging:
                yield staging

    def require_place(self, target: Path) -> None:
        """Raise `error` where no folder of this kind can be written; to be asked before long work.

        Nothing, an empty folder and a folder of this kind may be replaced, unless it has something
        else in it, which would be lost. Nor may one lie within another, because that one is
        replaced as a whole. Nothing is changed.
        """
        with unwritable_as(self.error, target):
            self._require_own(target)
            if _real(target).parent.is_dir():
                with suppress(_AbandonedError), staged_folder(target):
                    raise _AbandonedError
            else:
                require_writable(_real(target))

    def _require_own(self, target: Path) -> None:
        is_folder = target.is_dir()
        if target.exists() and not self._is_own(target) and not (is_folder and _is_empty(target)):
            raise self.error(
                f'{target}: exists and is not {self.name}; give a new folder, or {self.name} to '
                'replace'
            )
        if is_folder and (others := [one for one in _kept_in(target) if not self._has(one)]):
            raise self.error(
                f'{target}: would be replaced as a whole, and {others[0]} in it does not belong '
                f'to {self.name}; move it to another folder first'
            )
        if (above := self.around(_real(target).parent)) is not None:
            raise self.error(
                f'{target}: lies within {self.name}, {above}, which is replaced as a whole when '
                'it changes; give a folder outside of it'
            )

    def around(self, path: Path) -> Path | None:
        """The folder of this kind that a path is or lies within; None where there is none."""
        path = _real(path)
        return next((one for one in (path, *path.parents) if self._is_own(one)), None)

    def _is_own(self, folder: Path) -> bool:
        """Whether a folder is of this kind; what else is in it does not matter."""
        is_marked = (folder / self.mark).is_file()
        return is_marked and any(one != self.mark and self._has(one) for one in os.listdir(folder))

    def _has(self, name: str) -> bool:
        """Whether a folder of this kind has such a name in it."""
        return any(fnmatchcase(name, one) for one in (self.mark, *self.content))


def _is_empty(folder: Path) -> bool:
    return not os.listdir(folder)


def _kept_in(folder: Path) -> list[str]:
    """What a person may have put into a folder, sorted: without the files that programs hide."""
    with os.scandir(folder) as entries:
        return sorted(
            one.name
            for one in entries
            if not one.name.startswith('.')
            or (one.is_dir(follow_symlinks=False) and os.listdir(one))  # such as .git
        )


class _AbandonedError(Exception):
    """Raised inside a staged folder that was made only to see whether that works."""


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


@contextmanager
def only_writer(target: Path, *, waits: bool = False) -> Iterator[bool]:
    """Be the one program that writes a folder or file until the block ends.

    Raises OSError that says who else writes it, unless `waits`. Yields False where nobody can be
    sure: the file system has no locks, or the user may not write beside the target.
    """
    with _locked(_real(target), patience_s=math.inf if waits else _PATIENCE_S) as is_alone:
        yield is_alone


def recover_folder(target: Path) -> None:
    """Rename a folder back whose writer was killed while replacing it; call it before opening.

    Does nothing where `target` is there, where nothing was moved aside, and where the user may not
    rename it.
    """
    target = _real(target)
    ends_s = time.monotonic() + _BETWEEN_RENAMES_S
    while not os.path.lexists(target) and _hidden(target, 'old'):
        is_late = time.monotonic() > ends_s
        try:
            with _locked(target, patience_s=0) as is_alone:
                if is_alone or is_late:
                    _put_back(target)
        except OSError as error:
            if error.errno != errno.EBUSY or is_late:
                return
        time.sleep(_POLL_S)  # a writer that lives is between its renames


def _real(target: Path) -> Path:
    return Path(os.path.realpath(target))


def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f'.{target.name}.{kind}-{secrets.token_hex(6)}')


def _hidden(target: Path, kind: str) -> list[Path]:
    """What is beside a target under one of the hidden names."""
    name = re.compile(rf'\.{re.escape(target.name)}\.{kind}-{_RANDOM}')
    with suppress(OSError):
        return [target.parent / one for one in os.listdir(target.parent) if name.fullmatch(one)]
    return []


# Locks ---------------------------------------------------------------------------------------

_held: set[int] = set()  # descriptors that hold a lock


def _leave_to_parent() -> None:
    """Close the locks of the process that this one was forked from: it may outlive that one."""
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


@contextmanager
def _locked(target: Path, *, patience_s: float = _PATIENCE_S) -> Iterator[bool]:
    """Hold the lock of a target; False where there can be none. See `only_writer`."""
    descriptor = _lock(path := target.with_name(f'.{target.name}.lock'), patience_s)
    if descriptor is not None:
        _held.add(descriptor)
    try:
        yield descriptor is not None
    finally:
        if descriptor in _held:  # else this is a process that was forked meanwhile
            _held.discard(descriptor)
            try:
                with suppress(OSError):
                    os.unlink(path)  # before it is let go: who waits for it looks at its name
            finally:
                os.close(descriptor)


def _lock(path: Path, patience_s: float) -> int | None:
    """A descriptor that holds the lock, None where there can be none; raises OSError."""
    ends_s = time.monotonic() + patience_s
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            if error.errno in _NOT_PERMITTED:
                return None
            raise
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_named(descriptor, path):
                _say_who(descriptor)
                return descriptor
        except BlockingIOError as error:
            who = _said(descriptor) or 'another program'
            os.close(descriptor)
            if time.monotonic() >= ends_s:
                raise OSError(
                    errno.EBUSY,
                    f'{who} is writing it; wait until that program ends, stop it, or choose '
                    'another place',
                    str(path),
                ) from error
            time.sleep(_POLL_S)
            continue
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                with suppress(OSError):
                    os.unlink(path)
                return None
            raise
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its last holder has removed it


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _say_who(descriptor: int) -> None:
    """Leave a line for others; a full disk has no room for it, which is no error."""
    command = shlex.join([Path(sys.argv[0] or 'python').name, *sys.argv[1:]])
    since = datetime.now(timezone.utc).isoformat(timespec='seconds')
    line = (
        f'{command[:_COMMAND_CHARACTERS]} '
        f'(process {os.getpid()} on {socket.gethostname()}, since {since})'
    )
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, line.encode(errors='replace'), 0)


def _said(descriptor: int) -> str:
    with suppress(OSError):
        return ' '.join(os.pread(descriptor, 4096, 0).decode(errors='replace').split())
    return ''


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
