"""Bring a map's parts into a fleet's store.

The places of a part are written first, in one commit, then all parts of the map become visible in
one more. So a push is there as a whole or not at all, and one that was killed is completed by the
same command: places that are in the store already are not sent again. A part whose files the fleet
knows is not even read place by place.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.core.errors import FleetError
from vpr_ros.core.landmarks.feature_kinds import size_without_networks
from vpr_ros.core.mapping.header import now
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.fleet.engine import MissingTableError
from vpr_ros.fleet.part_files import files_digest
from vpr_ros.fleet.places import (
    Form,
    as_batch,
    batches,
    keys_of,
    part_digest,
    places_of,
    require_sound,
)
from vpr_ros.fleet.records import Frame, PartRecord, details_of
from vpr_ros.fleet.store import EMPTY, Fleet

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_SAID = 200  # characters of a name or a note


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did."""

    version: int  # of the fleet, afterwards
    is_new: bool  # whether the push made it
    parts: int  # of the map
    added_parts: int
    added_places: int
    resumed: int  # parts whose places an interrupted push had brought
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _LocalPart:
    """A part of the map that is pushed."""

    rows: NDArray[np.int64]  # [n], of the map
    form: Form
    ids: list[bytes]
    ids_of_landmarks: list[bytes]
    digest: str
    files: str  # see files_digest
    low_m: NDArray[np.float64]  # [2], corner of its extent
    high_m: NDArray[np.float64]


def push(
    folder: Path,
    address: str,
    *,
    robot: str = '',
    condition: str = '',
    note: str = '',
    is_new: bool = False,
) -> Pushed:
    """Bring all parts of a map into a store, which is made where there is none.

    is_new: it may be made in object storage, too. Raises MapError for a map that cannot be opened,
    and FleetError where the store cannot be used or lies in another frame.
    """
    said = {'robot': robot, 'condition': condition, 'note': note}
    _require_lines(said)
    place_map = PlaceMap.open(folder)
    header = place_map.header
    form = Form(header.model_sha256, header.descriptor_size, header.cells)
    fleet = Fleet.created(address, Frame.of(header), is_new=is_new)
    shift_m = fleet.frame.shift_of(Frame.of(header), where=str(folder))
    version, held = fleet.parts()
    _require_one_form(held, form, folder)
    this_push = secrets.token_hex(16)
    added: list[PartRecord] = []
    resumed = 0
    for number, part in _new_parts(place_map, fleet, held, form, shift_m):
        try:
            fleet.places(part.digest, part.form)
            resumed += 1
        except MissingTableError:
            fleet.write_places(part.digest, part.form, _rows(place_map, part, shift_m))
        added.append(_record(place_map, part, push=this_push, number=number, said=said))
    made = fleet.publish(added)
    return Pushed(
        version=version if made is None else made,
        is_new=made is not None,
        parts=len(header.parts),
        added_parts=len(added) if made is not None else 0,
        added_places=sum(one.places for one in added) if made is not None else 0,
        resumed=resumed,
        notes=(*_made(fleet, version), *_left_out(place_map)),
    )


def _require_lines(said: Mapping[str, str]) -> None:
    """Raise FleetError for a text that is no line of bounded length; said: by the option."""
    for name, text in said.items():
        if len(text) > _MOST_SAID or not text.isprintable():
            raise FleetError(
                f'--{name}: {text[:40]!a}, expected one line of at most {_MOST_SAID} characters'
            )


def _new_parts(
    place_map: PlaceMap,
    fleet: Fleet,
    held: Sequence[PartRecord],
    form: Form,
    shift_m: NDArray[np.float64],
) -> Iterator[tuple[int, _LocalPart]]:
    """The parts of a map that a fleet does not have, each once, with their numbers in the map."""
    known_files, known = {one.files for one in held}, {one.part for one in held}
    for name, rows in _rows_of_parts(place_map):
        number = place_map.header.parts.index(name)
        part_form = _form_of(place_map, rows, form)
        files = files_digest(place_map, name, part_form, shift_m=shift_m)
        if files in known_files:
            continue
        part = _local_part(place_map, rows, part_form, shift_m, files)
        if part.digest not in known and not _is_within(part, fleet, held):
            known.add(part.digest)
            yield number, part


def _record(
    place_map: PlaceMap, part: _LocalPart, *, push: str, number: int, said: dict[str, str]
) -> PartRecord:
    header, stamps_ns = place_map.header, place_map.stamps_ns[part.rows]
    (x_min, y_min), (x_max, y_max) = part.low_m.tolist(), part.high_m.tolist()
    return PartRecord(
        part=part.digest,
        push=push,
        model_name=header.model_name,
        model_sha256=header.model_sha256,
        pushed_at=now(),
        source=header.drives[number],
        made_at=header.made_at,
        details=details_of(
            header,
            has_landmarks=bool(part.form.landmarks),
            is_half=place_map.is_half(int(part.rows[0])),
            files=part.files,
        ),
        places=len(part.rows),
        first_stamp_ns=int(stamps_ns.min()),
        last_stamp_ns=int(stamps_ns.max()),
        x_min=x_min,
        y_min=y_min,
        x_max=x_max,
        y_max=y_max,
        sequence=0,  # publish() gives it
        number=number,
        **said,
    )


