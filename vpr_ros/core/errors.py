"""One root for every error a user can cause.

Commands turn all of them into one line and exit status 2. A message says what came, what was
expected and where. Not finding a place is no error: see estimate.NoFix.

The reason of a failure was often learned before it: which topic gave the poses, why the first
image could not be used. An error carries that with it, so that it is told however a command ends.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

MORE_FILES = 'let this process open more files (ulimit -n)'
"""What to do where a process has as many files open as it may."""

_STEPS_OF_PATH = {
    errno.EACCES: 'give this user access to it, or choose another path',
    errno.EPERM: 'give this user access to it, or choose another path',
    errno.ENAMETOOLONG: 'choose a shorter name',
    errno.EMFILE: MORE_FILES,
}


class VprError(Exception):
    """Input that cannot be used; the message is meant for the person who gave it."""

    notes: tuple[str, ...] = ()  # what was learned before it failed, for the same person


class ImageError(VprError):
    """An image that cannot be decoded, or whose fields contradict each other."""


class DocumentError(VprError):
    """YAML or JSON that is damaged or unbounded; whoever reads the file says which it is."""


class ModelError(VprError):
    """A model folder that is missing, damaged or of another kind than expected."""


class MapError(VprError):
    """A map folder that is missing, damaged, unwritable or made for another model."""


class DriveError(VprError):
    """A recording (bag or image folder) that lacks what the task needs."""


class ConfigError(VprError):
    """A setting outside its legal range, or one that does not exist."""


class FleetError(VprError):
    """A fleet's store that cannot be used, or a map that does not belong into it."""


class LogError(VprError):
    """A log of a drive that cannot be written."""


class BackendError(VprError):
    """What runs networks faster (TensorRT, CUDA) is missing, or fails."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which stops a command as Ctrl-C does; unlike that it comes to one process alone."""


@contextmanager
def noting(*told: Callable[[], Iterable[str]]) -> Iterator[None]:
    """Add to a VprError that leaves the block what is known by then, before its own notes."""
    try:
        yield
    except VprError as error:
        known = [line for tell in told for line in tell()]
        error.notes = tuple(dict.fromkeys([*known, *error.notes]))
        raise


def notes_of_error(error: BaseException) -> list[str]:
    """The notes of an error and of those that it was raised from, each once."""
    found: dict[str, None] = {}
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, VprError):
            found |= dict.fromkeys(cause.notes)
        cause = cause.__cause__
    return list(found)


def blames_path(error: Exception) -> bool:
    """Whether the system refused a path, and the file behind it may be in order."""
    return (
        isinstance(error, OSError)
        and error.errno in _STEPS_OF_PATH
        and isinstance(error.filename, (str, bytes, os.PathLike))
    )


def told(error: Exception) -> str:
    """What an error says to the person who gave the input; what is a bug, as Python writes it."""
    if isinstance(error, VprError):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None and blames_path(error):
        return f'{os.fsdecode(error.filename)}: {error.strerror}; {_STEPS_OF_PATH[error.errno]}'
    return repr(error)
