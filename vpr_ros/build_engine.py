"""Build a model's TensorRT engine on this robot, ahead of the node; and check what it gives.

The node builds the engine itself where there is none, but that takes minutes, which a robot may
not have at start. With --check, the images of a recording are described by the engine and by
onnxruntime on the CPU, one at a time: how alike the descriptors are, what recall both have, and
how long both take.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.cli.command import command
from vpr_ros.cli.options import add_drive_arguments, drive_options
from vpr_ros.core.describing.backend import default_engine_cache, open_tensorrt
from vpr_ros.core.describing.describe import Describer, OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.errors import BackendError, ConfigError, DriveError, ImageError
from vpr_ros.core.geometry import compose, invert
from vpr_ros.core.recall import STANDARD_N, Recall, recall_at
from vpr_ros.core.types import Descriptors, Poses
from vpr_ros.drives import open_drive
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.prefetch import load, prefetched
from vpr_ros.evaluating.figures import Tolerance

PRECISIONS = ('auto', 'fp32', 'fp16', 'int8')
_NEXT_STEP = 'docs/jetson.md says how to install it; without it the node uses onnxruntime'
_UNCOUNTED = 3  # first runs, which are slow


@dataclass(frozen=True, slots=True)
class Described:
    """A drive's images described by two describers."""

    fast: Descriptors  # [N, D]
    reference: Descriptors  # [N, D]
    fast_ms: NDArray[np.float64]  # [N], resizing included, decoding not
    reference_ms: NDArray[np.float64]  # [N]
    poses: Poses | None  # [N, 7] map_T_base, NaN where unknown; None without true poses


def describe_by_both(
    drive: Drive, fast: Describer, reference: Describer, *, max_pose_gap_s: float
) -> Described:
    """Describe every image singly by one describer after the other, and time both.

    Raises DriveError for a drive without a usable image.
    """
    stamps, rows, taken = [], [], []
    frames = tqdm(drive.frames(), total=len(drive), unit='image', disable=None, delay=2)
    needed_hw = reference.model.card.image_size
    for frame, image in prefetched(frames, lambda recorded: load(recorded, needed_hw)):
        if isinstance(image, ImageError):
            continue
        started_s = time.perf_counter()
        first = fast.describe([image])[0]
        between_s = time.perf_counter()
        second = reference.describe([image])[0]
        taken.append((between_s - started_s, time.perf_counter() - between_s))
        rows.append((first, second))
        stamps.append(frame.stamp_ns)
    if not rows:
        raise DriveError(f'{drive.name}: no usable image in it')
    both = np.array(rows, dtype=np.float32)  # [N, 2, D]
    taken_ms = np.array(taken) * 1e3
    counted = taken_ms[_UNCOUNTED:] if len(taken_ms) > 2 * _UNCOUNTED else taken_ms
    poses = _base_poses(drive, np.array(stamps, dtype=np.int64), max_pose_gap_s)
    return Described(both[:, 0], both[:, 1], counted[:, 0], counted[:, 1], poses)


def _base_poses(drive: Drive, stamps_ns: NDArray[np.int64], max_gap_s: float) -> Poses | None:
    if drive.trajectory is None:
        return None
    poses, known = drive.trajectory.at(stamps_ns, max_gap_s=max_gap_s)
    bases = compose(poses, invert(drive.base_T_camera))
    bases[~known] = np.nan
    return bases if known.any() else None


def recall_between(
    queries: tuple[Descriptors, Poses], places: tuple[Descriptors, Poses], tolerance: Tolerance
) -> Recall:
    """Recall@N of images against images; rows without a pose are left out on both sides."""
    (query_rows, query_poses), (place_rows, place_poses) = map(_posed, (queries, places))
    ranked = np.argsort(-(query_rows @ place_rows.T), axis=1)[:, : max(STANDARD_N)]
    positives = [
        np.flatnonzero(tolerance.accepts(place_poses, pose)).astype(np.int64)
        for pose in query_poses
    ]
    return recall_at(ranked.astype(np.int64), positives)


def _posed(described: tuple[Descriptors, Poses]) -> tuple[Descriptors, Poses]:
    rows, poses = described
    known = np.isfinite(poses[:, 0])
    return rows[known], poses[known]


