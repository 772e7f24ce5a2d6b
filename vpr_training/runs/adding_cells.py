"""Give a finished model cells, and leave what it has: its descriptors stay what they are.

The network is made from the model's graph, the projection of its map is learned on images without
labels or taken from another model of the same backbone, and the graph is written anew with a
second output. Its digest changes; the card names the old one, so that maps without cells go on
with the new model.
"""

import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model, ModelCard, write_model
from vpr_ros.core.errors import ImageError, noting
from vpr_ros.core.image import decode, require_size, resize
from vpr_ros.core.image_files import is_image_file
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import Image
from vpr_ros.drives import open_drive
from vpr_ros.drives.posed_images import Unusable
from vpr_training.basics.errors import TrainingError
from vpr_training.exporting.network_from_graph import LEAST_COSINE, load_model
from vpr_training.exporting.onnx_graph import (
    LEAST_CELLS_COSINE,
    ParityError,
    checked_graph,
    images_for_parity,
)
from vpr_training.learning.cells import CellSamples, learn_cells
from vpr_training.learning.config import WhiteningConfig
from vpr_training.models.network import ExportedNetwork, Network, channels_last
from vpr_training.models.tensors import load_state

FEWEST_IMAGES = 16
MOST_IMAGES = 3000
"""Images that are looked at, evenly from all sources."""


def with_cells(
    folder: Path, sources: Sequence[Path], numbers: int, *, tap: str = ''
) -> tuple[bytes, ModelCard]:
    """The fp32 graph and the card of a model folder with cells; raises VprError, ParityError.

    sources: bags, folders of images, or .tar files of them. numbers: of a cell. tap: which map has
    the cells, see NetworkConfig.cells_tap. The graphs with fewer bits are not taken over.
    """
    old, network = _asked_for_cells(folder, numbers, tap)
    seen = _learn(network, sources)
    how = {
        'learned_on': [path.name for path in sources],
        'images': seen,
        'how': 'principal components of cells without labels, turned to signs',
    }
    return _checked(old, network, how)


def with_cells_of(folder: Path, giver: Path) -> tuple[bytes, ModelCard]:
    """The same with the cells of another model of the same backbone, bit for bit but rounding.

    That model may take images of another size. Raises VprError, also where the two see other cells
    in the same images, and ParityError.
    """
    given = Model.open(giver, precision='fp32').card
    other = load_model(giver)
    if other.cells is None:
        raise TrainingError(f'{giver}: has no cells to give; choose a model that has some')
    old, network = _asked_for_cells(folder, other.config.cells, other.config.cells_tap)
    cells = network.cells
    assert cells is not None
    load_state(cells, other.cells.state_dict(), source=str(giver), refusal='cells of another map')
    _require_same_cells(network, other, images_for_parity(old.card), giver)
    how = {'of': {'name': given.name, 'sha256': given.sha256}}
    return _checked(old, network, how)


def _asked_for_cells(folder: Path, numbers: int, tap: str) -> tuple[Model, Network]:
    """A finished model, and its network with cells that know nothing yet; raises VprError."""
    old = Model.open(folder, precision='fp32')
    if old.card.cells is not None:
        raise TrainingError(
            f'{folder}: this model already has cells, {old.card.cells}; start from a model '
            'without cells'
        )
    plain = load_model(folder)
    network = Network(replace(plain.config, cells=numbers, cells_tap=tap))
    network.config.check(str(folder))
    network.load_state_dict(plain.state_dict(), strict=False)
    return old, network


def _checked(old: Model, network: Network, how: dict[str, Any]) -> tuple[bytes, ModelCard]:
    """Graph and card of a network that has its cells; how: what the card says of them."""
    card = _card(old.card, network, how)
    graph = checked_graph(network.eval(), card)
    _require_same_descriptors(old, graph, card)
    return graph, card


def _learn(network: Network, sources: Sequence[Path]) -> int:
    """Give a network's cells their values; how many images were looked at, or TrainingError."""
    config = WhiteningConfig()
    pictures, found, unusable = [_pictures(source) for source in sources], 0, Unusable()
    total = sum(count for count, _ in pictures)
    chosen = set(np.linspace(0, total - 1, min(total, MOST_IMAGES)).astype(int).tolist())
    samples = CellSamples(len(chosen), most=config.cells_samples, seed=0)
    size = network.config.image_height, network.config.image_width
    exported = channels_last(ExportedNetwork(network).eval())
    loads = (load for _, loads in pictures for load in loads)
    bar = tqdm(enumerate(loads), total=total, desc='cells', unit='image', disable=None, delay=2)
    with torch.inference_mode():
        for row, load in bar:
            if row not in chosen:
                continue
            try:
                image = resize(load(), size)
            except ImageError as error:
                unusable.add(error)
                continue
            samples.add(_map(exported, image))
            found += 1
    if found < FEWEST_IMAGES:
        with noting(unusable.lines):
            raise TrainingError(
                f'--cells-on: {counted(found, "image")} can be used, expected at least '
                f'{FEWEST_IMAGES}'
            )
    assert network.cells is not None
    learn_cells(network.cells, samples.array(), config)
    return found


