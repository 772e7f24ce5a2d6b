"""Logs of drives that are evaluated, for Rerun's viewer (see vpr_ros/rerun_log)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vpr_ros.core.errors import LogError
from vpr_ros.core.localizing.localizer import Localization, Localizer
from vpr_ros.core.settings import Value
from vpr_ros.core.types import Frame
from vpr_ros.drives.drive import Drive
from vpr_ros.evaluating.answers import OnLocated
from vpr_ros.rerun_log.drive_log import DriveLog, checked, recording_class
from vpr_ros.session.answers import Answer, Localized, StateChanged
from vpr_ros.session.tracker import Tracker


def require_log(path: Path) -> Path:
    """The path of a log that can be written; raises LogError before any work is done."""
    recording_class()
    return checked(path)


def node_logs_to(path: Path) -> dict[str, Value]:
    """The node's parameters for a log of a whole drive."""
    return {'rerun': str(path.absolute()), 'rerun_max_size': 1e6}


def require_written(path: Path) -> None:
    """Raise LogError where the node has written no log; it tells why only in its own words."""
    if not path.is_file():
        raise LogError(
            f'{path}: the node wrote no log; start it by hand with -p rerun:={path} to see why'
        )


@contextmanager
def logged(path: Path | None, localizer: Localizer, drive: Drive) -> Iterator[OnLocated | None]:
    """Log the images of a drive and their answers; without a path, nothing.

    Raises LogError where that cannot be; no image is left out.
    """
    if path is None:
        yield None
        return
    true_m = None if drive.trajectory is None else drive.trajectory.poses[:, :3]
    log = DriveLog(path, localizer.place_map, tell=lambda _: None, waits=True, true_path_m=true_m)
    tracker = Tracker()

    def take(frame: Frame, located: Localization) -> None:
        before = tracker.state
        state = tracker.follow(located, localizer)
        answers: list[Answer] = [Localized(frame, located, 0.0)]
        log.take(answers + ([StateChanged(before, state)] if state is not before else []))

    try:
        yield take
    finally:
        log.close()
    if log.problem:
        raise LogError(log.problem)
