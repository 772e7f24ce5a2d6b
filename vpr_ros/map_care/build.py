"""Make places of a drive: describe its images, take their poses, write both down.

Images are read, described and written one at a time, so that memory does not grow with the drive.
A map appears under its name only when it is complete.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.describing.describe import Describer
from vpr_ros.core.describing.model import CARD_NAME, Model
from vpr_ros.core.errors import ConfigError, DriveError, ImageError, ModelError, noting
from vpr_ros.core.image import encode_jpeg, shows_something
from vpr_ros.core.landmarks.features import Features
from vpr_ros.core.landmarks.points import LandmarkMaker, Landmarks
from vpr_ros.core.localizing.kept_calibrations import from_dict
from vpr_ros.core.mapping.header import MapHeader, require_cells
from vpr_ros.core.mapping.writer import MapWriter, build
from vpr_ros.core.plurals import by_count, counted
from vpr_ros.core.types import Image, Poses
from vpr_ros.core.virtual_camera import ALL_OF_IT, shown_share
from vpr_ros.drives.drive import Drive, RecordedFrame, add_note, notes_of
from vpr_ros.drives.in_view import in_view
from vpr_ros.drives.posed_images import Unusable, frames_of, usable, why_unposed
from vpr_ros.drives.prefetch import described_with_cells
from vpr_ros.drives.same_frame import note_mapped, require_frame_of_map
from vpr_ros.map_care.alike import require_same_headings
from vpr_ros.map_care.check import blank_said
from vpr_ros.map_care.edit import append
from vpr_ros.map_care.landmark_kind import landmark_maker
from vpr_ros.map_care.spacing import EVERY_IMAGE, Spacing

PosedFrame: TypeAlias = tuple[RecordedFrame, Poses]
"""A frame and map_T_camera [7]."""

THUMBNAIL_PX = 240  # the longest side


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOptions:
    """How a drive becomes places."""

    spacing: Spacing = EVERY_IMAGE
    max_pose_gap_s: float | None = None  # None: as the drive's poses tell, see Trajectory.at
    features: Features | None = None  # of landmarks; None: the places have none
    half: bool = False  # descriptors in half precision; of a new map
    thumbnails: bool = True


ALL_IMAGES = MapOptions()
"""Every image becomes a place, without landmarks, with its thumbnail."""


@dataclass
class Report:
    """What became of the drive's images."""

    images: int = 0
    mapped: int = 0
    blank: int = 0  # mapped, but the localizer would refuse such an image
    landmarks: int = 0
    without_pose: int = 0
    why_without: str = ''  # follows the sentence that says how many they are
    thinned: int = 0
    unusable: Unusable = field(default_factory=Unusable)
    depths: Unusable = field(default_factory=Unusable)  # depth images that are not

    def add(self, other: 'Report') -> None:
        """Count what became of further images."""
        for name in ('images', 'mapped', 'blank', 'landmarks', 'without_pose', 'thinned'):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.why_without = self.why_without or other.why_without
        for mine, others in ((self.unusable, other.unusable), (self.depths, other.depths)):
            mine.count += others.count
            mine.first = mine.first or others.first

    def lines(self) -> list[str]:
        """The counts as sentences, zeros left out."""
        mean = self.landmarks / max(self.mapped, 1)
        optional = (
            (self.blank, blank_said(self.blank, self.mapped)),
            (self.landmarks, f'{counted(round(mean), "landmark")} per place on average'),
            (
                self.without_pose,
                f'{counted(self.without_pose, "image has", "images have")} no pose at '
                f'{by_count(self.without_pose, "its", "their")} stamp and '
                f'{by_count(self.without_pose, "was", "were")} left out{self.why_without}',
            ),
            (
                self.thinned,
                f'{counted(self.thinned, "image was", "images were")} left out by --every',
            ),
        )
        return [
            f'{counted(self.images, "image")} read, {counted(self.mapped, "place")} mapped',
            *(sentence for times, sentence in optional if times),
            *self.unusable.lines(),
            *self.depths.lines('depth image'),
        ]

    def known(self) -> list[str]:
        """The lines for an error that ends the work; none before the first image."""
        return self.lines() if self.images else []


