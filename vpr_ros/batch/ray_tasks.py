"""Work on Ray: on this machine, or on the machines of a cluster that runs already.

Ray on this machine is ours alone: it listens on the loopback interface only and asks for a secret
that ends with it, because whoever reaches a Ray may run anything. It has no dashboard, reports
nothing to anybody and leaves nothing behind. It is asked for no large objects: parts of the work
are files, and what travels is their names.
"""

import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice
from typing import Any

from vpr_ros.batch.workers import ATTEMPTS, WorkerLost, Workers
from vpr_ros.core.errors import BackendError

_OBJECTS_BYTES = 80 << 20  # a little more than Ray's least
_QUIET = {'RAY_USAGE_STATS_ENABLED': '0'}
_ANSWERS_S = 10.0
_HOST_AND_PORT = re.compile(r'\[?(?P<host>[^/\[\]]+)\]?:(?P<port>\d{1,5})')
_AHEAD = 2  # pieces of work that a cluster knows of, for each of its processors


def by_ray(
    guarded: Callable[..., Any], work: Any, items: Sequence[Any], workers: Workers
) -> Iterator[tuple[int, Any]]:
    """The number of each item and what `guarded` makes of it; see workers.carried_out."""
    with _connected(workers) as ray:
        task = ray.remote(num_cpus=workers.threads_each, max_retries=ATTEMPTS - 1)(guarded)
        most = workers.count or _AHEAD * max(int(ray.cluster_resources().get('CPU', 1)), 1)
        lost = (
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.OutOfMemoryError,
            ray.exceptions.NodeDiedError,
            ray.exceptions.LocalRayletDiedError,
        )
        left = iter(range(len(items)))
        busy: dict[Any, int] = {}
        while True:
            for index in islice(left, most - len(busy)):
                busy[task.remote(work, items[index], workers.threads_each)] = index
            if not busy:
                return
            (done, *_), _rest = ray.wait(list(busy), num_returns=1)
            index = busy.pop(done)
            try:
                result = ray.get(done)
            except lost:
                result = WorkerLost()
            yield index, result


@contextmanager
def _connected(workers: Workers) -> Iterator[Any]:
    """Ray, running; raises BackendError."""
    os.environ.update(_QUIET | ({} if workers.on_cluster else _own_environment()))
    try:
        import ray
    except ImportError as error:
        raise BackendError(
            f'--ray: Ray is not installed ({error}); install it with '
            "pip install 'vpr_ros[batch]', or use --workers, which works without Ray"
        ) from error
    folder = None if workers.on_cluster else tempfile.mkdtemp(prefix='ray-')
    try:
        try:
            _start(ray, workers, folder)
        except Exception as error:  # Ray raises what Python raises, and its own
            where, start = 'on this machine', ''
            if workers.on_cluster:
                where, start = f'at {workers.ray}', 'start the cluster (`ray start`), or '
            said = ' '.join(str(error).split())[:300]
            raise BackendError(
                f'--ray: Ray cannot be used {where} ({said}); {start}leave out --ray to work '
                'without it'
            ) from error
        yield ray
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _start(ray: Any, workers: Workers, folder: str | None) -> None:
    alike = {'log_to_driver': False, 'logging_level': 'ERROR', 'configure_logging': False}
    if workers.on_cluster:
        _require_answer(workers.ray or '')
        ray.init(address=workers.ray, **alike)
        return
    ray.init(
        address='local',
        num_cpus=workers.here * workers.threads_each,
        num_gpus=0,
        object_store_memory=_OBJECTS_BYTES,
        include_dashboard=False,
        _temp_dir=folder,
        **alike,
    )


def _require_answer(address: str) -> None:
    """Raise OSError where nobody answers: Ray would ask again and again for many minutes."""
    if given := _HOST_AND_PORT.fullmatch(address):
        host, port = given['host'], int(given['port'])
        with socket.create_connection((host, port), timeout=_ANSWERS_S):
            pass


@cache
def _own_environment() -> dict[str, str]:
    """What Ray's processes read when they start: the loopback interface, and a secret.

    It is the same each time, because a process reads its secret only when it first starts Ray.
    """
    return {
        'RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER': '0',
        'RAY_AUTH_MODE': 'token',
        'RAY_AUTH_TOKEN': secrets.token_hex(32),
    }
