"""What Rerun writes to in place of a file, so that a full disk is an error and no hang.

Rerun's own writer ends at the first error of the disk, tells it to stderr, and whoever then closes
the recording may wait for ever (rerun-sdk 0.41). So Rerun gets a pipe. A thread takes from it
whatever comes, brings it to the disk, and keeps the first error for whoever asks.
"""

import os
from pathlib import Path
from threading import Thread

_PIECE_BYTES = 1 << 16


class Outlet:
    """A pipe that ends in a file."""

    def __init__(self, path: Path) -> None:
        """Make the file; raises OSError, also where it exists."""
        self.bytes = 0
        self._error: OSError | None = None
        self._file = path.open('xb', buffering=0)  # unbuffered: a kill loses what is in the pipe
        self._read_end, self._write_end = os.pipe()
        self._thread = Thread(target=self._run, name='rerun file', daemon=True)
        self._thread.start()

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

    def join(self, timeout_s: float) -> None:
        """Wait until all is written that the writer gave before it closed the pipe."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        with open(self._read_end, 'rb', buffering=0) as pipe:
            while piece := pipe.read(_PIECE_BYTES):
                self._keep(piece)
        try:
            self._file.close()
        except OSError as error:
            self._error = self._error or error

    def _keep(self, piece: bytes) -> None:
        """Write a piece, unless there was an error."""
        rest = memoryview(piece if self._error is None else b'')
        while rest:
            try:
                written = self._file.write(rest)
            except OSError as error:
                self._error = error
                return
            self.bytes += written
            rest = rest[written:]
