"""Look at a data set before training on it.

  python -m vpr_training.data inspect DIR [--deep] [--picture FILE.png]

Says what is there: places, images per place, extent, what was left out and why; draws it. DIR is
anything that can be trained on (GSV-Cities, GSV-XS, places.csv, a bag, a posed folder, a folder of
drives) or evaluated on (database/ and queries/).
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vpr_ros.cli.command import command
from vpr_ros.core.errors import ImageError
from vpr_ros.core.image import read
from vpr_training.data.config import DataConfig
from vpr_training.data.layouts import open_places, open_recall_set, trains
from vpr_training.data.pictures import draw_places, draw_recall_set
from vpr_training.data.places import PlaceSet
from vpr_training.data.recall_set import RecallSet

_BROKEN_SHOWN, _CITIES_SHOWN, _BAR_WIDTH = 20, 30, 40


def described(places: PlaceSet) -> str:
    """What a training set holds, for people."""
    sizes = np.diff(places.starts)
    lines = [
        str(places),
        f'  images per place: {sizes.min()} to {sizes.max()}, median {np.median(sizes):g}',
        *_histogram(sizes.tolist()),
    ]
    lines += [_city(places, city) for city in range(min(len(places.cities), _CITIES_SHOWN))]
    if len(places.cities) > _CITIES_SHOWN:
        lines.append(f'  and {len(places.cities) - _CITIES_SHOWN} more cities')
    return '\n'.join(lines)


def described_recall_set(images: RecallSet) -> str:
    """What an evaluation set holds, for people."""
    positives = [len(rows) for rows in images.positives]
    matchable = [count for count in positives if count]
    lines = [
        f'{images.name}: {len(images.database)} database images, {len(images.queries)} queries',
        f'  right is: {images.truth}',
        f'  unmatchable: {positives.count(0)} queries without a true match',
    ]
    if matchable:
        lines += [
            f'  true matches of the others: {min(matchable)} to {max(matchable)}, '
            f'median {np.median(matchable):g}',
            *_histogram(matchable),
        ]
    return '\n'.join(lines)


def broken(files: Sequence[Path]) -> list[str]:
    """What is wrong with the files that cannot be decoded."""

    def trouble(path: Path) -> str | None:
        try:
            read(path)
        except ImageError as error:
            return str(error)
        return None

    with ThreadPoolExecutor() as pool:
        found = tqdm(
            pool.map(trouble, files), total=len(files), unit='image', disable=None, delay=2
        )
        return [said for said in found if said]


def _city(places: PlaceSet, city: int) -> str:
    chosen = np.flatnonzero(places.city == city)
    rows = np.concatenate([places.rows(int(place)) for place in chosen])
    known = places.positions_m[rows]
    known = known[np.isfinite(known).all(axis=1)]
    name = places.cities[city] or 'all'
    text = f'  {name}: {len(chosen)} places, {len(rows)} images'
    if len(known):
        width, height = known.max(axis=0) - known.min(axis=0)
        text += f', {width:.0f} m x {height:.0f} m'
    return text


def _histogram(counts: Sequence[int]) -> list[str]:
    edges = np.unique(np.linspace(min(counts), max(counts) + 1, 9).astype(int))
    held, _ = np.histogram(counts, bins=np.append(edges[:-1], edges[-1] + (len(edges) == 1)))
    lines = []
    for low, high, count in zip(edges[:-1], edges[1:], held):
        span = f'{low}' if high - low == 1 else f'{low}-{high - 1}'
        bar = '#' * round(_BAR_WIDTH * count / max(held))
        lines.append(f'    {span:>9} {bar:<{_BAR_WIDTH}} {count}')
    return lines


def _parser() -> argparse.ArgumentParser:
    defaults = DataConfig()
    parser = argparse.ArgumentParser(
        prog='python -m vpr_training.data',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('what', choices=('inspect',))
    parser.add_argument('folder', type=Path, metavar='DIR')
    parser.add_argument(
        '--deep', action='store_true', help='decode every image to find broken ones'
    )
    parser.add_argument(
        '--picture',
        type=Path,
        metavar='FILE',
        help='where to draw it (inspect-NAME.png in this folder)',
    )
    parser.add_argument(
        '--min-images', type=int, default=defaults.min_images_per_place, metavar='N'
    )
    for name, unit in (('place_radius', 'M'), ('place_gap', 'M'), ('place_heading', 'DEG')):
        parser.add_argument(
            f'--{name.replace("_", "-")}',
            type=float,
            default=getattr(defaults, name),
            metavar=unit,
            help=f'own drives: data.{name} of the training (%(default)g)',
        )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help. Ends with 1 if --deep found broken images."""
    arguments = _parser().parse_args(argv)
    folder: Path = arguments.folder
    picture = arguments.picture or Path(f'inspect-{folder.resolve().name}.png')
    if trains(folder):
        config = DataConfig(
            root=str(folder),
            images_per_place=min(2, arguments.min_images),
            min_images_per_place=arguments.min_images,
            place_radius=arguments.place_radius,
            place_gap=arguments.place_gap,
            place_heading=arguments.place_heading,
        )
        config.check()
        places = open_places(config)
        files = [places.path(row) for row in range(len(places.files))]
        print(described(places))
        draw_places(places, picture)
    else:
        images = open_recall_set(folder)
        files = list(dict.fromkeys([*images.database, *images.queries]))
        print(described_recall_set(images))
        draw_recall_set(images, picture)
    print(f'  drawn in {picture}')
    if not arguments.deep:
        return 0
    found = broken(files)
    for said in found[:_BROKEN_SHOWN]:
        print(f'  broken: {said}')
    print(f'  {len(found)} of {len(files)} images are broken')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
