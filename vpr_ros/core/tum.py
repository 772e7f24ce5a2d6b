"""Poses over time in TUM format, which SLAM systems write and evo reads.

A line is `t x y z qx qy qz qw`, in seconds and metres; `#` begins a comment. See Sturm et al., A
Benchmark for the Evaluation of RGB-D SLAM Systems, 2012.
"""

from array import array
from collections import Counter
from pathlib import Path

import numpy as np

from vpr_ros.core.documents import lines_of
from vpr_ros.core.errors import DocumentError, DriveError, VprError
from vpr_ros.core.geometry import FARTHEST_M, checked_pose
from vpr_ros.core.plurals import counted
from vpr_ros.core.stamps import exact_seconds, parsed_stamp
from vpr_ros.core.trajectory import Trajectory, repeated_said

_EXPECTED = 'expected lines of `t x y z qx qy qz qw`, in seconds and metres'
_NUMBERS = 8
_KITTI = 12  # numbers of a line: a matrix without a stamp


def write_tum(path: Path, trajectory: Trajectory) -> None:
    """Write a trajectory."""
    with path.open('w', encoding='utf-8') as file:
        for stamp_ns, pose in zip(trajectory.stamps_ns.tolist(), trajectory.poses, strict=True):
            numbers = ' '.join(f'{value:.9f}' for value in pose)
            file.write(f'{exact_seconds(stamp_ns)} {numbers}\n')


def read_tum(path: Path) -> tuple[Trajectory, list[str]]:
    """A trajectory, and what the user should know of it.

    Stamps may also be in milliseconds, microseconds or nanoseconds, as ORB-SLAM3 writes them for
    EuRoC. Unusable poses are left out. Raises DriveError for a file that cannot be read, a
    line of another form, and where there is no pose.
    """
    stamps_ns: array[int] = array('q')
    poses: array[float] = array('d')
    units: Counter[str] = Counter()
    unusable = 0
    try:
        with path.open(encoding='utf-8-sig') as file:
            for number, line in enumerate(lines_of(file), start=1):
                words = line.split()
                if not words or words[0].startswith('#'):
                    continue
                stamp_ns, unit, pose = _read(words, f'{path}, line {number}')
                try:
                    values = checked_pose(pose).tolist()
                except VprError:
                    unusable += 1
                    continue
                units[unit] += 1
                stamps_ns.append(stamp_ns)
                poses.extend(values)
    except OSError as error:
        raise DriveError(f'{path}: cannot be read ({error.strerror or error})') from error
    except (UnicodeDecodeError, DocumentError) as error:
        raise DriveError(f'{path}: cannot be read ({error}); {_EXPECTED}') from error
    if not stamps_ns:
        why = f'{counted(unusable, "line")} without a usable pose' if unusable else 'it is empty'
        raise DriveError(f'{path}: no poses ({why}); {_EXPECTED}')
    if len(units) > 1:
        found = ' and '.join(units)
        raise DriveError(f'{path}: stamps of several sizes, {found}; {_EXPECTED}')
    notes = []
    if unusable:
        notes.append(
            f'{path}: {counted(unusable, "pose was", "poses were")} skipped (NaN, beyond '
            f'{FARTHEST_M:g} m, or no unit quaternion)'
        )
    if 'seconds' not in units:
        notes.append(f'{path}: its stamps are taken for {next(iter(units))}')
    found_ns = np.array(stamps_ns, dtype=np.int64)
    if backwards := int((np.diff(found_ns) < 0).sum()):
        notes.append(
            f'{path}: the stamps jump back {counted(backwards, "time")}; poses are used in the '
            'order of stamps'
        )
    values_m = np.array(poses, dtype=np.float64).reshape(-1, 7)
    notes += repeated_said(found_ns, values_m, source=str(path))
    return Trajectory.from_unordered(found_ns, values_m, source=str(path)), notes


def _read(words: list[str], where: str) -> tuple[int, str, list[float]]:
    """Stamp in nanoseconds, its unit and the seven numbers of a pose; raises DriveError."""
    if len(words) != _NUMBERS:
        found = counted(len(words), 'word')
        hint = ''
        if ',' in ''.join(words):
            hint = '; evo converts tables of EuRoC: evo_traj euroc FILE --save_as_tum'
        elif len(words) == _KITTI:
            hint = "; this looks like KITTI's form, which has no stamps"
        raise DriveError(f'{where}: {found}; {_EXPECTED}{hint}')
    try:
        stamp_ns, unit = parsed_stamp(words[0])
        return stamp_ns, unit, [float(word) for word in words[1:]]
    except ValueError as error:
        raise DriveError(f'{where}: {" ".join(words)} are not eight numbers ({error})') from error
