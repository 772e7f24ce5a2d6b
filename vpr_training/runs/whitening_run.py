"""A run of whitening from its settings to its checkpoint."""

from collections.abc import Callable

import torch

from vpr_training.data.layouts import open_places
from vpr_training.data.loader import training_batches
from vpr_training.learning.whitening import whiten
from vpr_training.models.checkpoints import contents
from vpr_training.models.network import Network
from vpr_training.runs.run_folder import RunFolder
from vpr_training.runs.settings import TrainConfig
from vpr_training.runs.start import initial_network, started


def whitening_run(
    config: TrainConfig, folder: RunFolder, *, say: Callable[[str], object], config_yaml: str
) -> None:
    """Whiten, and write the run's checkpoint; raises VprError. say: takes what is for people."""
    with folder.only_writer():
        _whiten(config, folder, say=say, config_yaml=config_yaml)


def _whiten(
    config: TrainConfig, folder: RunFolder, *, say: Callable[[str], object], config_yaml: str
) -> None:
    folder.require_new()  # before the images are read
    torch.manual_seed(config.seed)
    places = open_places(config.data)
    config = started(config)
    network = initial_network(config)
    batches = training_batches(
        places,
        config.data,
        height=config.network.image_height,
        width=config.network.image_width,
        seed=config.seed,
        every_place=True,  # no loss compares those of a batch
    )
    folder.create(config_yaml, seed=config.seed)
    say(f'{places}; {network.descriptor_size} numbers an image{_cells(network)}')
    whiten(
        network,
        batches,
        epochs=config.epochs,
        disturb=config.data.disturb,
        seed=config.seed,
        config=config.whitening,
    )
    provenance = {
        'training_data': places.name,
        'images': len(places.files),
        'loss': 'none: means and covariances of images without labels',
        'seed': config.seed,
    }
    folder.save(folder.best, contents(network, provenance=provenance))
    say(folder.next_step())


def _cells(network: Network) -> str:
    size = network.cells_size()
    return '' if size is None else ', {} x {} cells of {}'.format(*size)
