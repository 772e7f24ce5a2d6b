"""Write the seeds that fuzzing starts from, by the writers of this project.

    python test/fuzz/make_seeds.py

Files that are there stay as they are: inputs that once were faults are kept beside the seeds.
"""

import io
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'test')]

from PIL import Image as PilImage
from worlds import write_tiny_model

from vpr_ros.core.encodings import ENCODINGS
from vpr_ros.core.geometry import FORWARD_CAMERA, IDENTITY
from vpr_ros.core.image import encode_jpeg
from vpr_ros.drives.writer import writing

SEEDS = Path(__file__).resolve().parent / 'seeds'
EIGHT = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)


def keep(name: str, content: bytes) -> None:
    path = SEEDS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(content)


def images() -> None:
    keep('image/small.jpg', encode_jpeg(EIGHT))
    keep('image/larger.jpg', encode_jpeg(np.tile(EIGHT, (16, 16, 1)), quality=30))
    for suffix in ('png', 'bmp', 'webp', 'tiff', 'ppm'):
        keep(f'image/small.{suffix}', cv2.imencode(f'.{suffix}', EIGHT)[1].tobytes())
    exif = PilImage.Exif()
    exif[0x9003], exif[0x0112] = '2020:01:02 03:04:05', 6
    gps = {1: 'N', 2: (52.0, 31.0, 12.5), 3: 'E', 4: (13.0, 24.0, 18.0), 6: 34.0, 17: 271.5}
    exif[0x8825] = gps
    exif[0x8769] = {0x9003: '2020:01:02 03:04:05', 0x9291: '25'}
    file = io.BytesIO()
    PilImage.fromarray(EIGHT).save(file, 'JPEG', exif=exif)
    keep('exif/placed.jpg', file.getvalue())
    keep('exif/plain.jpg', encode_jpeg(EIGHT))


def fields() -> None:
    """As `_message_fields` of targets.py takes them."""
    for number in range(len(ENCODINGS) + 4):
        sizes = b''.join(value.to_bytes(4, 'little') for value in (12, 12, number % 8))
        keep(f'encodings/{number:02d}', bytes([9]) + sizes + bytes([number]) + bytes(600))
    keep('encodings/compressed', bytes([8, 4]) + b'jpeg' + encode_jpeg(EIGHT))


def texts() -> None:
    matrix = {'rows': 3, 'cols': 3, 'data': [60.0, 0, 32, 0, 60, 24, 0, 0, 1]}
    camera = {
        'image_width': 64,
        'image_height': 48,
        'camera_name': 'camera',
        'camera_matrix': matrix,
        'distortion_model': 'plumb_bob',
        'distortion_coefficients': {'rows': 1, 'cols': 5, 'data': [0.1, -0.1, 0, 0, 0]},
        'rectification_matrix': {'rows': 3, 'cols': 3, 'data': [1.0, 0, 0, 0, 1, 0, 0, 0, 1]},
        'projection_matrix': {'rows': 3, 'cols': 4, 'data': [60.0, 0, 32, 0] * 3},
    }
    keep('camera_info/plumb_bob.yaml', json.dumps(camera, indent=1).encode())
    fisheye = camera | {'distortion_model': 'equidistant'}
    fisheye['distortion_coefficients'] = {'rows': 1, 'cols': 4, 'data': [0.1, 0.2, 0.3, 0.4]}
    keep('camera_info/fisheye.yaml', json.dumps(fisheye).encode())
    keep('mounting/mounting.yaml', b'position: [0.1, 0, 1]\nquaternion_xyzw: [0, 0, 0, 1]\n')
    full = '@0390000.5@5800000.25@33@U@52.3@13.4@pano@1@271.5@0@0@34@20200102@note@.jpg'
    keep('utm_names/full', f'{full}\n{full.replace("0390000", "0390010")}'.encode())
    keep('utm_names/short', b'@390000@5800000@.jpg\n@390001@5800000@@@@@@@12@.jpg')
    keep('utm_names/other_zone', f'{full}\n{full.replace("@33@U", "@32@U")}'.encode())
    rows = [f'{name}.jpg,{at}.25,{at},0,0,-0.5,0.5,-0.5,0.5' for at, name in enumerate('abc')]
    table = '\n'.join(['image,stamp_s,x,y,z,qx,qy,qz,qw', *rows])
    keep('poses_csv/poses.csv', f'{table}\n'.encode())
    keep('pose_file/slam.tum', b'# t x y z qx qy qz qw\n1.5 1 2 3 0 0 0 1\n2.5 2 2 3 0 0 1 0\n')
    keep('pose_file/huge_exponent.tum', b'1403636579763555584.0001e999000000 1 2 3 0 0 0.6 0.8\n')
    keep('pose_file/ns.tum', b'1403636579763555584.000000000 1 2 3 0 0 0.6 0.8\n')
    keep('poses_csv/quoted.csv', table.replace('a.jpg', '"a.jpg"').replace('\n', '\r\n').encode())
    keep('training_tables/gt.csv', b'query,positives\nb.jpg,a.jpg\nc.jpg,a.jpg;b.jpg\na.jpg,\n')
    places = [
        f'images/{name}.jpg,{number // 2},x,{number}.5,7' for number, name in enumerate('abc')
    ]
    table = '\n'.join(['image,place_id,city,east_m,north_m', *places])
    keep('training_tables/places.csv', f'{table}\n'.encode())


