"""Lay frames of two drives side by side: one look shows what the matcher is asked."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Pose = tuple[
    str, NDArray[np.float64], NDArray[np.float64]
]  # image name, position [3], optical axis [3]


def main() -> None:
    """Write the sheet: pairs of one place each, then two frames that leave the mapped route."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('first', type=Path, help='posed folder of the mapping drive')
    parser.add_argument('second', type=Path, help='posed folder of the second drive')
    parser.add_argument('--output', required=True, type=Path)
    parser.add_argument('--places', type=int, default=11)
    args = parser.parse_args()
    first, second = _read(args.first), _read(args.second)
    cells: list[tuple[Image.Image, str]] = []
    shared = [k for k, pose in enumerate(first) if _nearest(pose, second)[0] < 3.0]
    for k in np.take(shared, np.linspace(2, len(shared) - 3, args.places).astype(int)):
        name, position, _ = first[k]
        twin = _nearest(first[k], second)[1]
        for folder, picked, (x, y, _) in (
            (args.first, name, position),
            (args.second, twin[0], twin[1]),
        ):
            cells.append(
                (Image.open(folder / 'images' / picked), f'{folder.name}  x {x:.0f}  y {y:.0f}')
            )
    for name, (x, y, _), _ in (second[-12], second[-3]):
        cells.append(
            (Image.open(args.second / 'images' / name), f'elsewhere  x {x:.0f}  y {y:.0f}')
        )
    _paste(cells, columns=4).save(args.output, quality=80)


def _nearest(pose: Pose, others: list[Pose]) -> tuple[float, Pose]:
    """Return how far off (metres; a radian counts 6 m) the most similar pose is, and that pose."""

    def off(other: Pose) -> float:
        turned = np.linalg.norm(other[2] - pose[2])
        return float(np.linalg.norm(other[1] - pose[1]) + 6.0 * turned)

    best = min(others, key=off)
    return off(best), best


def _paste(cells: list[tuple[Image.Image, str]], *, columns: int) -> Image.Image:
    width, height = cells[0][0].size
    rows = -(-len(cells) // columns)
    sheet = Image.new('RGB', (columns * (width + 4), rows * (height + 4)), 'white')
    for k, (image, label) in enumerate(cells):
        marked = image.copy()
        ImageDraw.Draw(marked).text(
            (6, height - 16), label, fill='white', stroke_width=2, stroke_fill='black'
        )
        sheet.paste(marked, ((k % columns) * (width + 4) + 2, (k // columns) * (height + 4) + 2))
    return sheet


def _read(folder: Path) -> list[Pose]:
    with (folder / 'poses.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    found = []
    for row in rows:
        x, y, z, w = (float(row[c]) for c in ('qx', 'qy', 'qz', 'qw'))
        axis = np.array([2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x * x + y * y)])
        found.append((row['image'], np.array([float(row[c]) for c in 'xyz']), axis))
    return found


if __name__ == '__main__':
    main()
