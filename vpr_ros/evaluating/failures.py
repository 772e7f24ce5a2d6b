"""The failures of a variant as pictures: the query, its first matches, the true place."""

import math
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.errors import ImageError
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import Image, Poses
from vpr_ros.drives.drive import Drive
from vpr_ros.evaluating.judging import Judged
from vpr_ros.evaluating.measuring import Variant
from vpr_ros.evaluating.shown_figures import number
from vpr_ros.evaluating.tolerance import Tolerance
from vpr_ros.report.charts import Tone
from vpr_ros.report.page import MATCHES, WORST, Gallery, Picture, Strip


def failures(
    title: str, variant: Variant, drives: Sequence[Drive], tolerance: Tolerance
) -> Gallery:
    """Wrong fixes by their error, wrong first matches, latest hit first, and images without a fix.

    Of each kind some are shown, and more of the first where there are few of the others.
    """
    judged = variant.evaluation.judged
    kinds = _wrong(judged)
    if not any(map(len, kinds)):
        return Gallery(
            title,
            [],
            'No fix was wrong, and every query with a place on the map had that place first and '
            'got a fix.',
        )
    shown = _some_of_each(kinds)
    images = _images(judged, shown, drives)
    places = variant.setup.place_map.base_poses()
    strips = [_strip(int(row), images.get(int(row)), variant, places, tolerance) for row in shown]
    fixes, misses, refused = map(len, kinds)
    note = (
        f'{counted(fixes, "wrong fix")}, {counted(misses, "other query")} whose first match is '
        f'wrong, {refused} whose first match is right but got no fix; metres are distances to '
        'the true position.'
    )
    return Gallery(title, strips, note)


def _some_of_each(kinds: Sequence[NDArray[np.int64]]) -> list[np.int64]:
    """WORST rows at most: a third of each kind, and what is left to the first kinds."""
    counts = [min(len(kind), WORST // len(kinds)) for kind in kinds]
    for number_of_kind, kind in enumerate(kinds):
        counts[number_of_kind] += min(len(kind) - counts[number_of_kind], WORST - sum(counts))
    return [row for kind, count in zip(kinds, counts) for row in kind[:count]]


def _wrong(judged: Judged) -> tuple[NDArray[np.int64], ...]:
    """Rows of wrong fixes, of other wrong first matches and of refused answers, worst first."""
    wrong_fix = judged.known & judged.fixed & ~judged.right
    able = judged.known & ~judged.unmatchable & ~wrong_fix
    fixes = np.flatnonzero(wrong_fix)
    misses = np.flatnonzero(able & (judged.rank != 0))
    refused = np.flatnonzero(able & (judged.rank == 0) & ~judged.fixed)
    late = np.where(judged.rank[misses] < 0, np.iinfo(np.int64).max, judged.rank[misses])
    probability = np.array([answer.probability for answer in judged.answers])
    return (
        fixes[np.argsort(-judged.error_m[fixes], kind='stable')],
        misses[np.argsort(-late, kind='stable')],
        refused[np.argsort(probability[refused], kind='stable')],
    )


def _strip(
    row: int, image: Image | None, variant: Variant, places: Poses, tolerance: Tolerance
) -> Strip:
    """The query, its first matches, and the nearest place; places: of the map, [N, 7]."""
    judged, place_map = variant.evaluation.judged, variant.setup.place_map
    true, pictures = judged.truth[row], [Picture.of(image, 'query', 's0')]
    for rank, candidate in enumerate(judged.answers[row].candidates[:MATCHES], start=1):
        place = int(np.argmin(np.linalg.norm(places - candidate, axis=1)))
        apart_m = float(np.linalg.norm(candidate[:3] - true[:3]))
        tone: Tone = 'good' if tolerance.accepts(candidate, true) else 'bad'
        pictures.append(_picture(place_map, place, f'{rank}: {number(apart_m)} m', tone))
    apart = np.linalg.norm(places[:, :3] - true[:3], axis=1)
    nearest = int(np.argmin(apart))
    caption = f'nearest place: {number(float(apart[nearest]))} m'
    caption += ', not on the map' if judged.unmatchable[row] else ''
    return Strip(_heading(judged, row), [*pictures, _picture(place_map, nearest, caption, 'good')])


def _heading(judged: Judged, row: int) -> str:
    probability, reason = judged.answers[row].probability, judged.answers[row].reason
    outcome = 'no fix' if reason is None else f'no fix ({reason.value})'
    if judged.fixed[row]:
        outcome = f'wrong fix, {number(float(judged.error_m[row]))} m off'
    sure = '' if math.isnan(probability) else f', probability {probability:.2f}'
    return f'{judged.elapsed_s[row]:.1f} s: {outcome}{sure}'


def _images(judged: Judged, rows: Sequence[np.int64], drives: Sequence[Drive]) -> dict[int, Image]:
    """The chosen queries' images by row, read once more; those that cannot be are left out."""
    found = {}
    for number_of_drive, drive in enumerate(drives):
        of_it = [int(row) for row in rows if judged.drive[row] == number_of_drive]
        wanted = {judged.answers[row].stamp_ns: row for row in of_it}
        for frame in drive.frames() if wanted else ():
            if frame.stamp_ns in wanted:
                row = wanted.pop(frame.stamp_ns)
                with suppress(ImageError):
                    found[row] = frame.load()
            if not wanted:
                break
    return found


def _picture(place_map: PlaceMap, place: int, caption: str, tone: Tone) -> Picture:
    with suppress(ImageError):
        return Picture.of(place_map.thumbnail(place), caption, tone)
    return Picture.of(None, f'{caption}, unreadable', tone)
