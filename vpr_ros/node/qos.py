"""Quality of service of the node's topics.

A pose is latched, so that a late listener (a planner starting up) gets the last one, as AMCL does.
Images take depth 1: an older image is worth nothing once a newer one is there. What drivers send
again and again is taken with best effort: a reliable subscription gets nothing from a driver that
sends odometry or calibrations with best effort, as many do, and one lost message is replaced by
the next.
"""

from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
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
