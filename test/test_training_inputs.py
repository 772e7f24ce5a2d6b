"""Own drives as people have them, read by the trainer: what is said, and what is not kept."""

import shutil
from pathlib import Path

import bags
import pytest
from worlds import picture

from vpr_ros.core.errors import DriveError
from vpr_ros.core.image import encode_jpeg
from vpr_training.basics.errors import DatasetError, TrainingError
from vpr_training.data import __main__ as inspect
from vpr_training.data.config import DataConfig
from vpr_training.data.layouts import open_places

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Bags are cached there."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'cache'


def config(root: Path, **settings: object) -> DataConfig:
    sizes = {'images_per_place': 2, 'min_images_per_place': 2, 'place_radius': 3.0}
    return DataConfig(root=str(root), **(sizes | {'place_gap': 0.0} | settings))


def odometry_bag(path: Path, *, broken: tuple[int, ...] = (), frame: str = 'odom') -> Path:
    with bags.writing(path) as put:
        for index in range(6):
            data = b'no image' if index in broken else encode_jpeg(picture(index))
            put('/image', index + 1, bags.compressed(index + 1, index, data=data))
            put('/odom', index + 1, bags.odometry(index + 1, bags.along_x(index), frame=frame))
    return path


def gps_bag(path: Path, *, north_deg: float = 0.0) -> Path:
    with bags.writing(path) as put:
        for index in range(6):
            second = index + 1
            put('/image', second, bags.compressed(second, 0, data=encode_jpeg(picture(index))))
            put('/fix', second, bags.fix(second, 48.0 + north_deg + 1e-5 * index, 11.0))
    return path


def test_a_bag_without_a_usable_image_says_why_and_leaves_nothing(
    tmp_path: Path, cache: Path, capsys: Capture
) -> None:
    bag = odometry_bag(tmp_path / 'bag', broken=tuple(range(6)))
    for _ in range(2):  # nothing was kept of the first time
        assert inspect.main(['inspect', str(bag)]) == 2
        *notes, error = capsys.readouterr().err.splitlines()
        assert f'no image of {bag} can be read; the first one: /image#0@1.000000000' in error
        assert any('poses from /odom' in one for one in notes)
    assert not list(cache.rglob('images.txt'))


def test_images_that_cannot_be_read_are_counted_also_from_the_cache(tmp_path: Path) -> None:
    bag = odometry_bag(tmp_path / 'bag', broken=(2,))
    for _ in range(2):
        places = open_places(config(bag, place_radius=10.0))
        assert len(places.files) == 5
        said = 'bag: 1 image could not be used, the first: /image#2@3.000000000'
        assert any(one.startswith(said) for one in places.left_out)


def test_a_cached_image_that_was_taken_away_is_made_again(tmp_path: Path, cache: Path) -> None:
    bag = odometry_bag(tmp_path / 'bag')
    before = open_places(config(bag))
    before.path(0).unlink()
    again = open_places(config(bag))
    assert len(again.files) == len(before.files) and again.path(0).is_file()


def test_the_source_of_poses_is_told(tmp_path: Path, capsys: Capture) -> None:
    words = ['--min-images', '2', '--place-radius', '3', '--place-gap', '0']
    assert inspect.main(['inspect', str(odometry_bag(tmp_path / 'bag')), *words]) == 0
    assert 'note: bag: poses from /odom (nav_msgs/Odometry, frame odom)' in capsys.readouterr().out


def test_topics_and_frames_can_be_given(tmp_path: Path, capsys: Capture) -> None:
    with bags.writing(tmp_path / 'bag') as put:
        for index in range(6):
            for name in ('left', 'right'):
                message = bags.compressed(index + 1, 0, data=encode_jpeg(picture(index)))
                put(f'/{name}', index + 1, message)
            edge = ('world', 'body', bags.along_x(index))
            put('/tf', index + 1, bags.transforms(index + 1, edge))
    words = ['--min-images', '2', '--place-radius', '3', '--place-gap', '0']
    given = ['inspect', str(tmp_path / 'bag'), *words]
    assert inspect.main(given) == 2
    assert '--image-topic' in capsys.readouterr().err
    assert inspect.main([*given, '--image-topic', '/left']) == 2
    assert 'try --tf-frames world body' in capsys.readouterr().err
    frames = ['--tf-frames', 'world', 'body']
    assert inspect.main([*given, '--image-topic', '/left', *frames]) == 0
    with pytest.raises(TrainingError, match='expected two frames'):
        config(tmp_path / 'bag', tf_frames='world').check()