def _made(fleet: Fleet, version: int) -> Iterator[str]:
    """A note on the first push to a folder: where a share is not mounted, that makes a new store.

    version: of the fleet before the push.
    """
    if version == EMPTY and fleet.folder is not None:
        yield (
            f'this is the first push to a new store, in the folder {fleet.folder}; if the fleet '
            'has a store already, mount its share or correct --fleet, and push again'
        )


def _left_out(place_map: PlaceMap) -> Iterator[str]:
    if place_map.has_landmarks and not _kind_of(place_map):
        yield (
            f'{place_map.folder}: its landmarks are left out, because a fleet holds none that '
            'need networks; maps pulled from it work by retrieval alone'
        )
    if place_map.header.calibration is not None:
        yield (
            f'{place_map.folder}: its calibration is left out, because it is of this map as a '
            'whole; calibrate a cut by itself'
        )


def _kind_of(place_map: PlaceMap) -> str:
    """Kind of the landmarks that are sent; empty: none are. Raises MapError for damaged ones."""
    kind = place_map.header.landmark_features
    if not place_map.has_landmarks or size_without_networks(kind) is None:
        return ''
    place_map.features()  # compares their size with the kind's
    return kind


def _require_one_form(held: Sequence[PartRecord], form: Form, folder: Path) -> None:
    """Raise FleetError where the fleet has places of this model that look otherwise."""
    for one in held:
        if one.model_sha256 == form.model_sha256 and one.form != form:
            raise FleetError(
                f'{folder}: descriptors of {form.descriptor_size} numbers and cells '
                f'{form.cells}, expected {one.form.descriptor_size} and {one.form.cells}, which '
                f'the fleet has for model {form.model_sha256[:12]}; rebuild the map with build_map'
            )


def _rows_of_parts(place_map: PlaceMap) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Folder of each part that has places of its own, and their rows."""
    ends = place_map.part_starts.tolist()
    for name, (start, end) in zip(place_map.header.parts, pairwise(ends), strict=True):
        if end > start and name not in place_map.header.distractor_parts:
            yield name, np.arange(start, end)


def _form_of(place_map: PlaceMap, rows: NDArray[np.int64], form: Form) -> Form:
    """The form of a part's places: the map's, and its landmarks where the part has some."""
    has_landmarks = place_map.landmarks(int(rows[0])) is not None
    return replace(form, landmarks=_kind_of(place_map) if has_landmarks else '')


def _local_part(
    place_map: PlaceMap,
    rows: NDArray[np.int64],
    form: Form,
    shift_m: NDArray[np.float64],
    files: str,
) -> _LocalPart:
    ids: list[bytes] = []
    ids_of_landmarks: list[bytes] = []
    low_m, high_m = np.full(2, np.inf), np.full(2, -np.inf)
    for piece in batches(rows):
        places = places_of(place_map, piece, form, shift_m=shift_m)
        require_sound(places, where=str(place_map.folder))
        ids += places.ids(form)
        ids_of_landmarks += places.landmark_ids(form)
        low_m = np.minimum(low_m, places.poses[:, :2].min(axis=0))
        high_m = np.maximum(high_m, places.poses[:, :2].max(axis=0))
    digest = part_digest(keys_of(ids, ids_of_landmarks))
    return _LocalPart(rows, form, ids, ids_of_landmarks, digest, files, low_m, high_m)


def _is_within(part: _LocalPart, fleet: Fleet, held: Sequence[PartRecord]) -> bool:
    """Whether the fleet shows all places of a part already, as of a cut that it gave.

    With their landmarks, where the part has some; others' landmarks do not matter.
    """
    near = [
        one
        for one in held
        if one.model_sha256 == part.form.model_sha256
        and one.x_min <= part.high_m[0]
        and one.x_max >= part.low_m[0]
        and one.y_min <= part.high_m[1]
        and one.y_max >= part.low_m[1]
    ]
    missing = set(keys_of(part.ids, part.ids_of_landmarks))
    for one in near:
        places = fleet.places_of(one)
        missing.difference_update(places.keys if part.form.landmarks else places.ids)
        if not missing:
            return True
    return False


def _rows(
    place_map: PlaceMap, part: _LocalPart, shift_m: NDArray[np.float64]
) -> Iterator['pa.RecordBatch']:
    mounting = place_map.base_T_camera if place_map.header.has_heading else None
    with tqdm(total=len(part.rows), unit='place', disable=None, delay=2) as progress:
        sent = 0
        for piece in batches(part.rows):
            yield as_batch(
                places_of(place_map, piece, part.form, shift_m=shift_m),
                part.form,
                first_row=sent,
                ids=part.ids[sent : sent + len(piece)],
                ids_of_landmarks=part.ids_of_landmarks[sent : sent + len(piece)],
                base_T_camera=mounting,
            )
            sent += len(piece)
            progress.update(len(piece))
