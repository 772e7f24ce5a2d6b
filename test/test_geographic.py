"""Degrees, metres of UTM and distances on the ball agree."""

from types import SimpleNamespace

import numpy as np
import pytest

from vpr_ros.core.errors import DriveError
from vpr_ros.drives.bag_poses import _on_the_earth
from vpr_ros.drives.geographic import (
    apart_m,
    datum_at,
    degrees_of,
    degrees_of_fix,
    east_north_of,
    grid_convergence_deg,
)


def test_degrees_and_metres_are_inverse_of_each_other():
    datum = datum_at(-33.9, 18.4)
    east_m, north_m = east_north_of(-33.91, 18.41, datum)
    found = degrees_of(
        datum.east_m + east_m, datum.north_m + north_m, datum.utm_zone, datum.utm_letter
    )
    assert found == pytest.approx((-33.91, 18.41), abs=1e-7)


def test_metres_go_on_across_the_equator():
    degree_m = 110_574  # of latitude there, on the ellipsoid
    for side in (-1, 1):
        datum = datum_at(-0.001 * side, 9.0)
        _, north_m = east_north_of(0.001 * side, 9.0, datum)
        assert north_m == pytest.approx(0.002 * side * degree_m, rel=1e-3)


@pytest.mark.parametrize('place', [(51.48, 0.0), (0.0, 9.45)])
def test_a_fix_on_the_prime_meridian_or_on_the_equator_is_a_position(place):
    latitude, longitude = place
    status = SimpleNamespace(status=0)
    fix = SimpleNamespace(status=status, latitude=latitude, longitude=longitude)
    assert degrees_of_fix(fix) == place


@pytest.mark.parametrize(
    ('one', 'other', 'turn_deg'),
    [
        ((10, 20), (10, 20), 0),
        ((10, 20), (11, 20), 1),
        ((0, 179), (0, -178), 3),
        ((80, 30), (80, -150), 20),  # over the pole
        ((40, 10), (-40, -170), 180),
        ((60, 0), (60, 90), np.degrees(np.arccos(np.sin(np.radians(60)) ** 2))),
    ],
)
def test_two_places_are_as_far_apart_as_the_ball_between_them_is_long(one, other, turn_deg):
    expected = pytest.approx(np.radians(turn_deg) * 6.371e6, abs=1)
    assert apart_m(one, other) == apart_m(other, one) == expected


@pytest.mark.parametrize('place', [(-33, 11), (1, 101), (60, -170), (84, 0)])
def test_fixes_are_as_far_apart_to_the_north_and_to_the_east_as_their_degrees_say(place):
    places = [np.add(place, step) for step in ((0, 0), (0.01, 0), (0, 0.01))]
    here, *others = _on_the_earth(np.array(places))
    for other, degrees in zip(others, places[1:], strict=True):
        apart = np.linalg.norm(other - here)
        assert apart == pytest.approx(apart_m(tuple(places[0]), tuple(degrees)), rel=1e-4)


@pytest.mark.parametrize('degrees', [(91, 0), (0, 181), (float('nan'), 0), (89, 0)])
def test_positions_off_the_earth_or_off_utm_are_refused(degrees):
    with pytest.raises(DriveError):
        datum_at(*degrees)


@pytest.mark.parametrize(
    ('latitude_deg', 'longitude_deg', 'expected_deg'),
    [(60.0, 9.0, 0.0), (60.0, 11.9, 2.51), (-60.0, 11.9, -2.51), (0.0, 11.9, 0.0)],
)
def test_grid_north_is_turned_from_true_north_towards_the_edge_of_a_zone(
    latitude_deg: float, longitude_deg: float, expected_deg: float
) -> None:
    """Against a step to the true north, in UTM coordinates."""
    datum = datum_at(latitude_deg, 9.0)
    found = grid_convergence_deg(latitude_deg, longitude_deg, datum)
    east_m, north_m = east_north_of(latitude_deg, longitude_deg, datum)
    further_east_m, further_north_m = east_north_of(latitude_deg + 0.01, longitude_deg, datum)
    bearing = np.degrees(np.arctan2(further_east_m - east_m, further_north_m - north_m))
    assert found == pytest.approx(-bearing, abs=0.02)
    assert found == pytest.approx(expected_deg, abs=0.02)
