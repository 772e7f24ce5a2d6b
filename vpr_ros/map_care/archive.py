"""Make a map of many recordings, in pieces that are written once and found again.

A piece is a bounded stretch of one recording, kept as an ordinary map of one part. It appears
whole or not at all, so that a worker that is killed costs the piece it was at. The pieces are
linked into the final map in the order in which the recordings were named. So nobody can tell from
the map how many workers made it, nor whether some were killed.

The folder of the work:

    KEY/                one recording as it is mapped: by its files, the model and the options
        0000.json       what became of the images of a stretch
        0000/           its places, a map; missing where there are none
        drive.json      written last: all of the recording is there

A recording is one worker's, because it is read in one go: which images are mapped depends on those
before, and its poses are in memory.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vpr_ros.batch.workers import ALONE, WorkerLost, Workers, carried_out
from vpr_ros.core.atomic import replace_file, require_writable, unwritable_as
from vpr_ros.core.cache import files_digest
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.documents import parse_json, read_bytes
from vpr_ros.core.errors import (
    DocumentError,
    DriveError,
    MapError,
    ModelError,
    VprError,
    notes_of_error,
    noting,
)
from vpr_ros.core.image_files import files_below
from vpr_ros.core.mapping.graphs import graph_digests
from vpr_ros.core.mapping.header import MapHeader, read_header
from vpr_ros.core.mapping.layout import HEADER_NAME
from vpr_ros.core.mapping.writer import MAP, build
from vpr_ros.core.plurals import by_count, counted
from vpr_ros.core.virtual_camera import shown_share
from vpr_ros.drives import open_drive
from vpr_ros.drives.drive import DEFAULTS, Drive, DriveOptions, notes_of
from vpr_ros.drives.posed_images import Unusable
from vpr_ros.map_care.build import (
    THUMBNAIL_PX,
    MapOptions,
    PosedFrame,
    Report,
    add_places,
    map_header,
    posed_frames,
    require_mapped,
)
from vpr_ros.map_care.edit import assemble
from vpr_ros.map_care.landmark_kind import chosen_features, features_of_kind, landmark_maker
from vpr_ros.map_care.spacing import EVERY_IMAGE, Spacing

STRETCH = 1000
"""Images of a piece, unless --stretch says otherwise: half a minute of one core."""

_FORM = 1  # rises where the same recording and options would become other bytes
_DONE = 'drive.json'
_MOST_NAMED = 5  # recordings in a map's source


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How each recording becomes places; small, and read alike by every worker."""

    model: Path
    precision: str = 'fp32'  # a graph of the model, chosen already
    drive: DriveOptions = DEFAULTS
    spacing: Spacing = EVERY_IMAGE
    max_pose_gap_s: float | None = None
    landmarks: str | None = None  # kind of features, see chosen_features
    half: bool = False  # descriptors in half precision
    thumbnails: bool = True
    stretch: int = STRETCH  # images of a piece


@dataclass(frozen=True, slots=True)
class Task:
    """One recording to be mapped."""

    path: Path
    folder: Path  # of its pieces
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Finished:
    """A recording all of whose pieces are there."""

    name: str
    pieces: tuple[Path, ...]  # maps, in their order
    report: Report
    notes: tuple[str, ...]  # what the user should know of the recording


@dataclass(frozen=True, slots=True)
class Broken:
    """A recording that cannot be mapped."""

    name: str
    said: str
    notes: tuple[str, ...] = ()  # what was learned before it failed


@dataclass(frozen=True, slots=True)
class _Piece:
    """One of the maps that are put together, by what it says of itself."""

    folder: Path
    header: MapHeader


@dataclass(frozen=True, slots=True)
class Archive:
    """What became of the recordings, in their order."""

    finished: list[Finished]
    broken: list[Broken]
    found: int  # recordings that were finished before
    notes: list[str]  # on the recordings and on the map

    def lines(self) -> list[str]:
        """The counts as sentences."""
        total = Report()
        for each in self.finished:
            total.add(each.report)
        were = by_count(self.found, 'was', 'were')
        found = f', {self.found} of them {were} already done' if self.found else ''
        mapped = counted(len(self.finished), 'recording')
        return [f'{mapped} mapped{found}', *total.lines()]


