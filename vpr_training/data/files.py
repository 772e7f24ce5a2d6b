"""Which files of a folder are images, in which order: every data set asks the same question."""

from pathlib import Path

from vpr_training.basics.errors import DatasetError

SUFFIXES = frozenset({'.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.pgm', '.ppm'})


def list_images(folder: Path) -> tuple[Path, ...]:
    """Images in a folder and its sub-folders, sorted by path; DatasetError where there are none.

    Hidden files are left out: copies from some systems carry `._name.jpg` beside each image.
    """
    if not folder.is_dir():
        raise DatasetError(f'{folder}: no such folder')
    images = [
        path
        for path in folder.rglob('*')
        if path.suffix.lower() in SUFFIXES and not path.name.startswith('.')
    ]
    if not images:
        raise DatasetError(f'{folder}: holds no images ({", ".join(sorted(SUFFIXES))})')
    return tuple(sorted(images))
