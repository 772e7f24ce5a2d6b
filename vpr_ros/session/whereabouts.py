"""What others say about where the robot is: an operator's initial pose, and GPS.

Both only restrict the search, and neither may silence the robot for good. An initial pose is
refused at once where no place of the map fits it, and it expires. GPS is left out for a while
whenever it has led to no fix for some seconds; if the images then find the robot elsewhere, GPS is
left out until both agree.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.errors import ConfigError
from vpr_ros.core.geometry import checked_pose
from vpr_ros.core.localizing.outcome import Fix, Outcome, Reason
from vpr_ros.core.localizing.query import Prior
from vpr_ros.session.config import SessionConfig
from vpr_ros.session.events import GpsCame, InitialPoseCame

_ONE_SIDED_SIGMAS = 3.0  # of an initial pose, and of GPS
_GPS_LASTS_NS = 2_000_000_000
_PATIENCE_NS = 5_000_000_000  # without a fix, after which GPS is left out, or asked again


class InitialPose:
    """An operator's initial pose, which holds until the next fix or until it expires."""

    def __init__(self, prior: Prior) -> None:
        """prior: as it was when it was told."""
        self._told = prior
        self._first_ns: int | None = None  # stamp of the first image after it
        self._last_ns = 0  # of the newest one
        self._moved_m = 0.0  # since then

    def prior(
        self, stamp_ns: int, travelled_m: float | None, *, timeout_s: float, bound_mps: float
    ) -> Prior | None:
        """The prior of an image; None once it has expired.

        travelled_m: since the last image, by odometry; without it the robot may have moved at
        bound_mps.
        """
        if self._first_ns is None:
            self._first_ns = self._last_ns = stamp_ns
        elapsed_s = max(stamp_ns - self._last_ns, 0) / 1e9
        self._last_ns = max(stamp_ns, self._last_ns)
        self._moved_m += bound_mps * elapsed_s if travelled_m is None else travelled_m
        if stamp_ns - self._first_ns > timeout_s * 1e9:
            return None
        return replace(self._told, radius_m=self._told.radius_m + self._moved_m)


class Gps:
    """A GPS position, which holds while GPS sends it and the images do not contradict it."""

    def __init__(self) -> None:
        """Start without any."""
        self._prior: Prior | None = None
        self._came_ns = 0
        self._changed_ns: int | None = None  # stamp since when it leads to no fix, or is left out
        self.is_used = True
        self.contradicts_by_m: float | None = None

    def take(self, event: GpsCame, radius_m: float) -> None:
        """The newest position counts; radius_m: within which the robot is."""
        centre_m = np.array([*event.position_m, 0.0])
        self._came_ns = event.came_ns
        self._prior = Prior(centre_m, radius_m, on_map=False, excluding=Reason.OUTSIDE_GPS)

    def prior(self, came_ns: int) -> Prior | None:
        """The prior of an image that came at this time of the node's clock; may be None."""
        return self._current(came_ns) if self.is_used else None

    def learn(self, outcome: Outcome, stamp_ns: int, came_ns: int) -> str:
        """Take what an image told, with or without GPS; returns a note for the operator, or ''."""
        current = self._current(came_ns)
        if current is None:
            self._changed_ns = None
            return ''
        if isinstance(outcome, Fix):
            return self._compare(current, outcome, stamp_ns)
        if self._changed_ns is None:
            self._changed_ns = stamp_ns
        if stamp_ns - self._changed_ns > _PATIENCE_NS:
            self.is_used, self._changed_ns = not self.is_used, stamp_ns
            self.contradicts_by_m = None
        return ''

    def _compare(self, current: Prior, fix: Fix, stamp_ns: int) -> str:
        """Whether GPS and the images agree, told once."""
        agrees = bool(current.allows(fix.pose[None, :3])[0])
        before, self.contradicts_by_m = self.contradicts_by_m, None
        self.is_used = agrees
        self._changed_ns = None if agrees else stamp_ns
        if agrees:
            return ''
        self.contradicts_by_m = float(np.linalg.norm(current.centre_m[:2] - fix.pose[:2]))
        if before is not None:
            return ''
        return (
            f'gps/fix: {self.contradicts_by_m:.0f} m from the position by the images; '
            'it is not used until both agree'
        )

    def _current(self, came_ns: int) -> Prior | None:
        # A position may be newer than the image, which waits while the frame before it is at work.
        is_fresh = abs(came_ns - self._came_ns) <= _GPS_LASTS_NS
        return self._prior if is_fresh else None


