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
        'Broadcast map_frame -> odom_frame at tf_rate from the first fix while LOCALIZED on '
        '(needs tf2_ros and the odom topic).',
    )
    tf_when_lost: str = knob(
        'keep',
        'After LOST, keep sending the last map_frame -> odom_frame, as AMCL does, or stop.',
        choices=('keep', 'stop'),
    )
    odometry_wait: float = knob(
        2.0,
        'How long a fix waits for the odometry of its image; without it, tf is not corrected.',
        unit='s',
        low=0.0,
        high=30.0,
    )
    publish_initialpose: bool = knob(
        False,
        'Publish the first fix once LOCALIZED on initialpose, then nothing until lost again.',
        at_configure=True,
    )
