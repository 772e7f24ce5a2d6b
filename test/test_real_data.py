"""Real images of four sets, made into bags, mapped, and sent through the real node.

The figures are floors with some slack below what docs/results/real-drives.md reports: a fall is a
regression, a rise is welcome.
"""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2, from apt or from the wheels of `make setup`')
from real_drives import split_in_two

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.drives import DriveOptions, open_drive
from vpr_ros.drives.folder_to_bag import WriteOptions, write_bag
from vpr_ros.evaluating.figures import Evaluation, evaluate
from vpr_ros.evaluating.live import run_live
from vpr_ros.evaluating.tolerance import Tolerance
from vpr_ros.map_care.build import MapOptions, build_map

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope='module')
def model() -> Model:
    return Model.open(default_model())


def through_the_node(
    database: Path, queries: Path, model: Model, folder: Path, radius_m: float, **settings: float
) -> Evaluation:
    """Two image folders to bags at 8 Hz, the first to a map, the second through the node."""
    for name, source in (('database', database), ('queries', queries)):
        write_bag(source, folder / name, WriteOptions(rate_hz=8.0))
    build_map(
        open_drive(folder / 'database'),
        OnnxDescriber(model),
        folder / 'map',
        MapOptions(max_pose_gap_s=5),
    )
    place_map = PlaceMap.open(folder / 'map', model=model)
    drive = open_drive(folder / 'queries', DriveOptions(datum=place_map.header.datum))
    found = run_live(
        folder / 'queries',
        None,
        {'map': str(folder / 'map'), 'model': str(model.folder), **settings},
    )
    assert found.sent == len(drive) and len(found.answers) + found.dropped == found.sent
    fixes = [answer for answer in found.answers if answer.pose is not None]
    assert fixes, 'the node published no pose'
    return evaluate(
        found.answers,
        drive,
        place_map,
        Tolerance(radius_m),
        dropped=found.dropped,
        max_pose_gap_s=5,
    )


@pytest.mark.parametrize(('name', 'recall'), [('corridor', 0.80), ('gardenspoint_thumb', 0.74)])
def test_a_second_walk_is_localized_on_the_map_of_the_first(
    shared_data: Path, tmp_path: Path, model: Model, name: str, recall: float
) -> None:
    """Frame k lies at x = k metres, so that a radius of two metres is the sets' own two frames."""
    folder = shared_data / name
    found = through_the_node(folder / 'database', folder / 'queries', model, tmp_path, 2.0)
    assert found.recall.at[1] >= recall
    assert found.recall.unmatchable == 0
    assert found.answered > 0.1 and found.false_fixes < 0.35


def test_photos_with_gps_are_localized_on_a_street(
    shared_data: Path, tmp_path: Path, model: Model
) -> None:
    folder = shared_data / 'lund_street_gps'
    found = through_the_node(
        folder / 'database', folder / 'queries', model, tmp_path, 15.0, agreement_radius=30.0
    )
    assert found.recall.at[1] >= 0.8
    assert found.position_error_m['median'] < 15


def test_every_second_image_of_a_drive_is_localized_between_the_others(
    shared_data: Path, tmp_path: Path, model: Model
) -> None:
    """KITTI: places 2.4 m apart, so that retrieval alone comes as near as half of that."""
    halves = split_in_two(shared_data / 'kitti_clip1', tmp_path)
    found = through_the_node(*halves, model, tmp_path, 3.0)
    assert found.recall.at[1] >= 0.95
    assert found.answered > 0.5 and found.false_fixes < 0.05
    assert found.position_error_m['median'] < 2.0 and found.heading_error_deg['median'] < 5.0


def test_the_shipped_model_keeps_its_recall_on_six_sets(
    shared_data: Path, tmp_path: Path, model: Model
) -> None:
    """Three small sets measured anew against the card; the card's mean over six is the promise."""
    from vpr_training.data.layouts import open_recall_set
    from vpr_training.evaluating.recall import examine

    promised = model.card.recall
    assert (
        np.mean([figures['1'] for name, figures in promised.items() if name != 'sfxl_toy']) >= 0.78
    )
    describer = OnnxDescriber(model)
    for name in ('corridor', 'rtabmap_corridor_loop', 'lund_street_gps'):
        images = open_recall_set(shared_data / name)
        found = examine(describer, images, tmp_path, verify=None)
        assert found.verified is not None
        assert found.verified.recall.at[1] == pytest.approx(promised[name]['1'], abs=0.03), name
