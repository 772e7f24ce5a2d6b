"""Several cameras share one belief: what one cannot tell apart, another can."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from worlds import straight_drive, unit_rows, write_map

from vpr_ros.core.camera import Camera
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.geometry import FORWARD_CAMERA, IDENTITY, compose, invert, yaw_quat
from vpr_ros.core.localizing import rig
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.outcome import Fix, Reason
from vpr_ros.core.localizing.query import Query
from vpr_ros.core.localizing.rig import MountedCamera, places_seen
from vpr_ros.core.mapping.place_map import PlaceMap

LENGTH, SIZE = 40, 64
REAR_CAMERA = compose(np.array([-0.5, 0, 0, *yaw_quat(np.pi)]), FORWARD_CAMERA)
RIG = [MountedCamera(FORWARD_CAMERA), MountedCamera(REAR_CAMERA)]
CONFIG = LocalizerConfig(agreement_radius=2.0)


@pytest.fixture(scope='module')
def street(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    """A street driven there and back; there, its second half looks just like its first."""
    there, back = unit_rows(LENGTH // 2, SIZE), unit_rows(LENGTH, SIZE, seed=1)
    descriptors = np.concatenate([there, there, back])
    bases = np.concatenate([np.arange(LENGTH), np.arange(LENGTH)[::-1]])
    poses = np.concatenate([straight_drive(LENGTH), straight_drive(LENGTH, yaw_rad=np.pi)[::-1]])
    assert np.allclose(poses[:, 0], bases)
    return write_map(tmp_path_factory.mktemp('street') / 'map', descriptors, poses)


def seen(street: PlaceMap, camera: int, metre: int, random: np.random.Generator) -> np.ndarray:
    """What a camera of a robot at a metre of the street, driving there, sees."""
    place = metre if camera == 0 else 2 * LENGTH - 1 - metre
    row = street.descriptors_of(np.array([place]))[0] + 0.05 * random.standard_normal(SIZE)
    return (row / np.linalg.norm(row)).astype(np.float32)


def drive(street: PlaceMap, cameras: tuple[int, ...], localizer: Localizer) -> list:
    """Outcomes of the last frame at each metre of the street's second half."""
    random, outcomes = np.random.default_rng(2), []
    for metre in range(LENGTH // 2, LENGTH):
        for camera in cameras:
            row = seen(street, camera, metre, random)
            query = Query(row, metre * 10**9 + camera * 10**7, camera=camera)
            located = localizer.locate(query)
        outcomes.append(located.outcome)
    return outcomes


def test_a_rear_camera_sees_at_each_place_what_was_mapped_the_other_way(
    street: PlaceMap,
) -> None:
    found = places_seen(street.poses, FORWARD_CAMERA, REAR_CAMERA, radius_m=1.0)
    # half a metre behind the robot: the place of the way back at the same metre, or the one before
    opposite = np.arange(2 * LENGTH)[::-1]
    assert (np.abs(found - opposite) <= 1).all() and (found >= 0).all()
    there = straight_drive(LENGTH)
    assert (places_seen(there, FORWARD_CAMERA, REAR_CAMERA, radius_m=1.0) == -1).all()


@pytest.mark.parametrize(
    ('away_m', 'turned_deg', 'found'),
    [(0.9, 0.0, 1), (1.1, 0.0, -1), (0.1, 29.0, 1), (0.1, -29.0, 1), (0.1, 31.0, -1)],
)
def test_a_camera_to_the_left_sees_what_was_mapped_near_and_about_that_way(
    away_m: float, turned_deg: float, found: int
) -> None:
    """The first place looks along x, and the second about along y."""
    left = compose(np.array([0, 0, 0, *yaw_quat(np.pi / 2)]), FORWARD_CAMERA)
    there = np.array([0, 0, away_m, *yaw_quat(np.pi / 2 + np.radians(turned_deg))])
    poses = compose(np.array([IDENTITY, there]), FORWARD_CAMERA)
    poses[:, 0] += 1e5  # far from the origin, where single precision is a centimetre
    assert places_seen(poses, FORWARD_CAMERA, left, radius_m=1.0).tolist() == [found, -1]
    right = compose(np.array([0, 0, 0, *yaw_quat(-np.pi / 2)]), FORWARD_CAMERA)
    assert places_seen(poses, FORWARD_CAMERA, right, radius_m=1.0)[0] == -1


def test_robots_are_where_their_cameras_mounting_puts_them_whatever_was_asked_before(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(6)
    poses = straight_drive(150)
    poses[:, 3:] = compose(poses, np.array([0, 0, 0, *yaw_quat(0.7)]))[:, 3:]
    place_map = write_map(tmp_path / 'map', unit_rows(150, SIZE), poses)
    robot = rig.Rig(place_map, RIG, radius_m=1.0)
    for _ in range(20):
        for camera, mounted in enumerate((FORWARD_CAMERA, REAR_CAMERA)):
            places = random.integers(0, 150, 6)
            expected = compose(place_map.poses[places], invert(mounted))
            np.testing.assert_allclose(robot.base_poses(camera, places), expected, atol=1e-9)
    np.testing.assert_allclose(
        robot.base_poses(0, np.arange(150)),
        compose(place_map.poses, invert(FORWARD_CAMERA)),
        atol=1e-9,
    )


def test_what_a_camera_sees_is_found_anew_when_either_mounting_changes(street: PlaceMap) -> None:
    robot = rig.Rig(street, RIG, radius_m=2.0)
    behind = robot.places_seen(1)
    assert behind is not None and behind[5] >= LENGTH
    robot.cameras[1] = MountedCamera(FORWARD_CAMERA)  # both look ahead
    assert robot.places_seen(1) is None
    robot.cameras[0] = MountedCamera(REAR_CAMERA)  # the first one looks back
    ahead = robot.places_seen(1)
    assert ahead is not None and ahead[5] >= LENGTH
    robot.cameras[0], robot.cameras[1] = RIG
    np.testing.assert_array_equal(robot.places_seen(1), behind)


def test_another_radius_counts_at_once_for_what_other_cameras_see(street: PlaceMap) -> None:
    """The rear camera is half a metre behind the robot, and places lie a metre apart."""
    localizer = Localizer(None, street, LocalizerConfig(agreement_radius=0.6), cameras=RIG)
    for radius_m, sees in ((0.6, True), (0.4, False), (0.6, True)):
        localizer.use(LocalizerConfig(agreement_radius=radius_m))
        if sees:
            assert localizer.rig.places_seen(1) is not None
        else:
            with pytest.raises(ConfigError, match='camera 2: no place on the map was seen'):
                localizer.rig.places_seen(1)


def test_a_map_without_headings_does_not_tell_cameras_apart(tmp_path: Path) -> None:
    place_map = write_map(
        tmp_path / 'map', unit_rows(9, SIZE), straight_drive(9), has_heading=False
    )
    assert rig.Rig(place_map, RIG, radius_m=1.0).places_seen(1) is None


def test_the_calibration_of_a_camera_is_its_own_else_the_mapping_ones() -> None:
    mapped, own = (
        Camera(8, 8, (focal_px, 0, 3.5, 0, focal_px, 3.5, 0, 0, 1.0)) for focal_px in (9.0, 5.0)
    )
    place_map = SimpleNamespace(header=SimpleNamespace(camera=mapped))
    robot = rig.Rig(place_map, [MountedCamera(), MountedCamera(calibration=own)], radius_m=1.0)
    assert [robot.calibration(0), robot.calibration(1)] == [mapped, own]


def test_the_search_in_large_maps_finds_what_comparing_all_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(0)
    poses = np.zeros((2000, 7))
    poses[:, :2] = random.uniform(0, 100, (2000, 2))
    poses[:, 3:] = yaw_quat(random.uniform(-np.pi, np.pi, 2000))
    poses = compose(poses, FORWARD_CAMERA)
    naive = places_seen(poses, FORWARD_CAMERA, REAR_CAMERA, radius_m=5.0)
    monkeypatch.setattr(rig, '_EXHAUSTIVE', 1000)
    found = places_seen(poses, FORWARD_CAMERA, REAR_CAMERA, radius_m=5.0)
    assert (found == naive).mean() > 0.95


def test_what_one_camera_cannot_tell_two_can(street: PlaceMap) -> None:
    ahead = drive(street, (0,), Localizer(None, street, CONFIG, cameras=RIG[:1]))
    assert {outcome.reason for outcome in ahead[3:]} == {Reason.LOOK_ALIKES}
    both = drive(street, (0, 1), Localizer(None, street, CONFIG, cameras=RIG))
    fixes = {
        metre: outcome.pose
        for metre, outcome in enumerate(both, LENGTH // 2)
        if isinstance(outcome, Fix)
    }
    assert len(fixes) > 10
    for metre, pose in fixes.items():
        assert pose[0] == pytest.approx(metre, abs=1.0)
        assert abs(pose[6]) == pytest.approx(1, abs=0.01)  # the robot drives there


def test_two_cameras_that_look_the_same_way_count_as_one(street: PlaceMap) -> None:
    random = np.random.default_rng(3)
    pair = [MountedCamera(FORWARD_CAMERA)] * 2
    single, stereo = (Localizer(None, street, CONFIG, cameras=pair) for _ in range(2))
    row = seen(street, 0, 5, random)
    first = single.locate(Query(row, 0))
    assert stereo.locate(Query(row, 0)).outcome.probability == first.outcome.probability
    again = stereo.locate(Query(row, 0, camera=1))
    assert again.candidates.weight is not None and first.candidates.weight is not None
    assert again.candidates.weight.sum() <= first.candidates.weight.sum() + 0.05


def test_each_camera_learns_what_is_usual_for_it(street: PlaceMap) -> None:
    ahead, behind = (Query(unit_rows(1, SIZE)[0], 0, camera=camera) for camera in (0, 1))
    apart, alike = (
        Localizer(None, street, CONFIG, cameras=cameras)._drive
        for cameras in (RIG, [MountedCamera(FORWARD_CAMERA)] * 2)
    )
    assert apart is not None and alike is not None
    assert apart._usual_of(ahead) is not apart._usual_of(behind)
    assert alike._usual_of(ahead) is alike._usual_of(behind)


def test_a_camera_that_would_see_no_place_has_the_mean_similarity(street: PlaceMap) -> None:
    drive = Localizer(None, street, CONFIG, cameras=RIG)._drive
    assert drive is not None
    query = unit_rows(1, SIZE, seed=8)[0]
    similarities = street.descriptors_of(np.arange(len(street))) @ query
    expected = [similarities[3], similarities.mean()]
    found = drive._similarity(query, similarities, np.array([3, -1]))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    mean = street.descriptors_of(np.arange(len(street))).mean(axis=0)  # as a large map knows it
    drive._map = SimpleNamespace(  # type: ignore[assignment]
        index=street.index, background=SimpleNamespace(mean=mean)
    )
    found = drive._similarity(query, None, np.array([3, -1]))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_each_camera_learns_what_its_own_images_share(street: PlaceMap) -> None:
    localizer = Localizer(None, street, CONFIG, cameras=RIG)
    drive(street, (0, 1), localizer)
    assert localizer._drive is not None
    nothing = np.zeros(len(street), np.float32)
    ahead, behind, none = (
        localizer._drive._belief.contrast(nothing, camera) for camera in range(3)
    )
    assert np.abs(behind - none).max() > 0.01 and np.abs(behind - ahead).max() > 0.01


def test_each_image_alone_is_placed_by_its_own_camera(street: PlaceMap) -> None:
    localizer = Localizer(
        None, street, LocalizerConfig(belief=False, agreement_radius=2.0), cameras=RIG
    )
    row = seen(street, 1, 30, np.random.default_rng(4))
    outcome = localizer.locate(Query(row, 0, camera=1)).outcome
    assert isinstance(outcome, Fix)
    expected = compose(street.poses[2 * LENGTH - 1 - 30], invert(REAR_CAMERA))
    np.testing.assert_allclose(outcome.pose[:3], expected[:3], atol=0.3)
    assert abs(outcome.pose[6]) == pytest.approx(1, abs=0.01)


def test_a_camera_of_which_the_map_shows_nothing_is_named(tmp_path: Path) -> None:
    one_way = write_map(tmp_path / 'map', unit_rows(LENGTH, SIZE), straight_drive(LENGTH))
    localizer = Localizer(None, one_way, CONFIG, cameras=RIG)
    row = unit_rows(1, SIZE, seed=5)[0]
    with pytest.raises(ConfigError, match='camera 2: no place on the map was seen in its'):
        localizer.locate(Query(row, 0, camera=1))
    localizer = Localizer(None, one_way, CONFIG, cameras=[MountedCamera(), MountedCamera()])
    with pytest.raises(ConfigError, match='camera 2: its mounting is not known'):
        localizer.locate(Query(row, 0, camera=1))
    np.testing.assert_array_equal(localizer.rig.mounting(0), FORWARD_CAMERA)
