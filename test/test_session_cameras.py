"""Cameras in a session: their mountings, calibrations and clocks."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from session_world import (
    SECOND,
    answers_of,
    drive,
    driven_with_two_cameras,
    image_at,
    outcomes,
    session_on,
    street,
    texts,
    wheels,
)

from vpr_ros.core.camera import Camera, CameraCalibration
from vpr_ros.core.errors import VprError
from vpr_ros.core.geometry import FORWARD_CAMERA, IDENTITY
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Frame
from vpr_ros.session.config import SessionConfig
from vpr_ros.session.events import (
    CameraInfoCame,
    SettingsChanged,
)


@pytest.fixture(scope='module')
def place_map(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    return street(tmp_path_factory.mktemp('session') / 'map')


def test_a_mounting_that_a_parameter_gives_is_not_asked_of_tf(place_map: PlaceMap) -> None:
    session = session_on(place_map, mounting_of={'front': IDENTITY}.get, belief=False)
    cameras = session.localizer.rig.cameras
    cameras[0] = replace(cameras[0], base_T_camera=FORWARD_CAMERA)
    answers = session.handle(image_at(10, 100, frame='front'))
    assert texts(answers) == '' and isinstance(outcomes(answers)[0], Fix)
    np.testing.assert_array_equal(session.localizer.rig.mounting(0), FORWARD_CAMERA)


def test_a_calibration_of_other_images_is_told_where_landmarks_would_need_it(
    place_map: PlaceMap,
) -> None:
    """The map's is of 32x16 pixels, and that of the second camera of 16x16."""
    wide, square = (
        Camera(width_px, 16, (20.0, 0, 7.5, 0, 20.0, 7.5, 0, 0, 1.0)) for width_px in (32, 16)
    )

    def said(shape: tuple[int, int], camera: int, *, use_landmarks: bool = True) -> str:
        session = session_on(place_map, use_landmarks=use_landmarks)
        cameras = session.localizer.rig.cameras
        cameras[1] = replace(cameras[1], calibration=square)
        session.localizer.place_map = SimpleNamespace(  # type: ignore[assignment]
            has_landmarks=True, header=SimpleNamespace(camera=wide)
        )
        frame = Frame(np.zeros((*shape, 3), np.uint8), 0, '', camera)
        compared = session._cameras.compare_size(frame, session.localizer, session._config)
        return texts(list(compared))

    assert said((16, 32), 0) == said((16, 16), 1) == said((16, 16), 0, use_landmarks=False) == ''
    assert 'camera 1: the image has 16x16 pixels, but the calibration is for 32x16' in said(
        (16, 16), 0
    )
    assert 'camera 2: the image has 32x16 pixels, but the calibration is for 16x16' in said(
        (16, 32), 1
    )


def test_a_second_camera_that_tf_does_not_know_is_told_when_it_is_used(
    place_map: PlaceMap,
) -> None:
    session = session_on(place_map, mounting_of={}.get, belief=False)
    answers = session.handle(image_at(10, 100, camera=1, frame='rear'))
    assert "the mapping camera's mounting" not in texts(answers)
    assert 'camera 2: its mounting is not known' in texts(answers)


def test_images_without_a_frame_are_told_where_tf_would_know_the_mounting(
    place_map: PlaceMap,
) -> None:
    session = session_on(place_map, mounting_of={}.get, belief=False)
    answers = answers_of(session, drive(range(5)))
    assert texts(answers).count('camera 1: its images have no frame_id') == 1
    assert all(isinstance(outcome, Fix) for outcome in outcomes(answers))


def test_a_mounting_is_asked_of_tf_until_it_answers_and_the_operator_is_told(
    place_map: PlaceMap,
) -> None:
    higher = FORWARD_CAMERA + np.array([0.5, 0, 0, 0, 0, 0, 0])
    found: dict[str, np.ndarray] = {}
    session = session_on(place_map, mounting_of=found.get, belief=False)
    before = session.handle(image_at(10, 100, frame='front'))
    again = session.handle(image_at(10, 101, frame='front'))
    assert "poses assume the mapping camera's mounting" in texts(before)
    assert texts(again) == ''
    found['front'] = higher
    after = session.handle(image_at(10, 102, frame='front'))
    assert 'mounting of front found' in texts(after)
    moved = outcomes(before)[0].pose[0] - outcomes(after)[0].pose[0]
    assert moved == pytest.approx(0.5, abs=0.3)


