"""One camera frame in, where the robot is out: the stages in their order, timed."""

import time
from dataclasses import dataclass, replace

from vpr_ros.core.camera import Camera
from vpr_ros.core.config import LocalizerConfig
from vpr_ros.core.describe import Describer
from vpr_ros.core.estimate import Fix, NoFix, estimate
from vpr_ros.core.image import check
from vpr_ros.core.place_map import PlaceMap
from vpr_ros.core.retrieve import Candidates, Prior, retrieve
from vpr_ros.core.types import Descriptors, Frame, Image, Poses
from vpr_ros.core.verify import Verifier, fix_of


@dataclass(frozen=True, slots=True)
class Localization:
    """All that one frame told."""

    stamp_ns: int
    candidates: Candidates
    outcome: Fix | NoFix
    latency_ms: dict[str, float]  # by stage: describe, search, estimate, verify


class Localizer:
    """A model and a map, ready to localize frames."""

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

    def step(self, frame: Frame, *, prior: Prior | None = None) -> Localization:
        """Localize one frame, with a prior only inside it; raises ImageError."""
        started = time.perf_counter()
        descriptor = self.describer.describe([check(frame.image)])[0]
        described = time.perf_counter()
        located = self.locate(descriptor, stamp_ns=frame.stamp_ns, prior=prior)
        latency_ms = {'describe': (described - started) * 1e3} | located.latency_ms
        if self._verifier is None or not self.config.use_landmarks:
            return replace(located, latency_ms=latency_ms)
        located_s = time.perf_counter()
        outcome = self._by_landmarks(self._verifier, frame.image, located)
        latency_ms['verify'] = (time.perf_counter() - located_s) * 1e3
        return replace(located, outcome=outcome, latency_ms=latency_ms)

    def _by_landmarks(
        self, verifier: Verifier, image: Image, located: Localization
    ) -> Fix | NoFix:
        """The pose by landmarks where they support one, else what retrieval said."""
        place_map = self.place_map
        similarity = located.candidates.similarity
        if len(similarity) == 0 or similarity[0] < self.config.min_similarity:
            return located.outcome
        camera = self.camera or place_map.header.camera
        assert camera is not None  # of every map with landmarks
        verified = verifier.verify(image, camera, located.candidates.place_index, self.config)
        if verified is None or verified.probability < self.config.min_agreement:
            return located.outcome
        mounting = place_map.base_T_camera if self.base_T_camera is None else self.base_T_camera
        return fix_of(verified, base_T_camera=mounting)

    def locate(
        self, descriptor: Descriptors, *, stamp_ns: int, prior: Prior | None = None
    ) -> Localization:
        """The same from a descriptor [D] that is already there."""
        started = time.perf_counter()
        candidates = retrieve(
            descriptor, self.place_map, count=self.config.candidates, prior=prior
        )
        searched = time.perf_counter()
        outcome = estimate(
            candidates, self.place_map, self.config, base_T_camera=self.base_T_camera
        )
        ended = time.perf_counter()
        latency_ms = {'search': (searched - started) * 1e3, 'estimate': (ended - searched) * 1e3}
        return Localization(stamp_ns, candidates, outcome, latency_ms)
