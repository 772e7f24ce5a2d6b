"""Your own drive: a bag or a posed folder, or a folder of several, cut into places by pose.

A place is what is seen from within a radius of a point, looking the same way. Centres stand so far
apart that the images of two places are at least a gap apart; images in the gap are left out,
because calling two views of one spot different would teach the opposite. Drives of one route share
their places: that is how day and night learn to agree. Positions are metres in the frame of the
drives, so this works indoors and without GPS.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.core.atomic import staged_folder
from vpr_ros.core.cache import cache_folder
from vpr_ros.core.errors import DriveError, ImageError, noting
from vpr_ros.core.geometry import angle_between
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.image_files import files_below
from vpr_ros.core.names import as_text
from vpr_ros.core.plurals import by_count, counted
from vpr_ros.core.types import Poses
from vpr_ros.core.writer_lock import only_writer
from vpr_ros.drives import Drive, DriveOptions, notes_of, open_drive
from vpr_ros.drives.bag_files import is_bag
from vpr_ros.drives.folder import POSES_NAME
from vpr_ros.drives.pose_file import read_pose_files
from vpr_ros.drives.posed_images import Unusable, why_unposed
from vpr_ros.drives.same_frame import require_one_frame
from vpr_training.basics.errors import DatasetError
from vpr_training.data.config import DataConfig
from vpr_training.data.held_out import stretches
from vpr_training.data.places import Listed, PlaceSet
from vpr_training.data.recall_set import RecallSet

_JPEG_QUALITY = 95
_DONE = 'images.txt'  # of a cached bag: its frames, written last
_LEFT_OUT = 'left_out.txt'  # and what is to be said of those that could not be read
_CACHE_VERSION = b'3'  # rises when readers read what they did not read before


def recognizes(root: Path) -> bool:
    """Whether this is a drive, or a folder of drives."""
    return bool(_drives(root))


def read(root: Path, config: DataConfig) -> PlaceSet:
    """Read the drives and cut them into places; raises DatasetError, DriveError.

    What data.held_out keeps out is not in it, nor are the places beside that. The images of bags
    are copied into a cache once, for a batch wants them in any order.
    """
    drives = _read(root, config)
    place, left_out = drives.place, list(drives.left_out)
    if between := int((place < 0).sum()):
        left_out.append(f'{counted(between, "image")} between two places (data.place_gap)')
    if config.held_out:
        held = _held_out(drives, config)
        beside = _beside(drives, held, config)
        images = int(held.sum())
        left_out.append(
            f'{counted(images, "image")} held out (data.held_out), and '
            f'{int((beside & ~held).sum())} of the places beside {by_count(images, "it", "them")}'
        )
        place = np.where(held | beside, -1, place)
    placed = [
        Listed(file, f'{number:06d}', '', float(pose[0]), float(pose[1]))
        for file, pose, number in zip(drives.files, drives.poses, place.tolist(), strict=True)
        if number >= 0
    ]
    return PlaceSet.of(
        Path('/'),
        placed,
        min_images=config.min_images_per_place,
        left_out=left_out,
        notes=drives.notes,
        name=root.resolve().name,
    )


def read_held_out(root: Path, config: DataConfig, *, radius_m: float) -> RecallSet:
    """The part that data.held_out keeps out; raises DatasetError, DriveError.

    Of several drives the first is the database and the others are the queries; of one drive every
    second frame is a query. radius_m: within which an answer is right; 0: data.place_radius.
    """
    drives = _read(root, config)
    rows = np.flatnonzero(_held_out(drives, config))
    several = drives.drive.max() > 0
    asks = drives.drive[rows] > 0 if several else np.arange(len(rows)) % 2 == 1
    database, queries = rows[~asks], rows[asks]
    radius_m = radius_m or config.place_radius
    positives = tuple(_near(drives.poses, row, database, radius_m, config) for row in queries)
    if not any(len(found) for found in positives):
        raise DatasetError(
            f'{root}: the held-out part has no query with a true match within {radius_m:g} m; '
            f'{counted(len(database), "database image")} and '
            f'{counted(len(queries), "query")} are in it; '
            'raise validation.radius or data.held_out'
        )
    asking = (
        'the first drive is the database, the others are the queries'
        if several
        else 'queries are every second frame of the held-out stretches'
    )
    return RecallSet(
        name=as_text(f'{root.resolve().name} held out'),
        database=tuple(Path('/') / drives.files[row] for row in database),
        queries=tuple(Path('/') / drives.files[row] for row in queries),
        positives=positives,
        truth=f'within {radius_m:g} m and {config.place_heading:g} degrees; {asking}',
    )


def drives_of(root: Path, config: DataConfig) -> list[Path]:
    """The drives that are trained on, in their order; none where this is no drive."""
    paths = _drives(root)
    if missing := sorted(set(config.cities) - {path.name for path in paths}):
        raise DatasetError(f'{root}: has no drive {missing[0]}')
    return [path for path in paths if not config.cities or path.name in config.cities]


def drive_options(config: DataConfig) -> DriveOptions:
    """How to read a drive, by the settings."""
    frames = config.tf_frames.split()
    return DriveOptions(
        image_topic=config.image_topic or None,
        pose_topic=config.pose_topic or None,
        pose_files=read_pose_files([Path(file) for file in config.pose_files]),
        tf_frames=(frames[0], frames[1]) if frames else None,
        tf_topic=config.tf_topic or None,
        max_pose_gap_s=config.max_pose_gap or None,
    )


@dataclass(frozen=True)
class _Posed:
    """The images of all drives that have a pose, M, cut into places."""

    files: list[str]  # relative to /
    poses: Poses  # [M, 7]
    drive: NDArray[np.int64]  # [M], from 0
    place: NDArray[np.int64]  # [M], -1 between two places
    left_out: list[str]  # for people
    notes: list[str]  # where the poses come from, and what is wrong with the drives


def _read(root: Path, config: DataConfig) -> _Posed:
    listed: list[tuple[str, Poses]] = []
    number_of: list[int] = []
    left_out: list[str] = []
    notes: list[str] = []
    options = drive_options(config)
    first: Drive | None = None
    for number, path in enumerate(drives_of(root, config)):
        with noting(lambda: notes):
            drive = open_drive(path, options)
            first = first or drive
            require_one_frame(first, drive)
            options = replace(options, datum=options.datum or drive.datum)
            images, said = _images(path, drive, config)
        listed += images
        number_of += [number] * len(images)
        left_out += [f'{path.name}: {line}' for line in said]
        notes.extend(f'{path.name}: {line}' for line in notes_of(drive))
    if not listed:
        with noting(lambda: notes):
            raise DatasetError(
                f'{root}: no image with a pose; {"; ".join(left_out) or "it is empty"}'
            )
    poses = np.stack([pose for _, pose in listed])
    place = cut(
        poses,
        radius_m=config.place_radius,
        gap_m=config.place_gap,
        heading_rad=float(np.radians(config.place_heading)),
    )
    return _Posed(
        [file for file, _ in listed],
        poses,
        np.array(number_of, dtype=np.int64),
        place,
        left_out,
        notes,
    )


def _held_out(drives: _Posed, config: DataConfig) -> NDArray[np.bool_]:
    """Which images lie in the stretches of the first drive's route that are held out, [M].

    An image between two places goes with the nearer one.
    """
    _, centre_rows = np.unique(drives.place[drives.place >= 0], return_index=True)
    centres = drives.poses[drives.place >= 0][centre_rows]  # a place's first image is its centre
    route = np.unique(drives.place[(drives.drive == 0) & (drives.place >= 0)])
    held = np.zeros(len(centres), dtype=bool)
    held[route[stretches(len(route), config.held_out)]] = True
    nearest = drives.place.copy()
    for row in np.flatnonzero(nearest < 0):
        apart_m = np.linalg.norm(centres[:, :3] - drives.poses[row, :3], axis=1)
        nearest[row] = np.argmin(apart_m)
    return np.asarray(held[nearest], dtype=bool)


def _beside(drives: _Posed, held: NDArray[np.bool_], config: DataConfig) -> NDArray[np.bool_]:
    """Images of places that begin where a held-out stretch ends, whatever their heading, [M]."""
    apart_m = 2 * config.place_radius + config.place_gap
    out = drives.poses[held, :3]
    close = np.array(
        [np.linalg.norm(out - pose[:3], axis=1).min() <= apart_m for pose in drives.poses]
    )
    return np.isin(drives.place, drives.place[close & (drives.place >= 0)])


def _near(
    poses: Poses, row: int, among: NDArray[np.int64], radius_m: float, config: DataConfig
) -> NDArray[np.int64]:
    """Positions in `among` of the poses that see what the pose at `row` sees."""
    others = poses[among]
    near = np.linalg.norm(others[:, :3] - poses[row, :3], axis=1) <= radius_m
    angle = angle_between(others[:, 3:], poses[row, 3:])
    return np.flatnonzero(near & (angle <= np.radians(config.place_heading)))


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


def _images(
    path: Path, drive: Drive, config: DataConfig
) -> tuple[list[tuple[str, Poses]], list[str]]:
    """Image files, relative to /, with map_T_camera, and what was left out."""
    with noting(lambda: notes_of(drive)):
        if drive.trajectory is None:
            raise DriveError(
                f'{path}: no poses in it, and position and heading say which images are one place'
            )
        files, said = _files(path, drive, config)
    stamps = np.array([stamp_ns for stamp_ns, _ in files], dtype=np.int64)
    gap_s = config.max_pose_gap or None
    poses, known = drive.trajectory.at(stamps, max_gap_s=gap_s)
    if unknown := int((~known).sum()):
        why = why_unposed(drive, stamps[~known], max_pose_gap_s=gap_s, flag='data.max_pose_gap')
        their = by_count(unknown, 'its', 'their')
        said = [*said, f'{counted(unknown, "image")} without a pose at {their} stamp{why}']
    return [
        (str(file.resolve()).lstrip('/'), pose)
        for (_, file), pose, is_known in zip(files, poses, known, strict=True)
        if is_known
    ], said


def _files(
    path: Path, drive: Drive, config: DataConfig
) -> tuple[list[tuple[int, Path]], list[str]]:
    """Stamps and image files of a drive, and what was left out; a bag's are in the cache."""
    frames = [(frame.stamp_ns, frame.file) for frame in drive.frames()]
    files = [(stamp_ns, file) for stamp_ns, file in frames if file is not None]
    if len(files) == len(frames):
        return files, []
    folder = _cache(path, config)
    if not _is_cached(folder):
        _extract(drive, folder)
    lines = (folder / _DONE).read_text(encoding='utf-8').splitlines()
    cached = [line.split(' ', 1) for line in lines]
    left_out = (folder / _LEFT_OUT).read_text(encoding='utf-8').splitlines()
    return [(int(stamp_ns), folder / name) for stamp_ns, name in cached], left_out


