"""Change a map without building it again: add a drive, join maps, leave places out.

A part of a map is never written again. A changed map is staged beside the old one, holds the old
parts by hard links and knows their digests already, and is exchanged with the old one in one step.
So adding a drive costs what the drive costs, however large the map is, and a kill leaves the old
map. Leaving places out is the one change that copies rows; it leaves a map of one part.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.core.camera import Camera
from vpr_ros.core.describing.model import ModelCard
from vpr_ros.core.errors import MapError
from vpr_ros.core.landmarks.features import Features
from vpr_ros.core.landmarks.points import no_landmarks
from vpr_ros.core.mapping.files import check_file, load_array, open_regular
from vpr_ros.core.mapping.graphs import write_graphs
from vpr_ros.core.mapping.halves import HALF
from vpr_ros.core.mapping.header import (
    Change,
    MapHeader,
    first_of,
    now,
    read_header,
    write_header,
)
from vpr_ros.core.mapping.layout import MOST_PARTS, part_name
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.writer import MAP, MapWriter, part_writer
from vpr_ros.core.npy import NpyWriter
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import Datum
from vpr_ros.map_care.alike import (
    OnDisk,
    differences,
    landmarks_held,
    require_alike,
    require_features,
)

_AT_ONCE = 4_000_000  # numbers of descriptors that are rewritten at a time


class _DeclinedError(Exception):
    """Raised so that a staged map does not replace the old one."""


@contextmanager
def append(
    folder: Path | str,
    header: MapHeader,
    *,
    command: str = '',
    source: str = '',
    landmarks: tuple[Camera, Features] | None = None,
) -> Iterator[MapWriter]:
    """Yield a writer of a further part; when the block ends, the map has it.

    header: what the map was before, from read_header; landmarks: of the new part, by which camera
    and of which kind. Raises MapError where the map cannot be written, where it has landmarks of
    another kind, where nothing was added, and where somebody else has changed it meanwhile.
    """
    folder = Path(folder)
    if landmarks is not None and header.landmark_features:
        require_features(folder, header, landmarks[1])
    size = landmarks[1].descriptor_size if landmarks else None
    with MAP.staged(folder) as staging:
        for name in header.files or {}:
            _link(folder / name, staging / name)
        part = _part_name(len(header.parts))
        with part_writer(staging, header, part=part, landmark_descriptor_size=size) as writer:
            yield writer
        if writer.places == 0:
            raise MapError(f'{folder}: the map was not changed, because no image has a pose')
        places = header.places + writer.places
        now_held = replace(header, part_sources=(*header.drives, source))
        if landmarks is not None and not header.landmark_features:
            now_held = replace(now_held, camera=landmarks[0], landmark_features=landmarks[1].name)
            write_graphs(staging, landmarks[1])
        write_header(staging, _changed(now_held, places, command, source))
        _require_unchanged(folder, header)


def merge(maps: Sequence[PlaceMap], output: Path | str, *, command: str = '') -> list[str]:
    """Write one map of all places of several maps; returns what the user should know.

    Raises MapError where they were made by different models or lie in different frames. Geographic
    maps of one UTM zone may have different origins: the first one's is taken. A recording that
    several of them hold is taken once.
    """
    require_alike(maps)
    mapped = landmarks_held(maps)
    notes = differences(maps, mapped)
    with MAP.staged(Path(output)) as staging:
        joined = _linked(maps, staging, notes, mapped=mapped)
        source = ', '.join(str(place_map.folder) for place_map in maps)
        write_header(staging, _changed(joined, joined.places, command, source))
    return notes


def assemble(
    maps: Sequence[OnDisk], output: Path | str, *, card: ModelCard, source: str, command: str
) -> list[str]:
    """Write one map of all places of maps that are pieces of one work; see `merge` for the rest.

    The map says nothing of when and where it was made: whoever does the same work gets the same
    map, byte for byte. card: of the model that made all of them.
    """
    notes: list[str] = []
    require_alike(maps)
    for piece in maps:
        for name, digest in (piece.header.files or {}).items():
            check_file(piece.folder / name, digest)
    mapped = landmarks_held(maps)
    with MAP.staged(Path(output)) as staging:
        joined = _linked(maps, staging, notes, mapped=mapped)
        joined = replace(joined, source=source, command=command, made_at='')
        calibrated = replace(joined, model_name=card.name, model_calibration=card.calibration)
        write_header(staging, calibrated)
    return notes


def _linked(
    maps: Sequence[OnDisk], staging: Path, notes: list[str], *, mapped: OnDisk
) -> MapHeader:
    """Link the parts of all maps into a staged one; its header without a change added.

    mapped: the one whose camera and kind of landmarks they share.
    """
    first = maps[0].header
    held: dict[tuple[str, ...], str] = {}  # names of the parts by their digests
    files = dict(mapped.header.graphs)
    for name in files:
        _link(mapped.folder / name, staging / name)
    drives = []
    distractors: list[str] = []  # parts
    places = 0
    for place_map in maps:
        header = place_map.header
        for part, drive in zip(header.parts, header.drives, strict=True):
            digests = _part_digests(header, part)
            count = len(load_array(place_map.folder / part, 'stamps_ns', mapped=True))
            is_distractor = part in header.distractor_parts
            if held_as := held.get(tuple(digests.values())):
                if held_as in distractors and not is_distractor:
                    distractors.remove(held_as)
                of_drive = f' of {drive}' if drive else ''
                notes.append(
                    f'{place_map.folder}/{part}: {counted(count, "place")}{of_drive}, held already'
                )
                continue
            name = _part_name(len(held))
            held[tuple(digests.values())] = name
            for file in digests:
                _link(place_map.folder / part / file, staging / name / file)
            if _shift_poses(staging / name, header.datum, first.datum):
                del digests['poses.npy']
            files |= {f'{name}/{file}': digest for file, digest in digests.items()}
            drives.append(drive)
            distractors += [name] * is_distractor
            places += count
    return replace(
        first,
        files=files,
        part_sources=tuple(drives),
        distractor_parts=tuple(distractors),
        places=places,
        half_descriptors=any(each.header.half_descriptors for each in maps),
        camera=mapped.header.camera,
        landmark_features=mapped.header.landmark_features,
    )


def keep_places(
    place_map: PlaceMap,
    kept: NDArray[np.bool_],
    output: Path | str,
    *,
    command: str = '',
    accepts: Callable[[PlaceMap], bool] = lambda smaller: True,
) -> bool:
    """Write a map of the places that are kept [N]; False where `accepts` declined the result.

    `accepts` gets the staged map, opened; if it declines, nothing is written. Raises MapError
    where nothing is kept or the map cannot be written.
    """
    if not kept.any():
        places = counted(len(place_map), 'place')
        raise MapError(f'{place_map.folder}: none of its {places} would be left')
    header = place_map.header
    try:
        with MAP.staged(Path(output)) as staging:
            joined = _write_kept(place_map, kept, staging)
            write_header(staging, _changed(joined, joined.places, command, ''))
            if not accepts(PlaceMap.open(staging)):
                raise _DeclinedError
            if place_map.folder.resolve() == Path(output).resolve():
                _require_unchanged(place_map.folder, header)
    except _DeclinedError:
        return False
    return True


def _write_kept(place_map: PlaceMap, kept: NDArray[np.bool_], staging: Path) -> MapHeader:
    """Write the places that are kept [N] as one part, and distractors as another; its header."""
    header = place_map.header
    parts = [kept & ~place_map.is_distractor, kept & place_map.is_distractor]
    names = [part_name(number) for number in range(1 + int(parts[1].any()))]
    for name, wanted in zip(names, parts):
        size = place_map.landmark_descriptor_size
        with part_writer(staging, header, part=name, landmark_descriptor_size=size) as writer:
            _copy_rows(place_map, np.flatnonzero(wanted), writer)
    if place_map.has_landmarks:
        write_graphs(staging, place_map.features())
    drives = first_of(list(dict.fromkeys(header.drives)))
    return replace(
        header,
        files=None,
        part_sources=(drives,) * len(names),
        distractor_parts=tuple(names[1:]),
        places=int(kept.sum()),
    )


def slimmed(
    place_map: PlaceMap,
    output: Path | str,
    *,
    half: bool = False,
    thumbnails: bool = True,
    command: str = '',
) -> None:
    """Write the same map with less: descriptors in half precision, no thumbnails.

    Its parts, their rows and their codes stay; what does not change is linked. Raises MapError
    where the map cannot be written.
    """
    header = place_map.header
    with MAP.staged(Path(output)) as staging:
        files = dict(header.files or {})
        for name in header.files or {}:
            source, target = place_map.folder / name, staging / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if half and source.name == 'descriptors.npy':
                _write_halves(source, target)
            elif not thumbnails and source.name in ('thumbnails.bin', 'thumbnail_ends.npy'):
                _write_no_thumbnails(source, target)
            else:
                _link(source, target)
                continue
            del files[name]  # its digest changes
        slim = replace(header, files=files, half_descriptors=half or header.half_descriptors)
        write_header(staging, _changed(slim, header.places, command, ''))
        if place_map.folder.resolve() == Path(output).resolve():
            _require_unchanged(place_map.folder, header)


def _write_halves(source: Path, target: Path) -> None:
    """Write the descriptors of a part anew in half precision."""
    rows = load_array(source.parent, source.stem, mapped=True)
    with target.open('wb') as file:
        writer = NpyWriter(file, HALF, rows.shape[1])
        step = max(_AT_ONCE // rows.shape[1], 1)
        for start in tqdm(range(0, len(rows), step), unit='chunk', disable=None, delay=2):
            writer.append(rows[start : start + step])
        writer.finish()


def _write_no_thumbnails(source: Path, target: Path) -> None:
    """Write a part's file of thumbnails, or of where each of them ends, as if there were none."""
    if source.suffix == '.bin':
        target.touch()
    else:
        np.save(target, np.zeros_like(load_array(source.parent, source.stem, mapped=True)))