class Whereabouts:
    """Both, and which of them counts."""

    def __init__(
        self, positions_m: NDArray[np.float64], *, map_frame: str, bound_mps: float
    ) -> None:
        """positions_m: [N, 3] of the places; bound_mps: on the robot's speed without odometry."""
        self._map_frame = map_frame
        self.use_map(positions_m, bound_mps=bound_mps)
        self.forget()

    def use_map(self, positions_m: NDArray[np.float64], *, bound_mps: float) -> None:
        """Take other places [N, 3] in the same frame; what is known stays."""
        self._positions_m = positions_m
        self._bound_mps = bound_mps

    def forget(self) -> None:
        """Forget the initial pose and GPS."""
        self._initial_pose: InitialPose | None = None
        self.gps = Gps()

    @property
    def has_initial_pose(self) -> bool:
        """Whether an initial pose restricts the search."""
        return self._initial_pose is not None

    def take_initial_pose(self, event: InitialPoseCame, config: SessionConfig) -> None:
        """Search only around it; raises ConfigError that says why it cannot be used."""
        if event.frame_id.removeprefix('/') != self._map_frame.removeprefix('/'):
            raise ConfigError(
                f'initialpose: the pose is in frame {event.frame_id!r}, expected '
                f'{self._map_frame!r}; it is ignored'
            )
        pose = checked_pose(event.map_T_base, source='initialpose')
        variances = np.diag(event.covariance)[:3]
        if not (np.isfinite(variances).all() and (variances >= 0).all()):
            raise ConfigError(
                f'initialpose: variances of x, y, z are {variances.tolist()}, '
                'expected finite numbers of at least 0; the pose is ignored'
            )
        sigmas_m = _ONE_SIDED_SIGMAS * np.sqrt(variances)
        radius_m = float(sigmas_m[:2].max()) + config.agreement_radius
        # RViz does not know z and says 0 with a variance of 0.
        height_m = float(sigmas_m[2]) + config.agreement_radius if variances[2] > 0 else None
        prior = Prior(pose[:3], radius_m, height_m)
        if not prior.allows(self._positions_m).any():
            apart_m = np.linalg.norm(self._positions_m[:, :2] - pose[:2], axis=1).min()
            raise ConfigError(
                f'initialpose: ({pose[0]:.1f}, {pose[1]:.1f}, {pose[2]:.1f}) is {apart_m:.1f} m '
                f'from the nearest place of the map, expected at most {radius_m:.1f} m'
                f'{"" if height_m is None else f", and {height_m:.1f} m in z"}; the pose is '
                'ignored'
            )
        self._initial_pose = InitialPose(prior)

    def take_gps(self, event: GpsCame, config: SessionConfig) -> None:
        """Search only near it, as long as GPS sends."""
        if not np.isfinite([*event.position_m, event.sigma_m]).all():
            raise ConfigError('gps/fix: the position has NaN or infinity; it is ignored')
        self.gps.take(event, _ONE_SIDED_SIGMAS * event.sigma_m + config.agreement_radius)

    def prior(
        self, stamp_ns: int, came_ns: int, travelled_m: float | None, config: SessionConfig
    ) -> tuple[Prior | None, str]:
        """What restricts the search for an image, the operator before GPS; and a note, or ''."""
        if self._initial_pose is not None:
            found = self._initial_pose.prior(
                stamp_ns,
                travelled_m,
                timeout_s=config.initialpose_timeout,
                bound_mps=self._bound_mps,
            )
            if found is not None:
                return found, ''
            self._initial_pose = None
            note = (
                f'initialpose: no fix within {config.initialpose_timeout:g} s; '
                'the whole map is searched again'
            )
            return self.gps.prior(came_ns), note
        return self.gps.prior(came_ns), ''

    def learn(self, outcome: Outcome, stamp_ns: int, came_ns: int) -> str:
        """Take what an image told; returns a note for the operator, or ''."""
        if self._initial_pose is not None:
            if isinstance(outcome, Fix):
                self._initial_pose = None
            return ''
        return self.gps.learn(outcome, stamp_ns, came_ns)
