"""One camera frame in, where the robot is out: the stages in their order, timed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.describing.describe import Describer
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.image import check, shows_something
from vpr_ros.core.localizing.belief import Belief
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.estimate import (
    Fix,
    NoFix,
    Reason,
    estimate,
    estimate_belief,
    observe_belief,
)
from vpr_ros.core.localizing.retrieve import (
    Candidates,
    Prior,
    inside_prior,
    most_similar,
    retrieve,
)
from vpr_ros.core.localizing.rig import MountedCamera, looks_alike, places_seen
from vpr_ros.core.localizing.verify import Verifier, fix_of
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Descriptors, Frame, Poses


@dataclass(frozen=True, slots=True)
class Localization:
    """All that one frame told."""

    stamp_ns: int
    candidates: Candidates  # by belief where it is on, else by similarity
    outcome: Fix | NoFix
    latency_ms: dict[str, float]  # by stage: describe, search, belief, estimate, verify
    similar: Candidates  # by similarity alone
    base_T_camera: Poses | None = None  # [7], by which candidates are poses; None: the map's
    observed: NDArray[np.float64] | None = None  # see confidence.observe
    alone: bool = False  # without the drive


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
        cameras: Sequence[MountedCamera] = (MountedCamera(),),
    ) -> None:
        """cameras: this robot's; frames name theirs by its number here."""
        self.describer = describer
        self.place_map = place_map
        self.config = config or LocalizerConfig()
        self.cameras = list(cameras)
        self._places_seen: dict[tuple[bytes, bytes], NDArray[np.int64] | None] = {}
        self._verifier = Verifier(place_map) if place_map.has_landmarks else None
        # Made here and not at the first frame, which it would delay on a large map.
        self._belief = self._new_belief() if self.config.belief else None

    def _new_belief(self) -> Belief:
        place_map = self.place_map
        return Belief(place_map.grid, place_map.background, max_speed_mps=self.config.max_speed)

    def mounting(self, camera: int = 0) -> Poses:
        """base_T_camera [7] of a camera; raises ConfigError where it is not known."""
        found = self.cameras[camera].base_T_camera
        if found is not None:
            return found
        if camera:
            raise ConfigError(
                f'camera {camera + 1}: its mounting is not known; give base_T_camera, or tf'
            )
        return self.place_map.base_T_camera

    @property
    def needed_hw(self) -> tuple[int, int] | None:
        """Size of images (height, width) beyond which more pixels are of no use; None: none is."""
        if self._verifier is not None and self.config.use_landmarks:
            return None
        return self.describer.model.card.image_size

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
            camera=frame.camera,
        )
        latency_ms = {'describe': described.describe_ms} | located.latency_ms
        if self._verifier is None or not self.config.use_landmarks or not seen:
            return replace(located, latency_ms=latency_ms)
        located_s = time.perf_counter()
        outcome = self._by_landmarks(self._verifier, frame, located)
        latency_ms['verify'] = (time.perf_counter() - located_s) * 1e3
        observed = located.observed if outcome is located.outcome else None
        return replace(located, outcome=outcome, latency_ms=latency_ms, observed=observed)

    def _by_landmarks(
        self, verifier: Verifier, frame: Frame, located: Localization
    ) -> Fix | NoFix:
        """The pose by landmarks where they support one, else what retrieval said."""
        place_map = self.place_map
        similarity = located.candidates.similarity
        if len(similarity) == 0 or similarity.max() < self.config.min_similarity:
            return located.outcome
        calibration = self.cameras[frame.camera].calibration or place_map.header.camera
        assert calibration is not None  # of every map with landmarks
        places = located.candidates.place_index
        shown = None if located.alone else self._seen_by(frame.camera)
        if shown is not None:
            places = shown[places][shown[places] >= 0]
        verified = verifier.verify(frame.image, calibration, places, self.config)
        if verified is None or verified.probability < self.config.min_agreement:
            return located.outcome
        return fix_of(verified, base_T_camera=self.mounting(frame.camera))

    def locate(
        self,
        descriptor: Descriptors,
        *,
        stamp_ns: int,
        prior: Prior | None = None,
        travelled_m: float | None = None,
        alone: bool = False,
        seen: bool = True,
        camera: int = 0,
    ) -> Localization:
        """The same from a descriptor [D] that is there.

        seen: whether its image shows anything; camera: which took it. Raises ConfigError for a
        camera that cannot be used.
        """
        if alone or not self.config.belief:
            return self._locate_alone(descriptor, stamp_ns, prior, seen, camera)
        clock = [time.perf_counter()]
        row = self.place_map.index.similarities(descriptor)  # [N]
        similar = most_similar(row, self.place_map, count=self.config.candidates, prior=prior)
        clock.append(time.perf_counter())
        candidates = self._believe(row, similar, stamp_ns, prior, travelled_m, seen, camera)
        clock.append(time.perf_counter())
        outcome, observed = self._judge(candidates, similar, seen)
        clock.append(time.perf_counter())
        latency_ms = _stages(clock, 'search', 'belief', 'estimate')
        mounting = self.cameras[0].base_T_camera
        return Localization(stamp_ns, candidates, outcome, latency_ms, similar, mounting, observed)

    def _locate_alone(
        self,
        descriptor: Descriptors,
        stamp_ns: int,
        prior: Prior | None,
        seen: bool,
        camera: int,
    ) -> Localization:
        """From one image, without the drive."""
        mounting = self.mounting(camera) if camera else self.cameras[0].base_T_camera
        clock = [time.perf_counter()]
        similar = retrieve(descriptor, self.place_map, count=self.config.candidates, prior=prior)
        clock.append(time.perf_counter())
        outcome: Fix | NoFix = NoFix(Reason.NOTHING_SEEN)
        if seen:
            outcome = estimate(similar, self.place_map, self.config, base_T_camera=mounting)
        clock.append(time.perf_counter())
        latency_ms = _stages(clock, 'search', 'estimate')
        return Localization(stamp_ns, similar, outcome, latency_ms, similar, mounting, alone=True)

    def _seen_by(self, camera: int) -> NDArray[np.int64] | None:
        """The place that a camera sees at each place [N]; None for the place itself.

        Raises ConfigError for a camera of which the map shows nothing.
        """
        if camera == 0:
            return None
        first, other = self.mounting(), self.mounting(camera)
        key = first.tobytes(), other.tobytes()
        if key not in self._places_seen:
            self._places_seen[key] = self._compared(first, other)
        found = self._places_seen[key]
        if found is not None and not (found >= 0).any():
            raise ConfigError(
                f'camera {camera + 1}: no place of the map was taken looking its way; '
                'leave it out, or map the route the other way too'
            )
        return found

    def _compared(self, first: Poses, other: Poses) -> NDArray[np.int64] | None:
        if looks_alike(first, other) or not self.place_map.header.has_heading:
            return None
        radius_m = self.config.agreement_radius
        return places_seen(np.asarray(self.place_map.poses), first, other, radius_m=radius_m)

    def _believe(
        self,
        row: NDArray[np.float32],
        similar: Candidates,
        stamp_ns: int,
        prior: Prior | None,
        travelled_m: float | None,
        seen: bool,
        camera: int,
    ) -> Candidates:
        """The places of most weight after this frame's similarities [N]."""
        shown = self._seen_by(camera)
        if self._belief is None:
            self._belief = self._new_belief()
        if prior is not None:
            inside = inside_prior(self.place_map, prior)
            self._belief.restrict(inside, on_map=prior.on_map)
        self._belief.step(
            row,
            stamp_ns=stamp_ns,
            travelled_m=travelled_m,
            evidence=1.0 if seen else 0.0,
            camera=0 if shown is None else camera,
            places_seen=shown,
        )
        if len(similar) == 0:
            return similar
        places, weight = self._belief.places(self.config.candidates)
        similarity = row[places]
        if shown is not None:
            similarity = np.where(shown[places] >= 0, row[shown[places]], row.mean())
        return Candidates(places, similarity, weight)

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
            base_T_camera=self.cameras[0].base_T_camera,
        )
        return outcome, observed.values


def _stages(clock: list[float], *names: str) -> dict[str, float]:
    """Milliseconds of each stage, from the times between them."""
    return dict(zip(names, (np.diff(clock) * 1e3).tolist(), strict=True))
