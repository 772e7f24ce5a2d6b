"""Accept a graph with fewer bits only if it finds the right place as often as the fp32 one.

R@1 is measured on every validation set in three pairings: the graph on its own map, its queries on
a map of the fp32 graph, and fp32 queries on its map. The worst of them decides, because one
model's graphs use each other's maps. Of a model with cells R@1 is measured with verification, too
(`evaluating.verifying`), and has to hold both ways. int8 begins with every layer quantized but
those that a person names; as long as the gate refuses, the layers that change the outputs most go
back to float.

Near ties change with any rounding, for better and for worse, and of two hundred queries one or two
points are chance. So the allowed loss is that over the queries of all sets together, and a single
set refuses a graph only where its loss is more than that and is not chance: by the sign test of
the queries that one graph finds and the other does not, at 5 % for all sets and pairings together
(Bonferroni).
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.core.describing.describe import Describer, OnnxDescriber
from vpr_ros.core.describing.model import Model, ModelCard, write_model
from vpr_ros.core.describing.precision import PRECISIONS, Accepted, Precision
from vpr_ros.core.plurals import by_count
from vpr_ros.core.processor import this_processor
from vpr_ros.core.recall import first_hit_rank
from vpr_ros.core.types import CellBits, Descriptors, Image, Rows
from vpr_training.basics.errors import TrainingError
from vpr_training.data.recall_set import RecallSet
from vpr_training.evaluating.descriptor_store import (
    DescriptorFile,
    described_files,
    forgotten_folder,
)
from vpr_training.evaluating.ranking import rank
from vpr_training.evaluating.verifying import BEST, ranked_anew
from vpr_training.exporting.latency import latencies_ms
from vpr_training.exporting.quantize import (
    calibrate,
    fp16_graph,
    int8_graph,
    most_sensitive,
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a graph sees in some images of a set."""

    descriptors: Descriptors  # [n, D]
    bits: CellBits | None  # [n, h * w, C / 8]; None: the model has no cells
    grid: tuple[int, int] = (0, 0)  # (h, w)

    def __getitem__(self, rows: Rows) -> 'Seen':
        bits = None if self.bits is None else self.bits[rows]
        return Seen(self.descriptors[rows], bits, self.grid)


Described: TypeAlias = tuple[Seen, Seen]
"""Of a set's database and of its queries."""

VERIFIED = '_verified'
"""Ends the name of a pairing whose best candidates were verified."""

ALONE, ON_FP32_MAP, FP32_QUERIES = 'alone', 'on_fp32_map', 'fp32_queries'

Hits: TypeAlias = dict[str, NDArray[np.bool_]]
"""By pairing: whether the first place is right, for each query."""

_EPSILON = 1e-9
_CHANCE = 0.05  # probability of some set's loss by chance, below which it is none


class RefusedError(TrainingError):
    """A graph loses more recall than allowed."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a graph must achieve, and what it is made and measured with."""

    sets: Sequence[RecallSet]
    max_drop: float  # points of R@1
    calibration: Sequence[Image] = ()  # of the network's size; for int8
    calibration_name: str = ''
    keep: Sequence[str] = ()  # layers that no int8 attempt quantizes
    threads: int  # of the latency


def check_sets(sets: Sequence[RecallSet]) -> None:
    """Raise TrainingError for a set that no graph can lose recall on, or for two of one name."""
    names = [images.name for images in sets]
    for images in sets:
        if names.count(images.name) > 1:
            raise TrainingError(
                f'--validate {images.name}: this set is given twice, or two sets have this name'
            )
        images.require_matches('--validate')