def test_images_of_another_frame_have_another_mounting(place_map: PlaceMap) -> None:
    """Two cameras on one topic had the mounting of the first one for both."""
    ahead = FORWARD_CAMERA + np.array([3.0, 0, 0, 0, 0, 0, 0])
    found = {'low': FORWARD_CAMERA, 'ahead': ahead}
    session = session_on(place_map, mounting_of=found.get, belief=False)
    frames = ['low', 'ahead', 'low', 'ahead', '', 'low']
    answers = answers_of(
        session, [image_at(10, 100 + row, frame=frame) for row, frame in enumerate(frames)]
    )
    moved_m = [outcome.pose[0] - outcomes(answers)[0].pose[0] for outcome in outcomes(answers)]
    assert moved_m == pytest.approx([0, -3, 0, -3, 0, 0], abs=0.5)
    assert texts(answers).count('camera 1: images of several frames, low and ahead; let') == 1
    assert texts(answers).count('mounting of low found') == 1


def test_a_broken_mounting_on_tf_makes_no_image_unusable(place_map: PlaceMap) -> None:
    def broken(frame: str) -> np.ndarray:
        raise VprError(f'tf of {frame}: quaternion of norm 0')

    session = session_on(place_map, mounting_of=broken, belief=False)
    answers = session.handle(image_at(10, 100, frame='front'))
    assert 'tf of front' in texts(answers) and isinstance(outcomes(answers)[0], Fix)


def test_two_cameras_keep_their_own_clocks(place_map: PlaceMap) -> None:
    session = session_on(place_map, belief=False)
    session.handle(SettingsChanged(SessionConfig(belief=False)))
    cameras = session.localizer.rig.cameras
    cameras[:] = [replace(camera, base_T_camera=FORWARD_CAMERA) for camera in cameras]
    events = [image_at(10, 100), image_at(10, 99.8, camera=1), image_at(11, 101)]
    assert len(outcomes(answers_of(session, events))) == 3
    assert session.counts.snapshot().late == 0


def test_one_stamp_from_the_future_does_not_stop_the_time_of_the_other_cameras(
    place_map: PlaceMap,
) -> None:
    """The second camera sends one image an hour ahead, and no more."""
    session, told = driven_with_two_cameras(place_map)
    answers_of(session, [image_at(10, 100)])
    answers_of(session, [replace(image_at(10, 3700, camera=1), came_ns=100 * SECOND)])
    said = ''
    for seconds in range(101, 116):
        answers = answers_of(
            session, [wheels(2.0 * seconds, seconds), image_at(10 + seconds - 100, seconds)]
        )
        said += texts(answers)
    assert said.count('the clock jumped back by 3589.000 s; the node forgets the drive') == 1
    # Images that are older than the newest are taken for those of its moment, at first.
    assert told[2:12] == [0.0] * 10 and told[12:] == [None, None, 2.0, 2.0, 2.0]


def test_a_slow_camera_beside_one_that_goes_on_is_no_jump_of_the_clock(
    place_map: PlaceMap,
) -> None:
    session, _ = driven_with_two_cameras(place_map)
    said = ''
    for seconds in range(100, 130):
        late = replace(image_at(10, seconds - 2, camera=1), came_ns=seconds * SECOND)
        said += texts(answers_of(session, [image_at(10, seconds), late]))
    assert 'the clock jumped back' not in said


def test_a_camera_that_sees_less_than_the_mapping_one_is_told_once(place_map: PlaceMap) -> None:
    session = session_on(place_map)
    event = CameraInfoCame('/cam', CameraCalibration(None, 35.0))
    assert 'this camera sees 35 degrees, the map was made with 90' in texts(session.handle(event))
    assert session.handle(event) == []
    assert session.counts.snapshot().facts['field of view, camera/map [deg]'] == '35/90'


def test_cameras_that_share_a_calibration_are_named_once(place_map: PlaceMap) -> None:
    session = session_on(place_map)
    left = CameraInfoCame('/rig/left', CameraCalibration(None, 90.0))
    apart = replace(left, topic='/rear/image_raw', camera=1)
    assert texts(answers_of(session, [left, left, apart])) == ''
    right = replace(left, topic='/rig/right', camera=1)
    said = texts(session.handle(right))
    assert '/rig/camera_info calibrates /rig/left and /rig/right: ' in said
    assert texts(answers_of(session, [left, right])) == ''


def test_a_cameras_own_calibration_is_used(place_map: PlaceMap) -> None:
    session = session_on(place_map)
    own = Camera(16, 16, (20.0, 0, 7.5, 0, 20.0, 7.5, 0, 0, 1.0))
    session.handle(CameraInfoCame('/rear', CameraCalibration(own, 80.0), camera=1))
    assert [session.localizer.rig.calibration(camera) for camera in (0, 1)] == [None, own]
