"""Cut an ordinary map out of a fleet's store.

The parts of one version, in their order, each with its places in their order, so that the belief
finds the drives as they were driven. Everything is checked before it is written (places.py, the
part's digest), the map is opened once before it gets its name, and the same content gives the same
bytes.
"""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.core.describing.model import Model
from vpr_ros.core.errors import FleetError
from vpr_ros.core.landmarks.feature_kinds import size_without_networks
from vpr_ros.core.mapping.halves import HALF
from vpr_ros.core.mapping.header import MapHeader, map_id, require_model, write_header
from vpr_ros.core.mapping.layout import MOST_PARTS, part_name
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.writer import MAP, MapWriter
from vpr_ros.core.names import printable
from vpr_ros.core.plurals import by_count, counted
from vpr_ros.core.types import Descriptors
from vpr_ros.core.virtual_camera import shown_share
from vpr_ros.fleet.distractors import most_similar
from vpr_ros.fleet.engine import RESTORE
from vpr_ros.fleet.places import Form, Rows, batches, from_table
from vpr_ros.fleet.records import Frame, PartRecord, content_id
from vpr_ros.fleet.store import Fleet, PartTable

DISTRACTORS_M = 1000.0
"""How far around a cut a pull looks for places like its own."""


@dataclass(frozen=True, slots=True)
class Circle:
    """Places whose camera stood within a radius of a point, the edge included."""

    x_m: float
    y_m: float
    radius_m: float

    def holds(self, x_m: NDArray[np.float64], y_m: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each of positions [n] lies inside, [n]."""
        return np.asarray(np.hypot(x_m - self.x_m, y_m - self.y_m) <= self.radius_m)


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull wrote."""

    version: int
    content: str  # id of what the version holds
    map_id: str
    places: int
    parts: int
    distractors: int  # further places, which give no fix
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the store with some places that are asked for."""

    record: PartRecord
    table: PartTable

    @property
    def kind(self) -> str:
        """Kind of its landmarks; empty: it has none."""
        return self.record.form.landmarks


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The places of a part that are wanted, in their order."""

    record: PartRecord
    form: Form  # what is taken of them: landmarks of the map's kind alone
    rows: Rows

    @property
    def is_half(self) -> bool:
        """Whether its descriptors were in half precision, and are to be again."""
        return bool(self.record.known_details['half_descriptors'])


def pull(
    address: str,
    output: Path,
    *,
    near: Circle | None = None,
    distractors_m: float = DISTRACTORS_M,
    version: int | None = None,
    condition: str | None = None,
    model: str | None = None,
    opened_model: Model | None = None,
) -> Pulled:
    """Write a map of what a version holds near a point; it replaces an old map in one step.

    distractors_m: the map gets the places up to this far outside that look like its own, and is
    silent there; model: name, or start of the digest, of the model whose places are wanted;
    opened_model: the map must be this one's. Raises FleetError where there is no such version or
    no such place, and where rows are damaged; MapError where the map cannot be written.
    """
    MAP.require_place(output)
    fleet = Fleet.open(address)
    number, records = fleet.parts(version)
    content = content_id(records)
    chosen_model = _of_one_model(records, model, opened_model, fleet)
    wanted = [one for one in chosen_model if condition is None or one.condition == condition]
    if not wanted:
        raise FleetError(
            f'{address}: version {number} has no places{_asked(None, condition)}; '
            f'map fleet {shlex.quote(address)} lists what it has'
        )
    _require_one_form(wanted)
    reach = replace(near, radius_m=near.radius_m + distractors_m) if near else None
    parts = list(_parts_near(fleet, wanted, reach))
    inside = _inside(parts, near)
    kind = next((part.kind for part, one in zip(parts, inside) if one.any() and part.kind), '')
    cut = _chosen(parts, inside, kind)
    if not cut:
        raise FleetError(
            f'{address}: version {number} has no place{_asked(near, condition)}; '
            f'map fleet {shlex.quote(address)} lists where its parts are'
        )
    if len(cut) > MOST_PARTS:
        raise FleetError(
            f'the request gives {len(cut)} parts, but a map holds at most {MOST_PARTS}; ask for '
            'less'
        )
    beyond = [are_near & ~one for are_near, one in zip(_inside(parts, reach), inside)]
    around = _look_alikes(cut, _chosen(parts, beyond, kind))
    header = _header(fleet.frame, cut, content, _asked(near, condition))
    if opened_model is not None:
        require_model(output, header, opened_model)
    written = _write(cut, around, header, output)
    places, distractors = (sum(len(one.rows) for one in chosen) for chosen in (cut, around))
    notes = tuple(_notes(cut))
    return Pulled(number, content, written, places, len(cut), distractors, notes)


def _asked(near: Circle | None, condition: str | None) -> str:
    """What was asked for, to follow a sentence."""
    where = f' within {near.radius_m:.12g} m of {near.x_m:.12g}, {near.y_m:.12g}' if near else ''
    return where + (f' of condition {printable(condition)}' if condition is not None else '')


def _of_one_model(
    records: Sequence[PartRecord], model: str | None, opened_model: Model | None, fleet: Fleet
) -> list[PartRecord]:
    """The parts of the model that was asked for, or of the only one; raises FleetError."""
    found = [
        one
        for one in records
        if (opened_model is None or opened_model.card.reads_maps_of(one.model_sha256))
        and (model is None or one.model_name == model or one.model_sha256.startswith(model))
    ]
    models = {one.model_sha256: one.model_name for one in found or records}
    said = ', '.join(f'{printable(name)} ({sha[:12]})' for sha, name in sorted(models.items()))
    if not found and records:
        asked = model or (opened_model.card.name if opened_model else '')
        raise FleetError(
            f'{fleet.address}: the fleet has no places of model {asked}, only of {said}'
        )
    if len(models) > 1:
        raise FleetError(
            f'{fleet.address}: the fleet has places of {said}; choose one model with --model'
        )
    return found


def _require_one_form(records: Sequence[PartRecord]) -> None:
    forms = {one.form: one for one in records}
    if len(forms) > 1:
        parts = ' and '.join(one.part[:12] for one in list(forms.values())[:2])
        raise FleetError(
            f'parts {parts}: their descriptors or cells differ in size, expected one size for '
            'each model'
        )


def _parts_near(
    fleet: Fleet, records: Sequence[PartRecord], near: Circle | None
) -> Iterator[_Part]:
    """Parts that may have places that are asked for, with all their places."""
    for record in records:
        if near and not record.is_near(near.x_m, near.y_m, near.radius_m):
            continue
        table = fleet.places_of(record)
        if len(table) != record.places:
            raise FleetError(
                f'{table.table.where}: holds {counted(len(table), "place")}, expected '
                f'{record.places}'
            )
        yield _Part(record, table)


def _inside(parts: Sequence[_Part], near: Circle | None) -> list[NDArray[np.bool_]]:
    """Which places [n] of each part lie within a circle; without one, all."""
    if near is None:
        return [np.ones(len(part.table), dtype=bool) for part in parts]
    return [near.holds(part.table.x_m, part.table.y_m) for part in parts]


def _chosen(
    parts: Sequence[_Part], wanted: Sequence[NDArray[np.bool_]], kind: str
) -> list[_Chosen]:
    """The places that are wanted of each part [n], in the order of the parts.

    kind: of the map's landmarks. A place that several parts hold is taken from the first that has
    landmarks of that kind, else from the first.
    """
    order = sorted(range(len(parts)), key=lambda number: parts[number].kind != kind)
    taken: set[bytes] = set()
    chosen: dict[int, _Chosen] = {}
    for number in order:
        record, table = parts[number].record, parts[number].table
        is_new = np.array([one not in taken for one in table.ids], dtype=bool)
        rows = np.flatnonzero(wanted[number] & is_new)
        if len(rows):
            taken.update(table.ids[row] for row in rows.tolist())
            kept = kind if parts[number].kind == kind else ''
            form = replace(record.form, landmarks=kept)
            chosen[number] = _Chosen(record, form, Rows(table.table, table.row_ids[rows], rows))
    return [chosen[number] for number in sorted(chosen)]


def _look_alikes(cut: Sequence[_Chosen], outside: Sequence[_Chosen]) -> list[_Chosen]:
    """Those places outside a cut that are distractors, from as many parts as a map still holds."""
    if not outside:
        return []
    found = most_similar([one.rows for one in cut], [one.rows for one in outside])
    parts = [
        replace(one, rows=one.rows.only(which))
        for one, which in zip(outside, found, strict=True)
        if len(which)
    ]
    largest = sorted(range(len(parts)), key=lambda number: -len(parts[number].rows))
    return [parts[number] for number in sorted(largest[: MOST_PARTS - len(cut)])]


def _header(frame: Frame, cut: Sequence[_Chosen], content: str, asked: str) -> MapHeader:
    """What map.yaml says of a cut: nothing that differs between two pulls of the same content."""
    records = [one.record for one in cut]
    first = records[0]
    marked = next((one.record for one in cut if one.form.landmarks), first)
    details, with_landmarks = first.known_details, marked.known_details
    details |= {name: with_landmarks[name] for name in ('landmark_features', 'camera')}
    robots = ', '.join(sorted({printable(one.robot) for one in records if one.robot}))
    return MapHeader(
        model_name=printable(first.model_name),
        model_sha256=first.model_sha256,
        frame_id=frame.frame_id,
        datum=frame.datum,
        has_heading=frame.has_heading,
        source=f'fleet content {content}, {counted(len(records), "part")}'
        + (f' of {robots}' * bool(robots)),
        command=f'map pull{asked}',
        made_at=max(printable(one.made_at) for one in records),
        **details,
    )


def _notes(cut: Sequence[_Chosen]) -> Iterator[str]:
    first, *others = (one.record.known_details['base_T_camera'] for one in cut)
    if not all(np.allclose(other, first, atol=1e-6) for other in others):
        yield (
            'the parts were mapped by cameras mounted in different ways; robots without a '
            'mounting of their own take that of the first part'
        )
    left_out = [one.record for one in cut if one.record.form.landmarks != one.form.landmarks]
    if left_out:
        kind = next(one.form.landmarks for one in cut if one.form.landmarks)
        yield (
            f'{len(left_out)} of {len(cut)} parts '
            f'{by_count(len(left_out), "has", "have")} landmarks of another kind than {kind}; '
            f'{by_count(len(left_out), "it is", "they are")} left out, a map has one kind'
        )
    cameras = [one.record.known_details['camera'] for one in cut if one.form.landmarks]
    if len(set(cameras)) > 1:
        yield (
            'the landmarks were made by different cameras; robots without a calibration of their '
            'own take that of the first part with landmarks'
        )
    if any(shown_share(camera, cameras[0]) is not None for camera in set(cameras)):
        yield (
            'the parts were mapped through different lenses; robots look for places as the camera '
            'of the first part with landmarks sees them, and find those of other lenses less often'
        )


def _write(
    cut: Sequence[_Chosen], around: Sequence[_Chosen], header: MapHeader, output: Path
) -> str:
    """Write the map of a cut and its distractors; its id."""
    names = [part_name(number) for number in range(len(cut) + len(around))]
    places = sum(len(one.rows) for one in (*cut, *around))
    with MAP.staged(output) as staging:
        for name, chosen in zip(names, (*cut, *around), strict=True):
            with ExitStack() as stack:
                writer = MapWriter(
                    staging,
                    chosen.form.descriptor_size,
                    stack,
                    part=name,
                    cells=chosen.form.cells,
                    half=chosen.is_half,
                    landmark_descriptor_size=size_without_networks(chosen.form.landmarks),
                )
                _write_part(chosen, writer)
                writer.finish()
        drives = tuple(printable(one.record.source) for one in (*cut, *around))
        write_header(
            staging,
            replace(
                header,
                places=places,
                part_sources=drives,
                distractor_parts=tuple(names[len(cut) :]),
                half_descriptors=any(one.is_half for one in (*cut, *around)),
            ),
        )
        opened = PlaceMap.open(staging)  # checks what came from the store as any other map
        return map_id(opened.header)


def _write_part(chosen: _Chosen, writer: MapWriter) -> None:
    columns = chosen.form.schema().names
    where = chosen.rows.table.where
    with tqdm(total=len(chosen.rows), unit='place', disable=None, delay=2) as progress:
        for piece in batches(np.arange(len(chosen.rows))):
            places = from_table(chosen.rows.only(piece).taken(columns), chosen.form, where=where)
            if chosen.is_half:
                _require_halves(places.descriptors, where)
            for row, name in enumerate(places.names):
                writer.add(
                    places.descriptors[row],
                    places.poses[row],
                    stamp_ns=int(places.stamps_ns[row]),
                    name=name,
                    thumbnail=places.thumbnails[row],
                    cells=None if places.cells is None else places.cells[row],
                )
                if places.landmarks is not None:
                    writer.add_landmarks(places.landmarks[row])
            progress.update(len(piece))


def _require_halves(descriptors: Descriptors, where: str) -> None:
    """Raise FleetError for descriptors [n, D] that half precision would change."""
    if not np.array_equal(descriptors, descriptors.astype(HALF)):
        raise FleetError(
            f'{where}: the part is said to have descriptors of half precision, but theirs have '
            f'more digits; {RESTORE}'
        )
