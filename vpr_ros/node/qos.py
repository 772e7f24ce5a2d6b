"""Quality of service of the node's topics.

A pose is latched, so that a late listener (a planner starting up) gets the last one, as AMCL does.
Images take depth 1: an older image is worth nothing once a newer one is there. What drivers send
again and again is taken with best effort: a reliable subscription gets nothing from a driver that
sends odometry or calibrations with best effort, as many do, and one lost message is replaced by
the next.
"""

from collections.abc import Sequence
from typing import Any

from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_profile_system_default,
)

LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)

RECENT = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=10)

STREAMED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.BEST_EFFORT
)


def image_qos(name: str) -> QoSProfile:
    """The image subscription's profile: `sensor_data` is best effort, `default` reliable."""
    if name == 'system_default':
        return qos_profile_system_default
    reliability = {
        'sensor_data': ReliabilityPolicy.BEST_EFFORT,
        'default': ReliabilityPolicy.RELIABLE,
    }[name]
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=reliability)


def are_too_loose(publishers: Sequence[Any], name: str) -> bool:
    """Whether there are publishers of images, and none gives what `image_qos` asks for."""
    asked, bad = image_qos(name), QoSCompatibility.ERROR
    found = [qos_check_compatible(publisher.qos_profile, asked)[0] for publisher in publishers]
    return bool(found) and all(one == bad for one in found)
