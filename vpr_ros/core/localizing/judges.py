"""Which places to trust: by one image alone, or by the drive so far.

Two judges with one method. What one image gives is decided by thresholds; along a drive, a belief
weighs the places and a calibrated probability decides.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.localizing.belief import IDENTICAL, Belief
from vpr_ros.core.localizing.confidence import Calibration
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.estimate import (
    drawn_to_matches,
    estimate,
    fix_at,
    observe_mode,
    strongest_mode,
    weighed,
)
from vpr_ros.core.localizing.match import log_likelihood
from vpr_ros.core.localizing.outcome import NoFix, Outcome, Reason
from vpr_ros.core.localizing.query import Query
from vpr_ros.core.localizing.retrieve import Candidates, Retrieved
from vpr_ros.core.localizing.rig import Rig
from vpr_ros.core.mapping.place_map import PlaceMap

_MOST = 0.5
_NARROWLY = np.log(4.0)  # of the weights of an answer and its rival


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge makes of a query."""

    candidates: Candidates  # best first, with weights
    outcome: Outcome
    shown: NDArray[np.int64]  # places whose images show what the query's camera sees, best first
    observed: NDArray[np.float64] | None = None  # see confidence.observe; None: not calibrated


class Judge(Protocol):
    """Weighs what retrieval found."""

    needs_every_place: bool
    """Whether `judge` wants the similarity of every place."""

    def judge(self, query: Query, found: Retrieved, config: LocalizerConfig) -> Verdict:
        """Weigh the places; raises ConfigError for a camera that cannot be used."""
        ...


class Alone:
    """Judges each image by itself and remembers nothing."""

    needs_every_place = False

    def __init__(self, place_map: PlaceMap) -> None:
        """place_map: that is searched."""
        self._has_heading = place_map.header.has_heading

    def judge(self, query: Query, found: Retrieved, config: LocalizerConfig) -> Verdict:
        """Weigh the places by their similarity."""
        if len(found.similar) == 0:
            return _nothing_inside(query, found)
        candidates = weighed(found.similar, config)
        if not query.shows_something:
            return Verdict(candidates, NoFix(Reason.NOTHING_SEEN), candidates.place_index)
        outcome = estimate(candidates, config, has_heading=self._has_heading)
        return Verdict(candidates, outcome, candidates.place_index)


class Drive:
    """Judges each image by the drive so far."""

    needs_every_place = True

    def __init__(
        self, place_map: PlaceMap, rig: Rig, calibration: Calibration, *, max_speed_mps: float
    ) -> None:
        """max_speed_mps: bound on the robot's speed; 0 takes twice the mapping speed."""
        self._map = place_map
        self._rig = rig
        self._calibration = calibration
        self._belief = Belief(place_map.grid, place_map.background, max_speed_mps=max_speed_mps)

    def reset(self) -> None:
        """Forget the drive so far."""
        self._belief.reset()

    def continue_from(self, before: 'Drive', rows: NDArray[np.int64]) -> float:
        """Go on from a drive on another map; returns the share of its weight that is kept.

        rows: [N], the row of each place there; -1 for a place that is new.
        """
        standing = before._belief.standing()
        self._belief.begin_at(standing.on(rows))
        return standing.share_kept(rows)

    def judge(self, query: Query, found: Retrieved, config: LocalizerConfig) -> Verdict:
        """Weigh the places by the belief after this image."""
        candidates, shown, is_identical = self._weigh(query, found, config)
        if len(found.similar) == 0:
            return _nothing_inside(query, found)
        if not query.shows_something:
            return Verdict(candidates, NoFix(Reason.NOTHING_SEEN), shown)
        has_heading = self._map.header.has_heading
        mode = strongest_mode(candidates, config, has_heading=has_heading)
        observed = observe_mode(candidates, found.similar, mode, config)
        probability = float(self._calibration.probability(observed))
        if is_identical and query.travelled_m is None:
            # A robot that stands in a simulator, or a camera that has stopped: nothing tells.
            return Verdict(candidates, NoFix(Reason.REPEATED, probability), shown, observed)
        if probability < self._calibration.least(config.max_false_fix_rate):
            reason = self._doubt(observed)
            return Verdict(candidates, NoFix(reason, probability), shown, observed)
        drawn = drawn_to_matches(candidates, found.similar)
        fix = fix_at(drawn, mode, probability, config, has_heading=has_heading)
        return Verdict(candidates, fix, shown, observed)

    def _doubt(self, observed: NDArray[np.float64]) -> Reason:
        """Why an answer with these observations is refused."""
        if self._belief.elsewhere > _MOST:
            return Reason.ELSEWHERE
        ahead = observed[-1]  # see confidence.observe
        if ahead <= 0:
            return Reason.LOOKS_ELSEWHERE
        return Reason.LOOK_ALIKES if ahead < _NARROWLY else Reason.NOT_SURE

    def _weigh(
        self, query: Query, found: Retrieved, config: LocalizerConfig
    ) -> tuple[Candidates, NDArray[np.int64], bool]:
        """The places of most weight after this image, and what its camera sees of them.

        And whether the image is the camera's last one again.
        """
        row, shown = found.row, self._rig.places_seen(query.camera)
        if row is None:
            raise ValueError('a drive is judged by the similarity of every place')
        if query.prior is not None:
            inside = query.prior.allows(self._map.poses[:, :3])
            self._belief.restrict(inside, on_map=query.prior.on_map)
        similar = found.similar
        told = None
        if similar.match is not None:
            told = similar.place_index, log_likelihood(similar.match)
        novelty = self._belief.step(
            row,
            stamp_ns=query.stamp_ns,
            travelled_m=query.travelled_m,
            evidence=1.0 if query.shows_something else 0.0,
            camera=0 if shown is None else query.camera,
            places_seen=shown,
            told=told,
        )
        places, weight = self._belief.places(config.candidates)
        seen = places if shown is None else shown[places]  # -1 where nothing is mapped
        similarity = np.where(seen >= 0, row[seen], row.mean())
        # A belief is about places as the robot's first camera took them.
        poses = self._rig.base_poses(0, places)
        return Candidates(places, similarity, poses, weight), seen[seen >= 0], novelty < IDENTICAL


def _nothing_inside(query: Query, found: Retrieved) -> Verdict:
    """Only a prior can leave no place at all."""
    reason = Reason.NOTHING_SIMILAR if query.prior is None else query.prior.excluding
    return Verdict(found.similar, NoFix(reason), found.similar.place_index)
