"""Make the small data sets that docs/results/training.md trains and evaluates on.

  python tools/small_sets.py OUTPUT [--data ../shared/data]

OUTPUT/train is in GSV-Cities form: the city IeTower has windows of six seconds of the database
frames of ie_tower_indoor, two seconds apart; the city Demo has places of the demo's two drives,
three metres around a point. OUTPUT/demo asks the frames of the drive at dusk for those by day,
within 5 m and 45 degrees.
"""

import argparse
import os
import re
import shutil
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from vpr_ros.core.geometry import angle_between
from vpr_ros.core.image import encode_jpeg
from vpr_ros.drives import open_drive
from vpr_training.data.config import DataConfig
from vpr_training.data.layouts import open_places

ROOT = Path(__file__).resolve().parents[1]
WINDOW_S, PERIOD_S = 6, 8
RADIUS_M, HEADING_RAD = 5.0, np.radians(45.0)
COLUMNS = 'place_id,year,month,northdeg,city_id,lat,lon,panoid'


def ie_tower(data: Path) -> list[list[Path]]:
    """Images of each place."""
    places = defaultdict(list)
    for path in sorted((data / 'ie_tower_indoor' / 'database').glob('*.jpg')):
        clip, second = re.fullmatch(r'(.*)_(\d+)', path.stem).groups()
        if (int(second) - 1) % PERIOD_S < WINDOW_S:
            places[clip, (int(second) - 1) // PERIOD_S].append(path)
    return list(places.values())


def demo() -> list[list[Path]]:
    """Images of each place, by day and at dusk."""
    found = open_places(
        DataConfig(root=str(ROOT / 'demo' / 'drives'), place_radius=3.0, min_images_per_place=4)
    )
    return [[found.path(int(row)) for row in found.rows(place)] for place in range(found.places)]


def write_city(folder: Path, city: str, places: list[list[Path]]) -> int:
    """Neither has a position on the Earth: latitude and longitude are nought."""
    lines = [COLUMNS]
    (folder / 'Images' / city).mkdir(parents=True, exist_ok=True)
    for place, images in enumerate(places):
        for number, image in enumerate(images):
            pano = f'{image.stem}_{number}'
            name = f'{city}_{place:07d}_2026_01_000_0.0_0.0_{pano}.jpg'
            shutil.copyfile(image, folder / 'Images' / city / name)
            lines.append(f'{place},2026,1,0,{city},0.0,0.0,{pano}')
    (folder / 'Dataframes').mkdir(exist_ok=True)
    (folder / 'Dataframes' / f'{city}.csv').write_text('\n'.join(lines) + '\n')
    return len(lines) - 1


def write_demo_evaluation(folder: Path) -> None:
    """The drive by day as database, the one at dusk as queries."""
    poses = {}
    for half, drive_name in (('database', 'day'), ('queries', 'dusk')):
        (folder / half).mkdir(parents=True, exist_ok=True)
        drive = open_drive(ROOT / 'demo' / 'drives' / drive_name)
        kept = []
        for number, frame in enumerate(drive.frames()):
            found, known = drive.trajectory.at(np.array([frame.stamp_ns]))
            if known[0]:
                (folder / half / f'{number:04d}.jpg').write_bytes(encode_jpeg(frame.load()))
                kept.append((f'{number:04d}.jpg', found[0]))
        poses[half] = kept
    held = np.stack([pose for _, pose in poses['database']])
    names = np.array([name for name, _ in poses['database']])
    lines = ['query,positives']
    for name, pose in poses['queries']:
        near = np.linalg.norm(held[:, :3] - pose[:3], axis=1) <= RADIUS_M
        near &= angle_between(held[:, 3:], pose[3:]) <= HEADING_RAD
        lines.append(f'{name},{";".join(names[near])}')
    (folder / 'gt.csv').write_text('\n'.join(lines) + '\n')


def main() -> None:
    """The command; see --help."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('output', type=Path)
    parser.add_argument(
        '--data',
        type=Path,
        default=Path(os.environ.get('VPR_DATA') or ROOT.parent / 'shared' / 'data'),
    )
    arguments = parser.parse_args()
    if not (arguments.data / 'ie_tower_indoor').is_dir():
        parser.error(f'{arguments.data}: no ie_tower_indoor here; give --data, or set VPR_DATA')
    for city, places in (('IeTower', ie_tower(arguments.data)), ('Demo', demo())):
        images = write_city(arguments.output / 'train', city, places)
        print(f'{city}: {images} images, {len(places)} places')
    write_demo_evaluation(arguments.output / 'demo')


if __name__ == '__main__':
    main()
