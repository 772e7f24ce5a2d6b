"""A part of a training set that is kept out, to measure on places that nothing was learned from.

Whole stretches of the route are kept out, for single frames would leave their neighbours, which
look almost the same, in the training.
"""

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.plurals import counted
from vpr_training.basics.errors import DatasetError

_PLACES_IN_STRETCH, _MOST_STRETCHES = 4, 5


def stretches(places: int, share: float) -> NDArray[np.bool_]:
    """Which of a route's places are kept out, [P], in its order: evenly spaced stretches.

    As many places as the share says, rounded, and one at least; stretches of four places and more,
    five at most. Raises DatasetError where nothing is left to learn from.
    """
    wanted = max(round(places * share), 1)
    if wanted >= places:
        raise DatasetError(
            f'data.held_out is {share:g}, which leaves none of the '
            f'{counted(places, "place")} to learn from; lower it'
        )
    count = min(max(wanted // _PLACES_IN_STRETCH, 1), _MOST_STRETCHES)
    held = np.zeros(places, dtype=bool)
    sections = np.array_split(np.arange(places), count)
    for section, length in zip(sections, _shared(wanted, count), strict=True):
        first = (len(section) - length) // 2
        held[section[first : first + length]] = True
    return held


def _shared(total: int, parts: int) -> list[int]:
    """Whole numbers as equal as can be that add up to the total."""
    return [len(part) for part in np.array_split(np.arange(total), parts)]
