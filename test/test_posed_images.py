"""A drive's images with their true poses: what is left out, what is counted, what is found."""

import re
from pathlib import Path

import numpy as np
import pytest
from worlds import picture, unit_rows, write_posed_folder, write_tiny_model

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.errors import DriveError, ImageError
from vpr_ros.core.intervals import wilson
from vpr_ros.core.mapping.index import ExactIndex
from vpr_ros.core.recall import STANDARD_N
from vpr_ros.drives import DriveOptions, open_drive
from vpr_ros.drives.posed_images import (
    PosedImages,
    Unusable,
    base_poses,
    known_rows,
    posed_images,
    usable,
)
from vpr_ros.evaluating.recall import recall_of
from vpr_ros.evaluating.tolerance import Tolerance

PLACES = [3, 4, 5, 6]


@pytest.fixture(scope='module')
def describer(tmp_path_factory: pytest.TempPathFactory) -> OnnxDescriber:
    return OnnxDescriber(write_tiny_model(tmp_path_factory.mktemp('model')))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_posed_folder(tmp_path / 'drive', PLACES)


def test_what_cannot_be_used_is_counted_and_left_out() -> None:
    unusable = Unusable()
    results = [('a', 1), ('b', ImageError('b: empty')), ('c', 3), ('d', ImageError('d: cut'))]
    assert list(usable(results, unusable)) == [('a', 1), ('c', 3)]
    assert (unusable.count, unusable.first) == (2, 'b: empty')


def test_images_come_with_the_poses_of_the_base(folder: Path, describer: OnnxDescriber) -> None:
    (folder / 'images' / '000001.jpg').write_bytes(b'')
    drive = open_drive(folder)
    found = posed_images(drive, describer, max_pose_gap_s=1.0)
    assert len(found) == 3 and found.stamps_ns.tolist() == [10**9, 12 * 10**8, 13 * 10**8]
    np.testing.assert_allclose(found.poses[:, 0], [30, 50, 60], atol=1e-6)
    alone = describer.describe([picture(5)])[0]
    assert found.descriptors[1] @ alone > 0.99 > found.descriptors[0] @ alone


def test_only_wanted_images_are_taken(folder: Path, describer: OnnxDescriber) -> None:
    seen: list[float] = []

    def wanted(image: np.ndarray) -> bool:
        seen.append(float(image.mean()))
        return len(seen) > 2

    found = posed_images(open_drive(folder), describer, max_pose_gap_s=1.0, wanted=wanted)
    assert len(seen) == 4 and len(found) == 2


def test_a_mounting_takes_the_camera_off_the_pose(folder: Path) -> None:
    beside = np.array([0, 2.0, 0, 0.5, -0.5, 0.5, -0.5])  # on the left, looking forward
    drive = open_drive(folder, DriveOptions(base_T_camera=beside))
    assert drive.trajectory is not None
    poses = base_poses(drive, drive.trajectory.stamps_ns[:2], max_pose_gap_s=1.0)
    cameras = drive.trajectory.poses[:2]
    np.testing.assert_allclose(np.linalg.norm((poses - cameras)[:, :3], axis=1), 2.0, atol=1e-9)


def test_a_pose_that_is_not_known_is_nan_and_none_at_all_is_an_error(folder: Path) -> None:
    drive = open_drive(folder)
    assert drive.trajectory is not None
    first_ns = int(drive.trajectory.stamps_ns[0])
    stamps_ns = np.array([first_ns - 10**9, first_ns])
    poses = base_poses(drive, stamps_ns, max_pose_gap_s=1.0)
    known = known_rows(drive, poses, stamps_ns, max_pose_gap_s=None)
    assert known.tolist() == [False, True] and np.isnan(poses[0]).all()
    why = r'1 before the first pose \(by up to 1.00 s\)'
    assert re.search(f'^1 image has no true pose at its stamp: {why}', drive.warnings[-1])
    with pytest.raises(DriveError, match=f'none of 1 image has a true pose at its stamp: {why}'):
        known_rows(drive, poses[:1], stamps_ns[:1], max_pose_gap_s=None)


def test_a_drive_without_poses_is_an_error(folder: Path, describer: OnnxDescriber) -> None:
    (folder / 'poses.csv').unlink()
    drive = open_drive(folder / 'images')
    assert np.isnan(base_poses(drive, np.array([0, 1]), max_pose_gap_s=1.0)).all()
    with pytest.raises(DriveError, match='has no poses, expected true poses'):
        posed_images(drive, describer, max_pose_gap_s=1.0)


@pytest.mark.parametrize('own', [False, True])
def test_recall_is_what_a_plain_loop_counts(own: bool) -> None:
    """300 places and queries of noise; own: each query is the place of its number."""
    random = np.random.default_rng(0)
    places = np.zeros((300, 7))
    places[:, :2], places[:, 6] = random.uniform(0, 30, (300, 2)), 1.0
    rows = unit_rows(300, 4)
    noise = 0 if own else 0.3 * unit_rows(300, 4, seed=1)
    queries = PosedImages((rows + noise).astype(np.float32), places + 0.0, np.arange(300))
    itself = [np.array([number]) for number in range(300)] if own else None
    tolerance = Tolerance(1.0)
    found = recall_of(queries, ExactIndex([rows]), places, tolerance, itself=itself)
    hits, unmatchable = dict.fromkeys(STANDARD_N, 0), 0
    for number, (descriptor, pose) in enumerate(zip(queries.descriptors, queries.poses)):
        ranked = [row for row in np.argsort(-(rows @ descriptor)) if not (own and row == number)]
        right = [bool(tolerance.accepts(places[row], pose)) for row in ranked]
        unmatchable += not any(right)
        for n in STANDARD_N:
            hits[n] += any(right[:n])
    assert found.unmatchable == unmatchable and found.queries == 300
    assert found.at == {n: pytest.approx(count / 300) for n, count in hits.items()}


def test_frames_in_a_row_tell_no_more_than_one_in_ten_would_alone() -> None:
    places, rows = np.zeros((200, 7)), unit_rows(200, 64)
    places[:, 0], places[:, 6] = np.arange(200), 1.0
    found = recall_of(
        PosedImages(rows, places, np.arange(200)), ExactIndex([rows]), places, Tolerance(0.5)
    )
    assert (found.at[1], found.interval[1]) == (1.0, wilson(1.0, 20))
