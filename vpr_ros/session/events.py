"""All that can happen to a session. The node turns each message and request into one of these.

`came_ns` is when it happened by the node's clock; a `stamp_ns` is the message's own. Both are
nanoseconds.
"""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.camera import CameraCalibration
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.types import Image, Poses
from vpr_ros.session.config import SessionConfig


class ReadImage(Protocol):
    """Decodes an image that has come."""

    def __call__(self, *, at_least_hw: tuple[int, int] | None = None) -> Image:
        """RGB uint8 [H, W, 3]; a JPEG may come smaller, down to this size. Raises ImageError."""
        ...


@dataclass(frozen=True, slots=True)
class ImageCame:
    """A camera took an image."""

    stamp_ns: int
    read: ReadImage
    camera: int = 0  # number of the robot's camera
    camera_frame: str = ''  # its optical frame
    came_ns: int = 0
    came_s: float = 0.0  # the same by time.perf_counter, for latencies


@dataclass(frozen=True, slots=True)
class OdometryCame:
    """Odometry told where the robot is in its own frame."""

    stamp_ns: int
    odom_T_base: Poses  # [7], not checked yet
    came_ns: int = 0
    frames: tuple[str, str] = ('', '')  # of the pose, and of what is at it


@dataclass(frozen=True, slots=True)
class GpsCame:
    """A receiver told where the robot is, in the map's frame."""

    position_m: NDArray[np.float64]  # [2], east and north of the map's origin
    sigma_m: float
    came_ns: int


@dataclass(frozen=True, slots=True)
class InitialPoseCame:
    """An operator, or another localizer, told where the robot is."""

    frame_id: str
    map_T_base: Poses  # [7], not checked yet
    covariance: NDArray[np.float64]  # [6, 6] in ROS order, not checked yet


@dataclass(frozen=True, slots=True)
class CameraInfoCame:
    """A camera told its calibration."""

    topic: str
    calibration: CameraCalibration
    camera: int = 0


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """An operator changed a parameter."""

    config: SessionConfig


@dataclass(frozen=True, slots=True)
class ClockSetBack:
    """The node's clock went back, as when a bag starts again."""

    by_s: float


@dataclass(frozen=True, slots=True)
class ResetAsked:
    """Forget the drive so far."""


@dataclass(frozen=True, slots=True)
class TriggerAsked:
    """Localize the images that come from now on, until there is a fix.

    If others get map -> odom or an initial pose, until the state is LOCALIZED.
    """


@dataclass(frozen=True, slots=True)
class LocalizeAsked:
    """Localize one image outside the drive."""

    stamp_ns: int
    read: ReadImage


@dataclass(frozen=True, slots=True)
class MapOpened:
    """Another map, or a new version of it, is open; the drive goes on there."""

    localizer: Localizer  # by Localizer.with_map
    before_id: str  # of the map that it takes the place of
    rows_before: NDArray[np.int64]  # [N], of each place on that map; -1 for a new one


Event: TypeAlias = (
    ImageCame
    | OdometryCame
    | GpsCame
    | InitialPoseCame
    | CameraInfoCame
    | SettingsChanged
    | ClockSetBack
    | ResetAsked
    | TriggerAsked
    | LocalizeAsked
    | MapOpened
)

OUTDATES_IMAGES = (ClockSetBack, ResetAsked, TriggerAsked)
"""Events after which an image that came before them must not be localized."""
