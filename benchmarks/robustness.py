"""How much a worse picture costs: R@1 over nine disturbances of the queries, models in a row.

    python benchmarks/robustness.py [--models DIR ...] [--data DIR] [--figure FILE] [--each N]

The database stays as it is. Disturbances are those of a 320 x 320 image; the figure has a panel
for each, a line for each model, and the mean R@1 of the sets. From each set every n-th query is
taken, so that at most --each are asked.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from contenders import SIZE_HW, contenders, describe_all, open_sets
from inputs import ROOT, add_data_argument

from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.recall import recall_at
from vpr_ros.core.types import Image
from vpr_training.basics.panels import panels, save
from vpr_training.data.recall_set import RecallSet

SETS = (
    'corridor', 'rtabmap_corridor_loop', 'gardenspoint_thumb', 'lund_street_gps',
    'ie_tower_indoor',
)  # fmt: skip
_PER_ROW = 3  # panels
FIGURE = ROOT / 'docs' / 'pictures' / 'robustness.png'


def brightness(image: Image, factor: float) -> Image:
    """All values times a factor."""
    return np.clip(np.rint(image * np.float32(factor)), 0, 255).astype(np.uint8)


def blur(image: Image, sigma_px: float) -> Image:
    """Out of focus: a Gaussian."""
    return image if sigma_px == 0 else cv2.GaussianBlur(image, (0, 0), sigma_px)


def motion(image: Image, length_px: float) -> Image:
    """Moved sideways during the exposure."""
    return image if length_px <= 1 else cv2.blur(image, (round(length_px), 1))


def jpeg(image: Image, quality: float) -> Image:
    """Compressed and decoded."""
    data = np.frombuffer(encode_jpeg(image, quality=round(quality)), dtype=np.uint8)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def rotation(image: Image, degrees: float) -> Image:
    """The camera rolled; corners from outside are black."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(image, turn, (width, height)), dtype=np.uint8)


def crop(image: Image, share: float) -> Image:
    """Only the middle share of each side is seen: a narrower lens."""
    height, width = image.shape[:2]
    rows, columns = round(height * share), round(width * share)
    top, left = (height - rows) // 2, (width - columns) // 2
    part = image[top : top + rows, left : left + columns]
    return np.asarray(cv2.resize(part, (width, height)), dtype=np.uint8)


def occlusion(image: Image, share: float) -> Image:
    """A dark thing before the lower left part of the picture, of so much of its area."""
    height, width = image.shape[:2]
    hidden = image.copy()
    rows, columns = round(height * share**0.5), round(width * share**0.5)
    hidden[height - rows :, :columns] = 20
    return hidden


def noise(image: Image, sigma: float) -> Image:
    """Of a sensor in the dark: another grain for every picture, the same for every model."""
    grain = np.random.default_rng(int(image.sum())).normal(0, sigma, image.shape)
    return np.clip(np.rint(image + grain), 0, 255).astype(np.uint8)


def small(image: Image, width_px: float) -> Image:
    """A camera of so few pixels across."""
    height, width = image.shape[:2]
    size = round(width_px), round(height * width_px / width)
    coarse = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(coarse, (width, height)), dtype=np.uint8)


DISTURBANCES: Mapping[str, tuple[Callable[[Image, float], Image], Sequence[float], str]] = {
    'brightness': (brightness, (0.1, 0.25, 0.5, 1.0, 2.0, 4.0), 'factor'),
    'blur': (blur, (0, 2, 4, 8), 'sigma, pixels'),
    'motion blur': (motion, (1, 10, 20, 40), 'length, pixels'),
    'JPEG': (jpeg, (95, 20, 10, 5), 'quality'),
    'rotation': (rotation, (0, 5, 10, 20), 'degrees'),
    'crop': (crop, (1.0, 0.9, 0.8, 0.6), 'share of a side seen'),
    'occlusion': (occlusion, (0, 0.1, 0.25, 0.5), 'share of the picture'),
    'noise': (noise, (0, 10, 25, 50), 'sigma of 255'),
    'small picture': (small, (320, 160, 80, 40), 'pixels across'),
}
"""Name -> (what is done, its strengths, what they are)."""