def accept(
    graph: bytes,
    card: ModelCard,
    wanted: Sequence[Precision],
    gate: Gate,
    *,
    kept: Mapping[Precision, bytes] | None = None,
) -> tuple[ModelCard, dict[Precision, bytes]]:
    """Make and measure the wanted graphs: the card that accepts them, and their bytes.

    graph: the fp32 one. kept: graphs that the card accepts already; their latency is measured
    anew beside the others. Raises RefusedError where one loses too much recall.
    """
    with forgotten_folder('gate-') as scratch:
        trials = _Trials(graph, card, gate.sets, scratch)
        reference = trials.fp32_hits()
        recall = {name: _shares(hits) for name, hits in reference.items()}
        records: dict[Precision, Accepted] = {
            'fp32': _record(graph, recall=recall),
            **{name: card.precisions[name] for name in kept or {}},
        }
        smaller = dict(kept or {})
        for precision in wanted:
            smaller[precision], records[precision] = _accepted(
                precision, graph, trials, reference, gate
            )
        card = replace(card, precisions=records)
        folder = write_model(scratch / 'all', graph, card, smaller=smaller).folder
        found = latencies_ms(folder, list(records), gate.threads)
    measured = {
        name: replace(records[name], latency_ms=found[name], threads=gate.threads)
        for name in PRECISIONS
        if name in records
    }
    return replace(card, precisions=measured), smaller


@dataclass
class _Trials:
    """Recall of graphs beside the fp32 one; the sets are described with that one once."""

    graph: bytes
    card: ModelCard
    sets: Sequence[RecallSet]
    folder: Path
    reference: list[Described] = field(default_factory=list)

    def fp32_hits(self) -> dict[str, Hits]:
        """What the fp32 graph finds, by set."""
        model = write_model(self.folder / 'fp32', self.graph, self.card)
        describer = OnnxDescriber(model, singly=False)
        self.reference = [
            described(describer, images, self._store, 'fp32') for images in self.sets
        ]
        return {
            images.name: _hits(images, ALONE, found)
            for images, found in zip(self.sets, self.reference, strict=True)
        }

    def hits(self, precision: Precision, made: bytes) -> Iterator[tuple[str, Hits]]:
        """Each set's name and what a graph finds in all pairings, one after another."""
        card = replace(self.card, precisions={precision: _record(made)})
        written = write_model(self.folder / 'trial', self.graph, card, smaller={precision: made})
        model = Model.open(written.folder, precision=precision)
        describer = OnnxDescriber(model, singly=False)
        for images, reference in zip(self.sets, self.reference, strict=True):
            own = described(describer, images, self._store, precision)
            yield images.name, _hits_in_pairings(images, own, reference)

    @property
    def _store(self) -> Path:
        return self.folder / 'descriptors'


def described(describer: Describer, images: RecallSet, store: Path, label: str) -> Described:
    """Descriptors and cells of a set's images, kept in the folder `store`."""
    label = f'{images.name}, {label}'
    database = _seen(described_files(describer, images.database, store, label=label))
    if images.earlier_than is not None:
        return database, database[images.earlier_than]
    return database, _seen(described_files(describer, images.queries, store, label=label))


def _seen(kept: DescriptorFile) -> Seen:
    if kept.cells is None:
        return Seen(kept.array(), None)
    return Seen(kept.array(), kept.cell_bits(), kept.cells[:2])


def recall_in_pairings(
    images: RecallSet, own: Described, reference: Described
) -> dict[str, float]:
    """R@1 of a graph by pairing; own, reference: what it and the fp32 one described."""
    return _shares(_hits_in_pairings(images, own, reference))


def _hits_in_pairings(images: RecallSet, own: Described, reference: Described) -> Hits:
    return {
        **_hits(images, ALONE, own),
        **_hits(images, ON_FP32_MAP, (reference[0], own[1])),
        **_hits(images, FP32_QUERIES, (own[0], reference[1])),
    }


def _shares(hits: Hits) -> dict[str, float]:
    return {pairing: float(found.mean()) for pairing, found in hits.items()}


def _accepted(
    precision: Precision,
    graph: bytes,
    trials: _Trials,
    reference: Mapping[str, Hits],
    gate: Gate,
) -> tuple[bytes, Accepted]:
    """The first attempt that holds recall; raises RefusedError where none does.

    reference: what the fp32 graph finds, by set.
    """
    said = ''
    for made, how in _attempts(precision, graph, gate):
        found: dict[str, Hits] = {}
        for name, hits in trials.hits(precision, made):
            found[name] = hits
            chance = _CHANCE / (len(reference) * len(hits))
            if said := refusal({name: hits}, reference, gate.max_drop, chance=chance):
                break
        else:
            said = refusal(found, reference, gate.max_drop)
        if not said:
            recall = {name: _shares(hits) for name, hits in found.items()}
            return made, _record(made, recall=recall, made=how)
        floats = len(how.get('kept_in_float', ()))
        tqdm.write(f'{precision}: {said}; layers in float: {floats}')
    raise RefusedError(f'{precision}: {said}; nothing was written')


