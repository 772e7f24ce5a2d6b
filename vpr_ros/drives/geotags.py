"""Where and when photos were taken, by their `@utm@` names or their EXIF tags.

Names are read in utm_names.py. EXIF data are read without decoding the picture, so that a panorama
that is too large for that still has a place. A fault of one photo is counted and named, and does
not stop the rest. Headings are compass headings: 0 is north, clockwise.
"""

import math
import mmap
import os
import warnings as python_warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vpr_ros.core.documents import open_regular
from vpr_ros.core.errors import DriveError
from vpr_ros.core.image_header import exif_block, is_tiff
from vpr_ros.core.plurals import by_count, counted
from vpr_ros.core.types import Datum
from vpr_ros.drives.geographic import (
    UNKNOWN_ZONE,
    apart_m,
    datum_at,
    degrees_of,
    east_north_of,
    middle_of,
    require_near,
)
from vpr_ros.drives.utm_names import (
    UtmPosition,
    begins_as_utm,
    has_utm,
    heading_deg,
    hemisphere,
    number,
    require_zones,
    utm_fields,
    utm_position,
)

# EXIF 2.32, tables 4 to 12; Pillow has names for them from 9.4 on.
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_DATE_TIME_ORIGINAL, _SUBSECONDS_ORIGINAL = 0x9003, 0x9291
_LATITUDE_REF, _LATITUDE, _LONGITUDE_REF, _LONGITUDE = 1, 2, 3, 4
_ALTITUDE_REF, _ALTITUDE, _STATUS, _DIRECTION_REF, _DIRECTION = 5, 6, 9, 16, 17
_FAR_M = 100_000.0  # a photo further from the middle of all is probably of another drive
_BELOW_THE_SEA, _VOID, _MAGNETIC = '1', 'V', 'M'


@dataclass(frozen=True, slots=True)
class Geotag:
    """A photo's position, as UTM coordinates or as degrees."""

    name: str
    utm_m: tuple[float, float] | None = None  # east, north
    utm_zone: int = UNKNOWN_ZONE
    utm_letter: str = ''
    degrees: tuple[float, float] | None = None  # latitude, longitude
    altitude_m: float = 0.0
    heading_deg: float | None = None
    stamp_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """Photos on one plane."""

    datum: Datum
    east_north_m: list[tuple[float, float] | None]  # of each tag, from the datum


@dataclass(slots=True)
class _Doubts:
    """Photos whose EXIF data are not what they should be, by what is wrong: names or sentences."""

    refused: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    directions: list[str] = field(default_factory=list)
    unsigned: list[str] = field(default_factory=list)
    void: list[str] = field(default_factory=list)
    magnetic: list[str] = field(default_factory=list)

    def sentences(self) -> list[str]:
        """For the user; each says how many photos there are and names the first."""
        told = (
            (self.refused, 'an impossible position, which is left out'),
            (self.unreadable, 'EXIF data that cannot be read'),
            (self.directions, 'an impossible direction, which is left out'),
            (self.unsigned, 'a position without N or S, E or W, which is taken as north and east'),
            (
                self.void,
                'a position of a receiver without a fix (GPSStatus V), which is used as it is',
            ),
            (
                self.magnetic,
                'a direction from magnetic north (GPSImgDirectionRef M), which is used as it is: '
                'it is off by the local declination',
            ),
        )
        return [
            f'{counted(len(names), "photo has", "photos have")} {what}; the first: {names[0]}'
            for names, what in told
            if names
        ]


def has_utm_names(files: Sequence[Path]) -> bool:
    """Whether positions are in the names of some files: all begin so, or one at least is whole."""
    begun = [file.name for file in files if begins_as_utm(file.name)]
    return bool(begun) and (len(begun) == len(files) or any(map(has_utm, begun)))


def utm_geotags(files: Sequence[Path]) -> list[Geotag | None]:
    """What `@utm@` names say, None for other names.

    Raises DriveError naming the file whose fields are broken.
    """
    return [_utm_geotag(file.name) if begins_as_utm(file.name) else None for file in files]


def exif_geotags(files: Sequence[Path], warnings: list[str]) -> list[Geotag | None]:
    """EXIF positions, headings and times; None for photos without a position."""
    doubts = _Doubts()
    tags = [_exif_geotag_of(file, doubts) for file in files]
    warnings += doubts.sentences()
    return tags


