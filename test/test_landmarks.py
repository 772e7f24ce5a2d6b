"""Landmarks and the poses from them, in a rendered room whose poses are exact."""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import bags
import cv2
import numpy as np
import pytest
import rendered
import yaml
from real_drives import split_in_two
from worlds import write_tiny_model

from vpr_ros.build_map import main as build_map_main
from vpr_ros.core.camera import Camera, camera_calibration, is_rectified
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.errors import DriveError, ImageError, MapError, VprError
from vpr_ros.core.geometry import (
    FORWARD_CAMERA,
    IDENTITY,
    angle_between,
    compose,
    invert,
    matrix,
    quat_conjugate,
    quat_multiply,
    quat_of_rotation_vector,
    rotate,
    rotation_vector,
    yaw_quat,
)
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.landmarks.features import FeatureRays, Keypoints, SiftFeatures
from vpr_ros.core.landmarks.points import LandmarkMaker, Landmarks, _View
from vpr_ros.core.landmarks.resection import (
    Matches,
    Resection,
    _in_frame,
    _median,
    _normal_equations,
    _Sights,
    moved_to,
    refine,
    resect,
)
from vpr_ros.core.localizing.confidence import OBSERVED, at_most_known
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.consensus import (
    Support,
    Verified,
    _agree,
    _in_map,
    _matches,
    _scatter,
    holds,
)
from vpr_ros.core.localizing.judges import Verdict
from vpr_ros.core.localizing.landmark_evidence import LANDMARKS, observe_landmarks
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.outcome import Fix, NoFix, Outcome, Reason
from vpr_ros.core.localizing.retrieve import Candidates
from vpr_ros.core.localizing.rig import MountedCamera
from vpr_ros.core.localizing.sightings import Sightings
from vpr_ros.core.localizing.verify import Verifier, decided
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Frame, Poses
from vpr_ros.drives import DriveOptions, open_drive
from vpr_ros.evaluate_bag import main as evaluate_bag_main
from vpr_ros.map import main as map_main
from vpr_ros.map_care.build import MapOptions, build_map
from vpr_ros.map_care.edit import keep_places, merge

CAMERA = rendered.camera()
MAPPED = rendered.drive(8)
CONFIG = LocalizerConfig(min_similarity=-1.0)
SIFT = SiftFeatures()
CALIBRATED = MountedCamera(IDENTITY, CAMERA)


class Room(NamedTuple):
    """A room's map with landmarks, and what describes its images."""

    place_map: PlaceMap
    describer: OnnxDescriber

    def localizer(self, camera: MountedCamera = CALIBRATED, **settings: float | bool) -> Localizer:
        config = replace(CONFIG, **settings)  # type: ignore[arg-type]
        return Localizer(self.describer, self.place_map, config, cameras=[camera])


def write_folder(
    folder: Path,
    poses: Poses,
    *,
    calibrated: bool = True,
    shift_m: float = 0.0,
    strange: float = 0.0,
) -> Path:
    """A posed folder of the room, which stands elsewhere, or shows another on its right share."""
    (folder / 'images').mkdir(parents=True)
    rows = ['image,stamp_s,x,y,z,qx,qy,qz,qw']
    for index, pose in enumerate(poses):
        image, _ = rendered.render(CAMERA, pose)
        if strange:
            image = with_a_strip_of(image, rendered.render(CAMERA, pose, room=9)[0], strange)
        (folder / 'images' / f'{index}.jpg').write_bytes(encode_jpeg(image, quality=95))
        stated = pose + np.array([shift_m, 0, 0, 0, 0, 0, 0])
        rows.append(f'{index}.jpg,{index},' + ','.join(f'{value:.9f}' for value in stated))
    (folder / 'poses.csv').write_text('\n'.join(rows) + '\n')
    if calibrated:
        described = {
            'image_width': CAMERA.width_px,
            'image_height': CAMERA.height_px,
            'distortion_model': CAMERA.distortion_model,
            'distortion_coefficients': {'data': list(CAMERA.distortion)},
            'camera_matrix': {'data': list(CAMERA.matrix)},
            'rectification_matrix': {'data': np.eye(3).ravel().tolist()},
            'projection_matrix': {'data': np.eye(3, 4).ravel().tolist()},
        }
        (folder / 'camera_info.yaml').write_text(yaml.safe_dump(described))
    return folder


@pytest.fixture(scope='module')
def made(tmp_path_factory: pytest.TempPathFactory) -> Room:
    folder = tmp_path_factory.mktemp('room')
    describer = OnnxDescriber(write_tiny_model(folder / 'model'))
    drive = open_drive(write_folder(folder / 'drive', MAPPED))
    build_map(drive, describer, folder / 'map', MapOptions(features=SiftFeatures()))
    return Room(PlaceMap.open(folder / 'map'), describer)


@functools.cache
def query(at: float) -> tuple[Poses, np.ndarray]:
    """A view from between the mapped ones, from beside their path."""
    pose = rendered.drive(1, start_m=at, sway_m=0.5)[0]
    return pose, rendered.render(CAMERA, pose)[0]


def turn_of(found: Poses, true: Poses) -> np.ndarray:
    return rotation_vector(quat_multiply(true[3:], quat_conjugate(found[3:])))


def test_landmarks_lie_on_the_walls_of_the_room(made: Room) -> None:
    place_map = made.place_map
    for place in range(len(place_map)):
        landmarks = place_map.landmarks(place)
        assert landmarks is not None and len(landmarks) > 50
        points = place_map.poses[place, :3] + rotate(
            np.broadcast_to(place_map.poses[place, 3:], (len(landmarks), 4)),
            landmarks.points_m.astype(np.float64),
        )
        off_m = rendered.wall_distance_m(points)
        assert np.median(off_m) < 0.05
        assert (off_m < 3 * landmarks.sigma_m + 0.03).mean() > 0.9


def test_a_view_beside_the_mapped_path_is_placed_to_a_centimetre(made: Room) -> None:
    localizer = made.localizer()
    for at in (2.75, 3.6, 4.2):
        pose, image = query(at)
        outcome = localizer.step(Frame(image, 0)).outcome
        assert isinstance(outcome, Fix) and outcome.inliers >= 30
        assert np.linalg.norm(outcome.pose[:3] - pose[:3]) < 0.02
        assert np.degrees(angle_between(outcome.pose[3:], pose[3:])) < 0.2


