"""A model on disk: a folder with its graphs and a card that says what it is.

The card carries the graphs' digests. A map remembers the digest of the model that described it, so
that a robot never compares descriptors of two different networks, which would look like a robot
that is merely lost. That digest is the fp32 graph's also where another precision runs: graphs of
one model understand each other's maps (see `precision`).
"""

import hashlib
import json
import mmap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

from vpr_ros.core.atomic import recover_folder
from vpr_ros.core.describing.onnx_file import require_self_contained
from vpr_ros.core.describing.precision import (
    GRAPH_NAMES,
    PRECISIONS,
    Accepted,
    Precision,
    choose,
)
from vpr_ros.core.documents import MOST_BYTES, mapped, open_regular, parse_json
from vpr_ros.core.errors import DocumentError, ModelError, blames_path, told
from vpr_ros.core.folder_kind import FolderKind
from vpr_ros.core.lfs import LFS_ADVICE, is_lfs_pointer
from vpr_ros.core.names import cleaned
from vpr_ros.core.processor import this_processor

FORMAT_VERSION = 1
CARD_NAME = 'card.json'
MODEL = FolderKind(CARD_NAME, 'a model', ModelError, ('*.onnx',))
MOST_CELLS = 1024  # rows, columns and numbers of a cell

_TYPES: dict[str, tuple[type, str]] = {
    'name': (str, 'text'),
    'sha256': (str, 'text'),
    'summary': (str, 'text'),
    'licence': (str, 'text'),
    'provenance': (dict, 'a mapping'),
    'recall': (dict, 'a mapping'),
    'latency_ms': (dict, 'a mapping'),
}
"""Fields of a card -> the type of their values, and its name for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a model is, where it comes from and what was measured with it."""

    name: str
    image_height: int  # pixels
    image_width: int  # pixels
    descriptor_size: int
    cells: tuple[int, int, int] | None = (
        None  # rows, columns, numbers of each; None: no such output
    )
    sha256: str = ''  # of model.onnx; filled by write_model
    format_version: int = FORMAT_VERSION
    summary: str = ''
    licence: str = ''
    provenance: dict[str, Any] = field(default_factory=dict)  # weights, training data, commands
    recall: dict[str, dict[str, float]] = field(
        default_factory=dict
    )  # data set -> {'1': 0.8, ...}
    latency_ms: dict[str, float] = field(default_factory=dict)
    precisions: dict[Precision, Accepted] = field(default_factory=dict)  # empty: fp32 alone
    weaknesses: tuple[str, ...] = ()
    same_descriptors_as: tuple[str, ...] = ()  # digests of earlier graphs, whose maps it reads
    calibration: dict[str, Any] | None = None  # of its maps' probabilities, until they have theirs

    def reads_maps_of(self, sha256: str) -> bool:
        """Whether a map that names this digest holds descriptors like this model's."""
        return sha256 in (self.sha256, *self.same_descriptors_as)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the network's input in pixels."""
        return self.image_height, self.image_width


@dataclass(frozen=True, slots=True)
class Model:
    """A model folder and the graph of it that is to run, whose digest has been checked."""

    folder: Path
    card: ModelCard
    precision: Precision = 'fp32'

    @property
    def graph(self) -> Path:
        """The ONNX file: uint8 RGB [B, H, W, 3] in, float32 unit descriptors [B, D] out.

        And as a second output float16 unit cells [B, h, w, C], where the card has some.
        """
        return self.folder / GRAPH_NAMES[self.precision]

    @property
    def graph_sha256(self) -> str:
        """The graph's digest; what names the model in maps is the card's, of the fp32 graph."""
        if self.precision == 'fp32':
            return self.card.sha256
        return self.card.precisions[self.precision].sha256

    @classmethod
    def open(cls, folder: Path | str, *, precision: str = 'auto') -> 'Model':
        """Read the card, choose a graph and check it; raises ModelError.

        The graph has the card's digest and needs no other file (`onnx_file`).

        precision: fp32, fp16, int8, or auto, the fastest that the card accepts for this processor.
        """
        folder = Path(folder)
        if not folder.is_dir():
            recover_folder(folder)
        if not folder.is_dir():
            from vpr_ros.core.describing.shipped import shipped_models  # which opens cards by this

            raise ModelError(
                f'{folder}: no such model folder, expected one with {GRAPH_NAMES["fp32"]} and '
                f'{CARD_NAME}; {shipped_models()}'
            )
        for file in (folder / CARD_NAME, *folder.glob('*.onnx')):
            if is_lfs_pointer(file):
                raise ModelError(f'{file}: {LFS_ADVICE}')
        card = read_card(folder / CARD_NAME)
        chosen = choose(
            card.precisions,
            precision,
            source=folder,
            fast_bytes=this_processor().multiplies_bytes_fast,
        )
        model = cls(folder, card, chosen)
        _require_graph(_mapped(model.graph), model)
        return model


def read_card(path: Path) -> ModelCard:
    """Read a card.json; raises ModelError naming the file and the field at fault."""
    try:
        with _opened(path) as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise ModelError(
            f'{path.parent}: no model here (no {path.name}); give a folder that '
            '`python -m vpr_training.export` wrote'
        ) from error
    except OSError as error:
        reason = f'{path}: {error.strerror or error}'
        raise ModelError(told(error) if blames_path(error) else reason) from error
    return _card(content, path)