def place_geotags(
    tags: Sequence[Geotag | None], datum: Datum | None, warnings: list[str]
) -> Placed:
    """Positions relative to the datum, by default the first position; at least one tag must exist.

    Coordinates of another zone than the datum's go through latitude and longitude. Raises
    DriveError where that is impossible, because UTM coordinates of two zones must never be
    compared.
    """
    known = [tag for tag in tags if tag is not None]
    named = [
        UtmPosition(tag.name, *tag.utm_m, tag.utm_zone, tag.utm_letter)
        for tag in known
        if tag.utm_m is not None
    ]
    require_zones(named)
    zones = {position.zone for position in named}
    _note_far(known, warnings)
    if datum is not None and (first := _first_of_most(known)).degrees is not None:
        require_near(*first.degrees, datum, source=first.name)
    if datum is None:
        datum = _datum_of(_first_of_most(known))
    elif zones and (datum.utm_zone == UNKNOWN_ZONE) != (zones == {UNKNOWN_ZONE}):
        warnings.append(
            'the names or the datum do not give their UTM zone; it is assumed to be the same'
        )
    return Placed(datum, [None if tag is None else _place(tag, datum) for tag in tags])


def _note_far(tags: Sequence[Geotag], warnings: list[str]) -> None:
    """Note photos that are so far from most others that their positions are rather stale."""
    if far := [tag for tag, is_far in zip(tags, _are_far(tags)) if is_far]:
        warnings.append(
            f'{len(far)} of {len(tags)} images with a position '
            f'{by_count(len(far), "is", "are")} more than {_FAR_M / 1000:.0f} km from the middle '
            f'of the others, the first: {far[0].name}; remove '
            f'{by_count(len(far), "it if it is", "them if they are")} not of this drive'
        )


def _first_of_most(tags: Sequence[Geotag]) -> Geotag:
    """The first tag that is not far from the others."""
    return next((tag for tag, is_far in zip(tags, _are_far(tags)) if not is_far), tags[0])


def _are_far(tags: Sequence[Geotag]) -> list[bool]:
    """Whether each tag is far from the middle of all; none where not all are in degrees."""
    degrees = [tag.degrees for tag in tags if tag.degrees is not None and tag.utm_m is None]
    if len(degrees) < len(tags):
        return [False] * len(tags)
    middle = middle_of(np.array(degrees))
    return [apart_m(place, middle) > _FAR_M for place in degrees]


def _datum_of(tag: Geotag) -> Datum:
    if tag.utm_m is None:
        assert tag.degrees is not None
        return datum_at(*tag.degrees, tag.altitude_m)
    return Datum(tag.utm_zone, tag.utm_letter, *tag.utm_m, tag.altitude_m)


def _place(tag: Geotag, datum: Datum) -> tuple[float, float]:
    """Metres east and north of the datum."""
    try:
        if tag.utm_m is None:
            assert tag.degrees is not None
            return east_north_of(*tag.degrees, datum)
        comparable = (
            UNKNOWN_ZONE in (tag.utm_zone, datum.utm_zone) or tag.utm_zone == datum.utm_zone
        )
        if comparable and hemisphere(tag.utm_letter) in ('', hemisphere(datum.utm_letter)):
            return tag.utm_m[0] - datum.east_m, tag.utm_m[1] - datum.north_m
        if not hemisphere(tag.utm_letter) and tag.degrees is None:
            raise DriveError(
                f'UTM zone {tag.utm_zone} has no letter, and another position is in zone '
                f'{datum.utm_zone}{datum.utm_letter}; coordinates of two zones cannot be compared'
            )
        degrees = tag.degrees or degrees_of(*tag.utm_m, tag.utm_zone, tag.utm_letter)
        return east_north_of(*degrees, datum)
    except DriveError as error:
        raise DriveError(f'{tag.name}: {error}') from error


def _utm_geotag(name: str) -> Geotag:
    found, fields = utm_position(name), utm_fields(name)
    latitude_deg, longitude_deg = number(name, 'lat', fields[4]), number(name, 'lon', fields[5])
    known = latitude_deg is not None and longitude_deg is not None
    return Geotag(
        name,
        utm_m=(found.east_m, found.north_m),
        utm_zone=found.zone,
        utm_letter=found.letter,
        degrees=(latitude_deg or 0.0, longitude_deg or 0.0) if known else None,
        heading_deg=heading_deg(name, fields),
    )


def _exif_geotag_of(file: Path, doubts: _Doubts) -> Geotag | None:
    """The tag of one photo; whatever is wrong with it becomes a doubt."""
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter('ignore')  # Pillow's, of which the user needs none
            exif = _read_exif(file)
            return None if exif is None else _exif_geotag(file.name, exif, doubts)
    except DriveError as error:
        doubts.refused.append(str(error))
    except OSError:
        pass  # whoever decodes the file will say what is wrong with it
    except Exception as error:  # whatever Pillow stumbles over in data that are broken
        doubts.unreadable.append(f'{file.name} ({error})')
    return None


