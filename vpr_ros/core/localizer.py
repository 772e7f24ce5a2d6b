"""One camera frame in, where the robot is out: the stages in their order, timed."""

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.belief import Belief
from vpr_ros.core.camera import Camera
from vpr_ros.core.config import LocalizerConfig
from vpr_ros.core.describe import Describer
from vpr_ros.core.estimate import (
    Fix,
    NoFix,
    Reason,
    estimate,
    estimate_belief,
    observe_belief,
)
from vpr_ros.core.image import check, shows_something
from vpr_ros.core.place_map import PlaceMap
from vpr_ros.core.retrieve import Candidates, Prior, inside_prior, most_similar, retrieve
from vpr_ros.core.types import Descriptors, Frame, Image, Poses
from vpr_ros.core.verify import Verifier, fix_of


@dataclass(frozen=True, slots=True)
class Localization:
    """All that one frame told."""

    stamp_ns: int
    candidates: Candidates  # by belief where it is on, else by similarity
    outcome: Fix | NoFix
    latency_ms: dict[str, float]  # by stage: describe, search, belief, estimate, verify
    similar: Candidates  # by similarity alone
    observed: NDArray[np.float64] | None = None  # [4], see confidence.OBSERVATIONS


@dataclass(frozen=True, slots=True)
class Described:
    """A frame that is described and not localized yet."""

    frame: Frame
    descriptor: Descriptors  # [D]
    shows_something: bool
    describe_ms: float


