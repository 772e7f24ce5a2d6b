"""Let Ctrl-C end a command with one word while it still imports its modules, for a second.

Otherwise Python would raise KeyboardInterrupt between two imports, which is a traceback through
other packages, or ImportError while it loads an extension module. Nothing is open yet, so the
process ends at once. In a program that imports vpr_ros as a library, Ctrl-C works as before.

This module is imported before all others, so it imports nothing that takes time.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

INTERRUPTED = 130
_COMMANDS = Path(__file__).parents[1]  # a module each


def end_at_interrupt() -> None:
    """Let Ctrl-C end the process if it is one of the commands, until `heed_interrupt`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler and _is_command():
        signal.signal(signal.SIGINT, _end)


def heed_interrupt() -> None:
    """From here on Ctrl-C raises KeyboardInterrupt: the command has its modules."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_command() -> bool:
    """Whether this process was started as a command: by its name, or by `python -m`.

    Python has '-m' for the program until it has found the module.
    """
    program = sys.argv[0] if sys.argv else ''
    is_ours = program == '-m' or (_COMMANDS / f'{Path(program).name}.py').exists()
    return is_ours and program in sys.orig_argv  # a worker has the program of its parent


def _end(number: int, frame: Any) -> NoReturn:
    try:
        os.write(2, b'stopped\n')
    finally:
        os._exit(INTERRUPTED)
