"""Rigid transforms obey their laws, and a trajectory knows what it knows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpr_ros.core.errors import DriveError, VprError
from vpr_ros.core.geometry import (
    FORWARD_CAMERA,
    IDENTITY,
    angle_between,
    checked_pose,
    compose,
    interpolate,
    invert,
    matrix,
    mean_quat,
    principal_axes,
    quat_multiply,
    quat_of_matrix,
    quat_of_rotation_vector,
    rotate,
    rotation_vector,
    yaw_quat,
)
from vpr_ros.core.trajectory import Trajectory
from vpr_ros.core.tum import read_tum, write_tum

coordinates = st.floats(-1e3, 1e3)
quaternions = (
    st.tuples(*[st.floats(-1, 1)] * 4)
    .map(np.array)
    .filter(lambda quat: np.linalg.norm(quat) > 0.1)
    .map(lambda quat: quat / np.linalg.norm(quat))
)
poses = st.builds(
    lambda position, quat: np.concatenate([position, quat]),
    st.tuples(*[coordinates] * 3).map(np.array),
    quaternions,
)
fractions = st.floats(0, 1)


def assert_same(first, second, atol=1e-6):
    np.testing.assert_allclose(first[..., :3], second[..., :3], atol=atol)
    assert np.max(angle_between(first[..., 3:], second[..., 3:])) < 1e-6


@given(poses)
def test_a_pose_and_its_inverse_cancel(pose):
    assert_same(compose(pose, invert(pose)), IDENTITY)
    assert_same(compose(invert(pose), pose), IDENTITY)


@given(poses, poses, poses)
def test_composition_does_not_depend_on_brackets(first, second, third):
    assert_same(
        compose(compose(first, second), third), compose(first, compose(second, third)), atol=1e-5
    )


@given(quaternions, st.tuples(*[coordinates] * 3).map(np.array))
def test_rotating_is_multiplying_by_the_rotation_matrix(quat, vector):
    np.testing.assert_allclose(rotate(quat, vector), matrix(quat) @ vector, atol=1e-6)


@given(poses, poses)
def test_interpolation_begins_and_ends_at_its_ends(start, end):
    assert_same(interpolate(start, end, np.array(0.0)), start)
    assert_same(interpolate(start, end, np.array(1.0)), end)


@given(poses, poses, fractions)
def test_interpolation_turns_at_a_constant_rate_the_short_way(start, end, fraction):
    whole = angle_between(start[3:], end[3:])
    part = angle_between(start[3:], interpolate(start, end, np.array(fraction))[3:])
    assert part == pytest.approx(fraction * whole, abs=1e-6)


@given(st.floats(-3.1, 3.1))
def test_the_forward_camera_looks_where_the_robot_drives(yaw):
    base = np.concatenate([np.zeros(3), yaw_quat(yaw)])
    optical_axis = rotate(compose(base, FORWARD_CAMERA)[3:], np.array([0.0, 0, 1]))
    assert optical_axis == pytest.approx([np.cos(yaw), np.sin(yaw), 0], abs=1e-9)


@given(quaternions)
def test_the_mean_of_a_rotation_and_its_negative_is_that_rotation(quat):
    mean = mean_quat(np.stack([quat, -quat]), np.ones(2))
    assert angle_between(mean, quat) < 1e-6


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0.1, 9)), min_size=1, max_size=9))
def test_the_mean_of_headings_is_the_direction_of_their_weighted_sum(headings):
    """A quaternion about z holds the sine and the cosine of half the heading."""
    yaw, weights = np.array(headings).T
    half = np.arctan2(weights @ np.sin(yaw), weights @ np.cos(yaw)) / 2
    mean = mean_quat(yaw_quat(yaw), weights)
    np.testing.assert_allclose(mean, [0, 0, np.sin(half), np.cos(half)], atol=1e-9)


@given(quaternions)
def test_a_rotation_matrix_gives_its_quaternion_back(quat):
    """Of the two that mean the same, the one with w >= 0."""
    found = quat_of_matrix(matrix(quat))
    assert found[3] >= 0 and np.linalg.norm(found) == pytest.approx(1)
    np.testing.assert_allclose(matrix(found), matrix(quat), atol=1e-6)


@given(st.tuples(*[st.floats(-1, 1)] * 3).map(np.array), st.floats(0, 3.14159))
def test_a_turn_by_an_axis_and_an_angle_gives_them_back(axis, angle):
    vector = axis / max(np.linalg.norm(axis), 1e-3) * angle
    for sign in (1, -1):
        found = rotation_vector(sign * quat_of_rotation_vector(vector))
        np.testing.assert_allclose(found, vector, atol=1e-6)


def test_quarter_turns_take_each_axis_to_the_next():
    """Anticlockwise, seen from the tip of the axis that stays."""
    half = np.sqrt(0.5)
    for axis in range(3):
        quat = np.append(half * np.eye(3)[axis], half)
        one, other = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
        np.testing.assert_allclose(rotate(quat, one), other, atol=1e-12)
        np.testing.assert_allclose(rotate(quat, other), -one, atol=1e-12)
        np.testing.assert_allclose(quat_of_matrix(matrix(quat)), quat, atol=1e-12)
        np.testing.assert_allclose(rotation_vector(quat), np.pi / 2 * np.eye(3)[axis])
        twice = quat_multiply(quat, quat)
        np.testing.assert_allclose(twice, np.append(np.eye(3)[axis], 0), atol=1e-12)


@pytest.mark.parametrize('seed', range(6))
def test_principal_axes_are_a_rotation_that_makes_the_covariance_up(seed):
    root = np.random.default_rng(seed).normal(size=(3, 3))
    sigmas, quat = principal_axes(root @ root.T)
    assert (np.diff(sigmas) >= 0).all() and np.linalg.norm(quat) == pytest.approx(1)
    axes = matrix(quat)
    np.testing.assert_allclose(axes @ np.diag(sigmas**2) @ axes.T, root @ root.T, atol=1e-9)


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_poses_that_are_no_numbers_are_refused_by_name(bad):
    with pytest.raises(VprError, match=r'odometry.*NaN'):
        checked_pose([bad, 0, 0, 0, 0, 0, 1], source='odometry')


@pytest.mark.parametrize('bad', [-1.7e308, 3.4e38, 1e13])
def test_a_position_that_stands_for_none_is_refused(bad):
    with pytest.raises(VprError, match=r'odometry: a position of .* m, expected at most 1e\+12 m'):
        checked_pose([IDENTITY, [0, bad, 0, 0, 0, 0, 1]], source='odometry')
    assert checked_pose([0, 1e12, 0, 0, 0, 0, 1])[1] == 1e12


def test_a_rounded_quaternion_is_repaired_and_a_wrong_one_refused():
    assert np.linalg.norm(checked_pose([0, 0, 0, 0, 0, 0, 1.005])[3:]) == pytest.approx(1)
    for norm in (0.98, 1.02):
        with pytest.raises(VprError, match=f'norm {norm}, expected 1'):
            checked_pose([0, 0, 0, 0, 0, 0, norm])
    with pytest.raises(VprError, match=r'NaN or infinity: \[7\.0, nan'):
        checked_pose([IDENTITY, [7, np.nan, 0, 0, 0, 0, 1]])
    with pytest.raises(VprError, match='norm 0, expected 1'):
        checked_pose(np.zeros(7))


def straight(*seconds, interpolates=True):
    """A drive along x at 1 m/s."""
    track = np.tile(IDENTITY, (len(seconds), 1))
    track[:, 0] = seconds
    return Trajectory.from_unordered(
        nanoseconds(*seconds), track, source='test', interpolates=interpolates
    )


def nanoseconds(*seconds):
    return np.array([round(second * 1e9) for second in seconds], dtype=np.int64)


def test_between_two_poses_the_way_is_straight():
    found, known = straight(0, 1, 2).at(nanoseconds(0, 0.25, 1, 1.5, 2))
    np.testing.assert_allclose(found[:, 0], [0, 0.25, 1, 1.5, 2])
    assert known.all()


def test_nothing_is_known_before_the_first_and_after_the_last_pose():
    _, known = straight(1, 2).at(nanoseconds(0.999, 1, 2, 2.001))
    assert known.tolist() == [False, True, True, False]


def test_a_gap_is_not_bridged_but_its_ends_are_known():
    _, known = straight(0, 1, 5, 6).at(nanoseconds(1, 3, 5), max_gap_s=2.0)
    assert known.tolist() == [True, False, True]


@pytest.mark.parametrize(('period_s', 'gap_s'), [(0.1, 1.0), (2.0, 5.0), (10.0, 15.0)])
def test_the_usual_gap_is_two_and_a_half_periods_from_one_second_to_fifteen(period_s, gap_s):
    drive = straight(*(period_s * np.arange(6)))
    assert drive.usual_gap_s == pytest.approx(gap_s)
    holed = straight(*(period_s * np.arange(6)), 5 * period_s + gap_s, 5 * period_s + 3 * gap_s)
    _, known = holed.at(nanoseconds(5 * period_s + 0.5 * gap_s, 5 * period_s + 2 * gap_s))
    assert known.tolist() == [True, False]


@pytest.mark.parametrize(
    ('moved_m', 'took_s', 'jumps'), [(99, 0.1, 0), (101, 0.5, 1), (101, 0.7, 0), (1499, 10, 0)]
)
def test_a_jump_is_far_and_faster_than_any_vehicle(moved_m, took_s, jumps):
    track = np.tile(IDENTITY, (4, 1))
    track[2:, 1] = moved_m
    drive = Trajectory(nanoseconds(0, 1, 1 + took_s, 2 + took_s), track)
    assert len(drive.jumps) == jumps
    _, known = drive.at(
        nanoseconds(0.5, 1, 1 + took_s / 2, 1 + took_s, 1.5 + took_s), max_gap_s=99
    )
    assert known.tolist() == [True, True, not jumps, True, True]
    if jumps:
        assert str(drive.jumps[0]) == 'by 101 m in 0.50 s, at 1.500 s'
        assert drive.why_unknown(nanoseconds(1.25)) == '1 within a jump of the position'


@pytest.mark.parametrize(
    ('seconds', 'options', 'said'),
    [
        ((-0.5, -2), {}, '2 before the first pose (by up to 2.00 s)'),
        ((-0.0005,), {}, '1 before the first pose (by up to 0.0005 s)'),
        ((21.25,), {}, '1 after the last pose (by up to 1.25 s)'),
        ((9, 12), {}, '2 in a gap: the poses are 12.00 s apart, --max-pose-gap is 8.75'),
        (
            (-1, 5, 9, 21, 22),
            {'max_gap_s': 3, 'flag': '--gap'},
            '1 before the first pose (by up to 1.00 s), 2 after the last pose (by up to 2.00 s), '
            '2 in a gap: the poses are 6.00 to 12.00 s apart, --gap is 3',
        ),
        ((86_419,), {}, '1 after the last pose (by up to 86399.00 s)'),
        (
            (1.7e9,),
            {},
            '1 after the last pose (by up to 1699999980.00 s); do both use the same clock? The '
            'images have wall time (1700000000.0 s), the poses simulated time (0.0 s); record '
            'both with the same use_sim_time',
        ),
    ],
)
def test_why_poses_are_unknown_is_told_with_the_counts(seconds, options, said):
    assert straight(0, 1, 2, 8, 20).why_unknown(nanoseconds(*seconds), **options) == said


def test_photos_know_their_own_stamps_only():
    photos = straight(0, 1, 2, interpolates=False)
    _, known = photos.at(nanoseconds(0, 0.5, 1, 1.999, 2, 3), max_gap_s=100.0)
    assert known.tolist() == [True, False, True, False, True, False]
    assert photos.why_unknown(nanoseconds(0.5, 1.5)) == '2 without a pose of their own'


def test_one_pose_is_a_trajectory():
    _, known = straight(5).at(nanoseconds(4, 5, 6))
    assert known.tolist() == [False, True, False]


def test_the_usual_speed_is_the_median_of_the_steps():
    track = np.tile(IDENTITY, (5, 1))
    track[:, 1] = [0, 1, 2, 11, 11.5]  # 2, 2, 18 and, in no time that tells, 0.5 m / 1 us
    drive = Trajectory(nanoseconds(0, 0.5, 1, 1.5, 1.500001), track)
    assert drive.usual_speed_mps == pytest.approx(2)
    assert straight(5).usual_speed_mps == 0


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_stamps_in_any_order_with_repeats_become_strictly_increasing(stamps):
    track = np.tile(IDENTITY, (len(stamps), 1))
    track[:, 0] = stamps
    found = Trajectory.from_unordered(np.array(stamps), track, source='test')
    assert (np.diff(found.stamps_ns) > 0).all()
    np.testing.assert_array_equal(found.stamps_ns, found.poses[:, 0])


def test_no_poses_are_an_error_not_an_empty_trajectory():
    with pytest.raises(DriveError, match='odom: no poses'):
        Trajectory.from_unordered(np.array([], dtype=np.int64), np.zeros((0, 7)), source='odom')


def test_tum_lines_keep_nanoseconds(tmp_path):
    write_tum(tmp_path / 'path.tum', straight(1700000000.5))
    line = (tmp_path / 'path.tum').read_text().split()
    assert line[0] == '1700000000.500000000'
    one = Trajectory(np.array([1_700_000_000_000_000_005]), IDENTITY[None])
    write_tum(tmp_path / 'one.tum', one)
    assert (tmp_path / 'one.tum').read_text().startswith('1700000000.000000005 0.0')
    assert [float(word) for word in line[1:]] == pytest.approx([1700000000.5, 0, 0, 0, 0, 0, 1])


def test_a_trajectory_comes_back_from_its_tum_file(tmp_path):
    stamps_ns = np.array([1_700_000_000_000_000_005, 1_700_000_000_100_000_000])
    written = Trajectory(stamps_ns, np.stack([IDENTITY, [1, 2, 3, *yaw_quat(np.array(0.5))]]))
    write_tum(tmp_path / 'path.tum', written)
    found, notes = read_tum(tmp_path / 'path.tum')
    assert notes == []
    np.testing.assert_array_equal(found.stamps_ns, stamps_ns)
    np.testing.assert_allclose(found.poses, written.poses, atol=1e-9)


@pytest.mark.parametrize(
    ('stamp', 'unit'),
    [
        ('1403636579763', 'milliseconds'),
        ('1403636579763000', 'microseconds'),
        ('1403636579763000000.000000000', 'nanoseconds'),  # as ORB-SLAM3 writes it for EuRoC
        ('1.403636579763e+09', ''),  # as evo writes it
        ('1403636579.763', ''),
    ],
)
def test_stamps_of_a_tum_file_may_have_the_units_that_programs_write(tmp_path, stamp, unit):
    file = tmp_path / 'path.tum'
    file.write_text(f'# t x y z qx qy qz qw\n\n{stamp} 1 2 3 0 0 0 1\n')
    found, notes = read_tum(file)
    assert found.stamps_ns.tolist() == [1_403_636_579_763_000_000]
    assert found.poses.tolist() == [[1, 2, 3, 0, 0, 0, 1]]
    assert notes == ([f'{file}: its stamps are taken for {unit}'] if unit else [])


def test_lines_of_a_tum_file_without_a_usable_pose_are_counted_and_left_out(tmp_path):
    file = tmp_path / 'path.tum'
    lines = ['3 0 0 0 0 0 0 1', '1 nan 0 0 0 0 0 1', '2 7 0 0 0 0 0 1', '4 0 0 0 0 0 0 0']
    lines += ['2 9 0 0 0 0 0 1']  # of repeated stamps the first stays, and none jumps back
    file.write_text('\n'.join(lines))
    found, notes = read_tum(file)
    assert found.stamps_ns.tolist() == [2 * 10**9, 3 * 10**9]
    assert found.poses[:, 0].tolist() == [7, 0]
    assert '2 poses were skipped' in notes[0] and 'jump back 1 time' in notes[1]
    assert notes[2].startswith(f'{file}: 1 pose was left out, because an earlier one at another')


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        ('', 'it is empty'),
        ('# nothing\n', 'it is empty'),
        ('1 0 0 0 0 0 0 0\n', '1 line without a usable pose'),
        ('1 0 0 0 0 0 0\n', 'line 1: 7 words; expected'),
        ('1,0,0,0,1,0,0,0\n', 'evo converts tables of EuRoC'),
        ('1 0 0 0 0 1 0 0 0 0 1 0\n', "KITTI's form"),
        ('t x y z qx qy qz qw\n', "'t' is not a number"),
        ('1 0 0 0 0 0 0 one\n', 'are not eight numbers'),
        ('nan 0 0 0 0 0 0 1\n', 'not finite'),
        ('1e30 0 0 0 0 0 0 1\n', 'too large'),
        ('-1e999999999999999 0 0 0 0 0 0 1\n', 'too large'),
        ('9223372037 0 0 0 0 0 0 1\n', 'too large'),
        ('9223372036854775808 0 0 0 0 0 0 1\n', 'too large'),
        ('1 0 0 0 0 0 0 1\n1403636579763000000 0 0 0 0 0 0 1\n', 'seconds and nanoseconds'),
    ],
)
def test_what_is_no_tum_file_is_one_sentence(tmp_path, content, said):
    (tmp_path / 'path.tum').write_text(content)
    with pytest.raises(DriveError) as caught:
        read_tum(tmp_path / 'path.tum')
    assert said in str(caught.value) and str(caught.value).startswith(str(tmp_path))
    assert '\n' not in str(caught.value)


def test_a_tum_file_that_cannot_be_read_is_one_sentence(tmp_path):
    with pytest.raises(DriveError, match=r'nowhere: cannot be read \(No such file'):
        read_tum(tmp_path / 'nowhere')
    (tmp_path / 'picture').write_bytes(b'\xff\xd8\xff')
    with pytest.raises(DriveError, match='picture: cannot be read'):
        read_tum(tmp_path / 'picture')
