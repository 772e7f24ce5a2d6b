"""Networks, their cards, and the model folders that both become.

A card tells people what a file under config/models says and, of a trained network, what its
checkpoint knows of its training.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vpr_ros.core.describing.model import Model, ModelCard, write_model
from vpr_ros.core.names import cleaned
from vpr_training.basics.errors import TrainingError
from vpr_training.exporting.onnx_graph import checked_graph
from vpr_training.models.checkpoints import restored
from vpr_training.models.model_file import network_of_file, read_model_file
from vpr_training.models.network import Network
from vpr_training.models.tensors import read_state

_TOLD = ('name', 'summary', 'licence', 'recall', 'latency_ms', 'weaknesses', 'calibration')
"""What a file says of a finished model, besides its provenance."""


def export_checkpoint(path: Path, output: Path) -> Model:
    """Export a checkpoint under the output folder's name; raises TrainingError, ParityError."""
    return export(*trained(path, output.name), output)


def trained(path: Path, name: str, told_by: Path | None = None) -> tuple[Network, ModelCard]:
    """A checkpoint's network, and its card with what the file `told_by` says besides."""
    held = read_state(path)
    network = restored(held, path)
    said = read_model_file(told_by)['card'] if told_by else {}
    provenance = {'checkpoint': path.name, **held.get('provenance', {})}
    try:
        json.dumps(cleaned(provenance))
    except (TypeError, ValueError) as error:
        raise TrainingError(
            f'{path}: provenance holds more than plain values ({error}); a card cannot hold it'
        ) from error
    data = provenance.get('training_data', 'unknown data')
    summary = f'{network.config.backbone} + {network.config.aggregator}, trained on {data}'
    known = {'name': name, 'summary': summary, **said}
    known['provenance'] = provenance | said.get('provenance', {})
    return network, _card(network, source=told_by or path, **known)


def told_anew(card: ModelCard, told_by: Path) -> ModelCard:
    """The card of a finished model with what a file under config/models says; TrainingError.

    What the file leaves out stays, and so does what the graph decides: sizes, digests, cells.
    """
    said = dict(read_model_file(told_by)['card'])
    provenance = card.provenance | said.pop('provenance', {})
    if unknown := sorted(said.keys() - _TOLD):
        raise TrainingError(
            f'{told_by}: card: {", ".join(unknown)}: expected some of {", ".join(_TOLD)}'
        )
    return replace(card, **said, provenance=provenance)


def load_untrained(path: Path) -> tuple[Network, ModelCard]:
    """A network that needs no training, and its card; raises TrainingError.

    It is made from a file under config/models.
    """
    network, held = network_of_file(path), read_model_file(path)
    return network, _card(network, source=path, **held['card'])


def export(network: Network, card: ModelCard, output: Path) -> Model:
    """Write a model folder with the fp32 graph; the card's cells are the network's.

    Raises ParityError, and leaves what was there, if the graph computes something else.
    """
    return write_model(
        output, checked_graph(network, card), replace(card, cells=network.cells_size())
    )


def _card(network: Network, *, source: Path, **said: Any) -> ModelCard:
    config = network.config
    provenance = dict(said.pop('provenance', {})) | {'network': asdict(config)}
    try:
        return ModelCard(
            image_height=config.image_height,
            image_width=config.image_width,
            descriptor_size=network.descriptor_size,
            cells=network.cells_size(),
            provenance=provenance,
            **said,
        )
    except TypeError as error:
        raise TrainingError(f'{source}: card: {error}') from error
