"""What every command does alike: bad input is one line and exit status 2, and Ctrl-C is no crash.

Exit status: 0 done, 1 a gate failed, 2 bad input, 130 interrupted, 141 the reader of a pipe went.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TypeAlias

from vpr_ros.core.describing.precision import WANTED
from vpr_ros.core.errors import VprError

Main: TypeAlias = Callable[[Sequence[str] | None], int]

_BAD_INPUT, _INTERRUPTED, _READER_GONE = 2, 130, 141


def command(main: Main) -> Callable[..., int]:
    """Let a command's `main` end with one line and a status where it would end with a traceback.

    VprError becomes 2, Ctrl-C 130 (its message may say how to go on), and a closed pipe
    (`| head`) ends quietly. Everything else is a bug and keeps its traceback.
    """

    @wraps(main)
    def guarded(argv: Sequence[str] | None = None) -> int:
        try:
            status = main(argv)
            sys.stdout.flush()
        except VprError as error:
            _say(f'error: {error}')
            return _BAD_INPUT
        except KeyboardInterrupt as interrupt:
            _say(str(interrupt) or 'stopped by Ctrl-C')
            return _INTERRUPTED
        except BrokenPipeError:
            # Python flushes again at exit, which would complain once more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _READER_GONE
        return status

    return guarded


def add_precision_argument(parser: argparse.ArgumentParser) -> None:
    """Add --precision, which has the meaning of the node's parameter of that name."""
    parser.add_argument(
        '--precision',
        choices=WANTED,
        default='auto',
        help="the model's graph that runs; auto: the fastest that its card accepts",
    )


def _say(text: str) -> None:
    print(' '.join(text.split()), file=sys.stderr)
