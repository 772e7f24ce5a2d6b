"""Recall over N as a chart, the same on every page."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from vpr_ros.report.charts import SERIES_TONES, Chart, Series


class Recall(Protocol):
    """The part of a recall that a chart needs."""

    @property
    def at(self) -> Mapping[int, float]:
        """N -> share in [0, 1]."""

    @property
    def interval(self) -> Mapping[int, tuple[float, float]]:
        """N -> 95 % interval."""


def recall_chart(rows: Mapping[str, Recall]) -> Chart:
    """Recall over N with its 95 % interval, a line for each name."""
    series = []
    for number, (name, recall) in enumerate(rows.items()):
        low, high = np.array(list(recall.interval.values())).T
        series.append(
            Series(
                name,
                np.array(list(recall.at), dtype=np.float64),
                np.array(list(recall.at.values())),
                SERIES_TONES[number % len(SERIES_TONES)],
                low=low,
                high=high,
            )
        )
    return Chart(
        'Recall over N',
        'N, first answers that are looked at',
        'recall',
        series,
        y_range=(0, 1),
        note='The band is the 95 % interval.',
    )
