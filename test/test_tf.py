"""Where the robot was in its odometry when an image was taken, and what a localizer broadcasts."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2, from apt or from the wheels of `make setup`')
from nav_msgs.msg import Odometry

from vpr_ros.core.errors import VprError
from vpr_ros.core.geometry import compose, matrix, yaw_quat
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.node.conversions import fix_message, pose_array, pose_message, quat_of_matrix
from vpr_ros.node.tf import OdometryBuffer, Transforms, map_T_odom

SECOND = 10**9


def odometry(seconds: float, x: float, yaw_rad: float = 0.0) -> Odometry:
    message = Odometry()
    message.header.stamp.sec = int(seconds)
    message.header.stamp.nanosec = round((seconds - int(seconds)) * 1e9)
    message.pose.pose = pose_message(np.array([x, 0, 0, *yaw_quat(yaw_rad)]))
    return message


def filled(*messages: Odometry) -> OdometryBuffer:
    buffer = OdometryBuffer()
    for message in messages:
        buffer.add(message)
    return buffer


def test_odometry_is_interpolated_to_the_image() -> None:
    buffer = filled(odometry(1, 0), odometry(2, 1, 0.2), odometry(3, 5, 0.2))
    found = buffer.at(int(1.25 * SECOND))
    assert found is not None
    np.testing.assert_allclose(found, [0.25, 0, 0, *yaw_quat(0.05)], atol=1e-9)


def test_an_image_newer_than_all_odometry_takes_the_newest_and_an_older_one_none() -> None:
    buffer = filled(odometry(1, 0), odometry(2, 1))
    newest = buffer.at(9 * SECOND)
    assert newest is not None and newest[0] == 1
    assert buffer.at(SECOND // 2) is None and OdometryBuffer().at(SECOND) is None


def test_a_jump_back_in_time_forgets_what_was_before() -> None:
    buffer = filled(odometry(5, 5), odometry(6, 6), odometry(1, 0), odometry(2, 1))
    found = buffer.at(int(1.5 * SECOND))
    assert found is not None and found[0] == 0.5


@pytest.mark.parametrize('broken', [float('nan'), 7.0])
def test_a_broken_quaternion_is_refused(broken: float) -> None:
    message = odometry(1, 0)
    message.pose.pose.orientation.w = broken
    with pytest.raises(VprError, match='odom: '):
        OdometryBuffer().add(message)


def test_map_to_odom_brings_the_odometry_to_the_fix() -> None:
    """REP-105: map_T_odom, composed with odometry's own pose, is where the fix is."""
    map_T_base = np.array([10.0, 4.0, 0.0, *yaw_quat(1.2)])
    odom_T_base = np.array([3.0, -2.0, 0.0, *yaw_quat(-0.4)])
    found = compose(map_T_odom(map_T_base, odom_T_base), odom_T_base)
    np.testing.assert_allclose(found, map_T_base, atol=1e-12)


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
