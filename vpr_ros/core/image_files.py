"""Which files a folder holds and which are images, for the robot and the trainer alike.

A camera or phone may write images that nothing here decodes. They are counted and named, so that
nobody wonders where they are.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from vpr_ros.core.plurals import by_count, counted

IMAGE_SUFFIXES = frozenset(
    {'.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm'}
)
_FOREIGN = frozenset(
    {'.heic', '.heif', '.hif', '.avif', '.jxl', '.jp2', '.j2k', '.gif', '.psd', '.exr', '.hdr'}
    | {'.dng', '.cr2', '.cr3', '.crw', '.nef', '.nrw', '.arw', '.srf', '.sr2', '.raf', '.orf'}
    | {'.rw2', '.pef', '.srw', '.x3f', '.3fr', '.erf', '.kdc', '.mrw', '.raw', '.rwl', '.iiq'}
    | {'.insp', '.gpr'}
)
"""Suffixes of images of phones and of the raw files of cameras that are not understood."""


def files_below(folder: Path) -> Iterator[Path]:
    """The files in a folder and its sub-folders, also behind links, in no particular order.

    Hidden sub-folders are left out. A folder that several links lead to is read once.
    """
    seen = set()
    for where, inner, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not name.startswith('.'))
        yield from (file for name in names if (file := Path(where, name)).is_file())


def is_image_file(file: Path) -> bool:
    """Whether a file's name is that of an image that is understood; hidden ones are left out.

    Copies from some systems carry `._name.jpg` beside each image.
    """
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith('.')


def not_understood(files: Iterable[Path]) -> list[str]:
    """A sentence for each kind of image among files that is not understood."""
    found = Counter(
        file.suffix
        for file in files
        if file.suffix.lower() in _FOREIGN and not file.name.startswith('.')
    )
    return [
        f'{counted(count, "file")} {suffix} {by_count(count, "is", "are")} not supported; '
        f'convert {by_count(count, "it", "them")} to JPEG'
        for suffix, count in sorted(found.items())
    ]
