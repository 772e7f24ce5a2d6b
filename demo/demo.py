"""Watch a robot find itself in a street.

It maps the street by day, drives it again at dusk, and asks the running node where it is. Both
drives are bags beside this file. The demo builds the map from the first, starts the node as on a
robot, and plays the second into it at the recorded speed. Every second it prints the node's answer
beside the truth.
"""

import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped

from paths import draw_paths
from vpr_ros.cli.command import Parser, command
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.geometry import compose, invert, yaw_of
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.settings import Value
from vpr_ros.core.trajectory import Trajectory
from vpr_ros.core.types import Poses
from vpr_ros.drives import open_drive
from vpr_ros.drives.drive import Drive
from vpr_ros.evaluating.figures import evaluate
from vpr_ros.evaluating.live import run_live
from vpr_ros.evaluating.logs import node_logs_to, require_log, require_written
from vpr_ros.evaluating.shown_figures import as_table
from vpr_ros.evaluating.tolerance import Tolerance
from vpr_ros.map_care.build import MapOptions, build_map
from vpr_ros.map_care.landmark_kind import chosen_features
from vpr_ros.node.conversions import pose_array

DRIVES = Path(__file__).parent / 'drives'
OUTPUT = Path(__file__).resolve().parents[1] / 'outputs' / 'demo'
TOLERANCE = Tolerance(radius_m=5.0)


@dataclass
class Commentary:
    """Prints where the robot says it is, once a second of the drive."""

    trajectory: Trajectory
    base_T_camera: Poses
    first_ns: int | None = None
    last_ns: int = field(default=-(10**18))

    def on_answer(
        self, stamp_ns: int, message: PoseWithCovarianceStamped | None, doubt: str
    ) -> None:
        """One line for the answer, unless the last line is less than a second old."""
        if stamp_ns - self.last_ns < 10**9:
            return
        self.first_ns = stamp_ns if self.first_ns is None else self.first_ns
        self.last_ns = stamp_ns
        seconds = (stamp_ns - self.first_ns) / 1e9
        print(f'  {seconds:5.1f} s   {self._answer(stamp_ns, message, doubt)}', flush=True)

    def _answer(self, stamp_ns: int, message: PoseWithCovarianceStamped | None, doubt: str) -> str:
        if message is None:
            return f'I do not know where I am{": " if doubt else ""}{doubt}'
        pose = pose_array(message.pose.pose, source='pose')
        camera_poses, _ = self.trajectory.at(np.array([stamp_ns]))
        error_m = np.linalg.norm(
            pose[:3] - compose(camera_poses[0], invert(self.base_T_camera))[:3]
        )
        variances = message.pose.covariance
        sigma_m = float(np.sqrt(max(variances[0], variances[7])))
        return (
            f'I am at x {pose[0]:6.1f} m, y {pose[1]:6.1f} m, '
            f'heading {np.degrees(yaw_of(pose)):4.0f} deg, '
            f'+- {sigma_m:.1f} m   (true position {error_m:.1f} m away)'
        )


def _parser() -> Parser:
    parser = Parser(prog='demo.py', description=__doc__)
    parser.add_argument(
        '--rerun',
        type=Path,
        metavar='FILE.rrd',
        help='write a log for the Rerun viewer here (needs rerun-sdk)',
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; everything it makes is under outputs/demo."""
    log = _parser().parse_args(argv).rerun
    if log is not None:
        require_log(log)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    model = Model.open(default_model())
    print(f'1. Map the street by day: {DRIVES / "day"}')
    day = open_drive(DRIVES / 'day')
    report = build_map(
        day,
        OnnxDescriber(model, singly=False),
        OUTPUT / 'map',
        MapOptions(features=chosen_features(None, day, model.card.cells)),
    )
    print('\n'.join(f'   {line}' for line in report.lines()))
    print(f'2. Start the node, play the drive at dusk into it: {DRIVES / "dusk"}', flush=True)
    drive: Drive = open_drive(DRIVES / 'dusk')
    assert drive.trajectory is not None
    commentary = Commentary(drive.trajectory, drive.base_T_camera)
    parameters: dict[str, Value] = {'map': str(OUTPUT / 'map'), 'model': str(model.folder)}
    if log is not None:
        parameters |= node_logs_to(log)
    found = run_live(DRIVES / 'dusk', None, parameters, on_answer=commentary.on_answer)
    place_map = PlaceMap.open(OUTPUT / 'map', model=model)
    evaluation = evaluate(
        found.answers,
        drive,
        place_map,
        TOLERANCE,
        dropped=found.dropped,
        node_latency_ms=found.node_latency_ms,
    )
    print('3. What the node said, against the truth:')
    print(as_table(evaluation, TOLERANCE))
    picture = OUTPUT / 'paths.png'
    draw_paths(evaluation, place_map, picture, title='Mapped by day, driven at dusk')
    print(f'4. Look at it: {picture}')
    if log is not None:
        require_written(log)
        print(f'   Step through it: rerun {shlex.quote(str(log))}')
    return 0


if __name__ == '__main__':
    shutil.rmtree(OUTPUT, ignore_errors=True)
    sys.exit(main())
