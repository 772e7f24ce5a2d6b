"""Lay frames of two or more drives side by side: one look shows what the matcher is asked."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Pose = tuple[
    str, NDArray[np.float64], NDArray[np.float64]
]  # image name, position [3], optical axis [3]
Cell = tuple[Path | None, str]  # picture, label; no picture leaves a white field
ELSEWHERE_M = 20.0  # farther from every place of the first drive than this is elsewhere
SAME_PLACE_M = 3.0  # see _nearest
SAME_VIEW_M = 8.0


def main() -> None:
    """Write the sheet: of two drives pairs of one place each, of more drives a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('first', type=Path, help='posed folder of the mapping drive')
    parser.add_argument('others', type=Path, nargs='+', help='posed folders of further drives')
    parser.add_argument('--output', required=True, type=Path)
    parser.add_argument('--places', type=int, default=11)
    parser.add_argument('--width', type=int, default=320, help='of each picture, in pixels')
    args = parser.parse_args()
    try:
        if len(args.others) == 1:
            cells, columns = _pairs(args.first, args.others[0], args.places), 4
        else:
            cells, columns = _rows([args.first, *args.others], args.places), args.places + 1
    except ValueError as error:
        parser.error(str(error))
    _paste(cells, columns=columns, width_px=args.width).save(args.output, quality=80)


def _pairs(first_folder: Path, second_folder: Path, places: int) -> list[Cell]:
    """Return pairs of one place each, then two frames that leave the mapped route."""
    first, second = _read(first_folder), _read(second_folder)
    cells: list[Cell] = []
    for place in _shared_places(first, second, places):
        twin = _nearest(place, second)[1]
        for folder, (name, (x, y, _), _) in ((first_folder, place), (second_folder, twin)):
            cells.append((folder / 'images' / name, f'{folder.name}  x {x:.0f}  y {y:.0f}'))
    for name, (x, y, _), _ in (second[-12], second[-3]):
        cells.append((second_folder / 'images' / name, f'elsewhere  x {x:.0f}  y {y:.0f}'))
    return cells


def _rows(folders: Sequence[Path], places: int) -> list[Cell]:
    """Return a row for each drive: places of the first two drives, then its farthest off them."""
    first, second = _read(folders[0]), _read(folders[1])
    chosen = _shared_places(first, second, places)
    cells: list[Cell] = []
    for folder in folders:
        poses = _read(folder)
        for place in chosen:
            pose = _same_place(place, poses)
            cells.append((None, '') if pose is None else _row_cell(folder, place, pose))
        away_m, (name, (x, y, _), _) = _farthest(poses, first)
        label = f'elsewhere  x {x:.0f}  y {y:.0f}'
        cells.append((folder / 'images' / name, label) if away_m > ELSEWHERE_M else (None, ''))
    return cells


def _shared_places(first: list[Pose], second: list[Pose], count: int) -> list[Pose]:
    """Return this many poses of the first drive, spread over what the second one sees too."""
    shared = [pose for pose in first if _nearest(pose, second)[0] < SAME_PLACE_M]
    return [shared[k] for k in np.linspace(2, len(shared) - 3, count).astype(int)]


def _row_cell(folder: Path, place: Pose, pose: Pose) -> Cell:
    name, (x, y, _), axis = pose
    turned = '' if axis @ place[2] > 0 else '  looks back'
    return folder / 'images' / name, f'{folder.name}  x {x:.0f}  y {y:.0f}{turned}'


def _same_place(place: Pose, poses: list[Pose]) -> Pose | None:
    """Return the pose most like this one, one that looks elsewhere if need be, or None."""
    off, best = _nearest(place, poses)
    if off < SAME_VIEW_M:
        return best
    best = min(poses, key=lambda pose: float(np.linalg.norm(pose[1] - place[1])))
    return best if np.linalg.norm(best[1] - place[1]) < SAME_VIEW_M else None


def _farthest(poses: list[Pose], mapped: list[Pose]) -> tuple[float, Pose]:
    """Return how far from every mapped position the drive came, in metres, and there."""
    positions = np.array([position for _, position, _ in mapped])
    away = [float(np.linalg.norm(positions - pose[1], axis=1).min()) for pose in poses]
    k = int(np.argmax(away))
    return away[k], poses[k]


def _nearest(pose: Pose, others: list[Pose]) -> tuple[float, Pose]:
    """Return how far off (metres; a radian counts 6 m) the most similar pose is, and that pose."""

    def off(other: Pose) -> float:
        turned = np.linalg.norm(other[2] - pose[2])
        return float(np.linalg.norm(other[1] - pose[1]) + 6.0 * turned)

    best = min(others, key=off)
    return off(best), best


def _paste(cells: Sequence[Cell], *, columns: int, width_px: int) -> Image.Image:
    height_px = width_px * 3 // 4
    rows = -(-len(cells) // columns)
    sheet = Image.new('RGB', (columns * (width_px + 4), rows * (height_px + 4)), 'white')
    for k, (path, label) in enumerate(cells):
        if path is None:
            continue
        with Image.open(path) as image:
            marked = image.convert('RGB').resize((width_px, height_px))
        ImageDraw.Draw(marked).text(
            (6, height_px - 16), label, fill='white', stroke_width=2, stroke_fill='black'
        )
        corner = ((k % columns) * (width_px + 4) + 2, (k // columns) * (height_px + 4) + 2)
        sheet.paste(marked, corner)
    return sheet


def _read(folder: Path) -> list[Pose]:
    with (folder / 'poses.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    found = []
    for row in rows:
        if not (folder / 'images' / row['image']).exists():
            continue  # of a drive that is not drawn to its end
        x, y, z, w = (float(row[c]) for c in ('qx', 'qy', 'qz', 'qw'))
        axis = np.array([2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x * x + y * y)])
        found.append((row['image'], np.array([float(row[c]) for c in 'xyz']), axis))
    if not found:
        raise ValueError(f'{folder}: has no picture yet; draw some or leave this drive out')
    return found


if __name__ == '__main__':
    main()
