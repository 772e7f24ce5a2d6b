"""The settings of a drive: the localizer's, and what the session itself decides by."""

from dataclasses import dataclass

from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.settings import knob


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig(LocalizerConfig):
    """All that decides what a session answers."""

    continuous: bool = knob(
        True, 'Localize every image; if false, only those after ~/trigger_localization.'
    )
    time_jump: float = knob(
        0.5,
        'An image that is older than the last one by less than this is dropped; by more, the '
        'clock was set back, and the drive so far is forgotten.',
        unit='s',
        low=0.01,
        high=60.0,
    )
    initialpose_timeout: float = knob(
        30.0,
        'An initial pose restricts the search until the next fix, or this long. Its radius grows '
        'as the robot moves.',
        unit='s',
        low=0.1,
        high=3600.0,
    )
    publish_tf: bool = knob(
        False,
        'Broadcast map_frame -> odom_frame at each fix while LOCALIZED '
        '(needs tf2_ros and the odom topic).',
    )
    publish_initialpose: bool = knob(
        False,
        'Publish the first fix once LOCALIZED on initialpose, then nothing until lost again.',
        at_configure=True,
    )
