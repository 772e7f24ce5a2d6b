"""Recorded drives: bags and image folders, read into one form. Needs no ROS, so that the trainer reads them too."""

from collections.abc import Sequence
from pathlib import Path

from vpr_ros.core.errors import DriveError
from vpr_ros.drives.bag import BagDrive
from vpr_ros.drives.drive import Drive, DriveOptions
from vpr_ros.drives.folder import POSES_NAME, UNDERSTOOD, FolderDrive
from vpr_ros.drives.reader import is_bag

__all__ = ['Drive', 'DriveOptions', 'open_drive']


def open_drive(path: Path | Sequence[Path], options: DriveOptions = DriveOptions()) -> Drive:
    """Open a bag of any kind, the parts of a split bag, or an image folder, by what is found there.

    Raises DriveError saying what is understood where it is none of these.
    """
    if not isinstance(path, Path):
        return BagDrive(path, options)
    if path.is_dir():
        if not (path / POSES_NAME).is_file() and is_bag(path):
            return BagDrive(path, options)
        return FolderDrive(path, options)
    if path.exists() or is_bag(path):
        return BagDrive(path, options)
    raise DriveError(
        f'{path}: no such file or folder; understood are ROS 1 (.bag), sqlite3 and mcap bags, and folders: {UNDERSTOOD}'
    )
