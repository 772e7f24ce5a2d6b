"""Whether fixes and true poses agree but for the frame, which is no fault of a match.

Two runs of a SLAM system call their frames `map` alike, and each begins where its robot stood.
Every fix on the map of one is then false by the poses of the other. A single turn and shift that
makes most of them right cannot be chance, so it tells that the frames differ, and how.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Plane = NDArray[np.complex128]  # x + iy

_FEWEST = 10  # pairs
_AGREEING, _AGREEING_SCALED = 0.6, 0.8  # share of the pairs
_TIMES_RIGHT = 2.0  # as many as are right without
_EXTENT_RADII, _EXTENT_RADII_SCALED = 6.0, 12.0
"""Radii that the agreeing ones span: what stands in one place fits anywhere, and on a short line
some scale fits much."""
_APART_RADII = 2.0  # between the two pairs of a trial
_TRIALS = 300  # of two pairs each
_MOST = 1000  # pairs that are counted in a trial


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherFrame:
    """What has to be done to the true positions, in this order, for most fixes to be right."""

    is_mirrored: bool  # x and y exchanged, as of x north and y east
    scale: float
    turned_deg: float  # to the left
    moved_m: tuple[float, float, float]
    agreeing: int  # fixes that are right then
    fixes: int

    def __str__(self) -> str:
        """In words, to follow `if the true positions are`."""
        moved = ', '.join(f'{round(value, 1) + 0.0:.1f}' for value in self.moved_m)
        return ', '.join(
            [
                *(['exchanged in x and y'] if self.is_mirrored else []),
                *([f'multiplied by {self.scale:.3g}'] if self.scale != 1.0 else []),
                f'turned by {round(self.turned_deg)} deg and moved by ({moved}) m',
            ]
        )

    def as_json(self) -> dict[str, Any]:
        """As `evaluate_bag --json` writes it."""
        return {
            'mirrored': self.is_mirrored,
            'scale': self.scale,
            'turned_deg': self.turned_deg,
            'moved_m': list(self.moved_m),
            'agreeing': self.agreeing,
            'fixes': self.fixes,
        }


def other_frame_of(fixes_m: Array, truth_m: Array, *, radius_m: float) -> OtherFrame | None:
    """The frame in which most of the fixes [Q, 3] are within the radius of the truth [Q, 3].

    None where there are few, where they are right as they are, or where nothing makes them right.
    """
    count = len(fixes_m)
    if count < _FEWEST:
        return None
    right = int((np.linalg.norm(fixes_m - truth_m, axis=1) <= radius_m).sum())
    least = max(_TIMES_RIGHT * right, _FEWEST)
    if max(least, _AGREEING * count) > count:
        return None
    for is_mirrored, keeps_scale in ((False, True), (False, False), (True, True)):
        true_m = truth_m[:, [1, 0, 2]] if is_mirrored else truth_m
        fitted = _fitted(fixes_m, true_m, radius_m, keeps_scale=keeps_scale)
        if fitted is None:
            continue
        factor, moved_m, agrees = fitted
        share = _AGREEING if keeps_scale else _AGREEING_SCALED
        extent_m = radius_m * (_EXTENT_RADII if keeps_scale else _EXTENT_RADII_SCALED)
        if agrees.sum() < max(least, share * count):
            continue
        if np.ptp(fixes_m[agrees], axis=0).max() > extent_m:
            return OtherFrame(
                is_mirrored=is_mirrored,
                scale=1.0 if keeps_scale else float(abs(factor)),
                turned_deg=float(np.degrees(np.angle(factor))),
                moved_m=moved_m,
                agreeing=int(agrees.sum()),
                fixes=count,
            )
    return None


def _fitted(
    fixes_m: Array, truth_m: Array, radius_m: float, *, keeps_scale: bool
) -> tuple[complex, tuple[float, float, float], NDArray[np.bool_]] | None:
    """The best turn with scale, the shift after it, and which pairs [Q] agree then."""
    found, true = fixes_m[:, 0] + 1j * fixes_m[:, 1], truth_m[:, 0] + 1j * truth_m[:, 1]
    rows = np.linspace(0, len(found) - 1, min(len(found), _MOST)).astype(np.int64)
    best, most = None, 0
    for factor, shift in _trials(found[rows], true[rows], radius_m, keeps_scale=keeps_scale):
        count = int((np.abs(found[rows] - factor * true[rows] - shift) <= radius_m).sum())
        if count > most:
            best, most = (factor, shift), count
    if best is None:
        return None
    agrees = np.abs(found - best[0] * true - best[1]) <= radius_m
    factor, shift = _least_squares(found[agrees], true[agrees], keeps_scale=keeps_scale)
    agrees = np.abs(found - factor * true - shift) <= radius_m
    if not agrees.any():
        return None
    up_m = fixes_m[:, 2] - abs(factor) * truth_m[:, 2]
    raised_m = float(np.median(up_m[agrees]))
    agrees &= np.abs(up_m - raised_m) <= radius_m
    return factor, (float(shift.real), float(shift.imag), raised_m), agrees


def _trials(
    found: Plane, true: Plane, radius_m: float, *, keeps_scale: bool
) -> Iterator[tuple[complex, complex]]:
    """Turns with scale, and shifts, by two pairs each that lie far enough apart."""
    first, second = np.random.default_rng(0).integers(len(found), size=(2, _TRIALS))
    apart, true_apart = found[second] - found[first], true[second] - true[first]
    tells = (np.abs(apart) > _APART_RADII * radius_m) & (np.abs(true_apart) > 0)
    if keeps_scale:
        tells &= np.abs(np.abs(apart) - np.abs(true_apart)) <= 2 * radius_m
    factors = apart[tells] / true_apart[tells]
    if keeps_scale:
        factors /= np.abs(factors)
    middles = (found[first] + found[second])[tells] / 2
    shifts = middles - factors * (true[first] + true[second])[tells] / 2
    yield from zip(factors.tolist(), shifts.tolist(), strict=True)


def _least_squares(found: Plane, true: Plane, *, keeps_scale: bool) -> tuple[complex, complex]:
    middle, true_middle = found.mean(), true.mean()
    factor = complex(np.vdot(true - true_middle, found - middle))
    size = abs(factor) if keeps_scale else float((np.abs(true - true_middle) ** 2).sum())
    factor = factor / size if size else 1.0 + 0j
    return factor, complex(middle - factor * true_middle)
