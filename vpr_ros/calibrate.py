"""Fit how probable an answer on a map is right, from a bag whose true poses are known.

The bag is localized four times: as it is, with its middle third cut out, as if the robot had been
carried away, at twice the speed, and backwards, because a drive without wrong answers cannot tell
how these look, and one way of driving a route is not all. The probability is
fitted on every other ten frames and judged on those between them; the map keeps it in map.yaml,
and the node takes it from there.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.cli.command import add_precision_argument, command
from vpr_ros.cli.options import add_drive_arguments, drive_options
from vpr_ros.core.describing.describe import Describer, OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import model_that_made
from vpr_ros.core.errors import DriveError, ImageError
from vpr_ros.core.geometry import compose, invert
from vpr_ros.core.image import shows_something
from vpr_ros.core.localizing.confidence import (
    BINS,
    Calibration,
    Reliability,
    as_dict,
    fit,
    model_calibration_of,
    reliability,
)
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.query import Query
from vpr_ros.core.mapping.header import read_header, write_calibration
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Descriptors, Poses, Stamps
from vpr_ros.drives import open_drive
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.prefetch import described, load
from vpr_ros.evaluating.figures import Tolerance

BLOCK = 10  # frames in a row that are fitted on, or held out
FEWEST = 4 * BLOCK


def calibrate(
    descriptors: Descriptors,
    stamps_ns: Stamps,
    truth: Poses,
    localizer: Localizer,
    radius_m: float,
    *,
    source: str,
) -> tuple[Calibration, Reliability, Reliability]:
    """Calibration of a localizer's map by a drive, and the reliability of the old and the new one.

    descriptors: [Q, D]; stamps_ns: [Q]; truth: map_T_base [Q, 7]. Both are judged on the frames
    that were held out.
    """
    third = len(descriptors) // 3
    whole = np.arange(len(descriptors))
    carried = np.concatenate([whole[:third], whole[2 * third :]])
    observed, right, frames = [], [], []
    for rows in (whole, carried, whole[::2], whole[::-1]):
        seen, answers = _observe(
            descriptors[rows], stamps_ns[: len(rows)], truth[rows], localizer, radius_m
        )
        observed.append(seen)
        right.append(answers)
        frames.append(rows)
    held_out = (np.concatenate(frames) // BLOCK) % 2 == 1
    made = fit(
        np.concatenate(observed)[~held_out],
        np.concatenate(right)[~held_out],
        prior=model_calibration_of(localizer.place_map.header, folder=localizer.place_map.folder),
        source=source,
    )
    judged = held_out[: len(whole)]
    before, after = (
        reliability(found.probability(observed[0][judged]), right[0][judged])
        for found in (localizer.calibration, made)
    )
    return replace(made, error=after.error, radius_m=radius_m), before, after


def _observe(
    descriptors: Descriptors,
    stamps_ns: Stamps,
    truth: Poses,
    localizer: Localizer,
    radius_m: float,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Observations [Q, OBSERVED] along a drive, and whether the best place was true [Q]."""
    localizer.reset()
    tolerance = Tolerance(radius_m)
    observed, right = [], []
    for descriptor, stamp_ns, base in zip(descriptors, stamps_ns.tolist(), truth, strict=True):
        located = localizer.locate(Query(descriptor, stamp_ns))
        assert located.observed is not None
        observed.append(located.observed)
        right.append(bool(tolerance.accepts(located.candidates.map_T_base[0], base)))
    return np.array(observed), np.array(right)


def described_drive(
    drive: Drive, describer: Describer, *, max_pose_gap_s: float
) -> tuple[Descriptors, Stamps, Poses]:
    """Descriptors [Q, D], stamps [Q] and map_T_base [Q, 7] of the frames with a true pose.

    Raises DriveError where there are too few of them.
    """
    if drive.trajectory is None:
        raise DriveError(f'{drive.name}: no true poses in it, so that nothing can be calibrated')
    rows, stamps = [], []
    frames = tqdm(drive.frames(), total=len(drive), unit='image', disable=None, delay=2)
    for frame, found in described(frames, load, describer):
        if not isinstance(found, ImageError) and shows_something(found[0]):
            rows.append(found[1])
            stamps.append(frame.stamp_ns)
    stamps_ns = np.array(stamps, dtype=np.int64)
    cameras, known = drive.trajectory.at(stamps_ns, max_gap_s=max_pose_gap_s)
    if known.sum() < FEWEST:
        raise DriveError(
            f'{drive.name}: {known.sum()} images with a true pose, expected at least {FEWEST}'
        )
    bases = compose(cameras[known], invert(drive.base_T_camera))
    return np.array(rows)[known], stamps_ns[known], bases


def as_table(before: Reliability, after: Reliability) -> str:
    """The reliability diagram in figures, and both errors."""
    lines = ['probability   right   frames'] + [
        f'{promised:.2f}          {true:.2f}    {count}'
        for promised, true, count in zip(after.promised, after.true, after.count, strict=True)
        if count
    ]
    return '\n'.join(
        [
            *lines,
            f'expected calibration error, {BINS} bins, frames not fitted on: {after.error:.3f} '
            f'(before: {before.error:.3f})',
        ]
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='calibrate', description=__doc__)
    parser.add_argument('--map', required=True, type=Path, metavar='MAP', help='made by build_map')
    parser.add_argument('--bag', required=True, metavar='BAG', help='a bag, or a posed folder')
    parser.add_argument(
        '--model', type=Path, metavar='MODEL', help='default: the shipped one that made the map'
    )
    parser.add_argument(
        '--radius',
        type=float,
        default=5.0,
        metavar='M',
        help='an answer this near is right; take the same as agreement_radius (default: 5 m)',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='print the figures, leave the map as it is'
    )
    parser.add_argument('--threads', type=int, default=0, metavar='N', help='default: every core')
    add_precision_argument(parser)
    add_drive_arguments(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    arguments = _parser().parse_args(argv)
    header = read_header(arguments.map)
    folder = arguments.model or model_that_made(header)
    model = Model.open(folder, precision=arguments.precision)
    place_map = PlaceMap.open(arguments.map, model=model)
    drive = open_drive(Path(arguments.bag), drive_options(arguments, datum=header.datum))
    describer = OnnxDescriber(model, threads=arguments.threads, singly=False)
    found = described_drive(drive, describer, max_pose_gap_s=arguments.max_pose_gap)
    config = LocalizerConfig(agreement_radius=arguments.radius)
    made, before, after = calibrate(
        *found,
        Localizer(describer, place_map, config),
        arguments.radius,
        source=Path(arguments.bag).name,
    )
    for warning in drive.warnings:
        print(f'note: {warning}', file=sys.stderr)
    print(as_table(before, after))
    if after.error > before.error:
        print('note: the calibration before fits these frames better', file=sys.stderr)
    if not arguments.dry_run:
        write_calibration(arguments.map, as_dict(made))
        print(f'kept in {arguments.map}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
