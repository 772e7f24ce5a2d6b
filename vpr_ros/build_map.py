"""Make a map from a drive: describe its images, take their poses, write both down.

Images are read, described and written one at a time, so that memory does not grow with the drive.
The map appears under its name only when it is complete.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vpr_ros.cli.command import add_precision_argument, command
from vpr_ros.cli.options import add_drive_arguments, drive_options
from vpr_ros.core.describing.describe import Describer, OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model, shipped_graphs
from vpr_ros.core.errors import ConfigError, DriveError, ImageError
from vpr_ros.core.geometry import angle_between
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.landmarks.feature_kinds import GRAPHS_OF_KIND, features_named
from vpr_ros.core.landmarks.features import Features
from vpr_ros.core.landmarks.points import LandmarkMaker, Landmarks
from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.writer import MapWriter, build
from vpr_ros.core.trajectory import Trajectory
from vpr_ros.core.types import Image, Poses
from vpr_ros.drives import open_drive
from vpr_ros.drives.drive import Drive, RecordedFrame
from vpr_ros.drives.prefetch import described

THUMBNAIL_PX = 240
_TURN_RAD = np.radians(20.0)


@dataclass(frozen=True, slots=True)
class Spacing:
    """How far apart mapped images are at least; zeros keep all.

    A turn of 20 degrees also starts a new place.
    """

    metres: float = 0.0
    seconds: float = 0.0

    @classmethod
    def parse(cls, text: str) -> 'Spacing':
        """From `1.5m` or `0.5s`; raises ConfigError."""
        found = re.fullmatch(r'(\d+\.?\d*|\.\d+)\s*(m|s)', text.strip())
        if not found:
            raise ConfigError(
                f'--every {text}: expected metres or seconds, for example 1.5m or 0.5s'
            )
        value = float(found[1])
        return cls(metres=value) if found[2] == 'm' else cls(seconds=value)

    def is_reached(self, last: tuple[int, Poses] | None, stamp_ns: int, pose: Poses) -> bool:
        """Whether an image at (stamp, pose [7]) is far enough from the last one that was kept."""
        if last is None:
            return True
        last_ns, last_pose = last
        if self.seconds:
            return stamp_ns - last_ns >= self.seconds * 1e9
        if self.metres:
            moved_m = np.linalg.norm(pose[:3] - last_pose[:3])
            return bool(
                moved_m >= self.metres or angle_between(last_pose[3:], pose[3:]) >= _TURN_RAD
            )
        return True


@dataclass
class Report:
    """What became of the drive's images."""

    images: int = 0
    mapped: int = 0
    landmarks: int = 0
    without_pose: int = 0
    thinned: int = 0
    unusable: int = 0
    first_unusable: str = ''

    def lines(self) -> list[str]:
        """The counts as sentences, zeros left out."""
        said = [f'{self.images} images read, {self.mapped} places mapped']
        if self.landmarks:
            said.append(f'{self.landmarks / self.mapped:.0f} landmarks at a place, in the mean')
        if self.without_pose:
            said.append(
                f'{self.without_pose} images have no pose at their stamp and were left out'
            )
        if self.thinned:
            said.append(f'{self.thinned} images were left out by --every')
        if self.unusable:
            said.append(
                f'{self.unusable} images could not be used, the first: {self.first_unusable}'
            )
        return said


def build_map(
    drive: Drive,
    describer: Describer,
    output: Path,
    *,
    spacing: Spacing = Spacing(),
    max_pose_gap_s: float = 1.0,
    command: str = '',
    features: Features | None = None,
) -> Report:
    """Write a map of a drive, with landmarks if features for them are given.

    Raises DriveError without poses, MapError where the map cannot be written. Whatever goes wrong,
    a map that was at `output` before stays as it was.
    """
    maker = landmark_maker(drive, features) if features else None
    card = describer.model.card
    header = MapHeader(
        model_name=card.name,
        model_sha256=card.sha256,
        descriptor_size=card.descriptor_size,
        model_calibration=card.calibration,
        frame_id=drive.frame_id,
        datum=drive.datum,
        has_heading=drive.has_heading,
        base_T_camera=tuple(drive.base_T_camera.tolist()),
        mounting_known=drive.mounting_known,
        field_of_view_deg=drive.field_of_view_deg,
        camera=maker.camera if maker else None,
        landmark_features=features.name if features else '',
        source=drive.name,
        command=command,
    )
    with build(output, header, features=features) as writer:
        return add_places(
            drive,
            describer,
            writer,
            spacing=spacing,
            max_pose_gap_s=max_pose_gap_s,
            maker=maker,
        )


def add_places(
    drive: Drive,
    describer: Describer,
    writer: MapWriter,
    *,
    spacing: Spacing = Spacing(),
    max_pose_gap_s: float = 1.0,
    maker: LandmarkMaker | None = None,
) -> Report:
    """Describe a drive's images and write them as places; raises DriveError without poses.

    maker: of landmarks, for a part that has some.
    """
    if drive.trajectory is None:
        raise DriveError(
            f'{drive.name}: no poses in it; a map needs to know where its images were taken'
        )
    report = Report()
    chosen = _posed(drive, drive.trajectory, spacing, max_pose_gap_s, report)

    def load(posed: tuple[RecordedFrame, Poses], needed_hw: tuple[int, int]) -> Image:
        if maker is not None:
            return posed[0].load()
        height, width = needed_hw
        return posed[0].load(at_least_hw=(max(height, THUMBNAIL_PX), max(width, THUMBNAIL_PX)))

    for (frame, pose), found in described(chosen, load, describer):
        if isinstance(found, ImageError):
            report.unusable += 1
            report.first_unusable = report.first_unusable or str(found)
            continue
        image, descriptor = found
        writer.add(
            descriptor,
            pose,
            stamp_ns=frame.stamp_ns,
            name=frame.name,
            thumbnail=encode_jpeg(image, longest_side_px=THUMBNAIL_PX, quality=75),
        )
        report.mapped += 1
        if maker is not None:
            depth_m = frame.depth() if frame.depth is not None else None
            report.landmarks += _written(writer, maker.add(image, pose, depth_m=depth_m))
    if maker is not None:
        report.landmarks += _written(writer, maker.finish())
    return report


