"""What a log shows of one image, made from the answers that a session gives."""

from collections.abc import Sequence
from dataclasses import dataclass

from vpr_ros.core.localizing.localizer import Localization
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import Frame
from vpr_ros.session.answers import Answer, Localized, MapChanged, Noted, Refused, StateChanged
from vpr_ros.session.tracker import State

_MOST_REMARKS = 20


@dataclass(frozen=True, slots=True)
class Remark:
    """A line of the log."""

    text: str
    level: str  # INFO, WARN or ERROR, as Rerun names them


@dataclass(frozen=True, slots=True)
class Moment:
    """One image, and what was known after it."""

    frame: Frame
    located: Localization
    place_map: PlaceMap  # that the image was localized on
    state: State
    remarks: tuple[Remark, ...] = ()  # since the moment before

    @property
    def said(self) -> str:
        """The answer in words, as Markdown."""
        outcome, candidates = self.located.outcome, self.located.candidates
        position = ''
        if isinstance(outcome, Fix):
            headline = 'fix'
            position = f', x {outcome.pose[0]:.2f} m, y {outcome.pose[1]:.2f} m'
        else:
            headline = f'no fix: {outcome.reason.value}'
        lines = [f'**{headline}**', f'probability {outcome.probability:.2f}, {self.state.value}']
        if len(candidates):
            lines.append(f'best similarity {candidates.similarity[0]:.2f}')
            lines.append(f'place {self.located.shown_place}{position}')
        landmarks = self.located.landmarks
        if landmarks is not None:
            held = counted(len(landmarks.seen), 'landmark')
            lines.append(f'{landmarks.seen.sum()} of {held} seen')
        return '\n\n'.join(lines)


class Moments:
    """Turns the answers to one event after another into moments."""

    def __init__(self, place_map: PlaceMap) -> None:
        """place_map: of the first images."""
        self._map = place_map
        self._state = State.LOST
        self._remarks: list[Remark] = []

    def take(self, answers: Sequence[Answer]) -> Moment | None:
        """The moment that follows from the answers to one event; None without an image."""
        localized = None
        place_map = self._map
        for answer in answers:
            if isinstance(answer, Localized):
                localized = answer
            elif isinstance(answer, MapChanged):
                self._map = answer.place_map
            else:
                self._note(answer)
        del self._remarks[:-_MOST_REMARKS]
        if localized is None:
            return None
        remarks, self._remarks = tuple(self._remarks), []
        return Moment(localized.frame, localized.located, place_map, self._state, remarks)

    def _note(self, answer: Answer) -> None:
        """Keep what the next moment says beside its image."""
        if isinstance(answer, StateChanged):
            self._state = answer.state
            text = f'{answer.before.value} -> {answer.state.value}'
            self._remarks.append(Remark(text, 'INFO'))
        elif isinstance(answer, Noted):
            level = {'info': 'INFO', 'warning': 'WARN', 'error': 'ERROR'}[answer.level]
            self._remarks.append(Remark(answer.text, level))
        elif isinstance(answer, Refused):
            self._remarks.append(Remark(answer.text, 'ERROR'))
