"""Batches of training images, read, decoded and augmented by worker processes.

A picture depends on (seed, epoch, image) only: not on the workers, their number, or on where a run
was resumed. Batches are bytes; they become normalized floats on the device, which moves a quarter
of the data.
"""

import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vpr_ros.core.errors import ImageError, VprError
from vpr_ros.core.image import read, resize
from vpr_ros.core.types import Image
from vpr_training.basics.errors import DatasetError
from vpr_training.data.augmentation import rand_augment, random_crop
from vpr_training.data.config import DataConfig
from vpr_training.data.places import PlaceSet
from vpr_training.data.sampler import PlaceSampler

_PREFETCHED = 3  # batches that each worker has ready


class _Images(Dataset[tuple[Image, int]]):
    """(epoch, row) -> image of the network's size, and its place."""

    def __init__(
        self, places: PlaceSet, config: DataConfig, size_hw: tuple[int, int], seed: int
    ) -> None:
        self._places, self._config, self._size_hw, self._seed = places, config, size_hw, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Image, int]:
        epoch, row = key
        place = int(self._places.place_of(np.array([row]))[0])
        rng = np.random.default_rng([self._seed, epoch, row])
        image = self._usable(place, row)
        if self._config.augment_crop < 1:
            image = random_crop(image, rng, least_share=self._config.augment_crop)
        image = resize(image, self._size_hw)
        if self._config.augment == 'randaugment':
            image = rand_augment(
                image,
                rng,
                operations=self._config.augment_operations,
                magnitude=self._config.augment_magnitude,
            )
        return image, place

    def _usable(self, place: int, row: int) -> Image:
        """The image, or the next of its place that can be read; DatasetError if none can."""
        rows = self._places.rows(place)
        for other in np.roll(rows, -int(np.flatnonzero(rows == row)[0])):
            try:
                return read(self._places.path(int(other)), at_least_hw=self._size_hw)
            except ImageError as error:
                warnings.warn(f'{error}; another image of its place is used', stacklevel=2)
        raise DatasetError(
            f'{self._places.path(row)}: neither this image nor another one of its place can be '
            'read; python -m vpr_training.data inspect --deep lists all broken files'
        )


class TrainingBatches:
    """The batches of an epoch: images uint8 [P * K, H, W, 3] and places int64 [P * K].

    See PlaceSampler for the places of a batch.
    """

    def __init__(
        self, places: PlaceSet, config: DataConfig, sampler: PlaceSampler, *,
        size_hw: tuple[int, int], seed: int,
    ) -> None:  # fmt: skip
        workers = config.reading_processes
        self.images_per_batch = config.places_per_batch * config.images_per_place  # at most
        self._sampler = sampler
        self._loader = DataLoader(
            _Images(places, config, size_hw, seed),
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=_collate,
            worker_init_fn=start_worker,
            persistent_workers=workers > 0,
            prefetch_factor=_PREFETCHED if workers else None,
            pin_memory=torch.cuda.is_available(),
        )

    @property
    def left_out(self) -> tuple[str, ...]:
        """What is never in a batch and why, for people."""
        return self._sampler.left_out

    @property
    def order(self) -> str:
        """A digest of all batches of the chosen epoch; equal where they have the same places."""
        return self._sampler.order

    def set_epoch(self, epoch: int, *, start_batch: int = 0) -> None:
        """Choose what the next iteration gives: an epoch's batches from `start_batch` on.

        start_batch: in the list of all processes.
        """
        self._sampler.epoch, self._sampler.start_batch = epoch, start_batch

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return len(self._sampler)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return started(self._loader)


def training_batches(
    places: PlaceSet,
    config: DataConfig,
    *,
    height: int,
    width: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    every_place: bool = False,
) -> TrainingBatches:
    """Batches of a set in the network's size; DatasetError with too few places for one.

    every_place: whether there is a short batch of the places that are left over.
    """
    sampler = PlaceSampler(
        places,
        config,
        seed=seed,
        rank=rank,
        world_size=world_size,
        every_place=every_place,
    )
    return TrainingBatches(places, config, sampler, size_hw=(height, width), seed=seed)


def started(loader: DataLoader[Any]) -> Iterator[Any]:
    """The batches of a loader, whose processes are started at once.

    Raises the VprError of a process without the traceback that torch puts before it.
    """
    with _opencv_can_be_forked():
        batches = iter(loader)
    return _in_own_words(batches)


def _in_own_words(batches: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from batches
    except VprError as error:
        kind = type(error)
        raise kind(str(error).rpartition(f'{kind.__name__}: ')[2].strip()) from error


@contextmanager
def _opencv_can_be_forked() -> Iterator[None]:
    """Let OpenCV have no threads inside the block, where worker processes are started.

    A forked process has OpenCV's account of its threads but not the threads, and would wait for
    them forever.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _collate(items: list[tuple[Image, int]]) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(np.stack([image for image, _ in items]))
    return images, torch.tensor([place for _, place in items], dtype=torch.int64)


def start_worker(number: int) -> None:
    """Leave Ctrl-C to the trainer, which saves first, and the cores to the other workers.

    SIGTERM ends a worker only if the trainer sends it. `timeout` and service managers send it to
    every process, and the trainer could not end its batch if its workers went at once.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_trainer, args=(os.getppid(),), daemon=True).start()
    cv2.setNumThreads(1)


def _end_with_trainer(trainer: int) -> None:
    """Wait for the SIGTERM of the trainer's process, and end."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trainer:
        pass
    os._exit(0)
