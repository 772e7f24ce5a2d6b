"""The core's results as ROS messages."""

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import (
    Point,
    Pose,
    PoseArray,
    PoseWithCovarianceStamped,
    Quaternion,
    Vector3,
)
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from vpr_ros.core.geometry import IDENTITY, checked_pose, principal_axes
from vpr_ros.core.localizing.localizer import Localization
from vpr_ros.core.localizing.outcome import Fix, NoFix
from vpr_ros.core.localizing.retrieve import Candidates
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Poses

try:  # built only where a compiler or a ROS workspace is; the node says so once
    from vpr_msgs.msg import PlaceMatch as PlaceMatch
    from vpr_msgs.msg import PlaceMatchArray as PlaceMatchArray
except ImportError:
    PlaceMatch = PlaceMatchArray = None

_ELLIPSOID_SIGMAS, _LEAST_SIGMA_M = 2.0, 1e-3
_ALIVE_S = 3  # markers vanish when no new ones come
_MOST_POINTS = 20_000  # of the map, drawn


def stamp_message(stamp_ns: int) -> Time:
    """Nanoseconds since the epoch as builtin_interfaces/Time."""
    return Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)


def stamp_ns(stamp: Time) -> int:
    """builtin_interfaces/Time as nanoseconds since the epoch."""
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def pose_message(pose: Poses) -> Pose:
    """A pose [7] as geometry_msgs/Pose."""
    x, y, z, qx, qy, qz, qw = (float(value) for value in pose)
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def header(stamp_ns: int, frame_id: str) -> Header:
    """A header of a stamp and a frame."""
    return Header(stamp=stamp_message(stamp_ns), frame_id=frame_id)


def pose_numbers(pose: Pose) -> Poses:
    """geometry_msgs/Pose as [7], whatever it holds."""
    position, quat = pose.position, pose.orientation
    return np.array([position.x, position.y, position.z, quat.x, quat.y, quat.z, quat.w])


def pose_array(pose: Pose, *, source: str) -> Poses:
    """geometry_msgs/Pose as [7].

    Raises VprError for NaN and for quaternions that are not of unit norm.
    """
    return checked_pose(pose_numbers(pose), source=source)


def fix_message(fix: Fix, header: Header) -> PoseWithCovarianceStamped:
    """A fix as a pose with covariance; the header's frame is the map's."""
    message = PoseWithCovarianceStamped(header=header)
    message.pose.pose = pose_message(fix.pose)
    message.pose.covariance = fix.covariance.ravel()
    return message


def candidates_message(candidates: Candidates, header: Header) -> PoseArray:
    """Where the robot would be at each candidate, best first."""
    return PoseArray(header=header, poses=[pose_message(pose) for pose in candidates.map_T_base])


def matches_message(
    located: Localization, place_map: PlaceMap, header: Header, *, count: int
) -> 'PlaceMatchArray':
    """The best `count` candidates as vpr_msgs/PlaceMatchArray."""
    outcome, candidates = located.outcome, located.candidates
    return PlaceMatchArray(
        header=header,
        map_id=place_map.id,
        model_name=place_map.header.model_name,
        localized=isinstance(outcome, Fix),
        reason=outcome.reason.value if isinstance(outcome, NoFix) else '',
        probability=float(outcome.probability) if isinstance(outcome, Fix) else 0.0,
        matches=[
            PlaceMatch(
                place_id=int(place),
                similarity=float(similarity),
                probability=float(weight),
                pose=pose_message(pose),
                map_stamp=stamp_message(int(place_map.stamps_ns[place])),
                source=place_map.names[place],
            )
            for place, similarity, weight, pose in zip(
                candidates.place_index[:count],
                candidates.similarity,
                candidates.place_index if candidates.weight is None else candidates.weight,
                candidates.map_T_base,
                strict=False,
            )
        ],
    )


def places_message(place_map: PlaceMap, header: Header) -> Marker:
    """The places that give fixes as points, thinned evenly where there are very many."""
    positions = place_map.poses[~place_map.is_distractor, :3]
    step = -(-len(positions) // _MOST_POINTS)
    marker = Marker(header=header, ns='places', type=Marker.POINTS, action=Marker.ADD)
    marker.pose = pose_message(IDENTITY)
    marker.scale = Vector3(x=0.3, y=0.3, z=0.3)
    marker.color = ColorRGBA(r=0.55, g=0.6, b=0.65, a=1.0)
    marker.points = [Point(x=x, y=y, z=z) for x, y, z in positions[::step].tolist()]
    return marker


def markers_message(located: Localization, header: Header) -> MarkerArray:
    """Candidates as spheres, and the fix as an arrow inside its 2-sigma ellipsoid.

    A sphere is the greener, the more similar the candidate is.
    """
    candidates = located.candidates
    markers = [
        _marker(
            header, 'candidates', number, Marker.SPHERE, pose, (0.6, 0.6, 0.6), _shade(similarity)
        )
        for number, (pose, similarity) in enumerate(
            zip(candidates.map_T_base, candidates.similarity.tolist(), strict=True)
        )
    ]
    fix = located.outcome
    if isinstance(fix, Fix):
        arrow = _marker(
            header, 'fix', 0, Marker.ARROW, fix.pose, (2.0, 0.3, 0.3), (0.1, 0.4, 1.0, 1.0)
        )
        pose, scale = _ellipsoid(fix.pose, fix.covariance)
        extent = _marker(header, 'covariance', 0, Marker.SPHERE, pose, scale, (0.1, 0.4, 1.0, 0.3))
        markers += [arrow, extent]
    return MarkerArray(markers=markers)


def _marker(
    header: Header,
    namespace: str,
    number: int,
    kind: int,
    pose: Poses,
    scale: tuple[float, float, float],
    rgba: tuple[float, float, float, float],
) -> Marker:
    marker = Marker(header=header, ns=namespace, id=number, type=kind, action=Marker.ADD)
    marker.pose = pose_message(pose)
    marker.scale = Vector3(x=scale[0], y=scale[1], z=scale[2])
    marker.color = ColorRGBA(r=rgba[0], g=rgba[1], b=rgba[2], a=rgba[3])
    marker.lifetime.sec = _ALIVE_S
    return marker


def _shade(similarity: float) -> tuple[float, float, float, float]:
    likeness = min(max(similarity, 0.0), 1.0)
    return 1.0 - likeness, likeness, 0.1, 0.9


def _ellipsoid(
    pose: Poses, covariance: NDArray[np.float64]
) -> tuple[Poses, tuple[float, float, float]]:
    """Pose and diameters of the position covariance's ellipsoid."""
    sigmas_m, turn = principal_axes(covariance[:3, :3])
    diameters = 2 * _ELLIPSOID_SIGMAS * np.maximum(sigmas_m, _LEAST_SIGMA_M)
    turned = np.concatenate([pose[:3], turn])
    return turned, (float(diameters[0]), float(diameters[1]), float(diameters[2]))
