"""The commands as a user types them: map a drive, judge another, offline and through the node."""

import json
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml
from waiting import until
from worlds import picture, write_posed_folder, write_tiny_model

from vpr_ros import build_map, calibrate, evaluate_bag, map
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.errors import ImageError
from vpr_ros.core.localizing.kept_calibrations import calibration_of
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.drives import open_drive
from vpr_ros.drives.folder_to_bag import WriteOptions, write_bag
from vpr_ros.evaluating.answers import answers_offline

ROOT = Path(__file__).resolve().parents[1]
PLACES = list(range(12))
CAMERA_INFO = """
image_width: 160
image_height: 120
distortion_model: plumb_bob
camera_matrix: {data: [80, 0, 80, 0, 80, 60, 0, 0, 1]}
distortion_coefficients: {data: [0, 0, 0, 0, 0]}
rectification_matrix: {data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {data: [80, 0, 80, 0, 0, 80, 60, 0, 0, 0, 1, 0]}
"""


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model/, the drives day/ and dusk/ and their bags; two places of dusk are not mapped."""
    folder = tmp_path_factory.mktemp('world')
    write_tiny_model(folder / 'model')
    write_posed_folder(folder / 'day', PLACES)
    write_posed_folder(folder / 'dusk', [3, 4, 5, 6, 7, 8, 20, 21])
    for name in ('day', 'dusk'):
        write_bag(folder / name, folder / f'{name}_bag')
    return folder


@pytest.fixture(scope='module')
def mapped(world: Path) -> Path:
    assert run_build(world, '--bag', str(world / 'day_bag')) == 0
    return world / 'map'


def run_build(world: Path, *arguments: str, output: str = 'map') -> int:
    return build_map.main(
        ['--model', str(world / 'model'), '--output', str(world / output), *arguments]
    )


def run_evaluate(world: Path, mapped: Path, *arguments: str) -> int:
    return evaluate_bag.main(
        ['--map', str(mapped), '--model', str(world / 'model'), '--bag', *arguments]
    )


@pytest.mark.parametrize('source', ['day', 'day_bag'])
@pytest.mark.parametrize('flag', ['--bag', '--images'])
def test_a_bag_and_a_folder_give_the_same_map(
    world: Path, mapped: Path, source: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_build(world, flag, str(world / source), output='again') == 0
    said = capsys.readouterr().out
    assert '12 images read, 12 places mapped' in said
    assert 'no landmarks: the drive has no camera_info' in said
    first, second = PlaceMap.open(mapped), PlaceMap.open(world / 'again')
    np.testing.assert_allclose(first.poses, second.poses, atol=1e-6)
    np.testing.assert_allclose(first.index._blocks[0], second.index._blocks[0], atol=1e-6)
    np.testing.assert_allclose(first.poses[:, 0], [10.0 * place for place in PLACES], atol=1e-6)


@pytest.mark.parametrize(('every', 'left'), [('25m', 4), ('0.25s', 4), ('10m', 12)])
def test_every_thins_the_map(
    world: Path, every: str, left: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_build(world, '--bag', str(world / 'day'), '--every', every, output='thin') == 0
    assert len(PlaceMap.open(world / 'thin')) == left
    assert left == 12 or f'{12 - left} images were left out by --every' in capsys.readouterr().out


def test_unusable_and_unposed_images_are_counted_and_the_rest_is_mapped(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = write_posed_folder(tmp_path / 'drive', PLACES)
    (drive / 'images' / '000003.jpg').write_bytes(b'')
    (drive / 'images' / '000004.jpg').write_bytes(
        (drive / 'images' / '000005.jpg').read_bytes()[:900]
    )
    write_bag(write_posed_folder(tmp_path / 'other', PLACES), tmp_path / 'bag')
    assert run_build(world, '--bag', str(drive), output='partial') == 0
    said = capsys.readouterr().out
    assert '10 places mapped' in said and '2 images could not be used, the first' in said
    assert '000003.jpg' in said


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['--bag', 'nowhere'], 'nowhere'),
        (['--bag', 'day_bag', '--image-topic', '/front'], '/camera/image/compressed'),
        (['--bag', 'day_bag', '--pose-topic', '/amcl'], '/odom'),
        (['--bag', 'day', '--every', 'often'], 'expected metres or seconds'),
        (['--bag', 'day', '--model', 'nowhere'], 'no such model folder'),
        (['--bag', 'day', '--mounting', '1 2 3'], 'x y z qx qy qz qw'),
        (['--bag', 'day', '--datum', 'here'], 'LAT,LON'),
        (['--bag', 'day', '--pose-file', 'nowhere'], 'nowhere: cannot be read (No such file'),
        (
            ['--bag', 'day', '--pose-file', 'x', '--pose-topic', '/odom', '--datum', '1,2'],
            '--pose-file and --pose-topic and --datum say where',
        ),
    ],
)
def test_what_cannot_be_mapped_is_one_line_and_the_old_map_stays(
    world: Path,
    mapped: Path,
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(world)
    assert run_build(world, *arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.count('\n') == 1
    assert len(PlaceMap.open(mapped)) == 12


def test_a_map_remembers_how_much_its_camera_saw(world: Path, tmp_path: Path) -> None:
    drive = write_posed_folder(tmp_path / 'drive', PLACES)
    (drive / 'camera_info.yaml').write_text(CAMERA_INFO)
    write_bag(drive, tmp_path / 'bag')
    for source in (drive, tmp_path / 'bag'):
        assert run_build(world, '--bag', str(source), output='seen') == 0
        seen_deg = PlaceMap.open(world / 'seen').header.field_of_view_deg
        assert seen_deg == pytest.approx(90.0)
    assert run_build(world, '--bag', str(world / 'day'), output='seen') == 0
    assert PlaceMap.open(world / 'seen').header.field_of_view_deg is None


def test_evaluation_counts_what_is_there(
    world: Path, mapped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / 'figures.json'
    arguments = ['--set', 'belief=false', 'min_similarity=0.9', '--json', str(figures)]
    assert run_evaluate(world, mapped, str(world / 'dusk_bag'), *arguments) == 0
    found = json.loads(figures.read_text())
    assert found['recall'] == {'1': 0.75, '5': 0.75, '10': 0.75, '20': 0.75}
    assert (found['queries'], found['database'], found['unmatchable']) == (8, 12, 2)
    assert found['answered'] == 0.75 and found['false_fixes'] == 0.0
    assert found['position_error_m']['median'] < 0.1 and found['heading_error_deg']['p90'] < 0.1
    assert set(found['latency_ms']) == {'decode', 'describe', 'search', 'judge'}
    assert found['latency_ms']['describe']['p50'] > 0 and found['dropped'] == 0
    assert 'Recall@1              0.750' in capsys.readouterr().out


def test_the_fixes_are_written_for_evo(world: Path, mapped: Path, tmp_path: Path) -> None:
    path = tmp_path / 'fixes.tum'
    arguments = ['--set', 'belief=false', 'min_similarity=0.9', '--tum', str(path)]
    assert run_evaluate(world, mapped, str(world / 'dusk_bag'), *arguments) == 0
    rows = np.loadtxt(path)
    assert rows.shape == (6, 8) and (np.diff(rows[:, 0]) > 0).all()
    np.testing.assert_allclose(rows[:, 1], [30, 40, 50, 60, 70, 80], atol=0.2)


def test_a_wrong_heading_makes_a_near_place_wrong(
    world: Path, mapped: Path, tmp_path: Path
) -> None:
    """The same pictures from a camera that is mounted backwards: the robot looks the other way."""
    figures = tmp_path / 'figures.json'
    backwards = ['--mounting', '0 0 0 0.5 0.5 -0.5 -0.5', '--json', str(figures)]
    assert run_evaluate(world, mapped, str(world / 'dusk'), *backwards, '--heading', '45') == 0
    assert json.loads(figures.read_text())['recall']['1'] == 0.0
    assert run_evaluate(world, mapped, str(world / 'dusk'), *backwards) == 0
    assert json.loads(figures.read_text())['recall']['1'] == 0.75


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['--set', 'speed=3'], 'expected NAME=VALUE'),
        (['--set', 'candidates=0'], 'expected 1 to 1000'),
        (['--image-topic', '/front'], '/camera/image/compressed'),
        (['--every-image'], 'only with --live'),
    ],
)
def test_a_bad_option_is_one_line(
    world: Path, mapped: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_evaluate(world, mapped, str(world / 'dusk_bag'), *arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.count('\n') == 1


def test_the_node_answers_what_the_core_answers_offline(world: Path, mapped: Path) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    from vpr_ros.evaluating.live import run_live

    model = Model.open(world / 'model')
    localizer = Localizer(OnnxDescriber(model), PlaceMap.open(mapped, model=model))
    offline = [
        answer
        for answer in answers_offline(open_drive(world / 'dusk_bag').frames(), localizer)
        if not isinstance(answer, ImageError)
    ]
    parameters = {'map': str(mapped), 'model': str(world / 'model')}
    live = run_live(world / 'dusk_bag', None, parameters, every_image=True)
    assert (live.sent, live.dropped) == (8, 0)
    for ours, nodes in zip(offline, live.answers, strict=True):
        assert ours.stamp_ns == nodes.stamp_ns
        np.testing.assert_allclose(ours.candidates, nodes.candidates, atol=1e-9)
        assert (ours.pose is None) == (nodes.pose is None)
        if ours.pose is not None and nodes.pose is not None:
            np.testing.assert_allclose(ours.pose, nodes.pose, atol=1e-9)


def test_a_live_evaluation_adds_latency_and_takes_a_folder_too(
    world: Path, mapped: Path, tmp_path: Path
) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    figures = tmp_path / 'figures.json'
    arguments = ['--live', '--every-image', '--json', str(figures)]
    arguments += ['--set', 'belief=false', 'min_similarity=0.9']
    assert run_evaluate(world, mapped, str(world / 'dusk'), *arguments) == 0
    found = json.loads(figures.read_text())
    assert found['recall']['1'] == 0.75 and found['answered'] == 0.75 and found['live'] is True
    assert 0 < found['latency_ms']['end_to_end']['p50'] < 5000
    stages = {'wait', 'decode', 'describe', 'search', 'judge', 'publish', 'total', 'end_to_end'}
    assert set(found['latency_ms']) == stages
    assert all(set(spread) == {'p50', 'p95', 'p99'} for spread in found['latency_ms'].values())


def test_a_node_that_cannot_start_is_one_line(
    world: Path, mapped: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    from vpr_ros.evaluating import live

    monkeypatch.setattr(live, '_yaml', lambda value: '"/nowhere"')
    assert run_evaluate(world, mapped, str(world / 'dusk_bag'), '--live') == 2
    assert 'the node did not start' in capsys.readouterr().err


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('module', ['evaluate_bag', 'replay_bag'])
def test_a_drive_that_is_stopped_half_way_gives_no_figures(
    world: Path, mapped: Path, tmp_path: Path, module: str, number: signal.Signals
) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    figures = tmp_path / 'figures.json'
    words = {
        'replay_bag': [str(world / 'day_bag'), '--rate', '0.01'],
        'evaluate_bag': ['--map', str(mapped), '--model', str(world / 'model'), '--bag',
                         str(world / 'dusk_bag'), '--live', '--rate', '0.01',
                         '--json', str(figures)],
    }[module]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, '-m', f'vpr_ros.{module}', *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    tasks = Path(f'/proc/{process.pid}/task')
    until(
        lambda: any('dds.' in task.read_text() for task in tasks.glob('*/comm')),
        'no thread of the middleware begins',
    )
    process.send_signal(number)
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.splitlines()[-1] == 'stopped', said
    assert printed == '' and not figures.exists()


def test_an_evaluation_that_is_killed_leaves_no_node_behind(world: Path, mapped: Path) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    process = subprocess.Popen(
        [sys.executable, '-m', 'vpr_ros.evaluate_bag', '--map', mapped, '--model', world / 'model',
         '--bag', world / 'dusk_bag', '--live', '--rate', '0.01'],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT,
    )  # fmt: skip
    children = Path(f'/proc/{process.pid}/task/{process.pid}/children')

    def is_node(process: Path) -> bool:
        with suppress(FileNotFoundError, ProcessLookupError):
            return b'--ros-args' in (process / 'cmdline').read_bytes()  # empty once it has ended
        return False

    def nodes() -> list[Path]:
        found = [Path('/proc') / child for child in children.read_text().split()]
        return [one for one in found if is_node(one)]

    until(lambda: bool(nodes()), 'no node begins')
    (node,) = nodes()
    until(
        lambda: any('dds.' in task.read_text() for task in node.glob('task/*/comm')),
        'the node does not begin',
    )
    process.kill()
    process.wait()
    until(lambda: not is_node(node), 'the node stays')


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3', 'ros1'])
def test_a_replayed_bag_arrives_whole(world: Path, tmp_path: Path, storage: str) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    from nav_msgs.msg import Odometry
    from ros_world import domain, running
    from sensor_msgs.msg import CompressedImage

    from vpr_ros.core.encodings import to_rgb

    bag = tmp_path / ('bag.bag' if storage == 'ros1' else 'bag')
    write_bag(world / 'day', bag, WriteOptions(storage=storage))
    with domain() as (number, peer):
        images = peer.listen(CompressedImage, '/camera/image/compressed')
        poses = peer.listen(Odometry, '/odom')
        wait = ('--wait', '/camera/image/compressed', '/odom')
        with running(
            number, module='vpr_ros.replay_bag', before=(str(bag), '--rate', '2', *wait)
        ) as player:
            peer.wait(lambda: len(images) == 12 and len(poses) == 12, 'messages are missing')
            peer.wait(lambda: player.poll() is not None, 'the player does not end')
    assert player.returncode == 0
    assert [message.header.stamp.sec for message in images][:3] == [1, 1, 1]
    assert np.abs(to_rgb(images[4]).astype(int) - picture(4)).mean() < 3
    assert [round(message.pose.pose.position.x) for message in poses] == [10 * n for n in PLACES]


BUILD = """
import resource, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, {test!r})
from worlds import write_tiny_model
from vpr_ros.map_care.build import MapOptions, build_map
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.geometry import FORWARD_CAMERA
from vpr_ros.core.trajectory import Trajectory
from vpr_ros.drives.drive import RecordedFrame