def build_archive(
    paths: Sequence[Path],
    output: Path,
    work: Path,
    recipe: Recipe,
    *,
    workers: Workers = ALONE,
    command: str = '',
    leave_out_broken: bool = False,
) -> Archive:
    """Write one map of many recordings; what is done already is taken from the folder `work`.

    Recordings that cannot be read do not stop the others. Raises DriveError that names all of them
    afterwards, unless they are to be left out, and where none is left; as `build` and
    `edit.assemble` where something cannot be written or recordings do not fit together. Finished
    pieces stay whatever happens.
    """
    MAP.require_place(output)
    if _resolved(work).is_relative_to(_resolved(output)):
        raise MapError(
            f'--work {work}: is the map {output} itself or lies within it, and the map is '
            'replaced as a whole; give a folder outside of it'
        )
    with unwritable_as(MapError, work):
        require_writable(work / 'piece')
    model = Model.open(recipe.model, precision=recipe.precision)
    tasks, results = _planned(paths, work, recipe, model)
    results |= {task.path: found for task in tasks if (found := _found(task))}
    before = sum(isinstance(result, Finished) for result in results.values())
    left = [task for task in tasks if task.path not in results]
    left.sort(key=_bytes, reverse=True)  # the longest first, so that no worker has one left alone
    try:
        with tqdm(total=len(tasks), initial=before, unit='drive', disable=None) as progress:
            for task, result in carried_out(map_recording, left, workers):
                if isinstance(result, WorkerLost):
                    results[task.path] = Broken(str(task.path), str(result))
                else:
                    results[task.path] = result
                progress.update()
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(
            f'stopped; {work} keeps what is done, and the same command continues from there'
        ) from interrupt
    ordered = [results[path] for path in dict.fromkeys(map(_real, paths))]
    finished = [result for result in ordered if isinstance(result, Finished)]
    broken = [result for result in ordered if isinstance(result, Broken)]
    _require_some(finished, broken, output, work, leave_out_broken=leave_out_broken)
    try:
        pieces = [
            _Piece(folder, read_header(folder)) for each in finished for folder in each.pieces
        ]
        notes = assemble(
            pieces, output, card=model.card, source=_source(finished), command=command
        )
    except MapError as error:
        error.notes = (
            *error.notes,
            f'you can delete {work} at any time; the command makes it again',
        )
        raise
    told = [line for each in finished for line in _with_name(each.name, each.notes)]
    notes += [*_mountings(finished, pieces), *_lenses(finished, pieces)]
    return Archive(finished, broken, before, [*told, *notes])


def map_recording(task: Task, threads: int) -> Finished | Broken:
    """Write the pieces of a recording that are not there; runs in a worker.

    Raises MapError and ModelError, which any other recording would meet, too.
    """
    try:
        return _map_recording(task, threads)
    except (MapError, ModelError):
        raise
    except VprError as error:
        return Broken(str(task.path), str(error), tuple(notes_of_error(error)))


def _map_recording(task: Task, threads: int) -> Finished:
    recipe = task.recipe
    describer = _describer(recipe.model, recipe.precision, threads)
    drive, total = open_drive(task.path, recipe.drive), Report()
    cells = describer.model.card.cells
    options = MapOptions(
        spacing=recipe.spacing,
        max_pose_gap_s=recipe.max_pose_gap_s,
        features=chosen_features(None, drive, cells)
        if recipe.landmarks is None
        else _features(recipe.landmarks, cells),
        half=recipe.half,
        thumbnails=recipe.thumbnails,
    )
    pieces: list[Path] = []
    with noting(lambda: notes_of(drive), total.known):
        frames = posed_frames(drive, drive.frames(), options, total)
        for number in count():
            first = next(frames, None)
            if first is None:
                break
            stretch = chain([first], islice(frames, recipe.stretch - 1))
            piece = task.folder / f'{number:04d}'
            report = _read_report(piece)
            if report is None:
                report = _write_piece(piece, drive, stretch, describer, options)
            for _ in stretch:
                pass  # those of a piece that is there
            total.add(report)
            pieces += [piece] if report.mapped else []
        require_mapped(drive, total)
        if not pieces:
            raise DriveError(f'{drive.name}: no image in it')
    finished = Finished(str(task.path), tuple(pieces), total, tuple(notes_of(drive)))
    _write_finished(task.folder, finished)
    return finished


