"""Map one recording in pieces that are written once and found again.

A piece is a bounded stretch of one recording, kept as an ordinary map of one part. It appears
whole or not at all, so that a worker that is killed costs the piece it was at. The folder of the
work:

    KEY/                one recording as it is mapped: by its files, the model and the options
        0000.json       what became of the images of a stretch
        0000/           its places, a map; missing where there are none
        drive.json      written last: all of the recording is there

A recording is one worker's, because it is read in one go: which images are mapped depends on those
before, and its poses are in memory.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.core.atomic import replace_file, unwritable_as
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
from vpr_ros.core.mapping.layout import HEADER_NAME
from vpr_ros.core.mapping.writer import build
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
from vpr_ros.map_care.landmark_kind import chosen_features, features_of_kind, landmark_maker
from vpr_ros.map_care.spacing import EVERY_IMAGE, Spacing

STRETCH = 1000
"""Images of a piece, unless --stretch says otherwise: half a minute of one core."""

_FORM = 1  # rises where the same recording and options would become other bytes
_DONE = 'drive.json'


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


def recordings(paths: Sequence[Path]) -> list[Path]:
    """Each recording once, by its path as a worker in another folder sees it."""
    return list(dict.fromkeys(path.absolute() for path in paths))


def tasks_of(
    paths: Sequence[Path], work: Path, recipe: Recipe, model: Model
) -> tuple[list[Task], dict[Path, Broken]]:
    """What is to be done for each of the `recordings`, and those that are not even there."""
    tasks: list[Task] = []
    broken: dict[Path, Broken] = {}
    said = _said(recipe, model)
    own = replace(recipe, model=recipe.model.absolute(), precision=model.precision)
    for path in recordings(paths):
        try:
            digest = files_digest(_files(path))
        except OSError as error:
            broken[path] = Broken(str(path), f'{path}: {error.strerror or error}')
            continue
        key = hashlib.sha256(f'{said}\n{digest}'.encode()).hexdigest()[:24]
        tasks.append(Task(path, work.absolute() / key, own))
    return tasks, broken


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


def _files(path: Path) -> list[Path]:
    """All files of a recording."""
    return sorted(files_below(path)) if path.is_dir() else [path]


def bytes_of(task: Task) -> int:
    """The size of a recording's files."""
    return sum(file.stat().st_size for file in _files(task.path))


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


def finished_before(task: Task) -> Finished | None:
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
