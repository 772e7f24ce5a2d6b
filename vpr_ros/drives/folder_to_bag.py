"""Make a bag from an image folder: images, poses, calibration and the camera's mounting.

Image files that are JPEG or PNG already go into the bag byte by byte.
"""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from vpr_ros.core.errors import DriveError, ImageError, noting
from vpr_ros.core.geometry import IDENTITY, compose, invert
from vpr_ros.core.image import read_encoded, require_decodable
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import Image, Poses
from vpr_ros.drives import open_drive
from vpr_ros.drives.camera_info import CameraInfo
from vpr_ros.drives.drive import DEFAULTS, Drive, DriveOptions, notes_of
from vpr_ros.drives.folder import FolderDrive
from vpr_ros.drives.geographic import UNKNOWN_ZONE, degrees_of
from vpr_ros.drives.posed_images import Unusable, frames_of, unposed
from vpr_ros.drives.writer import (
    FIX_TOPIC,
    ODOMETRY_TOPIC,
    BagWriter,
    Storage,
    require_place,
    writing,
)

_UNSET_SHIFT_NS = 10**9  # a recording that begins at zero is moved: to ROS a zero stamp is unset
_MAGIC = {b'\xff\xd8\xff': 'jpeg', b'\x89PNG': 'png'}


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """How a folder becomes a bag."""

    storage: Storage = 'mcap'
    rate_hz: float | None = None  # None: the folder's own stamps
    spacing_m: float | None = None  # between images without any pose; None: 1 m
    raw: bool = False  # sensor_msgs/Image instead of CompressedImage


_AS_IS = WriteOptions()


@dataclass(slots=True)
class Written:
    """What went into a bag."""

    images: int = 0
    poses: int = 0
    pose_topic: str = ''
    notes: list[str] = field(default_factory=list)  # for the user


def write_bag(
    folder: Path,
    output: Path,
    options: WriteOptions = _AS_IS,
    drive_options: DriveOptions = DEFAULTS,
) -> Written:
    """Make a bag from an image folder; on DriveError what was at `output` stays as it was.

    Images without any pose become a drive along x, `spacing_m` apart. Positions without headings
    are written as NavSatFix, because an odometry message would claim a heading.
    """
    require_place(output, options.storage)
    drive = open_drive(folder, drive_options)
    if drive.trajectory is not None and options.spacing_m is not None:
        raise DriveError(f'{folder}: its images have poses; leave out --spacing')
    written = Written()
    with noting(lambda: written.notes), writing(output, options.storage) as bag:
        _write_drive(bag, drive, options, written, drive_options.max_pose_gap_s)
        if drive.trajectory is None:
            written.notes.append(
                f'the images are placed along x, one every {_spacing_m(options):g} m'
            )
        written.notes[:0] = notes_of(drive)
        if not written.images:
            raise DriveError(
                f'{folder}: not one of its {counted(len(drive), "image")} can be used'
            )
    return written


def _write_drive(
    bag: BagWriter,
    drive: Drive,
    options: WriteOptions,
    written: Written,
    max_pose_gap_s: float | None,
) -> None:
    calibration = None
    if isinstance(drive, FolderDrive) and drive.camera_info_file is not None:
        calibration = CameraInfo.read(drive.camera_info_file)
    unusable = Unusable()
    unposed_ns: list[int] = []
    shift_ns = 0
    for index, frame in enumerate(frames_of(drive)):
        stamp_ns = frame.stamp_ns
        if options.rate_hz is not None:
            stamp_ns = round(index * 1e9 / options.rate_hz)
        if index == 0:
            shift_ns = _UNSET_SHIFT_NS if stamp_ns == 0 else 0
        stamp_ns += shift_ns
        try:
            encoded = _encoded(frame.file, options)
            image = frame.load() if encoded is None else None
        except ImageError as error:
            unusable.add(error)
            continue
        if not written.images and (drive.mounting_known or drive.trajectory is None):
            bag.mounting(stamp_ns, drive.base_T_camera)  # an assumption is not recorded as a fact
        pose = _base_pose(drive, index, frame.stamp_ns, options, max_pose_gap_s)
        if pose is None:
            unposed_ns.append(frame.stamp_ns)
        else:
            written.pose_topic = _write_pose(bag, drive, stamp_ns, pose)
            written.poses += 1
        if calibration is not None:
            bag.camera_info(stamp_ns, calibration)
        if encoded is not None:
            bag.compressed(stamp_ns, *encoded)
        elif options.raw and image is not None:
            bag.image(stamp_ns, image)
        elif image is not None:
            bag.compressed(stamp_ns, _png(image), 'png')
        written.images += 1
    written.notes += unusable.lines()
    if unposed_ns:
        stamps_ns = np.array(unposed_ns)
        written.notes.append(unposed(drive, stamps_ns, 'pose', max_pose_gap_s=max_pose_gap_s))


def _spacing_m(options: WriteOptions) -> float:
    return 1.0 if options.spacing_m is None else options.spacing_m


def _base_pose(
    drive: Drive,
    index: int,
    recorded_ns: int,
    options: WriteOptions,
    max_pose_gap_s: float | None,
) -> Poses | None:
    """map_T_base [7] of one image, by its number and stamp in the drive; None: not known.

    Without headings the camera's arm has no direction: it is the camera's position.
    """
    if drive.trajectory is None:
        along_x = IDENTITY.copy()
        along_x[0] = index * _spacing_m(options)
        return along_x
    cameras, known = drive.trajectory.at(np.array([recorded_ns]), max_gap_s=max_pose_gap_s)
    if not known[0]:
        return None
    return compose(cameras[0], invert(drive.base_T_camera)) if drive.has_heading else cameras[0]


def _write_pose(bag: BagWriter, drive: Drive, stamp_ns: int, pose: Poses) -> str:
    """Write the pose [7] of one image; gives its topic."""
    datum = drive.datum
    is_position = drive.trajectory is not None and not drive.has_heading
    if is_position and datum is not None and datum.utm_zone != UNKNOWN_ZONE and datum.utm_letter:
        east_m, north_m = pose[0] + datum.east_m, pose[1] + datum.north_m
        place = degrees_of(east_m, north_m, datum.utm_zone, datum.utm_letter)
        bag.fix(stamp_ns, *place, datum.altitude_m)
        return FIX_TOPIC
    bag.odometry(stamp_ns, pose)
    return ODOMETRY_TOPIC


def _encoded(file: Path | None, options: WriteOptions) -> tuple[bytes, str] | None:
    """An image file's bytes and their kind, None where they have to be decoded first."""
    if file is None or options.raw:
        return None
    content = read_encoded(file)
    kind = next((kind for magic, kind in _MAGIC.items() if content.startswith(magic)), None)
    if kind is None:
        return None
    require_decodable(content, source=str(file))
    return content, kind


def _png(image: Image) -> bytes:
    done, encoded = cv2.imencode('.png', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise ImageError(f'image of shape {image.shape} cannot be written as PNG')
    return bytes(encoded)
