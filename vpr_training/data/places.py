"""What every training set offers, whatever its layout: images grouped by place.

A layout is one module with `recognizes` and `read`, as for evaluation sets; `open_places` tells
them apart. A layout gives a list of images that somebody promised; `PlaceSet.of` keeps those that
are there, so that there is never a label without an image.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.errors import noting
from vpr_ros.core.names import as_text
from vpr_ros.core.plurals import counted
from vpr_training.basics.errors import DatasetError


class Listed(NamedTuple):
    """An image that a layout promises."""

    file: str  # its path
    place: str  # unique within the city, and the UTM zone if there is one
    city: str
    east_m: float = float('nan')
    north_m: float = float('nan')


@dataclass(frozen=True)
class PlaceSet:
    """Images grouped by place; the rows of a place follow each other.

    Names are one array of fixed width: a list of a million paths would be copied into every
    worker, as Python counts references in the objects themselves.
    """

    name: str
    folder: Path
    files: NDArray[np.str_]  # [M] relative to the folder
    starts: NDArray[np.int64]  # [P + 1] first row of each place
    city: NDArray[np.int64]  # [P] row in `cities`
    cities: tuple[str, ...]
    positions_m: NDArray[np.float64]  # [M, 2], NaN where unknown
    left_out: tuple[str, ...] = ()  # what was left out and why, for people
    notes: tuple[str, ...] = ()  # what else people should know, such as where the poses come from

    @property
    def places(self) -> int:
        """Number of places (P)."""
        return len(self.starts) - 1

    def path(self, row: int) -> Path:
        """File of an image."""
        return self.folder / str(self.files[row])

    def rows(self, place: int) -> NDArray[np.int64]:
        """Images of a place."""
        return np.arange(self.starts[place], self.starts[place + 1], dtype=np.int64)

    def place_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places of images [K]."""
        return np.asarray(np.searchsorted(self.starts, rows, side='right') - 1, dtype=np.int64)

    def __str__(self) -> str:
        of = f' in {len(self.cities)} cities' if len(self.cities) > 1 else ''
        images = counted(len(self.files), 'image')
        first = f'{self.name}: {images} of {counted(self.places, "place")}{of}'
        left_out = (f'  left out: {said}' for said in self.left_out)
        return '\n'.join([first, *(f'  note: {said}' for said in self.notes), *left_out])

    @classmethod
    def of(
        cls,
        folder: Path,
        listed: Iterable[Listed],
        *,
        min_images: int,
        cities: Sequence[str] = (),
        left_out: Sequence[str] = (),
        notes: Sequence[str] = (),
        name: str = '',
    ) -> 'PlaceSet':
        """Keep what is there: files with content, places with enough of them.

        Raises DatasetError for a city that is not there, for an image of two places, and where
        no place is left.
        """
        listed = list(listed)
        if missing := sorted(set(cities) - {one.city for one in listed}):
            there = ', '.join(sorted({one.city for one in listed})[:10])
            raise DatasetError(
                f'{folder}: no images of {", ".join(missing)}; it has {there or "none"}'
            )
        wanted = [one for one in listed if not cities or one.city in cities]
        once = _once(folder, wanted)
        present, said = _present(folder, once)
        if repeated := len(wanted) - len(once):
            images = counted(repeated, 'image that is', 'images that are')
            said.append(f'{images} listed once more')
        sizes = Counter((one.city, one.place) for one in present)
        kept = [one for one in present if sizes[one.city, one.place] >= min_images]
        small = sum(size < min_images for size in sizes.values())
        if small:
            said.append(
                f'{counted(small, "place")} with fewer than {counted(min_images, "image")}'
            )
        if not kept:
            reasons = '; '.join([*left_out, *said]) or 'it lists none'
            with noting(lambda: notes):
                least = counted(min_images, 'image')
                raise DatasetError(f'{folder}: no place with {least}; {reasons}')
        grouped = cls._grouped(
            folder, kept, (*left_out, *said), as_text(name or folder.resolve().name)
        )
        return replace(grouped, notes=tuple(notes))

    @classmethod
    def _grouped(
        cls, folder: Path, kept: list[Listed], left_out: tuple[str, ...], name: str
    ) -> 'PlaceSet':
        kept = sorted(kept, key=lambda one: (one.city, one.place, one.file))
        keys = [(one.city, one.place) for one in kept]
        starts = [row for row, key in enumerate(keys) if row == 0 or key != keys[row - 1]]
        names = tuple(dict.fromkeys(city for city, _ in keys))
        number = {city: row for row, city in enumerate(names)}
        return cls(
            name=name,
            folder=folder,
            files=np.array([one.file for one in kept], dtype=np.str_),
            starts=np.array([*starts, len(kept)], dtype=np.int64),
            city=np.array([number[keys[row][0]] for row in starts], dtype=np.int64),
            cities=names,
            positions_m=np.array([(one.east_m, one.north_m) for one in kept], dtype=np.float64),
            left_out=left_out,
        )


def _once(folder: Path, listed: Sequence[Listed]) -> list[Listed]:
    """Each image once, however its path is written: K images of a place are K different ones."""
    found: dict[str, Listed] = {}
    for one in listed:
        first = found.setdefault(os.path.normpath(one.file), one)
        if (first.city, first.place) != (one.city, one.place):
            raise DatasetError(
                f'{folder / one.file}: is listed as an image of two places, {first.place} and '
                f'{one.place}'
            )
    return list(found.values())


def _present(folder: Path, listed: Sequence[Listed]) -> tuple[list[Listed], list[str]]:
    """Images that have a file with content, and what to say of the others.

    Each folder is listed once: a million single questions to a network disk take an hour.
    """
    sizes: dict[str, dict[str, int]] = {}
    present: list[Listed] = []
    absent: list[str] = []
    empty: list[str] = []
    for one in listed:
        parent, file = os.path.split(one.file)
        if parent not in sizes:
            sizes[parent] = _sizes(folder / parent)
        size = sizes[parent].get(file)
        if size:
            present.append(one)
        else:
            (absent if size is None else empty).append(one.file)
    said = [
        f'{counted(len(files), *kind)}, the first {folder / files[0]}'
        for files, kind in (
            (absent, ('listed image without a file', 'listed images without a file')),
            (empty, ('file of no bytes', 'files of no bytes')),
        )
        if files
    ]
    return present, said


def _sizes(folder: Path) -> dict[str, int]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    except (FileNotFoundError, ValueError):  # ValueError: a name with a null byte, of no file
        return {}
    except OSError as error:
        raise DatasetError(f'{folder}: cannot be listed ({error.strerror or error})') from error
