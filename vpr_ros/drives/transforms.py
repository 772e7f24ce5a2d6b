"""The transform tree of a recording: /tf and /tf_static, looked up as tf2 would."""

import re
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from vpr_ros.core.geometry import (
    IDENTITY,
    angle_between,
    checked_pose,
    compose,
    invert,
    said_frames,
)
from vpr_ros.core.plurals import counted
from vpr_ros.core.trajectory import Trajectory
from vpr_ros.core.types import Poses

_ROBOT_FRAME = re.compile(r'(|.*[/_])(base_link|base_footprint)')
_STILL_M = 1e-3
_STILL_RAD = 1e-3


@dataclass(slots=True)
class _Edge:
    """parent_T_child over time; 64 bytes a transform, for hours of /tf."""

    parent: str
    stamps_ns: 'array[int]' = field(default_factory=lambda: array('q'))
    values: 'array[float]' = field(default_factory=lambda: array('d'))
    fixed_values: 'array[float]' = field(default_factory=lambda: array('d'))  # of tf_static

    def add(self, stamp_ns: int, pose: Poses, *, fixed: bool) -> None:
        """Add a transform of tf_static or of tf."""
        if fixed:
            self.fixed_values.extend(pose.tolist())
            return
        self.stamps_ns.append(stamp_ns)
        self.values.extend(pose.tolist())

    @property
    def fixed(self) -> bool:
        """Whether the last transform of tf_static holds for ever: nothing else is on tf."""
        if not self.fixed_values or not self.stamps_ns:
            return bool(self.fixed_values)
        return _are_one(np.concatenate([_rows(self.values), _rows(self.fixed_values)[-1:]]))

    @property
    def changes(self) -> bool:
        """Whether tf_static says several things."""
        return bool(self.fixed_values) and not _are_one(_rows(self.fixed_values))

    def poses(self) -> Poses:
        return _rows(self.fixed_values if self.fixed else self.values)

    def constant(self) -> Poses | None:
        """[7] if the child does not move in its parent."""
        poses = self.poses()
        return np.array(poses[-1]) if self.fixed or _are_one(poses) else None

    def trajectory(self) -> Trajectory:
        stamps_ns = np.frombuffer(self.stamps_ns, dtype=np.int64)
        return Trajectory.from_unordered(stamps_ns, self.poses(), source='/tf')


def _rows(values: 'array[float]') -> Poses:
    return np.frombuffer(values, dtype=np.float64).reshape(-1, 7)


def _are_one(poses: Poses) -> bool:
    """Whether poses [T, 7] are the same."""
    moved_m = np.linalg.norm(poses[:, :3] - poses[-1, :3], axis=1).max()
    last = np.broadcast_to(poses[-1, 3:], (len(poses), 4))
    return bool(moved_m <= _STILL_M and angle_between(last, poses[:, 3:]).max() <= _STILL_RAD)