def build_map(
    drive: Drive,
    describer: Describer,
    output: Path,
    options: MapOptions = ALL_IMAGES,
    *,
    command: str = '',
) -> Report:
    """Write a map of a drive, with landmarks if the options have features for them.

    Raises DriveError without poses, MapError where the map cannot be written. Whatever goes wrong,
    a map that was at `output` before stays as it was.
    """
    report = Report()
    with noting(lambda: notes_of(drive), report.known):
        maker = landmark_maker(drive, describer, options.features)
        header = map_header(drive, describer, maker, command, half=options.half)
        with build(output, header, features=options.features) as writer:
            _add_drive(drive, describer, writer, options, maker, report)
    return report


def _add_drive(
    drive: Drive,
    describer: Describer,
    writer: MapWriter,
    options: MapOptions,
    maker: LandmarkMaker | None,
    report: Report,
) -> None:
    """Write all places of a drive; raises DriveError where it has none."""
    frames = posed_frames(drive, frames_of(drive), options, report)
    add_places(frames, describer, writer, maker, report, thumbnails=options.thumbnails)
    require_mapped(drive, report)


def add_places(
    frames: Iterable[PosedFrame],
    describer: Describer,
    writer: MapWriter,
    maker: LandmarkMaker | None,
    report: Report,
    *,
    thumbnails: bool,
) -> None:
    """Describe frames of a drive, with their map_T_camera, and write them as places.

    maker: of landmarks, for a part that has some. report: what is counted into, where the caller
    wants to know it of a failure, too.
    """

    def load(posed: PosedFrame, needed_hw: tuple[int, int]) -> Image:
        if maker is not None:
            return posed[0].load()
        height, width = needed_hw
        return posed[0].load(at_least_hw=(max(height, THUMBNAIL_PX), max(width, THUMBNAIL_PX)))

    results = described_with_cells(frames, load, describer, with_cells=writer.has_cells)
    for (frame, pose), (image, seen) in usable(results, report.unusable):
        writer.add(
            seen.descriptor,
            pose,
            stamp_ns=frame.stamp_ns,
            name=frame.name,
            thumbnail=_thumbnail(image) if thumbnails else b'',
            cells=seen.cells,
        )
        report.mapped += 1
        report.blank += not shows_something(image)
        if maker is not None:
            depth_m = _depth(frame, report.depths)
            report.landmarks += _written(writer, maker.add(image, pose, depth_m=depth_m))
    if maker is not None:
        report.landmarks += _written(writer, maker.finish())


def _thumbnail(image: Image) -> bytes:
    return encode_jpeg(image, longest_side_px=THUMBNAIL_PX, quality=75)


def require_mapped(drive: Drive, report: Report) -> None:
    """Raise DriveError where not one of a drive's images became a place."""
    if report.images and not report.mapped:
        raise DriveError(
            f'{drive.name}: not one of its {counted(report.images, "image")} can be mapped: '
            f'{report.without_pose} {by_count(report.without_pose, "has", "have")} no pose and '
            f'{report.unusable.count} cannot be used'
        )


def append_drive(
    folder: Path,
    header: MapHeader,
    drive: Drive,
    describer: Describer,
    options: MapOptions = ALL_IMAGES,
    *,
    command: str = '',
) -> Report:
    """Add a drive to a map as a further part, with landmarks if the options have features.

    header: of the map before. A map without cells goes on without, whatever the model has. Raises
    MapError where the drive's poses or the model's cells cannot stand beside the map's, DriveError
    without poses, and as `edit.append`.
    """
    report = Report()
    with noting(lambda: notes_of(drive), report.known):
        require_cells(folder, header, describer.model)
        drive = _in_view_of_map(header, drive)
        if drive.trajectory is not None:
            require_frame_of_map(header, drive)
            note_mapped(header, drive, 'if it is the same drive, its places are there twice now')
            require_same_headings(header, drive.has_heading, where=drive.name)
        maker = landmark_maker(drive, describer, options.features)
        landmarks = (maker.camera, maker.features) if maker else None
        with append(
            folder, header, command=command, source=drive.name, landmarks=landmarks
        ) as writer:
            _add_drive(drive, describer, writer, options, maker, report)
    return report


