"""Which files of a folder are images, in which order: every data set asks the same question."""

from pathlib import Path

from vpr_ros.core.image_files import (
    IMAGE_SUFFIXES,
    files_below,
    is_image_file,
    not_understood,
)
from vpr_training.basics.errors import DatasetError


def list_images(folder: Path) -> tuple[Path, ...]:
    """Images in a folder and its sub-folders, sorted by path; DatasetError where there are none.

    Hidden files and folders are left out; links to folders are followed.
    """
    if not folder.is_dir():
        raise DatasetError(f'{folder}: no such folder')
    images = [path for path in files_below(folder) if is_image_file(path)]
    if not images:
        said = '; '.join([', '.join(sorted(IMAGE_SUFFIXES)), *others_in(folder)])
        raise DatasetError(f'{folder}: holds no images ({said})')
    return tuple(sorted(images))


def others_in(*folders: Path) -> list[str]:
    """A sentence for each kind of image in folders that is not understood, HEIC for example."""
    return not_understood(path for folder in folders for path in files_below(folder))
