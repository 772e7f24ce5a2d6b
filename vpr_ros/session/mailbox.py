"""Events on their way from many threads to the one that owns the session.

A reader slower than the cameras would lag further and further behind a queue. So of each camera
only the newest image waits: the reader drops images and stays current, and no camera starves
another. All other events are kept in the order of their coming and are read before any image.
"""

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from threading import Condition
from typing import TypeAlias

from vpr_ros.session.answers import Answer
from vpr_ros.session.events import OUTDATES_IMAGES, Event, ImageCame, OdometryCame

Answers: TypeAlias = list[Answer]

_MOST_EVENTS = 10_000  # that wait; odometry beyond them is dropped, oldest first
_ARRIVALS_KEPT = 6  # of each camera: one long pause does not change the median of five intervals


@dataclass(frozen=True, slots=True)
class Letter:
    """An event, and where its answers are waited for."""

    event: Event
    answers: Future[Answers] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class Pace:
    """How the images of one camera come, by time.perf_counter."""

    last_s: float  # when the last one came
    interval_s: float  # median of the last intervals; 0 before the second image


class Mailbox:
    """One reader, many writers; counts the images that came and those that were dropped."""

    def __init__(self) -> None:
        """Start empty and open."""
        self._changed = Condition()
        self._events: deque[Letter] = deque()
        self._images: dict[int, Letter] = {}  # by camera, the one that waits longest first
        self._arrived_s: dict[int, deque[float]] = {}  # by camera: its last images
        self._closed = False
        self.images = 0
        self.dropped = 0

    def put(self, event: Event) -> Future[Answers]:
        """Leave an event; the future will have its answers, or is cancelled if it is dropped."""
        letter = Letter(event)
        with self._changed:
            if isinstance(event, ImageCame):
                self._put_image(event, letter)
            else:
                self._put_event(letter)
            self._changed.notify()
        return letter.answers

    def pace(self, camera: int) -> Pace | None:
        """How the images of a camera come; None before the first."""
        with self._changed:
            arrived_s = list(self._arrived_s.get(camera, ()))
        if not arrived_s:
            return None
        intervals_s = [later - before for before, later in pairwise(arrived_s)]
        return Pace(arrived_s[-1], median(intervals_s) if intervals_s else 0.0)

    def take(self) -> Letter | None:
        """Wait for a letter and remove it, images last; None once the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._images or self._closed)
            if self._closed:
                return None
            if self._events:
                return self._events.popleft()
            return self._images.pop(next(iter(self._images)))

    def open(self) -> None:
        """Let letters be taken again after `close`."""
        with self._changed:
            self._closed = False

    def close(self) -> None:
        """Wake the reader for the last time; what still waits is dropped."""
        with self._changed:
            self._closed = True
            for letter in self._events:
                letter.answers.cancel()
            self._drop_images(*self._images.values())
            self._events.clear()
            self._images.clear()
            self._changed.notify_all()

    def _put_image(self, event: ImageCame, letter: Letter) -> None:
        """An unread older image of the camera is dropped, and its turn taken over."""
        camera = event.camera
        self.images += 1
        self._arrived_s.setdefault(camera, deque(maxlen=_ARRIVALS_KEPT)).append(event.came_s)
        dropped = letter if self._closed else self._images.get(camera)
        if dropped is not None:
            self._drop_images(dropped)
        if not self._closed:
            self._images[camera] = letter

    def _drop_images(self, *letters: Letter) -> None:
        self.dropped += len(letters)
        for letter in letters:
            letter.answers.cancel()

    def _put_event(self, letter: Letter) -> None:
        if self._closed:
            letter.answers.cancel()
            return
        if isinstance(letter.event, OUTDATES_IMAGES):
            self._drop_images(*self._images.values())
            self._images.clear()
        if len(self._events) >= _MOST_EVENTS:
            self._drop_odometry()
        self._events.append(letter)

    def _drop_odometry(self) -> None:
        for place, letter in enumerate(self._events):
            if isinstance(letter.event, OdometryCame):
                del self._events[place]
                letter.answers.cancel()
                return
        self._events.popleft().answers.cancel()
