"""What every command does alike: bad input is one line and exit status 2, and Ctrl-C is no crash.

Exit status: 0 done, 1 a gate failed, 2 bad input, 130 interrupted, 141 the reader of a pipe went.
"""

import argparse
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import NoReturn, TypeAlias

from vpr_ros.core.errors import ConfigError, VprError, notes_of_error
from vpr_ros.drives.drive import Drive, notes_of

Main: TypeAlias = Callable[[Sequence[str] | None], int]

_BAD_INPUT, _INTERRUPTED, _READER_GONE = 2, 130, 141
_OF_OPTION = re.compile(r'^argument (\S+?): ')
_OF_NUMBER = re.compile(r'^argument (\S+?): (?=\S+: expected )')


def command(main: Main) -> Callable[..., int]:
    """Let a command's `main` end with one line and a status where it would end with a traceback.

    VprError becomes 2, with what was learned before it in front, Ctrl-C 130 (its message may say
    how to go on), and a closed pipe (`| head`) ends quietly. Everything else is a bug and keeps
    its traceback.
    """

    @wraps(main)
    def guarded(argv: Sequence[str] | None = None) -> int:
        _print_any_name()
        try:
            status = main(argv)
            sys.stdout.flush()
        except VprError as error:
            say_notes(notes_of_error(error))
            _say(f'error: {error!s}')
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


def say_notes(notes: Sequence[str]) -> None:
    """Print what the user should know, each note once and on a line of its own, to stderr."""
    for note in dict.fromkeys(notes):
        _say(f'note: {note}')


def say_drive(drive: Drive) -> None:
    """Print where a drive's poses come from, and what is wrong with it."""
    say_notes(notes_of(drive))


def parts_said(parts: int) -> str:
    """How many parts, as `1 part` or `2 parts`."""
    return f'{parts} part{"s" * (parts != 1)}'


class Parser(argparse.ArgumentParser):
    """A parser to which wrong usage is bad input: ConfigError, hence one line and status 2."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError, in the words that this project has for a bad option."""
        if _OF_OPTION.match(message):
            raise ConfigError(_OF_OPTION.sub(r'\1: ', _OF_NUMBER.sub(r'\1 ', message)))
        raise ConfigError(f'{message}; see {self.prog} --help')


def _print_any_name() -> None:
    """Let names that are not text be printed with escapes, as on stderr."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')


def _say(text: str) -> None:
    print(' '.join(text.split()), file=sys.stderr)