def cards() -> None:
    with tempfile.TemporaryDirectory() as folder:
        card = write_tiny_model(Path(folder) / 'model').card
    held = asdict(card)
    keep('model_card/card.json', json.dumps(held).encode())
    accepted = {'sha256': 'a' * 64, 'size_bytes': 9, 'latency_ms': 1.5, 'threads': 1}
    more = {'precisions': {'fp32': accepted, 'int8': accepted | {'latency_ms': 0.5}}}
    more['calibration'] = {'bias': 1.0, 'weights': [1.0, 2.0]}
    keep('model_card/precisions.json', json.dumps(held | more).encode())


def messages() -> None:
    """CDR as rclpy writes it, behind the number of its topic in the order of subscription."""
    from geometry_msgs.msg import PoseWithCovarianceStamped
    from nav_msgs.msg import Odometry
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import CameraInfo, Image, NavSatFix

    odometry_message = Odometry()
    odometry_message.pose.pose.orientation.w = 1.0
    initial = PoseWithCovarianceStamped()
    initial.header.frame_id = 'map'
    initial.pose.pose.orientation.w = 1.0
    initial.pose.covariance[0] = initial.pose.covariance[7] = 0.25
    fix = NavSatFix(latitude=52.3, longitude=13.4)
    image = Image(height=16, width=16, encoding='rgb8', step=48)
    image.data = bytes(range(256)) * 3
    info = CameraInfo(width=64, height=48, distortion_model='plumb_bob', d=[0.0] * 5)
    info.k = [60.0, 0.0, 32.0, 0.0, 60.0, 24.0, 0.0, 0.0, 1.0]
    info.p = [60.0, 0.0, 32.0, 0.0, 0.0, 60.0, 24.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    given = (odometry_message, initial, fix, image, info)
    drive = b''
    for number, message in enumerate(given):
        written = bytes(serialize_message(message))
        told = bytes([number]) + len(written).to_bytes(2, 'little') + written
        keep(f'messages/{type(message).__name__}', told)
        drive += told
    keep('messages/all', drive + drive)


def bags() -> None:
    for storage in ('ros1', 'sqlite3', 'mcap'):
        for form in ('image', 'compressed'):
            with tempfile.TemporaryDirectory() as folder:
                output = Path(folder) / ('drive.bag' if storage == 'ros1' else 'drive')
                with writing(output, storage) as writer:
                    writer.mounting(10**9, FORWARD_CAMERA)
                    for number in range(3):
                        stamp_ns = (1 + number) * 10**9
                        pose = IDENTITY.copy()
                        pose[0] = number
                        writer.odometry(stamp_ns, pose)
                        if form == 'image':
                            writer.image(stamp_ns, EIGHT)
                        else:
                            writer.compressed(stamp_ns, encode_jpeg(EIGHT, quality=20), 'jpeg')
                files = [output] if output.is_file() else sorted(output.glob('drive*'))
                keep(f'bag/{storage}_{form}', f'{storage}\n'.encode() + files[0].read_bytes())


if __name__ == '__main__':
    for make in (images, fields, texts, cards, messages, bags):
        make()
