"""A pipe that Rerun writes to in place of a file, so that a bad disk is an error and not a hang.

Rerun's own writer ends at the first error of the disk and prints it to stderr. Closing the
recording may then wait for ever (rerun-sdk 0.41), and so may the end of the process. So Rerun gets
a pipe. One thread reads all that comes through it. Another one writes that to the disk, and keeps
the first error for the caller.
"""

import os
from pathlib import Path
from queue import Full, Queue
from threading import Thread

_PIECE_BYTES = 1 << 16
_MOST_WAITING = 64  # pieces
_ASK_S = 0.1  # between questions whether to give up


class Outlet:
    """A pipe that ends in a file."""

    def __init__(self, path: Path) -> None:
        """Make the file; raises OSError, also where it exists."""
        self.bytes = 0
        self._error: OSError | None = None
        self._is_given_up = False
        self._file = path.open('xb', buffering=0)  # so that a kill loses only what waits here
        self._pieces: Queue[bytes] = Queue(_MOST_WAITING)
        self._read_end, self._write_end = os.pipe()
        self._disk = Thread(target=self._bring, name='rerun disk', daemon=True)
        for thread in (self._disk, Thread(target=self._take, name='rerun pipe', daemon=True)):
            thread.start()

    @property
    def path(self) -> str:
        """What a writer opens; once it has, `opened` has to follow."""
        return f'/proc/self/fd/{self._write_end}'

    def opened(self) -> None:
        """The writer has the pipe: its end is the end of the file."""
        os.close(self._write_end)

    def check(self) -> None:
        """Raise the OSError that the disk had."""
        if self._error is not None:
            raise self._error

    def give_up(self) -> None:
        """Let nothing wait for the disk any more."""
        self._is_given_up = True

    def join(self, timeout_s: float) -> None:
        """Wait until all is written that the writer gave before it closed the pipe.

        Raises OSError where the disk had an error, or takes longer.
        """
        if not self._is_given_up:
            self._disk.join(timeout_s)
            if self._disk.is_alive():
                raise TimeoutError(f'the disk took longer than {timeout_s:g} s')
        self.check()

    def _take(self) -> None:
        """Hand on what comes through the pipe, and nothing at its end."""
        with open(self._read_end, 'rb', buffering=0) as pipe:
            while piece := pipe.read(_PIECE_BYTES):
                self._hand_on(piece)
        self._hand_on(b'')

    def _hand_on(self, piece: bytes) -> None:
        while not self._is_given_up:
            try:
                self._pieces.put(piece, timeout=_ASK_S)
            except Full:
                continue
            return

    def _bring(self) -> None:
        """Write piece by piece until the end, and nothing more after an error."""
        while piece := self._pieces.get():
            if self._error is None:
                try:
                    self._write(piece)
                except OSError as error:
                    self._error = error
        try:
            self._file.close()
        except OSError as error:
            self._error = self._error or error

    def _write(self, piece: bytes) -> None:
        rest = memoryview(piece)
        while rest:
            written = self._file.write(rest)
            self.bytes += written
            rest = rest[written:]
