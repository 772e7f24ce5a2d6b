"""Work in processes of this machine.

Each worker is a pool of one process, so that the process that was killed tells which piece of work
it was at. They are spawned, not forked: a fork of a process with threads (onnxruntime, OpenCV) may
hang.
"""

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait as wait_for
from typing import Any

from tqdm import tqdm

from vpr_ros.batch.workers import ATTEMPTS, WorkerLost, Workers

_LIBRARIES = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')


class _Worker:
    """One process, which is started at once."""

    def __init__(self) -> None:
        context = multiprocessing.get_context('spawn')
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin)
        with _interrupts_held():
            self._process = self._pool.submit(os.getpid)

    def submit(self, call: Callable[..., Any], *arguments: Any) -> 'Future[Any]':
        """Have something done after what it does now."""
        return self._pool.submit(call, *arguments)

    def end(self) -> None:
        """End the process, whatever it does."""
        with suppress(BrokenProcessPool, ProcessLookupError):
            os.kill(self._process.result(), signal.SIGTERM)
        self._pool.shutdown(wait=True, cancel_futures=True)


def by_processes(
    guarded: Callable[..., Any], work: Any, items: Sequence[Any], workers: Workers
) -> Iterator[tuple[int, Any]]:
    """The number of each item and what `guarded` makes of it; see workers.carried_out."""
    waiting, begun = deque(range(len(items))), Counter[int]()
    with _threads_in_children(workers.threads_each):
        idle = [_Worker() for _ in range(min(workers.here, len(items)))]
        busy: dict[Future[Any], tuple[int, _Worker]] = {}
        try:
            while waiting or busy:
                while waiting and idle:
                    index, worker = waiting[0], idle.pop()
                    arguments = work, items[index], workers.threads_each
                    try:
                        busy[worker.submit(guarded, *arguments)] = index, worker
                    except BrokenProcessPool:  # killed while it had nothing to do
                        idle.append(_Worker())
                        worker.end()
                        continue
                    waiting.popleft()
                    begun[index] += 1
                for future in wait(busy, return_when=FIRST_COMPLETED).done:
                    index, worker = busy.pop(future)
                    idle.append(worker)
                    try:
                        result = future.result()
                    except BrokenProcessPool:
                        idle[-1] = _Worker()
                        worker.end()
                        if begun[index] < ATTEMPTS:
                            waiting.appendleft(index)
                            continue
                        result = WorkerLost()
                    yield index, result
        finally:
            for worker in [*idle, *(worker for _, worker in busy.values())]:
                worker.end()


def _begin() -> None:
    """Leave Ctrl-C to the parent, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tqdm.set_lock(threading.RLock())  # its default is a semaphore, which a killed process leaks
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name='watch', daemon=True).start()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait until the end of the block, and forever in a process begun in it.

    A worker imports modules before `_begin`, and Ctrl-C would be a traceback of them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _threads_in_children(threads: int) -> Iterator[None]:
    """Let libraries that read the environment when they are loaded have so many threads."""
    before = {name: os.environ.get(name) for name in _LIBRARIES}
    os.environ.update(dict.fromkeys(_LIBRARIES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
