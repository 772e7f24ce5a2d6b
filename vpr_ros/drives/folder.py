"""Image folders as drives: posed folders, `@utm@` names, EXIF GPS, and plain images.

Each photo stands for itself: a photo without a pose stays without one, and nothing is interpolated
between two, unless a file of poses is given. Stamps come from the recording where every image has
one of its own, in its tags or as its name; otherwise image k is taken at k seconds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from vpr_ros.core.camera import Camera, unusable_said
from vpr_ros.core.documents import parse_yaml, read_bytes
from vpr_ros.core.errors import DocumentError, DriveError, VprError, noting
from vpr_ros.core.geometry import FORWARD_CAMERA, IDENTITY, checked_pose, compose, yaw_quat
from vpr_ros.core.image import read
from vpr_ros.core.image_files import is_image_file, not_understood
from vpr_ros.core.mapping.layout import FIRST_PART
from vpr_ros.core.plurals import by_count, counted
from vpr_ros.core.stamps import wall_time_ns
from vpr_ros.core.trajectory import Trajectory
from vpr_ros.core.types import Datum, Poses
from vpr_ros.drives.bag_files import in_order, is_bag
from vpr_ros.drives.camera_info import CameraInfo
from vpr_ros.drives.drive import DEFAULTS, DriveOptions, RecordedFrame
from vpr_ros.drives.geographic import grid_convergence_deg
from vpr_ros.drives.geotags import (
    Geotag,
    exif_geotags,
    has_utm_names,
    place_geotags,
    utm_geotags,
)
from vpr_ros.drives.headings import with_true_headings, with_true_views
from vpr_ros.drives.pose_notes import ImageTime, note_clocks, note_jumps, poses_of_files
from vpr_ros.drives.posed_csv import read_posed_csv

POSES_NAME, MOUNTING_NAME, CAMERA_INFO_NAME = 'poses.csv', 'mounting.yaml', 'camera_info.yaml'

UNDERSTOOD = (
    'images/ with poses.csv (image,stamp_s,x,y,z,qx,qy,qz,qw), '
    'images named @UTM_east@UTM_north@zone@letter@..., photos with EXIF GPS, or plain images'
)


@dataclass(frozen=True, slots=True)
class Photo:
    """One image file, when it was taken, and where if that is known."""

    file: Path
    stamp_ns: int
    pose: Poses | None = None  # map_T_camera [7]


class FolderDrive:
    """A folder of images whose poses have been read; see Drive."""

    def __init__(self, path: Path, options: DriveOptions = DEFAULTS) -> None:
        """Read poses and names but no pixels; raises DriveError."""
        self.name = str(path)
        self.frame_id = 'map'
        self.datum: Datum | None = None
        self.has_heading = False
        self.warnings: list[str] = []
        self.pose_source = 'no poses: plain images'
        self.camera_info_file: Path | None = None
        self.field_of_view_deg: float | None = None
        self.camera: Camera | None = None
        self.base_T_camera, self.mounting_known = _mounting(path, options)
        if not path.is_dir():
            raise DriveError(f'{path}: no such folder; supported are {UNDERSTOOD}')
        with noting(lambda: self.warnings):
            if (path / POSES_NAME).is_file():
                self._open_posed(path)
            else:
                self._open_images(path, options)
            if (path / CAMERA_INFO_NAME).exists():
                self.camera_info_file = path / CAMERA_INFO_NAME
                self._read_camera_info(self.camera_info_file)
        if options.pose_frame and self.datum is None:
            self.frame_id = options.pose_frame
        if options.pose_files:
            self._take_poses(options)
        else:
            self._take_own_poses(path)

    def _take_own_poses(self, path: Path) -> None:
        """Have the poses of the photos; none where none has one."""
        poses = [photo for photo in self._photos if photo.pose is not None]
        self.trajectory: Trajectory | None = None
        if not poses:
            return
        self.trajectory = Trajectory.from_unordered(
            np.array([photo.stamp_ns for photo in poses]),
            np.array([photo.pose for photo in poses]),
            source=self.name,
            interpolates=False,
        )
        is_posed = (path / POSES_NAME).is_file()
        named = self._photos[0].file.name.startswith('@')
        source = POSES_NAME if is_posed else '@utm@ names' if named else 'EXIF GPS'
        self.pose_source = f'poses from {source}: {len(poses)} of {counted(len(self), "image")}'
        if is_posed:
            note_jumps(self.trajectory, source, self.warnings)
            self.trajectory, self.has_heading = with_true_views(
                self.trajectory, source, self.warnings
            )

    def _take_poses(self, options: DriveOptions) -> None:
        """Have the poses of files instead of the photos' own; raises DriveError."""
        if not self._has_stamps:
            raise DriveError(
                f'{self.name}: the images have no stamps, so --pose-file cannot tell where they '
                'were taken; name each image by its stamp in seconds or nanoseconds, as '
                f'1403636579.763556.png, or write a {POSES_NAME}'
            )
        first_ns, last_ns = self._photos[0].stamp_ns, self._photos[-1].stamp_ns
        images = ImageTime('', '', len(self), first_ns, last_ns - first_ns)
        found, self.pose_source, files = poses_of_files(options, images, self.warnings)
        base = with_true_headings(found, self.base_T_camera, files, self.warnings)
        self.trajectory = base.of_camera(self.base_T_camera)
        self.has_heading = base.has_heading
        note_clocks(images, base.trajectory, self.warnings)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._photos)

    def frames(self) -> Iterator[RecordedFrame]:
        """Images in the order of their stamps."""
        for photo in self._photos:
            yield RecordedFrame(
                photo.stamp_ns, photo.file.name, partial(read, photo.file), file=photo.file
            )

    def _open_posed(self, path: Path) -> None:
        images = path / 'images' if (path / 'images').is_dir() else path
        rows, warnings = read_posed_csv(path / POSES_NAME, images)
        self.warnings += warnings
        self.has_heading = self._has_stamps = True
        self._photos = _in_time(
            [Photo(images / row.image, row.stamp_ns, row.pose) for row in rows]
        )
        self._warn_of_moved([row.stamp_ns for row in rows])
        unlisted = len(set(image_files(images)) - {photo.file for photo in self._photos})
        if unlisted:
            self.warnings.append(
                f'{counted(unlisted, "image")} in {images} {by_count(unlisted, "is", "are")} not '
                f'listed in {POSES_NAME} and {by_count(unlisted, "was", "were")} left out'
            )
        self.warnings += not_understood(_files_of(path))

    def _read_camera_info(self, file: Path) -> None:
        try:
            calibration = CameraInfo.read(file).calibration
        except DriveError as error:
            self.warnings.append(str(error))
            return
        self.field_of_view_deg = calibration.field_of_view_deg
        self.camera = calibration.camera
        if calibration.why_not:
            self.warnings.append(unusable_said(str(file), calibration.why_not))

    def _open_images(self, path: Path, options: DriveOptions) -> None:
        files = image_files(path / 'images') or image_files(path)
        if not files:
            inner = _inner(path, image_files)
            bags = _inner(path, is_bag)
            hint = f', but in {", ".join(inner)}' if inner else ''
            hint += ': it is a map, give the recording' if (path / FIRST_PART).is_dir() else ''
            hint += f', but a bag in {", ".join(bags)}: give that folder' if bags else ''
            foreign = ''.join(f'; {said}' for said in not_understood(_files_of(path)))
            raise DriveError(f'{path}: no images in it{hint}{foreign}; supported are {UNDERSTOOD}')
        self.warnings += not_understood(_files_of(path))
        self._warn_of_unread(path, files[0].parent)
        by_name = has_utm_names(files)
        tags = utm_geotags(files) if by_name else exif_geotags(files, self.warnings)
        own_ns = _stamps([tag.stamp_ns if tag else None for tag in tags])
        timed = sum(tag is not None and tag.stamp_ns is not None for tag in tags)
        own_ns = own_ns or _stamps([wall_time_ns(file.stem) for file in files])
        self._has_stamps = own_ns is not None
        if timed and own_ns is None:
            self.warnings.append(
                f'{timed} of {counted(len(files), "image")} {by_count(timed, "has", "have")} a '
                'time, but not each one of its own; instead image k is taken at k seconds'
            )
        stamps_ns = own_ns or [index * 10**9 for index in range(len(files))]
        self._photos = [Photo(file, ns) for file, ns in zip(files, stamps_ns)]
        if any(tags) and not options.pose_files:
            self._place(tags, options)
        self._photos = _in_time(self._photos)

    def _warn_of_unread(self, path: Path, read: Path) -> None:
        """Note images beside those that are read, and a table of poses in another place."""
        others = [path] if read != path and image_files(path) else []
        others += [path / name for name in _inner(path, image_files) if path / name != read]
        if others:
            counts = ', '.join(f'{len(image_files(other))} in {other}' for other in others)
            self.warnings.append(f'the images in {read} are read, and not {counts}')
        if tables := [file for file in _files_of(path) if file.name.lower() == POSES_NAME]:
            self.warnings.append(
                f'{tables[0]} is not read; the table of the poses is {path / POSES_NAME}'
            )

    def _place(self, tags: Sequence[Geotag | None], options: DriveOptions) -> None:
        placed = place_geotags(tags, options.datum, self.warnings)
        self.datum = placed.datum
        known = [tag for tag in tags if tag is not None]
        self.has_heading = all(tag.heading_deg is not None for tag in known)
        self._photos = [
            replace(
                photo,
                pose=None
                if position is None
                else _pose(position, tag if self.has_heading else None, placed.datum),
            )
            for photo, tag, position in zip(self._photos, tags, placed.east_north_m)
        ]
        if unknown := len(tags) - len(known):
            verb = by_count(unknown, 'has', 'have')
            self.warnings.append(f'{unknown} of {counted(len(tags), "image")} {verb} no position')
        headed = sum(tag.heading_deg is not None for tag in known)
        without = len(known) - headed
        if 0 < without < len(known):
            verb = by_count(without, 'has', 'have')
            self.warnings.append(
                f'{without} of {len(known)} images with a position {verb} no direction, '
                'so the directions of the others are not used'
            )

    def _warn_of_moved(self, stamps_ns: Sequence[int]) -> None:
        shared = len(stamps_ns) - len(set(stamps_ns))
        if shared:
            self.warnings.append(
                f'{counted(shared, "image shares", "images share")} a stamp with another and '
                f'{by_count(shared, "was", "were")} moved by a nanosecond'
            )


