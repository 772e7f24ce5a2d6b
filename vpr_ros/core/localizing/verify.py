"""Geometric verification of candidates: is the query the same scene, and from where exactly?

The query's features are matched with the landmarks of each of the best places, place by place,
because neighbours show the same points and would hide each other from the ratio test. The places
that agree on where the camera is give the pose together (see consensus.py). A judge's verdict is
then weighed against it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.camera import Camera
from vpr_ros.core.errors import VprError
from vpr_ros.core.geometry import (
    compose,
    invert,
)
from vpr_ros.core.landmarks.features import CellFeatures
from vpr_ros.core.landmarks.points import Landmarks
from vpr_ros.core.landmarks.resection import moved_to
from vpr_ros.core.localizing.confidence import at_most_known
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.consensus import Support, Verified, consensus, holds, support_of
from vpr_ros.core.localizing.estimate import agreement
from vpr_ros.core.localizing.judges import Verdict
from vpr_ros.core.localizing.landmark_evidence import (
    LANDMARKS,
    cell_evidence,
    observe_landmarks,
    said_by_landmarks,
)
from vpr_ros.core.localizing.outcome import Fix, NoFix, Outcome, Reason
from vpr_ros.core.localizing.query import Query
from vpr_ros.core.localizing.rig import Rig
from vpr_ros.core.localizing.sightings import (
    ByCells,
    ByFeatures,
    SeenLandmarks,
    Sighter,
)
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Poses

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Placed:
    """The robot's pose by landmarks, and what tells how probable it is."""

    fix: Fix
    observed: Array | None  # see landmark_evidence.observe_landmarks; None: nothing is calibrated


class Verifier:
    """Landmarks of a map, ready to place a camera among them."""

    def __init__(self, place_map: PlaceMap) -> None:
        """place_map: with landmarks; raises MapError for features that are not known."""
        self._map = place_map
        self._features = place_map.features()
        self.by_cells = isinstance(self._features, CellFeatures)

    def supported(
        self, query: Query, verdict: Verdict, rig: Rig, config: LocalizerConfig
    ) -> tuple[Outcome, float, SeenLandmarks | None]:
        """The verdict's outcome after the cells of landmarks, what they say in nats, and the seen.

        They make no fix of their own: they change how probable the drive's answer is, and where
        they mean the same place, they give its pose.
        """
        camera = rig.calibration(query.camera)
        sighter = None if camera is None else self._sighter(query, camera)
        if sighter is None:
            return verdict.outcome, 0.0, None
        places = _looked_at(verdict.shown, sighter, config)
        known = self._known(places)
        if not known:
            return verdict.outcome, 0.0, None
        origin = self._origin(places)
        supports = self._supports(known, sighter, origin)
        best = max(supports, key=lambda support: support.inliers, default=None)
        evidence = cell_evidence(
            inliers=0 if best is None else best.inliers,
            matches=0 if best is None else best.keypoints,
            landmarks=max(len(landmarks) for _, landmarks in known),
        )
        nats = said_by_landmarks(evidence, verdict.observed)
        seen = _seen(best, dict(known))
        judged = verdict.with_evidence(nats)
        verified = self._verified(supports, sighter, origin, config)
        if verified is None or not isinstance(judged, Fix):
            return judged, nats, seen
        placed = fix_of(verified, base_T_camera=rig.mounting(query.camera))
        same = agreement(judged.pose[None], placed.pose[None], config, has_heading=True).all()
        placed = replace(placed, probability=judged.probability)
        return (placed if same else judged), nats, seen

    def refine(self, query: Query, verdict: Verdict, rig: Rig, config: LocalizerConfig) -> Outcome:
        """The robot's pose by landmarks where they support one, else the verdict's outcome.

        Along a drive the calibrated probability of the landmarks' pose decides, and where it
        contradicts the drive's own, what of the two is left. From one image alone the thresholds
        of the configuration do.
        """
        similarity = verdict.candidates.similarity
        calibrated = verdict.observed is not None
        if not calibrated and similarity.max(initial=-1.0) < config.min_similarity:
            return verdict.outcome
        placed = self.place(query, verdict, rig, config)
        if placed is None:
            return verdict.outcome
        if calibrated:
            return decided(verdict.outcome, placed.fix, config)
        return placed.fix if placed.fix.probability >= config.min_agreement else verdict.outcome

    def place(
        self, query: Query, verdict: Verdict, rig: Rig, config: LocalizerConfig
    ) -> Placed | None:
        """The robot's pose by the landmarks of a verdict's places; None where they support none.

        Its probability is calibrated where the verdict's is, else the agreeing share.
        """
        calibration = rig.calibration(query.camera)
        if query.image is None or calibration is None:
            return None
        verified = self.verify(query, calibration, verdict.shown, config)
        if verified is None:
            return None
        fix = fix_of(verified, base_T_camera=rig.mounting(query.camera))
        if verdict.observed is None:
            return Placed(fix, None)
        sigma_m = np.sqrt(np.linalg.eigvalsh(fix.covariance[:3, :3])[-1])
        observed = observe_landmarks(
            inliers=verified.best_inliers,
            matches=verified.best_matches,
            sigma=float(sigma_m) / config.agreement_radius,
            rival=verified.rival_inliers,
        )
        probability = float(at_most_known(LANDMARKS[self._features.name], observed))
        return Placed(replace(fix, probability=probability), observed)

    def verify(
        self,
        query: Query,
        camera: Camera,
        places: NDArray[np.int64],
        config: LocalizerConfig,
    ) -> Verified | None:
        """The pose on which the places [K], best first, agree; None without enough support.

        query: with an image; one of another shape than the camera's gives None.
        """
        sighter = None if len(places) == 0 else self._sighter(query, camera)
        if sighter is None:
            return None
        known = self._known(_looked_at(places, sighter, config))
        origin = self._origin(places)
        supports = self._supports(known, sighter, origin)
        return self._verified(supports, sighter, origin, config)

    def _verified(
        self,
        found: Sequence[Support],
        sighter: Sighter,
        origin: Poses,
        config: LocalizerConfig,
    ) -> Verified | None:
        """The pose on which places agree that hold."""
        least_ratio = max(config.min_inlier_ratio, self._features.least_inlier_ratio)
        supports = [
            support
            for support in found
            if holds(support, self._place_in(origin, support.place_index), config, least_ratio)
        ]
        return consensus(
            supports,
            origin,
            config,
            focal_px=sighter.focal_px,
            shared_error=self._features.shared_error,
        )

    def _sighter(self, query: Query, camera: Camera) -> Sighter | None:
        """The sighter that finds landmarks in a query; None if its image is not the camera's."""
        if query.image is None:
            return None
        if self.by_cells and query.cells is not None and query.seen_by is not None:
            return ByCells(self._map, query.cells, query.seen_by)
        try:
            camera = camera.scaled_to(query.image.shape[1], query.image.shape[0])
        except VprError:
            return None
        if not self.by_cells:
            return ByFeatures(self._features, query.image, camera)
        return None if query.cells is None else ByCells(self._map, query.cells, camera)

    def _origin(self, places: NDArray[np.int64]) -> Poses:
        """Where the best of some places is, as a frame [7] in which numbers stay small."""
        return np.append(self._map.poses[places[0], :3], [0, 0, 0, 1.0])

    def _known(self, places: NDArray[np.int64]) -> list[tuple[int, Landmarks]]:
        """Those of places [K] that have landmarks, with them."""
        read = ((place, self._map.landmarks(place)) for place in places.tolist())
        return [(place, found) for place, found in read if found is not None and len(found)]

    def _supports(
        self, known: Sequence[tuple[int, Landmarks]], sighter: Sighter, origin: Poses
    ) -> list[Support]:
        """The poses of those places whose landmarks agree on one."""
        found = (
            support_of(
                place,
                landmarks,
                sighter.sightings(place, landmarks),
                origin_T_place=self._place_in(origin, place),
                focal_px=sighter.focal_px,
            )
            for place, landmarks in known
        )
        return [support for support in found if support is not None]

    def _place_in(self, origin: Poses, place: int) -> Poses:
        """A place's pose [7] in the frame of an origin."""
        return compose(invert(origin), self._map.poses[place])


