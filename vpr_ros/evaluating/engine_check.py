"""What an engine gives on a recording, beside onnxruntime on the CPU.

Every image is described by both, one at a time: how alike the descriptors are, what recall both
have, and how long both take.
"""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.describing.describe import Describer
from vpr_ros.core.errors import DriveError, noting
from vpr_ros.core.mapping.index import ExactIndex
from vpr_ros.core.plurals import counted
from vpr_ros.core.recall import Recall
from vpr_ros.core.types import Descriptors, Poses, Stamps
from vpr_ros.drives.drive import Drive, add_note, notes_of
from vpr_ros.drives.posed_images import (
    PosedImages,
    Unusable,
    base_poses,
    frames_of,
    unposed,
    usable,
)
from vpr_ros.drives.prefetch import load, prefetched
from vpr_ros.evaluating.recall import recall_of
from vpr_ros.evaluating.tolerance import Tolerance

_UNCOUNTED = 3  # first runs, which are slow


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedTwice:
    """A drive's images as an engine and the reference describe them."""

    engine: Descriptors  # [N, D]
    reference: Descriptors  # [N, D]
    engine_ms: NDArray[np.float64]  # [N], resizing included, decoding not
    reference_ms: NDArray[np.float64]  # [N]
    poses: Poses  # [N, 7] map_T_base, NaN where unknown
    stamps_ns: Stamps  # [N]

    @property
    def is_posed(self) -> bool:
        """Whether any true pose is known."""
        return bool(np.isfinite(self.poses[:, 0]).any())

    def of(self, rows: slice) -> 'DescribedTwice':
        """Only some of the images; the times stay."""
        return DescribedTwice(
            engine=self.engine[rows],
            reference=self.reference[rows],
            engine_ms=self.engine_ms,
            reference_ms=self.reference_ms,
            poses=self.poses[rows],
            stamps_ns=self.stamps_ns[rows],
        )

    def posed(self, descriptors: Descriptors) -> PosedImages:
        """One of the two kinds of descriptors, of the images whose pose is known."""
        known = np.isfinite(self.poses[:, 0])
        return PosedImages(descriptors[known], self.poses[known], self.stamps_ns[known])


def describe_twice(
    drive: Drive, engine: Describer, reference: Describer, *, max_pose_gap_s: float | None
) -> DescribedTwice:
    """Describe every image singly by one describer after the other, and time both.

    Which images could not be used or have no true pose is noted. Raises DriveError for a drive
    without a usable image.
    """
    stamps, rows, taken = [], [], []
    unusable = Unusable()
    needed_hw = reference.model.card.image_size
    with noting(lambda: notes_of(drive), unusable.lines):
        images = prefetched(frames_of(drive), lambda recorded: load(recorded, needed_hw))
        for frame, image in usable(images, unusable):
            started_s = time.perf_counter()
            first = engine.describe([image])[0]
            between_s = time.perf_counter()
            second = reference.describe([image])[0]
            taken.append((between_s - started_s, time.perf_counter() - between_s))
            rows.append((first, second))
            stamps.append(frame.stamp_ns)
        if not rows:
            raise DriveError(f'{drive.name}: no usable image in it')
    for line in unusable.lines():
        add_note(drive, line)
    both = np.array(rows, dtype=np.float32)  # [N, 2, D]
    taken_ms = np.array(taken) * 1e3
    timed = taken_ms[_UNCOUNTED:] if len(taken_ms) > 2 * _UNCOUNTED else taken_ms
    stamps_ns = np.array(stamps, dtype=np.int64)
    poses = base_poses(drive, stamps_ns, max_pose_gap_s=max_pose_gap_s)
    unknown = ~np.isfinite(poses[:, 0])
    if drive.trajectory is not None and unknown.any():
        add_note(drive, unposed(drive, stamps_ns[unknown], max_pose_gap_s=max_pose_gap_s))
    return DescribedTwice(
        engine=both[:, 0],
        reference=both[:, 1],
        engine_ms=timed[:, 0],
        reference_ms=timed[:, 1],
        poses=poses,
        stamps_ns=stamps_ns,
    )


def report(
    checked: DescribedTwice, mapped: DescribedTwice | None, tolerance: Tolerance
) -> list[str]:
    """The lines of `build_engine --check`: parity, latency and, with true poses, recall.

    mapped: the images in which those of `checked` are to be found; without them every second image
    is a place and the others are queries.
    """
    cosine = (checked.engine * checked.reference).sum(axis=1)
    images = counted(len(cosine), 'image')
    return [
        f'{images}, each by the engine and by onnxruntime on the CPU (fp32)',
        f'cosine between both         min {cosine.min():.5f}, median {np.median(cosine):.5f}',
        _latency('engine', checked.engine_ms),
        _latency('CPU', checked.reference_ms),
        *_recalls(checked, mapped, tolerance),
    ]


def _recalls(
    checked: DescribedTwice, mapped: DescribedTwice | None, tolerance: Tolerance
) -> list[str]:
    queries, places = checked, mapped
    if places is None:
        queries, places = checked.of(slice(1, None, 2)), checked.of(slice(0, None, 2))
    if not (queries.is_posed and places.is_posed):
        return ['recall                      not measured: no true poses']
    pairs = {
        'engine': (queries.engine, places.engine),
        'CPU': (queries.reference, places.reference),
        'engine on CPU map': (queries.engine, places.reference),
    }
    return [
        _recall(name, _between(queries.posed(of_queries), places.posed(of_places), tolerance))
        for name, (of_queries, of_places) in pairs.items()
    ]


def _between(queries: PosedImages, places: PosedImages, tolerance: Tolerance) -> Recall:
    return recall_of(queries, ExactIndex([places.descriptors]), places.poses, tolerance)


def _recall(name: str, found: Recall) -> str:
    shares = ', '.join(f'R@{n} {share:.3f}' for n, share in found.at.items())
    queries = counted(found.queries, 'query')
    counts = f'{queries}, {found.unmatchable} of them not on the map'
    return f'{f"recall, {name}":<28}{shares} ({counts})'


def _latency(name: str, taken_ms: NDArray[np.float64]) -> str:
    p50, p95 = np.percentile(taken_ms, [50, 95])
    return f'{f"latency, {name}":<28}p50 {p50:.2f} ms, p95 {p95:.2f} ms'