def image_files(folder: Path) -> list[Path]:
    """The image files directly in a folder, as people count; hidden ones are left out."""
    if not folder.is_dir():
        return []
    return in_order([file for file in folder.iterdir() if is_image_file(file)])


def _stamps(found_ns: Sequence[int | None]) -> list[int] | None:
    """Stamps of images, where each has one of its own."""
    stamps_ns = [ns for ns in found_ns if ns is not None]
    is_complete = len(stamps_ns) == len(found_ns) == len(set(stamps_ns))
    return stamps_ns if is_complete else None


def _inner(path: Path, holds: Callable[[Path], object]) -> list[str]:
    """Names of the folders in a folder that hold something, as people count; not hidden ones."""
    folders = [entry for entry in path.iterdir() if entry.is_dir()]
    return [
        folder.name
        for folder in in_order(folders)
        if not folder.name.startswith('.') and holds(folder)
    ]


def _files_of(path: Path) -> list[Path]:
    """The files in a folder of images and in its images/."""
    inner = path / 'images'
    return [*path.iterdir(), *(inner.iterdir() if inner.is_dir() else ())]


def _pose(east_north_m: tuple[float, float], headed: Geotag | None, datum: Datum) -> Poses:
    """map_T_camera [7] by compass heading (0 north, clockwise), else unturned.

    A compass knows the Earth's north, a map that of its UTM grid.
    """
    pose = IDENTITY.copy()
    pose[:2] = east_north_m
    if headed is None or headed.heading_deg is None:
        return pose
    heading_deg = headed.heading_deg
    if headed.degrees is not None:
        heading_deg -= grid_convergence_deg(*headed.degrees, datum)
    pose[3:] = yaw_quat(np.radians(90.0 - heading_deg))
    return compose(pose, FORWARD_CAMERA)


