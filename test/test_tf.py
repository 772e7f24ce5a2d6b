"""What goes to tf and comes from it, as messages; with the real tf2_ros where it is installed."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2, from apt or from the wheels of `make setup`')
from nav_msgs.msg import Odometry

from vpr_ros.core.geometry import matrix, quat_of_matrix, yaw_quat
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.core.localizing.retrieve import Candidates
from vpr_ros.node.conversions import fix_message, header, markers_message, pose_array
from vpr_ros.node.tf import Transforms


def test_a_fix_keeps_its_numbers_as_a_message() -> None:
    covariance = np.arange(36.0).reshape(6, 6)
    pose = np.array([1.0, 2.0, 3.0, *yaw_quat(0.3)])
    message = fix_message(Fix(pose, covariance, 0.9, 0), Odometry().header)
    np.testing.assert_allclose(pose_array(message.pose.pose, source='fix'), pose)
    assert message.pose.covariance[7] == 7.0


def test_a_fix_is_drawn_where_it_is_with_twice_its_sigmas_and_candidates_by_likeness() -> None:
    covariance = np.diag([0.04, 0.25, 0.01, 1.0, 1.0, 1.0])
    pose = np.array([1.0, 2.0, 3.0, *yaw_quat(0.3)])
    found = Candidates(
        np.array([4, 5]), np.array([0.75, -0.5], np.float32), np.stack([pose, pose + 0.0])
    )
    at = header(1_000_000_007, 'map')
    located = SimpleNamespace(outcome=Fix(pose, covariance, 0.9, 4), candidates=found)
    first, second, arrow, extent = markers_message(located, at).markers
    for marker in (first, second, arrow, extent):
        assert marker.header.frame_id == 'map'
        assert (marker.header.stamp.sec, marker.header.stamp.nanosec) == (1, 7)
    np.testing.assert_allclose(pose_array(arrow.pose, source='arrow'), pose)
    diameters = sorted([extent.scale.x, extent.scale.y, extent.scale.z])
    np.testing.assert_allclose(diameters, [0.4, 0.8, 2.0])  # twice 2 sigma
    assert first.color.g == 0.75 and second.color.g == 0 and first.color.r == 0.25


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