def test_the_pose_is_of_the_robot_whose_camera_it_was(made: Room) -> None:
    arm = np.append([0.4, -0.2, 1.1], yaw_quat(0.3))
    mounting = compose(arm, FORWARD_CAMERA)
    pose, image = query(3.6)
    outcome = made.localizer(MountedCamera(mounting)).step(Frame(image, 0)).outcome
    assert isinstance(outcome, Fix)
    true = compose(pose, invert(mounting))
    assert np.linalg.norm(outcome.pose[:3] - true[:3]) < 0.03


def test_true_positions_lie_in_the_95_percent_ellipsoid(made: Room) -> None:
    localizer = made.localizer(MountedCamera(IDENTITY))
    inside = []
    for at in np.linspace(2.2, 5.2, 20):
        pose, image = query(float(at))
        outcome = localizer.step(Frame(image, 0)).outcome
        assert isinstance(outcome, Fix) and outcome.inliers
        apart = pose[:3] - outcome.pose[:3]
        inside.append(apart @ np.linalg.solve(outcome.covariance[:3, :3], apart) < 7.815)
        assert np.sqrt(np.trace(outcome.covariance[:3, :3])) < 0.05
    assert np.mean(inside) >= 0.85


def test_another_room_is_not_placed_by_landmarks(made: Room) -> None:
    """What retrieval said stands, with its own covariance."""
    image, _ = rendered.render(CAMERA, MAPPED[3], room=7)
    with_landmarks = made.localizer(MountedCamera()).step(Frame(image, 0))
    without = made.localizer(MountedCamera(), use_landmarks=False).step(Frame(image, 0))
    assert 'landmarks' in with_landmarks.latency_ms and 'landmarks' not in without.latency_ms
    assert type(with_landmarks.outcome) is type(without.outcome)
    if isinstance(with_landmarks.outcome, Fix) and isinstance(without.outcome, Fix):
        assert with_landmarks.outcome.inliers == 0
        np.testing.assert_array_equal(with_landmarks.outcome.pose, without.outcome.pose)


