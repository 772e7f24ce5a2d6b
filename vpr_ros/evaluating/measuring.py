"""Measure the ways of localizing on the same drives, offline or through the running node.

Offline, the images go straight through the core, as fast as the model runs. Through the node they
go at the bag's own speed, which adds dropped frames and the latency to the pose.
"""

import math
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.errors import noting
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.rig import MountedCamera
from vpr_ros.core.plurals import counted
from vpr_ros.core.settings import checked
from vpr_ros.drives.drive import Drive, add_note, notes_of
from vpr_ros.drives.posed_images import Unusable, frames_of
from vpr_ros.drives.same_frame import (
    OWN_FIGURES,
    note_mapped,
    note_same_time,
    note_view,
    require_frame_of_map,
)
from vpr_ros.evaluating.answers import Answer, OnLocated, answers_offline
from vpr_ros.evaluating.figures import Evaluation, by_time, evaluate, pooled
from vpr_ros.evaluating.logs import logged, node_logs_to
from vpr_ros.evaluating.setups import Setup, said
from vpr_ros.evaluating.tolerance import Tolerance
from vpr_ros.evaluating.turned import turned_said


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How drives are localized and judged, the same for every setup."""

    tolerance: Tolerance
    live: bool = False
    rate: float = 1.0  # times the recorded speed, with `live`
    every_image: bool = False  # with `live`: each after the answer to the one before
    threads: int = 0
    precision: str = 'auto'  # of the node's model, with `live`
    image_topic: str | None = None
    max_pose_gap_s: float | None = None
    split_every_s: float | None = None
    rerun: Path | None = None  # file of a log, of one drive


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A setup and its results."""

    setup: Setup
    evaluation: Evaluation  # all drives
    splits: Mapping[str, Evaluation]  # by drive and by time; may be empty
    live: bool
    every_image: bool  # with `live`: each was sent after the answer to the one before
    images_per_s: float  # NaN where the speed is the bag's own
    memory_mb: float  # peak of the process that localized

    @property
    def name(self) -> str:
        """The name that distinguishes it from the others."""
        return self.setup.name

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Map, model, settings and way, with their digests."""
        setup = self.setup
        header, card = setup.place_map.header, setup.model.card
        places = counted(header.places, 'place')
        return [
            ('map', f'{header.source}, {places}, id {setup.place_map.id}'),
            ('model', f'{card.name}, sha256 {card.sha256}, {setup.model.precision}'),
            ('settings', said(setup.settings) or 'defaults'),
            ('way', self._way()),
        ]

    def _way(self) -> str:
        if not self.live:
            return 'offline'
        paced = ', each image after the answer to the one before' if self.every_image else ''
        return f'through the running node{paced}'

    def costs(self) -> list[str]:
        """Lines on speed, memory and the parts, which follow the table of the figures."""
        speed = [f'{"speed":<22}{self.images_per_s:.1f} images/s']
        return [
            *(speed if math.isfinite(self.images_per_s) else []),
            f'{"peak memory":<22}{self.memory_mb:.0f} MB',
            *(_said_of_part(name, part) for name, part in self.splits.items()),
        ]


@dataclass(frozen=True, slots=True)
class _Run:
    """Each drive's figures, and what they cost."""

    evaluations: list[Evaluation]
    images_per_s: float
    memory_mb: float


def measured(setup: Setup, drives: Sequence[Drive], way: Way) -> Variant:
    """Measure one setup; raises DriveError where a drive cannot be judged.

    Why images were left out is noted in the drives. Raises MapError where the true poses of a
    drive are in another frame than the map.
    """
    with noting(lambda: [note for drive in drives for note in notes_of(drive)]):
        for drive in drives:
            require_frame_of_map(setup.place_map.header, drive)
            note_mapped(setup.place_map.header, drive, OWN_FIGURES)
            note_same_time(setup.place_map.stamps_ns, drive, OWN_FIGURES)
        run = (_live if way.live else _offline)(setup, drives, way)
    together = pooled(run.evaluations)
    splits = {}
    if drives[1:]:
        splits = {drive.name: found for drive, found in zip(drives, run.evaluations, strict=True)}
    if way.split_every_s is not None:
        splits |= by_time(together, way.split_every_s)
    return Variant(
        setup=setup,
        evaluation=together,
        splits=splits,
        live=way.live,
        every_image=way.every_image,
        images_per_s=run.images_per_s,
        memory_mb=run.memory_mb,
    )


def _offline(setup: Setup, drives: Sequence[Drive], way: Way) -> _Run:
    describer = OnnxDescriber(setup.model, threads=way.threads, singly=False)
    localizer = Localizer(describer, setup.place_map, checked(LocalizerConfig, setup.settings))
    for drive, doubt in product(drives, localizer.doubts()):
        add_note(drive, doubt)
    evaluations, images, taken_s = [], 0, 0.0
    for drive in drives:
        unusable = Unusable()
        started_s = time.perf_counter()
        with logged(way.rerun, localizer, drive) as on_located:
            answers = _answers(drive, localizer, unusable, on_located)
        taken_s += time.perf_counter() - started_s
        images += len(answers)
        if said := turned_said(drive, answers, localizer):
            add_note(drive, said)
        with noting(unusable.lines):
            evaluations.append(
                evaluate(
                    answers,
                    drive,
                    setup.place_map,
                    way.tolerance,
                    unusable=unusable.count,
                    max_pose_gap_s=way.max_pose_gap_s,
                )
            )
        for line in unusable.lines():
            add_note(drive, line)
    return _Run(evaluations, images / max(taken_s, 1e-9), _peak_mb(resource.RUSAGE_SELF))


def _answers(
    drive: Drive, localizer: Localizer, unusable: Unusable, on_located: OnLocated | None
) -> list[Answer]:
    """The answers to the images of a drive; images that cannot be used are counted."""
    localizer.rig.cameras = [MountedCamera(calibration=drive.camera)]
    if localizer.config.virtual_camera:
        note_view(drive, localizer.place_map.header.camera)
    with noting(unusable.lines):
        frames = frames_of(drive)
        return list(answers_offline(frames, localizer, unusable=unusable, on_located=on_located))


def _live(setup: Setup, drives: Sequence[Drive], way: Way) -> _Run:
    from vpr_ros.evaluating.live import run_live  # needs ROS, which the offline way does not

    parameters = setup.settings | {
        'map': str(setup.place_map.folder.absolute()),
        'model': str(setup.model.folder.absolute()),
        'threads': way.threads,
        'precision': way.precision,
    }
    if way.rerun is not None:
        parameters |= node_logs_to(way.rerun)
    evaluations = []
    for drive in drives:
        found = run_live(
            Path(drive.name),
            way.image_topic,
            parameters,
            rate=way.rate,
            every_image=way.every_image,
        )
        evaluations.append(
            evaluate(
                found.answers,
                drive,
                setup.place_map,
                way.tolerance,
                dropped=found.dropped,
                node_latency_ms=found.node_latency_ms,
                max_pose_gap_s=way.max_pose_gap_s,
            )
        )
    return _Run(evaluations, math.nan, _peak_mb(resource.RUSAGE_CHILDREN))


def _said_of_part(name: str, part: Evaluation) -> str:
    recall = part.recall.at[1]
    found = '' if math.isnan(recall) else f'Recall@1 {recall:.3f}, '
    return f'  {name}: {found}answered {part.answered:.1%} of {part.judged.asked.sum()}'


def _peak_mb(whose: int) -> float:
    return resource.getrusage(whose).ru_maxrss / 1024
