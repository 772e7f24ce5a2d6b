"""A map, opened: where images were taken and what they look like to one model.

Rows are numbered through the parts in their order. An open map holds all its files, so that it
stays what it is when its folder is replaced. What a map is on disk: layout.py.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.describing.model import Model
from vpr_ros.core.errors import MapError, blames_path
from vpr_ros.core.geometry import compose, invert
from vpr_ros.core.image import decode
from vpr_ros.core.landmarks.feature_kinds import features_named
from vpr_ros.core.landmarks.features import Features
from vpr_ros.core.landmarks.points import Landmarks
from vpr_ros.core.mapping.background import Background, map_background
from vpr_ros.core.mapping.files import (
    RESTORE,
    allow_open_files,
    check_file,
    mapped_file,
    unreadable,
)
from vpr_ros.core.mapping.grid import PlaceGrid, place_grid
from vpr_ros.core.mapping.halves import HALF, as_floats
from vpr_ros.core.mapping.header import MapHeader, map_id, read_header, require_model
from vpr_ros.core.mapping.index import CodedIndex, ExactIndex
from vpr_ros.core.mapping.layout import GRAPHS_FOLDER
from vpr_ros.core.mapping.part import Part, open_part
from vpr_ros.core.mapping.positions import Positions
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import CellBits, Descriptors, Image, Poses, Stamps

_ATTEMPTS = 3  # to open a map that is being replaced
_MOST_WIDENED_BYTES = 1 << 30  # of half descriptors that are held as float32


class PlaceMap:
    """An opened map; its files have been checked against their digests and each other."""

    def __init__(self, folder: Path, header: MapHeader, parts: Sequence[Part]) -> None:
        """Use PlaceMap.open; this only keeps what was read."""
        self.folder = folder
        self.header = header
        self._parts = list(parts)
        self.poses: Poses = np.concatenate([part.poses for part in parts])  # [N, 7]
        self.stamps_ns: Stamps = np.concatenate([part.stamps_ns for part in parts])  # [N]
        self.part_starts = np.cumsum([0, *(len(part) for part in parts)])  # and N at the end
        self.blocks: list[NDArray[Any]] = _blocks(parts)  # [n, D] of each, see _blocks
        self.cell_blocks = [part.cells for part in parts if part.cells is not None]  # of each
        codes = [part.codes for part in parts]
        self.index = CodedIndex(self.blocks, codes) if any(codes) else ExactIndex(self.blocks)
        self._graphs = [mapped_file(folder / name) for name in header.graphs]

    @classmethod
    def open(cls, folder: Path | str, *, model: Model | None = None) -> 'PlaceMap':
        """Open a map and check every file; raises MapError.

        With `model`, a map that another model made is refused.
        """
        folder = Path(folder)
        for attempt in range(1, _ATTEMPTS + 1):
            header = read_header(folder)
            try:
                return cls._open(folder, header, model)
            except MapError:
                if attempt == _ATTEMPTS or read_header(folder) == header:
                    raise  # damaged, not replaced in the meantime
        raise AssertionError  # the last attempt returns or raises

    @classmethod
    def _open(cls, folder: Path, header: MapHeader, model: Model | None) -> 'PlaceMap':
        if model is not None:
            require_model(folder, header, model)
        for name, expected in (header.files or {}).items():
            check_file(folder / name, expected)
        allow_open_files(len(header.files or {}))
        try:
            parts = [
                open_part(
                    folder / part,
                    files,
                    descriptor_size=header.descriptor_size,
                    cells=header.cells,
                    half=header.half_descriptors,
                )
                for part, files in header.part_files.items()
            ]
            opened = cls(folder, header, parts)
        except OSError as error:
            if blames_path(error):
                raise unreadable(folder, error) from error
            raise MapError(f'{folder}: cannot be read ({error}); {RESTORE}') from error
        if len(opened) != header.places:
            raise MapError(
                f'{folder}: {counted(len(opened), "pose")}, map.yaml says '
                f'{counted(header.places, "place")}; {RESTORE}'
            )
        if len(sizes := opened._feature_sizes()) > 1:
            raise MapError(
                f'{folder}: landmarks of {" and ".join(map(str, sorted(sizes)))} numbers, '
                f'expected one size in all parts; {RESTORE}'
            )
        return opened

    def __len__(self) -> int:
        """Number of places, N."""
        return len(self.poses)

    @property
    def cells_size(self) -> tuple[int, int, int] | None:
        """(h, w, C) of each place's cells; None of a map without cells."""
        return self.header.cells

    @property
    def has_cells(self) -> bool:
        """Whether places have cells: all of them do or none."""
        return self.header.cells is not None

    @property
    def has_landmarks(self) -> bool:
        """Whether places have landmarks."""
        return bool(self.header.landmark_features) and self.header.camera is not None

    @cached_property
    def is_distractor(self) -> NDArray[np.bool_]:
        """Whether each place gives no fix, [N]; see MapHeader.distractor_parts."""
        return np.concatenate(
            [
                np.full(len(part), name in self.header.distractor_parts)
                for name, part in zip(self.header.parts, self._parts, strict=True)
            ]
        )

    @property
    def half_places(self) -> int:
        """How many places have their descriptor in half precision."""
        return sum(len(part) for part in self._parts if part.descriptors.dtype == HALF)

    def is_half(self, place_index: int) -> bool:
        """Whether a place's part has descriptors in half precision."""
        return self._part_row(place_index)[0].descriptors.dtype == HALF

    @property
    def landmark_graphs(self) -> dict[str, bytes]:
        """The ONNX files of the landmarks' networks by their names."""
        names = [name.removeprefix(GRAPHS_FOLDER) for name in self.header.graphs]
        return dict(zip(names, map(bytes, self._graphs), strict=True))

    def features(self) -> Features:
        """The features that found the landmarks; raises MapError if this program lacks them."""
        try:
            found = features_named(self.header.landmark_features, self.landmark_graphs)
        except MapError as error:
            raise MapError(f'{self.folder}: {error}') from error
        if self._feature_sizes() - {found.descriptor_size}:
            raise MapError(
                f'{self.folder}: landmarks of {self.landmark_descriptor_size} numbers, expected '
                f'{found.descriptor_size} as {found.name} has them; {RESTORE}'
            )
        return found

    @property
    def landmark_descriptor_size(self) -> int | None:
        """F; None without any landmarks."""
        return next(iter(self._feature_sizes()), None)

    def _feature_sizes(self) -> set[int]:
        return {
            int(part.landmarks.descriptors.shape[1])
            for part in self._parts
            if part.landmarks is not None
        }

    def landmarks(self, place_index: int) -> Landmarks | None:
        """What a place's image shows; None in a part without landmarks."""
        part, row = self._part_row(place_index)
        return None if part.landmarks is None else part.landmarks.of(row)

    @property
    def base_T_camera(self) -> Poses:
        """Mounting of the camera that made the map, [7]."""
        return np.array(self.header.base_T_camera)

    @cached_property
    def grid(self) -> PlaceGrid:
        """The places on a grid along the mapping drive, as a belief needs them."""
        return place_grid(self.base_poses()[:, :3], self.stamps_ns, self.is_distractor)

    @cached_property
    def background(self) -> Background:
        """What the places look like to the map itself; reads the descriptors of a small map."""
        return map_background(self.index)

    @cached_property
    def positions(self) -> Positions:
        """Where the places' cameras were, sorted when first asked for."""
        return Positions(self.poses[:, :3])

    @cached_property
    def id(self) -> str:
        """See map_id."""
        return map_id(self.header)

    def base_poses(
        self, places: NDArray[np.int64] | None = None, *, base_T_camera: Poses | None = None
    ) -> Poses:
        """map_T_base [K, 7] of a robot whose camera is where the places' was.

        places: [K], None for all; base_T_camera: [7], None takes the mapping camera's mounting.
        """
        mounting = self.base_T_camera if base_T_camera is None else base_T_camera
        poses = self.poses if places is None else self.poses[places]
        return compose(poses, invert(mounting))

    @cached_property
    def names(self) -> list[str]:
        """Name of each place's image in its recording, N of them."""
        return [name for part in self._parts for name in part.names()]

    def thumbnail(self, place_index: int) -> Image | None:
        """The small picture of a place, RGB; None: the map was made without."""
        jpeg = self.thumbnail_jpeg(place_index)
        return decode(jpeg, source=f'{self.folder}, {place_index}') if jpeg else None

    def thumbnail_jpeg(self, place_index: int) -> bytes:
        """The small picture of a place as it is kept; empty: the map was made without."""
        part, row = self._part_row(place_index)
        return part.thumbnail_jpeg(row)

    def descriptor(self, place_index: int) -> Descriptors:
        """A place's descriptor [D]."""
        part, row = self._part_row(place_index)
        return as_floats(part.descriptors[row])

    def descriptors_of(self, places: NDArray[np.int64]) -> Descriptors:
        """Descriptors [K, D] of places [K], copied."""
        if len(self.blocks) == 1:
            return as_floats(np.asarray(self.blocks[0])[places])
        parts = np.searchsorted(self.part_starts, places, side='right') - 1
        found = np.empty((len(places), self.header.descriptor_size), dtype=np.float32)
        for part in np.unique(parts).tolist():
            inside = np.flatnonzero(parts == part)
            found[inside] = as_floats(self.blocks[part][places[inside] - self.part_starts[part]])
        return found

    def cells(self, place_index: int) -> CellBits | None:
        """Signs [h * w, C / 8] of a place's cells, by memory map; None of a map without cells."""
        part, row = self._part_row(place_index)
        if part.cells is None or self.cells_size is None:
            return None
        rows, columns, numbers = self.cells_size
        return np.asarray(part.cells[row]).reshape(rows * columns, numbers // 8)

    def cells_of(self, places: NDArray[np.int64]) -> CellBits:
        """Signs [K, h * w, C / 8] of the cells of places [K], copied from the map's files.

        Raises MapError for a map without cells.
        """
        if self.cells_size is None:
            raise MapError(
                f'{self.folder}: the map has no cells; rebuild it with a model that has cells'
            )
        rows, columns, numbers = self.cells_size
        if len(self.cell_blocks) == 1:
            taken = self.cell_blocks[0].take(places, axis=0)
            return taken.reshape(len(places), rows * columns, numbers // 8)
        parts = np.searchsorted(self.part_starts, places, side='right') - 1
        found = np.empty((len(places), rows * columns * numbers // 8), dtype=np.uint8)
        for part in np.unique(parts).tolist():
            inside = np.flatnonzero(parts == part)
            found[inside] = self.cell_blocks[part][places[inside] - self.part_starts[part]]
        return found.reshape(len(places), rows * columns, numbers // 8)

    def _part_row(self, place_index: int) -> tuple[Part, int]:
        """The part that a place is in, and its row there."""
        if not 0 <= place_index < len(self):
            raise IndexError(f'place {place_index} of {len(self)}')
        part = int(np.searchsorted(self.part_starts, place_index, side='right')) - 1
        return self._parts[part], place_index - int(self.part_starts[part])


def _blocks(parts: Sequence[Part]) -> list[NDArray[Any]]:
    """The descriptors [n, D] of each part, so that rows are compared soonest.

    Half precision is turned into float32 once where every frame reads all rows: in parts without
    codes, as far as that takes at most a gigabyte. Of parts with codes few rows are read at a
    time, and they stay as they are, as does what goes beyond that.
    """
    blocks, held = [], 0
    for part in parts:
        wide = 4 * part.descriptors.size
        if (
            part.descriptors.dtype == HALF
            and part.codes is None
            and held + wide <= _MOST_WIDENED_BYTES
        ):
            blocks.append(as_floats(part.descriptors))
            held += wide
        else:
            blocks.append(part.descriptors)
    return blocks
