"""What is learned of the robot's cameras on the way: how they are mounted, and how they see.

The rig of the localizer holds what is known. tf gives mountings where no parameter does, and
camera_info gives calibrations.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from vpr_ros.core.camera import camera_info_topic, differs
from vpr_ros.core.errors import VprError
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.types import Frame, Poses
from vpr_ros.core.virtual_camera import shown_share
from vpr_ros.session.answers import Answer
from vpr_ros.session.config import SessionConfig
from vpr_ros.session.counts import Counts
from vpr_ros.session.events import CameraInfoCame, ImageCame
from vpr_ros.session.notes import Notes

_CALIBRATION_S = 5.0  # without camera_info, after which the operator is told
_SHOWN = 0.8  # share of the mapping camera's view, below which the operator is told

MountingOf = Callable[[str], Poses | None]
"""base_T_frame [7] of an optical frame or of odometry's, as tf knows it now, or None."""


class Cameras:
    """The cameras of a session."""

    def __init__(self, notes: Notes, counts: Counts, mounting_of: MountingOf | None) -> None:
        """mounting_of: asked where no parameter gives a mounting."""
        self._notes = notes
        self._counts = counts
        self._mounting_of = mounting_of
        self._frames: dict[int, str] = {}  # by camera, of its last image
        self._first_ns: dict[int, int] = {}  # when the first image came, by camera
        self._calibrates: dict[str, dict[int, str]] = {}  # by topic of calibrations: its cameras
        self._mounted_by_tf: set[int] = set()  # cameras

    def look_up_mounting(self, event: ImageCame, localizer: Localizer) -> Iterator[Answer]:
        """Ask tf for a camera's mounting until it answers, where no parameter gives it."""
        yield from self._compare_frames(event, localizer)
        cameras = localizer.rig.cameras
        if self._mounting_of is None or cameras[event.camera].base_T_camera is not None:
            return
        if not event.camera_frame:
            yield from self._notes.once(
                f'camera {event.camera + 1}: its images have no frame_id, so that tf cannot tell '
                'how it is mounted; set the frame in its driver, or give base_T_camera'
            )
            return
        try:
            found = self._mounting_of(event.camera_frame)
        except VprError as error:
            yield from self._notes.once(str(error))
            return
        if found is not None:
            cameras[event.camera] = replace(cameras[event.camera], base_T_camera=found)
            self._mounted_by_tf.add(event.camera)
            said = f'tf: mounting of {event.camera_frame} found'
            yield from self._notes.once(said, level='info')
        elif event.camera == 0:
            yield from self._notes.once(
                f'tf: no transform to {event.camera_frame} yet; until there is one, poses assume '
                "the mapping camera's mounting"
            )

    def _compare_frames(self, event: ImageCame, localizer: Localizer) -> Iterator[Answer]:
        """Ask tf anew where a camera's images come from another frame than before."""
        camera, frame = event.camera, event.camera_frame
        before = self._frames.get(camera, frame)
        self._frames[camera] = frame
        if before == frame:
            return
        if camera in self._mounted_by_tf:
            cameras = localizer.rig.cameras
            cameras[camera] = replace(cameras[camera], base_T_camera=None)
            self._mounted_by_tf.remove(camera)
        names = ' and '.join(name or 'no frame' for name in (before, frame))
        yield from self._notes.once(
            f'camera {camera + 1}: images of several frames, {names}; let one camera publish on '
            'its topic',
            key=f'frames of camera {camera}',
        )

    def compare_size(
        self, frame: Frame, localizer: Localizer, config: SessionConfig
    ) -> Iterator[Answer]:
        """Tell once where a calibration is not of these images, so that landmarks are not used."""
        place_map = localizer.place_map
        camera = localizer.rig.cameras[frame.camera].calibration or place_map.header.camera
        if camera is None or not place_map.has_landmarks or not config.use_landmarks:
            return
        try:
            camera.scaled_to(frame.image.shape[1], frame.image.shape[0])
        except VprError as error:
            yield from self._notes.once(
                f'camera {frame.camera + 1}: {error}; landmarks are not used. Publish the '
                'camera_info of these images',
                key=f'size of {frame.camera}',
            )

    def miss_calibration(self, event: ImageCame, localizer: Localizer) -> Iterator[Answer]:
        """Tell once where a camera is taken for the mapping camera for want of a calibration."""
        if not localizer.place_map.has_landmarks:
            return
        if any(event.camera in sharing for sharing in self._calibrates.values()):
            return
        first_ns = self._first_ns.setdefault(event.camera, event.came_ns)
        if event.came_ns - first_ns >= _CALIBRATION_S * 1e9:
            yield from self._notes.once(
                f'camera {event.camera + 1}: no camera_info came in {_CALIBRATION_S:.0f} s, so it '
                'is taken for the mapping camera; the poses of another lens are wrong. Publish '
                'the camera_info beside its images',
                key=f'no calibration of {event.camera}',
            )

    def take_calibration(
        self, event: CameraInfoCame, localizer: Localizer, config: SessionConfig
    ) -> Iterator[Answer]:
        """Know how a camera sees."""
        cameras = localizer.rig.cameras
        told = event.calibration
        beside = camera_info_topic(event.topic)
        sharing = self._calibrates.setdefault(beside, {})
        sharing[event.camera] = event.topic
        if len(sharing) > 1:
            yield from self._notes.once(
                f'{beside} calibrates {" and ".join(sharing.values())}: the poses of a camera '
                'with another lens are wrong. Publish the images and the camera_info of each '
                'camera under a name of its own, such as /left/image_raw and /left/camera_info',
                key=f'shared {beside}',
            )
        cameras[event.camera] = replace(cameras[event.camera], calibration=told.camera)
        seen_deg = told.field_of_view_deg
        mapped_deg = localizer.place_map.header.field_of_view_deg
        said = (f'{view:.0f}' if view else 'unknown' for view in (seen_deg, mapped_deg))
        self._counts.say(**{'field of view, camera/map [deg]': '/'.join(said)})
        if told.why_not and localizer.place_map.has_landmarks:
            yield from self._notes.once(
                f'{event.topic}: the calibration in its camera_info cannot be used: '
                f"{told.why_not}; landmarks are looked for with the mapping camera's"
            )
        yield from self._compare_views(event, localizer, config)

    def _compare_views(
        self, event: CameraInfoCame, localizer: Localizer, config: SessionConfig
    ) -> Iterator[Answer]:
        """Tell once where a camera sees much more or less than the mapping camera."""
        header = localizer.place_map.header
        shown = None
        if config.virtual_camera:
            shown = shown_share(event.calibration.camera, header.camera)
        seen_deg, mapped_deg = event.calibration.field_of_view_deg, header.field_of_view_deg
        if shown is not None and shown < _SHOWN:
            yield from self._notes.once(
                f'{event.topic}: this camera sees {shown:.0%} of what the mapping camera '
                'sees of a place: fewer places will be found'
            )
        elif shown is None and mapped_deg and seen_deg and differs(mapped_deg, seen_deg):
            yield from self._notes.once(
                f'{event.topic}: this camera sees {seen_deg:.0f} degrees, the map was made with '
                f'{mapped_deg:.0f}: fewer places will be found'
            )
