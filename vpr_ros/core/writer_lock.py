"""A folder or file has one writer at a time, and others are told who that is.

The lock of `map` is the file `.map.lock` beside it, which says who writes. A writer is alive while
it holds the lock (flock), which the kernel takes from it when it ends, on whatever host or
container.
"""

import errno
import fcntl
import math
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

_NOT_PERMITTED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_PATIENCE_S = 0.5  # longer than a reader holds a lock to put a folder back
_COMMAND_CHARACTERS = 200
_POLL_S = 0.01  # between two looks

_held: set[int] = set()  # descriptors that hold a lock


def _leave_to_parent() -> None:
    """Close the locks of the process that this one was forked from: it may outlive that one."""
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


@contextmanager
def only_writer(target: Path, *, waits: bool = False) -> Iterator[bool]:
    """Be the one program that writes a folder or file until the block ends.

    Raises OSError that says who else writes it, unless `waits`. Yields False where nobody can be
    sure: the file system has no locks, or the user may not write beside the target.
    """
    with locked(real_path(target), patience_s=math.inf if waits else _PATIENCE_S) as is_alone:
        yield is_alone


def real_path(target: Path) -> Path:
    """A path without links, also where there is nothing yet."""
    return Path(os.path.realpath(target))


@contextmanager
def locked(target: Path, *, patience_s: float = _PATIENCE_S) -> Iterator[bool]:
    """As `only_writer` of a path without links, but wait so long for another writer."""
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
