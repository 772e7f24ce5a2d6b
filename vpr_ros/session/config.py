"""The settings of a drive: the localizer's, and what the session itself decides by."""

from dataclasses import dataclass

from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.settings import knob


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig(LocalizerConfig):
    """All that decides what a session answers."""

    continuous: bool = knob(
        True,
        'Localize every image. If false, localize only after a call of ~/trigger_localization.',
    )
    time_jump: float = knob(
        0.5,
        'The node drops an image that is older than the last one by less than this. If it is '
        'older by more, the clock was set back, and the node forgets the drive so far.',
        unit='s',
        low=0.01,
        high=60.0,
    )
    initialpose_timeout: float = knob(
        30.0,
        'Time for which an initial pose restricts the search, unless a fix comes first. The '
        'radius of the search grows as the robot moves.',
        unit='s',
        low=0.1,
        high=3600.0,
    )
    publish_tf: bool = knob(
        False,
        'Broadcast map_frame -> odom_frame at tf_rate. It starts with the first fix while '
        'LOCALIZED. It needs tf2_ros and the odom topic.',
    )
    tf_when_lost: str = knob(
        'keep',
        'Whether to keep sending the last map_frame -> odom_frame after LOST, as AMCL does, or to '
        'stop.',
        choices=('keep', 'stop'),
    )
    odometry_wait: float = knob(
        2.0,
        'Time for which a fix waits for the odometry of its image. If none comes, the fix does '
        'not correct tf.',
        unit='s',
        low=0.0,
        high=30.0,
    )
    publish_initialpose: bool = knob(
        False,
        'Publish one fix on initialpose when LOCALIZED, then none until LOST and LOCALIZED again.',
        at_configure=True,
    )
