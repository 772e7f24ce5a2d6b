"""How a right place looks depends on the light: images are compared with the drive's fixes."""

from dataclasses import replace

import numpy as np
import pytest

from vpr_ros.core.localizing.confidence import (
    COMPARED,
    OBSERVATIONS,
    SHIPPED,
    as_dict,
    from_dict,
    observe,
)
from vpr_ros.core.localizing.usual import Usual

BY_DAY = replace(SHIPPED, usual=(0.8, 1.6))
SIMILARITY, MATCH = COMPARED


def seen(similarity: float, match: float) -> np.ndarray:
    """Observations of an image; match: the logarithm that `observe` makes of it."""
    observed = observe(0.99, similarity, 1.1, 0.2, rival=1e-3)
    observed[MATCH] = match
    return observed


def driven(
    usual: Usual, *, similarity: float, match: float, images: int, is_fix: bool = True
) -> None:
    for _ in range(images):
        compared = usual.compared(seen(similarity, match))
        usual.take(compared, is_fix=is_fix, counts=1.0)


def test_what_light_changes_is_compared_and_nothing_else() -> None:
    assert [OBSERVATIONS[row] for row in COMPARED] == ['similarity', 'match']
    usual = Usual(BY_DAY)
    driven(usual, similarity=0.6, match=0.8, images=50)
    before, after = seen(0.6, 0.8), usual.compared(seen(0.6, 0.8))
    others = np.setdiff1d(np.arange(len(before)), COMPARED)
    assert after[others].tolist() == before[others].tolist()
    assert after[SIMILARITY] > before[SIMILARITY] and after[MATCH] > before[MATCH]
    assert usual.match_difference == before[MATCH] - after[MATCH]


def test_at_night_a_right_place_comes_to_look_as_right_places_do_by_day() -> None:
    usual = Usual(BY_DAY)
    first = usual.compared(seen(0.6, 0.8))
    assert first.tolist() == seen(0.6, 0.8).tolist()  # nothing is known yet
    driven(usual, similarity=0.6, match=0.8, images=300)
    night = usual.compared(seen(0.6, 0.8))
    assert night[COMPARED] == pytest.approx([0.8, 1.6], abs=0.1)


def test_a_place_that_matches_less_than_the_fixes_before_it_stands_back() -> None:
    bright = Usual(BY_DAY)
    driven(bright, similarity=0.9, match=3.4, images=100)
    leaves_map = seen(0.85, 2.0)  # as a right place of another day, and not of this one
    assert bright.compared(leaves_map)[MATCH] < 0.5 < leaves_map[MATCH]


def test_only_fixes_tell_and_what_they_told_is_forgotten() -> None:
    usual = Usual(BY_DAY)
    driven(usual, similarity=0.2, match=0.0, images=100, is_fix=False)
    assert usual.compared(seen(0.6, 0.8)).tolist() == seen(0.6, 0.8).tolist()
    driven(usual, similarity=0.6, match=0.8, images=100)
    learned = float(np.abs(usual.difference).max())
    driven(usual, similarity=0.2, match=0.0, images=600, is_fix=False)
    assert float(np.abs(usual.difference).max()) < learned / 10


def test_a_robot_that_stands_does_not_learn_one_image_by_heart() -> None:
    moving, standing = Usual(BY_DAY), Usual(BY_DAY)
    for usual in (moving, standing):
        driven(usual, similarity=0.7, match=1.2, images=50)
    for _ in range(1000):
        standing.take(standing.compared(seen(0.95, 3.5)), is_fix=True, counts=0.0)
    assert standing.difference.tolist() == moving.difference.tolist()


def test_a_calibration_without_a_usual_level_leaves_all_as_it_is() -> None:
    usual = Usual(SHIPPED)
    driven(usual, similarity=0.6, match=0.8, images=50)
    assert usual.compared(seen(0.6, 0.8)).tolist() == seen(0.6, 0.8).tolist()


def test_the_usual_level_is_kept_with_the_calibration() -> None:
    kept = as_dict(BY_DAY)
    assert kept['usual'] == {'similarity': 0.8, 'match': 1.6} and from_dict(kept) == BY_DAY
    del kept['usual']
    assert from_dict(kept).usual is None  # of a map from before
