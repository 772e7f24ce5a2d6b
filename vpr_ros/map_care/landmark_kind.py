"""Whether the places of a drive get landmarks, and of which kind.

Landmarks need known directions of pixels: a calibrated camera, and poses with headings. Cells cost
nothing beside the descriptor, so they are taken wherever a drive allows them; other kinds are
asked for.
"""

from pathlib import Path

from vpr_ros.core.describing.describe import Describer
from vpr_ros.core.describing.shipped import shipped_graphs
from vpr_ros.core.errors import ConfigError, DriveError
from vpr_ros.core.landmarks.feature_kinds import GRAPHS_OF_KIND, features_named
from vpr_ros.core.landmarks.features import CellFeatures, Features
from vpr_ros.core.landmarks.points import LandmarkMaker
from vpr_ros.core.mapping.graphs import features_of
from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.drives.drive import Drive

NO_LANDMARKS = 'none'


def _tells_directions(drive: Drive) -> bool:
    """Whether the pixels of a drive's images are known directions in the map's frame."""
    return drive.camera is not None and drive.has_heading


def landmark_maker(
    drive: Drive, describer: Describer, features: Features | None
) -> LandmarkMaker | None:
    """For the images of a drive, as many at once as are described; None without features.

    Raises DriveError for a drive without calibration or headings.
    """
    if features is None:
        return None
    if drive.camera is None or not drive.has_heading:
        missing = 'calibration of its camera' if drive.camera is None else 'headings'
        raise DriveError(
            f'{drive.name}: no {missing} in it; --landmarks needs camera_info '
            '(camera_info.yaml of a folder) and poses with rotations'
        )
    return LandmarkMaker(drive.camera, features, at_once=describer.at_once)


def chosen_features(
    kind: str | None, drive: Drive, cells: tuple[int, int, int] | None
) -> Features | None:
    """The features that --landmarks asks for, '' being SIFT; None for `none`.

    kind: None takes cells, where the drive can have landmarks and the map has cells; cells:
    (h, w, C) of the map. Raises ConfigError for others than there are or fit, ModelError where
    their networks have not been exported.
    """
    if kind is None:
        return CellFeatures() if cells and _tells_directions(drive) else None
    return features_of_kind(kind, cells)


def features_of_kind(kind: str, cells: tuple[int, int, int] | None) -> Features | None:
    """The features of a named kind; otherwise as `chosen_features`."""
    if kind == NO_LANDMARKS:
        return None
    kind = kind or 'sift'
    if kind not in GRAPHS_OF_KIND:
        choices = ', '.join((*GRAPHS_OF_KIND, NO_LANDMARKS))
        raise ConfigError(f'--landmarks {kind}: expected one of {choices}')
    if kind == CellFeatures.name and cells is None:
        raise ConfigError(
            '--landmarks cells: the map has no cells; choose a model with cells, or --landmarks '
            'sift'
        )
    return features_named(kind, shipped_graphs(GRAPHS_OF_KIND[kind]))


def features_to_append(
    folder: Path, header: MapHeader, kind: str | None, drive: Drive
) -> Features | None:
    """As `chosen_features`, but a map that has landmarks gives its own, unless others are named.

    A map without landmarks goes on without, unless some are asked for.
    """
    held = header.landmark_features
    if held and (kind in ('', held) or (kind is None and _tells_directions(drive))):
        return features_of(folder, header)
    return None if kind is None else chosen_features(kind, drive, header.cells)
