"""Four sets of real images as bags, mapped, and localized offline and through the running node.

    python benchmarks/real_drives.py [--data ../shared/data]

The table of docs/results/real-drives.md comes from here. Radii are the sets' own: two frames, 15 m,
and for KITTI 3 m with every second image as map.
"""

import argparse
import csv
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from vpr_ros import build_map, evaluate_bag, images_to_bag

ROOT = Path(__file__).resolve().parents[1]
ALONE = ['--set', 'belief=false']  # each image: belief.py measures the drives
SETS = {
    'corridor': (2.0, ALONE),
    'gardenspoint_thumb': (2.0, ALONE),
    'lund_street_gps': (15.0, [*ALONE, 'agreement_radius=30']),
    'kitti_clip1': (3.0, ALONE),
}
COLUMNS = (
    'set',
    'places',
    'queries',
    'R@1',
    'R@5',
    'answered',
    'of answerable [95 %]',
    'false [95 %]',
    'error m',
    'heading deg',
    'dropped',
)


def split_in_two(drive: Path, folder: Path) -> tuple[Path, Path]:
    """Even and odd images of a posed folder as two posed folders."""
    with (drive / 'poses.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    halves = folder / 'even', folder / 'odd'
    for half, start in zip(halves, (0, 1), strict=True):
        (half / 'images').mkdir(parents=True)
        with (half / 'poses.csv').open('w', newline='') as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows[start::2])
        for row in rows[start::2]:
            shutil.copy(drive / 'images' / row['image'], half / 'images')
        shutil.copy(drive / 'camera_info.yaml', half)
    return halves


def measure(name: str, data: Path, folder: Path) -> list[tuple[str, dict]]:
    """A set's figures, offline and live, by the public commands."""
    radius_m, options = SETS[name]
    halves = data / name / 'database', data / name / 'queries'
    if not halves[0].is_dir():
        halves = split_in_two(data / name, folder)
    for part, source in zip(('map_drive', 'query_drive'), halves, strict=True):
        run(images_to_bag.main, str(source), '--rate', '8', '--output', str(folder / part))
    map_folder, figures = str(folder / 'map'), folder / 'figures.json'
    fp32 = ['--precision', 'fp32']
    run(build_map.main, '--bag', str(folder / 'map_drive'), '--output', map_folder, *fp32)
    found = []
    for way in ([], ['--live']):
        evaluation = [
            '--map',
            map_folder,
            '--bag',
            str(folder / 'query_drive'),
            '--radius',
            str(radius_m),
        ]
        run(evaluate_bag.main, *evaluation, *options, *way, *fp32, '--json', str(figures))
        found.append(('live' if way else 'offline', json.loads(figures.read_text())))
    return found


def run(main, *arguments: str) -> None:
    status = main(list(arguments))
    if status:
        sys.exit(status)


def row(name: str, figures: dict) -> str:
    def number(value: float | None, digits: int) -> str:
        return '-' if value is None else f'{value:.{digits}f}'

    def interval(key: str) -> str:
        low, high = (number(end, 2) for end in figures[f'{key}_interval'])
        return f'{number(figures[key], 2)} [{low}, {high}]'

    cells = [
        name,
        str(figures['database']),
        str(figures['queries']),
        number(figures['recall']['1'], 3),
        number(figures['recall']['5'], 3),
        number(figures['answered'], 2),
        interval('answered_of_answerable'),
        interval('false_fixes'),
        number(figures['position_error_m']['median'], 2),
        number(figures['heading_error_deg']['median'], 2),
        str(figures['dropped']),
    ]
    return '| ' + ' | '.join(cells) + ' |'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    default = Path(os.environ.get('VPR_DATA') or ROOT.parent / 'shared' / 'data')
    parser.add_argument(
        '--data', type=Path, default=default, help='folder of the sets (default: %(default)s)'
    )
    data = parser.parse_args().data
    if not data.is_dir():
        print(f'real_drives: no real images in {data}; give --data, or set VPR_DATA')
        return 0
    rows = []
    for name in SETS:
        with tempfile.TemporaryDirectory() as folder:
            rows += [
                row(f'{name}, {way}', figures)
                for way, figures in measure(name, data, Path(folder))
            ]
    print('\n| ' + ' | '.join(COLUMNS) + ' |')
    print('|' + '---|' * len(COLUMNS))
    print('\n'.join(rows))
    return 0


if __name__ == '__main__':
    sys.exit(main())
