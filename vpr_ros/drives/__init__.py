"""Recorded drives: bags and image folders, read into one form.

Needs no ROS, so that the trainer reads them too.
"""

from collections.abc import Sequence
from pathlib import Path

from vpr_ros.core.errors import DriveError
from vpr_ros.core.plurals import counted
from vpr_ros.drives.bag import BagDrive
from vpr_ros.drives.bag_files import bags_in, is_bag
from vpr_ros.drives.drive import DEFAULTS, Drive, DriveOptions, add_note, notes_of
from vpr_ros.drives.folder import POSES_NAME, UNDERSTOOD, FolderDrive, image_files
from vpr_ros.drives.in_view import in_view

__all__ = ['Drive', 'DriveOptions', 'drives_in', 'notes_of', 'open_drive']


def open_drive(path: Path | str | Sequence[Path], options: DriveOptions = DEFAULTS) -> Drive:
    """Open a bag, the parts of a split bag, or an image folder, by what is found there.

    Raises DriveError, which says what is supported, where it is none of these, and where its
    images do not show the view that is asked for.
    """
    drive = _open(path, options)
    return drive if options.view is None else in_view(drive, options.view)


def _open(path: Path | str | Sequence[Path], options: DriveOptions) -> Drive:
    if isinstance(path, str):
        path = Path(path)
    if not isinstance(path, Path):
        return BagDrive(path, options)
    if path.is_dir():
        if not (path / POSES_NAME).is_file() and is_bag(path):
            bag = BagDrive(path, options)
            if beside := len(image_files(path) or image_files(path / 'images')):
                files = counted(beside, 'image file')
                add_note(bag, f'{path}: the bag is read, not the {files} beside it')
            return bag
        folder = FolderDrive(path, options)
        if (path / POSES_NAME).is_file() and (bags := bags_in(path)):
            names = ', '.join(file.name for file in bags)
            add_note(folder, f'{path}: {POSES_NAME} and its images are read, not {names}')
        return folder
    if path.exists() or is_bag(path):
        return BagDrive(path, options)
    raise DriveError(
        f'{path}: no such file or folder; supported are ROS 1 (.bag), sqlite3 and mcap bags, '
        f'and folders: {UNDERSTOOD}'
    )


def drives_in(paths: Sequence[Path]) -> list[Path]:
    """The recordings among paths, and in place of a folder without images those that lie in it."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir() or _is_drive(path):
            found.append(path)
            continue
        inside = sorted(entry for entry in path.iterdir() if entry.is_dir() and _is_drive(entry))
        # Without drives in it, it may still be a folder of photos: opening it says what it lacks.
        found += inside or [path]
    return found


def _is_drive(folder: Path) -> bool:
    images = image_files(folder / 'images') or image_files(folder)
    return is_bag(folder) or (folder / POSES_NAME).is_file() or bool(images)
