"""Describe images with an ONNX file of any origin, so that it can be measured beside ours.

What the graph says about its input is believed: the type, the order of the axes, the size. How
pixels are scaled no graph says; the caller has to, because a guess would be a wrong figure.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.describing.describe import opened_session, run_graph
from vpr_ros.core.describing.model import Model, ModelCard, file_sha256
from vpr_ros.core.describing.onnx_file import needs, require_self_contained
from vpr_ros.core.documents import open_regular
from vpr_ros.core.errors import DocumentError
from vpr_ros.core.image import resize
from vpr_ros.core.types import Cells, Descriptors, Image
from vpr_training.basics.errors import TrainingError

Layout: TypeAlias = Literal['nchw', 'nhwc']
Scaling: TypeAlias = Literal['imagenet', 'unit', 'bytes']

LAYOUTS: tuple[Layout, ...] = get_args(Layout)
SCALINGS: tuple[Scaling, ...] = get_args(Scaling)
_TYPES = {'tensor(uint8)': np.uint8, 'tensor(float)': np.float32, 'tensor(float16)': np.float16}
_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)  # of ImageNet, RGB in [0, 1]
_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class InputForm:
    """What the caller says about the input; None: the graph has to say it."""

    layout: Layout | None = None
    scaling: Scaling | None = None  # imagenet: mean and deviation; unit: 0 to 1; bytes: 0 to 255
    size_hw: tuple[int, int] | None = None


class OnnxFile:
    """A third-party ONNX file as a describer; its outputs are brought to unit norm."""

    def __init__(self, path: Path, form: InputForm) -> None:
        """As many threads as cores describe an image each. Raises TrainingError and ModelError.

        Weights may lie in files beside it, as exports of large networks have them.
        """
        self._at_once = len(os.sched_getaffinity(0))
        self._again = partial(type(self), path, form)
        weights = _files_of_weights(path)
        self._session = opened_session(str(path), source=str(path), threads=1)
        self._path = path
        self._read_input(form)
        size = self._read_output()
        height, width = self._size_hw
        files = ' '.join(file_sha256(file) for file in (path, *weights))
        said = f'{files} {self._layout} {self._scaling} {height}x{width}'
        card = ModelCard(
            name=path.stem,
            image_height=height,
            image_width=width,
            descriptor_size=size,
            sha256=hashlib.sha256(said.encode()).hexdigest(),
            summary=f'{path.name}: {self._layout}, {self._scaling}',
        )
        self._model = Model(path.parent, card)

    def __reduce__(self) -> tuple[Callable[[], 'OnnxFile'], tuple[()]]:
        """Another process opens the file anew."""
        return self._again, ()

    @property
    def model(self) -> Model:
        """A card with the file's name; its digest covers all weights and the form of its input."""
        return self._model

    @property
    def at_once(self) -> int:
        """How many threads should call `describe` at the same time."""
        return self._at_once

    def describe(self, images: Sequence[Image]) -> Descriptors:
        """Images uint8 [H, W, 3] RGB of any sizes -> float32 [B, D] of unit norm."""
        batch = np.stack([self._pixels(image) for image in images])  # [B, h, w, 3] or [B, 3, h, w]
        step = len(batch) if self._batch is None else self._batch
        parts = [self._run(batch[start : start + step]) for start in range(0, len(batch), step)]
        rows = np.concatenate(parts)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise TrainingError(
                f'{self._path}: its output of an image has the length {lengths.min():g}, expected '
                'a finite one above 0; check --scaling, and the graph in the program that made it'
            )
        return np.asarray(rows / lengths, dtype=np.float32)

    def describe_with_cells(self, images: Sequence[Image]) -> tuple[Descriptors, Cells | None]:
        """The same without cells: no graph of another origin says which output they would be."""
        return self.describe(images), None

    def _pixels(self, image: Image) -> NDArray[np.generic]:
        pixels = resize(image, self._size_hw).astype(np.float32)
        if self._scaling != 'bytes':
            pixels /= 255
        if self._scaling == 'imagenet':
            pixels = (pixels - _MEAN) / _DEVIATION
        ordered = pixels.transpose(2, 0, 1) if self._layout == 'nchw' else pixels
        return ordered.astype(self._type)

    def _run(self, batch: NDArray[np.generic]) -> NDArray[np.float64]:
        """Descriptors of at most as many images as the graph takes; filled up to exactly that."""
        count = len(batch)
        if self._batch is not None and count < self._batch:
            batch = np.concatenate([batch, np.repeat(batch[-1:], self._batch - count, axis=0)])
        source = str(self._path)
        (found,) = run_graph(self._session, [self._output], {self._input: batch}, source=source)
        rows = np.asarray(found, dtype=np.float64)
        if len(batch) > 1 and rows.shape[:1] != (len(batch),):
            raise TrainingError(
                f'{self._path}: its output is of shape {list(rows.shape)} for {len(batch)} '
                f'images, expected [{len(batch)}, D]'
            )
        flat = rows.reshape(len(batch), -1)
        if rows.ndim > 2 and flat.shape[1] not in rows.shape:
            raise TrainingError(
                f'{self._path}: its output is of shape {list(rows.shape)}, a map or tokens, '
                'expected [B, D]; export the network with its pooling'
            )
        return flat[:count]

    def _read_input(self, form: InputForm) -> None:
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _TYPES:
            found = '; '.join(f'{entry.name}: {entry.type} {entry.shape}' for entry in inputs)
            raise TrainingError(
                f'{self._path}: its inputs are {found}, expected one, uint8 or float, with four '
                'axes'
            )
        (images,) = inputs
        self._input, self._type = images.name, _TYPES[images.type]
        self._batch = images.shape[0] if isinstance(images.shape[0], int) else None
        try:
            self._layout = _layout(images.shape, form)
            self._size_hw = _size(images.shape, self._layout, form)
            self._scaling = _scaling(images.type, form)
        except TrainingError as error:
            raise TrainingError(f'{self._path}: {error}') from error

    def _read_output(self) -> int:
        """The descriptor size D, found by one inference."""
        outputs = self._session.get_outputs()
        flat = [entry for entry in outputs if len(entry.shape) == 2] or outputs
        if len(flat) != 1:
            found = '; '.join(f'{entry.name} {entry.shape}' for entry in outputs)
            raise TrainingError(
                f'{self._path}: its outputs are {found}, expected one of shape [B, D]'
            )
        self._output = flat[0].name
        grey = np.full((*self._size_hw, 3), 127, dtype=np.uint8)
        size = self._run(self._pixels(grey)[None]).shape[1]
        if size < 2:
            raise TrainingError(
                f'{self._path}: it gives {size} number for each image, expected a descriptor'
            )
        return int(size)


