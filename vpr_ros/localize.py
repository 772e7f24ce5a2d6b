"""The node: camera images in, place matches and poses out.

A lifecycle node that also starts by itself (`autostart`). Its parts are imported inside `main`,
because numpy, faiss and rclpy take a second, in which Ctrl-C would end in a traceback.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import current_thread, main_thread

from vpr_ros.cli.importing import heed_interrupt

_HELP = """usage: localize --ros-args -p map:=FOLDER [-p NAME:=VALUE ...]

The node: camera images in, place matches and poses out. config/localize.yaml lists its parameters;
`ros2 launch vpr_ros localize.launch.py map:=FOLDER` starts it with them.
"""


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; 2 if it cannot be started."""
    if {'-h', '--help'} & set(sys.argv[1:] if args is None else args):
        with suppress(OSError):  # nobody is there to read it
            os.write(1, _HELP.encode())
        return 0
    heed_interrupt()
    with _interruptible():
        from vpr_ros.node.running import run
    return run(args)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT ends the process at once: nothing is open yet, and an import cannot be undone."""
    if current_thread() is not main_thread():  # only the main thread may set handlers
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


if __name__ == '__main__':
    sys.exit(main())
