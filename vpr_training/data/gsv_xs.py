"""GSV-XS, and SF-XS and Tokyo-XS where their names carry places: `train/<City>/@...@.jpg`.

The name holds everything:
`@UTM_east@UTM_north@zone@letter@lat@lon@pano@...@yyyymm@place_City@.jpg`.
Tables beside it (`*.csv` here or in `dataframes/`) choose among the images and exist in two forms:
`UTM1,UTM2,UTMzone,category,lat,lon,panoid,numeric,yearMonth,place_id,city` and
`place_id,class_name,UTMx,UTMy,filename`. A place id counts within its city and UTM zone only.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from vpr_ros.core.errors import DriveError
from vpr_ros.core.image_files import is_image_file
from vpr_ros.core.plurals import by_count, counted
from vpr_ros.drives.utm_names import UtmPosition, begins_as_utm, require_zones, utm_position
from vpr_training.basics.errors import DatasetError
from vpr_training.data.config import DataConfig
from vpr_training.data.files import others_in
from vpr_training.data.places import Listed, PlaceSet
from vpr_training.data.tables import number, read_rows

_BY_FILE = ('place_id', 'class_name', 'UTMx', 'UTMy', 'filename')
_BY_FIELDS = ('UTM1', 'UTM2', 'UTMzone', 'panoid', 'yearMonth', 'place_id', 'city')


def recognizes(folder: Path) -> bool:
    """Whether a folder has this layout."""
    return any(True for _ in _city_folders(folder))


def read(folder: Path, config: DataConfig) -> PlaceSet:
    """Read names, or tables where there are some; raises DatasetError."""
    by_city = {city: dict(_named(folder, path)) for city, path in _city_folders(folder)}
    if missing := sorted(set(config.cities) - by_city.keys()):
        raise DatasetError(f'{folder}: has no folder of {", ".join(missing)}')
    wanted = {city: by_city[city] for city in config.cities} if config.cities else by_city
    if empty := sorted(city for city, images in wanted.items() if not images):
        raise DatasetError(f'{folder}: the folder of {empty[0]} holds no images')
    _require_zones([one for images in wanted.values() for one in images.values()])
    tables = sorted([*folder.glob('*.csv'), *folder.glob('dataframes/*.csv')])
    listed = (
        _chosen(tables, wanted)
        if tables
        else [one for images in wanted.values() for one in images.values()]
    )
    return PlaceSet.of(
        folder,
        listed,
        min_images=config.min_images_per_place,
        cities=config.cities,
        left_out=_others(folder, wanted),
    )


def _city_folders(folder: Path) -> Iterator[tuple[str, Path]]:
    for train in (folder / 'train', folder / 'images' / 'train', folder):
        if not train.is_dir() or _is_evaluation_set(train):
            continue
        cities = [path for path in sorted(train.iterdir()) if path.is_dir()]
        if any(next(path.glob('@*'), None) for path in cities):
            yield from ((path.name, path) for path in cities if path.name != 'dataframes')
            return


def _is_evaluation_set(folder: Path) -> bool:
    """Whether the folders are the two halves of an evaluation set and not cities."""
    return (folder / 'database').is_dir() and (folder / 'queries').is_dir()


def _named(folder: Path, city: Path) -> Iterator[tuple[str, Listed]]:
    """File name and image of each file of a city."""
    for path in city.iterdir():
        if is_image_file(path) and begins_as_utm(path.name):
            yield path.name, _of_name(path, folder, city.name)


def _of_name(path: Path, folder: Path, city: str) -> Listed:
    fields = path.name.split('@')
    where = str(path)
    place = fields[-2].partition('_')[0] if len(fields) > 3 else ''
    if not place:
        raise DatasetError(f'{where}: the name has no place before its last @')
    try:
        found = utm_position(path.name, source=where)
    except DriveError as error:
        raise DatasetError(str(error)) from error
    file = path.relative_to(folder).as_posix()
    return Listed(file, f'{found.zone or ""}/{place}', city, found.east_m, found.north_m)


def _require_zones(listed: Sequence[Listed]) -> None:
    """Raise DatasetError where some names say their zone and others do not: ids count in zones."""
    try:
        require_zones(
            [
                UtmPosition(one.file, one.east_m, one.north_m, int(one.place.split('/')[0] or 0))
                for one in listed
            ]
        )
    except DriveError as error:
        raise DatasetError(str(error)) from error


def _others(folder: Path, cities: Iterable[str]) -> list[str]:
    """What to say of images whose names hold no place."""
    folders = [path for city, path in _city_folders(folder) if city in cities]
    nameless = [
        path
        for city in folders
        for path in city.iterdir()
        if is_image_file(path) and not begins_as_utm(path.name)
    ]
    names = by_count(len(nameless), 'its name', 'their names')
    said = [f'{counted(len(nameless), "image")} without a place in {names}'] if nameless else []
    return [*said, *others_in(*folders)]


def _chosen(tables: list[Path], wanted: dict[str, dict[str, Listed]]) -> list[Listed]:
    """The images that tables list; one without a file stays, so that it is counted as missing."""
    known = {name: one for images in wanted.values() for name, one in images.items()}
    by_fields: dict[tuple[str, ...], list[Listed]] = defaultdict(list)
    for name, one in known.items():
        by_fields[_key(*_fields_of(name))].append(one)
    listed: list[Listed] = []
    seen: set[str] = set()
    for table in tables:
        form = _form(table)
        for where, row in read_rows(table, form):
            for name in form[:2] if form is _BY_FIELDS else ('UTMx', 'UTMy'):
                number(row[name], name, where)
            if form is _BY_FILE:
                found = [known[row['filename']]] if row['filename'] in known else []
                said = row['filename']
            else:
                key = _key(row['panoid'], row['yearMonth'], row['place_id'], row['UTMzone'])
                found, said = by_fields.get(key, []), f'{row["panoid"]} of place {row["place_id"]}'
            if found and found[0].file in seen:
                raise DatasetError(f'{where}: {found[0].file} occurs twice')
            seen |= {one.file for one in found}
            listed += found or [Listed(said, row['place_id'], table.stem)]
    return listed


def _form(table: Path) -> tuple[str, ...]:
    try:
        with table.open(encoding='utf-8-sig') as file:
            head = file.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f'{table}: cannot be read ({error}); tables here choose among the images, so move it '
            'away if it is none'
        ) from error
    return _BY_FILE if 'filename' in head else _BY_FIELDS


def _fields_of(name: str) -> tuple[str, str, str, str]:
    """Pano, year and month, place and zone of a file name."""
    fields = name.split('@')
    padded = fields + [''] * (15 - len(fields))
    return padded[7], fields[-3], fields[-2].partition('_')[0], padded[3]


def _key(pano: str, month: str, place: str, zone: str) -> tuple[str, ...]:
    return pano, month.lstrip('0'), place.lstrip('0'), zone.lstrip('0')