def with_a_strip_of(image: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """An image whose right share shows another one."""
    shown, left = image.copy(), round(image.shape[1] * (1 - share))
    shown[:, left:] = other[:, left:]
    return shown


@pytest.fixture(scope='module')
def twins(tmp_path_factory: pytest.TempPathFactory) -> Room:
    """Two rooms 100 m apart, with the same paper but for the right half of the second's views.

    The drive through the one is mapped after the drive through the other.
    """
    folder = tmp_path_factory.mktemp('twins')
    describer = OnnxDescriber(write_tiny_model(folder / 'model'))
    for name, shift_m, strange in (('first', 0.0, 0.0), ('second', 100.0, 0.5)):
        write_folder(folder / name, MAPPED, shift_m=shift_m, strange=strange)
        build_map(
            open_drive(folder / name), describer, folder / f'{name}_map', MapOptions(features=SIFT)
        )
    merge([PlaceMap.open(folder / f'{name}_map') for name in ('first', 'second')], folder / 'map')
    return Room(PlaceMap.open(folder / 'map'), describer)


def seen_anew(made: Room, image: np.ndarray, **settings: float | bool) -> Outcome:
    """What one image gives a robot that has just been switched on."""
    return made.localizer(**settings).step(Frame(image, 0)).outcome


def by_landmarks(outcome: Outcome) -> bool:
    return isinstance(outcome, Fix) and outcome.inliers > 0


HARD = [
    with_a_strip_of(
        rendered.render(CAMERA, rendered.drive(1, start_m=2.3 + 3 * share)[0])[0],
        rendered.render(CAMERA, rendered.drive(1, start_m=4.2 - 2 * share)[0])[0],
        share,
    )
    for share in (0.0, 0.2, 0.4, 0.5, 0.6)
]
"""Views of which a part shows the same room from elsewhere, more and more of it."""


@pytest.mark.parametrize('rate', [0.01, 0.3])
def test_landmarks_give_no_fix_that_is_wrong_more_often_than_it_may(
    made: Room, twins: Room, rate: float
) -> None:
    for world in (made, twins):
        for image in HARD:
            found = [
                seen_anew(world, image, max_false_fix_rate=rate),
                refined(world, image, NoFix(Reason.NOT_SURE), rate=rate),
            ]
            assert all(
                outcome.probability >= 1 - rate for outcome in found if isinstance(outcome, Fix)
            )


def test_rooms_that_look_alike_are_not_told_apart_by_a_few_more_landmarks(
    made: Room, twins: Room
) -> None:
    """The room that the view shows is right, but its twin has too many of the landmarks, too."""
    for at in (2.75, 3.6, 4.2):
        _, image = query(at)
        alone, beside = seen_anew(made, image), seen_anew(twins, image)
        assert by_landmarks(alone) and not by_landmarks(beside)
        assert by_landmarks(seen_anew(twins, image, belief=False))  # by its share of inliers


def test_a_pose_needs_as_many_landmarks_as_the_settings_say(made: Room) -> None:
    assert by_landmarks(seen_anew(made, HARD[1], belief=False))
    for too_many in ({'min_inliers': 2000}, {'min_inlier_ratio': 1.0}):
        assert not by_landmarks(seen_anew(made, HARD[1], belief=False, **too_many))


@pytest.mark.parametrize('too_much', [{'min_similarity': 1.0}, {'min_agreement': 0.99}])
def test_one_image_alone_is_placed_by_landmarks_only_above_both_thresholds(
    twins: Room, too_much: dict[str, float]
) -> None:
    _, image = query(2.75)
    assert by_landmarks(seen_anew(twins, image, belief=False))
    assert not by_landmarks(seen_anew(twins, image, belief=False, **too_much))


def refined(
    made: Room,
    image: np.ndarray,
    outcome: Outcome,
    *,
    rate: float = 0.01,
) -> Outcome:
    """What landmarks make of a drive's outcome where two of the true places are believed."""
    place_map, localizer = made.place_map, made.localizer(max_false_fix_rate=rate)
    seen = localizer.describe(Frame(image, 0))
    places = np.array([3, 4])
    candidates = Candidates(places, np.full(2, 0.9, np.float32), np.asarray(place_map.poses)[3:5])
    verdict = Verdict(candidates, outcome, places, observed=np.zeros(OBSERVED))
    return Verifier(place_map).refine(seen, verdict, localizer.rig, localizer.config)


def test_who_accepts_fewer_false_fixes_gets_fewer_fixes_by_landmarks(made: Room) -> None:
    unsure = NoFix(Reason.NOT_SURE, 0.2)
    fixes = [
        sum(isinstance(refined(made, image, unsure, rate=rate), Fix) for image in HARD)
        for rate in (0.5, 0.01, 0.0001)
    ]
    assert fixes[0] > fixes[1] > fixes[2] == 0


def test_a_place_that_is_believed_is_refined(made: Room) -> None:
    pose, image = query(3.6)
    believed = Fix(MAPPED[4], np.eye(6), 0.9999, 4)
    found = refined(made, image, believed)
    assert isinstance(found, Fix) and found.inliers >= 30
    assert np.linalg.norm(found.pose[:3] - pose[:3]) < 0.02
    assert found.probability >= believed.probability


def test_a_place_that_is_believed_is_not_contradicted_in_silence(made: Room) -> None:
    """Drive and landmarks exclude each other; what is left of either is not enough for a fix."""
    _, image = query(3.6)
    far = MAPPED[4] + np.array([50.0, 0, 0, 0, 0, 0, 0])
    outcome = refined(made, image, Fix(far, np.eye(6), 0.992, 4))
    assert isinstance(outcome, NoFix) and outcome.probability < 0.99
    strange, _ = rendered.render(CAMERA, MAPPED[3], room=7)
    believed = Fix(far, np.eye(6), 0.992, 4)
    assert refined(made, strange, believed) is believed


def test_of_two_answers_that_exclude_each_other_what_is_left_of_the_better_one_counts() -> None:
    config = LocalizerConfig(max_false_fix_rate=0.1)
    here, there = MAPPED[4], MAPPED[4] + np.array([50.0, 0, 0, 0, 0, 0, 0])

    def answer(pose: Poses, probability: float) -> Fix:
        return Fix(pose, np.eye(6), probability, 4)

    landmarks = decided(answer(here, 0.5), answer(there, 0.95), config)
    assert isinstance(landmarks, Fix) and landmarks.pose is there
    assert landmarks.probability == pytest.approx(0.475 / (0.475 + 0.025 + 0.025))
    drive = decided(answer(here, 0.95), answer(there, 0.5), config)
    assert isinstance(drive, Fix) and drive.pose is here
    assert drive.probability == landmarks.probability
    neither = decided(answer(here, 0.92), answer(there, 0.8), config)
    assert isinstance(neither, NoFix) and neither.reason is Reason.CANDIDATES_DISAGREE
    assert neither.probability == pytest.approx(0.184 / (0.184 + 0.064 + 0.016))
    together = decided(answer(here, 0.92), answer(here, 0.8), config)
    assert isinstance(together, Fix) and together.probability == 0.92
    unsure = NoFix(Reason.NOT_SURE, 0.7)
    assert decided(unsure, answer(there, 0.89), config) is unsure
    sure = answer(there, 0.91)
    assert decided(unsure, sure, config) is sure


def test_a_place_is_as_probable_as_its_landmarks_and_its_rival_allow() -> None:
    """A rival of equal support leaves one half; more support never makes it less probable."""

    def probability(inliers: int, matches: int, sigma: float, rival: int) -> float:
        observed = observe_landmarks(inliers=inliers, matches=matches, sigma=sigma, rival=rival)
        return float(at_most_known(LANDMARKS['root-sift'], observed))

    best = probability(300, 310, 0.002, 0)
    assert best <= 1 - 1 / (LANDMARKS['root-sift'].frames + 2) < 1
    assert probability(300, 310, 0.002, 300) <= 0.5 < probability(300, 310, 0.002, 200) < best
    for inliers, matches, sigma in ((300, 600, 0.002), (20, 20, 0.002), (300, 310, 0.3)):
        assert probability(inliers, matches, sigma, 0) <= best


def test_a_pose_by_landmarks_is_judged_by_its_best_place_and_the_rival_of_that(
    twins: Room,
) -> None:
    config = replace(CONFIG, agreement_radius=0.2)
    place_map, localizer = twins.place_map, twins.localizer(agreement_radius=0.2)
    seen, verifier = localizer.describe(Frame(HARD[1], 0)), Verifier(place_map)
    places = np.array([3, 4, 3 + len(MAPPED), 4 + len(MAPPED)])
    poses = np.asarray(place_map.poses)[places]
    candidates = Candidates(places, np.full(4, 0.9, np.float32), poses)
    verdict = Verdict(candidates, NoFix(Reason.NOT_SURE), places, observed=np.zeros(OBSERVED))
    found = verifier.verify(seen, CAMERA, places, config)
    placed = verifier.place(seen, verdict, localizer.rig, config)
    assert found is not None and placed is not None and placed.observed is not None
    best, matches = found.best_inliers, found.best_matches
    assert 0 < found.rival_inliers < best < min(matches, found.inliers)
    variance_m2 = np.linalg.norm(placed.fix.covariance[:3, :3], 2)  # in the least sure direction
    _, odds, sigma, ahead = placed.observed
    assert odds == pytest.approx(np.log((best + 0.5) / (matches - best + 0.5)))
    assert sigma == pytest.approx(np.log(np.sqrt(variance_m2) / 0.2))
    assert ahead == pytest.approx(np.log(best / found.rival_inliers))
    learned = at_most_known(LANDMARKS['root-sift'], placed.observed)
    assert placed.fix.probability == pytest.approx(learned)


@pytest.mark.parametrize('kind', ['xfeat', 'xfeat-lighterglue'])
def test_features_for_which_no_frame_vouches_leave_a_place_to_the_belief(kind: str) -> None:
    observed = observe_landmarks(inliers=400, matches=400, sigma=0.001, rival=0)
    assert at_most_known(LANDMARKS[kind], observed) <= 0.5


def test_an_image_of_another_shape_falls_back_to_retrieval(made: Room) -> None:
    _, image = query(3.6)
    outcome = made.localizer(MountedCamera()).step(Frame(image[:, :300].copy(), 0)).outcome
    assert not (isinstance(outcome, Fix) and outcome.inliers)


def test_an_image_of_half_the_size_is_placed_as_well(made: Room) -> None:
    pose, image = query(3.6)
    small = cv2.resize(image, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    localizer = made.localizer(MountedCamera(IDENTITY))
    outcome = localizer.step(Frame(small, 0)).outcome
    assert isinstance(outcome, Fix) and outcome.inliers
    assert np.linalg.norm(outcome.pose[:3] - pose[:3]) < 0.04


def test_a_damaged_landmark_file_is_refused(made: Room, tmp_path: Path) -> None:
    place_map = made.place_map
    copy = tmp_path / 'map'
    for file in place_map.folder.rglob('*'):
        if file.is_file():
            target = copy / file.relative_to(place_map.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    points = copy / 'parts' / '0000' / 'landmark_points.npy'
    points.write_bytes(points.read_bytes()[:-4] + b'\0\1\2\3')
    with pytest.raises(MapError, match='landmark_points'):
        PlaceMap.open(copy)


def test_a_map_keeps_the_calibration_of_its_landmarks(made: Room) -> None:
    assert made.place_map.header.camera == CAMERA and made.place_map.has_landmarks


def test_landmarks_without_a_calibration_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny_model(tmp_path / 'model')
    folder = write_folder(tmp_path / 'drive', MAPPED[:2], calibrated=False)
    output = tmp_path / 'map'
    with pytest.raises(DriveError, match='camera_info'):
        build_map(
            open_drive(folder), OnnxDescriber(model), output, MapOptions(features=SiftFeatures())
        )
    arguments = ['--bag', folder, '--model', model.folder, '--output', output, '--landmarks']
    assert build_map_main([str(word) for word in arguments]) == 2
    said = capsys.readouterr().err.splitlines()  # notes of what was read, then the error
    assert [line[:6] for line in said] == ['note: ', 'error:'] and not output.exists()


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


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_depth_of_a_bag_gives_landmarks_without_any_parallax(
    tmp_path: Path, encoding: str
) -> None:
    """The robot stands; depth comes a little late; the topic's name says that it is aligned."""
    poses = np.repeat(MAPPED[:1], 3, axis=0)
    images, depth = rendered.render(CAMERA, poses[0])
    height, width = depth.shape
    stored = (depth * 1000).astype('<u2') if encoding == '16UC1' else depth.astype('<f4')
    with bags.writing(tmp_path / 'bag') as put:
        put(
            '/camera/camera_info',
            0.5,
            bags.made(
                'sensor_msgs/msg/CameraInfo',
                header=bags.header(0.5, 'camera'),
                height=height,
                width=width,
                distortion_model=CAMERA.distortion_model,
                d=np.array(CAMERA.distortion),
                k=np.array(CAMERA.matrix),
                r=np.eye(3).ravel(),
                p=np.eye(3, 4).ravel(),
                binning_x=0,
                binning_y=0,
                roi=bags.made(
                    'sensor_msgs/msg/RegionOfInterest',
                    x_offset=0,
                    y_offset=0,
                    height=0,
                    width=0,
                    do_rectify=False,
                ),
            ),
        )
        for index, pose in enumerate(poses):
            put('/pose', 1.0 + index, bags.pose_stamped(1.0 + index, pose))
            for topic, kind, data, late in (
                ('/camera/image', 'rgb8', images, 0.0),
                ('/camera/aligned_depth_to_color/image_raw', encoding, stored, 0.003),
            ):
                message = bags.made(
                    'sensor_msgs/msg/Image',
                    header=bags.header(1.0 + index + late, 'camera'),
                    height=height,
                    width=width,
                    encoding=kind,
                    is_bigendian=0,
                    step=data.nbytes // height,
                    data=np.frombuffer(data.tobytes(), np.uint8),
                )
                put(topic, 1.0 + index + late, message)
    drive = open_drive(tmp_path / 'bag', DriveOptions(base_T_camera=IDENTITY))
    frames = list(drive.frames())
    assert drive.camera == CAMERA and len(frames) == 3
    for frame in frames:
        assert frame.depth is not None
        np.testing.assert_allclose(frame.depth(), depth, atol=2e-3)
    describer = OnnxDescriber(write_tiny_model(tmp_path / 'model'))
    build_map(drive, describer, tmp_path / 'map', MapOptions(features=SiftFeatures()))
    landmarks = PlaceMap.open(tmp_path / 'map').landmarks(0)
    assert landmarks is not None and len(landmarks) > 100
    with pytest.raises(DriveError, match='no topic /nowhere'):
        open_drive(tmp_path / 'bag', DriveOptions(depth_topic='/nowhere'))


def test_a_depth_image_of_another_size_is_refused() -> None:
    image, depth = rendered.render(CAMERA, MAPPED[0])
    maker = LandmarkMaker(CAMERA, SiftFeatures())
    with pytest.raises(VprError, match='240x180'):
        list(maker.add(image, MAPPED[0], depth_m=depth[::2, ::2].astype(np.float32)))


def test_a_depth_image_that_cannot_be_read_is_counted_and_the_map_is_made(
    made: Room, tmp_path: Path
) -> None:
    describer = made.describer
    drive = open_drive(write_folder(tmp_path / 'drive', MAPPED))

    def broken() -> np.ndarray:
        raise ImageError('/depth: 17 bytes, expected 4096')

    frames = [replace(frame, depth=broken) for frame in drive.frames()]
    drive.frames = lambda: iter(frames)
    report = build_map(drive, describer, tmp_path / 'map', MapOptions(features=SiftFeatures()))
    assert report.mapped == len(MAPPED) and report.landmarks > 0  # by parallax
    said = f'{len(MAPPED)} depth images could not be used, the first: /depth: 17 bytes'
    assert said in '\n'.join(report.lines())


def test_landmarks_stay_with_their_places_when_a_map_is_changed(
    made: Room, tmp_path: Path
) -> None:
    """A drive with landmarks is added to one without, and one place is left out."""
    place_map, describer = made
    drive = open_drive(write_folder(tmp_path / 'drive', MAPPED[:2]))
    build_map(drive, describer, tmp_path / 'map')
    assert not PlaceMap.open(tmp_path / 'map').has_landmarks
    merge([PlaceMap.open(tmp_path / 'map'), place_map], tmp_path / 'merged')
    merged = PlaceMap.open(tmp_path / 'merged')
    assert merged.has_landmarks and merged.landmarks(0) is None
    arguments = ['append', str(tmp_path / 'map'), '--bag', str(tmp_path / 'drive')]
    model = ['--model', str(describer.model.folder)]
    assert map_main([*arguments, *model, '--landmarks']) == 0
    added = PlaceMap.open(tmp_path / 'map').landmarks(2)
    assert added is not None and len(added) > 20
    kept = np.arange(len(merged)) != 3
    assert keep_places(merged, kept, tmp_path / 'kept')
    smaller = PlaceMap.open(tmp_path / 'kept')
    for before, after in ((2, 2), (4, 3), (9, 8)):
        expected, found = merged.landmarks(before), smaller.landmarks(after)
        assert expected is not None and found is not None and len(found) > 50
        np.testing.assert_array_equal(found.points_m, expected.points_m)
        np.testing.assert_array_equal(found.descriptors, expected.descriptors)
    assert len(smaller.landmarks(0) or ()) == 0


def test_every_second_image_of_a_real_drive_is_placed_between_the_others(
    shared_data: Path, tmp_path: Path
) -> None:
    """Through the commands, as docs/results/landmarks.md has it; every query is answered."""
    even, odd = split_in_two(shared_data / 'kitti_clip1', tmp_path)
    map_folder, figures = str(tmp_path / 'map'), tmp_path / 'figures.json'
    by = ['--precision', 'fp32']  # one of the 25 queries is outside its ellipse; by int8 none is
    assert build_map_main(['--bag', str(even), '--output', map_folder, '--landmarks', *by]) == 0
    arguments = ['--map', map_folder, '--bag', str(odd), '--radius', '3', '--json', str(figures)]
    assert evaluate_bag_main([*arguments, *by]) == 0
    found = json.loads(figures.read_text())
    assert found['answered'] == 1.0 and found['false_fixes'] == 0.0
    assert found['position_error_m']['median'] <= 0.02
    assert found['heading_error_deg']['median'] <= 0.05
    assert 0.9 <= found['inside_ellipse'] <= 0.99


def simulated(
    random: np.random.Generator,
    true: Poses,
    *,
    count: int = 60,
    outliers: int = 0,
    along_m: float = 0.0,
) -> Matches:
    """Points seen with 0.7 px of noise at 500 px, some of them wrong.

    along_m: deviation of the points along one direction each, which the matches tell.
    """
    local = random.uniform([-3, -2, 4], [3, 2, 12], (count, 3))
    points = true[:3] + rotate(np.broadcast_to(true[3:], (count, 4)), local)
    rays = local[:, :2] / local[:, 2:] + random.normal(0, 0.7 / 500, (count, 2))
    rays[:outliers] = random.uniform(-0.5, 0.5, (outliers, 2))
    toward = random.normal(size=(count, 3))
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    points += along_m * random.normal(size=(count, 1)) * toward
    along, across = np.full(count, along_m**2), np.zeros(count)
    return Matches(rays, points, toward, along, across, np.arange(count))


@pytest.mark.parametrize('along_m', [0.0, 0.05])
def test_the_covariance_is_the_scatter_of_repeated_poses(along_m: float) -> None:
    random = np.random.default_rng(1)
    true = np.append([2.0, -1.0, 0.5], quat_of_rotation_vector(np.array([0.3, -0.8, 0.2])))
    camera_T_base = np.append([0.5, 0.2, -0.4], yaw_quat(0.4))
    errors, told = [], []
    for _ in range(300):
        found = resect(simulated(random, true, along_m=along_m), focal_px=500.0)
        assert found is not None
        based, true_base = moved_to(found, camera_T_base), compose(true, camera_T_base)
        errors.append(np.append(based.pose[:3] - true_base[:3], -turn_of(based.pose, true_base)))
        told.append(based.covariance)
    scatter, mean = np.cov(np.array(errors).T), np.mean(told, axis=0)
    ratio = np.linalg.eigvals(np.linalg.solve(mean, scatter)).real
    assert ratio.min() > 0.5 and ratio.max() < 1.5


def test_the_normal_equations_are_those_of_a_loop_over_sightings() -> None:
    """Slopes by differences, and each error's covariance from that of its point.

    The last two points are far off, one is behind the camera, and features show two points each.
    """
    random = np.random.default_rng(11)
    count, floor, gate, far_off = 14, 0.002**2, 200.0, 12
    local = random.uniform([-3, -2, 4], [3, 2, 12], (count, 3))
    local[3, 2] = -6.0
    rotation = cv2.Rodrigues(np.array([0.3, -0.8, 0.2]))[0]
    shift = np.array([0.5, -1.0, 2.0])
    toward = random.normal(size=(count, 3))
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    along, across = random.uniform(0.01, 0.04, count), random.uniform(1e-4, 1e-3, count)
    rays = local[:, :2] / local[:, 2:] + random.normal(0, 0.01, (count, 2))
    rays[far_off:] += 0.9
    keypoint = np.arange(count) // 2
    points = (local - shift) @ rotation
    matches = Matches(rays, points, toward, along, across, keypoint)
    found = _normal_equations(_Sights.of(matches, floor**0.5), rotation, shift, gate)

    def error(row: int, change: np.ndarray, moved_m: np.ndarray) -> np.ndarray:
        turn = cv2.Rodrigues(change[3:])[0]
        x, y, z = turn @ (rotation @ (points[row] + moved_m) + shift) + change[:3]
        return np.array([x / z, y / z]) - rays[row]

    def slope(function: Callable[[np.ndarray], np.ndarray], size: int) -> np.ndarray:
        steps = 1e-6 * np.eye(size)
        return np.stack([(function(step) - function(-step)) / 2e-6 for step in steps], axis=1)

    still = np.zeros(6), np.zeros(3)
    seen, distance, parts = np.zeros(count, bool), np.zeros(count), []
    for row in range(count):
        by_point = slope(lambda moved_m, row=row: error(row, still[0], moved_m), 3)
        by_pose = slope(lambda change, row=row: error(row, change, still[1]), 6)
        ahead = np.outer(toward[row], toward[row])
        spread = along[row] * ahead + across[row] * (np.eye(3) - ahead)
        inverse = np.linalg.inv(by_point @ spread @ by_point.T + floor * np.eye(2))
        off = error(row, *still)
        distance[row] = off @ inverse @ off
        seen[row] = distance[row] < gate and local[row, 2] > 0
        parts.append((by_pose.T @ inverse @ by_pose, by_pose.T @ inverse @ off))
    assert not seen[3] and not seen[far_off:].any() and seen.sum() == far_off - 1
    weight = seen * np.minimum(1, 2.0 / np.sqrt(distance))
    weight /= [max(seen[keypoint == one].sum(), 1) for one in keypoint]
    for mine, naive in zip((found.information, found.gradient), zip(*parts, strict=True)):
        expected = sum(share * part for share, part in zip(weight, naive, strict=True))
        np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(found.inliers, seen)
    assert found.features == len(np.unique(keypoint[seen])) == 6
    expected = np.median(distance[seen]) / (2 * np.log(2)) * 22 / (22 - 6)
    assert found.scale == pytest.approx(max(expected, 22 / 16), rel=1e-3)


def spread(random: np.random.Generator) -> np.ndarray:
    """Any covariance [6, 6]."""
    root = random.normal(size=(6, 6))
    return root @ root.T


def slope_of(function: Callable[[np.ndarray], Poses]) -> np.ndarray:
    """Shift and turn about the frame's axes of a pose, by what changes it [6, 6]: differences."""
    at = function(np.zeros(6))

    def change(by: np.ndarray) -> np.ndarray:
        pose = function(by)
        turn = rotation_vector(quat_multiply(pose[3:], quat_conjugate(at[3:])))
        return np.append(pose[:3] - at[:3], turn)

    return np.stack([(change(by) - change(-by)) / 2e-5 for by in 1e-5 * np.eye(6)], axis=1)


def test_covariances_follow_a_pose_into_other_frames() -> None:
    """From the camera's world to the frame, and on to a body that the camera is fixed to."""
    random = np.random.default_rng(12)
    true = np.append([2.0, -1.0, 0.5], quat_of_rotation_vector(np.array([0.3, -0.8, 0.2])))
    camera_T_base = np.append([0.5, 0.2, -0.4], yaw_quat(0.4))
    covariance, none = spread(random), np.zeros(0, dtype=bool)

    def by_world(change: np.ndarray) -> Poses:
        moved = np.append(change[:3], quat_of_rotation_vector(change[3:]))
        return invert(compose(moved, invert(true)))

    slope = slope_of(by_world)
    np.testing.assert_allclose(
        _in_frame(covariance, true), slope @ covariance @ slope.T, atol=1e-6
    )

    def by_camera(change: np.ndarray) -> Poses:
        turn = quat_of_rotation_vector(change[3:])
        moved = np.append(true[:3] + change[:3], quat_multiply(turn, true[3:]))
        return compose(moved, camera_T_base)

    found = moved_to(Resection(true, covariance, none, 0), camera_T_base)
    slope = slope_of(by_camera)
    np.testing.assert_allclose(found.pose, compose(true, camera_T_base))
    np.testing.assert_allclose(found.covariance, slope @ covariance @ slope.T, atol=1e-6)


def test_a_covariance_grows_with_what_is_left_of_the_error_and_shrinks_for_no_luck() -> None:
    """Features are found to 0.7 px; three times as much noise is nine times the variance.

    And somewhat more, as sightings beyond two deviations count less.
    """
    random = np.random.default_rng(13)
    matches = simulated(random, IDENTITY, count=200)
    exact = matches.points_m[:, :2] / matches.points_m[:, 2:]
    variances = []
    for share in (0.0, 0.3, 1.0, 3.0):
        noisy = replace(matches, rays=exact + share * (matches.rays - exact))
        found = refine(noisy, IDENTITY, focal_px=500.0)
        assert found is not None
        variances.append(np.diag(found.covariance))
    nothing, little, usual, much = variances
    np.testing.assert_allclose(little / nothing, 1, atol=0.1)
    np.testing.assert_allclose(usual / nothing, 1, atol=0.25)
    assert 9 < np.median(much / nothing) < 18


@pytest.mark.parametrize('count', [1, 2, 7, 8])
def test_a_median_is_numpys(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    assert _median(values) == pytest.approx(np.median(values))


def test_a_rough_start_is_refined_to_the_exact_pose() -> None:
    true = np.append([2.0, -1.0, 0.5], quat_of_rotation_vector(np.array([0.3, -0.8, 0.2])))
    matches = simulated(np.random.default_rng(14), true)
    local = compose(
        invert(true), np.column_stack([matches.points_m, np.tile(IDENTITY[3:], (60, 1))])
    )
    matches = replace(matches, rays=local[:, :2] / local[:, 2:3])
    start = compose(true, np.append([0.01, -0.02, 0.01], yaw_quat(0.004)))
    found = refine(matches, start, focal_px=500.0)
    assert found is not None and found.features == 60 == found.inliers.sum()
    np.testing.assert_allclose(found.pose, true, atol=1e-6)


def test_a_start_that_is_a_few_pixels_off_still_sees_its_landmarks() -> None:
    """It is turned by 2.75 px in the middle of the image, which no feature is off by chance."""
    matches = simulated(np.random.default_rng(15), IDENTITY)
    matches = replace(matches, rays=matches.points_m[:, :2] / matches.points_m[:, 2:])
    turned = quat_of_rotation_vector(np.array([0, 2.75 / 500, 0]))
    found = refine(matches, np.append(np.zeros(3), turned), focal_px=500.0)
    assert found is not None and found.features == 60
    np.testing.assert_allclose(found.pose, IDENTITY, atol=1e-6)


@pytest.mark.parametrize(('wrong_px', 'is_inlier'), [(2.0, True), (4.2, False)])
def test_a_sighting_counts_if_its_error_may_be_chance(wrong_px: float, is_inlier: bool) -> None:
    """Of errors of 0.7 px in both directions, 99 % are below 2.1 px, and none is beyond 4 px."""
    matches = simulated(np.random.default_rng(16), IDENTITY, count=200)
    rays = matches.points_m[:, :2] / matches.points_m[:, 2:]
    rays[7, 0] += wrong_px / 500
    found = refine(replace(matches, rays=rays), IDENTITY, focal_px=500.0)
    assert found is not None and found.inliers[7] == is_inlier and found.inliers.sum() >= 199


def test_in_a_turned_frame_a_pose_and_its_covariance_are_turned() -> None:
    random = np.random.default_rng(17)
    matches = simulated(random, IDENTITY)
    turn = quat_of_rotation_vector(np.array([0.5, -0.3, 1.2]))
    frame = np.append([3.0, -2.0, 1.0], turn)
    there = replace(
        matches,
        points_m=frame[:3] + rotate(np.broadcast_to(turn, (60, 4)), matches.points_m),
        toward=rotate(np.broadcast_to(turn, (60, 4)), matches.toward),
    )
    one, other = (
        refine(each, start, focal_px=500.0)
        for each, start in ((matches, IDENTITY), (there, frame))
    )
    assert one is not None and other is not None
    np.testing.assert_allclose(other.pose[:3], compose(frame, one.pose)[:3], atol=1e-6)
    both = np.kron(np.eye(2), matrix(turn))
    np.testing.assert_allclose(other.covariance, both @ one.covariance @ both.T, atol=1e-10)


def test_two_landmarks_of_one_feature_count_as_one() -> None:
    matches = simulated(np.random.default_rng(6), IDENTITY, outliers=5)
    once = resect(matches, focal_px=500.0)
    twice = resect(Matches.joined([matches, matches]), focal_px=500.0)
    assert once is not None and twice is not None
    assert twice.features == once.features == once.inliers.sum() == twice.inliers.sum() / 2
    np.testing.assert_allclose(twice.pose, once.pose, atol=1e-4)
    spread = np.sqrt(np.diag(twice.covariance) / np.diag(once.covariance))
    np.testing.assert_allclose(spread, 1, atol=0.05)


def supported_by(
    pose: Poses, *, inliers: int = 20, keypoints: int = 20, sigma_m: float = 0.01
) -> Support:
    """What one place says: its landmarks lie 1 m to 10 m from the origin, all in one direction."""
    points = np.zeros((10, 3))
    points[:, 0] = np.arange(1, 11)
    fewer = np.zeros(10)
    matches = Matches(points[:, :2], points, points, fewer, fewer, np.arange(10))
    covariance = np.eye(6) * sigma_m**2
    found = Resection(pose, covariance, np.ones(10, dtype=bool), inliers)
    return Support(0, matches, found, np.arange(10), keypoints)


@pytest.mark.parametrize(
    ('changed', 'expected'),
    [
        ({}, True),
        ({'inliers': 12, 'keypoints': 24}, True),
        ({'inliers': 11, 'keypoints': 20}, False),  # fewer than min_inliers
        ({'inliers': 12, 'keypoints': 25}, False),  # less than half of what matched
        ({'sigma_m': 2.4}, True),
        ({'sigma_m': 2.6}, False),  # more than half of the radius within which it has to be right
        ({'pose': IDENTITY + np.array([0, 9.0, 0, 0, 0, 0, 0])}, True),
        ({'pose': IDENTITY + np.array([0, 9.2, 0, 0, 0, 0, 0])}, False),  # beyond nine in ten
    ],
)
def test_a_place_holds_if_enough_landmarks_fix_a_pose_near_it(
    changed: dict[str, Any], expected: bool
) -> None:
    config = LocalizerConfig(min_inliers=12, agreement_radius=5.0)
    given = {'pose': IDENTITY} | changed
    assert holds(supported_by(**given), IDENTITY, config, least_ratio=0.5) == expected
    moved = IDENTITY + np.array([100.0, 0, 0, 0, 0, 0, 0])  # the place is elsewhere
    assert not holds(supported_by(**given), moved, config, least_ratio=0.5)


@pytest.mark.parametrize(('apart_m', 'same'), [(2.49, True), (2.51, False)])
def test_places_agree_on_a_pose_within_five_standard_deviations(
    apart_m: float, same: bool
) -> None:
    """Of both, and of a tenth of the radius: 0.5 m here, as the poses themselves are exact."""
    config = LocalizerConfig(agreement_radius=5.0)
    first, second = (
        supported_by(IDENTITY + np.array([0, y_m, 0, 0, 0, 0, 0]), sigma_m=1e-6).resection
        for y_m in (0.0, apart_m)
    )
    assert _agree(first, second, config) == same
    unsure = replace(second, covariance=np.diag([0, 0.1, 0, 0, 0, 0]))
    assert _agree(first, unsure, config)


def test_what_places_disagree_by_is_shared_by_as_many_as_there_are() -> None:
    """30 landmarks say 0.1 m to one side and 10 say 0.3 m and 0.2 rad to the other."""
    poses = [IDENTITY + np.array([0, 0.1, 0, 0, 0, 0, 0])]
    poses.append(np.array([0, -0.3, 0, *yaw_quat(-0.2)]))
    supports = [supported_by(pose, inliers=count) for pose, count in zip(poses, (30, 10))]
    mean = supported_by(IDENTITY).resection
    expected = np.zeros((6, 6))
    expected[1, 1] = (0.75 * 0.1**2 + 0.25 * 0.3**2) / 2
    expected[5, 5] = 0.25 * 0.2**2 / 2
    expected[1, 5] = expected[5, 1] = 0.25 * 0.3 * 0.2 / 2
    np.testing.assert_allclose(_scatter(supports, mean), expected, atol=1e-9)


def test_in_the_map_a_pose_has_the_errors_that_its_landmarks_share() -> None:
    origin = np.array([10.0, 20.0, 30.0, 0, 0, 0, 1])
    found = supported_by(np.array([1.0, 2.0, 3.0, *yaw_quat(0.4)]), sigma_m=0.1).resection
    told = _in_map(found, origin, np.eye(6) * 0.03, shared_error=9.0)
    np.testing.assert_allclose(told.pose, [11, 22, 33, *yaw_quat(0.4)], atol=1e-9)
    floor = [0.004**2] * 3 + [np.radians(0.02) ** 2] * 3
    np.testing.assert_allclose(told.covariance, np.diag(9 * 0.04 + np.array(floor)))


def test_the_agreeing_share_is_of_the_best_place_and_the_one_that_says_otherwise() -> None:
    found = Verified(supported_by(IDENTITY).resection, 0, 50, 30, 40, 10)
    assert found.agreement == pytest.approx(0.75)
    assert replace(found, rival_inliers=0).agreement == 1


def test_landmarks_that_are_seen_are_known_worst_along_the_rays_of_their_place() -> None:
    """The place is turned to the left: what is 2 m to its x is 2 m to the frame's y."""
    landmarks = Landmarks(
        np.array([[0, 0, 5.0], [2.0, 0, 0]], np.float32),
        np.array([0.5, 0.1], np.float32),
        np.zeros((2, 4), np.uint8),
    )
    seen = Sightings(np.array([[0.1, 0.2]]), np.array([7]), np.array([1]))
    found = _matches(landmarks, seen, np.array([1.0, 2.0, 3.0, *yaw_quat(np.pi / 2)]))
    np.testing.assert_allclose(found.points_m, [[1, 4, 3]], atol=1e-9)
    np.testing.assert_allclose(found.toward, [[0, 1, 0]], atol=1e-9)
    np.testing.assert_allclose(found.along_m2, [0.1**2], rtol=1e-6)
    np.testing.assert_allclose(found.across_m2, [(2e-3) ** 2], rtol=1e-6)
    assert found.keypoint.tolist() == [7] and found.rays is seen.rays


def test_what_lies_behind_the_camera_is_not_seen() -> None:
    matches = simulated(np.random.default_rng(7), IDENTITY)
    behind = replace(matches, points_m=-matches.points_m, keypoint=matches.keypoint + 60)
    found = resect(Matches.joined([matches, behind]), focal_px=500.0)
    assert found is not None and found.inliers[:60].mean() > 0.9 and not found.inliers[60:].any()
    np.testing.assert_allclose(found.pose[:3], 0, atol=0.03)


def test_wrong_matches_do_not_move_the_pose() -> None:
    random = np.random.default_rng(2)
    true = np.append([2.0, -1.0, 0.5], quat_of_rotation_vector(np.array([0.3, -0.8, 0.2])))
    found = resect(simulated(random, true, outliers=25), focal_px=500.0)
    assert found is not None and not found.inliers[:25].any() and found.inliers[25:].mean() > 0.9
    assert np.linalg.norm(found.pose[:3] - true[:3]) < 0.03


@pytest.mark.parametrize('count', [0, 3])
def test_too_few_matches_give_no_pose(count: int) -> None:
    random = np.random.default_rng(3)
    matches = simulated(random, IDENTITY, count=count)
    assert resect(matches, focal_px=500.0) is None


def test_normalized_rays_undo_the_projection_of_opencv() -> None:
    points = np.random.default_rng(4).uniform([-1, -0.7, 2], [1, 0.7, 4], (50, 3))
    matrix = np.array(CAMERA.matrix).reshape(3, 3)
    seen, _ = cv2.projectPoints(
        points, np.zeros(3), np.zeros(3), matrix, np.array(CAMERA.distortion)
    )
    np.testing.assert_allclose(
        CAMERA.normalized(seen.reshape(-1, 2)), points[:, :2] / points[:, 2:], atol=1e-4
    )
    fisheye = camera_calibration(
        480, 360, matrix=CAMERA.matrix, distortion_model='equidistant', distortion=[0.01] * 4
    ).camera
    assert fisheye is not None
    seen, _ = cv2.fisheye.projectPoints(
        points[:, None], np.zeros(3), np.zeros(3), matrix, np.array(fisheye.distortion)
    )
    np.testing.assert_allclose(
        fisheye.normalized(seen.reshape(-1, 2)), points[:, :2] / points[:, 2:], atol=1e-4
    )


def test_rectified_images_are_projected_by_p_without_distortion() -> None:
    found = camera_calibration(
        100,
        80,
        matrix=[50, 0, 50, 0, 50, 40, 0, 0, 1],
        distortion_model='plumb_bob',
        distortion=[0.1] * 5,
        projection=[60, 0, 51, 0, 0, 60, 41, 0, 0, 0, 1, 0],
        rectified=True,
    ).camera
    assert found is not None and found.matrix[0] == 60 and found.distortion == ()
    for topic in ('/cam/image_rect/compressed', '/cam/image_rect_color', '/left/rectified'):
        assert is_rectified(topic)
    for topic in ('/rect/image_raw', '/camera/direct', '/image_corrected'):
        assert not is_rectified(topic)


@pytest.mark.parametrize(
    'wrong',
    [{'matrix': [0.0] * 9}, {'distortion_model': 'thin_prism'}, {'distortion': [0.1]}],
)
def test_an_unset_or_unknown_calibration_is_none(wrong: dict[str, object]) -> None:
    given = {
        'matrix': list(CAMERA.matrix),
        'distortion_model': 'plumb_bob',
        'distortion': [0.0] * 5,
    }
    found = camera_calibration(480, 360, **(given | wrong))  # type: ignore[arg-type]
    assert found.camera is None and found.why_not


def test_a_camera_of_another_aspect_is_refused() -> None:
    half = CAMERA.scaled_to(240, 180)
    assert half.matrix[0] == pytest.approx(CAMERA.matrix[0] / 2)
    assert Camera.checked(CAMERA.as_mapping()) == CAMERA
    with pytest.raises(VprError, match='300x360'):
        CAMERA.scaled_to(300, 360)


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