def _card(content: bytes, path: Path) -> ModelCard:
    try:
        found = parse_json(content)
    except DocumentError as error:
        raise ModelError(f'{path}: {error}') from error
    if not isinstance(found, dict) or found.get('format_version') != FORMAT_VERSION:
        version = found.get('format_version') if isinstance(found, dict) else None
        raise ModelError(f'{path}: format version {version}, this program reads {FORMAT_VERSION}')
    known = {entry.name for entry in fields(ModelCard)}
    required = {'name', 'image_height', 'image_width', 'descriptor_size', 'sha256'}
    if missing := sorted(required - found.keys()):
        raise ModelError(f'{path}: lacks {", ".join(missing)}')
    precisions = _accepted(found.get('precisions', {}), path)
    said = {name: value for name, value in found.items() if name in known}
    try:
        return checked_card(ModelCard(**said | {'precisions': precisions}))
    except ValueError as error:
        raise ModelError(f'{path}: {error}') from error


def checked_card(card: ModelCard) -> ModelCard:
    """A card whose values came from a file, lists as tuples; raises ValueError."""
    for name in ('image_height', 'image_width', 'descriptor_size'):
        value = getattr(card, name)
        if type(value) is not int or value < 1:
            raise ValueError(f'{name} is {value!r}, expected a positive whole number')
    for name, (kind, said) in _TYPES.items():
        if not isinstance(getattr(card, name), kind):
            raise ValueError(f'{name} is {getattr(card, name)!r}, expected {said}')
    if card.calibration is not None and not isinstance(card.calibration, dict):
        raise ValueError(f'calibration is {card.calibration!r}, expected a mapping or null')
    return replace(
        card,
        cells=checked_cells(card.cells),
        weaknesses=_checked_texts('weaknesses', card.weaknesses, 'sentences'),
        same_descriptors_as=_checked_texts(
            'same_descriptors_as', card.same_descriptors_as, 'digests'
        ),
    )


def _checked_texts(name: str, found: Any, what: str) -> tuple[str, ...]:
    if not isinstance(found, (list, tuple)) or not all(isinstance(one, str) for one in found):
        raise ValueError(f'{name} is {found!r}, expected a list of {what}')
    return tuple(found)


def checked_cells(found: Any) -> tuple[int, int, int] | None:
    """Rows, columns and numbers of the cells as a card or a map says them; raises ValueError."""
    if found is None:
        return None
    sizes = tuple(found) if isinstance(found, (list, tuple)) else ()
    whole = all(type(size) is int and 0 < size <= MOST_CELLS for size in sizes)
    if len(sizes) != 3 or not whole or sizes[2] % 8:
        raise ValueError(
            f'cells is {found!r}, expected [rows, columns, numbers], '
            f'each from 1 to {MOST_CELLS}, the numbers a multiple of 8'
        )
    return sizes


def _opened(path: Path) -> BinaryIO:
    """Open a file of a model folder; raises OSError, and ModelError for what is no plain file.

    `colcon build --symlink-install` installs links to models/<name>/<file> of a source tree.
    """
    there = path.absolute()
    installed = there.resolve().parts[-3:] == ('models', *there.parts[-2:])
    try:
        return open_regular(path, follow_links=installed)
    except DocumentError as error:
        raise ModelError(f'{path}: {error}; copy the model with its content (cp -rL)') from error


def _mapped(path: Path) -> mmap.mmap | bytes:
    """A graph's bytes, of which only those that are looked at are read."""
    try:
        with _opened(path) as file:
            return mapped(file)
    except OSError as error:
        reason = f'{path}: {error.strerror or error}; export the model again'
        raise ModelError(told(error) if blames_path(error) else reason) from error


def _require_graph(content: bytes | mmap.mmap, model: Model) -> None:
    """Raise ModelError for a graph that is not the one of the card, or needs further files."""
    found = hashlib.sha256(content).hexdigest()
    if found != model.graph_sha256:
        raise ModelError(
            f'{model.graph}: sha256 {found[:12]}, the card says {model.graph_sha256[:12]}; '
            'the file is damaged or was replaced; export the model again'
        )
    require_self_contained(memoryview(content), source=str(model.graph))


def _accepted(found: Any, path: Path) -> dict[Precision, Accepted]:
    if not isinstance(found, dict) or not found.keys() <= set(PRECISIONS):
        raise ModelError(f'{path}: precisions are {found!r}, expected some of {PRECISIONS}')
    return {
        name: Accepted.from_mapping(found[name], source=f'{path}: precisions: {name}')
        for name in PRECISIONS
        if name in found
    }


def write_model(
    folder: Path | str,
    graph: bytes,
    card: ModelCard,
    *,
    smaller: Mapping[Precision, bytes] | None = None,
) -> Model:
    """Write a model folder whole or not at all; the card's digest is taken from the graph.

    graph: the fp32 one. smaller: the others, which the card has to have accepted. An existing
    model is replaced only when the new one is complete. Raises ModelError where it cannot be
    written, where `folder` holds something else, and for a card or a graph that `Model.open` would
    refuse. Gives the model with its fp32 graph.
    """
    folder = Path(folder)
    complete = asdict(card) | {'sha256': hashlib.sha256(graph).hexdigest()}
    graphs: dict[Precision, bytes] = {'fp32': graph, **(smaller or {})}
    try:
        text = json.dumps(cleaned(complete), indent=2, ensure_ascii=False) + '\n'
        read_again = _card(text.encode(), Path(CARD_NAME))
    except (TypeError, ValueError, ModelError) as error:
        raise ModelError(f'{folder}: was not written, because of its card: {error}') from error
    for precision, content in graphs.items():
        if precision not in ('fp32', *read_again.precisions):
            raise ModelError(f'{folder}: was not written, because its card has no {precision}')
        _require_graph(content, Model(folder, read_again, precision))
    with MODEL.staged(folder) as staging:
        for precision, content in graphs.items():
            (staging / GRAPH_NAMES[precision]).write_bytes(content)
        (staging / CARD_NAME).write_text(text, encoding='utf-8')
    return Model.open(folder, precision='fp32')


def file_sha256(path: Path) -> str:
    """Hex digest of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
