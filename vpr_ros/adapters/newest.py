"""The newest-frame policy: a slot that always holds the latest message.

It is for a reader slower than the camera. A queue would make a slow model lag further and further
behind; a slot makes it drop frames and stay current.
"""

from threading import Condition
from typing import Generic, TypeVar

Message = TypeVar('Message')


class Newest(Generic[Message]):
    """A slot for one message, with a count of those that were overwritten unread."""

    def __init__(self) -> None:
        """Start empty and open."""
        self._changed = Condition()
        self._message: Message | None = None
        self._closed = False
        self.dropped = 0

    def put(self, message: Message) -> None:
        """Store a message; an unread older one is dropped."""
        with self._changed:
            self.dropped += self._message is not None
            self._message = message
            self._changed.notify()

    def take(self) -> Message | None:
        """Wait for a message and remove it; None once the slot is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._message is not None or self._closed)
            if self._closed:
                return None
            message, self._message = self._message, None
            return message

    def close(self) -> None:
        """Wake the reader for the last time."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