def _content_of(path: Path) -> bytes:
    try:
        with open_regular(path, follow_links=True) as file:
            return file.read()
    except OSError as error:
        raise TrainingError(f'{path}: {error.strerror or error}') from error
    except DocumentError as error:
        raise TrainingError(f'{path}: {error}') from error


def _files_of_weights(path: Path) -> list[Path]:
    """The files beside an ONNX file that hold weights; TrainingError, or ModelError for others."""
    graph = _content_of(path)
    require_self_contained(graph, source=str(path), allowed_files=_plain_files_beside(path))
    return sorted(path.parent / name for name in needs(graph, source=str(path)).files)


def _plain_files_beside(path: Path) -> set[str]:
    """Names of the files in an ONNX file's folder that lead nowhere else."""
    return {
        entry.name for entry in path.parent.iterdir() if entry.is_file() and not entry.is_symlink()
    }


def _layout(shape: Sequence[int | str | None], form: InputForm) -> Layout:
    """Where the channels are; TrainingError where neither the graph nor the caller says it."""
    fits: dict[Layout, bool] = {'nchw': shape[1] == 3, 'nhwc': shape[3] == 3}
    agree = [layout for layout in LAYOUTS if fits[layout]]
    asked = LAYOUTS if form.layout is None else (form.layout,)
    channels = [shape[1 if layout == 'nchw' else 3] for layout in asked]
    if all(isinstance(count, int) and count != 3 for count in channels):
        raise TrainingError(
            f'the input of shape {shape} takes no RGB images; expected three channels'
        )
    if form.layout is None and len(agree) != 1:
        raise TrainingError(
            f'the input of shape {shape} does not show which axis has the channels; give '
            '--layout nchw or nhwc'
        )
    return form.layout or agree[0]


def _size(shape: Sequence[int | str | None], layout: Layout, form: InputForm) -> tuple[int, int]:
    """(height, width); TrainingError where nobody says it, or graph and caller disagree."""
    sides = shape[2:] if layout == 'nchw' else shape[1:3]
    known = [side for side in sides if isinstance(side, int)]
    if len(known) < 2 and form.size_hw is None:
        raise TrainingError(
            f'the input of shape {shape} has no fixed size; give --image-size HEIGHTxWIDTH'
        )
    size_hw = form.size_hw or (known[0], known[1])
    if any(isinstance(side, int) and side != said for side, said in zip(sides, size_hw)):
        raise TrainingError(
            f'--image-size is {size_hw[0]}x{size_hw[1]}, but the graph takes {sides[0]}x{sides[1]}'
        )
    return size_hw


def _scaling(kind: str, form: InputForm) -> Scaling:
    """How bytes become the graph's numbers; TrainingError where floats come without a word."""
    if _TYPES[kind] is np.uint8:
        if form.scaling not in (None, 'bytes'):
            raise TrainingError(
                f'the graph takes bytes, so --scaling {form.scaling} does not apply; leave it out'
            )
        return 'bytes'
    if form.scaling is None:
        raise TrainingError(
            f'the graph takes {kind} and does not say how pixels are scaled; give '
            f'--scaling with one of {", ".join(SCALINGS)}'
        )
    return form.scaling
