"""SIFT features and their matches."""

import cv2
import numpy as np
import pytest
import rendered

from vpr_ros.core.landmarks.features import FeatureRays, SiftFeatures

CAMERA = rendered.camera()
MAPPED = rendered.drive(8)
SIFT = SiftFeatures()


def test_matches_are_each_others_nearest() -> None:
    random = np.random.default_rng(5)
    first = random.integers(0, 255, (30, 128), dtype=np.uint8)
    order = random.permutation(30)
    noisy = np.clip(first[order].astype(int) + random.integers(-9, 9, first.shape), 0, 255)
    rays = np.zeros((30, 2))  # of no account to it
    rows, columns = SiftFeatures().match(
        FeatureRays(rays, first), FeatureRays(rays, noisy.astype(np.uint8))
    )
    assert len(rows) == 30 and (order[columns] == rows).all()
    flat = np.zeros((64, 64, 3), np.uint8)
    assert len(SiftFeatures().extract(flat).points_px) == 0


def rows_of(*values: int) -> FeatureRays:
    """Features whose descriptors lie along a line, at these distances."""
    descriptors = np.zeros((len(values), 128), np.uint8)
    descriptors[:, 0] = values
    return FeatureRays(np.zeros((len(values), 2)), descriptors)


@pytest.mark.parametrize(('next_best', 'matches'), [(13, 1), (12, 0)])
def test_a_match_is_clearly_nearer_than_the_next_best(next_best: int, matches: int) -> None:
    """Four fifths of 13 is more than 10, and of 12 less."""
    rows, columns = SIFT.match(rows_of(0), rows_of(10, next_best))
    assert len(rows) == len(columns) == matches


def test_a_feature_is_matched_with_one_that_has_no_better_match() -> None:
    rows, columns = SIFT.match(rows_of(0, 1), rows_of(2, 100))
    assert (rows.tolist(), columns.tolist()) == ([1], [0])
    assert len(SIFT.match(rows_of(0), rows_of(0))[0]) == 0  # nothing to be clearer than


def test_features_of_a_large_image_are_where_those_of_the_small_one_are() -> None:
    """Each pixel is repeated, and a pixel's middle stands half a pixel inside."""
    small, _ = rendered.render(CAMERA, MAPPED[0])
    small = cv2.resize(small, (1000, 500), interpolation=cv2.INTER_LINEAR)
    large = np.repeat(np.repeat(small, 2, axis=0), 2, axis=1)
    expected, found = (SIFT.extract(image) for image in (small, large))
    assert len(expected.points_px) > 100
    reach_px = expected.points_px.max(axis=0)
    assert 800 < reach_px[0] < 1000 and 400 < reach_px[1] < 500  # (x, y) of a wide image
    np.testing.assert_array_equal(found.descriptors, expected.descriptors)
    np.testing.assert_allclose(found.points_px, (expected.points_px + 0.5) * 2 - 0.5, atol=1e-3)


@pytest.mark.parametrize('size_hw', [(1, 2_000_001), (2_000_001, 1)])
def test_an_image_of_one_line_of_pixels_shows_nothing(size_hw: tuple[int, int]) -> None:
    found = SIFT.extract(np.zeros((*size_hw, 3), np.uint8))
    assert len(found.points_px) == len(found.descriptors) == 0
