"""Which of a model's graphs runs: fp32, or one with fewer bits that was measured to find as much.

int8 is quantized for processors (onnxruntime: unsigned activations with zero points),
int8_symmetric for TensorRT, which takes signed ones without; a processor runs it too, slowly.

A smaller graph is the same model: its descriptors may be compared with those of the fp32 graph, on
either side, because the export refused it unless recall held that way too. The choice is made from
the card alone and from what the processor can do, never by a measurement at start, so that the
node and the offline tools run the same graph on the same machine.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from vpr_ros.core.errors import ModelError

Precision: TypeAlias = Literal['fp32', 'fp16', 'int8', 'int8_symmetric']

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
WANTED = ('auto', *PRECISIONS)
GRAPH_NAMES: dict[Precision, str] = {
    'fp32': 'model.onnx',
    'fp16': 'model.fp16.onnx',
    'int8': 'model.int8.onnx',
    'int8_symmetric': 'model.int8_symmetric.onnx',
}

MOST_THREADS = 256
"""Of one inference. A backend starts as many as it is told to, and a million end the computer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """One graph of a model and what was measured when it was accepted."""

    sha256: str
    size_bytes: int
    latency_ms: float  # median of describing one image on the CPU
    threads: int  # of that measurement
    recall_at_1: dict[str, dict[str, float]] = field(default_factory=dict)
    """Data set -> pairing -> R@1. Pairings: `alone`; `on_fp32_map`, queries of this graph against
    a map of the fp32 one; `fp32_queries`, the other way round. Of a model with cells also each of
    them with `_verified` behind it: the best candidates ordered by cells."""
    made: dict[str, Any] = field(default_factory=dict)  # how: calibration, nodes kept in float

    @classmethod
    def from_mapping(cls, found: Any, *, source: str) -> 'Accepted':
        """Read from a card's JSON; raises ModelError naming what is wrong."""
        known = {entry.name for entry in fields(cls)}
        try:
            entry = cls(**{name: value for name, value in found.items() if name in known})
            if _is_possible(entry):
                return entry
        except (AttributeError, TypeError):
            pass
        raise ModelError(
            f'{source}: expected sha256, size_bytes, latency_ms above 0 and threads; '
            'export the model again'
        )


def _is_possible(entry: Any) -> bool:
    """Whether what a card says of a graph is of the declared types; TypeError if not."""
    wholes = type(entry.size_bytes) is int and type(entry.threads) is int
    mappings = isinstance(entry.recall_at_1, dict) and isinstance(entry.made, dict)
    return wholes and mappings and isinstance(entry.sha256, str) and bool(entry.latency_ms > 0)


def choose(
    accepted: Mapping[Precision, Accepted], wanted: str, *, source: Path, fast_bytes: bool
) -> Precision:
    """The graph to run; `auto` is the fastest accepted one, fp32 where nothing else was accepted.

    fast_bytes: whether this processor has what int8 was measured with; without it `auto` leaves
    int8 aside. Raises ModelError where the wanted one is not there.
    """
    if wanted == 'auto':
        usable = [name for name in accepted if fast_bytes or not name.startswith('int8')]
        return min(usable, key=lambda name: accepted[name].latency_ms, default='fp32')
    for name in PRECISIONS:
        if name == wanted and (name == 'fp32' or name in accepted):
            return name
    if wanted not in PRECISIONS:
        raise ModelError(f'precision {wanted!r}: expected one of {", ".join(WANTED)}')
    folder = shlex.quote(str(source))
    there = ', '.join(['fp32', *(name for name in accepted if name != 'fp32')])
    raise ModelError(
        f'{source}: no {wanted} graph was accepted for this model, it has {there}; choose one of '
        f'these or auto, or make it with: python -m vpr_training.export --from {folder} '
        f'--precision {wanted} --validate DATASET --output {folder}'
    )
