"""What a run begins with: random or published weights, a checkpoint, or a model folder.

And the teacher that it learns from, where it has one.
"""

from dataclasses import asdict, replace
from pathlib import Path

from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_training.basics.errors import TrainingError
from vpr_training.exporting.network_from_graph import config_of, load_model
from vpr_training.learning.config import DistillationConfig
from vpr_training.models.checkpoints import load_checkpoint
from vpr_training.models.model_file import network_of_file
from vpr_training.models.network import Network, NetworkConfig, differing
from vpr_training.models.tensors import load_state
from vpr_training.runs.settings import TrainConfig

# Settings of a network that need not be those of the checkpoint it begins with.
_MAY_DIFFER = {'frozen_stages', 'frozen_statistics', 'weights', 'descriptor_size'}


def from_anywhere(config: TrainConfig) -> TrainConfig:
    """The settings with absolute paths, so that a run can be resumed in any working directory."""

    def absolute(path: str) -> str:
        return str(Path(path).absolute()) if path else ''

    data, roots = config.data, config.validation.roots
    return replace(
        config,
        init=config.init if config.init == 'shipped' else absolute(config.init),
        data=replace(
            data, root=absolute(data.root), pose_files=tuple(map(absolute, data.pose_files))
        ),
        validation=replace(config.validation, roots=tuple(map(absolute, roots))),
        distillation=replace(config.distillation, teacher=absolute(config.distillation.teacher)),
    )


def started(config: TrainConfig) -> TrainConfig:
    """The settings with `init` found, and with its network where it is a model folder.

    Of `network`, a model folder leaves open what learns (frozen_stages); raises VprError, also
    where a setting of `network` says something else than the model.
    """
    init = default_model() if config.init == 'shipped' else Path(config.init)
    if not config.init or not init.is_dir():
        return config
    network = config_of(Model.open(init, precision='fp32').card, init)
    wanted, plain = asdict(config.network), asdict(NetworkConfig())
    chosen = {name: value for name, value in wanted.items() if value != plain[name]}
    settled = {name: chosen[name] for name in chosen.keys() - {'frozen_stages', 'weights'}}
    if others := differing(asdict(network), settled):
        raise TrainingError(
            f'{init}: the model is of another architecture ({", ".join(others)}); leave these '
            'settings out, or start from a checkpoint of such a network'
        )
    network = replace(network, frozen_stages=config.network.frozen_stages)
    network.check(str(init))
    return replace(config, init=str(init), network=network)


def initial_network(config: TrainConfig) -> Network:
    """The network at its start, of settings that are `started`; raises VprError.

    A checkpoint whose projection has another size than network.descriptor_size, or that has none,
    gets one of random weights, and one without cells may get these (network.cells).
    """
    if not config.init:
        return Network(config.network)
    if Path(config.init).is_dir():
        return load_model(Path(config.init), config.network)
    network = Network(replace(config.network, weights=None))
    held = load_checkpoint(Path(config.init))
    state = held.state_dict()
    if held.config.descriptor_size != config.network.descriptor_size:
        state = {name: one for name, one in state.items() if not name.startswith('projection.')}
        state.update(network.projection.state_dict(prefix='projection.'))
    if network.cells is not None and held.cells is None:
        state.update(network.cells.state_dict(prefix='cells.'))
    theirs, ours = asdict(held.config), asdict(network.config)
    others = differing(theirs, {name: ours[name] for name in ours.keys() - _MAY_DIFFER})
    load_state(
        network,
        state,
        source=config.init,
        refusal=(
            f'the checkpoint is of another architecture ({", ".join(others)}); give its settings, '
            'as by --config and the config.yaml of its run'
        ),
    )
    return network


def teacher_network(config: DistillationConfig) -> Network:
    """From a checkpoint, a model folder, or a file such as config/models/lite0.yaml; VprError."""
    path = Path(config.teacher)
    if path.is_dir():
        return load_model(path)
    if not path.is_file():
        raise TrainingError(
            f'{path}: no such file; distillation.teacher is a checkpoint, a model folder or '
            'config/models/*.yaml'
        )
    return network_of_file(path) if path.suffix == '.yaml' else load_checkpoint(path)
