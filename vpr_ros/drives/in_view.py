"""A drive as another camera would have recorded it.

Robots look for places as the map's camera sees them. A wide picture can be cut to what a narrow
lens shows, and not the other way round: so one drive through a wide lens can make a map for robots
with narrower ones.
"""

from collections.abc import Iterator
from dataclasses import replace

from vpr_ros.core.camera import Camera, field_of_view_deg
from vpr_ros.core.errors import DriveError
from vpr_ros.core.types import Image
from vpr_ros.core.virtual_camera import ALL_OF_IT, shown_share, virtual_camera
from vpr_ros.drives.drive import Drive, LoadImage, RecordedFrame, add_note


class DriveInView:
    """A drive whose images are given the view of another camera."""

    def __init__(self, drive: Drive, camera: Camera) -> None:
        """camera: whose view the images get; raises DriveError where they do not show it."""
        if drive.camera is None:
            raise DriveError(
                f'{drive.name}: no calibration of its camera in it; --view needs camera_info '
                '(camera_info.yaml of a folder)'
            )
        if not shows_all_of(drive, camera):
            shown = shown_share(drive.camera, camera) or 0.0
            raise DriveError(
                f'{drive.name}: its camera sees {shown:.0%} of what the camera of --view sees, '
                'expected all of it; record the drive with a wider lens'
            )
        self._drive, self._own, self._view = drive, drive.camera, camera
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
        size_hw = self._view.height_px, self._view.width_px

        def load_in_view(*, at_least_hw: tuple[int, int] | None = None) -> Image:
            image = load()  # whole, because a part of it is left
            image_hw = image.shape[0], image.shape[1]
            made = virtual_camera(self._own, self._view, image_hw=image_hw, size_hw=size_hw)
            return image if made is None else made.view(image)

        return load_in_view


def shows_all_of(drive: Drive, camera: Camera) -> bool:
    """Whether a drive's camera sees all that another one does; False where it is not known."""
    if drive.camera is None:
        return False
    shown = shown_share(drive.camera, camera)
    return shown is None or shown >= ALL_OF_IT
