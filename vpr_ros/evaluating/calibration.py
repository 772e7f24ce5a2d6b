"""How probable an answer on a map is right, fitted to a drive whose true poses are known.

The drive is localized four times: as it is, with its middle third cut out, as if the robot had
been carried away, at twice the speed, and backwards. A drive without wrong answers cannot tell how
these look, and one way of driving a route is not all. The probability is fitted on every other ten
frames and judged on those between them.

On maps with cells only the level is fitted: one drive has one light, and weights fitted on it fail
in another.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.camera import Camera
from vpr_ros.core.describing.describe import Describer
from vpr_ros.core.errors import DriveError, noting
from vpr_ros.core.image import shows_something
from vpr_ros.core.localizing.confidence import OBSERVATIONS, Calibration
from vpr_ros.core.localizing.kept_calibrations import model_calibration_of
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.query import Query
from vpr_ros.core.plurals import counted
from vpr_ros.drives.drive import Drive, notes_of
from vpr_ros.drives.posed_images import PosedImages, posed_images
from vpr_ros.evaluating.fitting import PULL, fit
from vpr_ros.evaluating.other_frame import OtherFrame, other_frame_of
from vpr_ros.evaluating.reliability import BINS, Reliability, reliability
from vpr_ros.evaluating.tolerance import Tolerance

BLOCK = 10  # frames in a row that are fitted on, or held out
FEWEST = 4 * BLOCK
_BELIEVED = 0.5  # probability by the model, from which a place tells of the frame
_SHIFT_PULL = 20.0
"""Towards the model's calibration, on maps with cells, which fit one number: decision 0036."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration, and how much it and the one before it can be relied on."""

    calibration: Calibration
    before: Reliability  # both on frames that were held out
    after: Reliability
    is_ever_right: bool  # whether the best place was right in any frame of the drive
    other_frame: OtherFrame | None  # in which most fixes of the drive are right, and only there


@dataclass(frozen=True, slots=True)
class _Pass:
    """What a way of driving showed."""

    observed: NDArray[np.float64]  # [Q, OBSERVED]
    best_m: NDArray[np.float64]  # [Q, 3], of the best place
    right: NDArray[np.bool_]  # [Q], whether that is true


def calibration_images(
    drive: Drive, describer: Describer, *, max_pose_gap_s: float | None, like: Camera | None = None
) -> PosedImages:
    """The described images of a drive that show something; like: see `posed_images`.

    Raises DriveError where too few of them have a true pose.
    """
    images = posed_images(
        drive, describer, max_pose_gap_s=max_pose_gap_s, like=like, wanted=shows_something
    )
    with noting(lambda: notes_of(drive)):
        if len(images) < FEWEST:
            raise DriveError(
                f'{drive.name}: {counted(len(images), "image")} with a true pose, expected at '
                f'least {FEWEST}'
            )
    return images


def calibrate(
    images: PosedImages, localizer: Localizer, radius_m: float, *, source: str
) -> Calibrated:
    """Fit the calibration of a localizer's map by the images of a drive."""
    third = len(images) // 3
    whole = np.arange(len(images))
    carried = np.concatenate([whole[:third], whole[2 * third :]])
    ways = (whole, carried, whole[::2], whole[::-1])
    passes = [_observed(images, rows, localizer, Tolerance(radius_m)) for rows in ways]
    held_out = (np.concatenate(ways) // BLOCK) % 2 == 1
    place_map = localizer.place_map
    prior = model_calibration_of(place_map.header, folder=place_map.folder)
    made = fit(
        np.concatenate([found.observed for found in passes])[~held_out],
        np.concatenate([found.right for found in passes])[~held_out],
        prior=prior,
        source=source,
        held=OBSERVATIONS if place_map.has_cells else (),
        pull=_SHIFT_PULL if place_map.has_cells else PULL,
    )
    first, judged = passes[0], held_out[: len(whole)]
    before, after = (
        reliability(found.probability(first.observed[judged]), first.right[judged])
        for found in (localizer.calibration, made)
    )
    kept = replace(made, error=after.error, radius_m=radius_m, risk_ratio=prior.risk_ratio)
    believed = prior.probability(first.observed) > _BELIEVED
    return Calibrated(
        kept,
        before,
        after,
        is_ever_right=bool(first.right.any()),
        other_frame=other_frame_of(
            first.best_m[believed], images.poses[believed, :3], radius_m=radius_m
        ),
    )


def table(found: Calibrated) -> str:
    """The reliability diagram in figures, and both errors."""
    after = found.after
    lines = ['probability   right   frames'] + [
        f'{promised:.2f}          {true:.2f}    {count}'
        for promised, true, count in zip(after.promised, after.true, after.count, strict=True)
        if count
    ]
    return '\n'.join(
        [
            *lines,
            f'expected calibration error, {BINS} bins, frames not fitted on: {after.error:.3f} '
            f'(before: {found.before.error:.3f})',
            f'judged on {sum(after.count)} frames of the drive, fitted on '
            f'{found.calibration.frames} of four passes',
        ]
    )


def _observed(
    images: PosedImages, rows: NDArray[np.int64], localizer: Localizer, tolerance: Tolerance
) -> _Pass:
    """What the images show along rows [Q] of a drive.

    The rows come at the drive's first stamps, so that time goes forward whatever their order is.
    """
    localizer.reset()
    bits = images.cells if localizer.place_map.has_cells else None
    observed, best = [], []
    for row, stamp_ns in zip(rows, images.stamps_ns.tolist()):
        cells = None if bits is None else bits[row]
        located = localizer.locate(Query(images.descriptors[row], stamp_ns, cells=cells))
        assert located.observed is not None  # the judge of drives is calibrated
        observed.append(located.observed)
        best.append(located.candidates.map_T_base[0])
    poses = np.array(best)
    right = tolerance.accepts(poses, images.poses[rows])
    return _Pass(np.array(observed), poses[:, :3], right)
