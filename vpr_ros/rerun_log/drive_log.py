"""A log of a drive, written by a thread of its own that never holds up the drive.

The node hands over its answers and goes on. The thread makes the pictures small and writes the
file. Where the thread does not keep up, images are left out of the log. Where it cannot write, it
says so once and ends. The drive goes on.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.atomic import unwritable, unwritable_as
from vpr_ros.core.errors import LogError
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.plurals import counted
from vpr_ros.rerun_log.moment import Moment, Moments
from vpr_ros.session.answers import Answer

SUFFIX = '.rrd'
FREE_BYTES = 256 << 20
"""What stays free on the disk; a log ends before."""

_MOST_WAITING = 8  # images
_CHECK_S = 2.0  # between looks at the file and the disk
_PATIENCE_S = 20.0  # a log ends if the disk takes longer
_END_S = 5.0  # for the last images, when the drive is over


class DriveLog:
    """A log that is being written."""

    def __init__(
        self,
        path: Path,
        place_map: PlaceMap,
        *,
        tell: Callable[[str], None],
        cameras: int = 1,
        most_bytes: int | None = None,
        waits: bool = False,
        true_path_m: NDArray[np.float64] | None = None,
    ) -> None:
        """Open the file; raises LogError where it cannot be written.

        tell: is called once, in another thread, where the log ends early; most_bytes: of this
        file and the one before together; waits: leave no image out, and let the drive wait;
        true_path_m: [T, 3].
        """
        self.path = checked(path)
        self.images = 0
        self.left_out = 0
        self.problem = ''  # why it ended early
        self._tell = tell
        self._most_bytes = most_bytes
        self._waits = waits
        self._moments = Moments(place_map)
        self._given = {
            'cameras': cameras,
            'places_m': place_map.poses[:, :3],
            'true_path_m': true_path_m,
        }
        self._recording = self._open()
        self._queue: Queue[Moment | None] = Queue(_MOST_WAITING)
        self._thread = Thread(target=self._run, name='rerun', daemon=True)
        self._thread.start()

    def take(self, answers: Sequence[Answer]) -> None:
        """Log what follows from one event; returns at once, unless the log is one that waits."""
        moment = self._moments.take(answers)
        if moment is None or self.problem:
            return
        try:
            self._queue.put(moment, block=self._waits, timeout=_PATIENCE_S)
        except Full:
            self.left_out += 1

    def close(self) -> None:
        """Write what waits and finish the file."""
        try:
            self._queue.put(None, timeout=_END_S)
        except Full:
            return  # the disk hangs; the thread ends with the process
        self._thread.join(_PATIENCE_S if self._waits else _END_S)

    @property
    def said(self) -> str:
        """The state of the log in one line."""
        if self.problem:
            return f'ended: {self.problem}'
        left_out = f', {self.left_out} left out' if self.left_out else ''
        return f'{self.path}, {counted(self.images, "image")}{left_out}'

    # The thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._write()
        except Exception as error:  # whatever Rerun raises: the drive goes on
            self._ended_by(error)
        finally:
            self._end()

    def _ended_by(self, error: Exception) -> None:
        """Tell once why the log ended early."""
        if not self.problem:
            is_told = isinstance(error, LogError)
            self.problem = str(error) if is_told else unwritable(self.path, error)
            self._tell(self.problem)

    def _write(self) -> None:
        """Log moment after moment, until there is no other."""
        self._require_room()
        checked_s = time.monotonic()
        while (moment := self._queue.get()) is not None:
            if time.monotonic() - checked_s >= _CHECK_S:
                self._check()
                checked_s = time.monotonic()
            self._recording.log(moment)
            self.images += 1
        self._recording.flush(timeout_s=_PATIENCE_S)

    def _check(self) -> None:
        """Raise LogError where no more can be written; begin another file where one is full."""
        self._recording.flush(timeout_s=_PATIENCE_S)
        self._require_room()
        if self._most_bytes and self._recording.bytes >= self._most_bytes // 2:
            self._recording.close(timeout_s=_PATIENCE_S)
            self._recording = self._open()

    def _require_room(self) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if free < FREE_BYTES:
            raise LogError(
                f'{self.path}: {free >> 20} MB are free on the disk, and {FREE_BYTES >> 20} MB '
                'must stay free; make room, or log to another disk'
            )

    def _open(self) -> Any:
        """A new file; one that was there stays beside it."""
        recording = recording_class()
        try:
            if self.path.exists():
                self.path.replace(before(self.path))
            return recording(self.path, **self._given)
        except (OSError, RuntimeError, ValueError) as error:
            raise LogError(unwritable(self.path, error)) from error

    def _end(self) -> None:
        """Let nothing wait, and finish the file as far as that can be."""
        while True:
            try:
                self._queue.get_nowait()
            except Empty:
                break
        if self.problem:
            self._recording.give_up()
        try:
            self._recording.close(timeout_s=_PATIENCE_S)
        except Exception as error:
            self._ended_by(error)


def before(path: Path) -> Path:
    """Where an earlier file at a log's path is moved."""
    return path.with_name(f'{path.stem}.before{SUFFIX}')


def checked(path: Path) -> Path:
    """The path of a log; raises LogError where no log can be."""
    if path.suffix != SUFFIX:
        raise LogError(f'{path}: expected a file that ends with {SUFFIX}, as drive{SUFFIX}')
    with unwritable_as(LogError, path):
        if not path.parent.is_dir():
            raise LogError(f'{path}: the folder {path.parent} does not exist; create it first')
        if path.exists() and not path.is_file():
            raise LogError(f'{path}: it exists and is not a file; choose another name')
    return path


def recording_class() -> Any:
    """The module that writes files; raises LogError if rerun-sdk is not installed."""
    try:
        from vpr_ros.rerun_log.recording import Recording
    except ImportError as error:
        raise LogError(
            f'a Rerun log needs the package rerun-sdk ({error}); install it with '
            '`pip install rerun-sdk`'
        ) from error
    return Recording
