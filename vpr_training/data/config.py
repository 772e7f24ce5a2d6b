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
    """GSV-Cities, GSV-XS, a folder with places.csv, or drives: bag, posed folder, or several."""
    cities: tuple[str, ...] = ()
    """Use only these cities. Empty means all."""
    places_per_batch: int = 32
    """Largest number of places in a batch (P). Every process of a run has its own batch."""
    images_per_place: int = 4
    """Images of each place in a batch (K). 1 takes any folder of images, without places."""
    min_images_per_place: int = 4
    """The trainer leaves out places with fewer images."""
    held_out: float = 0.0
    """Drives and places.csv: share of the places to keep for measuring, in whole stretches."""
    in_city: bool = False
    """Whether all places of a batch come from one city."""
    augment: Literal['randaugment', 'none'] = 'randaugment'
    """Augmentation of each image: RandAugment (Cubuk et al. 2020), or none."""
    augment_operations: int = 3
    """Number of RandAugment operations for each image, one after another."""
    augment_magnitude: int = 9
    """Strength of the operations, from 0 to 30."""
    augment_crop: float = 1.0
    """Smallest share of the picture that a random crop keeps. 1 means no crop."""
    disturb: float = 0.0
    """Strength of changes in light, colour, resolution and noise, 0 to 1. A teacher sees none."""
    workers: int = -1
    """Processes that read images. 0: the trainer itself; -1: all cores but one, at most eight."""
    place_radius: float = 2.0
    """Own drives: an image within this many metres of a place's centre belongs to that place."""
    place_gap: float = 2.0
    """Own drives: gap in metres between two places. Images in the gap are left out."""
    place_heading: float = 30.0
    """Own drives: largest angle in degrees between an image and the centre of its place."""
    image_topic: str = ''
    """Own drives in bags: topic of the images. Empty means the only one."""
    pose_topic: str = ''
    """Own drives in bags: topic of the poses. Empty chooses one, as build_map does."""
    pose_files: tuple[str, ...] = ()
    """Own drives in bags: trajectories in TUM format, instead of the poses of the bags."""
    tf_frames: str = ''
    """Own drives in bags: take the poses from tf between two frames, such as 'map base_link'."""
    tf_topic: str = ''
    """Own drives in bags: topic of tf. Empty means the one in the namespace of the image topic."""
    max_pose_gap: float = 0.0
    """Own drives in bags: longest gap between poses to bridge, in seconds. 0: as build_map."""

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
        if self.pose_files and (self.pose_topic or self.tf_frames):
            raise TrainingError(
                'data.pose_files, data.pose_topic and data.tf_frames say where the poses come '
                'from; give one of them'
            )
        if self.min_images_per_place < self.images_per_place:
            raise TrainingError(
                f'data.min_images_per_place is {self.min_images_per_place}, expected at least '
                f'images_per_place, {self.images_per_place}: every place gives that many to a '
                'batch'
            )
