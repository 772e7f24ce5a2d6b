"""Landmarks of places as columns of a table: their bytes, their identity, and what they must be.

A place's id does not cover its landmarks, so that the same place with and without them is known
to be the same. They have an id of their own beside it, and a part's digest covers both. Landmarks
whose kind runs a network stay out, because the networks are not in a store.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vpr_ros.core.errors import FleetError
from vpr_ros.core.landmarks.feature_kinds import size_without_networks
from vpr_ros.core.landmarks.points import Landmarks
from vpr_ros.core.mapping.layout import ArrayForm, landmark_arrays
from vpr_ros.fleet.engine import RESTORE

if TYPE_CHECKING:
    import pyarrow as pa

LANDMARK_ID = 'landmark_id'
LANDMARK_COLUMNS = ('landmark_points', 'landmark_sigmas', 'landmark_descriptors')
MOST_LANDMARKS = 8192
"""Of one place."""


def landmark_ids(landmarks: Sequence[Landmarks], kind: str) -> list[bytes]:
    """What each place's landmarks are known by, 32 bytes."""
    found = []
    for one in landmarks:
        digest = hashlib.sha256(f'vpr_ros landmarks 1 {kind} {len(one)}\n'.encode())
        for packed in landmark_bytes(one):
            digest.update(packed)
        found.append(digest.digest())
    return found


def landmark_bytes(landmarks: Landmarks) -> list[bytes]:
    """The values of LANDMARK_COLUMNS of one place: the rows of the map's arrays."""
    forms = landmark_arrays(landmarks.descriptors.shape[1])
    arrays = landmarks.points_m, landmarks.sigma_m, landmarks.descriptors
    return [
        np.ascontiguousarray(array, dtype=forms[name].dtype).tobytes()
        for name, array in zip(LANDMARK_COLUMNS, arrays)
    ]


def landmarks_of(rows: 'pa.Table', kind: str, *, where: str) -> list[Landmarks]:
    """Landmarks of each row of the table; raises FleetError for bytes that are none."""
    columns = [rows.column(name).to_pylist() for name in LANDMARK_COLUMNS]
    return [_landmarks(packed, kind, where) for packed in zip(*columns)]


def _landmarks(packed: Sequence[bytes], kind: str, where: str) -> Landmarks:
    forms = landmark_arrays(size_without_networks(kind) or 0)
    sizes = [_row_bytes(forms[name]) for name in LANDMARK_COLUMNS]
    count = len(packed[0]) // sizes[0]
    expected = [count * size for size in sizes]
    if [len(one) for one in packed] != expected:
        raise FleetError(
            f'{where}: landmarks of {" and ".join(str(len(one)) for one in packed)} bytes, '
            f'expected {" and ".join(map(str, sizes))} for each; '
            f'{RESTORE}'
        )
    points, sigmas, descriptors = (
        np.frombuffer(one, forms[name].dtype).reshape(forms[name].shape(count))
        for name, one in zip(LANDMARK_COLUMNS, packed)
    )
    return Landmarks(points, sigmas.astype(np.float32), descriptors)


def _row_bytes(form: ArrayForm) -> int:
    return form.dtype.itemsize * (form.columns or 1)


def require_sound_landmarks(landmarks: Sequence[Landmarks], *, where: str) -> None:
    """Raise FleetError for landmarks that no map holds."""
    for one in landmarks:
        for wrong in _faults(one):
            raise FleetError(f'{where}: {wrong}')


def _faults(landmarks: Landmarks) -> Iterator[str]:
    points, sigmas = landmarks.points_m, landmarks.sigma_m
    if len(landmarks) > MOST_LANDMARKS:
        yield f'{len(landmarks)} landmarks of a place, expected at most {MOST_LANDMARKS}'
    if not np.isfinite(points).all():
        yield 'a landmark contains NaN or infinity, expected finite metres'
    if not (points[:, 2] > 0).all():
        yield f'a landmark {points[:, 2].min():.3g} m in front of its camera, expected above 0'
    if not (np.isfinite(sigmas) & (sigmas >= 0)).all():
        yield 'the standard deviation of a landmark is below 0 or not finite, expected metres'
