"""The calibration that a model's card ships: what it is fitted on, and fits that leave places out.

Fitted is on the first halves of five drives, as they are and with the robot carried away in their
middle, and on drives along the maps of other places. Rendered towns have no part in it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from driven import RADII_M, Bench, Pass, carried, drive_pass, folder_pass, localized, written
from inputs import ROOT

from vpr_ros.core.describing.model import Model
from vpr_ros.core.localizing.confidence import COMPARED, OBSERVATIONS, SHIPPED, Calibration
from vpr_ros.evaluating.fitting import fit

FOREIGN_FRAMES = 200
TWO_PARTS = ('corridor', 'gardenspoint_thumb', 'nordland_64x32')
ONLY_FOREIGN = ('rtabmap_corridor_loop', 'ie_tower_indoor')

LIGHT_BOUND = ('similarity', 'ratio', 'match_ratio')
"""Observations that change with light, weather and season; their weights are not fitted."""

SIMILARITY = 10.0
"""Weight of the similarity, which is not fitted.

It depends on light more than on the place, and the fit's drives hardly vary in light: fitted on
them it is 26, which asks of a night's images what none of them has.
"""
_START = replace(
    SHIPPED,
    weights=tuple(SIMILARITY if name == 'similarity' else 0.0 for name in OBSERVATIONS),
    bias=-SIMILARITY / 2,
)


@dataclass(frozen=True)
class Training:
    """Frames to fit on, F of them."""

    observed: np.ndarray  # [F, OBSERVED]
    right: np.ndarray  # [F], whether the best place was true
    mapped: np.ndarray  # [F], place of the map
    driven: np.ndarray  # [F], place of the images
    usual: tuple[float, ...] | None = None  # with which observations were compared

    def fitted(self, *, without: Sequence[str] = ()) -> Calibration:
        """Of all frames, or of those to which none of some places belongs."""
        chosen = ~np.isin(self.mapped, without) & ~np.isin(self.driven, without)
        left_out = f', without {" and ".join(without)}' if without else ''
        return fit(
            self.observed[chosen],
            self.right[chosen],
            prior=replace(_START, usual=self.usual),
            source=f'first halves{left_out}',
            held=LIGHT_BOUND,
        )

    def usual_of_right(self) -> tuple[float, ...]:
        """What right places have, in the order of USUAL: the median of the places' medians."""
        own = self.right & (self.mapped == self.driven)
        medians = [
            np.median(self.observed[own & (self.mapped == place)][:, COMPARED], axis=0)
            for place in np.unique(self.mapped[own])
        ]
        return tuple(np.median(medians, axis=0).round(2).tolist())


def benches(model: Model, data: Path, cache: Path | None, folder: Path) -> Iterator[Bench]:
    """The five mapped drives with their second ones, and two that only drive along other maps."""
    day, dusk = (
        drive_pass(ROOT / 'demo' / 'drives' / name, model, cache) for name in ('day', 'dusk')
    )
    found = [('demo', day, dusk, 5.0)]
    if (data / 'kitti_clip1').is_dir():
        kitti = drive_pass(data / 'kitti_clip1', model, cache)
        halves = [
            replace(kitti[start::2], stamps_ns=kitti.stamps_ns[start::2]) for start in (0, 1)
        ]
        found.append(('kitti_clip1', *halves, 3.0))
    for name in TWO_PARTS:
        if (data / name).is_dir():
            parts = (
                folder_pass(data / name / part, model, cache) for part in ('database', 'queries')
            )
            found.append((name, *parts, RADII_M[name]))
    for name in ONLY_FOREIGN:
        if (data / name).is_dir():
            parts = (
                ('images',) * 2 if (data / name / 'images').is_dir() else ('database', 'queries')
            )
            passes = (folder_pass(data / name / part, model, cache) for part in parts)
            found.append((name, *passes, 2.0))
    for name, mapped, driven, radius_m in found:
        place_map = written(mapped, model, folder / name)
        yield Bench(name, mapped, driven, radius_m, place_map)


def halves(driven: Pass) -> tuple[Pass, Pass]:
    """The first and the second half of a drive."""
    middle = len(driven) // 2
    return driven[:middle], driven[middle:]


def training(found: Sequence[Bench], *, risk_ratio: float) -> Training:
    """What is fitted on; with cells, compared with what is usual on each drive.

    risk_ratio: of the fixes that tell what is usual.
    """
    plain = _frames(found, _START)
    if not found[0].place_map.has_cells:
        return plain
    usual = plain.usual_of_right()
    compared = replace(plain.fitted(), usual=usual, risk_ratio=risk_ratio)
    return replace(_frames(found, compared), usual=usual)


def _frames(found: Sequence[Bench], calibration: Calibration) -> Training:
    """All frames of the drives to fit on, with the observations that a calibration gives them."""
    parts = [
        (
            localized(bench, driven, foreign=other is not bench, calibration=calibration),
            bench.name,
            other.name,
        )
        for bench in found
        for other in found
        for driven in _driven(bench, other)
    ]
    frames = [len(outcome.best) for outcome, _, _ in parts]
    return Training(
        np.concatenate([outcome.observed for outcome, _, _ in parts]),
        np.concatenate([outcome.best for outcome, _, _ in parts]),
        np.repeat([mapped for _, mapped, _ in parts], frames),
        np.repeat([driven for _, _, driven in parts], frames),
    )


def _driven(bench: Bench, other: Bench) -> tuple[Pass, ...]:
    """The drives of `other` that go along a map."""
    if other is not bench:
        return (halves(other.driven[:FOREIGN_FRAMES])[0],)
    if bench.name in ONLY_FOREIGN:
        return ()
    first = halves(bench.driven)[0]
    return first, carried(first)