def thinned(images: RecallSet, most: int) -> RecallSet:
    """A set with at most so many queries, evenly taken."""
    step = -(-len(images.positives) // most)
    earlier = images.earlier_than
    return replace(
        images,
        queries=images.queries[::step],
        positives=images.positives[::step],
        earlier_than=None if earlier is None else earlier[::step],
    )


def curves(models: Sequence[Path], sets: Sequence[RecallSet]) -> dict[str, dict[str, list[float]]]:
    """Disturbance -> contender -> mean R@1 over the sets at each strength."""
    with contenders(models) as all_of_them:
        databases = [
            describe_all(all_of_them, images.database, label=images.name) for images in sets
        ]

        def at(disturb: Callable[[Image], Image], label: str) -> dict[str, float]:
            shares: dict[str, list[float]] = {one.name: [] for one in all_of_them}
            for images, database in zip(sets, databases, strict=True):
                queries = describe_all(
                    all_of_them, images.queries, disturb=disturb, label=f'{label} {images.name}'
                )
                for name, rows in queries.items():
                    ranked = database[name].rank(rows, images.earlier_than, 1)
                    shares[name].append(recall_at(ranked, images.positives, (1,)).at[1])
            return {name: float(np.mean(found)) for name, found in shares.items()}

        found: dict[str, dict[str, list[float]]] = {}
        for title, (disturb, strengths, _) in DISTURBANCES.items():
            by_strength = [
                at(lambda image, d=disturb, s=strength: d(image, s), f'{title} {strength}')
                for strength in strengths
            ]
            found[title] = {
                one.name: [values[one.name] for values in by_strength] for one in all_of_them
            }
    return found


def draw(found: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """A panel for each disturbance; references are dashed."""
    figure, axes = panels(_PER_ROW, rows=len(found) // _PER_ROW)
    for axis, (title, lines) in zip(axes, found.items(), strict=True):
        _, strengths, unit = DISTURBANCES[title]
        for number, (name, shares) in enumerate(lines.items()):
            axis.plot(
                range(len(strengths)), shares, marker='.', label=name, color=f'C{number}',
                linestyle='--' if number < 4 else '-',
            )  # fmt: skip
        axis.set_xticks(range(len(strengths)), [f'{value:g}' for value in strengths])
        axis.set(title=title, xlabel=unit, ylim=(0, 1))
    axes[0].set_ylabel('R@1, mean of the sets')
    axes[-1].legend(fontsize='x-small')
    save(figure, path)


def table(found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """R@1 at every strength, a row for each contender and disturbance."""
    lines = ['| | ' + ' | '.join(next(iter(found.values()))) + ' |']
    lines.append('|---|' + '---|' * len(next(iter(found.values()))))
    for title, by_name in found.items():
        for number, strength in enumerate(DISTURBANCES[title][1]):
            shares = ' | '.join(f'{shares[number]:.2f}' for shares in by_name.values())
            lines.append(f'| {title} {strength:g} | {shares} |')
    return '\n'.join(lines)


def main() -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--models', nargs='*', type=Path, default=[default_model()], metavar='DIR')
    parser.add_argument('--figure', type=Path, default=FIGURE, metavar='FILE')
    parser.add_argument('--each', type=int, default=50, metavar='N', help='queries of a set')
    add_data_argument(parser)
    arguments = parser.parse_args()
    sets = [thinned(images, arguments.each) for images in open_sets(arguments.data, SETS)]
    found = curves(arguments.models, sets)
    draw(found, arguments.figure)
    print(table(found))
    print(f'\nfigure in {arguments.figure}; images of {SIZE_HW[1]} x {SIZE_HW[0]}')


if __name__ == '__main__':
    main()
