"""One recording of a map, opened and compared with the header and with itself.

Digests say that the files are those that were written, not that they belong together. An array of
another shape would only fail at the first frame, or answer wrongly, so that shapes, dtypes, poses
and ends are compared here. The large arrays are not read: a memory map tells their shape.
"""

import mmap
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.errors import MapError, VprError
from vpr_ros.core.geometry import checked_pose
from vpr_ros.core.landmarks.points import Landmarks
from vpr_ros.core.mapping.codes import CODE_FILES, CodedRows
from vpr_ros.core.mapping.files import RESTORE, load_array, mapped_file, require_form
from vpr_ros.core.mapping.halves import HALF
from vpr_ros.core.mapping.layout import (
    LANDMARK_FILES,
    MOST_NAME,
    MOST_THUMBNAIL_BYTES,
    cell_arrays,
    landmark_arrays,
    place_arrays,
)
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import CellBits, Poses, Stamps


@dataclass(frozen=True, slots=True)
class LandmarkRows:
    """The landmarks of a part's places, L in all, by memory map."""

    ends: NDArray[np.int64]  # [n], where each place's end
    points_m: NDArray[np.float32]  # [L, 3] in the place's optical frame
    sigmas_m: NDArray[np.float16]  # [L], standard deviation along the ray
    descriptors: NDArray[np.uint8]  # [L, F]

    def of(self, row: int) -> Landmarks:
        """Those of one place."""
        found = _between(self.ends, row)
        return Landmarks(
            np.array(self.points_m[found]),
            self.sigmas_m[found].astype(np.float32),
            np.array(self.descriptors[found]),
        )


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one recording, n places."""

    poses: Poses  # [n, 7] map_T_camera
    stamps_ns: Stamps  # [n]
    descriptors: NDArray[Any]  # [n, D], by memory map; float32 or float16
    cells: CellBits | None  # [n, h * w * C / 8], by memory map
    codes: CodedRows | None  # None: searched row by row
    names_txt: mmap.mmap | bytes
    thumbnails: mmap.mmap | bytes
    thumbnail_ends: NDArray[np.int64]  # [n]
    landmarks: LandmarkRows | None

    def __len__(self) -> int:
        """Number of places, n."""
        return len(self.poses)

    def names(self) -> list[str]:
        """Name of each place's image in its recording, n of them."""
        return bytes(self.names_txt).decode('utf-8').split('\n')[:-1]

    def thumbnail_jpeg(self, row: int) -> bytes:
        """The small picture of a place as it is kept; empty: there is none."""
        return self.thumbnails[_between(self.thumbnail_ends, row)]


def open_part(
    folder: Path,
    files: Collection[str],
    *,
    descriptor_size: int,
    cells: tuple[int, int, int] | None = None,
    half: bool = False,
) -> Part:
    """Open a part whose files have the digests of map.yaml.

    files: what map.yaml lists of it; others in the folder are left alone. cells: (h, w, C) of a
    part that has some; half: whether descriptors may be float16. Raises MapError that
    names the file, what came and what was expected.
    """
    poses = load_array(folder, 'poses')
    count = len(poses) if poses.ndim else 0
    descriptors = load_array(folder, 'descriptors', mapped=True)
    forms = place_arrays(descriptor_size, half=half and descriptors.dtype == HALF)
    arrays = {
        'poses': poses,
        'descriptors': descriptors,
        'stamps_ns': load_array(folder, 'stamps_ns'),
        'thumbnail_ends': load_array(folder, 'thumbnail_ends'),
    }
    for name, array in arrays.items():
        require_form(folder / f'{name}.npy', array, forms[name], count)
    _require_poses(folder / 'poses.npy', poses)
    thumbnails = mapped_file(folder / 'thumbnails.bin')
    ends = arrays['thumbnail_ends']
    _require_ends(folder / 'thumbnail_ends.npy', ends, len(thumbnails), 'bytes of thumbnails.bin')
    largest = int(np.diff(ends, prepend=0).max(initial=0))
    if largest > MOST_THUMBNAIL_BYTES:
        raise MapError(
            f'{folder / "thumbnails.bin"}: a thumbnail of {largest} bytes, expected at most '
            f'{MOST_THUMBNAIL_BYTES}; {RESTORE}'
        )
    names_txt = mapped_file(folder / 'names.txt')
    if len(names_txt) > count * MOST_NAME:
        raise MapError(
            f'{folder / "names.txt"}: {len(names_txt)} bytes for {counted(count, "name")}, '
            f'expected at most {MOST_NAME} for each; {RESTORE}'
        )
    _require_names(folder / 'names.txt', bytes(names_txt), count)
    return Part(
        poses=poses,
        stamps_ns=arrays['stamps_ns'],
        descriptors=arrays['descriptors'],
        cells=None if cells is None else _cells(folder, cells, count),
        codes=_codes(folder) if CODE_FILES[0] in files else None,
        names_txt=names_txt,
        thumbnails=thumbnails,
        thumbnail_ends=ends,
        landmarks=_landmarks(folder, count) if set(files) >= LANDMARK_FILES else None,
    )


