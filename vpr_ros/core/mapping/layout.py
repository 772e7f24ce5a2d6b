"""What a map is on disk: which files it has, and the form of each.

A map is a folder:

    map.yaml                  what it is, and the sha256 of every file below
    parts/0000/descriptors.npy      float32 [n, D], unit rows, opened by memory map; float16
                                    where map.yaml says half_descriptors (halves.py)
    parts/0000/poses.npy            float64 [n, 7], map_T_camera (optical frame)
    parts/0000/stamps_ns.npy        int64 [n]
    parts/0000/names.txt            n lines: the image's name in its recording
    parts/0000/thumbnails.bin       JPEGs, one after another; of no bytes: there is none
    parts/0000/thumbnail_ends.npy   int64 [n], where each ends

and, where it was built with landmarks, the points that each place's image shows, L in all:

    parts/0000/landmark_ends.npy          int64 [n], where each place's end
    parts/0000/landmark_points.npy        float32 [L, 3], in the place's optical frame, metres
    parts/0000/landmark_sigmas.npy        float16 [L], standard deviation along the ray, metres
    parts/0000/landmark_descriptors.npy   uint8 [L, F]
    features/*.onnx                       the networks that found them, where they need some

and, in large parts, the codes of their descriptors (codes.py), and, where the model has cells:

    parts/0000/cells.npy            uint8 [n, h * w * C / 8], their signs (matching/bits.py),
                                    opened by memory map; every part has them or none

A part is one recording and is never changed; vpr_ros/map_care/edit.py adds further ones. Poses are
the camera's, not the robot's, because that is what an image tells; the mounting of the mapping
camera is kept beside them, and a robot with another mounting gives its own.

A map may come from anywhere, and its names become paths. So only the names above are accepted: a
file that a later program adds raises the format version (versions.py).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vpr_ros.core.mapping.codes import CODE_FILES
from vpr_ros.core.mapping.halves import HALF

HEADER_NAME = 'map.yaml'
FIRST_PART = 'parts/0000'
GRAPHS_FOLDER = 'features/'
MOST_PARTS = 10_000  # what four digits count
MOST_NAME = 4096  # of a place's name, as of a path; characters in a fleet, bytes in names.txt
MOST_THUMBNAIL_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ArrayForm:
    """What the rows of a .npy file are."""

    dtype: np.dtype[Any]
    columns: int | None = None  # numbers of a row; None: rows are single numbers

    def shape(self, rows: int) -> tuple[int, ...]:
        """Shape of an array with this many rows."""
        return (rows,) if self.columns is None else (rows, self.columns)


def place_arrays(descriptor_size: int, *, half: bool = False) -> dict[str, ArrayForm]:
    """The arrays of every part by name, [n, ...] each; half: descriptors in half precision."""
    return {
        'descriptors': ArrayForm(HALF if half else np.dtype('<f4'), descriptor_size),
        'poses': ArrayForm(np.dtype('<f8'), 7),
        'stamps_ns': ArrayForm(np.dtype('<i8')),
        'thumbnail_ends': ArrayForm(np.dtype('<i8')),
    }


def cell_arrays(cells: tuple[int, int, int]) -> dict[str, ArrayForm]:
    """The arrays of a part with cells of (h, w, C)."""
    rows, columns, numbers = cells
    return {'cells': ArrayForm(np.dtype('u1'), rows * columns * numbers // 8)}


def landmark_arrays(feature_size: int) -> dict[str, ArrayForm]:
    """The arrays of a part with landmarks: landmark_ends [n], the others [L, ...]."""
    return {
        'landmark_ends': ArrayForm(np.dtype('<i8')),
        'landmark_points': ArrayForm(np.dtype('<f4'), 3),
        'landmark_sigmas': ArrayForm(np.dtype('<f2')),
        'landmark_descriptors': ArrayForm(np.dtype('u1'), feature_size),
    }


PLACE_FILES = frozenset(
    {*(f'{name}.npy' for name in place_arrays(0)), 'names.txt', 'thumbnails.bin'}
)
LANDMARK_FILES = frozenset(f'{name}.npy' for name in landmark_arrays(0))
CELL_FILES = frozenset(f'{name}.npy' for name in cell_arrays((0, 0, 0)))
_OPTIONAL = (LANDMARK_FILES, CELL_FILES, frozenset(CODE_FILES))  # a part has all of one or none
_PART_FILE = re.compile(r'(parts/[0-9]{4})/([a-z0-9_]+\.[a-z]+)')
_GRAPH = re.compile(r'features/[A-Za-z0-9_][A-Za-z0-9_.-]*\.onnx')


def part_name(number: int) -> str:
    """Folder of a part within the map."""
    return f'parts/{number:04d}'


def files_of_parts(names: Iterable[str]) -> dict[str, set[str]]:
    """The files of each part by its folder, in the order of the parts, of the names in map.yaml.

    Raises ValueError for a name that no map has, for a part that lacks a file, and where the parts
    are not numbered one by one.
    """
    parts: dict[str, set[str]] = {}
    for name in sorted(names):
        part, file = _part_and_file(name)
        if part:
            parts.setdefault(part, set()).add(file)
    for number, (part, files) in enumerate(parts.items()):
        if part != part_name(number):
            raise ValueError(f'lists {part} as part number {number}, expected {part_name(number)}')
        _require_complete(part, files)
    if not parts:
        raise ValueError('lists no part, expected at least one')
    return parts


def _part_and_file(name: str) -> tuple[str, str]:
    """Part and file of a name; the part is empty for a file beside the parts."""
    found = _PART_FILE.fullmatch(name)
    if found and found[2] in PLACE_FILES.union(*_OPTIONAL):
        return found[1], found[2]
    if _GRAPH.fullmatch(name):
        return '', name
    raise ValueError(
        f'lists the file {name!r}, expected parts/NNNN/... or features/....onnx as a map has them'
    )


def _require_complete(part: str, files: set[str]) -> None:
    needed = PLACE_FILES.union(*(group for group in _OPTIONAL if group & files))
    if missing := sorted(needed - files):
        raise ValueError(f'lists no {part}/{missing[0]}, expected all files of a part')
