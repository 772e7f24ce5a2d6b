"""Landmarks are where several views, or depth, say that they are."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pytest
import rendered

from vpr_ros.core.camera import Camera
from vpr_ros.core.errors import VprError
from vpr_ros.core.geometry import (
    IDENTITY,
    quat_conjugate,
    quat_of_rotation_vector,
    rotate,
)
from vpr_ros.core.landmarks.features import FeatureRays, Keypoints, SiftFeatures
from vpr_ros.core.landmarks.points import LandmarkMaker, Landmarks, _View
from vpr_ros.core.types import Poses

CAMERA = rendered.camera()
MAPPED = rendered.drive(8)


def test_a_camera_that_stands_still_gives_no_landmarks_except_by_depth() -> None:
    image, depth = rendered.render(CAMERA, MAPPED[0])
    for given, expected in ((None, 0), (depth.astype(np.float32), 100)):
        maker = LandmarkMaker(CAMERA, SiftFeatures())
        found = []
        for _ in range(3):
            found += list(maker.add(image, MAPPED[0], depth_m=given))
        found += list(maker.finish())
        assert len(found) == 3
        assert all((len(landmarks) > 0) == (expected > 0) for landmarks in found)
        assert all(len(landmarks) >= expected for landmarks in found)
        for landmarks in found[:expected]:
            points = MAPPED[0, :3] + rotate(
                np.broadcast_to(MAPPED[0, 3:], (len(landmarks), 4)),
                landmarks.points_m.astype(np.float64),
            )
            assert np.percentile(rendered.wall_distance_m(points), 95) < 0.05


class Labelled:
    """Features at given points of each image, which are known by their numbers."""

    name, descriptor_size, least_inlier_ratio, shared_error = 'labelled', 4, 0.0, 1.0
    graphs: Mapping[str, bytes] = MappingProxyType({})

    def __init__(self, seen: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """seen: points in pixels [M, 2] and their numbers [M], by image."""
        self.seen = seen

    def extract(self, image: np.ndarray) -> Keypoints:
        points, numbers = self.seen[image[0, 0, 0]]
        return Keypoints(points.astype(np.float32), numbers.astype('<u4')[:, None].view(np.uint8))

    def match(self, first: FeatureRays, second: FeatureRays) -> tuple[np.ndarray, np.ndarray]:
        found = (numbers_of(rays.descriptors) for rays in (first, second))
        return np.intersect1d(*found, return_indices=True)[1:]

    def kept(self, found: Keypoints, image_hw: tuple[int, int]) -> np.ndarray:
        return found.descriptors


def numbers_of(descriptors: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(descriptors).view('<u4')[:, 0]


PINHOLE = Camera(640, 480, (500.0, 0, 320.0, 0, 510.0, 240.0, 0, 0, 1.0), 'plumb_bob', ())


def made_of(
    seen: list[tuple[np.ndarray, np.ndarray]],
    poses: Poses,
    depth_m: np.ndarray | None = None,
) -> list[Landmarks]:
    """The landmarks of images by PINHOLE of which these points are seen."""
    maker, found = LandmarkMaker(PINHOLE, Labelled(seen)), []
    for row, pose in enumerate(poses):
        image = np.full((PINHOLE.height_px, PINHOLE.width_px, 3), row, np.uint8)
        found += list(maker.add(image, pose, depth_m=depth_m))
    return [*found, *maker.finish()]


def test_landmarks_are_the_points_that_were_seen_and_know_how_far_off_they_are() -> None:
    """Of 0.7 px noise; some points are too far, some seen once, some matched with others."""
    random = np.random.default_rng(8)
    points = random.uniform([-2.5, -2, 4], [4, 2, 9], (600, 3))
    far, once, wrong = np.split(random.permutation(600)[:60], 3)
    points[far, 2] = random.uniform(500, 900, 20)
    poses = np.zeros((5, 7))
    poses[:, 0] = 0.3 * np.arange(5)
    poses[:, 3:] = quat_of_rotation_vector(random.normal(0, 0.05, (5, 3)))
    seen, local = [], []
    for row, pose in enumerate(poses):
        there = rotate(np.broadcast_to(quat_conjugate(pose[3:]), (600, 4)), points - pose[:3])
        pixels = there[:, :2] / there[:, 2:] * [500, 510] + [320, 240]
        pixels += random.normal(0, 0.7, pixels.shape)
        if row == 2:
            pixels[wrong] = random.uniform(0, [640, 480], (20, 2))
        numbers = random.permutation(600 if row == 2 else np.setdiff1d(np.arange(600), once))
        seen.append((pixels[numbers], numbers))
        local.append(there)
    found = made_of(seen, poses)
    assert len(found) == 5
    for landmarks, there in zip(found, local, strict=True):
        numbers = numbers_of(landmarks.descriptors)
        assert len(numbers) > 350 and not np.isin(numbers, [*far, *once]).any()
        apart = landmarks.points_m - there[numbers]
        true = ~np.isin(numbers, wrong)
        assert (~true).sum() < 10
        towards = there[numbers] / np.linalg.norm(there[numbers], axis=1, keepdims=True)
        along = (apart * towards).sum(axis=1) / landmarks.sigma_m
        assert 0.8 < along[true].std() < 1.2 and abs(along[true].mean()) < 0.3
        across = np.linalg.norm(apart - (apart * towards).sum(axis=1)[:, None] * towards, axis=1)
        assert np.median(across[true] / there[numbers[true], 2]) < 0.7 / 500


def along_a_wall(
    points: np.ndarray, centres_m: np.ndarray, *, wrong_px: float = 0.0
) -> tuple[list[tuple[np.ndarray, np.ndarray]], Poses]:
    """What views that look along z see of points, without noise; the last one is wrong by some."""
    seen = []
    for x_m in centres_m:
        pixels = (points[:, :2] - [x_m, 0]) / points[:, 2:] * [500, 510] + [320, 240]
        seen.append((pixels, np.arange(len(points))))
    seen[-1][0][:, 1] += wrong_px
    poses = np.zeros((len(centres_m), 7))
    poses[:, 0], poses[:, 6] = centres_m, 1
    return seen, poses


def test_two_views_fix_points_up_to_where_a_fifth_of_the_distance_is_unsure() -> None:
    """At 0.3 m apart: 0.7 px of 500, for both views, of 0.3 / z is a fifth at 30 m."""
    points = np.array([[0.1, 0.2, 5.0], [0, 0, 28.0], [0, 0, 33.0], [0, 0, -1.5]])
    first, second = made_of(*along_a_wall(points, np.array([0.0, 0.3])))
    for landmarks, x_m in ((first, 0.0), (second, 0.3)):
        assert numbers_of(landmarks.descriptors).tolist() == [0, 1]  # none behind
        np.testing.assert_allclose(landmarks.points_m, points[:2] - [x_m, 0, 0], atol=1e-3)
        expected = 0.7 / 500 * np.sqrt(2) * points[:2, 2] ** 2 / 0.3
        np.testing.assert_allclose(landmarks.sigma_m, expected, rtol=0.05)


def test_points_that_all_views_see_in_one_direction_are_too_far() -> None:
    """Two views on either side, up to 0.6 m away: half a degree at 69 m."""
    points = np.array([[0.6, 0, 60.0], [0.6, 0, 80.0]])
    found = made_of(*along_a_wall(points, 0.3 * np.arange(5.0)))
    assert numbers_of(found[2].descriptors).tolist() == [0]
    expected = 0.7 / 500 * 60**2 / np.sqrt(2 * (0.3**2 + 0.6**2))
    np.testing.assert_allclose(found[2].sigma_m, expected, rtol=0.05)


def test_one_wrong_view_of_five_spoils_no_point() -> None:
    points = np.array([[0.1, 0.2, 5.0], [0.5, -0.4, 7.0]])
    found = made_of(*along_a_wall(points, 0.3 * np.arange(5.0), wrong_px=8.0))
    assert numbers_of(found[2].descriptors).tolist() == [0, 1]
    np.testing.assert_allclose(found[2].points_m, points - [0.6, 0, 0], atol=1e-3)


def test_the_better_known_one_of_depth_and_triangulation_counts() -> None:
    """Depth says 8.5 m of a point at 8 m, to 0.22 m; five views know it to 0.1 m, two to 0.4 m."""
    points, depth = np.array([[0.6, 0.2, 8.0]]), np.full((480, 640), 8.5)
    for centres_m, view, z_m in ((0.3 * np.arange(5.0), 2, 8.0), (np.array([0, 0.3]), 0, 8.5)):
        landmarks = made_of(*along_a_wall(points, centres_m), depth)[view]
        assert landmarks.points_m[:, 2] == pytest.approx(z_m, abs=0.01)
        assert (landmarks.sigma_m[0] < 0.12) == (z_m == 8.0)


@pytest.mark.parametrize(('z_m', 'is_wall'), [(1.0, False), (4.0, True)])
def test_a_slanted_wall_is_no_edge_of_depth(z_m: float, is_wall: bool) -> None:
    """Over three pixels it comes nearer by 6 cm: a step at one metre, none at four."""
    depth = np.tile(z_m + 0.03 * (np.arange(640.0) - 320), (480, 1))
    pixels = np.array([[320.0, 240.0]])
    (landmarks,) = made_of([(pixels, np.arange(1))], IDENTITY[None], depth)
    assert len(landmarks) == is_wall


def test_a_view_is_matched_with_two_earlier_ones_that_lie_apart() -> None:
    """Of a slow camera: 0.3 m before, and another 0.3 m before that."""
    maker = LandmarkMaker(PINHOLE, Labelled([]))
    nothing = FeatureRays(np.empty((0, 2)), np.empty((0, 4), np.uint8))
    steps = 0.1 * np.arange(12)
    views = [
        _View(IDENTITY + np.append(x_m, np.zeros(6)), nothing, nothing.descriptors, 500.0)
        for x_m in steps
    ]
    maker._views.extend(views[:-1])
    assert maker._partners(views[-1].pose) == [views[8], views[5]]


def test_depth_is_read_where_a_feature_is_and_not_beside_a_step_or_a_hole() -> None:
    columns, rows = np.meshgrid(np.arange(640.0), np.arange(480.0))
    depth = 2 + 0.001 * columns + 0.002 * rows
    depth[:, 300:] += 1.0
    depth[100:120, 40:60] = np.nan
    depth[200:220, 40:60] = 0
    steps = np.meshgrid(
        [0.0, 20.2, 38.6, 50.0, 298.4, 298.6, 300.4, 301.4, 500.3, 639.0], [0, 98.4]
    )
    pixels = np.stack([one.ravel() for one in steps], axis=1)
    pixels = np.concatenate([pixels, [[50.0, 210.0], [38.4, 479.0], [500.4, 120.6]]])
    (landmarks,) = made_of([(pixels, np.arange(len(pixels)))], IDENTITY[None], depth)
    whole = np.rint(pixels).astype(int)
    hole = (np.abs(whole[:, 0] - 49.5) < 11) & (np.abs(whole[:, 1] % 100 - 9.5) < 11)
    hole &= (whole[:, 1] > 90) & (whole[:, 1] < 230)
    expected = ~hole & ~np.isin(whole[:, 0], [299, 300])
    assert 0 < hole.sum() < expected.sum() < len(pixels) - hole.sum()
    numbers = numbers_of(landmarks.descriptors)
    assert numbers.tolist() == np.flatnonzero(expected).tolist()
    z_m = depth[whole[numbers, 1], whole[numbers, 0]]
    rays = (pixels[numbers] - [320, 240]) / [500, 510]
    np.testing.assert_allclose(landmarks.points_m[:, 2], z_m, rtol=1e-5)
    np.testing.assert_allclose(landmarks.points_m[:, :2], rays * z_m[:, None], atol=1e-4)
    np.testing.assert_allclose(landmarks.sigma_m, 0.005 + 0.003 * z_m**2, rtol=1e-4)


def test_landmarks_do_not_depend_on_how_many_images_are_worked_on_at_once() -> None:
    images = [rendered.render(CAMERA, pose)[0] for pose in MAPPED[:6]]
    made = []
    for at_once in (1, 3):
        maker = LandmarkMaker(CAMERA, SiftFeatures(), at_once=at_once)
        found = [one for row in range(6) for one in maker.add(images[row], MAPPED[row])]
        made.append([*found, *maker.finish()])
    assert [len(one) for one in made[0]] == [len(one) for one in made[1]] != [0] * 6
    for first, second in zip(*made, strict=True):
        assert np.array_equal(first.points_m, second.points_m)
        assert np.array_equal(first.descriptors, second.descriptors)


def test_a_depth_image_of_another_size_is_refused() -> None:
    image, depth = rendered.render(CAMERA, MAPPED[0])
    maker = LandmarkMaker(CAMERA, SiftFeatures())
    with pytest.raises(VprError, match='240x180'):
        list(maker.add(image, MAPPED[0], depth_m=depth[::2, ::2].astype(np.float32)))
