"""Settings of the training images."""

import os
from dataclasses import dataclass
from typing import Literal

from vpr_training.basics.errors import TrainingError

_SPARED_CORES, _MOST_WORKERS = 1, 8


def sane_workers() -> int:
    """Processes that read images: the cores less one for the trainer, at most eight."""
    return max(0, min(len(os.sched_getaffinity(0)) - _SPARED_CORES, _MOST_WORKERS))


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Training images, and how batches are made of them."""

    root: str = ''
    """GSV-Cities, GSV-XS, a folder with places.csv, or a drive: bag, posed folder, or several."""
    cities: tuple[str, ...] = ()
    """Only these cities; empty: all that are there."""
    places_per_batch: int = 32
    """Places in a batch (P), at most; every process of a run has a batch of its own."""
    images_per_place: int = 4
    """Images of each place in a batch (K); 1: root is any folder of images, without places."""
    min_images_per_place: int = 4
    """Places with fewer images are left out."""
    held_out: float = 0.0
    """Drives and places.csv: share of the route's places to measure on, in whole stretches."""
    in_city: bool = False
    """Whether all places of a batch are of one city."""
    augment: Literal['randaugment', 'none'] = 'randaugment'
    """What is done to each image: RandAugment (Cubuk et al. 2020), or nothing."""
    augment_operations: int = 3
    """Operations of RandAugment for each image, one after another."""
    augment_magnitude: int = 9
    """Strength of the operations, 0 to 30."""
    augment_crop: float = 1.0
    """Least share of the picture that a random crop keeps, before the operations; 1: no crop."""
    disturb: float = 0.0
    """Other light, colours, resolution and noise, 0 to 1; a teacher sees the images without it."""
    workers: int = -1
    """Processes that read images; 0: the trainer's own; -1: the cores less one, at most eight."""
    place_radius: float = 2.0
    """Own drives: metres from a place's centre within which an image is of that place."""
    place_gap: float = 2.0
    """Own drives: metres between two places, whose images are left out: are they one or two?"""
    place_heading: float = 30.0
    """Own drives: degrees between images and the centre of their place, at most."""
    image_topic: str = ''
    """Own drives in bags: the topic of the images; empty: the only one."""
    pose_topic: str = ''
    """Own drives in bags: the topic of the poses; empty: chosen as --pose-topic of build_map."""
    tf_frames: str = ''
    """Own drives in bags: take poses from tf between these two frames, as 'map base_link'."""
    tf_topic: str = ''
    """Own drives in bags: the topic of tf; empty: that of the image topic's namespace."""
    max_pose_gap: float = 0.0
    """Own drives in bags: seconds between two poses that are bridged; 0: as build_map does."""

    @property
    def reading_processes(self) -> int:
        """Workers, counted where the setting leaves it open."""
        return sane_workers() if self.workers < 0 else self.workers

    def check(self) -> None:
        """Raise TrainingError for a value that cannot be."""
        for name, low, high in (
            ('places_per_batch', 2, 10_000),
            ('images_per_place', 1, 1000),
            ('workers', -1, 256),
            ('augment_operations', 1, 14),
            ('augment_magnitude', 0, 30),
            ('augment_crop', 0.05, 1),
            ('disturb', 0, 1),
            ('held_out', 0, 0.9),
            ('place_radius', 1e-6, 1e6),
            ('place_gap', 0, 1e6),
            ('place_heading', 0, 180),
            ('max_pose_gap', 0, 1e6),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise TrainingError(f'data.{name} is {value}, expected {low:g} to {high:g}')
        if len(self.tf_frames.split()) not in (0, 2):
            raise TrainingError(
                f'data.tf_frames is {self.tf_frames!r}, expected two frames, as map base_link'
            )
        if self.min_images_per_place < self.images_per_place:
            raise TrainingError(
                f'data.min_images_per_place is {self.min_images_per_place}, expected at least '
                f'images_per_place, {self.images_per_place}: every place gives that many to a '
                'batch'
            )
