"""vpr_msgs, built from wheels or by colcon, crosses from one process to another."""

import os
import subprocess
import sys

import pytest

from vpr_ros.evaluating.domain import free_domain

pytest.importorskip('rclpy', reason='no rclpy: run make setup, or source ROS 2')
try:
    # The name, not only the module: seen from this tree's root the folder vpr_msgs/msg/, which has
    # the sources, imports as an empty package.
    from vpr_msgs.msg import PlaceMatchArray  # noqa: F401
except ImportError:
    pytest.skip(
        'vpr_msgs is not built: make setup builds it where there is a compiler',
        allow_module_level=True,
    )

TALKER = """
import time
import rclpy
from vpr_msgs.msg import PlaceMatch, PlaceMatchArray
from vpr_msgs.srv import Localize

def answer(request, response):
    response.success = len(request.compressed_image.data) > 0
    response.message = f'{len(request.compressed_image.data)} bytes, {request.max_matches} matches'
    response.matches.map_id = 'corridor'
    return response

rclpy.init()
try:
    node = rclpy.create_node('talker')
    node.create_service(Localize, 'localize', answer)
    publisher = node.create_publisher(PlaceMatchArray, 'matches', 10)
    message = PlaceMatchArray(map_id='corridor', model_name='lite0', localized=True)
    message.probability = 0.75
    message.header.frame_id = 'map'
    message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000, 123_456_789
    for i in range(3):
        match = PlaceMatch(place_id=2**32 - 1 - i, similarity=0.5 - i, probability=0.25)
        match.source = f'{i}.jpg'
        match.pose.position.x, match.pose.orientation.w = 10.5 * i, 1.0
        match.map_stamp.sec = 1_600_000_000 + i
        message.matches.append(match)
    while True:
        publisher.publish(message)
        rclpy.spin_once(node, timeout_sec=0.05)
finally:
    rclpy.try_shutdown()
"""

LISTENER = """
import json, sys, time
import rclpy
from vpr_msgs.msg import PlaceMatchArray
from vpr_msgs.srv import Localize

rclpy.init()
try:
    node = rclpy.create_node('listener')
    received = []
    node.create_subscription(PlaceMatchArray, 'matches', received.append, 10)
    client = node.create_client(Localize, 'localize')
    deadline = time.monotonic() + 30
    while not (received and client.service_is_ready()) and time.monotonic() < deadline:
        rclpy.spin_once(node, timeout_sec=0.1)
    request = Localize.Request(max_matches=5)
    request.compressed_image.data = b'\\xff\\xd8\\xff'
    future = client.call_async(request)
    rclpy.spin_until_future_complete(node, future, timeout_sec=30)
    m, r = received[0], future.result()
    print(json.dumps({
        'header': [m.header.frame_id, m.header.stamp.sec, m.header.stamp.nanosec],
        'map': [m.map_id, m.model_name, m.localized, m.reason, m.probability],
        'matches': [
            [p.place_id, p.similarity, p.probability, p.pose.position.x, p.map_stamp.sec, p.source]
            for p in m.matches
        ],
        'answer': [r.success, r.message, r.matches.map_id],
    }))
finally:
    rclpy.try_shutdown()
"""


def test_two_processes_exchange_matches_and_a_localize_call(tmp_path):
    with free_domain() as number:
        environment = os.environ | {'ROS_DOMAIN_ID': str(number), 'ROS_LOG_DIR': str(tmp_path)}
        talker = subprocess.Popen([sys.executable, '-c', TALKER], env=environment)
        try:
            listener = subprocess.run(
                [sys.executable, '-c', LISTENER],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
                timeout=90,
                check=True,
            )
        finally:
            talker.kill()
            talker.wait()
    # Floats that binary32 holds exactly, so that what arrives equals what was sent.
    expected = (
        '{"header": ["map", 1700000000, 123456789], '
        '"map": ["corridor", "lite0", true, "", 0.75], '
        '"matches": [[4294967295, 0.5, 0.25, 0.0, 1600000000, "0.jpg"], '
        '[4294967294, -0.5, 0.25, 10.5, 1600000001, "1.jpg"], '
        '[4294967293, -1.5, 0.25, 21.0, 1600000002, "2.jpg"]], '
        '"answer": [true, "3 bytes, 5 matches", "corridor"]}'
    )
    assert listener.stdout.strip() == expected
