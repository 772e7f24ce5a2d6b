"""One camera frame in, where the robot is out: describe, search, match, judge, refine, answer."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from math import ceil

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.describing.describe import Describer
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.image import check, shows_something
from vpr_ros.core.localizing.belief import speed_bound_mps
from vpr_ros.core.localizing.confidence import Calibration
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.judges import Alone, Drive, Judge, Verdict
from vpr_ros.core.localizing.kept_calibrations import calibration_of
from vpr_ros.core.localizing.match import matched
from vpr_ros.core.localizing.outcome import Fix, NoFix, Outcome, Reason
from vpr_ros.core.localizing.query import Prior, Query
from vpr_ros.core.localizing.retrieve import Candidates, Retrieved, retrieve
from vpr_ros.core.localizing.rig import MountedCamera, Rig
from vpr_ros.core.localizing.sightings import SeenLandmarks
from vpr_ros.core.localizing.verify import Verifier
from vpr_ros.core.mapping.described import describe_as_kept
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Frame
from vpr_ros.core.virtual_camera import VirtualCamera


@dataclass(frozen=True, slots=True)
class Localization:
    """All that one frame told."""

    stamp_ns: int
    candidates: Candidates  # as the judge ranks them
    outcome: Outcome
    latency_ms: dict[str, float]  # by stage: describe, search, match, judge, landmarks
    similar: Candidates  # by this image alone
    observed: NDArray[np.float64] | None = None
    """See confidence.observe; before landmarks by cells spoke. None: not calibrated."""
    landmarks: SeenLandmarks | None = None
    """Set on a map with landmarks by cells, if some of them agree on a pose."""

    @property
    def shown_place(self) -> int | None:
        """The place of the fix, or else the likeliest one; None where there is none."""
        if isinstance(self.outcome, Fix):
            return self.outcome.place_index
        return int(self.candidates.place_index[0]) if len(self.candidates) else None


class Localizer:
    """A model and a map, ready to localize frames; remembers the drive."""

    def __init__(
        self,
        describer: Describer,
        place_map: PlaceMap,
        config: LocalizerConfig | None = None,
        *,
        cameras: Sequence[MountedCamera] = (MountedCamera(),),
        calibration: Calibration | None = None,
    ) -> None:
        """cameras: this robot's; frames name theirs by its number here.

        calibration: None takes the map's; raises MapError where that is damaged.
        """
        self.describer = describer
        self.place_map = place_map
        self.calibration = calibration or calibration_of(place_map.header, folder=place_map.folder)
        self.config = config or LocalizerConfig()
        self.rig = Rig(place_map, cameras, radius_m=self.config.agreement_radius)
        self._verifier = Verifier(place_map) if place_map.has_landmarks else None
        self._alone = Alone(place_map)
        # Made here and not at the first frame, which it would delay on a large map.
        self._drive = self._new_drive() if self.config.belief else None

    @property
    def needed_hw(self) -> tuple[int, int] | None:
        """Smallest image (height, width) in pixels that loses nothing; None: the full size."""
        verifier = self._verifier
        if verifier is not None and not verifier.by_cells and self.config.use_landmarks:
            return None
        height, width = self.describer.model.card.image_size
        zoom = self.rig.zoom if self.config.virtual_camera else 1.0
        return ceil(height * zoom), ceil(width * zoom)

    @property
    def bound_mps(self) -> float:
        """Bound on the robot's speed."""
        return speed_bound_mps(self.place_map.grid, self.config.max_speed)

    def doubts(self) -> list[str]:
        """What of the settings does not go with the map, in sentences that say what to do."""
        said = []
        radius_m, spacing_m = self.config.agreement_radius, self.place_map.grid.cell_m
        calibrated_m = self.calibration.radius_m
        if self.config.belief and calibrated_m and calibrated_m != radius_m:
            said.append(
                f'the map was calibrated for answers right within {calibrated_m:g} m, but '
                f'agreement_radius is {radius_m:g} m; set agreement_radius to the same, or '
                'calibrate again with that --radius'
            )
        if spacing_m > radius_m and len(self.place_map) > 1:
            said.append(
                f'the places of the map lie {spacing_m:.1f} m apart, but agreement_radius is '
                f'{radius_m:g} m, so that neighbours do not speak for each other; set '
                f'agreement_radius to {ceil(spacing_m)} or more, or map places closer together'
            )
        return said

    def use(self, config: LocalizerConfig) -> None:
        """Take other settings; a belief that is switched on starts without a drive."""
        if config.belief != self.config.belief:
            self._drive = self._new_drive() if config.belief else None
        self.rig.radius_m = config.agreement_radius
        self.config = config

    def reset(self) -> None:
        """Forget the drive so far."""
        if self._drive is not None:
            self._drive.reset()

    def with_map(self, place_map: PlaceMap) -> 'Localizer':
        """A further localizer of the same model and cameras on another map, without a drive.

        It has done what would make its first frame slow. Raises MapError where the map cannot be
        used. `continue_from` hands it the drive.
        """
        other = Localizer(self.describer, place_map, self.config, cameras=self.rig.cameras)
        for camera in range(len(self.rig.cameras)):
            with suppress(ConfigError):  # a camera that cannot be used is told at its frames
                other.rig.places_seen(camera)
        other.locate_alone(Query(place_map.descriptor(0), 0))
        return other

    def continue_from(self, before: 'Localizer', rows: NDArray[np.int64]) -> float:
        """Take over settings, cameras and drive of a localizer on another map.

        rows: [N], the row of each place there; -1 for a place that is new. Returns the share of
        the drive's weight that is at places that both have; 1 without a belief.
        """
        self.use(before.config)
        self.rig.cameras[:] = before.rig.cameras
        if self._drive is None or before._drive is None:
            return 1.0
        return self._drive.continue_from(before._drive, rows)

    def step(
        self, frame: Frame, *, prior: Prior | None = None, travelled_m: float | None = None
    ) -> Localization:
        """Localize the next frame of the drive; raises ImageError.

        prior: only inside it; travelled_m: by odometry since the last frame, in metres.
        """
        started_s = time.perf_counter()
        query = replace(self.describe(frame), prior=prior, travelled_m=travelled_m)
        described = {'describe': (time.perf_counter() - started_s) * 1e3}
        located = self.locate(query)
        return replace(located, latency_ms=described | located.latency_ms)

    def describe(self, frame: Frame) -> Query:
        """The first half of `step`, which does not depend on the drive and may run ahead of it.

        Raises ImageError.
        """
        image = check(frame.image)
        virtual = self._virtual_camera(frame.camera, (image.shape[0], image.shape[1]))
        seen = describe_as_kept(
            self.describer,
            image if virtual is None else virtual.view(image),
            with_cells=self.place_map.has_cells,
        )
        return Query(
            seen.descriptor,
            frame.stamp_ns,
            cells=seen.cells,
            seen_by=None if virtual is None else virtual.camera,
            camera=frame.camera,
            shows_something=shows_something(image),
            image=image if self._verifier is not None else None,
        )

    def locate(self, query: Query) -> Localization:
        """The second half of `step`; call it for the queries in the order of the drive.

        Raises ConfigError for a camera that cannot be used.
        """
        return self._locate(query, self._alone if self._drive is None else self._drive)

    def locate_alone(self, query: Query) -> Localization:
        """Localize one image outside the drive, which stays as it was."""
        return self._locate(query, self._alone)

    def _locate(self, query: Query, judge: Judge) -> Localization:
        latency_ms: dict[str, float] = {}
        with _timed(latency_ms, 'search'):
            found = self._search(query, judge)
        if self.config.match_cells and query.cells is not None:
            with _timed(latency_ms, 'match'):
                found = replace(found, similar=matched(found.similar, query, self.place_map))
        with _timed(latency_ms, 'judge'):
            verdict = judge.judge(query, found, self.config)
        outcome, observed = verdict.outcome, verdict.observed
        verifier = self._verifier
        seen: SeenLandmarks | None = None
        if verifier is not None and self._asks_landmarks(query, verdict):
            with _timed(latency_ms, 'landmarks'):
                if verifier.by_cells:
                    outcome, nats, seen = verifier.supported(query, verdict, self.rig, self.config)
                    judge.hear(verdict, nats)
                else:
                    outcome = verifier.refine(query, verdict, self.rig, self.config)
                    observed = observed if outcome is verdict.outcome else None
        judge.conclude(query, verdict, outcome)
        if isinstance(outcome, Fix) and self._is_outside(outcome):
            outcome = NoFix(Reason.OUTSIDE_CUT, outcome.probability)
        return Localization(
            query.stamp_ns,
            verdict.candidates,
            outcome,
            latency_ms,
            found.similar,
            observed,
            seen,
        )

    def _virtual_camera(self, camera: int, image_hw: tuple[int, int]) -> VirtualCamera | None:
        """What gives a camera's images of a size the view in which they are described."""
        if not self.config.virtual_camera:
            return None
        size_hw = self.describer.model.card.image_size
        return self.rig.view(camera, image_hw=image_hw, size_hw=size_hw)

    def _search(self, query: Query, judge: Judge) -> Retrieved:
        return retrieve(
            query,
            self.place_map,
            count=self.config.candidates,
            poses_of=partial(self.rig.base_poses, query.camera),
            every_place=judge.needs_every_place,
            sought=judge.sought(query),
        )

    def _is_outside(self, fix: Fix) -> bool:
        """Whether a fix is at a distractor that is far from all places that give fixes."""
        place_map, radius_m = self.place_map, self.config.agreement_radius
        if not place_map.is_distractor[fix.place_index]:
            return False
        centre_m = place_map.poses[fix.place_index, :3]
        near = place_map.positions.near(centre_m, radius_m)
        near = near[~place_map.is_distractor[near]]
        apart_m = np.linalg.norm(place_map.poses[near, :3] - centre_m, axis=1)
        return not (apart_m <= radius_m).any()

    def _asks_landmarks(self, query: Query, verdict: Verdict) -> bool:
        """Whether the landmarks of the map may tell more than the verdict."""
        outcome = verdict.outcome
        is_repeated = isinstance(outcome, NoFix) and outcome.reason is Reason.REPEATED
        shows = query.shows_something and query.image is not None
        return self.config.use_landmarks and shows and not is_repeated

    def _new_drive(self) -> Drive:
        return Drive(
            self.place_map, self.rig, self.calibration, max_speed_mps=self.config.max_speed
        )


@contextmanager
def _timed(latency_ms: dict[str, float], stage: str) -> Iterator[None]:
    """Note how long a stage took."""
    started_s = time.perf_counter()
    yield
    latency_ms[stage] = (time.perf_counter() - started_s) * 1e3
