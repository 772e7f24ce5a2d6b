"""Under which conditions a query was taken, where its name tells."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vpr_ros.core.types import Rows

CONDITIONS = (
    'day', 'sunset', 'night', 'dawn', 'dusk', 'sun', 'overcast', 'rain', 'fog', 'snow',
    'spring', 'summer', 'autumn', 'winter',
)  # fmt: skip
"""Whole words looked for in file names and in the folders below `queries/`."""


def by_condition(queries: Sequence[Path]) -> dict[str, Rows]:
    """Rows of the queries of each condition; empty where names tell nothing or all the same."""
    found = [_condition(path) for path in queries]
    rows = {
        word: np.flatnonzero([condition == word for condition in found]).astype(np.int64)
        for word in (*CONDITIONS, None)
        if word in found
    }
    if len(rows) < 2:
        return {}
    return {word or 'not told': of_it for word, of_it in rows.items()}


def _condition(path: Path) -> str | None:
    parts = path.parts
    below = parts[parts.index('queries') + 1 :] if 'queries' in parts else parts[-1:]
    words = re.split(r'[^a-z]+', '/'.join(below).lower())
    return next((word for word in words if word in CONDITIONS), None)
