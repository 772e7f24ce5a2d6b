"""Where and when photos were taken, by their `@utm@` names or their EXIF tags.

The name is
`@UTM_east@UTM_north@zone@letter@lat@lon@pano@tile@heading@pitch@roll@height@timestamp@note@.jpg`;
only the two UTM fields are required. Headings are compass headings: 0 is north, clockwise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from vpr_ros.core.errors import DriveError
from vpr_ros.core.types import Datum
from vpr_ros.drives.geographic import UNKNOWN_ZONE, datum_at, degrees_of, east_north_of

_LARGEST_ZONE = 60

# EXIF 2.32, tables 4 to 12; Pillow has names for them from 9.4 on.
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_DATE_TIME_ORIGINAL, _SUBSECONDS_ORIGINAL = 0x9003, 0x9291
_LATITUDE_REF, _LATITUDE, _LONGITUDE_REF, _LONGITUDE, _ALTITUDE, _DIRECTION = 1, 2, 3, 4, 6, 17


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


def utm_geotags(files: Sequence[Path]) -> list[Geotag]:
    """What `@utm@` names say; raises DriveError naming the file whose fields are broken."""
    return [_utm_geotag(file.name) for file in files]


def exif_geotags(files: Sequence[Path], warnings: list[str]) -> list[Geotag | None]:
    """EXIF positions, headings and times; None for photos without a position."""
    tags: list[Geotag | None] = []
    broken = 0
    for file in files:
        try:
            with Image.open(file) as image:
                tags.append(_exif_geotag(file.name, image.getexif()))
        except DriveError as error:
            broken += 1
            warnings.append(str(error)) if broken == 1 else None
            tags.append(None)
        except (
            OSError,
            UnidentifiedImageError,
            ValueError,
            TypeError,
            AttributeError,
            Image.DecompressionBombError,
            ZeroDivisionError,
            SyntaxError,
        ):
            tags.append(None)  # whoever decodes it will say what is wrong with it
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
    zones = {tag.utm_zone for tag in known if tag.utm_m is not None}
    if UNKNOWN_ZONE in zones and len(zones) > 1:
        nameless = next(tag.name for tag in known if tag.utm_zone == UNKNOWN_ZONE)
        raise DriveError(
            f'{nameless}: no UTM zone in this name, but in others; they cannot be compared'
        )
    if datum is None:
        datum = _datum_of(known[0])
    elif zones and (datum.utm_zone == UNKNOWN_ZONE) != (zones == {UNKNOWN_ZONE}):
        warnings.append(
            'the names or the datum do not say their UTM zone; it is taken to be the same'
        )
    return Placed(datum, [None if tag is None else _place(tag, datum) for tag in tags])


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
        if comparable and _hemisphere(tag.utm_letter) in ('', _hemisphere(datum.utm_letter)):
            return tag.utm_m[0] - datum.east_m, tag.utm_m[1] - datum.north_m
        if not _hemisphere(tag.utm_letter) and tag.degrees is None:
            raise DriveError(
                f'UTM zone {tag.utm_zone} without a letter beside zone '
                f'{datum.utm_zone}{datum.utm_letter}; coordinates of two zones cannot be compared'
            )
        degrees = tag.degrees or degrees_of(*tag.utm_m, tag.utm_zone, tag.utm_letter)
        return east_north_of(*degrees, datum)
    except DriveError as error:
        raise DriveError(f'{tag.name}: {error}') from error


def _hemisphere(letter: str) -> str:
    if not letter:
        return ''
    return 'north' if letter.upper() >= 'N' else 'south'


def _utm_geotag(name: str) -> Geotag:
    fields = name.rpartition('.')[0].split('@')[1:]
    fields += [''] * (14 - len(fields))
    east_m, north_m = _number(name, 'UTM_east', fields[0]), _number(name, 'UTM_north', fields[1])
    if east_m is None or north_m is None:
        raise DriveError(f'{name}: no UTM_east or UTM_north, expected @UTM_east@UTM_north@...')
    zone = _number(name, 'zone', fields[2])
    if zone is not None and (zone != int(zone) or not 1 <= zone <= _LARGEST_ZONE):
        raise DriveError(f'{name}: UTM zone {fields[2]}, expected 1 to {_LARGEST_ZONE}')
    letter = fields[3].strip().upper()
    if letter and (len(letter) > 1 or letter not in 'CDEFGHJKLMNPQRSTUVWX'):
        raise DriveError(f'{name}: UTM letter {fields[3]}, expected one of C to X')
    latitude_deg, longitude_deg = _number(name, 'lat', fields[4]), _number(name, 'lon', fields[5])
    known = latitude_deg is not None and longitude_deg is not None
    return Geotag(
        name,
        utm_m=(east_m, north_m),
        utm_zone=UNKNOWN_ZONE if zone is None else int(zone),
        utm_letter=letter,
        degrees=(latitude_deg or 0.0, longitude_deg or 0.0) if known else None,
        heading_deg=_number(name, 'heading', fields[8]),
    )


def _number(name: str, field: str, text: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DriveError(f'{name}: {field} is {text!r}, expected a number')
    return value


def _exif_geotag(name: str, exif: Any) -> Geotag | None:
    gps = exif.get_ifd(_GPS_IFD)
    if _LATITUDE not in gps or _LONGITUDE not in gps:
        return None
    latitude_deg = _degrees(gps[_LATITUDE], gps.get(_LATITUDE_REF, 'N'), 'S')
    longitude_deg = _degrees(gps[_LONGITUDE], gps.get(_LONGITUDE_REF, 'E'), 'W')
    if not (abs(latitude_deg) <= 90 and abs(longitude_deg) <= 180):
        raise DriveError(
            f'{name}: EXIF position {latitude_deg}, {longitude_deg} is not on the Earth'
        )
    heading = _finite(gps.get(_DIRECTION))
    return Geotag(
        name,
        degrees=(latitude_deg, longitude_deg),
        altitude_m=_finite(gps.get(_ALTITUDE)) or 0.0,
        heading_deg=heading,
        stamp_ns=_exif_stamp_ns(exif.get_ifd(_EXIF_IFD)),
    )


def _degrees(parts: Sequence[Any], reference: str, negative: str) -> float:
    """Degrees of (degrees, minutes, seconds), which may be fewer."""
    size: float = sum(float(part) / 60**power for power, part in enumerate(parts))
    return -size if reference.strip().upper() == negative else size


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
