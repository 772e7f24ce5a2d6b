"""Open what a session needs: the model, the map, and what describes images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vpr_ros.core.describing.backend import Chosen, open_describer
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import model_that_made
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.rig import MountedCamera
from vpr_ros.core.mapping.described import describe_as_kept
from vpr_ros.core.mapping.header import read_header
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.node.config import NodeConfig


def open_localizer(
    config: NodeConfig, *, has_tf: bool, progress: Callable[[str], None]
) -> tuple[Localizer, Chosen]:
    """A localizer on the map of the parameters, and what runs its model.

    has_tf: mountings that are not given can be asked of tf. progress: is told what takes long.
    Raises VprError; nothing stays open then.
    """
    if not config.map:
        raise ConfigError('map: not given; make one with build_map and pass map:=FOLDER')
    folder = _expanded(config.map)
    header = read_header(folder)
    model_folder = (
        _expanded(config.model)
        if config.model
        else model_that_made(header.model_name, header.model_sha256)
    )
    model = Model.open(model_folder, precision=config.precision)
    place_map = PlaceMap.open(folder, model=model)
    mountings = config.mountings()
    if not has_tf and any(given is None for given in mountings[1:]):
        raise ConfigError(
            f'image_topic: {len(mountings)} cameras need a mounting each in base_T_camera, '
            'because tf2_ros is not installed'
        )
    chosen = open_describer(
        model,
        backend=config.backend,
        precision=config.precision,
        threads=config.inference_threads,
        cache=_expanded(config.engine_cache) if config.engine_cache else None,
        progress=progress,
    )
    try:
        height, width = model.card.image_size
        blank = np.zeros((height, width, 3), np.uint8)  # the first image is slow
        describe_as_kept(chosen.describer, blank, with_cells=place_map.has_cells)
        cameras = [MountedCamera(mounting) for mounting in mountings]
        return Localizer(chosen.describer, place_map, config, cameras=cameras), chosen
    except BaseException:
        chosen.close()
        raise


def _expanded(folder: str) -> Path:
    return Path(folder).expanduser()
