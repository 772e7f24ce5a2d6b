"""The files that make up a bag: which of them are read, and which only lie beside them.

A folder is a ROS 2 bag where its metadata.yaml can be read. Without it, the files of one kind in
the folder are the parts of one recording.
"""

import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from vpr_ros.core.documents import parse_yaml
from vpr_ros.core.errors import DriveError
from vpr_ros.core.lfs import LFS_ADVICE, is_lfs_pointer
from vpr_ros.drives.bounds import MOST_METADATA
from vpr_ros.drives.drive import note

_SUFFIXES = ('.bag', '.mcap', '.db3')
_PACKED = ('.gz', '.xz', '.bz2', '.zip', '.tar', '.tgz', '.7z', '.zst')


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag: one of its files, or a folder that holds some."""
    if path.is_dir():
        return (path / 'metadata.yaml').is_file() or bool(storage_files(path) or _packed(path))
    return path.suffix in _SUFFIXES


def in_order(paths: Sequence[Path]) -> list[Path]:
    """Sorted as people count: part_2 before part_10."""
    return sorted(
        paths, key=lambda path: [_number(word) for word in re.split(r'(\d+)', path.name)]
    )


def _number(word: str) -> tuple[int, str]:
    return (int(word), '') if word.isdecimal() else (-1, word)


def bags_in(folder: Path) -> list[Path]:
    """The bag files of every kind that lie in a folder, in order."""
    return in_order([file for file in folder.iterdir() if file.suffix in _SUFFIXES])


def storage_files(folder: Path) -> list[Path]:
    """The files of the first kind that a folder holds, in order."""
    for suffix in _SUFFIXES:
        if files := in_order(list(folder.glob(f'*{suffix}'))):
            return files
    return []


def _packed(folder: Path) -> list[Path]:
    """The parts of a bag in a folder that were compressed as whole files, in order."""
    return in_order([file for kind in ('mcap', 'db3') for file in folder.glob(f'*.{kind}.zstd')])


def parts_of(path: Path | Sequence[Path], warnings: list[str]) -> list[Path]:
    """The files (or the one folder) that make up a recording; notes go to `warnings`.

    Raises DriveError with a next step for what is no bag, or cannot be read as it lies there.
    """
    if not isinstance(path, Path):
        if not path:
            raise DriveError('no bag files given')
        return [part for entry in path for part in parts_of(entry, warnings)]
    if path.is_dir():
        lack = lack_of_metadata(path)
        if lack:
            return _parts_without_metadata(path, lack, warnings)
        _check_listed(path, warnings)
        return [path]
    if not path.exists():
        raise DriveError(f'{path}: no such bag')
    if path.name.endswith('.bag.active'):
        raise DriveError(
            f'{path}: its recorder was killed; run `rosbag reindex` and rename the file to end '
            'in .bag'
        )
    if path.suffix == '.zstd':
        raise DriveError(
            f'{path}: this is a compressed part of a bag; give the folder that holds it and '
            'metadata.yaml'
        )
    if path.name == 'metadata.yaml':
        raise DriveError(f'{path}: describes a bag; give the folder in which it lies')
    if path.suffix in _PACKED:
        raise DriveError(f'{path}: is packed; unpack it, and give the bag')
    if path.suffix not in _SUFFIXES:
        raise DriveError(
            f'{path}: not a bag, expected .bag, .mcap, .db3 or a folder with metadata.yaml'
        )
    _require_fetched([path])
    return [path]


def _check_listed(folder: Path, warnings: list[str]) -> None:
    """Note the files that metadata.yaml lists and the folder lacks, else those it does not list.

    Raises DriveError for files that cannot be read.
    """
    every = bags_in(folder)
    _require_fetched([folder / 'metadata.yaml', *every])
    listed = files_in_metadata(folder)
    _require_files([folder / name for name in sorted(listed)])
    if missing := missing_files(listed, folder):
        note(
            warnings,
            f'{folder}: metadata.yaml lists {", ".join(missing)}, which is not there, so that '
            'a part of the recording may be missing; copy it into the folder. The other '
            'files are read',
        )
    elif listed:
        others = [file for file in every if file.name not in listed]
        _note_unread(folder, sorted(listed), others, warnings)


def _parts_without_metadata(folder: Path, lack: str, warnings: list[str]) -> list[Path]:
    """The files of one kind in a folder; notes the others. lack: why metadata.yaml is not read."""
    packed = ', '.join(file.name for file in _packed(folder))
    unpack = (
        f'metadata.yaml {lack}, without which the compressed {packed} cannot be read; copy it '
        'into the folder, or unpack with `zstd -d`'
    )
    if not (files := storage_files(folder)):
        if packed:
            raise DriveError(f'{folder}: {unpack}')
        raise DriveError(
            f'{folder}: no bag in this folder, '
            'expected metadata.yaml or files *.bag, *.mcap, *.db3'
        )
    _require_fetched(files)
    names = [file.name for file in files]
    _note_unread(folder, names, [file for file in bags_in(folder) if file not in files], warnings)
    if packed:
        note(warnings, f'{folder}: {unpack}')
    if files[0].suffix != '.bag':
        note(
            warnings,
            f'{folder}: metadata.yaml {lack}, so the files are read without it; '
            '`ros2 bag reindex` writes it again',
        )
    if len(files) > 1:
        note(warnings, f'{folder}: {", ".join(names)} are read as the parts of one recording')
    return files


def _note_unread(
    folder: Path, read: Sequence[str], others: Sequence[Path], warnings: list[str]
) -> None:
    """Note the bags in a folder that are not read beside those that are."""
    if others:
        names = ', '.join(file.name for file in others)
        note(
            warnings,
            f'{folder}: {", ".join(read)} is read, not {names}; name a file to read that one',
        )


def lack_of_metadata(folder: Path) -> str:
    """Why the metadata of a bag is not read, to follow its name; empty where it is."""
    file = folder / 'metadata.yaml'
    if not file.is_file():
        return 'is missing'
    is_large = file.stat().st_size > MOST_METADATA
    return f'has more than {MOST_METADATA / 1e6:.0f} MB' if is_large else ''


def files_in_metadata(folder: Path) -> set[str]:
    """Names of the files that a bag's metadata lists; empty where it cannot be read."""
    if lack_of_metadata(folder):
        return set()
    try:
        found = parse_yaml((folder / 'metadata.yaml').read_bytes(), most_bytes=MOST_METADATA)
        return {
            PurePath(name).name
            for name in found['rosbag2_bagfile_information']['relative_file_paths']
        }
    except Exception:  # whoever opens the bag says what is wrong with it
        return set()


def missing_files(names: set[str], folder: Path) -> list[str]:
    """The names of which the folder has no file, sorted."""
    return sorted(name for name in names if not (folder / name).exists())


def _require_files(files: Sequence[Path]) -> None:
    """Raise DriveError for a pipe or a device, which a reader would wait for without end."""
    for file in files:
        if file.exists() and not file.is_file() and not file.is_dir():
            raise DriveError(f'{file}: is not a regular file; give the file or folder of a bag')


def _require_fetched(files: Sequence[Path]) -> None:
    """Raise DriveError for a pipe or a device, and for what Git LFS has not fetched."""
    _require_files(files)
    for file in files:
        if is_lfs_pointer(file):
            raise DriveError(f'{file}: {LFS_ADVICE}')
