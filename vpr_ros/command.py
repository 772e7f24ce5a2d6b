"""What every command does with bad input and with Ctrl-C, in one place.

Exit status: 0 done, 1 a gate failed, 2 bad input (one line on standard error), 130 interrupted.
"""

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TypeAlias

from vpr_ros.core.errors import VprError

Main: TypeAlias = Callable[[Sequence[str] | None], int]


def command(main: Main) -> Main:
    """Turn a command's errors into one line and an exit status."""

    @wraps(main)
    def guarded(argv: Sequence[str] | None = None) -> int:
        name = main.__module__.rpartition('.')[2].strip('_') or 'command'
        try:
            return main(argv)
        except VprError as error:
            print(f'{name}: {error}', file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(f'{name}: interrupted', file=sys.stderr)
            return 130

    return guarded
