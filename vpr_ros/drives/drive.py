"""The interface of every recording: images in time order, and where the camera was."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.camera import Camera
from vpr_ros.core.trajectory import Trajectory
from vpr_ros.core.types import Datum, Image, Poses
from vpr_ros.drives.pose_file import PoseFile


class LoadImage(Protocol):
    """Decodes an image; may run in any thread."""

    def __call__(self, *, at_least_hw: tuple[int, int] | None = None) -> Image:
        """RGB uint8 [H, W, 3]; a JPEG may come smaller, as in image.decode. Raises ImageError."""
        ...


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """One image of a drive, not yet decoded."""

    stamp_ns: int
    name: str  # unique within the drive: a file name, or topic, number and stamp
    load: LoadImage
    depth: Callable[[], NDArray[np.float32]] | None = (
        None  # [H, W] metres along z, NaN where not measured; aligned with the image
    )
    file: Path | None = None  # the image file itself, where there is one


@dataclass(frozen=True, slots=True)
class DriveOptions:
    """What the caller adds if the recording does not say it."""

    image_topic: str | None = None  # None: the only image topic
    depth_topic: str | None = None  # None: one that is named as aligned with the images
    pose_topic: str | None = None  # None: chosen by what is there, see pose_sources
    pose_files: tuple[PoseFile, ...] = ()  # instead of the poses of the recording
    tf_frames: tuple[str, str] | None = None  # (map frame, base frame): take poses from /tf
    tf_topic: str | None = None  # None: the tf of the image topic's namespace
    pose_frame: str | None = None  # what the poses' frame is called; None: as recorded
    base_T_camera: Poses | None = field(
        default=None
    )  # [7]; None: from tf_static, else a forward camera
    datum: Datum | None = None  # None: the first position
    max_pose_gap_s: float | None = None  # None: 2.5 times the poses' usual period, 1 to 15 s
    view: Camera | None = None  # whose view the images get; None: as they were taken


DEFAULTS = DriveOptions()
"""Use only what the recording says itself."""


class Drive(Protocol):
    """A recording, to be read as often as needed; only the trajectory is held in memory."""

    name: str  # what the user gave: a path
    frame_id: str  # of the trajectory, for example 'map'
    datum: Datum | None  # of a geographic trajectory
    trajectory: Trajectory | None  # map_T_camera, optical frame; None without ground truth
    has_heading: bool  # False: rotations of the trajectory are unknown (identity)
    base_T_camera: Poses  # [7]
    mounting_known: bool  # False: base_T_camera is FORWARD_CAMERA by assumption
    field_of_view_deg: float | None  # horizontal; None where the recording does not say
    camera: Camera | None  # calibration of the images; None where the recording has none
    pose_source: str  # for the user: what gave the poses and why that, or what there is instead
    warnings: list[
        str
    ]  # what could not be read, for the user; may grow until the last frame was read

    def __len__(self) -> int:
        """Number of images."""
        ...

    def frames(self) -> Iterator[RecordedFrame]:
        """Images in the order of their stamps, except where the recording's clock was set back.

        Raises DriveError where the recording cannot be opened any more, or holds not one readable
        image. A recording that breaks off in its middle gives the images before the break and says
        so in `warnings`.
        """
        ...


def notes_of(drive: Drive) -> list[str]:
    """What the user should know of a drive: where its poses come from, and what is wrong."""
    return [drive.pose_source, *drive.warnings]


def add_note(drive: Drive, text: str) -> None:
    """Add a note to those of a drive, once."""
    note(drive.warnings, text)


def note(warnings: list[str], text: str) -> None:
    """Add a note, once."""
    if text not in warnings:
        warnings.append(text)


def frame_of(frame_id: str, datum: Datum | None) -> str:
    """What positions are relative to, for people."""
    if datum is None:
        return f'frame {frame_id}'
    return f'UTM zone {datum.utm_zone}{datum.utm_letter}'
