"""The disturbances of benchmarks/robustness.py do what their names say."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('torch', reason='needs torch: make setup-training')
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'benchmarks'))
from robustness import DISTURBANCES, brightness, crop, jpeg, motion, occlusion, rotation


def a_picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)


@pytest.mark.parametrize('name', DISTURBANCES)
def test_every_disturbance_keeps_the_form_and_changes_more_with_its_strength(name: str) -> None:
    disturb, strengths, _ = DISTURBANCES[name]
    picture = a_picture()
    found = [disturb(picture, strength) for strength in strengths]
    assert all(one.shape == picture.shape and one.dtype == np.uint8 for one in found)
    changes = [np.abs(one.astype(int) - picture).mean() for one in found]
    assert changes[-1] == max(changes) or name == 'brightness'


def test_half_the_light_halves_every_value() -> None:
    halves = np.rint(a_picture() / 2).astype(np.uint8)
    np.testing.assert_array_equal(brightness(a_picture(), 0.5), halves)


def test_a_moving_camera_smears_along_the_rows_only() -> None:
    picture = np.zeros((9, 21, 3), dtype=np.uint8)
    picture[4, 10] = 210
    smeared = motion(picture, 7)
    assert (smeared[4, 7:14] == 30).all()
    assert smeared[[0, 1, 2, 3, 5, 6, 7, 8]].sum() == 0


def test_a_roll_keeps_the_middle_and_a_narrower_lens_enlarges_it() -> None:
    picture = np.zeros((61, 61, 3), dtype=np.uint8)
    picture[28:33, 28:33] = 200
    assert rotation(picture, 30)[30, 30, 0] == 200
    assert (crop(picture, 0.5) > 100).sum() > 3 * (picture > 100).sum()


def test_something_before_the_lens_hides_its_share() -> None:
    white = np.full((100, 100, 3), 255, dtype=np.uint8)
    assert (occlusion(white, 0.25) != 255).mean() == pytest.approx(0.25)


def test_compression_is_coarser_at_lower_quality() -> None:
    picture = np.repeat(np.repeat(a_picture()[:10, :10], 8, axis=0), 8, axis=1)
    errors = [np.abs(jpeg(picture, one).astype(int) - picture).mean() for one in (95, 20, 5)]
    assert errors[0] < errors[1] < errors[2]
