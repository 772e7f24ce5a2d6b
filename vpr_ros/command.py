"""What every command does alike: bad input is one line and exit status 2, and Ctrl-C is not a crash."""

import os
import sys
from collections.abc import Callable, Sequence

from vpr_ros.core.errors import VprError

BAD_INPUT = 2
_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_READER_GONE = 141  # 128 + SIGPIPE


def run(main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Run a command's main function and return its exit status.

    0 and 1 come from `main`; VprError becomes one line on stderr and 2, Ctrl-C one line and 130, and a closed pipe
    (`| head`) ends quietly. Everything else is a bug and keeps its traceback.
    """
    try:
        status = main(argv)
        sys.stdout.flush()
    except VprError as error:
        _say(f'error: {error}')
        return BAD_INPUT
    except KeyboardInterrupt:
        _say('stopped by Ctrl-C')
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # else the exit flushes again and complains
        return _READER_GONE
    return status


def _say(text: str) -> None:
    print(' '.join(text.split()), file=sys.stderr)
