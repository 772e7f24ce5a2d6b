"""A ROS domain that nobody here uses, for processes that shall hear only each other."""

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vpr_ros.core.errors import VprError

MOST = 101
"""The highest domain whose ports lie below those that Linux hands out by itself."""

# Ports by the DDSI-RTPS specification, 9.6.1.1.
_BASE, _PER_DOMAIN, _MULTICAST, _UNICAST = 7400, 250, 0, 10


@contextmanager
def free_domain() -> Iterator[int]:
    """A domain from 1 to 101 in which no participant of this machine is.

    It is never that of the environment, which other robots use. A lock keeps it from others that
    ask here while it is in use. Raises VprError where every domain is in use.
    """
    ours = None
    with suppress(ValueError):
        ours = int(os.environ.get('ROS_DOMAIN_ID', ''))
    domains = [domain for domain in range(1, MOST + 1) if domain != ours]
    random.SystemRandom().shuffle(domains)
    for domain in domains:
        name = f'vpr_ros-domain-{os.getuid()}-{domain}'
        with (Path(tempfile.gettempdir()) / name).open('a') as lock:  # a link may lead elsewhere
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            if is_free(domain):
                yield domain
                return
    raise VprError(f'every ROS domain from 1 to {MOST} is in use on this machine')


def is_free(domain: int) -> bool:
    """Whether the ports by which a domain's participants find each other are free here."""
    first = _BASE + _PER_DOMAIN * domain
    return all(_can_be_bound(first + offset) for offset in (_MULTICAST, _UNICAST))


def _can_be_bound(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attempt:
        try:
            attempt.bind(('', port))
        except OSError:
            return False
    return True
