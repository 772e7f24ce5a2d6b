"""Landmarks and the poses from them, in a rendered room whose poses are exact."""

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import bags
import cv2
import numpy as np
import pytest
import rendered
import yaml
from real_drives import split_in_two
from worlds import write_tiny_model

from vpr_ros.build_map import main as build_map_main
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.errors import DriveError, ImageError, MapError
from vpr_ros.core.geometry import (
    FORWARD_CAMERA,
    IDENTITY,
    angle_between,
    compose,
    invert,
    rotate,
    yaw_quat,
)
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.landmarks.features import SiftFeatures
from vpr_ros.core.localizing.confidence import OBSERVED, at_most_known
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.judges import Verdict
from vpr_ros.core.localizing.landmark_evidence import LANDMARKS, observe_landmarks
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.outcome import Fix, NoFix, Outcome, Reason
from vpr_ros.core.localizing.retrieve import Candidates
from vpr_ros.core.localizing.rig import MountedCamera
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