def _cells(folder: Path, size: tuple[int, int, int], count: int) -> CellBits:
    array = load_array(folder, 'cells', mapped=True)
    require_form(folder / 'cells.npy', array, cell_arrays(size)['cells'], count)
    return np.asarray(array)  # still mapped, and indexed sooner than a memmap


def _landmarks(folder: Path, count: int) -> LandmarkRows:
    ends, points, sigmas, descriptors = (
        load_array(folder, name, mapped=True)
        for name in (
            'landmark_ends',
            'landmark_points',
            'landmark_sigmas',
            'landmark_descriptors',
        )
    )
    total = len(points) if points.ndim else 0
    feature_size = descriptors.shape[-1] if descriptors.ndim else 0
    forms = landmark_arrays(feature_size)
    for array, rows, name in (
        (ends, count, 'landmark_ends'),
        (points, total, 'landmark_points'),
        (sigmas, total, 'landmark_sigmas'),
        (descriptors, total, 'landmark_descriptors'),
    ):
        require_form(folder / f'{name}.npy', array, forms[name], rows)
    _require_ends(folder / 'landmark_ends.npy', ends, total, 'rows of landmark_points.npy')
    return LandmarkRows(ends, points, sigmas, descriptors)


def _codes(folder: Path) -> CodedRows:
    try:
        return CodedRows(folder)
    except Exception as error:  # numpy's parser of headers raises what Python's raises
        raise MapError(f'{folder}: codes cannot be read ({error}); {RESTORE}') from error


def _require_poses(path: Path, poses: Poses) -> None:
    try:
        checked_pose(poses, source=str(path))
    except VprError as error:
        raise MapError(f'{error}; {RESTORE}') from error


def _require_ends(path: Path, ends: NDArray[np.int64], total: int, of_what: str) -> None:
    """Raise MapError where ends [n] do not rise to the total."""
    steps = np.diff(np.concatenate([[0], ends, [total]]))
    if (steps < 0).any() or steps[-1] != 0:
        last = int(ends[-1]) if len(ends) else 0
        raise MapError(
            f'{path}: its numbers end at {last} or fall on the way, expected them to rise to '
            f'{total}, the number of {of_what}; {RESTORE}'
        )


def _require_names(path: Path, text: bytes, count: int) -> None:
    lines = text.count(b'\n')
    try:
        text.decode('utf-8')
    except UnicodeDecodeError as error:
        raise MapError(f'{path}: it is not UTF-8 text ({error}); {RESTORE}') from error
    if lines != count or not text.endswith(b'\n' if count else b''):
        raise MapError(
            f'{path}: {counted(lines, "line")}, expected {count}, one for each pose; {RESTORE}'
        )


def _between(ends: NDArray[np.int64], row: int) -> slice:
    return slice(int(ends[row - 1]) if row else 0, int(ends[row]))
