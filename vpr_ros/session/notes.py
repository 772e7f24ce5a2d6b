"""What the operator is told once in a session."""

from collections.abc import Iterator

from vpr_ros.session.answers import Level, Noted


class Notes:
    """Remembers which notes were given."""

    def __init__(self) -> None:
        """Start without any."""
        self._given: set[str] = set()

    def __len__(self) -> int:
        """How many different notes were given."""
        return len(self._given)

    def once(self, text: str, *, key: str = '', level: Level = 'warning') -> Iterator[Noted]:
        """A note, if it is new; key: what makes two texts the same."""
        key = key or text
        if key not in self._given:
            self._given.add(key)
            yield Noted(text, level)
