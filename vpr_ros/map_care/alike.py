"""Which maps can become one: what their models, frames and landmarks must have in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from vpr_ros.core.errors import MapError
from vpr_ros.core.landmarks.features import Features
from vpr_ros.core.mapping.files import load_array
from vpr_ros.core.mapping.graphs import graph_digests
from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.core.virtual_camera import shown_share
from vpr_ros.drives.same_frame import require_same_frame


class OnDisk(Protocol):
    """A map, opened or with its header alone."""

    @property
    def folder(self) -> Path:
        """Where it is."""
        ...

    @property
    def header(self) -> MapHeader:
        """What its map.yaml says."""
        ...


def require_alike(maps: Sequence[OnDisk]) -> None:
    """Raise MapError where the models, the cells, the frames or the headings of maps differ."""
    for other in maps[1:]:
        _require_pair(maps[0], other)


def _require_pair(first: OnDisk, other: OnDisk) -> None:
    ours, theirs = first.header, other.header
    where = f'{first.folder} and {other.folder}'
    if ours.model_sha256 != theirs.model_sha256:
        raise MapError(
            f'{where}: made with models {ours.model_name} ({ours.model_sha256[:12]}) and '
            f'{theirs.model_name} ({theirs.model_sha256[:12]}), expected the same; '
            'rebuild one with build_map'
        )
    if ours.descriptor_size != theirs.descriptor_size:
        raise MapError(
            f'{where}: made with the same model, but their descriptors have '
            f'{ours.descriptor_size} and {theirs.descriptor_size} numbers, so one of them is '
            'damaged; rebuild it with build_map'
        )
    if ours.cells != theirs.cells:
        sizes = ['none' if each.cells is None else list(each.cells) for each in (ours, theirs)]
        other_one = first if ours.cells is None else other
        raise MapError(
            f'{where}: cells are {sizes[0]} and {sizes[1]}, expected the same; '
            f'rebuild {other_one.folder} with build_map'
        )
    require_same_frame(ours, theirs.frame_id, theirs.datum, where=where)
    sides = 'the first map', 'the second'
    require_same_headings(ours, theirs.has_heading, where=where, sides=sides)


def require_same_headings(
    header: MapHeader,
    has_heading: bool,
    *,
    where: str,
    sides: tuple[str, str] = ('the map', 'the new part'),
) -> None:
    """Raise MapError where only one of a map and another recording, the `sides`, has headings."""
    if has_heading != header.has_heading:
        has, lacks = sides if header.has_heading else reversed(sides)
        raise MapError(
            f'{where}: {has} has headings and {lacks} has none; expected headings in both or in '
            'neither'
        )


def landmarks_held(maps: Sequence[OnDisk]) -> OnDisk:
    """The first map with landmarks, else the first.

    Raises MapError where they differ in kind, or in size although their kind is the same.
    """
    first, *others = [each for each in maps if _has_landmarks(each.header)] or maps[:1]
    for other in others:
        kinds = [
            (each.header.landmark_features, tuple(each.header.graphs.items()))
            for each in (first, other)
        ]
        if kinds[0] != kinds[1]:
            raise MapError(
                f'{first.folder} and {other.folder}: their landmarks are of kind {kinds[0][0]} '
                f'and {kinds[1][0]}, expected one kind, made with the same networks; rebuild one '
                'map with build_map --landmarks'
            )
    _require_one_landmark_size(maps)
    return first


def _has_landmarks(header: MapHeader) -> bool:
    return bool(header.landmark_features) and header.camera is not None


def _require_one_landmark_size(maps: Sequence[OnDisk]) -> None:
    sized = [
        (each.folder, ' x '.join(map(str, shape[1:])))
        for each in maps
        for shape in _landmark_shapes(each.folder, each.header).values()
    ]
    for folder, size in sized[1:]:
        first, expected = sized[0]
        if size != expected:
            raise MapError(
                f'{first} and {folder}: landmarks of {expected} and {size} numbers, expected the '
                'same; rebuild one map with build_map --landmarks'
            )


def require_features(folder: Path, header: MapHeader, features: Features) -> None:
    """Raise MapError where a map has landmarks of another kind or size than these features."""
    held = header.landmark_features, header.graphs
    if held != (features.name, graph_digests(features)):
        raise MapError(
            f'{folder}: the map has landmarks of kind {held[0]} and the new part of kind '
            f'{features.name}; expected one kind, made with the same networks'
        )
    for part, shape in _landmark_shapes(folder, header).items():
        if shape[1:] != (features.descriptor_size,):
            raise MapError(
                f'{folder}: landmarks {list(shape)} in {part}, expected '
                f'{features.descriptor_size} numbers as {features.name} has them; rebuild the '
                'map with build_map --landmarks'
            )


def _landmark_shapes(folder: Path, header: MapHeader) -> dict[str, tuple[int, ...]]:
    """Shape [L, F] of the landmarks' descriptors of each part that has some."""
    return {
        part: load_array(folder / part, 'landmark_descriptors', mapped=True).shape
        for part, names in header.part_files.items()
        if 'landmark_descriptors.npy' in names
    }


def differences(maps: Sequence[OnDisk], mapped: OnDisk) -> list[str]:
    """Notes on mountings and lenses; mapped: the map whose camera all of them share."""
    first, *others = maps
    mounted = [
        f'{other.folder}: its camera is mounted in another way; robots without their own mounting '
        f'use that of {first.folder}'
        for other in others
        if not np.allclose(other.header.base_T_camera, first.header.base_T_camera, atol=1e-6)
    ]
    return mounted + [
        f'{other.folder}: its camera has another lens; robots look for places as the camera of '
        f'{mapped.folder} sees them, and find those of this map less often'
        for other in others
        if shown_share(other.header.camera, mapped.header.camera) is not None
    ]