def _write_piece(
    piece: Path,
    drive: Drive,
    stretch: Iterator[PosedFrame],
    describer: OnnxDescriber,
    options: MapOptions,
) -> Report:
    """Write the places of a stretch as a map, after what became of its images."""
    report = Report()
    if not (piece / HEADER_NAME).is_file():
        shutil.rmtree(piece, ignore_errors=True)  # somebody has deleted some of it
    maker = landmark_maker(drive, describer, options.features)
    header = map_header(drive, describer, maker, command='', half=options.half)
    try:
        with build(piece, header, features=options.features) as writer:
            add_places(stretch, describer, writer, maker, report, thumbnails=options.thumbnails)
            if not report.mapped:
                raise _NoPlaceError
            _write_json(piece.with_suffix('.json'), asdict(report))
    except _NoPlaceError:
        _write_json(piece.with_suffix('.json'), asdict(report))
    return report


class _NoPlaceError(Exception):
    """Not one image of a stretch can be used."""


@lru_cache(maxsize=1)
def _describer(model: Path, precision: str, threads: int) -> OnnxDescriber:
    """A worker's own, which it keeps from one recording to the next."""
    return OnnxDescriber(Model.open(model, precision=precision), threads=threads, singly=False)


_features = lru_cache(maxsize=1)(features_of_kind)


# Which work it is ----------------------------------------------------------------------------


def _planned(
    paths: Sequence[Path], work: Path, recipe: Recipe, model: Model
) -> tuple[list[Task], dict[Path, Finished | Broken]]:
    """What is to be done, each recording once, and those that are not even there."""
    tasks: list[Task] = []
    broken: dict[Path, Finished | Broken] = {}
    said = _said(recipe, model)
    for path in dict.fromkeys(map(_real, paths)):
        try:
            digest = files_digest(_files(path))
        except OSError as error:
            broken[path] = Broken(str(path), f'{path}: {error.strerror or error}')
            continue
        key = hashlib.sha256(f'{said}\n{digest}'.encode()).hexdigest()[:24]
        own = replace(recipe, model=_real(recipe.model), precision=model.precision)
        tasks.append(Task(path, _real(work) / key, own))
    return tasks, broken


def _real(path: Path) -> Path:
    """The path as a worker in another folder sees it."""
    return path.absolute()


def _resolved(path: Path) -> Path:
    """The path without links, also where there is nothing yet."""
    return Path(os.path.realpath(path))


def _files(path: Path) -> list[Path]:
    """All files of a recording."""
    return sorted(files_below(path)) if path.is_dir() else [path]


def _bytes(task: Task) -> int:
    return sum(file.stat().st_size for file in _files(task.path))


def _said(recipe: Recipe, model: Model) -> str:
    """All that decides about the bytes of a piece, except the recording."""
    named = recipe.landmarks
    features = None if named is None else features_of_kind(named, model.card.cells)
    graphs = {} if features is None else {features.name: graph_digests(features)}
    values = asdict(recipe) | {
        'form': _FORM,
        'model': [model.card.sha256, model.graph_sha256, model.card.cells],
        'precision': model.precision,
        'landmarks': [named, graphs],
        'thumbnail_px': THUMBNAIL_PX,
    }
    return json.dumps(values, sort_keys=True, default=np.ndarray.tolist)


# What is there -------------------------------------------------------------------------------


def _found(task: Task) -> Finished | None:
    """A recording as it was finished before; None where it was not, or a piece has gone."""
    said = _read_json(task.folder / _DONE)
    if said is None:
        return None
    try:
        pieces = tuple(task.folder / f'{int(number):04d}' for number in said['pieces'])
        notes = tuple(str(note) for note in said['notes'])
        found = Finished(str(task.path), pieces, _report(said['report']), notes)
    except (KeyError, OverflowError, TypeError, ValueError):
        return None
    return found if all((piece / HEADER_NAME).is_file() for piece in pieces) else None


def _write_finished(folder: Path, finished: Finished) -> None:
    values = {
        'recording': finished.name,  # for people
        'pieces': [int(piece.name) for piece in finished.pieces],
        'report': asdict(finished.report),
        'notes': finished.notes,
    }
    _write_json(folder / _DONE, values)


