"""A map's content in the forms that other tools read.

Poses as TUM, CSV or GeoJSON, thumbnails as a posed folder (which every command here reads too),
descriptors as .npz or as a flat faiss index whose row numbers are those of the poses. All poses
are map_T_camera, as the map has them.
"""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from vpr_ros.core.atomic import staged_file, unwritable_as
from vpr_ros.core.errors import MapError
from vpr_ros.core.folder_kind import FolderKind
from vpr_ros.core.mapping.codes import write_index
from vpr_ros.core.mapping.halves import as_floats
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.plurals import by_count, counted
from vpr_ros.core.stamps import exact_seconds
from vpr_ros.core.trajectory import Trajectory
from vpr_ros.core.tum import write_tum
from vpr_ros.drives.folder import MOUNTING_NAME, POSES_NAME
from vpr_ros.drives.geographic import UNKNOWN_ZONE, degrees_of
from vpr_ros.drives.posed_csv import COLUMNS

POSED_FOLDER = FolderKind(POSES_NAME, 'a posed folder', MapError, ('images', MOUNTING_NAME))
_ADDED_AT_ONCE = 65_536  # descriptors copied into an index


def export_tum(place_map: PlaceMap, path: Path) -> None:
    """`t x y z qx qy qz qw` lines by time; raises MapError where the file cannot be written."""
    order = np.argsort(place_map.stamps_ns, kind='stable')
    with _staged_file(path) as staging:
        write_tum(staging, Trajectory(place_map.stamps_ns[order], place_map.poses[order]))


def export_csv(place_map: PlaceMap, path: Path) -> None:
    """The table of a posed folder; images are named as in their recordings."""
    with _staged_file(path) as staging:
        staging.write_text(_posed_table(place_map, place_map.names), encoding='utf-8')


def export_geojson(place_map: PlaceMap, path: Path) -> None:
    """A point in degrees for each place; raises MapError for a map that is not geographic."""
    datum = place_map.header.datum
    if datum is None or datum.utm_zone == UNKNOWN_ZONE:
        raise MapError(
            f'{place_map.folder}: has no position on the Earth, and --geojson needs one; '
            'use --csv or --tum'
        )
    features = []
    for place, (east_m, north_m) in enumerate(place_map.poses[:, :2].tolist()):
        latitude, longitude = degrees_of(
            datum.east_m + east_m, datum.north_m + north_m, datum.utm_zone, datum.utm_letter
        )
        properties = {'place': place, 'image': place_map.names[place]}
        properties['stamp_s'] = exact_seconds(int(place_map.stamps_ns[place]))
        features.append(
            {
                'type': 'Feature',
                'geometry': {'type': 'Point', 'coordinates': [longitude, latitude]},
                'properties': properties,
            }
        )
    content = json.dumps({'type': 'FeatureCollection', 'features': features})
    with _staged_file(path) as staging:
        staging.write_text(content, encoding='utf-8')


def export_images(place_map: PlaceMap, folder: Path) -> None:
    """A posed folder of the thumbnails.

    Raises MapError where `folder` is something else, for places without a thumbnail, and for a map
    without headings, because a table of poses cannot say that it has none.
    """
    if not place_map.header.has_heading:
        raise MapError(
            f'{place_map.folder}: has no headings, and build_map would take those of --images for '
            'true; use --csv or --tum for the positions'
        )
    without = sum(not place_map.thumbnail_jpeg(place) for place in range(len(place_map)))
    if without:
        raise MapError(
            f'{place_map.folder}: {without} of {counted(len(place_map), "place")} '
            f'{by_count(without, "has", "have")} no thumbnail, and --images needs them; '
            'the map was made with --no-thumbnails'
        )
    names = [f'{place:06d}.jpg' for place in range(len(place_map))]
    with POSED_FOLDER.staged(folder) as staging:
        (staging / 'images').mkdir()
        for place, name in enumerate(names):
            (staging / 'images' / name).write_bytes(place_map.thumbnail_jpeg(place))
        (staging / POSES_NAME).write_text(_posed_table(place_map, names), encoding='utf-8')
        if place_map.header.mounting_known:
            (staging / MOUNTING_NAME).write_text(_mounting(place_map), encoding='utf-8')


def export_npz(place_map: PlaceMap, path: Path) -> None:
    """Arrays descriptors [N, D], poses [N, 7], stamps_ns [N] and names [N].

    And cells [N, h, w, C / 8] of a map that has some: their signs, packed.
    """
    arrays = {
        'descriptors': np.concatenate([as_floats(block) for block in place_map.blocks]),
        'poses': place_map.poses,
        'stamps_ns': place_map.stamps_ns,
        'names': np.array(place_map.names),
    }
    if place_map.cells_size is not None:
        rows, columns, _ = place_map.cells_size
        bits = np.concatenate(place_map.cell_blocks)
        arrays['cells'] = bits.reshape(len(bits), rows, columns, -1)
    # np.savez of numpy 1 leaves the archive open where the disk is full, and a traceback follows.
    with _staged_file(path) as staging, zipfile.ZipFile(staging, 'w') as archive:
        for name, array in arrays.items():
            with archive.open(f'{name}.npy', 'w', force_zip64=True) as member:
                np.lib.format.write_array(  # type: ignore[no-untyped-call]
                    member, array, allow_pickle=False
                )


def export_faiss(place_map: PlaceMap, path: Path) -> None:
    """An IndexFlatIP of the descriptors: inner products are cosine similarities."""
    index = faiss.IndexFlatIP(place_map.header.descriptor_size)
    for block in place_map.blocks:
        for start in range(0, len(block), _ADDED_AT_ONCE):
            index.add(np.ascontiguousarray(as_floats(block[start : start + _ADDED_AT_ONCE])))
    with _staged_file(path) as staging:
        write_index(index, staging)


@dataclass(frozen=True, slots=True)
class Form:
    """One form of a map's content."""

    write: Callable[[PlaceMap, Path], None]
    metavar: str
    sentence: str  # what it is, for a person who chooses


EXPORTS = {
    'tum': Form(export_tum, 'FILE', 'poses as `t x y z qx qy qz qw` lines, for evo'),
    'csv': Form(export_csv, 'FILE', 'poses as image,stamp_s,x,y,z,qx,qy,qz,qw'),
    'geojson': Form(export_geojson, 'FILE', 'points in degrees, of a map with a datum'),
    'images': Form(export_images, 'DIR', 'posed folder of thumbnails, which build_map reads'),
    'npz': Form(export_npz, 'FILE', 'descriptors, cells, poses, stamps and names as numpy arrays'),
    'faiss': Form(export_faiss, 'FILE', 'descriptors as a flat faiss index'),
}
"""Every form by its name."""


@contextmanager
def _staged_file(path: Path) -> Iterator[Path]:
    """A staged file whose failures name the file that was asked for."""
    with unwritable_as(MapError, path), staged_file(path) as staging:
        yield staging


def _posed_table(place_map: PlaceMap, names: list[str]) -> str:
    table = io.StringIO(newline='')
    writer = csv.writer(table, lineterminator='\n')
    writer.writerow(COLUMNS)
    for name, stamp_ns, pose in zip(names, place_map.stamps_ns.tolist(), place_map.poses):
        writer.writerow([name, exact_seconds(stamp_ns), *(f'{value:.9f}' for value in pose)])
    return table.getvalue()


def _mounting(place_map: PlaceMap) -> str:
    numbers = [float(value) for value in place_map.base_T_camera]
    return f'position: {numbers[:3]}\nquaternion_xyzw: {numbers[3:]}\n'
