"""Whether a drive can be compared with a map, or with another drive.

Metres from where odometry began and metres from a datum have nothing to do with each other.
Figures that are made of both look as if they were measured. So do figures of the very drive that
the map was made of: each image finds itself.
"""

import math
from pathlib import Path

import numpy as np

from vpr_ros.core.camera import Camera
from vpr_ros.core.errors import DriveError, MapError, noting
from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.core.trajectory import WALL_NS
from vpr_ros.core.types import Datum, Stamps
from vpr_ros.core.virtual_camera import shown_share
from vpr_ros.drives.drive import Drive, add_note, frame_of, notes_of

_SAME_ORIGIN_M = 0.01
_SAME_TIME_NS = 5 * 10**9  # between a pose and a place; a robot may stand a while
_MOSTLY = 0.5  # share of the poses

OWN_FIGURES = 'if it is the same drive, each image finds itself: take another drive of the place'
"""What follows for whoever judges a map by the drive that it was made of."""


def require_same_frame(
    header: MapHeader, frame_id: str, datum: Datum | None, *, where: str, step: str = ''
) -> None:
    """Raise MapError where poses of another recording are not in a map's frame.

    step: what to do about it, to follow the sentence.
    """
    found, wanted = frame_of(frame_id, datum), frame_of(header.frame_id, header.datum)
    if found != wanted:
        raise MapError(f'{where}: positions in {found}, expected {wanted} as the map{step}')


def require_frame_of_map(header: MapHeader, drive: Drive) -> None:
    """Raise MapError where a drive's poses, if it has some, are not in the map's frame."""
    if drive.trajectory is None:
        return
    step = _step(header.frame_id, is_local=header.datum is None and drive.datum is None)
    with noting(lambda: notes_of(drive)):
        require_same_frame(header, drive.frame_id, drive.datum, where=drive.name, step=step)
        _require_one_origin(header, drive)
    _note_odometry(drive)


def _require_one_origin(header: MapHeader, drive: Drive) -> None:
    """Raise MapError where a geographic drive has another origin than the map of its zone."""
    found, wanted = drive.datum, header.datum
    if found is None or wanted is None:
        return
    apart_m = math.hypot(found.east_m - wanted.east_m, found.north_m - wanted.north_m)
    if apart_m > _SAME_ORIGIN_M:
        raise MapError(
            f'{drive.name}: positions from an origin that lies {apart_m:.4g} m away from the '
            "map's; leave out --datum, and the map's is taken"
        )


def note_mapped(header: MapHeader, drive: Drive, what: str) -> None:
    """Note a drive whose path is that of one on the map; what: follows from it."""
    sources = [header.source, *(change.source for change in header.changes)]
    if any(source and Path(source).resolve() == Path(drive.name).resolve() for source in sources):
        add_note(drive, f'{drive.name}: a drive with this path is on the map already; {what}')


def note_same_time(places_ns: Stamps, drive: Drive, what: str) -> None:
    """Note a drive that was recorded when places of the map were, as a copy or a part of theirs.

    places_ns: stamps of the places. Simulated time, which begins anew each time, tells nothing.
    """
    if drive.trajectory is None or any('is on the map already' in note for note in drive.warnings):
        return
    driven_ns, mapped_ns = drive.trajectory.stamps_ns, np.sort(places_ns)
    if min(driven_ns[0], mapped_ns[0]) < WALL_NS:
        return
    after = np.searchsorted(mapped_ns, driven_ns)
    gaps_ns = [
        np.abs(mapped_ns[np.clip(rows, 0, len(mapped_ns) - 1)] - driven_ns)
        for rows in (after - 1, after)
    ]
    if (np.minimum(*gaps_ns) <= _SAME_TIME_NS).mean() >= _MOSTLY:
        add_note(
            drive, f'{drive.name}: was recorded at the same time as places of the map; {what}'
        )


def note_view(drive: Drive, like: Camera | None) -> None:
    """Note a drive whose images are described in the view of another camera, the map's."""
    shown = shown_share(drive.camera, like)
    if shown is not None:
        add_note(
            drive,
            "its camera has another lens than the mapping camera; its images are given that one's "
            f'view, of which they show {shown:.0%}',
        )


def require_one_frame(first: Drive, other: Drive) -> None:
    """Raise DriveError where two drives have poses, and in unrelated frames."""
    if first.trajectory is None or other.trajectory is None:
        return
    found, wanted = (frame_of(drive.frame_id, drive.datum) for drive in (other, first))
    if found != wanted:
        with noting(lambda: notes_of(first), lambda: notes_of(other)):
            step = _step(first.frame_id, is_local=first.datum is None and other.datum is None)
            raise DriveError(
                f'{other.name}: positions in {found}, expected {wanted} as {first.name}{step}'
            )
    if other is not first:
        _note_odometry(other)


def _note_odometry(drive: Drive) -> None:
    """Note a drive that is compared with another by odometry, as its frame's name says."""
    if drive.datum is None and 'odom' in drive.frame_id.lower():
        add_note(
            drive,
            f'its poses are in frame {drive.frame_id}: odometry begins anew with each recording, '
            'and two recordings do not line up in it; unless both are cuts of one recording, '
            'take poses of SLAM, AMCL or GPS',
        )


def _step(frame_id: str, *, is_local: bool) -> str:
    same = f'; --pose-frame {frame_id} says that it is the same frame' if is_local else ''
    return f'; choose other poses with --pose-topic or --tf-frames{same}'