def _read_report(piece: Path) -> Report | None:
    """What became of a stretch's images; None where its piece is not there."""
    said = _read_json(piece.with_suffix('.json'))
    try:
        report = None if said is None else _report(said)
    except (KeyError, OverflowError, TypeError, ValueError):
        return None
    if report is None or (report.mapped and not (piece / HEADER_NAME).is_file()):
        return None
    return report


def _report(said: dict[str, Any]) -> Report:
    """A report from its mapping; raises KeyError, TypeError or ValueError for another."""
    report = Report()
    for entry in fields(Report):
        value, kind = said[entry.name], type(getattr(report, entry.name))
        if kind is Unusable:
            value = Unusable(int(value['count']), str(value['first']))
        if type(value) is not kind:
            raise TypeError(f'{entry.name}: {value!r}, expected {kind.__name__}')
        setattr(report, entry.name, value)
    return report


def _read_json(path: Path) -> dict[str, Any] | None:
    """What a file of ours says; None where it is missing or damaged, for then it is made again."""
    try:
        said = parse_json(read_bytes(path, follow_links=False))
    except (OSError, DocumentError):
        return None
    return said if isinstance(said, dict) else None


def _write_json(path: Path, values: dict[str, Any]) -> None:
    text = json.dumps(values, indent=1, default=str)
    with unwritable_as(MapError, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())


# What is said --------------------------------------------------------------------------------


def _require_some(
    finished: Sequence[Finished],
    broken: Sequence[Broken],
    output: Path,
    work: Path,
    *,
    leave_out_broken: bool,
) -> None:
    """Raise DriveError where recordings are broken that are not to be left out."""
    if finished and (leave_out_broken or not broken):
        return
    error = DriveError(
        f'{len(broken)} of {counted(len(broken) + len(finished), "recording")} cannot be mapped '
        f'(see above), so {output} was not written; {work} keeps what was done. Repair or remove '
        f'{by_count(len(broken), "it", "them")}, or give --leave-out-broken, and run the '
        'same command again'
    )
    error.notes = tuple(broken_lines(broken))
    raise error


def broken_lines(broken: Sequence[Broken]) -> list[str]:
    """Why each recording cannot be mapped, and then what was learned before it failed."""
    return [line for each in broken for line in _with_name(each.name, (each.said, *each.notes))]


def _with_name(name: str, lines: Sequence[str]) -> list[str]:
    """Lines about a recording that name it."""
    return [line if name in line else f'{name}: {line}' for line in lines]


def _source(finished: Sequence[Finished]) -> str:
    names = [each.name for each in finished]
    if len(names) <= _MOST_NAMED:
        return ', '.join(names)
    return f'{len(names)} recordings from {names[0]} to {names[-1]}'


def _mountings(finished: Sequence[Finished], pieces: Sequence[_Piece]) -> list[str]:
    """Notes where cameras are mounted differently, and where nobody knows how."""
    first = pieces[0].header.base_T_camera
    others = {
        piece.folder.parent
        for piece in pieces
        if not np.allclose(piece.header.base_T_camera, first, atol=1e-6)
    }
    unknown = {piece.folder.parent for piece in pieces if not piece.header.mounting_known}
    notes = []
    if others:
        notes.append(
            f'{len(others)} of {len(finished)} recordings '
            f'{by_count(len(others), "has", "have")} the camera mounted in another way than '
            f'{finished[0].name}; robots without a mounting of their own take that of the first'
        )
    if unknown:
        notes.append(
            f'the mounting of the camera is unknown in {len(unknown)} of '
            f'{counted(len(finished), "recording")}, so the map assumes that it looks forward '
            'there; give --mounting, or record /tf_static'
        )
    return notes


def _lenses(finished: Sequence[Finished], pieces: Sequence[_Piece]) -> list[str]:
    """A note where recordings were made through another lens than that of the map's camera."""
    cameras = [piece.header.camera for piece in pieces if piece.header.camera is not None]
    others = {camera for camera in set(cameras) if shown_share(camera, cameras[0]) is not None}
    through = {piece.folder.parent for piece in pieces if piece.header.camera in others}
    if not through:
        return []
    return [
        f'{len(through)} of {len(finished)} recordings '
        f"{by_count(len(through), 'has', 'have')} another lens than the map's camera; robots find "
        'their places less often; give --view to map all of them in one view'
    ]