def _read_exif(file: Path) -> Image.Exif | None:
    """A photo's EXIF data; nothing but them is read."""
    exif = Image.Exif()
    with open_regular(file, follow_links=True) as opened:
        if opened.seek(0, os.SEEK_END) == 0:
            return None
        opened.seek(0)
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if is_tiff(content):
                exif.load_from_fp(opened)
                for tag in (_GPS_IFD, _EXIF_IFD):
                    exif.get_ifd(tag)  # which keeps it when the file is closed
                return exif
            block = exif_block(content)
    if block is None:
        return None
    exif.load(block)
    return exif


def _exif_geotag(name: str, exif: Image.Exif, doubts: _Doubts) -> Geotag | None:
    gps = exif.get_ifd(_GPS_IFD)
    if _LATITUDE not in gps or _LONGITUDE not in gps:
        return None
    latitude_deg = _degrees(name, gps, _LATITUDE, _LATITUDE_REF, 'NS', doubts)
    longitude_deg = _degrees(name, gps, _LONGITUDE, _LONGITUDE_REF, 'EW', doubts)
    where = f'{name}: EXIF position {latitude_deg}, {longitude_deg}'
    if not (abs(latitude_deg) <= 90 and abs(longitude_deg) <= 180):
        raise DriveError(f'{where} is not on the Earth')
    if latitude_deg == 0 == longitude_deg:
        raise DriveError(f'{where} is all zeros, so the camera knew no position')
    try:
        datum_at(latitude_deg, longitude_deg)
    except DriveError as error:
        raise DriveError(f'{where} is beyond UTM, which ends at 80 S and 84 N') from error
    if _word(gps.get(_STATUS)) == _VOID:
        doubts.void.append(name)
    altitude_m = _finite(gps.get(_ALTITUDE)) or 0.0
    return Geotag(
        name,
        degrees=(latitude_deg, longitude_deg),
        altitude_m=-altitude_m if _word(gps.get(_ALTITUDE_REF)) == _BELOW_THE_SEA else altitude_m,
        heading_deg=_heading_deg(name, gps, doubts),
        stamp_ns=_exif_stamp_ns(exif.get_ifd(_EXIF_IFD)),
    )


def _heading_deg(name: str, gps: dict[int, Any], doubts: _Doubts) -> float | None:
    heading_deg = _finite(gps.get(_DIRECTION))
    if heading_deg is None:
        return None
    if not 0 <= heading_deg <= 360:
        doubts.directions.append(f'{name} ({heading_deg:g} degrees, expected 0 to 360)')
        return None
    if _word(gps.get(_DIRECTION_REF)) == _MAGNETIC:
        doubts.magnetic.append(name)
    return heading_deg


def _degrees(
    name: str, gps: dict[int, Any], tag: int, reference: int, signs: str, doubts: _Doubts
) -> float:
    """Degrees of (degrees, minutes, seconds), which may be fewer; signs: positive, negative."""
    found = gps[tag] if isinstance(gps[tag], (tuple, list)) else (gps[tag],)  # one has no tuple
    parts = [float(part) for part in found]
    if any(not 0 <= part <= 60 for part in parts[1:]) or not 0 < len(parts) <= 3:
        raise DriveError(
            f'{name}: EXIF position of {", ".join(f"{part:g}" for part in parts)}, '
            'expected degrees, and minutes and seconds up to 60'
        )
    size: float = sum(part / 60.0**power for power, part in enumerate(parts))
    sign = _word(gps.get(reference))
    if not sign:
        if name not in doubts.unsigned:
            doubts.unsigned.append(name)
        return size
    if sign not in signs:
        raise DriveError(f'{name}: EXIF position {size:g} {sign}, expected {" or ".join(signs)}')
    return -size if sign == signs[1] else size


def _word(value: Any) -> str:
    """A tag of letters, or of a byte as its number."""
    if isinstance(value, bytes):
        value = str(value[0]) if len(value) == 1 and value[0] < 10 else value.decode('latin-1')
    return '' if value is None else str(value).strip('\0 ').upper()


def _finite(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None


def _exif_stamp_ns(exif: Any) -> int | None:
    """DateTimeOriginal in ns; EXIF says no time zone, so the camera's clock is taken as UTC."""
    text = exif.get(_DATE_TIME_ORIGINAL)
    try:
        taken = datetime.strptime(str(text).strip('\0 '), '%Y:%m:%d %H:%M:%S').replace(
            tzinfo=timezone.utc
        )
        fraction = str(exif.get(_SUBSECONDS_ORIGINAL) or '0').strip('\0 ')
        since_ns = int(taken.timestamp()) * 10**9 + int(fraction[:9].ljust(9, '0'))
        return int(np.int64(since_ns))
    except (ValueError, OverflowError):
        return None
