"""Your own drive: a bag or a posed folder, or a folder of several, cut into places by pose.

A place is what is seen from within a radius of a point, looking the same way. Centres stand so far
apart that the images of two places are at least a gap apart; images in the gap are left out,
because calling two views of one spot different would teach the opposite. Drives of one route share
their places: that is how day and night learn to agree. Positions are metres in the frame of the
drives, so this works indoors and without GPS.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.core.atomic import staged_folder
from vpr_ros.core.cache import cache_folder
from vpr_ros.core.errors import DriveError, ImageError
from vpr_ros.core.geometry import angle_between
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.types import Poses
from vpr_ros.drives import Drive, DriveOptions, open_drive
from vpr_ros.drives.folder import POSES_NAME
from vpr_ros.drives.reader import is_bag
from vpr_training.data.config import DataConfig
from vpr_training.data.places import Listed, PlaceSet
from vpr_training.errors import DatasetError

_JPEG_QUALITY = 95
_DONE = 'images.txt'  # of a cached bag: its frames, written last


def recognizes(root: Path) -> bool:
    """Whether this is a drive, or a folder of drives."""
    return bool(_drives(root))


def read(root: Path, config: DataConfig) -> PlaceSet:
    """Read the drives and cut them into places; raises DatasetError, DriveError.

    The images of bags are copied into a cache once, for a batch wants them in any order.
    """
    paths = _drives(root)
    if missing := sorted(set(config.cities) - {path.name for path in paths}):
        raise DatasetError(f'{root}: has no drive {missing[0]}')
    listed: list[tuple[str, Poses]] = []
    left_out: list[str] = []
    for path in paths:
        if not config.cities or path.name in config.cities:
            images, said = _images(path, config)
            listed += images
            left_out += said
    if not listed:
        raise DatasetError(f'{root}: no image with a pose; {"; ".join(left_out) or "it is empty"}')
    poses = np.stack([pose for _, pose in listed])
    place = cut(
        poses,
        radius_m=config.place_radius,
        gap_m=config.place_gap,
        heading_rad=float(np.radians(config.place_heading)),
    )
    if between := int((place < 0).sum()):
        left_out.append(f'{between} images between two places (data.place_gap)')
    placed = [
        Listed(file, f'{number:06d}', '', float(pose[0]), float(pose[1]))
        for (file, pose), number in zip(listed, place.tolist(), strict=True)
        if number >= 0
    ]
    return PlaceSet.of(
        Path('/'),
        placed,
        min_images=config.min_images_per_place,
        left_out=left_out,
        name=root.resolve().name,
    )


def cut(poses: Poses, *, radius_m: float, gap_m: float, heading_rad: float) -> NDArray[np.int64]:
    """The place of each pose [M, 7], -1 for one that lies between two places, [M].

    Greedy, in the order of the poses: one that is nowhere near a centre of its heading becomes a
    centre. Two centres of one heading are more than 2 * radius_m + gap_m apart.
    """
    centres: list[Poses] = []
    place = np.full(len(poses), -1, dtype=np.int64)
    apart_m = 2 * radius_m + gap_m
    for row, pose in enumerate(poses):
        if centres:
            held = np.stack(centres)
            distance_m = np.linalg.norm(held[:, :3] - pose[:3], axis=1)
            angle = angle_between(held[:, 3:], pose[3:])
            same = np.where(angle <= heading_rad, distance_m, np.inf)
            nearest = int(np.argmin(same))
            if same[nearest] <= radius_m:
                place[row] = nearest
                continue
            # A view between two headings of one spot, too, is neither the one nor another.
            if (distance_m[angle <= 2 * heading_rad] <= apart_m).any():
                continue
        place[row] = len(centres)
        centres.append(pose)
    return place


def _drives(root: Path) -> list[Path]:
    if _is_drive(root):
        return [root]
    if not root.is_dir():
        return []
    return [path for path in sorted(root.iterdir()) if _is_drive(path)]


def _is_drive(path: Path) -> bool:
    return (path / POSES_NAME).is_file() or (is_bag(path) and path.exists())


def _images(path: Path, config: DataConfig) -> tuple[list[tuple[str, Poses]], list[str]]:
    """Image files, relative to /, with map_T_camera, and what was left out."""
    options = DriveOptions(
        image_topic=config.image_topic or None, pose_topic=config.pose_topic or None
    )
    drive = open_drive(path, options)
    if drive.trajectory is None:
        raise DriveError(f'{path}: no poses in it; places are cut by position and heading')
    frames = list(_files(path, drive, config))
    stamps = np.array([stamp_ns for stamp_ns, _ in frames], dtype=np.int64)
    poses, known = drive.trajectory.at(stamps)
    said = [f'{path.name}: {warning}' for warning in drive.warnings]
    if unknown := int((~known).sum()):
        said.append(f'{path.name}: {unknown} images without a pose at their stamp')
    return [
        (str(file.resolve()).lstrip('/'), pose)
        for (_, file), pose, is_known in zip(frames, poses, known, strict=True)
        if is_known
    ], said


def _files(path: Path, drive: Drive, config: DataConfig) -> Iterator[tuple[int, Path]]:
    """Stamps and image files of a drive; a bag's are those of the cache."""
    frames = [(frame.stamp_ns, frame.file) for frame in drive.frames()]
    files = [(stamp_ns, file) for stamp_ns, file in frames if file is not None]
    if len(files) == len(frames):
        yield from files
        return
    folder = _cache(path, config)
    if not (folder / _DONE).is_file():
        _extract(drive, folder)
    for line in (folder / _DONE).read_text(encoding='utf-8').splitlines():
        stamp_ns, name = line.split(' ', 1)
        yield int(stamp_ns), folder / name


def _extract(drive: Drive, folder: Path) -> None:
    """Copy a bag's images into files; whole, or not at all."""
    lines = []
    try:
        with staged_folder(folder) as staging:
            bar = tqdm(
                drive.frames(), total=len(drive), desc=drive.name, unit='image', disable=None
            )
            for number, frame in enumerate(bar):
                try:
                    image = frame.load()
                except ImageError:
                    continue  # the bag has no image there; nothing is promised for it
                name = f'{number:08d}.jpg'
                (staging / name).write_bytes(encode_jpeg(image, quality=_JPEG_QUALITY))
                lines.append(f'{frame.stamp_ns} {name}')
            (staging / _DONE).write_text('\n'.join(lines) + '\n', encoding='utf-8')
    except OSError as error:
        raise DatasetError(
            f'{folder}: the images of {drive.name} cannot be cached '
            f'({error.strerror or error}); XDG_CACHE_HOME says where'
        ) from error


def _cache(path: Path, config: DataConfig) -> Path:
    """Where a bag's images are: named by the bag's files, their sizes and times, and the topic."""
    files: Sequence[Path] = sorted(path.rglob('*')) if path.is_dir() else [path]
    digest = hashlib.sha256(config.image_topic.encode())
    for file in files:
        facts = file.stat()
        digest.update(f'{file.resolve()} {facts.st_size} {facts.st_mtime_ns}\n'.encode())
    return cache_folder('vpr_training') / f'{path.stem}-{digest.hexdigest()[:16]}'