class Localizer:
    """A model and a map, ready to localize frames; remembers the drive."""

    def __init__(
        self,
        describer: Describer,
        place_map: PlaceMap,
        config: LocalizerConfig | None = None,
        *,
        base_T_camera: Poses | None = None,
        camera: Camera | None = None,
    ) -> None:
        """base_T_camera: [7], this robot's mounting; None takes the mapping camera's.

        camera: this robot's calibration, None takes the mapping camera's.
        """
        self.describer = describer
        self.place_map = place_map
        self.config = config or LocalizerConfig()
        self.base_T_camera = base_T_camera
        self.camera = camera
        self._verifier = Verifier(place_map) if place_map.has_landmarks else None
        # Made here and not at the first frame, which it would delay on a large map.
        self._belief = self._new_belief() if self.config.belief else None

    def _new_belief(self) -> Belief:
        place_map = self.place_map
        return Belief(place_map.grid, place_map.background, max_speed_mps=self.config.max_speed)

    def reset(self) -> None:
        """Forget the drive so far."""
        if self._belief is not None:
            self._belief.reset()

    def step(
        self,
        frame: Frame,
        *,
        prior: Prior | None = None,
        travelled_m: float | None = None,
        alone: bool = False,
    ) -> Localization:
        """Localize the next frame of the drive; raises ImageError.

        prior: only inside it; travelled_m: by odometry since the last frame; alone: without the
        drive, which it leaves as it was.
        """
        described = self.describe(frame)
        return self.step_described(described, prior=prior, travelled_m=travelled_m, alone=alone)

    def describe(self, frame: Frame) -> Described:
        """The first half of `step`, which needs nothing of the drive and may run ahead of it.

        Raises ImageError.
        """
        started = time.perf_counter()
        image = check(frame.image)
        shows = shows_something(image)
        descriptor = self.describer.describe([image])[0]
        return Described(frame, descriptor, shows, (time.perf_counter() - started) * 1e3)

    def step_described(
        self,
        described: Described,
        *,
        prior: Prior | None = None,
        travelled_m: float | None = None,
        alone: bool = False,
    ) -> Localization:
        """The second half of `step`, frame after frame of the drive."""
        frame, seen = described.frame, described.shows_something
        located = self.locate(
            described.descriptor,
            stamp_ns=frame.stamp_ns,
            prior=prior,
            travelled_m=travelled_m,
            alone=alone,
            seen=seen,
        )
        latency_ms = {'describe': described.describe_ms} | located.latency_ms
        if self._verifier is None or not self.config.use_landmarks or not seen:
            return replace(located, latency_ms=latency_ms)
        located_s = time.perf_counter()
        outcome = self._by_landmarks(self._verifier, frame.image, located)
        latency_ms['verify'] = (time.perf_counter() - located_s) * 1e3
        observed = located.observed if outcome is located.outcome else None
        return replace(located, outcome=outcome, latency_ms=latency_ms, observed=observed)

    def _by_landmarks(
        self, verifier: Verifier, image: Image, located: Localization
    ) -> Fix | NoFix:
        """The pose by landmarks where they support one, else what retrieval said."""
        place_map = self.place_map
        similarity = located.candidates.similarity
        if len(similarity) == 0 or similarity.max() < self.config.min_similarity:
            return located.outcome
        camera = self.camera or place_map.header.camera
        assert camera is not None  # of every map with landmarks
        verified = verifier.verify(image, camera, located.candidates.place_index, self.config)
        if verified is None or verified.probability < self.config.min_agreement:
            return located.outcome
        mounting = place_map.base_T_camera if self.base_T_camera is None else self.base_T_camera
        return fix_of(verified, base_T_camera=mounting)

    def locate(
        self,
        descriptor: Descriptors,
        *,
        stamp_ns: int,
        prior: Prior | None = None,
        travelled_m: float | None = None,
        alone: bool = False,
        seen: bool = True,
    ) -> Localization:
        """The same from a descriptor [D] that is there; seen: whether its image shows anything."""
        if alone or not self.config.belief:
            return self._locate_alone(descriptor, stamp_ns, prior, seen)
        clock = [time.perf_counter()]
        row = self.place_map.index.similarities(descriptor)  # [N]
        similar = most_similar(row, self.place_map, count=self.config.candidates, prior=prior)
        clock.append(time.perf_counter())
        candidates = self._believe(row, similar, stamp_ns, prior, travelled_m, seen)
        clock.append(time.perf_counter())
        outcome, observed = self._judge(candidates, similar, seen)
        clock.append(time.perf_counter())
        latency_ms = _stages(clock, 'search', 'belief', 'estimate')
        return Localization(stamp_ns, candidates, outcome, latency_ms, similar, observed)

    def _locate_alone(
        self, descriptor: Descriptors, stamp_ns: int, prior: Prior | None, seen: bool
    ) -> Localization:
        """From one image, without the drive."""
        clock = [time.perf_counter()]
        similar = retrieve(descriptor, self.place_map, count=self.config.candidates, prior=prior)
        clock.append(time.perf_counter())
        outcome: Fix | NoFix = NoFix(Reason.NOTHING_SEEN)
        if seen:
            outcome = estimate(
                similar, self.place_map, self.config, base_T_camera=self.base_T_camera
            )
        clock.append(time.perf_counter())
        latency_ms = _stages(clock, 'search', 'estimate')
        return Localization(stamp_ns, similar, outcome, latency_ms, similar)

    def _believe(
        self,
        row: NDArray[np.float32],
        similar: Candidates,
        stamp_ns: int,
        prior: Prior | None,
        travelled_m: float | None,
        seen: bool,
    ) -> Candidates:
        """The places of most weight after this frame's similarities [N]."""
        if self._belief is None:
            self._belief = self._new_belief()
        if prior is not None:
            self._belief.restrict(inside_prior(self.place_map, prior))
        self._belief.step(
            row, stamp_ns=stamp_ns, travelled_m=travelled_m, evidence=1.0 if seen else 0.0
        )
        if len(similar) == 0:
            return similar
        places, weight = self._belief.places(self.config.candidates)
        return Candidates(places, row[places], weight)

    def _judge(
        self, candidates: Candidates, similar: Candidates, seen: bool
    ) -> tuple[Fix | NoFix, NDArray[np.float64] | None]:
        if len(similar) == 0:
            return NoFix(Reason.OUTSIDE_PRIOR), None
        if not seen:
            return NoFix(Reason.NOTHING_SEEN), None
        observed = observe_belief(candidates, similar, self.place_map, self.config)
        outcome = estimate_belief(
            candidates,
            observed,
            float(self.place_map.calibration.probability(observed.values)),
            self.place_map,
            self.config,
            base_T_camera=self.base_T_camera,
        )
        return outcome, observed.values


def _stages(clock: list[float], *names: str) -> dict[str, float]:
    """Milliseconds of each stage, from the times between them."""
    return dict(zip(names, (np.diff(clock) * 1e3).tolist(), strict=True))
