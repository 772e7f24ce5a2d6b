"""One camera frame in, where the robot is out: the stages in their order, timed."""

import time
from dataclasses import dataclass

from vpr_ros.core.config import LocalizerConfig
from vpr_ros.core.describe import Describer
from vpr_ros.core.estimate import Fix, NoFix, estimate
from vpr_ros.core.image import check
from vpr_ros.core.place_map import PlaceMap
from vpr_ros.core.retrieve import Candidates, Prior, retrieve
from vpr_ros.core.types import Descriptors, Frame, Poses


@dataclass(frozen=True, slots=True)
class Localization:
    """All that one frame told."""

    stamp_ns: int
    candidates: Candidates
    outcome: Fix | NoFix
    latency_ms: dict[str, float]  # by stage: describe, search, estimate


class Localizer:
    """A model and a map, ready to localize frames."""

    def __init__(
        self,
        describer: Describer,
        place_map: PlaceMap,
        config: LocalizerConfig | None = None,
        *,
        base_T_camera: Poses | None = None,
    ) -> None:
        """base_T_camera: [7], this robot's mounting; None takes the mapping camera's."""
        self.describer = describer
        self.place_map = place_map
        self.config = config or LocalizerConfig()
        self.base_T_camera = base_T_camera

    def step(self, frame: Frame, *, prior: Prior | None = None) -> Localization:
        """Localize one frame, with a prior only inside it; raises ImageError."""
        started = time.perf_counter()
        descriptor = self.describer.describe([check(frame.image)])[0]
        described = time.perf_counter()
        located = self.locate(descriptor, stamp_ns=frame.stamp_ns, prior=prior)
        latency_ms = {'describe': (described - started) * 1e3} | located.latency_ms
        return Localization(located.stamp_ns, located.candidates, located.outcome, latency_ms)

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
