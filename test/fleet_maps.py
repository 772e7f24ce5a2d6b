"""Maps of drives to push into a fleet's store, and what is compared of those that come back."""

from pathlib import Path

import numpy as np
from fleet_world import FleetProcess
from worlds import CELLS, cell_bits, straight_drive, unit_rows

from vpr_ros.core.camera import Camera
from vpr_ros.core.landmarks.feature_kinds import features_named
from vpr_ros.core.landmarks.points import Landmarks
from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.writer import build
from vpr_ros.core.types import Datum

SIZE = 16


def drive(
    folder: Path,
    *,
    places: int = 10,
    seed: int = 0,
    north_m: float = 0.0,
    model: str = 'a' * 64,
    frame_id: str = 'map',
    datum: Datum | None = None,
    cells: bool = True,
    landmarks: str = '',
    focal_px: float = 50.0,
    thumbnail_bytes: int = 100,
) -> Path:
    """A map of one straight drive of random places, a metre apart.

    landmarks: their kind, of a map that has some; place n has n of them.
    """
    features = features_named(landmarks, {}) if landmarks else None
    matrix = (focal_px, 0.0, 31.5, 0.0, focal_px, 23.5, 0.0, 0.0, 1.0)
    header = MapHeader(
        model_name=f'model-{model[0]}',
        model_sha256=model,
        descriptor_size=SIZE,
        cells=CELLS if cells else None,
        frame_id=frame_id,
        datum=datum,
        camera=Camera(64, 48, matrix) if features else None,
        landmark_features=features.name if features else '',
        source=f'{folder.name}.bag',
        made_at='2026-01-01T00:00:00+00:00',
    )
    poses = straight_drive(places)
    poses[:, 1] += north_m
    rows, bits = unit_rows(places, SIZE, seed), cell_bits(places, seed)
    with build(folder, header, features=features) as writer:
        for row in range(places):
            writer.add(
                rows[row],
                poses[row],
                stamp_ns=row * 10**9,
                name=f'{seed}/{row}.jpg',
                thumbnail=bytes([row % 256, seed]) * (thumbnail_bytes // 2),
                cells=bits[row] if cells else None,
            )
            if features:
                writer.add_landmarks(some_landmarks(row, features.descriptor_size, seed))
    return folder


def some_landmarks(count: int, size: int, seed: int) -> Landmarks:
    random = np.random.default_rng([seed, count])
    points = random.uniform(1, 20, (count, 3)).astype(np.float32)
    sigmas = random.uniform(0.01, 1, count).astype(np.float32)
    return Landmarks(points, sigmas, random.integers(0, 256, (count, size), dtype=np.uint8))


def refused_pull(engine: FleetProcess, fleet: Path, output: Path, *options: str) -> str:
    """The error of a pull that is refused and writes no map."""
    said = engine.refused('pull', '--fleet', fleet, *options, '--output', output)
    assert not output.exists()
    return said


def require_same_places(first: PlaceMap, other: PlaceMap) -> None:
    everything = np.arange(len(first))
    assert first.names == other.names
    np.testing.assert_array_equal(first.poses, other.poses)
    np.testing.assert_array_equal(first.stamps_ns, other.stamps_ns)
    np.testing.assert_array_equal(
        first.descriptors_of(everything), other.descriptors_of(everything)
    )
    np.testing.assert_array_equal(first.cells_of(everything), other.cells_of(everything))
    thumbnails = ([one.thumbnail_jpeg(row) for row in everything] for one in (first, other))
    assert len({tuple(each) for each in thumbnails}) == 1
