"""The newest-frame policy: a slot for each camera that always holds its latest message.

It is for a reader slower than the cameras. A queue would make a slow model lag further and further
behind; slots make it drop frames and stay current, and no camera starves another.
"""

from threading import Condition
from typing import Generic, TypeVar

Message = TypeVar('Message')


class Newest(Generic[Message]):
    """One message of each camera, with a count of those that were overwritten unread."""

    def __init__(self) -> None:
        """Start empty and open."""
        self._changed = Condition()
        self._messages: dict[int, Message] = {}  # by camera, the one that waits longest first
        self._closed = False
        self.dropped = 0

    def put(self, message: Message, camera: int = 0) -> None:
        """Store a camera's message; an unread older one is dropped, and its turn taken over."""
        with self._changed:
            self.dropped += camera in self._messages
            self._messages[camera] = message
            self._changed.notify()

    def take(self) -> Message | None:
        """Wait for a message and remove it; None once the slots are closed."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._messages) or self._closed)
            if self._closed:
                return None
            return self._messages.pop(next(iter(self._messages)))

    def close(self) -> None:
        """Wake the reader for the last time."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
