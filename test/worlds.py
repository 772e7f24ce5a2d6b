"""Small maps and models for tests, written by the same code that users run."""

from pathlib import Path

import numpy as np

from vpr_ros.core.geometry import FORWARD_CAMERA, compose, yaw_quat
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.place_map import MapHeader, PlaceMap, build
from vpr_ros.core.types import Poses


def unit_rows(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Random unit descriptors [count, size]."""
    rows = np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def straight_drive(count: int, *, spacing_m: float = 1.0, yaw_rad: float = 0.0) -> Poses:
    """map_T_camera [count, 7] of a robot that drives along x, looking `yaw_rad` from it."""
    bases = np.zeros((count, 7))
    bases[:, 0] = np.arange(count) * spacing_m
    bases[:, 3:] = yaw_quat(yaw_rad)
    return compose(bases, FORWARD_CAMERA)


def write_map(
    folder: Path, descriptors: np.ndarray, poses: Poses, *, model_sha256: str = 'a' * 64, has_heading: bool = True
) -> PlaceMap:
    """A map of given descriptors and camera poses."""
    header = MapHeader(
        model_name='test',
        model_sha256=model_sha256,
        descriptor_size=descriptors.shape[1],
        has_heading=has_heading,
    )
    with build(folder, header) as writer:
        for row, (descriptor, pose) in enumerate(zip(descriptors, poses, strict=True)):
            picture = np.full((24, 32, 3), row % 256, dtype=np.uint8)
            writer.add(descriptor, pose, stamp_ns=row * 10**9, name=f'{row}.jpg', thumbnail=encode_jpeg(picture))
    return PlaceMap.open(folder)
