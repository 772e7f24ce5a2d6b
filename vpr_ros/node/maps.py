"""Another map, or a new version of it, for a session that goes on: `~/load_map` and `map`.

A map is opened in a thread of its own, so that neither the executor nor the session waits for it.
Frames are answered by the old map until the new one is open and checked. Then one event hands it
to the session, which goes over to it between two frames. A map that cannot be used is refused, and
the old one stays.

rclpy polls a service callback that awaits something. `_Answer` waits for a moment at each poll, so
that polling takes no core while a large map is opened.
"""

import gc
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from vpr_ros.core.errors import ConfigError, VprError, told
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.mapping.header import now
from vpr_ros.core.mapping.same_places import rows_before
from vpr_ros.node.opening import check_replacement, expanded, open_map
from vpr_ros.node.topics import LOAD_MAP
from vpr_ros.session.answers import Refused, Replied
from vpr_ros.session.events import MapOpened
from vpr_ros.session.mailbox import Mailbox
from vpr_ros.session.session import Session

LoadMap = LOAD_MAP.kind

_POLL_S = 0.002
_END_S = 5.0  # how long ending the node waits for a map that is being opened
_DEACTIVATED = 'the node is being deactivated; the map stays as it was'


@dataclass(frozen=True, slots=True)
class Loading:
    """One map on its way."""

    folder: str  # as it was given
    checked: 'Future[None]' = field(default_factory=Future)  # map.yaml fits model and old map
    done: 'Future[str]' = field(default_factory=Future)  # the session works on it


class MapLoader:
    """Opens maps for a running session, one at a time."""

    def __init__(
        self,
        session: Session,
        mailbox: Mailbox,
        *,
        serving: str,
        finished: Callable[[Loading, str], None],
    ) -> None:
        """serving: the session's map as the parameter names it.

        finished: is told, in a thread of its own, of each map and why it was refused, or ''.
        """
        self.serving = serving
        self._session = session
        self._mailbox = mailbox
        self._finished = finished
        self._loading: Loading | None = None
        self._thread: Thread | None = None
        self._handed: Localizer | None = None  # to the session, which may not have come to it yet
        self._closed = False

    def begin(self, folder: str) -> Loading:
        """Begin to open a map; raises ConfigError while another one is being opened."""
        if self._loading is not None:
            raise ConfigError(
                f'map: {self._loading.folder} is still being opened; ask for {folder} again later'
            )
        self._loading = loading = Loading(folder)
        self._handed = None
        self._session.counts.say(**{'map being opened': folder})
        self._thread = Thread(target=self._run, args=[loading], name='map', daemon=True)
        self._thread.start()
        return loading

    def close(self) -> None:
        """Refuse what the session has not gone over to; called once the session rests.

        A thread that still opens a map ends by itself.
        """
        self._closed = True
        if self._handed is self._session.localizer:
            self.join()  # the thread has yet to tell that the map is another one
        elif (loading := self._loading) is not None:
            _end(loading, _DEACTIVATED)

    def join(self) -> None:
        """Wait for the thread, but not for ever."""
        if self._thread is not None:
            self._thread.join(_END_S)

    def _run(self, loading: Loading) -> None:
        said, refusal = '', ''
        try:
            said = self._load(loading)
        except CancelledError:
            refusal = _DEACTIVATED
        except Exception as error:
            refusal = told(error)
        gc.collect()  # what of the old map is in a cycle is let go here, and not in a frame
        self._note(loading, refusal)
        self._loading = None
        try:
            self._finished(loading, refusal)
        finally:
            _end(loading, refusal, said)
            self._handed = None  # one that was refused holds a whole map

    def _load(self, loading: Loading) -> str:
        """Open, check and hand over; returns what the session says. Raises VprError."""
        if not loading.folder:
            raise ConfigError('map: no folder given; make one with build_map')
        folder, before = expanded(loading.folder), self._session.localizer
        check_replacement(folder, before)
        with suppress(InvalidStateError):
            loading.checked.set_result(None)
        localizer = before.with_map(open_map(folder, before.describer.model))
        check_replacement(folder, before, header=localizer.place_map.header)
        rows = rows_before(localizer.place_map, before.place_map)
        if self._closed:
            raise CancelledError
        self._handed = localizer
        for answer in self._mailbox.put(MapOpened(localizer, before.place_map.id, rows)).result():
            if isinstance(answer, Refused):
                raise VprError(answer.text)
            if isinstance(answer, Replied):
                return answer.text
        raise VprError('the session gave no reply')

    def _note(self, loading: Loading, refusal: str) -> None:
        """Update what diagnostics say about maps."""
        counts = self._session.counts
        counts.say(**{'map being opened': ''})
        if refusal:
            counts.say(**{'map refused': f'{loading.folder} at {now()}: {refusal}'})
        else:
            self.serving = loading.folder
            counts.say(**{'map opened': now(), 'map refused': ''})


def _end(loading: Loading, refusal: str, said: str = '') -> None:
    """Answer those who wait, unless they were answered before."""
    for waited in (loading.checked, loading.done):
        with suppress(InvalidStateError):
            if refusal:
                waited.set_exception(VprError(refusal))
    with suppress(InvalidStateError):
        if not refusal:
            loading.done.set_result(said)


def begin_checked(begin: Callable[[str], Loading], folder: str, *, patience_s: float) -> None:
    """Begin to open a map and wait for a moment; raises VprError where it is refused by then."""
    with suppress(FutureTimeoutError):
        begin(folder).checked.result(patience_s)


class _Answer:
    """Waits for a future in a callback of rclpy."""

    def __init__(self, future: 'Future[str]') -> None:
        self._future = future

    def __await__(self) -> Generator[None, None, str]:
        while not self._future.done():
            with suppress(FutureTimeoutError):
                self._future.exception(_POLL_S)
            yield
        return self._future.result()


def serve_maps(node: Node, begin: Callable[[str], Loading], map_id: Callable[[], str]) -> None:
    """Serve ~/load_map for as long as the node lives, where vpr_msgs is built.

    begin: opens a map; map_id: of the one that is served. Other callbacks run while one waits.
    """
    if LoadMap is None:
        return

    async def serve(request: Any, response: Any) -> Any:
        try:
            response.message = await _Answer(begin(request.folder).done)
            response.success = True
        except Exception as error:
            response.success, response.message = False, told(error)
        response.map_id = map_id()
        return response

    node.create_service(LoadMap, LOAD_MAP.name, serve, callback_group=ReentrantCallbackGroup())
