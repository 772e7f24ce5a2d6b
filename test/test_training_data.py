"""Sets of every layout give the same form; one that cannot be trusted is refused by name."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from vpr_ros.core.errors import DriveError
from vpr_ros.core.image import encode_jpeg
from vpr_ros.drives import open_drive
from vpr_training.basics.errors import DatasetError
from vpr_training.data.files import list_images
from vpr_training.data.inspection import described_recall_set
from vpr_training.data.layouts import open_recall_set
from vpr_training.data.utm_names import positions, positives_within


def put_images(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_jpeg(np.full((16, 16, 3), number * 9, dtype=np.uint8)))


def rows(found: tuple[np.ndarray, ...]) -> list[list[int]]:
    return [list(map(int, row)) for row in found]


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    put_images(tmp_path / 'database', 'a.jpg', 'b.jpg', 'deep/c.jpg')
    put_images(tmp_path / 'queries', 'q1.jpg', 'q2.jpg', 'q3.jpg', 'without_truth.jpg')
    (tmp_path / 'gt.csv').write_text(
        'query,positives,sure\nq2.jpg,deep/c.jpg;a.jpg,yes\nq1.jpg,b.jpg,no\nq3.jpg,,yes\n'
    )
    return tmp_path


def test_a_table_of_truth_names_database_rows(pair: Path) -> None:
    found = open_recall_set(pair)
    assert [path.name for path in found.database] == ['a.jpg', 'b.jpg', 'c.jpg']
    assert [path.name for path in found.queries] == ['q2.jpg', 'q1.jpg', 'q3.jpg']
    assert rows(found.positives) == [[0, 2], [1], []]
    assert found.earlier_than is None


def test_images_in_linked_folders_count_once_and_those_in_hidden_ones_do_not(
    tmp_path: Path,
) -> None:
    put_images(tmp_path / 'disk', 'x.jpg', 'y.jpg')
    put_images(tmp_path / 'set', 'a.jpg', 'deep/b.jpg', '.trash/c.jpg')
    (tmp_path / 'set' / 'linked').symlink_to(tmp_path / 'disk')
    (tmp_path / 'set' / 'deep' / 'loop').symlink_to(tmp_path / 'set')
    names = [str(path.relative_to(tmp_path / 'set')) for path in list_images(tmp_path / 'set')]
    assert names == ['a.jpg', 'deep/b.jpg', 'linked/x.jpg', 'linked/y.jpg']


def test_a_table_of_truth_decides_whatever_the_radius(pair: Path) -> None:
    assert rows(open_recall_set(pair, radius_m=1).positives) == [[0, 2], [1], []]


def test_a_sequence_is_searched_in_its_past(tmp_path: Path) -> None:
    put_images(tmp_path / 'images', '1.jpg', '2.jpg', '3.jpg')
    (tmp_path / 'gt.csv').write_text('query,positives\n3.jpg,1.jpg\n')
    found = open_recall_set(tmp_path)
    assert found.earlier_than is not None and found.earlier_than.tolist() == [2]
    assert rows(found.positives) == [[0]] and found.queries == (tmp_path / 'images' / '3.jpg',)


@pytest.mark.parametrize(
    ('table', 'said'),
    [
        ('query,positives\nq1.jpg,missing.jpg\n', r"gt\.csv:2: 'missing\.jpg' is not an image"),
        ('query,positives\nnobody.jpg,a.jpg\n', r"gt\.csv:2: 'nobody\.jpg' is not an image"),
        (
            'query,positives\nq1.jpg,a.jpg\nq1.jpg,b.jpg\n',
            r'gt\.csv:3: query q1\.jpg occurs twice',
        ),
        ('query,truth\nq1.jpg,a.jpg\n', r'lacks the column positives'),
        ('query,positives\n', 'has no rows'),
        ('', 'lacks the column query, positives'),
    ],
)
def test_a_broken_table_is_refused_by_line(pair: Path, table: str, said: str) -> None:
    (pair / 'gt.csv').write_text(table)
    with pytest.raises(DatasetError, match=said):
        open_recall_set(pair)


def test_a_sequence_never_matches_its_future(tmp_path: Path) -> None:
    put_images(tmp_path / 'images', '1.jpg', '2.jpg', '3.jpg')
    (tmp_path / 'gt.csv').write_text('query,positives\n2.jpg,3.jpg\n')
    with pytest.raises(DatasetError, match='expected an earlier image'):
        open_recall_set(tmp_path)


def test_an_empty_half_is_refused(pair: Path) -> None:
    for path in (pair / 'queries').iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match='queries: holds no images'):
        open_recall_set(pair)


def test_an_unknown_layout_says_what_was_looked_for(tmp_path: Path) -> None:
    put_images(tmp_path / 'photos', '1.jpg')
    with pytest.raises(DatasetError, match=r'gt\.csv .*@utm@ names'):
        open_recall_set(tmp_path)
    with pytest.raises(DatasetError, match='no such folder'):
        open_recall_set(tmp_path / 'nowhere')


def test_files_that_only_look_like_images_are_left_out(pair: Path) -> None:
    (pair / 'database' / '._a.jpg').write_bytes(b'resource fork')
    (pair / 'database' / 'notes.txt').write_text('not an image')
    assert len(open_recall_set(pair).database) == 3


def utm(east: float, north: float, zone: str = '10') -> str:
    return f'@{east:010.2f}@{north:010.2f}@{zone}@S@@@@@@@@@@@.jpg'


def test_positions_in_names_are_right_within_the_radius_inclusive(tmp_path: Path) -> None:
    put_images(tmp_path / 'database', utm(1000, 5000), utm(1025, 5000), utm(1025.5, 5000))
    put_images(tmp_path / 'queries', utm(1000, 5000), utm(2000, 5000))
    assert rows(open_recall_set(tmp_path).positives) == [[0, 1], []]
    assert rows(open_recall_set(tmp_path, radius_m=10).positives) == [[0], []]


def test_two_zones_are_never_compared(tmp_path: Path) -> None:
    put_images(tmp_path / 'database', utm(1000, 5000, '10'), utm(1000, 5000, '11'))
    put_images(tmp_path / 'queries', utm(1000, 5000, '11'))
    assert rows(open_recall_set(tmp_path).positives) == [[1]]


@pytest.mark.parametrize('name', ['@east@1.jpg', '@nan@3@10@S@@.jpg', '@5.jpg'])
def test_a_name_with_a_broken_position_is_refused(tmp_path: Path, name: str) -> None:
    put_images(tmp_path / 'database', utm(1, 1), name)
    put_images(tmp_path / 'queries', utm(1, 1))
    with pytest.raises(DatasetError, match='database'):
        open_recall_set(tmp_path)


def test_radius_search_equals_a_loop_over_all_pairs() -> None:
    rng = np.random.default_rng(0)
    halves = []
    for count in (300, 700):
        zones = np.array(['10', '11'])[rng.integers(0, 2, count)]
        halves.append((rng.uniform(0, 200, (count, 2)), zones))
    (places, place_zones), (points, point_zones) = halves
    found = positives_within(halves[0], halves[1], 25.0)
    for query, near in enumerate(found):
        expected = [
            row
            for row in range(len(places))
            if place_zones[row] == point_zones[query]
            and np.hypot(*(places[row] - points[query])) <= 25.0
        ]
        assert near.tolist() == expected


def test_published_names_are_understood() -> None:
    name = (
        '@0550506.53@4181256.88@10@S@037.77726@-122.42647'
        '@4lvBxtHrrG--rnHW9UcwKA@@150@@@@201508@@.jpg'
    )
    for path, metres, zone in (
        (Path(name), [550506.53, 4181256.88], '10 north'),
        (Path('@1.5@2.5@.jpg'), [1.5, 2.5], ''),
    ):
        found, zones = positions([path])
        assert found.tolist() == [metres] and zones.tolist() == [zone]


ZONED, NAMELESS = '@{}@5300000.0@32@U@@@@@@@@@@@.jpg', '@{}@5300000.0@.jpg'
JOINED = '@{}@5300000.0@32U@@@@@@@@@@@@.jpg'
STOPS = [
    (ZONED, NAMELESS, 'no UTM zone in this name, but in others; they cannot be compared'),
    (NAMELESS, ZONED, 'no UTM zone in this name, but in others; they cannot be compared'),
    (ZONED, JOINED, "zone is '32U', expected a number"),
]


@pytest.mark.parametrize(('database', 'queries', 'said'), STOPS)
def test_trainer_and_robot_stop_at_the_same_names_with_the_same_words(
    tmp_path: Path, database: str, queries: str, said: str
) -> None:
    names = database.format('500000.0'), queries.format('500003.0')
    for half, name in zip(('database', 'queries'), names):
        put_images(tmp_path / half, name)
        put_images(tmp_path / 'drive', name)
    with pytest.raises(DatasetError, match=re.escape(said)):
        open_recall_set(tmp_path)
    with pytest.raises(DriveError, match=re.escape(said)):
        open_drive(tmp_path / 'drive')


def test_one_zone_is_one_zone_however_it_is_written(tmp_path: Path) -> None:
    put_images(tmp_path / 'database', '@1000@5000@07@K@@@@@@@@@@@.jpg')
    put_images(tmp_path / 'queries', '@1003@5000@7@@@@@@@@@@@@.jpg')
    assert rows(open_recall_set(tmp_path).positives) == [[0]]


def test_the_two_sides_of_the_equator_are_not_compared(tmp_path: Path) -> None:
    put_images(
        tmp_path / 'database', '@1000@5000@37@M@@@@@@@@@@@.jpg', '@1001@5000@37@N@@@@@@@@@@@.jpg'
    )
    put_images(tmp_path / 'queries', '@1003@5000@37@N@@@@@@@@@@@.jpg')
    assert rows(open_recall_set(tmp_path).positives) == [[1]]
    put_images(tmp_path / 'queries', '@1003@5000@37@@@@@@@@@@@@.jpg')
    said = r'no UTM letter in this name.*on both sides of the equator'
    with pytest.raises(DatasetError, match=said):
        open_recall_set(tmp_path)


def test_what_is_left_out_of_a_set_is_told(tmp_path: Path) -> None:
    put_images(tmp_path / 'database', utm(1, 1), utm(2, 2), 'overview.png')
    put_images(tmp_path / 'queries', utm(1, 1))
    (tmp_path / 'queries' / 'a.HEIC').write_bytes(b'')
    images = open_recall_set(tmp_path)
    assert len(images.database) == 2
    assert images.left_out[0].startswith('1 of 4 images has no position, the first: ')
    assert images.left_out[1] == '1 file .HEIC is not supported; convert it to JPEG'
    assert all(said in described_recall_set(images) for said in images.left_out)


def test_queries_that_the_table_does_not_name_are_told(pair: Path) -> None:
    said = '1 of 4 images in queries/ not in gt.csv'
    assert said in open_recall_set(pair).left_out


def test_positives_behind_a_comma_are_not_lost(pair: Path) -> None:
    table = pair / 'gt.csv'
    head, first, *rows = table.read_text().splitlines()
    table.write_text('\n'.join([head, f'{first},b.jpg', *rows]) + '\n')
    with pytest.raises(DatasetError, match=r'gt.csv:2: has more values .* by semicolons'):
        open_recall_set(pair)


def test_splits_of_two_trees_have_two_names(pair: Path, tmp_path: Path) -> None:
    for tree in (tmp_path / 'first', tmp_path / 'second' / 'images'):
        shutil.copytree(pair, tree / 'val')
    first, second = tmp_path / 'first' / 'val', tmp_path / 'second' / 'images' / 'val'
    assert open_recall_set(first).name == 'first val' == open_recall_set(first.parent).name
    assert open_recall_set(second).name == 'second val'


def test_an_empty_half_names_what_is_not_understood(pair: Path) -> None:
    for path in (pair / 'queries').iterdir():
        path.rename(path.with_suffix('.heic'))
    with pytest.raises(DatasetError, match=r'queries: holds no images .*files? \.heic'):
        open_recall_set(pair)


@pytest.mark.parametrize('tool', ['small_sets', 'training_sets'])
def test_a_tool_that_makes_sets_refuses_a_folder_without_the_images(
    tmp_path: Path, tool: str
) -> None:
    output = tmp_path / 'sets'
    done = subprocess.run(
        [sys.executable, str(ROOT / f'tools/{tool}.py'), str(output), '--data', str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and not output.exists()
    assert f'{tmp_path}: no ie_tower_indoor here; give --data' in done.stderr
