"""Shipped models got cells after people had built maps by them; those maps go on.

test/maps_before_cells has a map by each of these models as it was before, made by

    python -m vpr_ros.build_map --model models/NAME --precision fp32 --bag demo/drives/day
        --every 60m --no-thumbnails --output test/maps_before_cells/NAME
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from vpr_ros import map
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import model_that_made
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.mapping.header import read_header
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Frame
from vpr_ros.drives import open_drive

ROOT = Path(__file__).resolve().parents[1]
MAPS = Path(__file__).parent / 'maps_before_cells'
NAMES = sorted(path.name for path in MAPS.iterdir())


def made_it(folder: Path) -> Model:
    header = read_header(folder)
    return Model.open(model_that_made(header.model_name, header.model_sha256), precision='fp32')


@pytest.mark.parametrize('name', NAMES)
def test_a_map_from_before_finds_its_model_which_has_cells_now(name: str) -> None:
    model = made_it(MAPS / name)
    assert model.folder == ROOT / 'models' / name and model.card.cells is not None
    assert model.card.sha256 != read_header(MAPS / name).model_sha256
    assert not PlaceMap.open(MAPS / name, model=model).has_cells


@pytest.mark.parametrize('name', NAMES)
def test_its_descriptors_are_those_that_the_model_gives_today(name: str) -> None:
    model = made_it(MAPS / name)
    place_map = PlaceMap.open(MAPS / name, model=model)
    localizer = Localizer(OnnxDescriber(model), place_map, LocalizerConfig())
    stamps = place_map.stamps_ns.tolist()
    day = open_drive(ROOT / 'demo/drives/day')
    frames = [frame for frame in day.frames() if frame.stamp_ns in stamps]
    assert len(frames) == len(place_map)
    for place, frame in enumerate(frames):
        query = localizer.describe(Frame(frame.load(), frame.stamp_ns))
        assert query.cells is None  # the map has none to match
        assert float(query.descriptor @ place_map.descriptor(place)) > 0.99999
        assert localizer.locate(query).similar.place_index[0] == place


@pytest.mark.parametrize('name', NAMES)
def test_it_takes_another_drive_without_cells(name: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MAPS / name, tmp_path / 'map'))
    more = ['--bag', str(ROOT / 'demo/drives/dusk'), '--every', '60m']
    assert map.main(['append', str(folder), *more]) == 0
    grown = PlaceMap.open(folder, model=made_it(folder))
    assert len(grown) > len(PlaceMap.open(MAPS / name)) and not grown.has_cells
    np.testing.assert_allclose(np.linalg.norm(grown.blocks[1], axis=1), 1, atol=1e-5)
