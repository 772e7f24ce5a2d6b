"""Waiting for the thing itself, in place of sleeping for as long as it should take."""

import time
from collections.abc import Callable
from pathlib import Path


def until(done: Callable[[], bool], otherwise: str, *, longest_s: float = 60.0) -> None:
    """Return as soon as a condition holds; fail after a time that no machine should need."""
    deadline = time.monotonic() + longest_s
    while not done():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.005)


def until_begun(folder: Path, bytes_: int = 10_000) -> None:
    """Return as soon as another process has written that much of what will replace a map."""
    hidden = f'.{folder.name}.*/**/*'

    def written() -> int:
        return sum(path.stat().st_size for path in folder.parent.glob(hidden) if path.is_file())

    until(lambda: written() >= bytes_, f'nothing is written beside {folder}')