class Drive:
    name, frame_id, datum, pose_source, warnings = 'made', 'map', None, '', []
    has_heading = mounting_known = True
    base_T_camera, field_of_view_deg = FORWARD_CAMERA, None
    poses = np.tile(FORWARD_CAMERA, (2, 1))
    trajectory = Trajectory(np.array([0, 10**15]), poses)
    def __len__(self):
        return {count}
    def frames(self):
        for row in range({count}):
            load = lambda at_least_hw: np.zeros((480, 640, 3), np.uint8) + 7
            yield RecordedFrame(row * 10**6, str(row), load)

describer = OnnxDescriber(write_tiny_model(Path({folder!r}) / 'model'), threads=1)
build_map(Drive(), describer, Path({folder!r}) / 'map', MapOptions(max_pose_gap_s=1e9))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """1,500 more VGA images are 1.4 GB decoded; the peak may grow by 20 MB."""

    def peak_mb(count: int) -> float:
        folder = tmp_path / str(count)
        code = BUILD.format(test=str(ROOT / 'test'), count=count, folder=str(folder))
        done = subprocess.run(
            [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return int(done.stdout) / 1024

    assert peak_mb(1600) - peak_mb(100) < 20


def test_calibration_is_fitted_kept_in_the_map_and_named_when_it_is_not(
    world: Path, mapped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = write_posed_folder(tmp_path / 'drive', [*PLACES, *PLACES[::-1]] * 2)
    arguments = ['--map', str(mapped), '--model', str(world / 'model'), '--bag']
    assert calibrate.main([*arguments, str(world / 'dusk')]) == 2
    assert 'expected at least 40' in capsys.readouterr().err
    assert calibrate.main([*arguments, str(drive), '--dry-run']) == 0
    assert PlaceMap.open(mapped).header.calibration is None
    assert calibrate.main([*arguments, str(drive)]) == 0
    kept = calibration_of(PlaceMap.open(mapped).header)
    said = capsys.readouterr().out
    assert 'expected calibration error' in said
    assert re.search(rf'judged on \d+ frames of the drive, fitted on {kept.frames} of four', said)
    assert kept.source == 'drive' and kept.radius_m == 5.0 and kept.frames > 40

    elsewhere = write_posed_folder(
        tmp_path / 'elsewhere', [*PLACES[1:], *PLACES[:0:-1]] * 2, spacing_m=1000.0
    )
    path = mapped / 'map.yaml'
    before = path.read_bytes()
    assert calibrate.main([*arguments, str(elsewhere)]) == 2
    err = capsys.readouterr().err
    assert re.search(r'images match places that lie elsewhere.* multiplied by 0\.01', err)
    assert path.read_bytes() == before
    rows = (elsewhere / 'poses.csv').read_text().splitlines()
    poses = [row.partition('.jpg')[2] for row in rows[1:]]
    mixed = [row.partition('.jpg')[0] + f'.jpg,{number}' for number, row in enumerate(rows[1:])]
    np.random.default_rng(0).shuffle(poses)
    rows[1:] = [f'{name},{pose.split(",", 2)[2]}' for name, pose in zip(mixed, poses)]
    (elsewhere / 'poses.csv').write_text('\n'.join(rows))
    assert calibrate.main([*arguments, str(elsewhere)]) == 2
    assert 'with poses in the frame of the map (map)' in capsys.readouterr().err
    assert path.read_bytes() == before

    values = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(values | {'calibration': {'bias': 1.0}}))
    assert map.main(['info', str(mapped)]) == 0
    assert calibrate.main([*arguments, str(drive)]) == 2
    assert 'delete the entry calibration there and run `calibrate`' in capsys.readouterr().err
    path.write_text(yaml.safe_dump(values | {'calibration': None}))
    assert calibrate.main([*arguments, str(drive)]) == 0
