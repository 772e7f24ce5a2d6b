"""How long runs will train on this machine, answered in seconds.

A step of a full batch takes half a minute on a busy processor, and a table has dozens of runs. So
a few images go through each network, and the time of one image stands for all of them. Networks
and training sets that runs share are looked at once.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch

from vpr_training.data.config import DataConfig
from vpr_training.data.layouts import open_places
from vpr_training.data.sampler import PlaceSampler
from vpr_training.models.network import ExportedNetwork, Network, NetworkConfig
from vpr_training.paper.seeded_run import Run
from vpr_training.runs.settings import TrainConfig

_IMAGES = 8  # of the measurement; a batch norm needs two
_PASSES = 3  # the quickest counts: the first one allocates, and others may use the machine

_Found = TypeVar('_Found')


class Forecast:
    """The time that runs still train here, by their own epochs or by a measurement."""

    def __init__(self) -> None:
        self._settings: dict[str, TrainConfig] = {}
        self._batches: dict[str, int] = {}
        self._seconds_per_image: dict[str, float] = {}

    def seconds_left(self, run: Run) -> float:
        """Seconds until a run is trained; raises TrainingError where its data cannot be read."""
        if run.state() in ('trained', 'measured'):
            return 0.0
        same = (run.config, *(flag for flag in run.overrides if not flag.startswith('--seed=')))
        config = _once(self._settings, repr(same), run.settings)
        batches = _once(self._batches, repr(config.data), lambda: _batches(config))
        history = [row for row in run.history() if 'seconds' in row]
        if history:
            return history[-1]['seconds'] * max(config.epochs_of(batches) - len(history), 0)
        images = config.data.places_per_batch * config.data.images_per_place
        seconds = _once(
            self._seconds_per_image,
            repr(config.network),
            lambda: seconds_per_image(config.network),
        )
        return seconds * images * (config.steps or batches * config.epochs)


def seconds_per_image(config: NetworkConfig) -> float:
    """Time that one image takes forth and back through a network on this machine's processor.

    The images are noise; reading them and the loss are not included.
    """
    network = ExportedNetwork(Network(replace(config, weights=None)), cells=False)
    size = (_IMAGES, config.image_height, config.image_width, 3)
    noise = torch.randint(0, 256, size, dtype=torch.uint8)
    took = []
    for _ in range(_PASSES):
        started = time.monotonic()
        network(noise).sum().backward()
        took.append(time.monotonic() - started)
    return min(took) / _IMAGES


def _batches(config: TrainConfig) -> int:
    """Batches of an epoch."""
    data: DataConfig = config.data
    return len(PlaceSampler(open_places(data), data, seed=config.seed))


def _once(held: dict[str, _Found], key: str, find: Callable[[], _Found]) -> _Found:
    """What is held for a key, found when it is first asked for."""
    if key not in held:
        held[key] = find()
    return held[key]
