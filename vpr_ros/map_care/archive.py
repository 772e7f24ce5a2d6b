"""Make one map of many recordings, whose pieces are written once and found again (pieces.py).

The pieces are linked into the map in the order in which the recordings were named. So nobody can
tell from the map how many workers made it, nor whether some were killed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vpr_ros.batch.workers import ALONE, WorkerLost, Workers, carried_out
from vpr_ros.core.atomic import require_writable, unwritable_as
from vpr_ros.core.describing.model import Model
from vpr_ros.core.errors import DriveError, MapError
from vpr_ros.core.mapping.header import MapHeader, read_header
from vpr_ros.core.mapping.writer import MAP
from vpr_ros.core.plurals import by_count, counted
from vpr_ros.core.virtual_camera import shown_share
from vpr_ros.core.writer_lock import real_path
from vpr_ros.map_care.build import Report
from vpr_ros.map_care.edit import assemble
from vpr_ros.map_care.pieces import (
    Broken,
    Finished,
    Recipe,
    Task,
    bytes_of,
    finished_before,
    map_recording,
    recordings,
    tasks_of,
)

_MOST_NAMED = 5  # recordings in a map's source


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
    if real_path(work).is_relative_to(real_path(output)):
        raise MapError(
            f'--work {work}: is the map {output} itself or lies within it, and the map is '
            'replaced as a whole; give a folder outside of it'
        )
    with unwritable_as(MapError, work):
        require_writable(work / 'piece')
    model = Model.open(recipe.model, precision=recipe.precision)
    tasks, missing = tasks_of(paths, work, recipe, model)
    before = {task.path: found for task in tasks if (found := finished_before(task))}
    left = [task for task in tasks if task.path not in before]
    try:
        mapped = _mapped(left, workers, total=len(tasks))
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(
            f'stopped; {work} keeps what is done, and the same command continues from there'
        ) from interrupt
    results = {**missing, **before, **mapped}
    ordered = [results[path] for path in recordings(paths)]
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
    return Archive(finished, broken, len(before), [*told, *notes])


def _mapped(
    left: Sequence[Task], workers: Workers, *, total: int
) -> dict[Path, Finished | Broken]:
    """Map what is left of so many recordings; what became of each, by its path."""
    results: dict[Path, Finished | Broken] = {}
    # The longest first, so that no worker has one left alone.
    longest_first = sorted(left, key=bytes_of, reverse=True)
    with tqdm(total=total, initial=total - len(left), unit='drive', disable=None) as progress:
        for task, result in carried_out(map_recording, longest_first, workers):
            if isinstance(result, WorkerLost):
                result = Broken(str(task.path), str(result))
            results[task.path] = result
            progress.update()
    return results


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
