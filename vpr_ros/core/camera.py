"""How much a camera sees.

Descriptors compare whole pictures, so a camera that sees half as much as the one that made the
map finds fewer places. Nothing else about the lens matters to them.
"""

import math

WORTH_SAYING = 1.25
"""Ratio of two fields of view from which the operator should know."""


def field_of_view_deg(width_px: int, focal_px: float) -> float | None:
    """Horizontal field of view in degrees of a pinhole camera; None for an unset calibration.

    width_px: of the image; focal_px: K[0] of sensor_msgs/CameraInfo, zero if not calibrated.
    """
    if not (width_px > 0 and math.isfinite(focal_px) and focal_px > 0):
        return None
    return math.degrees(2 * math.atan(width_px / (2 * focal_px)))


def differs(first_deg: float, second_deg: float) -> bool:
    """Whether two fields of view are so different that recall will suffer."""
    return max(first_deg, second_deg) > WORTH_SAYING * min(first_deg, second_deg)


def camera_info_topic(image_topic: str) -> str:
    """The topic beside an image topic where ROS's drivers publish the calibration."""
    base = image_topic.removesuffix('/compressed')
    parent, slash, _ = base.rpartition('/')
    return f'{parent}{slash}camera_info'
