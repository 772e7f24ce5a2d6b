"""Do one piece of work after another, in this process, in processes beside it, or on Ray.

The three differ only in where the work runs. If a worker is killed (out of memory, a machine that
is switched off), another worker gets its piece. After a few attempts that piece is given up, so
that one piece that kills its workers cannot stop the rest.

The work must be a function of a module. Its argument and its result must be small, because both
travel between processes. Large results belong on disk.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import cv2

from vpr_ros.core.errors import VprError, notes_of_error

Item = TypeVar('Item')
Result = TypeVar('Result')
Work: TypeAlias = Callable[[Item, int], Result]
"""What is done to each item, with so many threads.

It raises VprError where no other item could be done either.
"""

MOST_PROCESSES = 256
"""On one machine; more are a slip, and would take all of its memory."""

ATTEMPTS = 3
"""How often a piece of work is begun whose worker is killed each time."""


@dataclass(frozen=True, slots=True)
class Workers:
    """Who does the work."""

    count: int = 0  # processes; 0: one, with Ray as many as there are cores for
    threads: int = 0  # of each; 0: this machine's cores divided among them, one on a cluster
    ray: str | None = (
        None  # None: without Ray; empty: Ray on this machine; else a cluster's address
    )

    @property
    def on_cluster(self) -> bool:
        """Whether the work runs on other machines."""
        return bool(self.ray)

    @property
    def here(self) -> int:
        """How many processes run on this machine."""
        if self.count:
            return self.count
        return 1 if self.ray is None else max(cores() // max(self.threads, 1), 1)

    @property
    def threads_each(self) -> int:
        """How many threads each of them has."""
        if self.threads:
            return self.threads
        return 1 if self.on_cluster else max(cores() // self.here, 1)


ALONE = Workers()
"""This process alone, with all cores."""


class WorkerLost:
    """Instead of a result, where every worker that began the work was killed."""

    def __str__(self) -> str:
        return (
            f'its worker was killed {ATTEMPTS} times; look for what ends it '
            '(memory, the system log), then run the same command again'
        )


@dataclass(frozen=True, slots=True)
class _Raised:
    """A VprError on its way between processes, with its notes; pickling drops its cause."""

    error: VprError


def carried_out(
    work: Work[Item, Result], items: Sequence[Item], workers: Workers
) -> Iterator[tuple[Item, Result | WorkerLost]]:
    """Items with what `work` makes of each, as they are done.

    Raises the VprError that work raises, and BackendError where Ray cannot be used; what was begun
    is ended then, and whenever the caller stops.
    """
    for index, result in _running(work, items, workers):
        if isinstance(result, _Raised):
            raise result.error
        yield items[index], result


def _running(
    work: Work[Item, Result], items: Sequence[Item], workers: Workers
) -> Iterator[tuple[int, Result | _Raised | WorkerLost]]:
    """The number of each item and its result; whatever runs them is imported where it is used."""
    if not items:
        return
    if workers.ray is not None:
        from vpr_ros.batch.ray_tasks import by_ray

        yield from by_ray(guarded, work, items, workers)
    elif workers.here > 1:
        from vpr_ros.batch.processes import by_processes

        yield from by_processes(guarded, work, items, workers)
    else:
        for index, item in enumerate(items):
            yield index, work(item, workers.threads_each)


def guarded(work: Work[Item, Result], item: Item, threads: int) -> Result | _Raised:
    """Do a piece of work in a process that is there for nothing else.

    OpenCV would take all cores in each of them.
    """
    cv2.setNumThreads(threads)
    try:
        return work(item, threads)
    except VprError as error:
        error.notes = tuple(notes_of_error(error))
        return _Raised(error)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))
