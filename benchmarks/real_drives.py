"""Real drives as bags, mapped, and localized offline and through the running node.

    python benchmarks/real_drives.py [--data ../shared/data] [--sets NAME ...] [--offline]

Makes the table of docs/results/real-drives.md. Each set becomes two bags at 8 Hz: a map, and a
drive. Radii are the sets' own truth: two frames, one for nordland_64x32, and half a frame more,
because fixes lie between frames (places do not); 15 m by GPS; and 3 m for kitti_clip1, of which
every second image is map. Brackets are 95 % intervals, by blocks of a drive.
"""

import argparse
import csv
import json
import shutil
import sys
import tempfile
from pathlib import Path

from inputs import add_data_argument

from vpr_ros import build_map, evaluate_bag, images_to_bag

SETS = {
    'corridor': (2.5, []),
    'gardenspoint_thumb': (2.5, []),
    'nordland_64x32': (1.5, []),
    'lund_street_gps': (15.0, ['agreement_radius=30']),
    'kitti_clip1': (3.0, []),
}
WAYS = {
    'each image alone': (['belief=false'], []),
    'belief': ([], []),
    'belief, through the node': ([], ['--live']),
}
"""Name -> (settings, flags of evaluate_bag)."""
COLUMNS = (
    *('set', 'places', 'queries', 'R@1 [95 %]', 'R@5', 'average precision'),
    *('answered of the answerable [95 %]', 'false fixes [95 %]'),
    *('error m, median / 90 %', 'heading deg', 'dropped'),
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


def measure(
    name: str, data: Path, folder: Path, ways: dict[str, tuple[list[str], list[str]]]
) -> list[tuple[str, dict]]:
    """A set's figures in each way, by the public commands."""
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
    asked = ['--map', map_folder, '--bag', str(folder / 'query_drive'), '--radius', str(radius_m)]
    for way, (settings, flags) in ways.items():
        chosen = ['--set', *options, *settings] if options or settings else []
        run(evaluate_bag.main, *asked, *chosen, *flags, *fp32, '--json', str(figures))
        found.append((way, json.loads(figures.read_text())))
    return found


def run(main, *arguments: str) -> None:
    status = main(list(arguments))
    if status:
        sys.exit(status)


def row(name: str, figures: dict) -> str:
    """One line of the table."""

    def number(value: float | None, digits: int) -> str:
        return '-' if value is None else f'{value:.{digits}f}'

    def between(ends: list[float | None]) -> str:
        return f'[{number(ends[0], 2)}, {number(ends[1], 2)}]'

    fixes = round(figures['answered'] * figures['queries'])
    false = round((figures['false_fixes'] or 0) * fixes)
    error_m = figures['position_error_m']
    cells = [
        name,
        str(figures['database']),
        str(figures['queries']),
        f'{number(figures["recall"]["1"], 3)} {between(figures["recall_interval"]["1"])}',
        number(figures['recall']['5'], 3),
        number(figures['average_precision'], 3),
        f'{number(figures["answered_of_answerable"], 2)} '
        f'{between(figures["answered_of_answerable_interval"])}',
        f'{false} of {fixes} {between(figures["false_fixes_interval"])}',
        f'{number(error_m["median"], 2)} / {number(error_m["p90"], 2)}',
        number(figures['heading_error_deg']['median'], 2),
        str(figures['dropped']),
    ]
    return '| ' + ' | '.join(cells) + ' |'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    add_data_argument(parser)
    parser.add_argument('--sets', nargs='*', default=list(SETS), choices=list(SETS))
    parser.add_argument('--offline', action='store_true', help='not through the running node')
    arguments = parser.parse_args()
    data = arguments.data
    ways = {
        way: how for way, how in WAYS.items() if not (arguments.offline and '--live' in how[1])
    }
    if not data.is_dir():
        print(f'real_drives: no real images in {data}; give --data, or set VPR_DATA')
        return 0
    rows = []
    for name in arguments.sets:
        with tempfile.TemporaryDirectory() as folder:
            rows += [
                row(f'{name}, {way}', figures)
                for way, figures in measure(name, data, Path(folder), ways)
            ]
    print('\n| ' + ' | '.join(COLUMNS) + ' |')
    print('|' + '---|' * len(COLUMNS))
    print('\n'.join(rows))
    return 0


if __name__ == '__main__':
    sys.exit(main())