def refusal(
    found: Mapping[str, Hits],
    reference: Mapping[str, Hits],
    allowed: float,
    *,
    chance: float = 1.0,
) -> str:
    """Why a graph loses too much on some sets together; empty where it does not.

    found: what it finds, by set; reference: what the fp32 graph does; allowed: points of R@1.
    chance: how probable by chance a loss may be that counts; 1 counts all.
    """
    lost = []
    for pairing in next(iter(found.values())):
        verified = pairing.endswith(VERIFIED)
        held = f'{ALONE}{VERIFIED}' if verified else ALONE
        before = np.concatenate([reference[name][held] for name in found])
        after = np.concatenate([hits[pairing] for hits in found.values()])
        if chance < 1 and _chance(before, after) > chance:
            continue
        way = ' with verification' if verified else ''
        lost.append((float(before.mean()), float(after.mean()), way))
    before_share, after_share, way = max(
        lost, key=lambda entry: entry[0] - entry[1], default=(0.0, 0.0, '')
    )
    points = 100 * (before_share - after_share)
    if points <= allowed + _EPSILON:
        return ''
    where = f'on {next(iter(found))}' if len(found) == 1 else f'over all {len(found)} sets'
    return (
        f'R@1 {where}{way} falls by {points:.1f} points ({before_share:.3f} to '
        f'{after_share:.3f}), and at most {allowed:g} '
        f'{by_count(allowed, "is", "are")} allowed'
    )


def _chance(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> float:
    """How probable such a loss is, or a larger one, if a query is as often lost as gained."""
    lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
    changed = lost + gained
    every: int = 2**changed
    return sum(math.comb(changed, count) for count in range(lost, changed + 1)) / every


def _attempts(
    precision: Precision, graph: bytes, gate: Gate
) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Graphs of a precision and how they were made, from the fastest to the most careful one."""
    how: dict[str, Any] = {'onnxruntime': ort.__version__, 'processor': this_processor().name}
    if precision == 'fp16':
        yield fp16_graph(graph), how
        return
    calibrated = calibrate(graph, gate.calibration)
    how |= {'calibration': gate.calibration_name, 'calibration_images': len(gate.calibration)}
    symmetric = precision == 'int8_symmetric'
    first = list(gate.keep)
    yield int8_graph(calibrated, first, symmetric=symmetric), how | {'kept_in_float': first}
    sensitive = most_sensitive(calibrated, symmetric=symmetric)
    in_order = [*first, *(layer for layer in sensitive if layer not in first)]
    count = len(first) + 1
    while count <= len(sensitive) // 2:
        kept = in_order[:count]
        yield int8_graph(calibrated, kept, symmetric=symmetric), how | {'kept_in_float': kept}
        count = max(count + 1, count * 3 // 2)


def _hits(images: RecallSet, pairing: str, found: Described) -> Hits:
    """Of a pairing by its name, and with verification where there are cells."""
    database, queries = found
    ranked = rank(database.descriptors, queries.descriptors, images.earlier_than, BEST)

    def are_right(rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray(first_hit_rank(rows[:, :1], images.positives) == 0)

    hits = {pairing: are_right(ranked)}
    if database.bits is not None and queries.bits is not None:
        anew = ranked_anew(
            ranked,
            database=database.descriptors,
            queries=queries.descriptors,
            database_bits=database.bits,
            query_bits=queries.bits,
            grid=database.grid,
            best=BEST,
        )
        hits[f'{pairing}{VERIFIED}'] = are_right(anew)
    return hits


def _record(
    graph: bytes,
    *,
    recall: dict[str, dict[str, float]] | None = None,
    made: dict[str, Any] | None = None,
) -> Accepted:
    """What is known of a graph before its latency is."""
    return Accepted(
        sha256=hashlib.sha256(graph).hexdigest(),
        size_bytes=len(graph),
        latency_ms=math.inf,
        threads=0,
        recall_at_1=recall or {},
        made=made or {},
    )