def _in_time(photos: Sequence[Photo]) -> list[Photo]:
    """Photos by stamp; equal stamps are moved by nanoseconds, so that each keeps its own pose."""
    ordered: list[Photo] = []
    last_ns: int | None = None
    for photo in sorted(photos, key=lambda photo: photo.stamp_ns):
        stamp_ns = photo.stamp_ns if last_ns is None else max(photo.stamp_ns, last_ns + 1)
        ordered.append(replace(photo, stamp_ns=stamp_ns))
        last_ns = stamp_ns
    return ordered


def _mounting(path: Path, options: DriveOptions) -> tuple[Poses, bool]:
    """base_T_camera [7] and whether it is known."""
    if options.base_T_camera is not None:
        return checked_pose(options.base_T_camera, source='base_T_camera'), True
    file = path / MOUNTING_NAME
    if not file.exists():
        return FORWARD_CAMERA, False
    try:
        found = parse_yaml(read_bytes(file))
        return checked_pose(
            [*found['position'], *found['quaternion_xyzw']], source=str(file)
        ), True
    except (OSError, DocumentError, KeyError, TypeError, ValueError) as error:
        raise DriveError(
            f'{file}: expected base_T_camera as '
            'position: [x, y, z] and quaternion_xyzw: [x, y, z, w] '
            f'({" ".join(str(error).split())})'
        ) from error
    except VprError as error:
        raise DriveError(str(error)) from error
