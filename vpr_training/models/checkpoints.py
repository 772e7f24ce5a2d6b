"""What a checkpoint holds, and the network that it becomes again.

Tensors and plain values only, so that it is loaded without pickle and no class's name or place
matters to one that is on disk.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vpr_training.basics.errors import TrainingError
from vpr_training.models.network import Network, NetworkConfig
from vpr_training.models.tensors import load_state, read_state


def contents(network: Network, *, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What every checkpoint holds; a run that goes on adds what its next step depends on.

    provenance: plain values that an exported model's card will tell.
    """
    return {
        'network': {**asdict(network.config), 'weights': None},  # its weights are below
        'state_dict': network.state_dict(),
        'provenance': dict(provenance),
    }


def load_checkpoint(path: Path) -> Network:
    """A network from a checkpoint; raises TrainingError.

    Of a checkpoint, `network` and `state_dict` are needed, see `contents`.
    """
    return restored(read_state(path), path)


def restored(held: Mapping[str, Any], path: Path) -> Network:
    """The network of a checkpoint's contents, which were read from `path`; TrainingError."""
    if missing := sorted({'network', 'state_dict'} - held.keys()):
        raise TrainingError(
            f'{path}: it lacks {", ".join(missing)}, so it is not a checkpoint of this package; '
            'give weights of a backbone as network.weights, and the network of another program as '
            'an ONNX file (--model FILE.onnx of vpr_training.evaluate)'
        )
    require_dicts(held, source=str(path))
    config = NetworkConfig.from_mapping({**held['network'], 'weights': None}, source=str(path))
    network = Network(config)
    load_state(
        network,
        held['state_dict'],
        source=str(path),
        refusal='its tensors are of another architecture',
    )
    return network


def require_dicts(held: Mapping[str, Any], *, source: str) -> None:
    """Raise TrainingError where a part that every checkpoint holds is of another type."""
    for name in ('network', 'state_dict', 'provenance'):
        if not isinstance(value := held.get(name, {}), dict):
            raise TrainingError(
                f'{source}: {name} is a {type(value).__name__}, expected a dict; the checkpoint '
                'is damaged or of another program'
            )
