"""Turn images into descriptors: unit vectors that are close where the places are the same.

onnxruntime on the CPU is the form that runs everywhere; other engines need only the two sizes and
`describe`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from vpr_ros.core.describing.model import Model
from vpr_ros.core.errors import ModelError
from vpr_ros.core.image import resize
from vpr_ros.core.plurals import counted
from vpr_ros.core.processor import this_processor
from vpr_ros.core.types import Cells, Descriptors, Image

Provider: TypeAlias = str | tuple[str, dict[str, Any]]
"""What onnxruntime runs a graph on: a name, or a name and options."""

CPU = 'CPUExecutionProvider'
OFF_UNIT = 0.01
"""How far the length of a descriptor may be from 1."""


class Describer(Protocol):
    """Whatever turns images into descriptors."""

    @property
    def model(self) -> Model:
        """The model that runs."""
        ...

    @property
    def at_once(self) -> int:
        """How many threads should call `describe` at the same time."""
        ...

    def describe(self, images: Sequence[Image]) -> Descriptors:
        """Images uint8 [H, W, 3] RGB of any sizes -> float32 [B, D] of unit norm."""
        ...

    def describe_with_cells(self, images: Sequence[Image]) -> tuple[Descriptors, Cells | None]:
        """The same, and float16 [B, h, w, C] of unit norm; None of a model without cells."""
        ...


def session_options(threads: int = 0) -> ort.SessionOptions:
    """How onnxruntime runs any graph here; threads: 0 takes all cores this process may use."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin while they wait take the cores from what they wait for as soon as any
    # other program runs, such as the DDS that brings the next image (decision 0028).
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    if not this_processor().multiplies_bytes_fast:
        # Sums of 8-bit products would overflow; this asks for the exact way.
        options.add_session_config_entry('session.x64quantprecision', '1')
    return options


def opened_session(
    graph: str | bytes,
    *,
    source: str,
    threads: int = 0,
    providers: Sequence[Provider] = (CPU,),
) -> ort.InferenceSession:
    """A graph (its path or its bytes) ready to run; threads: as `session_options` takes them.

    Raises ModelError, which begins with `source`, for a graph that onnxruntime refuses.
    """
    try:
        return ort.InferenceSession(graph, session_options(threads), providers=list(providers))
    except Exception as error:  # onnxruntime's own classes share no public base
        raise ModelError(f'{source}: onnxruntime cannot run it ({_on_one_line(error)})') from error


def run_graph(
    session: ort.InferenceSession,
    outputs: Sequence[str],
    inputs: Mapping[str, NDArray[Any]],
    *,
    source: str,
) -> list[NDArray[Any]]:
    """The outputs of a graph; raises ModelError, which begins with `source`, where it fails."""
    try:
        found: list[NDArray[Any]] = session.run(list(outputs), dict(inputs))
    except Exception as error:  # as above
        said = _on_one_line(error)
        raise ModelError(f'{source}: onnxruntime fails on an image ({said})') from error
    return found


def _on_one_line(error: Exception) -> str:
    return ' '.join(str(error).split())


class OnnxDescriber:
    """A model folder run by onnxruntime."""

    def __init__(
        self,
        model: Model,
        *,
        threads: int = 0,
        singly: bool = True,
        providers: Sequence[Provider] = (CPU,),
    ) -> None:
        """threads: 0 takes all cores this process may use. Raises ModelError.

        singly: all threads compute one image, which is soonest done; else each computes its own,
        which gets through the most images where that many are described at the same time.
        providers: of onnxruntime, best first.
        """
        threads = threads or len(os.sched_getaffinity(0))
        self._model = model
        self._at_once = 1 if singly else threads
        self._again = partial(
            type(self), model, threads=threads, singly=singly, providers=tuple(providers)
        )
        self._session = opened_session(
            str(model.graph),
            source=str(model.graph),
            threads=threads if singly else 1,
            providers=providers,
        )
        self._check_signature()

    def __reduce__(self) -> tuple[Callable[[], 'OnnxDescriber'], tuple[()]]:
        """Another process opens the model's files anew."""
        return self._again, ()

    @property
    def model(self) -> Model:
        """The model that runs."""
        return self._model

    @property
    def providers(self) -> list[str]:
        """Names of the providers that were started, best first."""
        return list(self._session.get_providers())

    @property
    def at_once(self) -> int:
        """How many threads should call `describe` at the same time."""
        return self._at_once

    def describe(self, images: Sequence[Image]) -> Descriptors:
        """Images uint8 [H, W, 3] RGB of any sizes -> float32 [B, D] of unit norm.

        Raises ModelError for a graph that fails while it runs.
        """
        return self._run(self._outputs[:1], images)[0]

    def describe_with_cells(self, images: Sequence[Image]) -> tuple[Descriptors, Cells | None]:
        """The same, and float16 [B, h, w, C] of unit norm; None of a model without cells."""
        descriptors, *cells = self._run(self._outputs, images)
        return descriptors, cells[0] if cells else None

    def _run(self, outputs: list[str], images: Sequence[Image]) -> list[NDArray[Any]]:
        # One after another: a processor's caches hold one image's maps, not those of a batch.
        rows = [self._run_one(outputs, image) for image in images]
        return [np.concatenate(parts) for parts in zip(*rows, strict=True)]

    def _run_one(self, outputs: list[str], image: Image) -> list[NDArray[Any]]:
        """What the graph gives for one image; raises ModelError where it fails."""
        pixels = resize(image, self._model.card.image_size)[None]
        source = str(self._model.graph)
        found = run_graph(self._session, outputs, {self._input: pixels}, source=source)
        if any(len(rows) != 1 for rows in found):
            raise ModelError(
                f'{source}: gives {counted(max(map(len, found)), "row")} for one image, expected '
                'one; export the model again'
            )
        length = float(np.linalg.norm(found[0]))
        if length and not abs(length - 1) < OFF_UNIT:  # 0: of an image that shows nothing
            raise ModelError(
                f'{source}: its descriptor of an image has the length {length:g}, expected 1; '
                'let the graph divide it by its length, and export the model again'
            )
        return found

    def _check_signature(self) -> None:
        card = self._model.card
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        expected_outputs = 1 if card.cells is None else 2
        if len(inputs) != 1 or len(outputs) != expected_outputs:
            raise ModelError(
                f'{self._model.graph}: {counted(len(inputs), "input")} and '
                f'{counted(len(outputs), "output")}, expected 1 and {expected_outputs} '
                f'as in {self._model.folder / "card.json"}'
            )
        expected = [card.image_height, card.image_width, 3]
        if inputs[0].type != 'tensor(uint8)' or list(inputs[0].shape[1:]) != expected:
            raise ModelError(
                f'{self._model.graph}: input {inputs[0].type} {inputs[0].shape}, '
                f'expected uint8 [B, {card.image_height}, {card.image_width}, 3] '
                f'as in {self._model.folder / "card.json"}'
            )
        forms = [('tensor(float)', [card.descriptor_size])]
        if card.cells is not None:
            forms.append(('tensor(float16)', list(card.cells)))
        for output, (kind, shape) in zip(outputs, forms, strict=True):
            if output.type != kind or list(output.shape[1:]) != shape:
                raise ModelError(
                    f'{self._model.graph}: output {output.name} {output.type} {output.shape}, '
                    f'the card says {kind} [B, {", ".join(map(str, shape))}]'
                )
        self._input = inputs[0].name
        self._outputs = [output.name for output in outputs]
