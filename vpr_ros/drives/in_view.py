"""A drive as another camera would have recorded it.

Robots look for places as the map's camera sees them. A wide picture can be cut to what a narrow
lens shows, and not the other way round: so one drive through a wide lens can make a map for robots
with narrower ones.
"""

from collections.abc import Iterator
from dataclasses import replace

from vpr_ros.core.camera import Camera, field_of_view_deg
from vpr_ros.core.errors import DriveError, VprError
from vpr_ros.core.types import Image
from vpr_ros.core.virtual_camera import ALL_OF_IT, seen_as, shown_share
from vpr_ros.drives.drive import Drive, LoadImage, RecordedFrame, add_note


def in_view(drive: Drive, camera: Camera) -> Drive:
    """A drive whose images have the view of another camera; itself, where they have it already.

    Raises DriveError where they do not show all of it.
    """
    if drive.camera is None:
        raise DriveError(
            f'{drive.name}: no calibration of its camera in it; --view needs camera_info '
            '(camera_info.yaml of a folder)'
        )
    shown = shown_share(drive.camera, camera)
    if shown is None:
        return drive
    if shown < ALL_OF_IT:
        raise DriveError(
            f'{drive.name}: its camera sees {shown:.0%} of what the camera of --view sees, '
            'expected all of it; record the drive with a wider lens'
        )
    return DriveInView(drive, drive.camera, camera)


class DriveInView:
    """A drive whose images are given the view of another camera."""

    def __init__(self, drive: Drive, own: Camera, camera: Camera) -> None:
        """own: the drive's, which shows all that `camera` sees."""
        self._drive, self._own, self._view = drive, own, camera
        self.camera: Camera | None = camera
        self.field_of_view_deg = field_of_view_deg(camera.width_px, camera.matrix[0])
        self.name, self.frame_id, self.datum = drive.name, drive.frame_id, drive.datum
        self.trajectory, self.has_heading = drive.trajectory, drive.has_heading
        self.base_T_camera, self.mounting_known = drive.base_T_camera, drive.mounting_known
        self.pose_source, self.warnings = drive.pose_source, drive.warnings

    def __len__(self) -> int:
        """Number of images."""
        return len(self._drive)

    def frames(self) -> Iterator[RecordedFrame]:
        """See Drive; depth images are left out, which belong to the pixels of the real camera."""
        for frame in self._drive.frames():
            if frame.depth is not None:
                add_note(
                    self._drive, 'its depth images are not used in the view of another camera'
                )
            yield replace(frame, load=self._loading(frame.load), depth=None, file=None)

    def _loading(self, load: LoadImage) -> LoadImage:
        def load_in_view(*, at_least_hw: tuple[int, int] | None = None) -> Image:
            image = load()  # whole, because a part of it is left
            try:
                own = self._own.scaled_to(image.shape[1], image.shape[0])
            except VprError as error:
                raise VprError(
                    f'{error}; --view needs the calibration of these images: record their '
                    'camera_info'
                ) from error
            size_hw = self._view.height_px, self._view.width_px
            return seen_as(image, own, self._view, size_hw=size_hw)

        return load_in_view
