"""Which places to trust: by one image alone, or by the drive so far.

Two judges with one method. What one image gives is decided by thresholds; along a drive, a belief
weighs the places and a calibrated probability decides.
"""

from dataclasses import dataclass, replace
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
from vpr_ros.core.localizing.landmark_evidence import with_landmarks
from vpr_ros.core.localizing.match import log_likelihood
from vpr_ros.core.localizing.outcome import Fix, NoFix, Outcome, Reason
from vpr_ros.core.localizing.query import Query
from vpr_ros.core.localizing.retrieve import Candidates, Retrieved, Sought
from vpr_ros.core.localizing.rig import Rig
from vpr_ros.core.localizing.usual import Usual
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Descriptors

_PROBABLY = 0.75  # weight of "elsewhere" that tells; a drive starts with half of all there
_HEARD = 0.5  # share of what landmarks say that the drive remembers
_NARROWLY = np.log(4.0)  # of the weights of an answer and its rival


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge makes of a query."""

    candidates: Candidates  # best first, with weights
    outcome: Outcome
    shown: NDArray[np.int64]  # places whose images show what the query's camera sees, best first
    observed: NDArray[np.float64] | None = None  # see confidence.observe; None: not calibrated
    likeliest: Fix | None = None  # the answer, of a map with landmarks also a refused one
    least: float = 1.0  # probability from which the answer is a fix
    agreeing: NDArray[np.int64] | None = None  # places [A] that agree on it
    new: float = 0.0  # how much the image tells of what is usual on the drive, in [0, 1]

    def with_evidence(self, nats: float) -> Outcome:
        """What the outcome is after what landmarks say: see said_by_landmarks."""
        if self.likeliest is None or self.observed is None:
            return self.outcome
        probability = with_landmarks(self.likeliest.probability, nats, self.observed)
        if probability >= self.least:
            return replace(self.likeliest, probability=probability)
        if isinstance(self.outcome, Fix):
            return NoFix(Reason.DOES_NOT_FIT, probability)
        return replace(self.outcome, probability=probability)


class Judge(Protocol):
    """Weighs what retrieval found."""

    @property
    def needs_every_place(self) -> bool:
        """Whether `judge` wants the similarity of every place."""
        ...

    def sought(self, query: Query) -> Sought | None:
        """What else `judge` wants to be found; None for nothing."""
        ...

    def judge(self, query: Query, found: Retrieved, config: LocalizerConfig) -> Verdict:
        """Weigh the places; raises ConfigError for a camera that cannot be used."""
        ...

    def hear(self, verdict: Verdict, nats: float) -> None:
        """Take what landmarks say of the likeliest answer: see said_by_landmarks."""
        ...

    def conclude(self, query: Query, verdict: Verdict, outcome: Outcome) -> None:
        """Learn from the outcome that a verdict led to."""
        ...


class Alone:
    """Judges each image by itself and remembers nothing."""

    def __init__(self, place_map: PlaceMap) -> None:
        """place_map: that is searched."""
        self._has_heading = place_map.header.has_heading

    def sought(self, query: Query) -> None:
        """None: a single image needs no further places."""

    @property
    def needs_every_place(self) -> bool:
        """Always false: the most similar places are enough."""
        return False

    def judge(self, query: Query, found: Retrieved, config: LocalizerConfig) -> Verdict:
        """Weigh the places by their similarity."""
        if len(found.similar) == 0:
            return _nothing_inside(query, found)
        candidates = weighed(found.similar, config)
        if not query.shows_something:
            return Verdict(candidates, NoFix(Reason.NOTHING_SEEN), candidates.place_index)
        outcome = estimate(candidates, config, has_heading=self._has_heading)
        return Verdict(candidates, outcome, candidates.place_index)

    def hear(self, verdict: Verdict, nats: float) -> None:
        """Do nothing, because nothing is remembered."""

    def conclude(self, query: Query, verdict: Verdict, outcome: Outcome) -> None:
        """Do nothing, because nothing is remembered."""


class Drive:
    """Judges each image by the drive so far."""

    def __init__(
        self, place_map: PlaceMap, rig: Rig, calibration: Calibration, *, max_speed_mps: float
    ) -> None:
        """max_speed_mps: bound on the robot's speed; 0 takes twice the mapping speed."""
        self._map = place_map
        self._rig = rig
        self._calibration = calibration
        self._belief = Belief(place_map.grid, place_map.background, max_speed_mps=max_speed_mps)
        self._usual: dict[int, Usual] = {}  # by camera

    def reset(self) -> None:
        """Forget the drive so far."""
        self._belief.reset()
        self._usual = {}

    def continue_from(self, before: 'Drive', rows: NDArray[np.int64]) -> float:
        """Continue a drive from another map; returns the share of its weight that is kept.

        rows: [N], the row of each place there; -1 for a place that is new.
        """
        standing = before._belief.standing()
        self._belief.begin_at(standing.on(rows))
        if before._calibration.usual == self._calibration.usual:
            self._usual = before._usual
        return standing.share_kept(rows)

    def sought(self, query: Query) -> Sought | None:
        """Places like what this image alone has; of a small map all places are compared."""
        if self.needs_every_place:
            return None
        contrast = self._belief.contrast(query.descriptor, self._camera(query))
        return Sought(contrast, self._belief.looks_at)

    @property
    def needs_every_place(self) -> bool:
        """True for a small map."""
        return self._belief.needs_every_place

    def judge(self, query: Query, found: Retrieved, config: LocalizerConfig) -> Verdict:
        """Weigh the places by the belief after this image."""
        candidates, shown, novelty = self._weigh(query, found, config)
        if len(found.similar) == 0:
            return _nothing_inside(query, found)
        if not query.shows_something:
            return Verdict(candidates, NoFix(Reason.NOTHING_SEEN), shown)
        has_heading = self._map.header.has_heading
        mode = strongest_mode(candidates, config, has_heading=has_heading)
        observed = observe_mode(candidates, found.similar, mode, config)
        is_matched = found.similar.match is not None
        if is_matched:
            observed = self._usual_of(query).compared(observed)
        probability = float(self._calibration.probability(observed))
        if novelty < IDENTICAL and query.travelled_m is None:
            # A robot that stands in a simulator, or a camera that has stopped: nothing tells.
            return Verdict(candidates, NoFix(Reason.REPEATED, probability), shown, observed)
        least = self._calibration.least(config.max_false_fix_rate)
        is_probable = probability >= least
        fix = None
        if is_probable or self._map.has_landmarks:  # which may yet speak for it
            drawn = drawn_to_matches(candidates, found.similar)
            fix = fix_at(drawn, mode, probability, config, has_heading=has_heading)
        outcome: Outcome = NoFix(self._doubt(observed), probability)
        if is_probable and fix is not None:
            outcome = fix
        agreeing = candidates.place_index[mode.agreeing]
        new = novelty if is_matched else 0.0
        return Verdict(candidates, outcome, shown, observed, fix, least, agreeing, new)

    def hear(self, verdict: Verdict, nats: float) -> None:
        """See Judge.hear: of several images in a row it counts in part, for they show the same."""
        if verdict.agreeing is not None and nats:
            self._belief.hear(verdict.agreeing, _HEARD * nats)

    def conclude(self, query: Query, verdict: Verdict, outcome: Outcome) -> None:
        """See Judge.conclude: a fix tells how alike images and right places look on this drive."""
        if verdict.observed is None or verdict.agreeing is None:
            return
        is_fix = isinstance(outcome, Fix) and outcome.place_index in verdict.agreeing
        usual = self._usual_of(query)
        usual.take(verdict.observed, is_fix=is_fix, counts=verdict.new)

    def _usual_of(self, query: Query) -> Usual:
        camera = self._camera(query)
        if camera not in self._usual:
            self._usual[camera] = Usual(self._calibration)
        return self._usual[camera]

    def _doubt(self, observed: NDArray[np.float64]) -> Reason:
        """Why an answer with these observations is refused."""
        if self._belief.elsewhere > _PROBABLY:
            return Reason.ELSEWHERE
        ahead = observed[-1]  # see confidence.observe
        if ahead <= 0:
            return Reason.LOOKS_ELSEWHERE
        return Reason.LOOK_ALIKES if ahead < _NARROWLY else Reason.NOT_SURE

    def _weigh(
        self, query: Query, found: Retrieved, config: LocalizerConfig
    ) -> tuple[Candidates, NDArray[np.int64], float]:
        """The places of most weight after this image, and what its camera sees of them.

        And how new the image is: see Belief.step.
        """
        shown = self._rig.places_seen(query.camera)
        if query.prior is not None and found.inside is not None:
            self._belief.restrict(found.inside, on_map=query.prior.on_map)
        similar = found.similar
        told = None
        if similar.match is not None:
            more = self._usual_of(query).match_difference
            told = similar.place_index, log_likelihood(similar.match, more_than_usual=more)
        novelty = self._belief.step(
            query.descriptor if found.row is None else found.row,
            stamp_ns=query.stamp_ns,
            likely=found.likely,
            travelled_m=query.travelled_m,
            evidence=1.0 if query.shows_something else 0.0,
            camera=self._camera(query),
            places_seen=shown,
            told=told,
        )
        places, weight = self._belief.places(config.candidates)
        seen = places if shown is None else shown[places]  # -1 where nothing is mapped
        similarity = self._similarity(query.descriptor, found.row, seen)
        # A belief is about places as the robot's first camera took them.
        poses = self._rig.base_poses(0, places)
        return Candidates(places, similarity, poses, weight), seen[seen >= 0], novelty

    def _camera(self, query: Query) -> int:
        """The camera that a query's counts as: cameras that look the same way are one."""
        return 0 if self._rig.places_seen(query.camera) is None else query.camera

    def _similarity(
        self, query: Descriptors, row: NDArray[np.float32] | None, seen: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Similarity of a query [D] to what is seen at places [K], else its mean to all."""
        if row is not None:
            return np.where(seen >= 0, row[seen], row.mean())
        similarity = np.full(len(seen), query @ self._map.background.mean, np.float32)
        is_seen = seen >= 0
        similarity[is_seen] = self._map.index.similarities_of(seen[is_seen], query)
        return similarity


def _nothing_inside(query: Query, found: Retrieved) -> Verdict:
    """Only a prior can leave no place at all."""
    reason = Reason.NOTHING_SIMILAR if query.prior is None else query.prior.excluding
    return Verdict(found.similar, NoFix(reason), found.similar.place_index)
