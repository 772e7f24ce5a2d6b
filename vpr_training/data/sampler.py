"""P places with K images each: the batches of an epoch, the same for the same seed and epoch.

An epoch shows every place once and K images of it, drawn anew. A loss compares the places of a
batch, so the last, short batch is left out; whoever needs every place asks for it. Where there are
fewer than P places, a batch has all of them. If batches are of one city, P is at most the number
of places in the largest one, and smaller cities are left out.
Nothing is kept between epochs, so that a run can go on anywhere: the batches are a function of
(seed, epoch), and several processes deal out what is left of the same list. So a run may go on
with another number of processes.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.plurals import counted
from vpr_training.basics.errors import DatasetError
from vpr_training.data.config import DataConfig
from vpr_training.data.places import PlaceSet


class PlaceSampler:
    """Batches of image rows [P * K], images of a place next to each other."""

    def __init__(
        self,
        places: PlaceSet,
        config: DataConfig,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        every_place: bool = False,
    ) -> None:
        """Prepare the batches; DatasetError with too few places for one.

        rank: which of `world_size` processes this is; every_place: whether there is a short batch
        of what is left over.
        """
        self._places, self._seed = places, seed
        self._rank, self._world_size = rank, world_size
        self._k, self._in_city = config.images_per_place, config.in_city
        self._p = min(config.places_per_batch, max(2, *self._group_sizes()))
        self.epoch = 0
        self.start_batch = 0  # in the list of all processes
        self._least = 1 if every_place else self._p  # places of a batch
        sizes = self._group_sizes()
        self._batches = sum((size - self._least) // self._p + 1 for size in sizes) // world_size
        if sum(size // self._p for size in sizes) < world_size:
            within = 'of one city ' if config.in_city else ''
            raise DatasetError(
                f'{places.name}: {counted(places.places, "place is", "places are")} too few for a '
                f'batch of {counted(self._p, "place")} {within}for each of '
                f'{counted(world_size, "process")}; '
                + (
                    'lower data.places_per_batch'
                    if self._p > 2
                    else 'a batch needs at least two places'
                )
            )

    @property
    def left_out(self) -> tuple[str, ...]:
        """What is never in a batch and why, for people."""
        small = [count for count in self._group_sizes() if count < self._least]
        if not small:
            return ()
        return (
            f'{counted(sum(small), "place")} of {counted(len(small), "city")} with fewer places '
            f'than a batch has, {self._p} (data.in_city); lower data.places_per_batch to use them',
        )

    @property
    def order(self) -> str:
        """A digest of the epoch's batches; equal where all have the same places."""
        batches = self._batches_of_places(np.random.default_rng([self._seed, self.epoch]))
        found = hashlib.sha256()
        for places in batches:
            names = self._places.files[self._places.starts[places]]
            found.update('\n'.join([*names.tolist(), '\n']).encode(errors='surrogateescape'))
        return found.hexdigest()

    def __len__(self) -> int:
        """Batches in a whole epoch, for each process."""
        return self._batches

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """(epoch, row) of each image of a batch, of those from `start_batch` of the list on."""
        rng = np.random.default_rng([self._seed, self.epoch])
        batches = self._batches_of_places(rng)[self.start_batch :]
        used = len(batches) // self._world_size * self._world_size  # as many for each process
        for places in batches[self._rank : used : self._world_size]:
            yield [(self.epoch, row) for place in places for row in self._images(int(place))]

    def _batches_of_places(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """All batches of an epoch, P places or what is left over, in random order."""
        batches = []
        for group in self._groups():
            mixed = rng.permutation(group)
            batches += [
                mixed[start : start + self._p]
                for start in range(0, len(mixed) - self._least + 1, self._p)
            ]
        return [batches[row] for row in rng.permutation(len(batches))]

    def _groups(self) -> list[NDArray[np.int64]]:
        """Places that may share a batch."""
        if not self._in_city:
            return [np.arange(self._places.places)]
        return [
            np.flatnonzero(self._places.city == city) for city in range(len(self._places.cities))
        ]

    def _group_sizes(self) -> list[int]:
        return [len(group) for group in self._groups()]

    def _images(self, place: int) -> list[int]:
        """K different images of a place, drawn for this epoch."""
        rng = np.random.default_rng([self._seed, self.epoch, place])
        return [int(row) for row in rng.choice(self._places.rows(place), self._k, replace=False)]