def report(checked: Described, mapped: Described | None, tolerance: Tolerance) -> list[str]:
    """The lines of --check: parity, latency and, where true poses are known, recall.

    mapped: the images of --map-bag; without them, every second image is a place and the others
    are queries.
    """
    cosine = (checked.fast * checked.reference).sum(axis=1)
    lines = [
        f'{len(cosine)} images, each by the engine and by onnxruntime on the CPU (fp32)',
        f'cosine between both         min {cosine.min():.5f}, median {np.median(cosine):.5f}',
        _latency('engine', checked.fast_ms),
        _latency('CPU', checked.reference_ms),
    ]
    sides = _queries_and_places(checked, mapped)
    if sides is None:
        return [*lines, 'recall                      not measured: no true poses']
    queries, places = sides
    assert queries.poses is not None and places.poses is not None
    pairs = {
        'engine': (queries.fast, places.fast),
        'CPU': (queries.reference, places.reference),
        'engine on CPU map': (queries.fast, places.reference),
    }
    for name, (query_rows, place_rows) in pairs.items():
        found = recall_between((query_rows, queries.poses), (place_rows, places.poses), tolerance)
        shares = ', '.join(f'R@{n} {share:.3f}' for n, share in found.at.items())
        counts = f'{found.queries} queries, {found.unmatchable} of them not on the map'
        lines.append(f'{f"recall, {name}":<28}{shares} ({counts})')
    return lines


def _queries_and_places(
    checked: Described, mapped: Described | None
) -> tuple[Described, Described] | None:
    if checked.poses is None or (mapped is not None and mapped.poses is None):
        return None
    if mapped is not None:
        return checked, mapped
    return _every_second(checked, 1), _every_second(checked, 0)


def _every_second(checked: Described, first: int) -> Described:
    poses = None if checked.poses is None else checked.poses[first::2]
    rows = checked.fast[first::2], checked.reference[first::2]
    return Described(*rows, checked.fast_ms, checked.reference_ms, poses)


def _latency(name: str, taken_ms: NDArray[np.float64]) -> str:
    p50, p95 = np.percentile(taken_ms, [50, 95])
    return f'{f"latency, {name}":<28}p50 {p50:.2f} ms, p95 {p95:.2f} ms'


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='build_engine', description=__doc__.split('\n\n')[0])
    parser.add_argument('--model', type=Path, metavar='MODEL', help='default: the shipped model')
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        default='auto',
        help='auto: fp16, or fp32 where TensorRT 11 finds no fp16 graph in the model',
    )
    parser.add_argument(
        '--cache', type=Path, metavar='DIR', help="default: vpr_ros/engines in the user's cache"
    )
    parser.add_argument('--rebuild', action='store_true', help='also where the engine is kept')
    parser.add_argument(
        '--check', metavar='BAG', help='a bag or folder: compare with onnxruntime on the CPU'
    )
    parser.add_argument(
        '--map-bag',
        metavar='BAG',
        help='with --check: the drive to find its images in (default: every second image)',
    )
    parser.add_argument(
        '--radius', type=float, default=5.0, metavar='M', help='right within (default: 5)'
    )
    parser.add_argument(
        '--threads', type=int, default=0, metavar='N', help='of the CPU; default: every core'
    )
    add_drive_arguments(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    arguments = _parser().parse_args(argv)
    if arguments.map_bag and not arguments.check:
        raise ConfigError('--map-bag: needs --check BAG, whose images are found in it')
    folder = arguments.model or default_model()
    reference = Model.open(folder, precision='fp32')
    with tqdm(bar_format='{desc}', disable=None) as line:
        try:
            chosen = open_tensorrt(
                reference,
                precision=arguments.precision,
                cache=arguments.cache or default_engine_cache(),
                progress=line.set_description_str,
                rebuild=arguments.rebuild,
            )
        except BackendError as error:
            raise BackendError(f'{error}; {_NEXT_STEP}') from error
    try:
        print(f'{reference.card.name}: {chosen.name}')
        print(chosen.reason or f'kept in {arguments.cache or default_engine_cache()}')
        if arguments.check:
            _check(arguments, chosen.describer, reference)
    finally:
        chosen.close()
    return 0


def _check(arguments: argparse.Namespace, fast: Describer, model: Model) -> None:
    reference = OnnxDescriber(model, threads=arguments.threads)
    gap_s = float(arguments.max_pose_gap)
    mapped = datum = None
    if arguments.map_bag:
        drive = open_drive(Path(arguments.map_bag), drive_options(arguments))
        datum = drive.datum
        mapped = describe_by_both(drive, fast, reference, max_pose_gap_s=gap_s)
    drive = open_drive(Path(arguments.check), drive_options(arguments, datum=datum))
    checked = describe_by_both(drive, fast, reference, max_pose_gap_s=gap_s)
    print('\n'.join(report(checked, mapped, Tolerance(arguments.radius))))


if __name__ == '__main__':
    sys.exit(main())
