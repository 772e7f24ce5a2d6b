"""Your own labels: `places.csv` beside the images, with the columns image and place_id.

A column `city` keeps places of one number in two towns apart; `east_m` and `north_m` are positions
to draw. Images are relative to the folder, or absolute.
"""

from pathlib import Path

from vpr_training.data.config import DataConfig
from vpr_training.data.places import Listed, PlaceSet
from vpr_training.data.tables import number, read_rows
from vpr_training.errors import DatasetError

TABLE_NAME = 'places.csv'


def recognizes(folder: Path) -> bool:
    """Whether a folder has this layout."""
    return (folder / TABLE_NAME).is_file()


def read(folder: Path, config: DataConfig) -> PlaceSet:
    """Read the table; raises DatasetError."""
    listed: list[Listed] = []
    seen: dict[str, str] = {}
    for where, row in read_rows(folder / TABLE_NAME, ('image', 'place_id')):
        image = row['image']
        if image in seen:
            raise DatasetError(f'{where}: {image} is there twice, first in {seen[image]}')
        seen[image] = where
        known = row.get('east_m') and row.get('north_m')
        position = [
            number(row[name], name, where) if known else float('nan')
            for name in ('east_m', 'north_m')
        ]
        listed.append(Listed(image, row['place_id'], row.get('city', ''), *position))
    return PlaceSet.of(
        folder, listed, min_images=config.min_images_per_place, cities=config.cities
    )
