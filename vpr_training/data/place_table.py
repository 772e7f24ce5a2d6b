"""Your own labels: `places.csv` beside the images, with the columns image and place_id.

A column `city` keeps places of one number in two towns apart; `east_m` and `north_m` are positions
to draw. Images are relative to the folder, or absolute.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vpr_ros.core.names import as_text
from vpr_ros.core.plurals import by_count, counted
from vpr_training.basics.errors import DatasetError
from vpr_training.data.config import DataConfig
from vpr_training.data.held_out import stretches
from vpr_training.data.places import Listed, PlaceSet
from vpr_training.data.recall_set import RecallSet
from vpr_training.data.tables import number, read_rows

TABLE_NAME = 'places.csv'


def recognizes(folder: Path) -> bool:
    """Whether a folder has this layout."""
    return (folder / TABLE_NAME).is_file()


def read(folder: Path, config: DataConfig) -> PlaceSet:
    """Read the table; raises DatasetError. What data.held_out keeps out is not in it."""
    listed = _listed(folder)
    left_out = []
    if config.held_out:
        held, beside = _held_out(listed, config)
        left_out.append(
            f'{counted(len(held), "place")} held out (data.held_out), and {len(beside)} beside '
            f'{by_count(len(held), "it", "them")}'
        )
        listed = [one for one in listed if _key(one) not in held | beside]
    return PlaceSet.of(
        folder,
        listed,
        min_images=config.min_images_per_place,
        cities=config.cities,
        left_out=left_out,
    )


def read_held_out(root: Path, config: DataConfig, *, radius_m: float) -> RecallSet:
    """The places that data.held_out keeps out; raises DatasetError.

    Every second image of a place is a query. The table says what is right, so that radius_m
    changes nothing.
    """
    listed = _listed(root)
    held, _ = _held_out(listed, config)
    there = [one for one in listed if _key(one) in held and _has_content(root / one.file)]
    seen: Counter[tuple[str, str]] = Counter()
    database: list[Listed] = []
    queries: list[Listed] = []
    for one in there:
        (queries if seen[_key(one)] % 2 else database).append(one)
        seen[_key(one)] += 1
    if not queries:
        raise DatasetError(f'{root}: the held-out part has no place with two images')
    return RecallSet(
        name=as_text(f'{root.resolve().name} held out'),
        database=tuple(root / one.file for one in database),
        queries=tuple(root / one.file for one in queries),
        positives=tuple(
            np.flatnonzero([_key(other) == _key(one) for other in database]) for one in queries
        ),
        truth=f'same place_id in {TABLE_NAME}; '
        'queries are every second image of the held-out places',
    )


def _key(one: Listed) -> tuple[str, str]:
    return one.city, one.place


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _held_out(
    listed: Sequence[Listed], config: DataConfig
) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Places of the chosen cities that are held out, and those beside them, in table order."""
    wanted = [one for one in listed if not config.cities or one.city in config.cities]
    if not wanted:
        return set(), set()
    route = list(dict.fromkeys(_key(one) for one in wanted))
    held = stretches(len(route), config.held_out)
    beside = ~held & (np.append(held[1:], False) | np.append(False, held[:-1]))
    return {route[row] for row in np.flatnonzero(held)}, {
        route[row] for row in np.flatnonzero(beside)
    }


def _listed(folder: Path) -> list[Listed]:
    """What the table promises, in its order; raises DatasetError."""
    listed: list[Listed] = []
    seen: dict[str, str] = {}
    for where, row in read_rows(folder / TABLE_NAME, ('image', 'place_id')):
        image = row['image']
        if image in seen:
            raise DatasetError(f'{where}: {image} occurs twice, first in {seen[image]}')
        seen[image] = where
        known = row.get('east_m') and row.get('north_m')
        position = [
            number(row[name], name, where) if known else float('nan')
            for name in ('east_m', 'north_m')
        ]
        listed.append(Listed(image, row['place_id'], row.get('city', ''), *position))
    return listed
