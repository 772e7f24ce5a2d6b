"""A model on disk: a folder with the graph and a card that says what it is.

The card carries the graph's digest. A map remembers the digest of the model that described it, so
that a robot never compares descriptors of two different networks, which would look like a robot
that is merely lost.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from vpr_ros.core.atomic import staged_folder
from vpr_ros.core.errors import ModelError

FORMAT_VERSION = 1
GRAPH_NAME = 'model.onnx'
CARD_NAME = 'card.json'


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a model is, where it comes from and what was measured with it."""

    name: str
    image_height: int  # pixels
    image_width: int  # pixels
    descriptor_size: int
    sha256: str = ''  # of model.onnx; filled by write_model
    format_version: int = FORMAT_VERSION
    summary: str = ''
    licence: str = ''
    provenance: dict[str, Any] = field(default_factory=dict)  # weights, training data, commands
    recall: dict[str, dict[str, float]] = field(
        default_factory=dict
    )  # data set -> {'1': 0.8, ...}
    latency_ms: dict[str, float] = field(default_factory=dict)
    weaknesses: tuple[str, ...] = ()

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the network's input in pixels."""
        return self.image_height, self.image_width


@dataclass(frozen=True, slots=True)
class Model:
    """A model folder whose digest has been checked."""

    folder: Path
    card: ModelCard

    @property
    def graph(self) -> Path:
        """The ONNX file: uint8 RGB [B, H, W, 3] in, float32 unit descriptors [B, D] out."""
        return self.folder / GRAPH_NAME

    @classmethod
    def open(cls, folder: Path | str) -> 'Model':
        """Read the card and check the graph against it; raises ModelError."""
        folder = Path(folder)
        if not folder.is_dir():
            raise ModelError(
                f'{folder}: no such model folder, expected one with {GRAPH_NAME} and {CARD_NAME}'
            )
        card = read_card(folder / CARD_NAME)
        graph = folder / GRAPH_NAME
        try:
            found = file_sha256(graph)
        except OSError as error:
            raise ModelError(
                f'{graph}: {error.strerror or error}; export the model again'
            ) from error
        if found != card.sha256:
            raise ModelError(
                f'{graph}: sha256 {found[:12]}, the card says {card.sha256[:12]}; '
                'the file is damaged or was replaced, export the model again'
            )
        return cls(folder, card)


def read_card(path: Path) -> ModelCard:
    """Read a card.json; raises ModelError naming the file and the field at fault."""
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise ModelError(f'{path}: {error.strerror or error}') from error
    except ValueError as error:
        raise ModelError(f'{path}: not valid JSON ({error})') from error
    if not isinstance(found, dict) or found.get('format_version') != FORMAT_VERSION:
        version = found.get('format_version') if isinstance(found, dict) else None
        raise ModelError(f'{path}: format version {version}, this program reads {FORMAT_VERSION}')
    known = {entry.name for entry in fields(ModelCard)}
    required = {'name', 'image_height', 'image_width', 'descriptor_size', 'sha256'}
    if missing := sorted(required - found.keys()):
        raise ModelError(f'{path}: lacks {", ".join(missing)}')
    card = ModelCard(**{name: value for name, value in found.items() if name in known})
    for name in ('image_height', 'image_width', 'descriptor_size'):
        value = getattr(card, name)
        if not isinstance(value, int) or value < 1:
            raise ModelError(f'{path}: {name} is {value!r}, expected a positive whole number')
    return card


def write_model(folder: Path | str, graph: bytes, card: ModelCard) -> Model:
    """Write a model folder whole or not at all; the card's digest is taken from the graph.

    An existing folder is replaced only when the new one is complete. Raises ModelError where it
    cannot be written.
    """
    folder = Path(folder)
    complete = asdict(card) | {'sha256': hashlib.sha256(graph).hexdigest()}
    try:
        with staged_folder(folder) as staging:
            (staging / GRAPH_NAME).write_bytes(graph)
            text = json.dumps(complete, indent=2, ensure_ascii=False) + '\n'
            (staging / CARD_NAME).write_text(text, encoding='utf-8')
    except OSError as error:
        raise ModelError(f'{folder}: cannot be written ({error.strerror or error})') from error
    return Model.open(folder)


def file_sha256(path: Path) -> str:
    """Hex digest of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