class TransformTree:
    """Collects transforms, then answers where one frame was in another."""

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}  # by child: of its newest parent
        self._others: dict[str, dict[str, _Edge]] = {}  # by child and parent: all others

    def add(self, parent: str, child: str, stamp_ns: int, pose: Poses, *, fixed: bool) -> None:
        """Add parent_T_child [7], which must be finite with a unit quaternion.

        A frame has one parent; as in tf2, the newest message decides which. What others said is
        asked only where the newest parent leads nowhere.
        """
        parent, child = frame_name(parent), frame_name(child)
        edge = self._edges.get(child)
        if edge is None or edge.parent != parent:
            others = self._others.setdefault(child, {})
            if edge is not None:
                others[edge.parent] = edge
            edge = others.pop(parent) if parent in others else _Edge(parent)
            self._edges[child] = edge
        edge.add(stamp_ns, pose, fixed=fixed)

    def disputes(self) -> list[str]:
        """A sentence for each frame of which tf says several things at once."""
        said = []
        for child, edge in sorted(self._edges.items()):
            if edge.fixed_values and not edge.fixed:
                said.append(
                    f'{child} in {edge.parent} is on tf_static and on tf, of which the latter is '
                    'used; let one program publish it'
                )
            elif edge.changes:
                said.append(
                    f'{child} in {edge.parent} changes on tf_static, and the last transform is '
                    'used for the whole recording; what changes belongs on tf'
                )
        if loop := self._loop():
            said.append(
                f'tf goes in a circle, {" to ".join(loop)}, so that poses are of any part of it; '
                'let no program publish a transform from a frame to one above it'
            )
        for child, others in sorted(self._others.items()):
            edges = [edge for edge in (*others.values(), self._edges[child]) if not edge.fixed]
            if len(edges) > 1:
                parents = ' and '.join(
                    f'{edge.parent} ({counted(len(edge.stamps_ns), "transform")})'
                    for edge in edges
                )
                said.append(
                    f'{child} has several parents on tf, {parents}; let one program publish it'
                )
        return said

    def _loop(self) -> list[str]:
        """The frames of a circle, the first one twice; empty where there is none."""
        for child in sorted(self._edges):
            above = [edge.parent for edge in self._ancestors(child)]
            edge = self._edges.get(above[-1]) if above else None
            if edge is not None and edge.parent == child:
                return [child, *reversed(above), child]
        return []

    @property
    def frames(self) -> list[str]:
        """Every frame's name, sorted."""
        held = [*self._edges.values(), *self._disputed()]
        return sorted({*self._edges, *(edge.parent for edge in held)})

    def constant(self, parent: str, child: str) -> Poses | None:
        """parent_T_child [7] where the two are connected and do not move, else None."""
        steps = self._steps(parent, child)
        if steps is None:
            return None
        pose = IDENTITY
        for edge, upwards in steps:
            step = edge.constant()
            if step is None:
                return None
            pose = compose(pose, invert(step) if upwards else step)
        return checked_pose(pose, source=said_frames(parent, child))

    def connects(self, parent: str, child: str) -> bool:
        """Whether a chain of transforms leads from one frame to the other."""
        return self._steps(parent, child) is not None

    def robots(self, parent: str) -> list[tuple[str, str, str]]:
        """Prefix, parent frame and base frame of each robot that has a chain from `parent`.

        The frames may have a robot's prefix: robot1/map and robot1/base_link, or only the latter.
        The names alone are looked at; '' is the prefix of a robot without one, which comes first.
        """
        found: dict[str, tuple[str, str, str]] = {}
        for base in sorted(self.frames, key=lambda name: (len(name), name)):
            named = _ROBOT_FRAME.fullmatch(base)
            if named is None:
                continue
            for above in dict.fromkeys((named[1] + parent, parent)):
                if above in self.frames and self.connects(above, base):
                    found.setdefault(named[1], (named[1], above, base))
        return list(found.values())

    def moving_pairs(self) -> list[tuple[str, str]]:
        """The root and the last frame that moves of each branch of the tree."""
        moving = {child for child, edge in self._edges.items() if edge.constant() is None}
        pairs = []
        for frame in sorted(moving):
            below = [other for other in moving if other != frame and self._is_above(frame, other)]
            if not below:
                pairs.append((list(self._ancestors(frame))[-1].parent, frame))
        return pairs

    def _is_above(self, frame: str, other: str) -> bool:
        return any(edge.parent == frame for edge in self._ancestors(other))

    def trajectory(self, parent: str, child: str, *, max_gap_s: float | None) -> Trajectory | None:
        """parent_T_child at every stamp of a moving transform between the two, None without one.

        Each transform is interpolated over at most `max_gap_s` (None: its own usual gap); stamps
        at which one of them is unknown are left out.
        """
        steps = self._steps(parent, child)
        if steps is None:
            return None
        moving = [edge.trajectory() for edge, _ in steps if not edge.fixed]
        if not moving:
            return None
        stamps_ns = np.unique(np.concatenate([edge.stamps_ns for edge in moving]))
        known = np.ones(len(stamps_ns), dtype=bool)
        poses = np.broadcast_to(IDENTITY, (len(stamps_ns), 7))
        for edge, upwards in steps:
            if edge.fixed:
                step = np.broadcast_to(edge.poses()[-1], poses.shape)
            else:
                step, step_known = edge.trajectory().at(stamps_ns, max_gap_s=max_gap_s)
                known &= step_known
            poses = compose(poses, invert(step) if upwards else step)
        if not known.any():
            return None
        return Trajectory.from_unordered(
            stamps_ns[known], poses[known], source=said_frames(parent, child)
        )

    def _disputed(self) -> list[_Edge]:
        """The transforms to parents that are not the newest."""
        return [edge for others in self._others.values() for edge in others.values()]

    def _steps(self, parent: str, child: str) -> list[tuple[_Edge, bool]] | None:
        """The transforms between two frames, each with whether it is walked upwards."""
        parent, child = frame_name(parent), frame_name(child)
        for disputed in (False, True) if self._others else (False,):
            above_parent = self._above(parent, disputed=disputed)
            above_child = self._above(child, disputed=disputed)
            meeting = next((name for name in above_child if name in above_parent), None)
            if meeting is not None:
                return [
                    *((edge, True) for edge in reversed(_down(above_parent, meeting))),
                    *((edge, False) for edge in _down(above_child, meeting)),
                ]
        return None

    def _above(self, frame: str, *, disputed: bool) -> dict[str, tuple[_Edge, str] | None]:
        """The frames above one, the nearest first, with the transform and the frame below each.

        disputed: by what others than the newest parents said, too.
        """
        above: dict[str, tuple[_Edge, str] | None] = {frame: None}
        waiting = deque([frame])
        while waiting:
            below = waiting.popleft()
            edges = [self._edges[below]] if below in self._edges else []
            if disputed:
                others = self._others.get(below, {}).values()
                edges += [edge for edge in others if not edge.fixed]
            for edge in edges:
                if edge.parent not in above:
                    above[edge.parent] = edge, below
                    waiting.append(edge.parent)
        return above

    def _ancestors(self, frame: str) -> Iterator[_Edge]:
        seen = {frame}
        while (edge := self._edges.get(frame)) is not None and edge.parent not in seen:
            yield edge
            frame = edge.parent
            seen.add(frame)


def _down(above: dict[str, tuple[_Edge, str] | None], top: str) -> list[_Edge]:
    """The transforms from a frame above another down to that one."""
    edges = []
    while (step := above[top]) is not None:
        edge, top = step
        edges.append(edge)
    return edges


def frame_name(name: str) -> str:
    """A frame as tf2 calls it: ROS 1 allowed a leading slash."""
    return name.lstrip('/')
