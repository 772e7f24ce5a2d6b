"""What every command does alike: bad input is one line and exit status 2, and Ctrl-C is no crash.

Exit status: 0 done, 1 a gate failed, 2 bad input, 130 stopped by Ctrl-C or SIGTERM, 141 the reader
of a pipe went.
"""

import argparse
import errno
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeAlias

from vpr_ros.cli.importing import INTERRUPTED, heed_interrupt
from vpr_ros.core.errors import (
    MORE_FILES,
    ConfigError,
    Terminated,
    VprError,
    blames_path,
    notes_of_error,
    told,
)
from vpr_ros.core.names import printable
from vpr_ros.core.settings import did_you_mean
from vpr_ros.drives.drive import Drive, notes_of

Main: TypeAlias = Callable[[Sequence[str] | None], int]

_BAD_INPUT, _READER_GONE = 2, 141
_OF_MACHINE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
)
_MAKE_ROOM = 'make room there, or choose another place (TMPDIR for temporary files)'
_LIKE_OPTION = re.compile(r'--?[A-Za-z][\w-]+$')
_REQUIRED = 'the following arguments are required: '
_OF_OPTION = re.compile(r'^argument (\S+?): ')
_LACKS_VALUE = re.compile(r'^argument (?:\S+/)?(--\S+): expected one argument$')
_OF_NUMBER = re.compile(r'^argument (\S+?): (?=\S+: expected )')


def command(main: Main) -> Callable[..., int]:
    """Let a command's `main` end with one line and a status where it would end with a traceback.

    VprError becomes 2, with what was learned before it in front, Ctrl-C and SIGTERM 130 (the
    message may say how to go on), and a closed pipe (`| head`) ends quietly. A machine without
    room or a place to write gives 2, too, and so does a path that this user may not use.
    Everything else is a bug and keeps its traceback. Names that others chose are printed without
    characters that a terminal obeys.
    """

    @wraps(main)
    def guarded(argv: Sequence[str] | None = None) -> int:
        try:
            heed_interrupt()
            with _terminable(), _open_stderr(), redirect_stdout(_Printed(sys.stdout)):
                status = main(argv)
                sys.stdout.flush()
        except VprError as error:
            say_notes(notes_of_error(error))
            _say(f'error: {error!s}')
            return _BAD_INPUT
        except KeyboardInterrupt as interrupt:
            _say(str(interrupt) or 'stopped')
            return INTERRUPTED
        except BrokenPipeError:
            _print_nowhere()
            return _READER_GONE
        except OSError as error:
            if blames_path(error):
                _say(f'error: {told(error)}')
                return _BAD_INPUT
            if error.errno not in _OF_MACHINE and not _lacks_temporary_folder(error):
                raise
            _print_nowhere()
            where = f'{error.filename}: ' if error.filename else ''
            step = MORE_FILES if error.errno == errno.EMFILE else _MAKE_ROOM
            _say(f'error: {where}{error.strerror or error}; {step}')
            return _BAD_INPUT
        return status

    return guarded


def say_notes(notes: Sequence[str]) -> None:
    """Print what the user should know, each note once and on a line of its own, to stderr."""
    for note in dict.fromkeys(notes):
        _say(f'note: {note}')


def say_drive(drive: Drive) -> None:
    """Print where a drive's poses come from, and what is wrong with it."""
    say_notes(notes_of(drive))


class Parser(argparse.ArgumentParser):
    """A parser to which wrong usage is bad input: ConfigError, hence one line and status 2."""

    _words: Sequence[str] = ()  # that are being parsed

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but a misspelt option is named before what is missing because of it."""
        self._words = words = sys.argv[1:] if args is None else list(args)
        try:
            return super().parse_known_args(words, namespace)
        except ConfigError as error:
            if _REQUIRED in str(error) and self._subparsers is None:
                for word in words:
                    self._require_known(word.partition('=')[0])
            raise

    def _require_known(self, word: str) -> None:
        """Raise ConfigError for a word that is written like an option, and is none."""
        known = self._option_string_actions
        if not _LIKE_OPTION.match(word) or any(one.startswith(word) for one in known):
            return
        meant = did_you_mean(f'--{word.lstrip("-")}', known, otherwise='')
        see = f'{meant} See' if meant else 'see'
        raise ConfigError(f'{word}: no such option; {see} {self.prog} --help')

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError, in the words that this project has for a bad option."""
        if message.startswith(_REQUIRED):
            message += self._required_groups()
        lacking = _LACKS_VALUE.match(message)
        if lacking:
            message += f'; write {lacking[1]}=VALUE for a value that begins with -'
        if _OF_OPTION.match(message):
            raise ConfigError(_OF_OPTION.sub(r'\1: ', _OF_NUMBER.sub(r'\1 ', message)))
        raise ConfigError(f'{message}; see {self.prog} --help')

    def _required_groups(self) -> str:
        """The options of which one is required and none given, which argparse tells later."""
        given = {word.partition('=')[0] for word in self._words}
        return ''.join(
            f', one of {" ".join(names)}'
            for group in self._mutually_exclusive_groups
            if group.required
            and not given.intersection(
                names := [name for one in group._group_actions for name in one.option_strings]
            )
        )


class _Printed:
    """What is printed, as a terminal may show it; nothing where the output is closed."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')  # where it is no UTF-8

    def write(self, text: str) -> int:
        if self._stream is not None:
            with _naming_output():
                self._stream.write(printable(text, kept='\n\t'))
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            with _naming_output():
                self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _naming_output() -> Iterator[None]:
    """Name the output in an error of it, which carries no file's name."""
    try:
        yield
    except OSError as error:
        error.filename = 'standard output'
        raise


@contextmanager
def _terminable() -> Iterator[None]:
    """Inside, SIGTERM stops the command as Ctrl-C does, so that it removes what it has begun.

    A service manager, `docker stop` and `timeout` send it. By default it ends the process at once:
    temporary folders stay, and with rclpy, which has a handler of its own, half a drive counts.
    """
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop(number: int, frame: Any) -> NoReturn:
        raise Terminated

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _open_stderr() -> Iterator[None]:
    """Inside, there is an sys.stderr: other packages show progress there without asking."""
    if sys.stderr is not None:
        yield
        return
    with Path(os.devnull).open('w') as nowhere, redirect_stderr(nowhere):
        yield


def _print_nowhere() -> None:
    """Throw away what could not be printed: Python tries again at exit, and would complain."""
    with suppress(AttributeError, OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _lacks_temporary_folder(error: OSError) -> bool:
    """Whether Python found no folder that it may write temporary files to."""
    return isinstance(error, FileNotFoundError) and 'temporary directory' in str(error)


def _say(text: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError):  # nobody is there to read it
            print(printable(' '.join(text.split())), file=sys.stderr, flush=True)
