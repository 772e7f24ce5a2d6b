"""Write a map, place by place.

Rows are streamed to disk while a map is built, so building needs no memory for what is already
written. The folder appears under its name only when it is complete.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from vpr_ros.core.errors import MapError
from vpr_ros.core.folder_kind import FolderKind
from vpr_ros.core.geometry import checked_pose
from vpr_ros.core.landmarks.features import Features
from vpr_ros.core.landmarks.points import Landmarks
from vpr_ros.core.mapping.codes import codes_pay, write_codes
from vpr_ros.core.mapping.files import load_array
from vpr_ros.core.mapping.graphs import write_graphs
from vpr_ros.core.mapping.header import MapHeader, now, write_header
from vpr_ros.core.mapping.layout import (
    FIRST_PART,
    HEADER_NAME,
    MOST_NAME,
    MOST_THUMBNAIL_BYTES,
    cell_arrays,
    landmark_arrays,
    place_arrays,
)
from vpr_ros.core.names import one_line
from vpr_ros.core.npy import NpyWriter
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import CellBits, Descriptors, Poses

MAP = FolderKind(HEADER_NAME, 'a map', MapError, ('parts', 'features'))


class MapWriter:
    """Rows of a map being built; obtained from `build` or `part_writer`."""

    def __init__(
        self,
        folder: Path,
        descriptor_size: int,
        stack: ExitStack,
        *,
        part: str,
        cells: tuple[int, int, int] | None,
        half: bool,
        landmark_descriptor_size: int | None,
    ) -> None:
        """folder: the staged map; part: a folder that is not yet in it.

        cells: (h, w, C) of each place's, in a map that has some; half: descriptors are kept in
        half precision; landmark_descriptor_size: F, of a part with landmarks.
        """
        self.places = 0
        self._descriptor_size = descriptor_size
        self._cells_size = cells
        self._part = folder / part
        self._part.mkdir(parents=True)
        forms = place_arrays(descriptor_size, half=half)
        if cells is not None:
            forms |= cell_arrays(cells)
        if landmark_descriptor_size is not None:
            forms |= landmark_arrays(landmark_descriptor_size)
        self._arrays = {
            name: NpyWriter(
                stack.enter_context((self._part / f'{name}.npy').open('wb')),
                form.dtype,
                form.columns,
            )
            for name, form in forms.items()
        }
        self._names, self._thumbnails = (
            stack.enter_context((self._part / name).open('wb'))
            for name in ('names.txt', 'thumbnails.bin')
        )

    @property
    def has_cells(self) -> bool:
        """Whether each place needs its cells."""
        return self._cells_size is not None

    def add(
        self,
        descriptor: Descriptors,
        pose: Poses,
        *,
        stamp_ns: int,
        name: str,
        thumbnail: bytes = b'',
        cells: CellBits | None = None,
    ) -> None:
        """Append one place.

        It is given by its descriptor [D], map_T_camera [7], its image's stamp, name and small
        JPEG (empty: it has none), and in a map with cells their signs [h * w, C / 8].
        """
        pose = checked_pose(pose, source=name)
        if descriptor.shape != (self._descriptor_size,) or not np.isfinite(descriptor).all():
            raise MapError(
                f'{name}: descriptor of shape {descriptor.shape}, expected finite values of shape '
                f'({self._descriptor_size},)'
            )
        self._require_cells(name, cells)
        line = one_line(name).encode() + b'\n'
        if len(line) > MOST_NAME or len(thumbnail) > MOST_THUMBNAIL_BYTES:
            raise MapError(
                f'{name[:80]}: a name of {len(line)} and a thumbnail of '
                f'{counted(len(thumbnail), "byte")}, expected at most {MOST_NAME} and '
                f'{MOST_THUMBNAIL_BYTES}'
            )
        self._thumbnails.write(thumbnail)
        self._names.write(line)
        self._arrays['descriptors'].append(descriptor)
        self._arrays['poses'].append(pose)
        if cells is not None:
            self._arrays['cells'].append(cells.ravel())
        self._arrays['stamps_ns'].append(stamp_ns)
        self._arrays['thumbnail_ends'].append(self._thumbnails.tell())
        self.places += 1

    def _require_cells(self, name: str, cells: CellBits | None) -> None:
        """Raise MapError for cells of another form than the map's, and for a mix."""
        size = self._cells_size
        wanted = None if size is None else (size[0] * size[1], size[2] // 8)
        given = None if cells is None else cells.shape
        if given != wanted or (cells is not None and cells.dtype != np.uint8):
            said = 'no cells' if cells is None else f'cells {cells.dtype} {list(cells.shape)}'
            has = 'none' if wanted is None else f'uint8 {list(wanted)}'
            raise MapError(
                f'{name}: {said}, expected {has} as the map has; describe it with the model that '
                'made the map, or rebuild the map with build_map'
            )

    def add_landmarks(self, landmarks: Landmarks) -> None:
        """Append the landmarks of the next place that has none yet."""
        self._arrays['landmark_points'].append(landmarks.points_m)
        self._arrays['landmark_sigmas'].append(landmarks.sigma_m)
        self._arrays['landmark_descriptors'].append(landmarks.descriptors)
        self._arrays['landmark_ends'].append(self._arrays['landmark_points'].rows)

    def finish(self) -> None:
        """Write the final number of rows into the arrays' headers, and codes of many rows."""
        for array in self._arrays.values():
            array.finish()
        self._names.flush()
        self._thumbnails.flush()
        descriptors = load_array(self._part, 'descriptors', mapped=True)
        if codes_pay(*descriptors.shape):
            write_codes(self._part, descriptors)
        ends = self._arrays.get('landmark_ends')
        if ends is not None and ends.rows != self.places:
            raise MapError(f'{counted(self.places, "place")}, landmarks of {ends.rows}')


@contextmanager
def part_writer(
    staging: Path,
    header: MapHeader,
    *,
    part: str = FIRST_PART,
    landmark_descriptor_size: int | None,
) -> Iterator[MapWriter]:
    """Yield a writer of a part as a map's header has it; when the block ends, the part is whole.

    landmark_descriptor_size: F, of a part with landmarks.
    """
    with ExitStack() as stack:
        writer = MapWriter(
            staging,
            header.descriptor_size,
            stack,
            part=part,
            cells=header.cells,
            half=header.half_descriptors,
            landmark_descriptor_size=landmark_descriptor_size,
        )
        yield writer
        writer.finish()


@contextmanager
def build(
    folder: Path | str, header: MapHeader, *, features: Features | None = None
) -> Iterator[MapWriter]:
    """Yield a writer; when the block ends, the map replaces whatever `folder` held before.

    An error or a kill before that, a full disk included, leaves the old map as it was. Raises
    MapError where the map cannot be written or has no place. `places`, `files`, `made_at` and
    `part_sources` of the header are filled in here. features: of a map with landmarks.
    """
    folder = Path(folder)
    size = features.descriptor_size if features else None
    with MAP.staged(folder) as staging:
        with part_writer(staging, header, landmark_descriptor_size=size) as writer:
            yield writer
        if features is not None:
            write_graphs(staging, features)
        if writer.places == 0:
            raise MapError(f'{folder}: the map was not written, because no image has a pose')
        built = replace(header, files=None, places=writer.places, made_at=now())
        write_header(staging, replace(built, part_sources=(header.source,)))