def _map(exported: ExportedNetwork, image: Image) -> Tensor:
    """The map [1, E, h, w] of an image that has the cells."""
    return exported.maps(torch.from_numpy(image[None]))[exported.network.config.cells_map]


def _pictures(source: Path) -> tuple[int, Iterator[Callable[[], Image]]]:
    """How many images a source has, and what loads each of them, in order; raises VprError."""
    if source.suffix != '.tar':
        drive = open_drive(source)
        return len(drive), (frame.load for frame in drive.frames())
    try:
        with _opened_tar(source) as tar:
            count = len(_images_in(tar))
    except (OSError, tarfile.TarError) as error:
        raise TrainingError(f'{source}: cannot be read as a tar file ({error})') from error
    return count, _of_tar(source)


def _of_tar(source: Path) -> Iterator[Callable[[], Image]]:
    with _opened_tar(source) as tar:
        for member in _images_in(tar):

            def load(member: tarfile.TarInfo = member) -> Image:
                name = f'{source}: {member.name}'
                require_size(member.size, source=name)
                content = tar.extractfile(member)
                assert content is not None
                return decode(content.read(), source=name)

            yield load


def _opened_tar(source: Path) -> tarfile.TarFile:
    """A tar file that is not packed: a packed one may unpack without end.

    Raises OSError and tarfile.TarError, also for a pipe or a device.
    """
    if source.exists() and not source.is_file():
        raise tarfile.ReadError('it is not a regular file')
    return tarfile.open(source, 'r:')


def _images_in(tar: tarfile.TarFile) -> list[tarfile.TarInfo]:
    names = {member.name: member for member in tar.getmembers() if member.isfile()}
    return [names[name] for name in sorted(names) if is_image_file(Path(name))]


def _card(old: ModelCard, network: Network, how: dict[str, Any]) -> ModelCard:
    """The card of the old model, which also says what was added."""
    added = {
        'to': {'name': old.name, 'sha256': old.sha256},
        'numbers': network.config.cells,
        **how,
    }
    return replace(
        old,
        sha256='',
        same_descriptors_as=(*old.same_descriptors_as, old.sha256),
        cells=network.cells_size(),
        precisions={},
        latency_ms={},
        provenance=old.provenance | {'network': asdict(network.config), 'cells': added},
    )


def _require_same_descriptors(old: Model, graph: bytes, card: ModelCard) -> None:
    """Raise ParityError where a model's graph with cells describes images otherwise."""
    images = images_for_parity(card)
    with tempfile.TemporaryDirectory(prefix='cells-') as scratch:
        made = write_model(Path(scratch) / 'model', graph, card)
        found, expected = (
            OnnxDescriber(model, singly=False).describe(images).astype(np.float64)
            for model in (made, old)
        )
    cosine = float((found * expected).sum(axis=1).min())
    if not cosine >= LEAST_COSINE:
        raise ParityError(
            f'{old.folder}: the model was not written, because its descriptors with cells have a '
            f'cosine of {cosine:.7f} with those before, expected at least {LEAST_COSINE}'
        )


def _require_same_cells(
    network: Network, giver: Network, images: Sequence[Image], folder: Path
) -> None:
    """Raise TrainingError where a network sees other cells than the one that gave it its own.

    images: of one size; folder: of the giver.
    """
    pictures = torch.from_numpy(np.stack(images))
    with torch.inference_mode():
        found, expected = (
            one.cells_of(ExportedNetwork(one.eval()).maps(pictures)) for one in (network, giver)
        )
        same_size = found.shape == expected.shape
        cosine = float((found * expected).sum(dim=-1).mean(dim=(1, 2)).min()) if same_size else 0.0
    if not cosine >= LEAST_CELLS_COSINE:
        raise TrainingError(
            f'{folder}: its cells are of another backbone: their cosine to those here is '
            f'{cosine:.4f}, at least {LEAST_CELLS_COSINE} is needed; '
            'learn cells of your own by --cells and --cells-on'
        )