def _copy_rows(place_map: PlaceMap, rows: NDArray[np.int64], writer: MapWriter) -> None:
    for row in tqdm(rows.tolist(), unit='place', disable=None, delay=2):
        writer.add(
            place_map.descriptor(row),
            place_map.poses[row],
            stamp_ns=int(place_map.stamps_ns[row]),
            name=place_map.names[row],
            thumbnail=place_map.thumbnail_jpeg(row),
            cells=place_map.cells(row),
        )
        if place_map.landmark_descriptor_size is not None:
            landmarks = place_map.landmarks(row)
            if landmarks is None:
                landmarks = no_landmarks(place_map.landmark_descriptor_size)
            writer.add_landmarks(landmarks)


def _part_name(number: int) -> str:
    if number >= MOST_PARTS:
        raise MapError(f'a map holds at most {MOST_PARTS} recordings; join them with `map prune`')
    return part_name(number)


def _part_digests(header: MapHeader, part: str) -> dict[str, str]:
    """Digests of a part's files by their names within it, sorted."""
    start = f'{part}/'
    return {
        name.removeprefix(start): digest
        for name, digest in sorted((header.files or {}).items())
        if name.startswith(start)
    }


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; copy it where the file system cannot, or is another one.

    Raises OSError where the target exists, and MapError where the source is no regular file.
    """
    try:
        opened = open_regular(source)
    except FileNotFoundError as error:
        raise MapError(
            f'{source}: this file is missing, so the map is damaged; restore the file or rebuild '
            'the map'
        ) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened:
        try:
            os.link(source, target)
        except FileExistsError:
            raise  # never written over
        except OSError:
            with target.open('xb') as copy:
                shutil.copyfileobj(opened, copy)


def _changed(header: MapHeader, places: int, command: str, source: str) -> MapHeader:
    change = Change(command=command, made_at=now(), places=places, source=source)
    return replace(header, places=places, changes=(*header.changes, change))


def _require_unchanged(folder: Path, header: MapHeader) -> None:
    if read_header(folder) != header:
        raise MapError(
            f'{folder}: another program changed the map in the meantime, and its version was '
            'kept; try again'
        )


def _shift_poses(part: Path, datum: Datum | None, wanted: Datum | None) -> bool:
    """Bring a part's poses from their origin to another in the same UTM zone; whether it did."""
    if datum is None or wanted is None:
        return False
    shift_m = np.array([datum.east_m - wanted.east_m, datum.north_m - wanted.north_m])
    if not shift_m.any():
        return False
    path = part / 'poses.npy'
    poses = load_array(part, 'poses')
    poses[:, :2] += shift_m
    path.unlink()  # else the linked file of the old map would be written
    np.save(path, poses)
    return True
