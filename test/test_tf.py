"""What goes to tf and comes from it, as messages; with the real tf2_ros where it is installed."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2, from apt or from the wheels of `make setup`')
from nav_msgs.msg import Odometry

from vpr_ros.core.geometry import matrix, quat_of_matrix, yaw_quat
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.node.conversions import fix_message, pose_array
from vpr_ros.node.tf import Transforms


def test_a_fix_keeps_its_numbers_as_a_message() -> None:
    covariance = np.arange(36.0).reshape(6, 6)
    pose = np.array([1.0, 2.0, 3.0, *yaw_quat(0.3)])
    message = fix_message(Fix(pose, covariance, 0.9, 0), Odometry().header)
    np.testing.assert_allclose(pose_array(message.pose.pose, source='fix'), pose)
    assert message.pose.covariance[7] == 7.0


def test_a_rotation_survives_its_matrix() -> None:
    quat = np.array([0.1, -0.2, 0.3, 0.9]) / np.linalg.norm([0.1, -0.2, 0.3, 0.9])
    np.testing.assert_allclose(quat_of_matrix(matrix(quat)), quat, atol=1e-12)


def test_without_tf2_ros_the_node_knows_that_it_has_none() -> None:
    try:
        import tf2_ros  # noqa: F401
    except ImportError:
        assert not Transforms.available()
    else:
        assert Transforms.available()
