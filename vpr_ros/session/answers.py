"""All that a session answers to events. The node publishes, broadcasts, logs or returns them."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from vpr_ros.core.localizing.localizer import Localization
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Frame, Poses
from vpr_ros.session.tracker import State

Level: TypeAlias = Literal['info', 'warning', 'error']


@dataclass(frozen=True, slots=True)
class Localized:
    """The result for one image."""

    frame: Frame
    located: Localization
    came_s: float  # when the image came, by time.perf_counter


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The state (LOST, TENTATIVE, LOCALIZED) has changed."""

    before: State
    state: State


@dataclass(frozen=True, slots=True)
class Corrected:
    """The pose of the odometry's origin on the map (map -> odom)."""

    map_T_odom: Poses  # [7]
    stamp_ns: int


@dataclass(frozen=True, slots=True)
class CorrectionLost:
    """The pose of the odometry's origin is no longer known."""

    clock_was_set_back: bool = False  # then no transform of before is of use


@dataclass(frozen=True, slots=True)
class StartGiven:
    """A fix from which another localizer may start."""

    fix: Fix
    stamp_ns: int


@dataclass(frozen=True, slots=True)
class MapChanged:
    """The places of all further answers are those of another map."""

    place_map: PlaceMap


@dataclass(frozen=True, slots=True)
class Replied:
    """The answer to a request."""

    text: str
    located: Localization | None = None  # of LocalizeAsked
    place_map: PlaceMap | None = None  # where it was located


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that the operator should know."""

    text: str
    level: Level = 'warning'


@dataclass(frozen=True, slots=True)
class Refused:
    """An event could not be used."""

    text: str


Answer: TypeAlias = (
    Localized
    | StateChanged
    | Corrected
    | CorrectionLost
    | StartGiven
    | MapChanged
    | Replied
    | Noted
    | Refused
)
