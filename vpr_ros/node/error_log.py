"""Log an error at once, and the same one again after a while; and what lasts, once it has lasted.

rclpy's own throttle is one for all that a line of code logs: a camera of broken images would hide
that an initial pose was refused.
"""

import math
import re
import time
from collections.abc import Callable
from threading import Lock

_AGAIN_S = 2.0
_NUMBER = re.compile(r'\d+')


class ErrorLog:
    """The errors of all threads; two that differ in their numbers only are the same."""

    def __init__(
        self, log: Callable[[str], object], *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        """log: writes one line; now_s: a clock that does not jump."""
        self._log, self._now_s = log, now_s
        self._lock = Lock()
        self._logged_s: dict[str, float] = {}  # when, lately

    def say(self, error: str) -> None:
        """Log it, unless it was logged just now."""
        kind = _NUMBER.sub('', error)
        with self._lock:
            now_s = self._now_s()
            self._logged_s = {
                one: at_s for one, at_s in self._logged_s.items() if now_s - at_s < _AGAIN_S
            }
            if kind in self._logged_s:
                return
            self._logged_s[kind] = now_s
        self._log(error)


class LastingLog:
    """What is wrong may be over in a moment: it is logged, once, when it has lasted."""

    def __init__(
        self,
        log: Callable[[str], object],
        *,
        after_s: float,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """log: writes one line; after_s: how long it has to last."""
        self._log, self._after_s, self._now_s = log, after_s, now_s
        self._since_s = math.inf
        self._said = ''

    def take(self, wrong: str) -> bool:
        """Note what is wrong now, '' for nothing; returns whether something has lasted."""
        now_s = self._now_s()
        if not wrong:
            self._since_s, self._said = math.inf, ''
            return False
        self._since_s = min(self._since_s, now_s)
        lasts = now_s - self._since_s >= self._after_s
        if lasts and wrong != self._said:
            self._said = wrong
            self._log(wrong)
        return lasts
