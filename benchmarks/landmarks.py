"""Poses from landmarks: real and rendered drives through build_map and evaluate_bag.

    python benchmarks/landmarks.py [--data ../shared/data] [--features sift,xfeat]

Every second image is map and the others are queries, both ways round, and the rendered town by
day is the map for dusk. Each with landmarks of every kind of features that is there, and once
from retrieval alone. All by the fp32 graph. How probable such poses are is measured by
landmark_confidence.py.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml
from inputs import DRIVES, add_data_argument
from real_drives import run, split_in_two

from vpr_ros import build_map, evaluate_bag
from vpr_ros.core.describing.shipped import shipped_graphs
from vpr_ros.core.errors import ModelError
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.landmarks.feature_kinds import GRAPHS_OF_KIND
from vpr_ros.drives import open_drive

COLUMNS = (
    'map, queries',
    'landmarks',
    'answered',
    'false',
    'error m',
    '90 % within m',
    'heading deg',
    'inside 95 %',
    'verify ms',
)


def as_posed_folder(bag: Path, folder: Path) -> Path:
    """A bag's images, poses and calibration as a posed folder."""
    drive = open_drive(bag)
    (folder / 'images').mkdir(parents=True)
    rows = ['image,stamp_s,x,y,z,qx,qy,qz,qw']
    for index, frame in enumerate(drive.frames()):
        pose, known = drive.trajectory.at(np.array([frame.stamp_ns]), max_gap_s=1.0)
        if not known[0]:
            continue
        name = f'{index:06d}.jpg'
        (folder / 'images' / name).write_bytes(encode_jpeg(frame.load(), quality=98))
        numbers = ','.join(f'{value:.9f}' for value in pose[0])
        rows.append(f'{name},{frame.stamp_ns / 1e9:.6f},{numbers}')
    (folder / 'poses.csv').write_text('\n'.join(rows) + '\n')
    camera = drive.camera
    fx, _, cx, _, fy, cy, *_ = camera.matrix
    described = {
        'image_width': camera.width_px,
        'image_height': camera.height_px,
        'distortion_model': camera.distortion_model,
        'distortion_coefficients': {'data': list(camera.distortion)},
        'camera_matrix': {'data': list(camera.matrix)},
        'rectification_matrix': {'data': [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0]},
        'projection_matrix': {'data': [fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1.0, 0]},
    }
    (folder / 'camera_info.yaml').write_text(yaml.safe_dump(described))
    return folder


def measure(
    database: Path, queries: Path, radius_m: float, folder: Path, kinds: list[str]
) -> dict[str, dict]:
    """Figures by the kind of landmarks, and without any."""
    map_folder, figures = str(folder / 'map'), folder / 'figures.json'
    fp32 = ['--precision', 'fp32']
    asked = ['--map', map_folder, '--bag', str(queries), '--radius', str(radius_m), *fp32]
    found = {}
    for kind in [*kinds, 'no']:
        if kind != 'no':  # the last map serves without its landmarks, too
            made = ['--bag', str(database), '--output', map_folder, '--landmarks', kind]
            run(build_map.main, *made, *fp32)
        used = str(kind != 'no').lower()
        run(evaluate_bag.main, *asked, '--set', f'use_landmarks={used}', '--json', str(figures))
        found[kind] = json.loads(figures.read_text())
    return found


def kinds_there() -> list[str]:
    """Features whose networks, if they need some, have been exported."""
    found = []
    for kind, graphs in GRAPHS_OF_KIND.items():
        try:
            shipped_graphs(graphs)
        except ModelError as error:
            print(f'landmarks: without {kind}: {error}')
        else:
            found.append(kind)
    return found


def row(name: str, way: str, figures: dict) -> str:
    """One line of the table."""
    verify = figures['latency_ms'].get('landmarks')
    numbers = (
        (figures['answered'], 2),
        (figures['false_fixes'], 3),
        (figures['position_error_m']['median'], 4),
        (figures['position_error_m']['p90'], 3),
        (figures['heading_error_deg']['median'], 3),
        (figures['inside_ellipse'], 3),
        (verify and verify['p50'], 0),
    )
    cells = ['-' if value is None else f'{value:.{digits}f}' for value, digits in numbers]
    return '| ' + ' | '.join([name, way, *cells]) + ' |'


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    add_data_argument(parser)
    parser.add_argument('--features', metavar='KIND,KIND', help='default: all that are there')
    arguments = parser.parse_args()
    data, kinds = arguments.data, (arguments.features or ','.join(kinds_there())).split(',')
    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pairs = {'day, dusk': (DRIVES / 'day', DRIVES / 'dusk', 5.0)}
        day = as_posed_folder(DRIVES / 'day', folder / 'day')
        even, odd = split_in_two(day, folder / 'day_halves')
        pairs |= {'day even, odd': (even, odd, 5.0), 'day odd, even': (odd, even, 5.0)}
        if (data / 'kitti_clip1').is_dir():
            even, odd = split_in_two(data / 'kitti_clip1', folder / 'kitti')
            pairs |= {'kitti even, odd': (even, odd, 3.0), 'kitti odd, even': (odd, even, 3.0)}
        for name, pair in pairs.items():
            for way, figures in measure(*pair, folder, kinds).items():
                lines.append(row(name, way, figures))
    print('\n| ' + ' | '.join(COLUMNS) + ' |\n|' + '---|' * len(COLUMNS))
    print('\n'.join(lines))
    return 0


if __name__ == '__main__':
    sys.exit(main())
