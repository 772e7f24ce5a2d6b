"""Open what a session needs: the model, the map, and what describes images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vpr_ros.core.describing.backend import Chosen, open_describer
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import model_that_made
from vpr_ros.core.errors import ConfigError, MapError
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.rig import MountedCamera
from vpr_ros.core.mapping.described import describe_as_kept
from vpr_ros.core.mapping.header import (
    MapHeader,
    read_header,
    require_cells,
    require_model,
)
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.plurals import counted
from vpr_ros.node.config import NodeConfig


def open_localizer(
    config: NodeConfig, *, has_tf: bool, progress: Callable[[str], None]
) -> tuple[Localizer, Chosen]:
    """A localizer on the map of the parameters, and what runs its model.

    has_tf: mountings that are not given can be asked of tf. progress: is told what takes long.
    Raises VprError; nothing stays open then.
    """
    if not config.map:
        raise ConfigError(
            'map: not given; make one with build_map, and name it: map:=FOLDER for the launch '
            'file, --ros-args -p map:=FOLDER for localize'
        )
    folder = expanded(config.map)
    header = read_header(folder)
    model_folder = (
        expanded(config.model)
        if config.model
        else model_that_made(header.model_name, header.model_sha256)
    )
    model = Model.open(model_folder, precision=config.precision)
    place_map = open_map(folder, model)
    mountings = config.mountings()
    if not has_tf and any(given is None for given in mountings[1:]):
        raise ConfigError(
            f'image_topic: base_T_camera needs a mounting for each of the {len(mountings)} '
            'cameras, because tf2_ros is not installed'
        )
    chosen = open_describer(
        model,
        backend=config.backend,
        precision=config.precision,
        threads=config.threads,
        most_threads=config.most_threads,
        cache=expanded(config.engine_cache) if config.engine_cache else None,
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


def open_map(folder: Path, model: Model) -> PlaceMap:
    """A map whose places a model can find; raises MapError."""
    place_map = PlaceMap.open(folder, model=model)
    require_cells(folder, place_map.header, model)
    given, expected = place_map.header.descriptor_size, model.card.descriptor_size
    if given != expected:
        raise MapError(
            f'{folder}: descriptors of {counted(given, "number")}, but {model.card.name} gives '
            f'{expected}; rebuild the map with build_map'
        )
    return place_map


def check_replacement(
    folder: Path, localizer: Localizer, *, header: MapHeader | None = None
) -> None:
    """Raise MapError for a map on which a running localizer cannot go on.

    It must be of the same model, and its poses in the same frame: odometry, tf and all who listen
    to poses go on. header: what was read; None reads it.
    """
    header = header or read_header(folder)
    model, before = localizer.describer.model, localizer.place_map.header
    require_model(folder, header, model)
    require_cells(folder, header, model)
    for name, here, there in (
        ('frame', before.frame_id, header.frame_id),
        ('datum', before.datum, header.datum),
    ):
        if here != there:
            raise MapError(
                f'{folder}: its poses are in {name} {there}, expected {here} as in the served '
                'map; to change to this map, clean up and configure the node again'
            )


def expanded(given: str) -> Path:
    """The whole path of what was given, which may begin with ~; raises ConfigError.

    A relative one counts from where the node was started, which is not where a service is called.
    """
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError as error:  # no such user
        raise ConfigError(f'{given}: {error} Give the whole path') from error
