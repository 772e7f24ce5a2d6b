"""Positions in file names, as data sets of places have them; read alike by robot and trainer.

The name is
`@UTM_east@UTM_north@zone@letter@lat@lon@pano@tile@heading@pitch@roll@height@timestamp@note@.jpg`;
only the two UTM fields are required. What stands behind the last `@` is no field. Coordinates of
two zones are never compared as they stand: the same east and north there are two different points.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from vpr_ros.core.errors import DriveError
from vpr_ros.drives.geographic import UNKNOWN_ZONE

_LARGEST_ZONE = 60
_MOST_EAST_M, _MOST_NORTH_M = 1_000_000, 10_000_000  # of every zone
_LETTERS = 'CDEFGHJKLMNPQRSTUVWX'
_FIRST_OF_THE_NORTH = 'N'


@dataclass(frozen=True, slots=True)
class UtmPosition:
    """What a name says of where its image was taken."""

    source: str  # the name, for messages
    east_m: float
    north_m: float
    zone: int = UNKNOWN_ZONE
    letter: str = ''  # of the band; empty where the name does not say it


def begins_as_utm(name: str) -> bool:
    """Whether a name begins as those of this form do."""
    return name.startswith('@')


def has_utm(name: str) -> bool:
    """Whether a name has the two numbers that are required."""
    try:
        utm_position(name)
    except DriveError:
        return False
    return True


def utm_fields(name: str) -> list[str]:
    """The fields of a name, at least twelve, with empty ones behind those that it has."""
    fields = name.split('@')[1:]
    last = fields.pop() if fields else ''
    if len(fields) == 1:  # @east@north.jpg
        fields.append(last.rpartition('.')[0])
    return fields + [''] * (12 - len(fields))


def utm_position(name: str, *, source: str = '') -> UtmPosition:
    """The position in a file's name; raises DriveError for broken fields.

    source: what messages call the file, by default its name.
    """
    source = source or name
    fields = utm_fields(name)
    east_m, north_m = (
        number(source, field, text) for field, text in zip(('UTM_east', 'UTM_north'), fields)
    )
    if not begins_as_utm(name) or east_m is None or north_m is None:
        raise DriveError(f'{source}: no UTM_east or UTM_north, expected @UTM_east@UTM_north@...')
    zone = number(source, 'zone', fields[2])
    if zone is not None and (zone != int(zone) or not 1 <= zone <= _LARGEST_ZONE):
        raise DriveError(f'{source}: UTM zone {fields[2]}, expected 1 to {_LARGEST_ZONE}')
    if zone is not None and (
        east_m == north_m == 0 or not (east_m < _MOST_EAST_M and abs(north_m) <= _MOST_NORTH_M)
    ):
        raise DriveError(
            f'{source}: {east_m:g} east, {north_m:g} north is no position in a UTM zone; expected '
            f'east below {_MOST_EAST_M} m and north up to {_MOST_NORTH_M} m'
        )
    letter = fields[3].strip().upper()
    if letter and (len(letter) > 1 or letter not in _LETTERS):
        raise DriveError(f'{source}: UTM letter {fields[3]}, expected one of C to X')
    return UtmPosition(
        source, east_m, north_m, UNKNOWN_ZONE if zone is None else int(zone), letter
    )


def heading_deg(name: str, fields: Sequence[str]) -> float | None:
    """The heading in a name's fields; raises DriveError for one that is none, such as -999."""
    found = number(name, 'heading', fields[8])
    if found is not None and not -180 <= found <= 360:
        raise DriveError(
            f'{name}: heading is {fields[8]}, expected -180 to 360 degrees, or nothing'
        )
    return found


def number(source: str, field: str, text: str) -> float | None:
    """A field that is a finite number, None for an empty one; raises DriveError."""
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DriveError(f'{source}: {field} is {text!r}, expected a number')
    return value


def hemisphere(letter: str) -> str:
    """'north' or 'south' by the letter of a band; empty where it is not known."""
    if not letter:
        return ''
    return 'north' if letter.upper() >= _FIRST_OF_THE_NORTH else 'south'


def zone_names(positions: Sequence[UtmPosition]) -> list[str]:
    """The zone of each position, such as '32 north'; only equal ones may be compared.

    '' where no name says its zone. A name without a letter is where the others of its zone are.
    Raises DriveError where that leaves two answers, and where only some names say their zone.
    """
    require_zones(positions)
    sides: dict[int, set[str]] = defaultdict(set)
    for position in positions:
        sides[position.zone].add(hemisphere(position.letter))
    return [_zone_name(position, sides[position.zone] - {''}) for position in positions]


def require_zones(positions: Sequence[UtmPosition]) -> None:
    """Raise DriveError where some names say their zone and others do not."""
    zones = {position.zone for position in positions}
    if UNKNOWN_ZONE in zones and len(zones) > 1:
        nameless = next(each for each in positions if each.zone == UNKNOWN_ZONE)
        raise DriveError(
            f'{nameless.source}: no UTM zone in this name, but in others; they cannot be compared'
        )


def _zone_name(position: UtmPosition, sides: set[str]) -> str:
    if position.zone == UNKNOWN_ZONE:
        return ''
    side = hemisphere(position.letter)
    if not side and len(sides) > 1:
        raise DriveError(
            f'{position.source}: no UTM letter in this name, and others of zone {position.zone} '
            'lie on both sides of the equator; they cannot be compared'
        )
    return f'{position.zone} {side or next(iter(sides), "")}'.strip()
