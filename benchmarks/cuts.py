"""What distractors do for a robot that leaves its cut of a fleet's map: answers and false fixes.

    python benchmarks/cuts.py [--drives demo/drives]

Pushes the demo's day to a store, pulls cuts around eight points of its dusk with and without
distractors, and localizes the whole dusk on each. The network describes the dusk once.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpr_ros import build_map
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.outcome import Fix, NoFix, Reason
from vpr_ros.core.localizing.query import Query
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Frame
from vpr_ros.drives import open_drive
from vpr_ros.drives.posed_images import base_poses, frames_of
from vpr_ros.fleet.pull import DISTRACTORS_M, Circle, pull
from vpr_ros.fleet.push import push

ROOT = Path(__file__).resolve().parents[1]
POINTS = 8
RADII_M = 30.0, 50.0
RIGHT_M = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--drives', type=Path, default=ROOT / 'demo' / 'drives')
    drives = parser.parse_args().drives
    describer = OnnxDescriber(Model.open(default_model()), threads=2)
    with tempfile.TemporaryDirectory() as folder:
        day, store, cut = (Path(folder) / name for name in ('day', 'store', 'cut'))
        build_map.main(['--bag', str(drives / 'day'), '--output', str(day), '--precision', 'fp32'])
        push(day, str(store))
        whole = PlaceMap.open(day)
        queries, truth_m = described(drives / 'dusk', Localizer(describer, whole))
        centres_m = truth_m[:: len(truth_m) // POINTS][:POINTS]
        print('| radius, distractors | places | answered | false fixes | silent outside |')
        print('|---|---|---|---|---|')
        for radius_m in RADII_M:
            for distractors_m in (0.0, DISTRACTORS_M):
                counts = np.zeros(6, dtype=np.int64)
                for x_m, y_m in centres_m.tolist():
                    near = Circle(x_m, y_m, radius_m)
                    if not near.holds(*whole.poses[:, :2].T).any():
                        continue
                    pull(str(store), cut, near=near, distractors_m=distractors_m)
                    localizer = Localizer(describer, PlaceMap.open(cut))
                    counts += counted(localizer, queries, truth_m)
                places, able, right, fixes, false, silent = counts.tolist()
                print(
                    f'| {radius_m:g} m, {"with" if distractors_m else "without"} | {places} | '
                    f'{right / able:.1%} of {able} | {false} of {fixes} | {silent} |'
                )


def described(bag: Path, localizer: Localizer) -> tuple[list[Query], NDArray[np.float64]]:
    """The images of a drive as queries [Q], and where they were taken [Q, 2] in metres."""
    drive = open_drive(bag)
    queries = []
    for recorded in frames_of(drive):
        image = recorded.load(at_least_hw=localizer.needed_hw)
        queries.append(localizer.describe(Frame(image, recorded.stamp_ns)))
    return queries, base_poses(
        drive, np.array([one.stamp_ns for one in queries]), max_pose_gap_s=None
    )[:, :2]


def counted(
    localizer: Localizer, queries: list[Query], truth_m: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Places, images that show one of the cut, their right fixes, fixes, false ones, silences."""
    place_map = localizer.place_map
    own_m = place_map.base_poses()[~place_map.is_distractor, :2]
    found = np.array([len(place_map), 0, 0, 0, 0, 0])
    for query, true_m in zip(queries, truth_m, strict=True):
        outcome = localizer.locate(query).outcome
        is_able = np.hypot(*(own_m - true_m).T).min() <= RIGHT_M
        is_fix = isinstance(outcome, Fix)
        is_right = is_fix and np.hypot(*(outcome.pose[:2] - true_m)) <= RIGHT_M
        is_silent = isinstance(outcome, NoFix) and outcome.reason is Reason.OUTSIDE_CUT
        found += [0, is_able, is_able and is_right, is_fix, is_fix and not is_right, is_silent]
    return found


if __name__ == '__main__':
    main()