def fix_of(verified: Verified, *, base_T_camera: Poses) -> Fix:
    """The robot's pose, map_T_base, from its camera's, by base_T_camera [7]."""
    base = moved_to(verified.resection, invert(base_T_camera))
    return Fix(
        base.pose,
        base.covariance,
        verified.agreement,
        verified.place_index,
        inliers=verified.inliers,
    )


def decided(judged: Outcome, placed: Fix, config: LocalizerConfig) -> Outcome:
    """Combine the drive's outcome and the pose by landmarks, by their probabilities.

    Where both mean one place, the landmarks' pose is the more exact, and the place no less
    probable than the drive has it. Of two places at most one is right: what speaks for either
    speaks against the other, and only what is left of it counts.
    """
    least = 1 - config.max_false_fix_rate
    if not isinstance(judged, Fix):
        return placed if placed.probability >= least else judged
    poses = judged.pose[None], placed.pose[None]
    if agreement(*poses, config, has_heading=True).all():
        return replace(placed, probability=max(judged.probability, placed.probability))
    answers = [
        replace(judged, probability=_left(judged.probability, placed.probability)),
        replace(placed, probability=_left(placed.probability, judged.probability)),
    ]
    better = max(answers, key=lambda answer: answer.probability)
    if better.probability >= least:
        return better
    return NoFix(Reason.CANDIDATES_DISAGREE, better.probability)


def _left(probability: float, other: float) -> float:
    """The probability that remains if another answer, which excludes this one, has its own."""
    neither = (1 - probability) * (1 - other)
    first, second = probability * (1 - other), other * (1 - probability)
    return first / max(first + second + neither, 1e-12)


def _looked_at(
    places: NDArray[np.int64], sighter: Sighter, config: LocalizerConfig
) -> NDArray[np.int64]:
    """Those of the places [K], best first, whose landmarks are matched."""
    return places[: min(config.verified_places, sighter.most_places)]


def _seen(best: Support | None, known: Mapping[int, Landmarks]) -> SeenLandmarks | None:
    """Which landmarks of the best place agree on its pose; known: the landmarks of each place."""
    if best is None:
        return None
    seen = np.zeros(len(known[best.place_index]), dtype=bool)
    seen[best.landmark[best.resection.inliers]] = True
    return SeenLandmarks(best.place_index, seen)
