"""Drivers of cameras and wheels that send otherwise than the node's own examples do."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2, from apt or from the wheels of `make setup`')
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_world import domain, running
from sensor_msgs.msg import CameraInfo, Image
from test_localize import PLACES, raw
from worlds import write_pictured_map


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A tiny model and a map of twelve places, ten metres apart."""
    folder = tmp_path_factory.mktemp('drivers')
    given = write_pictured_map(folder, PLACES, spacing_m=10.0)
    return {**given, 'image_qos': 'default', 'max_false_fix_rate': 0.2}


def values_of(reports: list[DiagnosticArray]) -> dict[str, str]:
    """The values of the newest status; empty before the first."""
    return {pair.key: pair.value for pair in reports[-1].status[0].values} if reports else {}


def odometry(
    x_m: float, *, stamp_s: float, frame: str = 'odom', child: str = 'base_link'
) -> Odometry:
    message = Odometry(child_frame_id=child)
    message.header.frame_id = frame
    message.header.stamp.sec = int(stamp_s)
    message.header.stamp.nanosec = round(stamp_s % 1 * 1e9)
    message.pose.pose.position.x = x_m
    message.pose.pose.orientation.w = 1.0
    return message


def calibration() -> CameraInfo:
    message = CameraInfo(width=160, height=120, distortion_model='plumb_bob')
    message.k[0] = message.k[4] = 100.0
    message.k[2], message.k[5], message.k[8] = 79.5, 59.5, 1.0
    return message


@pytest.mark.parametrize(
    'reliability', [ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE]
)
def test_odometry_and_calibrations_come_with_any_quality_of_service(
    world: dict[str, Any], tmp_path: Path, reliability: ReliabilityPolicy
) -> None:
    """A reliable subscription would get nothing from a driver that sends with best effort."""
    qos, log = QoSProfile(depth=10, reliability=reliability), tmp_path / 'log'
    with domain() as (number, peer), running(number, log=log, **world):
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        images = peer.publisher(Image, '/image')
        wheels = peer.publisher(Odometry, '/odom', qos)
        camera = peer.publisher(CameraInfo, '/camera_info', qos)
        for row in range(3):
            wheels.publish(odometry(10.0 * row, stamp_s=100 + row))
            camera.publish(calibration())
            peer.show(images, raw(row, stamp_s=100 + row))
        peer.wait(
            lambda: (
                values_of(reports).get('odometry', '').startswith('1 Hz')
                and values_of(reports).get('field of view, camera/map [deg]', '').startswith('77')
            ),
            f'odometry or calibration did not come: {values_of(reports)}',
        )
    assert 'incompatible QoS' not in log.read_text()
