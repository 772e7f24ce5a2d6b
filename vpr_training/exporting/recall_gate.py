"""Accept a graph with fewer bits only if it finds the right place as often as the fp32 one.

R@1 is measured on every validation set in three pairings: the graph on its own map, its queries on
a map of the fp32 graph, and fp32 queries on its map. The worst of them decides, because one
model's graphs use each other's maps. int8 begins with every layer quantized; as long as the gate
refuses, the layers that change the descriptor most go back to float.
"""

import hashlib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import onnxruntime as ort
from tqdm import tqdm

from vpr_ros.core.describing.describe import Describer, OnnxDescriber
from vpr_ros.core.describing.model import Model, ModelCard, write_model
from vpr_ros.core.describing.precision import PRECISIONS, Accepted, Precision
from vpr_ros.core.recall import recall_at
from vpr_ros.core.types import Descriptors, Image
from vpr_training.basics.errors import TrainingError
from vpr_training.data.recall_set import RecallSet
from vpr_training.evaluating.descriptor_store import described_files
from vpr_training.evaluating.ranking import rank
from vpr_training.exporting.latency import latencies_ms, processor
from vpr_training.exporting.quantize import calibrate, fp16_graph, int8_graph, most_sensitive

Described: TypeAlias = tuple[Descriptors, Descriptors]
"""Of a set's database [N, D] and of its queries [Q, D]."""

ALONE, ON_FP32_MAP, FP32_QUERIES = 'alone', 'on_fp32_map', 'fp32_queries'

_EPSILON = 1e-9


class RefusedError(TrainingError):
    """A graph loses more recall than is allowed."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a graph has to hold, and what it is made and measured with."""

    sets: Sequence[RecallSet]
    max_drop: float  # points of R@1, on each set
    calibration: Sequence[Image] = ()  # of the network's size; for int8
    calibration_name: str = ''
    threads: int  # of the latency


def check_sets(sets: Sequence[RecallSet]) -> None:
    """Raise TrainingError for a set that no graph can lose recall on, or for two of one name."""
    names = [images.name for images in sets]
    for images in sets:
        if names.count(images.name) > 1:
            raise TrainingError(f'--validate {images.name}: given twice, or two sets of one name')
        if not any(len(rows) for rows in images.positives):
            raise TrainingError(
                f'--validate {images.name}: no query of it has a true match, '
                'so that recall says nothing; choose another set'
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
            images.name: {ALONE: _recall_at_1(images, found)}
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
    """Descriptors of a set's images, kept in the folder `store`."""
    label = f'{images.name}, {label}'
    database = described_files(describer, images.database, store, label=label).array()
    if images.earlier_than is not None:
        return database, database[images.earlier_than]
    return database, described_files(describer, images.queries, store, label=label).array()


def recall_in_pairings(
    images: RecallSet, own: Described, reference: Described
) -> dict[str, float]:
    """R@1 of a graph by pairing; own, reference: its descriptors and those of fp32."""
    return {
        ALONE: _recall_at_1(images, own),
        ON_FP32_MAP: _recall_at_1(images, (reference[0], own[1])),
        FP32_QUERIES: _recall_at_1(images, (own[0], reference[1])),
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
            before = reference[name][ALONE]
            recall[name] = pairings
            drop = 100 * (before - min(pairings.values()))
            if drop > allowed:
                said = (
                    f'{precision}: R@1 on {name} falls by {drop:.1f} points '
                    f'({before:.3f} to {min(pairings.values()):.3f}), '
                    f'at most {gate.max_drop:g} are allowed'
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
    yield int8_graph(calibrated, symmetric=symmetric), how | {'kept_in_float': []}
    sensitive = most_sensitive(calibrated, symmetric=symmetric)
    count = 1
    while count <= len(sensitive) // 2:
        kept = sensitive[:count]
        yield int8_graph(calibrated, kept, symmetric=symmetric), how | {'kept_in_float': kept}
        count = max(count + 1, count * 3 // 2)


def _recall_at_1(images: RecallSet, found: Described) -> float:
    ranked = rank(*found, images.earlier_than, 1)
    return recall_at(ranked, images.positives, (1,)).at[1]


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
