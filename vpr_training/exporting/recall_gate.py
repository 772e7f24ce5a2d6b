"""Accept a graph with fewer bits only if it finds the right place as often as the fp32 one.

R@1 is measured on every validation set in three pairings: the graph on its own map, its queries on
a map of the fp32 graph, and fp32 queries on its map. The worst of them decides, because one
model's graphs use each other's maps. Of a model with cells R@1 is measured with verification, too
(`evaluating.verifying`), and has to hold both ways. int8 begins with every layer quantized but
those that a person names; as long as the gate refuses, the layers that change the outputs most go
back to float.
"""

import hashlib
import math
import tempfile
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
from vpr_ros.core.recall import recall_at
from vpr_ros.core.types import CellBits, Descriptors, Image
from vpr_training.basics.errors import TrainingError
from vpr_training.data.recall_set import RecallSet, Rows
from vpr_training.evaluating.descriptor_store import DescriptorFile, described_files
from vpr_training.evaluating.ranking import rank
from vpr_training.evaluating.verifying import BEST, ranked_anew
from vpr_training.exporting.latency import latencies_ms, processor
from vpr_training.exporting.quantize import (
    Calibrated,
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

_EPSILON = 1e-9


class RefusedError(TrainingError):
    """A graph loses more recall than allowed."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a graph must achieve, and what it is made and measured with."""

    sets: Sequence[RecallSet]
    max_drop: float  # points of R@1, on each set
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
        if not any(len(rows) for rows in images.positives):
            raise TrainingError(
                f'--validate {images.name}: none of its queries has a true match, so '
                'it gives no recall; choose another set'
            )


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
    with tempfile.TemporaryDirectory(prefix='gate-') as scratch:
        trials = _Trials(graph, card, gate.sets, Path(scratch))
        reference = trials.fp32_recall()
        records: dict[Precision, Accepted] = {
            'fp32': _record(graph, recall=reference),
            **{name: card.precisions[name] for name in kept or {}},
        }
        smaller = dict(kept or {})
        for precision in wanted:
            smaller[precision], records[precision] = _accepted(
                precision, graph, trials, reference, gate
            )
        card = replace(card, precisions=records)
        folder = write_model(Path(scratch) / 'all', graph, card, smaller=smaller).folder
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

    def fp32_recall(self) -> dict[str, dict[str, float]]:
        """R@1 of the fp32 graph by set."""
        model = write_model(self.folder / 'fp32', self.graph, self.card)
        describer = OnnxDescriber(model, singly=False)
        self.reference = [
            described(describer, images, self._store, 'fp32') for images in self.sets
        ]
        return {
            images.name: _recalls_at_1(images, ALONE, found)
            for images, found in zip(self.sets, self.reference, strict=True)
        }

    def recall(self, precision: Precision, made: bytes) -> Iterator[tuple[str, dict[str, float]]]:
        """Each set's name and R@1 of a graph in all pairings, one after another."""
        card = replace(self.card, precisions={precision: _record(made)})
        written = write_model(self.folder / 'trial', self.graph, card, smaller={precision: made})
        model = Model.open(written.folder, precision=precision)
        describer = OnnxDescriber(model, singly=False)
        for images, reference in zip(self.sets, self.reference, strict=True):
            own = described(describer, images, self._store, precision)
            yield images.name, recall_in_pairings(images, own, reference)

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
    return {
        **_recalls_at_1(images, ALONE, own),
        **_recalls_at_1(images, ON_FP32_MAP, (reference[0], own[1])),
        **_recalls_at_1(images, FP32_QUERIES, (own[0], reference[1])),
    }


def _accepted(
    precision: Precision,
    graph: bytes,
    trials: _Trials,
    reference: Mapping[str, Mapping[str, float]],
    gate: Gate,
) -> tuple[bytes, Accepted]:
    """The first attempt that holds recall on all sets; raises RefusedError where none does.

    reference: R@1 of the fp32 graph by set.
    """
    allowed = gate.max_drop + _EPSILON
    said = ''
    for made, how in _attempts(precision, graph, gate):
        recall: dict[str, dict[str, float]] = {}
        for name, pairings in trials.recall(precision, made):
            recall[name] = pairings
            way, before, after = _most_lost(reference[name], pairings)
            drop = 100 * (before - after)
            if drop > allowed:
                said = (
                    f'{precision}: R@1 on {name}{way} falls by {drop:.1f} points '
                    f'({before:.3f} to {after:.3f}), and at most {gate.max_drop:g} are allowed'
                )
                tqdm.write(f'{said}; layers in float: {len(how.get("kept_in_float", ()))}')
                break
        else:
            return made, _record(made, recall=recall, made=how)
    raise RefusedError(f'{said}; nothing was written')


def _attempts(
    precision: Precision, graph: bytes, gate: Gate
) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Graphs of a precision and how they were made, from the fastest to the most careful one."""
    how: dict[str, Any] = {'onnxruntime': ort.__version__, 'processor': processor()}
    if precision == 'fp16':
        yield fp16_graph(graph), how
        return
    calibrated = calibrate(graph, gate.calibration)
    how |= {'calibration': gate.calibration_name, 'calibration_images': len(gate.calibration)}
    symmetric = precision == 'int8_symmetric'
    first = _known(calibrated, gate.keep)
    yield int8_graph(calibrated, first, symmetric=symmetric), how | {'kept_in_float': first}
    sensitive = most_sensitive(calibrated, symmetric=symmetric)
    in_order = [*first, *(layer for layer in sensitive if layer not in first)]
    count = len(first) + 1
    while count <= len(sensitive) // 2:
        kept = in_order[:count]
        yield int8_graph(calibrated, kept, symmetric=symmetric), how | {'kept_in_float': kept}
        count = max(count + 1, count * 3 // 2)


def _known(calibrated: Calibrated, keep: Sequence[str]) -> list[str]:
    """The layers of `keep`; raises TrainingError for one that the graph does not have."""
    if unknown := [layer for layer in keep if layer not in calibrated.layers]:
        raise TrainingError(
            f'--keep-in-float {unknown[0]}: the graph has no such layer; '
            f'its {len(calibrated.layers)} have names such as {calibrated.layers[0]}'
        )
    return list(keep)


def _most_lost(
    reference: Mapping[str, float], pairings: Mapping[str, float]
) -> tuple[str, float, float]:
    """The way that loses most, with or without verification, and its R@1 before and after.

    reference: of the fp32 graph; pairings: of another.
    """
    ways = []
    for ending, said in (('', ''), (VERIFIED, ' with verification')):
        after = [
            share for name, share in pairings.items() if name.endswith(VERIFIED) == bool(ending)
        ]
        if after:
            ways.append((said, reference[f'{ALONE}{ending}'], min(after)))
    return max(ways, key=lambda way: way[1] - way[2])


def _recalls_at_1(images: RecallSet, pairing: str, found: Described) -> dict[str, float]:
    """R@1 of a pairing by its name, and with verification where there are cells."""
    database, queries = found
    ranked = rank(database.descriptors, queries.descriptors, images.earlier_than, BEST)

    def at_1(rows: NDArray[np.int64]) -> float:
        return recall_at(rows[:, :1], images.positives, (1,)).at[1]

    recalls = {pairing: at_1(ranked)}
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
        recalls[f'{pairing}{VERIFIED}'] = at_1(anew)
    return recalls


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
