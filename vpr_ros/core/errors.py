"""One root for every error a user can cause.

Commands turn all of them into one line and exit status 2. A message says what came, what was
expected and where. Not finding a place is no error: see estimate.NoFix.

The reason of a failure was often learned before it: which topic gave the poses, why the first
image could not be used. An error carries that with it, so that it is told however a command ends.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


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