def _is_cached(folder: Path) -> bool:
    """Whether a bag's images are all there: programs that clean up caches take single files."""
    try:
        lines = (folder / _DONE).read_text(encoding='utf-8').splitlines()
        there = {path.name for path in folder.iterdir()}
        return {_LEFT_OUT, *(line.partition(' ')[2] for line in lines)} <= there
    except OSError:
        return False


def _extract(drive: Drive, folder: Path) -> None:
    """Copy a bag's images into files; whole, or not at all, and once for all who ask.

    Raises DatasetError where not one of them can be read.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with only_writer(folder, waits=True) as alone:
            if not _is_cached(folder):  # another program may have done it meanwhile
                with staged_folder(folder, alone=alone) as staging:
                    _copy_images(drive, staging)
    except OSError as error:
        raise DatasetError(
            f'{folder}: the images of {drive.name} cannot be cached ({error.strerror or error}); '
            'set XDG_CACHE_HOME to another folder'
        ) from error


def _copy_images(drive: Drive, folder: Path) -> None:
    lines = []
    unusable = Unusable()
    bar = tqdm(drive.frames(), total=len(drive), desc=drive.name, unit='image', disable=None)
    for number, frame in enumerate(bar):
        try:
            image = frame.load()
        except ImageError as error:
            unusable.add(error)
            continue
        name = f'{number:08d}.jpg'
        (folder / name).write_bytes(encode_jpeg(image, quality=_JPEG_QUALITY))
        lines.append(f'{frame.stamp_ns} {name}')
    if not lines:
        raise DatasetError(
            f'no image of {drive.name} can be read; the first one: {unusable.first}'
        )
    said = '\n'.join(' '.join(line.split()) for line in unusable.lines())
    (folder / _LEFT_OUT).write_text(said, encoding='utf-8', errors='replace')
    (folder / _DONE).write_text('\n'.join(lines) + '\n', encoding='utf-8')


def _cache(path: Path, config: DataConfig) -> Path:
    """Where a bag's images are: named by the bag's files, their sizes and times, and the topic."""
    files: Sequence[Path] = sorted(files_below(path)) if path.is_dir() else [path]
    digest = hashlib.sha256(_CACHE_VERSION + config.image_topic.encode())
    for file in files:
        facts = file.stat()
        digest.update(os.fsencode(file.resolve()))  # a name need not be text
        digest.update(f' {facts.st_size} {facts.st_mtime_ns}\n'.encode())
    return cache_folder('vpr_training') / f'{path.stem}-{digest.hexdigest()[:16]}'
