"""What the places of a map have in common, and how far some of them stand out of it.

A row of similarities is the product of all descriptors with one query. So is a row less its
background, which is a mean of earlier rows: it is the product with the query less a mean of
earlier queries. Each place of such a row costs one product of vectors, and no place needs the
others. What needs them all, the row's mean and spread, is taken from some thousand places of a
large map, evenly along its drives. A small map has the whole row at hand, and works on that.
"""

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.mapping.index import ExactIndex
from vpr_ros.core.mapping.products import products
from vpr_ros.core.types import Descriptors, Rows

Array: TypeAlias = NDArray[np.float32]

EVERY_PLACE = 4096
"""Places up to which all of them are compared with each query."""

_SAMPLE, _SAMPLE_NUMBERS = 2048, 8_000_000  # places that stand for a larger map, at most
_LEAST_SQUARED = 1e-6


class Background(Protocol):
    """How similar every place of a map is to the map itself.

    A query stands for its row of similarities: it is this row [N] of a small map, and the
    descriptor [D] of a large one. So do the mean of queries, and a query less a mean: a contrast.
    """

    @property
    def has_all(self) -> bool:
        """Whether a query is its row, of all places."""
        ...

    @property
    def mean(self) -> Array:
        """The background of all places, in the form of a query."""
        ...

    def row(self, contrast: Array) -> Array:
        """Unscaled similarity of places to a contrast: [N] of a small map, [S] of a sample.

        It is the product with each place's descriptor less the mean, brought to unit length.
        """
        ...

    def row_at(self, places: Rows, contrast: Array) -> Array:
        """The same at places [K]."""
        ...


@dataclass(frozen=True, slots=True)
class WholeBackground:
    """The background of a small map."""

    mean: Array  # [N], mean similarity of a place to all places
    distance: Array  # [N], of a place's descriptor from the mean descriptor

    @property
    def has_all(self) -> bool:
        """See Background."""
        return True

    def row(self, contrast: Array) -> Array:
        """See Background."""
        return np.asarray((contrast - contrast.mean()) / self.distance)

    def row_at(self, places: Rows, contrast: Array) -> Array:
        """See Background."""
        return self.row(contrast)[places]


class SampledBackground:
    """The background of a large map."""

    def __init__(self, index: ExactIndex) -> None:
        """Reads the descriptors of a sample."""
        self._index = index
        size = min(_SAMPLE, max(_SAMPLE_NUMBERS // index.size, 1))
        sample = index.rows(np.linspace(0, len(index) - 1, size).astype(np.int64))  # [S, D]
        self.mean: Array = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._sample = sample - self.mean
        self._sample /= _distance(products(sample, self.mean), self.mean)[:, None]
        self._distances: Array = np.zeros(len(index), np.float32)  # [N], 0: not asked for yet

    @property
    def has_all(self) -> bool:
        """See Background."""
        return False

    def row(self, contrast: Array) -> Array:
        """See Background."""
        return products(self._sample, contrast)

    def row_at(self, places: Rows, contrast: Array) -> Array:
        """See Background."""
        unknown = places[self._distances[places] == 0]
        if len(unknown):
            similarity = self._index.similar_about(unknown, self.mean)
            self._distances[unknown] = _distance(similarity, self.mean)
        similarity = self._index.similar_about(places, contrast)
        return np.asarray((similarity - self.mean @ contrast) / self._distances[places])


def map_background(index: ExactIndex) -> Background:
    """One pass over the descriptors of a small map, and over a sample of a large one."""
    if len(index) > EVERY_PLACE:
        return SampledBackground(index)
    mean = index.mean()
    similarity = index.similarities(mean)
    return WholeBackground(similarity, _distance(similarity, mean))


def _distance(similarity: Array, mean: Descriptors) -> Array:
    """Distance of descriptors from the mean [D]; similarity: of each to the mean."""
    squared: NDArray[np.floating[Any]] = 1 - 2 * similarity + mean @ mean
    return np.asarray(np.sqrt(np.maximum(squared, _LEAST_SQUARED)), dtype=np.float32)
