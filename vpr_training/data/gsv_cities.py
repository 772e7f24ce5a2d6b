"""GSV-Cities (Ali-bey et al. 2022): `Dataframes/<City>.csv` and `Images/<City>/`.

A place id counts within its city only. File names are made of the table's columns:
`<City>_<place:07d>_<year>_<month:02d>_<bearing:03d>_<lat>_<lon>_<pano>.jpg`.
"""

from collections.abc import Iterator
from pathlib import Path

import utm

from vpr_training.basics.errors import DatasetError
from vpr_training.data.config import DataConfig
from vpr_training.data.places import Listed, PlaceSet
from vpr_training.data.tables import number, read_rows, whole_number

_COLUMNS = ('place_id', 'year', 'month', 'northdeg', 'city_id', 'lat', 'lon', 'panoid')


def recognizes(folder: Path) -> bool:
    """Whether a folder has this layout."""
    return (folder / 'Dataframes').is_dir() and (folder / 'Images').is_dir()


def read(folder: Path, config: DataConfig) -> PlaceSet:
    """Read the tables of all cities, or of those that are asked for; raises DatasetError."""
    tables = sorted((folder / 'Dataframes').glob('*.csv'))
    if missing := sorted(set(config.cities) - {table.stem for table in tables}):
        raise DatasetError(f'{folder}: has no Dataframes/{missing[0]}.csv')
    chosen = [table for table in tables if not config.cities or table.stem in config.cities]
    listed = [one for table in chosen for one in _images(table)]
    return PlaceSet.of(
        folder, listed, min_images=config.min_images_per_place, cities=config.cities
    )


def _images(table: Path) -> Iterator[Listed]:
    city = table.stem
    for where, row in read_rows(table, _COLUMNS):
        place, year, month, bearing = (
            whole_number(row[name], name, where)
            for name in ('place_id', 'year', 'month', 'northdeg')
        )
        latitude, longitude = (number(row[name], name, where) for name in ('lat', 'lon'))
        if not (-80 <= latitude <= 84 and -180 <= longitude <= 180):
            raise DatasetError(f'{where}: lat {latitude}, lon {longitude} is not on the map')
        east_m, north_m, _, _ = utm.from_latlon(latitude, longitude)
        # The digits of the table, as they are, make the name.
        name = (
            f'{city}_{place:07d}_{year}_{month:02d}_{bearing:03d}_{row["lat"]}_{row["lon"]}_'
            f'{row["panoid"]}.jpg'
        )
        yield Listed(f'Images/{city}/{name}', f'{place}', city, float(east_m), float(north_m))
