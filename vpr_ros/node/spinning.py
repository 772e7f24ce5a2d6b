"""Spin until a signal ends it, whenever the signal comes.

rclpy shuts its context down in the signal handler. Between two of its own calls it then finds a
dead context and raises an error of its binding instead of ending, so an error after the shutdown
is the shutdown.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException


@contextmanager
def until_shutdown(context: Any = None) -> Iterator[None]:
    """Swallow what rclpy raises because it is shut down, and nothing else; context: its own."""
    try:
        yield
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if rclpy.ok(context=context):
            raise
