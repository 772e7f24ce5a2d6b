"""Files such as config/models/lite0.yaml: a network by its configuration, and its card's words."""

from pathlib import Path
from typing import Any

from vpr_ros.core.documents import parse_yaml, read_bytes
from vpr_ros.core.errors import DocumentError
from vpr_training.basics.errors import TrainingError
from vpr_training.models.network import Network, NetworkConfig


def read_model_file(path: Path) -> dict[str, Any]:
    """A file such as config/models/lite0.yaml, with the keys network and card."""
    try:
        held = parse_yaml(read_bytes(path))
    except (OSError, DocumentError) as error:
        raise TrainingError(f'{path}: cannot be read ({error})') from error
    if not isinstance(held, dict) or not all(
        isinstance(held.get(name), dict) for name in ('network', 'card')
    ):
        raise TrainingError(f'{path}: expected the keys network and card, each with settings')
    return held


def network_of_file(path: Path) -> Network:
    """The network that a file describes, which needs no training; raises TrainingError."""
    held = read_model_file(path)
    return Network(NetworkConfig.from_mapping(held['network'], source=str(path)))