def test_the_poses_may_be_in_a_file(tmp_path: Path, capsys: Capture) -> None:
    bag, track = odometry_bag(tmp_path / 'bag'), tmp_path / 'slam.tum'
    track.write_text('0 100 0 0 0 0 0 1\n9 109 0 0 0 0 0 1\n')
    words = ['--min-images', '2', '--place-radius', '3', '--place-gap', '0']
    gap = ['--max-pose-gap', '9']
    assert inspect.main(['inspect', str(bag), *words, '--pose-file', str(track), *gap]) == 0
    assert f'note: bag: poses from {track} (TUM, frame map)' in capsys.readouterr().out
    places = open_places(config(bag, pose_files=(str(track),), max_pose_gap=9.0))
    assert places.positions_m[:, 0].min() > 100
    with pytest.raises(TrainingError, match='give one of them'):
        config(bag, pose_files=(str(track),), pose_topic='/odom').check()


def test_a_run_on_poses_in_a_file_goes_on_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('lightning', reason='make setup-training')
    from vpr_training.train import main as train

    odometry_bag(tmp_path / 'bag')
    (tmp_path / 'slam.tum').write_text('0 100 0 0 0 0 0 1\n9 109 0 0 0 0 0 1\n')
    drive = ('--data.root=bag', '--data.pose_files=[slam.tum]', '--data.max_pose_gap=9')
    cut = ('--data.place_radius=1', '--data.place_gap=0', '--data.images_per_place=2')
    network = ('--network.weights=null', '--network.aggregator=gem', '--network.last_stage=3')
    least = ('--data.min_images_per_place=2', '--accelerator=cpu', '--data.workers=0')
    assert train([*drive, *cut, *network, *least, '--epochs=1', '--output=run']) == 0
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    assert train(['--resume=../run', '--epochs=2']) == 0


def test_images_in_a_hole_between_poses_are_told_with_the_setting(tmp_path: Path) -> None:
    with bags.writing(tmp_path / 'bag') as put:
        for index in range(12):
            put('/image', index, bags.compressed(index + 1, 0, data=encode_jpeg(picture(index))))
            if index not in range(3, 9):
                put('/odom', index, bags.odometry(index + 1, bags.along_x(index)))
    told = 'the poses are 7.00 s apart, data.max_pose_gap is 2.5'
    assert any(told in one for one in open_places(config(tmp_path / 'bag')).left_out)
    assert len(open_places(config(tmp_path / 'bag', max_pose_gap=10.0)).files) > 6


def test_drives_with_gps_share_one_datum(tmp_path: Path) -> None:
    gps_bag(tmp_path / 'drives' / 'day')
    gps_bag(tmp_path / 'drives' / 'night', north_deg=1e-3)  # 111 m further north
    places = open_places(config(tmp_path / 'drives'))
    assert 100 < places.positions_m[:, 1].max() - places.positions_m[:, 1].min() < 130


def test_drives_in_unrelated_frames_are_refused(tmp_path: Path) -> None:
    gps_bag(tmp_path / 'drives' / 'a')
    odometry_bag(tmp_path / 'drives' / 'b')
    with pytest.raises(DriveError, match='positions in frame odom, expected UTM zone 32U as'):
        open_places(config(tmp_path / 'drives'))
    shutil.rmtree(tmp_path / 'drives' / 'a')
    odometry_bag(tmp_path / 'drives' / 'a', frame='map')
    with pytest.raises(DriveError, match='positions in frame odom, expected frame map as'):
        open_places(config(tmp_path / 'drives'))


def test_too_few_images_of_a_place_tell_the_notes(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        open_places(config(odometry_bag(tmp_path / 'bag'), min_images_per_place=50))
    assert any('poses from /odom' in note for note in caught.value.notes)


def test_a_checkpoint_that_was_not_fetched_is_named(tmp_path: Path) -> None:
    tensors = pytest.importorskip(
        'vpr_training.models.tensors', reason='needs torch: make setup-training'
    )
    (tmp_path / 'last.ckpt').write_text('version https://git-lfs.github.com/spec/v1\noid x\n')
    with pytest.raises(
        TrainingError, match=r'last.ckpt: is a Git LFS pointer; run `git lfs pull`'
    ):
        tensors.read_state(tmp_path / 'last.ckpt')