def landmark_maker(drive: Drive, features: Features) -> LandmarkMaker:
    """For the images of a drive; raises DriveError for a drive whose images tell no directions."""
    if drive.camera is None or not drive.has_heading:
        missing = 'calibration of its camera' if drive.camera is None else 'headings'
        raise DriveError(
            f'{drive.name}: no {missing} in it; --landmarks needs camera_info '
            '(camera_info.yaml of a folder) and poses with rotations'
        )
    return LandmarkMaker(drive.camera, features)


def chosen_features(kind: str | None) -> Features | None:
    """The features that --landmarks asks for, '' being the default; None without it.

    Raises ConfigError for others than there are, ModelError where their networks have not been
    exported.
    """
    if kind is None:
        return None
    kind = kind or 'sift'
    if kind not in GRAPHS_OF_KIND:
        raise ConfigError(f'--landmarks {kind}: expected one of {", ".join(GRAPHS_OF_KIND)}')
    return features_named(kind, shipped_graphs(GRAPHS_OF_KIND[kind]))


def _written(writer: MapWriter, found: Iterable[Landmarks]) -> int:
    """Write the landmarks of some places; how many there are."""
    count = 0
    for landmarks in found:
        writer.add_landmarks(landmarks)
        count += len(landmarks)
    return count


def _posed(
    drive: Drive,
    trajectory: Trajectory,
    spacing: Spacing,
    max_pose_gap_s: float,
    report: Report,
) -> Iterator[tuple[RecordedFrame, Poses]]:
    """The frames to map, with map_T_camera [7]; the others are counted."""
    last: tuple[int, Poses] | None = None
    for frame in tqdm(drive.frames(), total=len(drive), unit='image', disable=None, delay=2):
        report.images += 1
        poses, known = trajectory.at(np.array([frame.stamp_ns]), max_gap_s=max_pose_gap_s)
        if not known[0]:
            report.without_pose += 1
        elif not spacing.is_reached(last, frame.stamp_ns, poses[0]):
            report.thinned += 1
        else:
            last = frame.stamp_ns, poses[0]
            yield frame, poses[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='build_map', description=__doc__.split('\n\n')[0])
    add_mapping_arguments(parser)
    parser.add_argument(
        '--output', required=True, type=Path, metavar='MAP', help='the map folder to write'
    )
    parser.add_argument('--model', type=Path, metavar='MODEL', help='default: the shipped model')
    return parser


def add_mapping_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which images are mapped: --bag or --images, --every, and how to read them."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--bag', metavar='BAG', help='a ROS 1, sqlite3 or mcap bag, or a posed folder'
    )
    source.add_argument(
        '--images',
        metavar='DIR',
        help='a folder: images/ + poses.csv, @utm@ file names, or photos with EXIF GPS',
    )
    parser.add_argument(
        '--every',
        default='0m',
        metavar='DISTANCE',
        help='leave out images closer than this to the last one, e.g. 1.5m or 0.5s '
        '(default: keep all)',
    )
    parser.add_argument(
        '--landmarks',
        nargs='?',
        const='',
        metavar='FEATURES',
        help='triangulate points of the scene, for poses of centimetres from one image '
        '(needs camera_info); by sift, xfeat or xfeat-lighterglue; default: as in the map, '
        'else sift',
    )
    parser.add_argument('--threads', type=int, default=0, metavar='N', help='default: every core')
    add_precision_argument(parser)
    add_drive_arguments(parser)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    arguments = _parser().parse_args(argv)
    spacing = Spacing.parse(arguments.every)
    model = Model.open(arguments.model or default_model(), precision=arguments.precision)
    features = chosen_features(arguments.landmarks)
    drive = open_drive(Path(arguments.bag or arguments.images), drive_options(arguments))
    report = build_map(
        drive,
        OnnxDescriber(model, threads=arguments.threads, singly=False),
        arguments.output,
        spacing=spacing,
        max_pose_gap_s=arguments.max_pose_gap,
        features=features,
        command=shlex.join(['build_map', *(sys.argv[1:] if argv is None else argv)]),
    )
    for warning in drive.warnings:
        print(f'note: {warning}', file=sys.stderr)
    for line in report.lines():
        print(line)
    if not drive.mounting_known:
        print(
            'note: camera mounting unknown, taken as looking forward; '
            'give --mounting, or record /tf_static'
        )
    place_map = PlaceMap.open(arguments.output)
    extent_m = np.ptp(place_map.poses[:, :2], axis=0)
    print(
        f'{arguments.output}: {len(place_map)} places over '
        f'{extent_m[0]:.0f} m x {extent_m[1]:.0f} m in frame '
        f'{place_map.header.frame_id}, model {model.card.name}'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
