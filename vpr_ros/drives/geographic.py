"""Positions on the Earth as metres in one UTM zone.

UTM coordinates of two zones have nothing to do with each other, so every position is brought into
the zone of the datum, even where the drive leaves that zone; and positions are flat, because the
altitudes of phones and plain receivers are off by tens of metres, which would count as distance
between places.
"""

import math
from typing import Any

import numpy as np
import utm
from numpy.typing import NDArray

from vpr_ros.core.errors import DriveError
from vpr_ros.core.types import Datum

_NO_FIX = -1  # sensor_msgs/NavSatStatus
_EARTH_M = 6.371e6
_FARTHEST_M = 1e6  # from the datum; UTM's metres are 1 % longer there
_NULL_DEG = 1e-7  # what a receiver says before it knows
UNKNOWN_FIX = -2
"""Status of a NavSatFix that nobody has set."""

UNKNOWN_ZONE = 0
"""utm_zone of a datum whose recording does not say its zone."""


def datum_at(latitude_deg: float, longitude_deg: float, altitude_m: float = 0.0) -> Datum:
    """The datum at a place in degrees; raises DriveError beyond UTM's 80 S to 84 N."""
    _check(latitude_deg, longitude_deg)
    try:
        east_m, north_m, zone, letter = utm.from_latlon(latitude_deg, longitude_deg)
    except utm.OutOfRangeError as error:
        raise DriveError(f'{latitude_deg}, {longitude_deg}: {error}') from error
    altitude_m = altitude_m if math.isfinite(altitude_m) else 0.0
    return Datum(int(zone), str(letter), float(east_m), float(north_m), altitude_m)


def east_north_of(latitude_deg: float, longitude_deg: float, datum: Datum) -> tuple[float, float]:
    """Metres east and north of the datum, in its zone; raises DriveError for no position."""
    _check(latitude_deg, longitude_deg)
    if datum.utm_zone == UNKNOWN_ZONE:
        raise DriveError('the datum has no UTM zone, so degrees cannot be compared with it')
    try:
        east_m, north_m, _, _ = utm.from_latlon(
            latitude_deg,
            longitude_deg,
            force_zone_number=datum.utm_zone,
            force_zone_letter=datum.utm_letter or None,
        )
    except utm.OutOfRangeError as error:
        raise DriveError(f'{latitude_deg}, {longitude_deg}: {error}') from error
    return float(east_m) - datum.east_m, float(north_m) - datum.north_m


def require_near(
    latitude_deg: float,
    longitude_deg: float,
    datum: Datum,
    *,
    source: str,
    step: str = '; give another --datum LAT,LON, or make a map of its own',
) -> None:
    """Raise DriveError for a position so far from a datum that one plane does not hold both.

    step: what to do about it, to follow the sentence.
    """
    if datum.utm_zone == UNKNOWN_ZONE or not datum.utm_letter:
        return
    there = degrees_of(datum.east_m, datum.north_m, datum.utm_zone, datum.utm_letter)
    far_m = apart_m((latitude_deg, longitude_deg), there)
    if far_m > _FARTHEST_M:
        raise DriveError(
            f'{source}: {latitude_deg:.5f}, {longitude_deg:.5f} is {far_m / 1000:.0f} km from '
            f'the datum {there[0]:.5f}, {there[1]:.5f}, expected at most '
            f'{_FARTHEST_M / 1000:.0f}{step}'
        )


def apart_m(one_deg: tuple[float, float], other_deg: tuple[float, float]) -> float:
    """Metres between two places in degrees, along a ball as large as the Earth."""
    (latitude, longitude), (lat, lon) = (
        (math.radians(each[0]), math.radians(each[1])) for each in (one_deg, other_deg)
    )
    half = (
        math.sin((lat - latitude) / 2) ** 2
        + math.cos(lat) * math.cos(latitude) * math.sin((lon - longitude) / 2) ** 2
    )
    return 2 * _EARTH_M * math.asin(math.sqrt(min(half, 1.0)))


def middle_of(places_deg: NDArray[np.float64]) -> tuple[float, float]:
    """Median latitude and longitude of places in degrees [T, 2], across the date line, too."""
    first = places_deg[0, 1]
    east = (places_deg[:, 1] - first + 180.0) % 360.0 - 180.0
    longitude_deg = (first + float(np.median(east)) + 180.0) % 360.0 - 180.0
    return float(np.median(places_deg[:, 0])), float(longitude_deg)


def grid_convergence_deg(latitude_deg: float, longitude_deg: float, datum: Datum) -> float:
    """How far the UTM grid's north is turned from true north, clockwise, in degrees.

    Up to 3 degrees at the edge of a zone; 0 where the datum does not say its zone. Snyder, Map
    Projections: A Working Manual, 1987, without the terms of the ellipsoid (below 0.01 degrees).
    """
    if datum.utm_zone == UNKNOWN_ZONE:
        return 0.0
    east_rad = math.radians(longitude_deg - (6 * datum.utm_zone - 183))
    slope = math.tan(east_rad) * math.sin(math.radians(latitude_deg))
    return math.degrees(math.atan(slope))


def degrees_of(east_m: float, north_m: float, zone: int, letter: str) -> tuple[float, float]:
    """Latitude and longitude of UTM coordinates; raises DriveError where they are none."""
    try:
        latitude_deg, longitude_deg = utm.to_latlon(east_m, north_m, zone, letter, strict=False)
    except (utm.OutOfRangeError, ValueError) as error:
        raise DriveError(f'UTM {zone}{letter} {east_m} {north_m}: {error}') from error
    return float(latitude_deg), float(longitude_deg)


def degrees_of_fix(message: Any) -> tuple[float, float]:
    """Latitude and longitude of a sensor_msgs/NavSatFix, of a bag or of the node.

    Raises DriveError that says why it is no position. A status that nobody set is taken.
    """
    status, place = message.status.status, (float(message.latitude), float(message.longitude))
    if status == _NO_FIX or status < UNKNOWN_FIX:
        raise DriveError(f'status {status}, no fix')
    if not (math.isfinite(place[0]) and math.isfinite(place[1])):
        raise DriveError('NaN')
    if max(abs(place[0]), abs(place[1])) < _NULL_DEG:
        raise DriveError('latitude and longitude are 0, expected a position')
    try:
        datum_at(*place)
    except DriveError as error:
        raise DriveError('not on the Earth, or beyond UTM') from error
    return place


def _check(latitude_deg: float, longitude_deg: float) -> None:
    if not (-90 <= latitude_deg <= 90 and -180 <= longitude_deg <= 180):
        raise DriveError(
            f'{latitude_deg}, {longitude_deg}: expected latitude and longitude in degrees'
        )