def _in_view_of_map(header: MapHeader, drive: Drive) -> Drive:
    """A drive in the view of the map's camera if it shows all of that; else the drive, noted."""
    camera, shown = header.camera, shown_share(drive.camera, header.camera)
    if camera is None or shown is None:
        return drive
    if shown >= ALL_OF_IT:
        add_note(
            drive, "its images are given the view of the map's camera, which has another lens"
        )
        return in_view(drive, camera)
    add_note(
        drive,
        "its camera has another lens than the map's, and does not show all that this one sees; "
        'robots will find its places less often',
    )
    return drive


def _require_calibration(model: Model) -> None:
    """Raise ModelError where a map would take a calibration from a card that no robot can read."""
    try:
        if model.card.calibration is not None:
            from_dict(model.card.calibration)
    except ConfigError as error:
        raise ModelError(
            f'{model.folder / CARD_NAME}: {error}; remove the entry calibration there, or export '
            'the model again'
        ) from error


def map_header(
    drive: Drive,
    describer: Describer,
    maker: LandmarkMaker | None,
    command: str,
    *,
    half: bool,
) -> MapHeader:
    """What a map of a drive says of itself; maker: of its landmarks, None: it has none."""
    card = describer.model.card
    _require_calibration(describer.model)
    return MapHeader(
        model_name=card.name,
        model_sha256=card.sha256,
        descriptor_size=card.descriptor_size,
        cells=card.cells,
        half_descriptors=half,
        model_calibration=card.calibration,
        frame_id=drive.frame_id,
        datum=drive.datum,
        has_heading=drive.has_heading,
        base_T_camera=tuple(drive.base_T_camera.tolist()),
        mounting_known=drive.mounting_known,
        field_of_view_deg=drive.field_of_view_deg,
        camera=maker.camera if maker else None,
        landmark_features=maker.features.name if maker else '',
        source=drive.name,
        command=command,
    )


def _depth(frame: RecordedFrame, unusable: Unusable) -> NDArray[np.float32] | None:
    """The depth image [H, W] in metres; None where there is none that can be used."""
    try:
        return frame.depth() if frame.depth is not None else None
    except ImageError as error:
        unusable.add(error)
        return None


def _written(writer: MapWriter, found: Iterable[Landmarks]) -> int:
    """Write the landmarks of some places; how many there are."""
    count = 0
    for landmarks in found:
        writer.add_landmarks(landmarks)
        count += len(landmarks)
    return count


def posed_frames(
    drive: Drive, frames: Iterable[RecordedFrame], options: MapOptions, report: Report
) -> Iterator[PosedFrame]:
    """The frames of a drive that are to be mapped, with map_T_camera [7]; others are counted.

    Raises DriveError for a drive without poses.
    """
    if drive.trajectory is None:
        raise DriveError(
            f'{drive.name}: no poses in it, and a map needs to know where its images were taken; '
            'record poses, give a trajectory with --pose-file, write a poses.csv beside images/, '
            'or make a straight drive of plain photos with images_to_bag --spacing'
        )
    last: tuple[int, Poses] | None = None
    unposed_ns: list[int] = []
    gap_s = options.max_pose_gap_s
    for frame in frames:
        report.images += 1
        poses, known = drive.trajectory.at(np.array([frame.stamp_ns]), max_gap_s=gap_s)
        if not known[0]:
            report.without_pose += 1
            unposed_ns.append(frame.stamp_ns)
        elif not options.spacing.is_reached(last, frame.stamp_ns, poses[0]):
            report.thinned += 1
        else:
            last = frame.stamp_ns, poses[0]
            yield frame, poses[0]
    report.why_without = why_unposed(
        drive, np.array(unposed_ns, dtype=np.int64), max_pose_gap_s=gap_s
    )
