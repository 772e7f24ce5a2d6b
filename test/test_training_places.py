"""Training sets of every layout: images grouped by place, and never a label without an image."""

import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from vpr_ros.core.geometry import angle_between, yaw_quat
from vpr_training.basics.errors import DatasetError, TrainingError
from vpr_training.data.__main__ import main as data
from vpr_training.data.config import DataConfig
from vpr_training.data.layouts import open_places
from vpr_training.data.own_drive import cut
from vpr_training.data.places import PlaceSet
from vpr_training.data.sampler import PlaceSampler

CITIES_HEAD = 'place_id,year,month,northdeg,city_id,lat,lon,panoid'
XS_FILE_HEAD = 'place_id,class_name,UTMx,UTMy,filename'
XS_FIELDS_HEAD = 'UTM1,UTM2,UTMzone,category,lat,lon,panoid,numeric,yearMonth,place_id,city'


def picture(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), pixels)


def config(root: Path, **values: object) -> DataConfig:
    given = {'images_per_place': 2, 'min_images_per_place': 2, 'places_per_batch': 2, **values}
    return DataConfig(root=str(root), **given)


def by_place(places: PlaceSet) -> dict[tuple[str, int], list[str]]:
    """City and place -> file names."""
    return {
        (places.cities[places.city[place]], place): [
            places.path(int(row)).name for row in places.rows(place)
        ]
        for place in range(places.places)
    }


def write_gsv_cities(folder: Path, cities: dict[str, dict[int, int]]) -> list[Path]:
    """cities: name -> place id -> number of images; returns the files."""
    files = []
    (folder / 'Dataframes').mkdir(parents=True)
    for city, sizes in cities.items():
        lines = [CITIES_HEAD]
        for place, count in sizes.items():
            for image in range(count):
                values = (place, 2015 + image, image + 1, 7 * image, city, '48.85', '2.3500')
                pano = f'pano-{place}_{image}'
                lines.append(','.join(map(str, (*values, pano))))
                when = f'{2015 + image}_{image + 1:02d}_{7 * image:03d}'
                name = f'{city}_{place:07d}_{when}_48.85_2.3500_{pano}.jpg'
                files.append(folder / 'Images' / city / name)
                picture(files[-1], len(files))
        (folder / 'Dataframes' / f'{city}.csv').write_text('\n'.join(lines) + '\n')
    return files


def xs_name(place: int, image: int, city: str, *, zone: int = 18, east: float = 432662.16) -> str:
    return (
        f'@{east + image:010.2f}@0690559.74@{zone}@N@006.24711@-075.60872@pano{place}_{image}'
        f'@@{90 + image}@@@@2013{image + 1:02d}@{place}_{city}@.jpg'
    )


def write_gsv_xs(folder: Path, cities: dict[str, dict[int, int]], *, zone: int = 18) -> list[str]:
    names = []
    for city, sizes in cities.items():
        for place, count in sizes.items():
            for image in range(count):
                names.append(xs_name(place, image, city, zone=zone))
                picture(folder / 'train' / city / names[-1], len(names))
    return names


def test_gsv_cities_is_read_and_one_id_in_two_cities_is_two_places(tmp_path: Path) -> None:
    write_gsv_cities(tmp_path, {'Paris': {1: 3, 7: 2}, 'London': {1: 2}})
    places = open_places(config(tmp_path))
    assert sorted(len(files) for files in by_place(places).values()) == [2, 2, 3]
    assert {city for city, _ in by_place(places)} == {'Paris', 'London'}
    assert all(len({name[:13] for name in files}) == 1 for files in by_place(places).values())
    # 0.65 degrees west of zone 31's meridian; the sphere is off by less than half a kilometre.
    east_m = 500_000 - 0.65 * 111_320 * np.cos(np.radians(48.85))
    assert abs(places.positions_m[0, 0] - east_m) < 500


def test_only_the_cities_that_are_asked_for_are_read(tmp_path: Path) -> None:
    write_gsv_cities(tmp_path, {'Paris': {1: 3}, 'London': {1: 2}})
    assert open_places(config(tmp_path, cities=('London',))).cities == ('London',)
    with pytest.raises(DatasetError, match=r'Rome\.csv'):
        open_places(config(tmp_path, cities=('Rome',)))


def test_gsv_xs_is_read_from_its_names_alone(tmp_path: Path) -> None:
    write_gsv_xs(tmp_path, {'Medellin': {848: 3, 9: 2}, 'OSL': {848: 2}})
    places = open_places(config(tmp_path))
    assert sorted(len(files) for files in by_place(places).values()) == [2, 2, 3]
    assert places.cities == ('Medellin', 'OSL')


def test_one_place_id_in_two_utm_zones_is_two_places(tmp_path: Path) -> None:
    write_gsv_xs(tmp_path, {'Town': {5: 2}}, zone=17)
    write_gsv_xs(tmp_path, {'Town': {5: 2}}, zone=18)
    places = open_places(config(tmp_path))
    assert [len(files) for files in by_place(places).values()] == [2, 2]


@pytest.mark.parametrize('form', ['filename', 'fields'])
def test_both_forms_of_gsv_xs_tables_choose_among_the_images(tmp_path: Path, form: str) -> None:
    write_gsv_xs(tmp_path, {'Medellin': {848: 3, 9: 3}})
    lines = [XS_FILE_HEAD if form == 'filename' else XS_FIELDS_HEAD]
    for image in range(2):
        name = xs_name(848, image, 'Medellin')
        lines.append(
            f'848,medellin,432662.16,690559.74,{name}'
            if form == 'filename'
            else f'0432662.16,690559.74,18,N,6.24711,-75.60872,pano848_{image},,'
            f'2013{image + 1:02d},848,Medellin'
        )
    (tmp_path / 'dataframes').mkdir()
    (tmp_path / 'dataframes' / 'medellin.csv').write_text('\n'.join(lines) + '\n')
    places = open_places(config(tmp_path))
    expected = sorted(xs_name(848, image, 'Medellin') for image in range(2))
    assert list(by_place(places).values()) == [expected]


def test_real_gsv_xs_tables_are_read(tmp_path: Path, shared_data: Path) -> None:
    """Two published tables; of their 15,780 images eight are there, drawn for the test."""
    (tmp_path / 'dataframes').mkdir()
    for city in ('medellin', 'osl'):
        shutil.copy(shared_data / 'meta_gsv_xs' / f'{city}.csv', tmp_path / 'dataframes')
        table = (tmp_path / 'dataframes' / f'{city}.csv').read_text().splitlines()
        for line in table[1:5]:
            picture(tmp_path / 'train' / city / line.split(',')[4])
    places = open_places(config(tmp_path))
    assert len(places.files) == 8 and places.places == 2
    assert any('15772 listed images without a file' in said for said in places.left_out)


def test_a_table_of_ones_own_names_places(tmp_path: Path) -> None:
    for number in range(5):
        picture(tmp_path / 'a' / f'{number}.png', number)
    lines = [
        'image,place_id,note',
        *(f'a/{n}.png,{"kitchen" if n < 3 else "hall"},x' for n in range(5)),
    ]
    (tmp_path / 'places.csv').write_text('\n'.join(lines) + '\n')
    assert sorted(map(len, by_place(open_places(config(tmp_path))).values())) == [2, 3]


@pytest.mark.parametrize(
    ('table', 'said'),
    [
        ('image\na/0.png\n', r'places\.csv: lacks the column place_id; found image'),
        ('image,place_id\n', r'has no rows'),
        ('image,place_id\na/0.png,\n', r'places\.csv:2: has no place_id'),
        ('image,place_id\na/0.png,1\na/0.png,2\n', r'places\.csv:3: a/0\.png occurs twice'),
        ('image,place_id,east_m,north_m\na/0.png,1,nan,2\n', r":2: east_m is 'nan'"),
        ('image,place_id\na/0.png,1\na/1.png,2\n', r'2 places with fewer than 2 images'),
        ('image,place_id\na/0.png,1\n./a/0.png,2\n', r'an image of two places, 1 and 2'),
        ('image,place_id,place_id\na/0.png,1,2\n', r'has the column place_id twice'),
        ('image,place_id\na/0.png,1,2\n', r':2: has more values than columns \(2\)'),
        ('image,place_id\na/8.png,1\na/9.png,1\n', r'2 listed images without a file, .*a/8\.png'),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_says_why_and_where(
    tmp_path: Path, table: str, said: str
) -> None:
    for number in range(3):
        picture(tmp_path / 'a' / f'{number}.png', number)
    (tmp_path / 'places.csv').write_text(table)
    with pytest.raises(DatasetError, match=said) as caught:
        open_places(config(tmp_path))
    assert '\n' not in str(caught.value)


def test_a_gsv_table_without_a_column_or_with_a_nan_says_so(tmp_path: Path) -> None:
    write_gsv_cities(tmp_path, {'Paris': {1: 2}})
    table = tmp_path / 'Dataframes' / 'Paris.csv'
    good = table.read_text()
    table.write_text(good.replace('panoid', 'pano'))
    with pytest.raises(DatasetError, match=r'Paris\.csv: lacks the column panoid'):
        open_places(config(tmp_path))
    table.write_text(good.replace('48.85', 'nan', 1))
    with pytest.raises(DatasetError, match=r"Paris\.csv:2: lat is 'nan'"):
        open_places(config(tmp_path))


def test_a_gsv_image_that_is_listed_again_counts_once(tmp_path: Path) -> None:
    write_gsv_cities(tmp_path, {'Paris': {1: 2, 2: 3}})
    table = tmp_path / 'Dataframes' / 'Paris.csv'
    head, first, *rows = table.read_text().splitlines()
    table.write_text('\n'.join([head, first, first, first, *rows]) + '\n')
    places = open_places(config(tmp_path))
    assert sorted(map(len, by_place(places).values())) == [2, 3]
    assert '2 images that are listed once more' in str(places)


def test_a_gsv_place_is_a_whole_number(tmp_path: Path) -> None:
    write_gsv_cities(tmp_path, {'Paris': {1: 2}})
    table = tmp_path / 'Dataframes' / 'Paris.csv'
    head, first, *rows = table.read_text().splitlines()
    table.write_text('\n'.join([head, '1.5' + first[first.index(',') :], *rows]) + '\n')
    with pytest.raises(DatasetError, match=r"Paris\.csv:2: place_id is '1.5', expected a whole"):
        open_places(config(tmp_path))


@pytest.mark.parametrize('kind', ['latin', 'folder'])
def test_a_gsv_xs_table_that_cannot_be_read_is_named(tmp_path: Path, kind: str) -> None:
    write_gsv_xs(tmp_path, {'Town': {5: 2}})
    if kind == 'folder':
        (tmp_path / 'notes.csv').mkdir()
    else:
        (tmp_path / 'notes.csv').write_bytes('Straße'.encode('latin-1'))
    with pytest.raises(DatasetError, match=r'notes\.csv: cannot be read .* move it away'):
        open_places(config(tmp_path))


def test_database_and_queries_are_no_cities(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for half, east in (('database', 500000), ('queries', 500003)):
        picture(tmp_path / '$^$' / half / f'@{east}.0@5300000.0@32@U@.png')
    words = ['inspect', str(tmp_path / '$^$'), '--picture', str(tmp_path / 'drawn.png')]
    assert data(words) == 0
    assert '1 database image, 1 query' in capsys.readouterr().out
    assert (tmp_path / 'drawn.png').exists()


def test_an_empty_city_is_named(tmp_path: Path) -> None:
    write_gsv_xs(tmp_path, {'Town': {5: 2}})
    (tmp_path / 'train' / 'Ghost').mkdir()
    with pytest.raises(DatasetError, match='folder of Ghost holds no images'):
        open_places(config(tmp_path))


def test_missing_and_empty_files_leave_no_labels_behind(tmp_path: Path) -> None:
    files = write_gsv_cities(tmp_path, {'Paris': {1: 4, 2: 3, 3: 3}})
    files[0].unlink()
    files[4].write_bytes(b'')
    files[7].unlink()
    files[8].unlink()
    places = open_places(config(tmp_path))
    assert sorted(map(len, by_place(places).values())) == [2, 3]
    assert all(places.path(row).stat().st_size for row in range(len(places.files)))
    text = str(places)
    assert '3 listed images without a file' in text and '1 file of no bytes' in text
    assert '1 place with fewer than 2 images' in text


def test_what_is_no_training_set_is_refused_with_what_is_understood(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r'places\.csv; Dataframes/ and Images/'):
        open_places(config(tmp_path))
    with pytest.raises(DatasetError, match=r'data\.root: not given'):
        open_places(DataConfig())
    with pytest.raises(TrainingError, match='every place gives that many'):
        config(tmp_path, images_per_place=4).check()


# ---- own drives


def test_the_demos_drives_share_places_by_day_and_dusk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    settings = config(ROOT / 'demo' / 'drives', place_radius=3.0)
    places = open_places(settings)
    assert places.places >= 25
    both = [
        {places.path(int(row)).parent.name.split('-')[0] for row in places.rows(place)}
        for place in range(places.places)
    ]
    assert sum(len(drives) == 2 for drives in both) > places.places / 2
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*.jpg')}
    assert written
    again = open_places(settings)
    assert list(again.files) == list(places.files)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*.jpg')} == written


def walk(count: int, seed: int) -> np.ndarray:
    """Poses [count, 7] of a random walk that turns."""
    rng = np.random.default_rng(seed)
    yaw = np.cumsum(rng.normal(0, 0.2, count))
    steps = 0.7 * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
    poses = np.zeros((count, 7))
    poses[:, :2] = np.cumsum(steps, axis=0)
    poses[:, 3:] = yaw_quat(yaw)
    return poses


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000), radius=st.floats(0.5, 5), gap=st.floats(0, 5),
    heading=st.floats(5, 90),
)  # fmt: skip
def test_places_are_small_and_apart(seed: int, radius: float, gap: float, heading: float) -> None:
    poses = walk(120, seed)
    place = cut(poses, radius_m=radius, gap_m=gap, heading_rad=np.radians(heading))
    assert place[0] == 0 and set(place[place >= 0]) == set(range(place.max() + 1))
    centres = {number: np.flatnonzero(place == number)[0] for number in set(place[place >= 0])}
    for row in np.flatnonzero(place >= 0):
        centre = poses[centres[place[row]]]
        assert np.linalg.norm(poses[row, :3] - centre[:3]) <= radius + 1e-9
        assert angle_between(poses[row, 3:], centre[3:]) <= np.radians(heading) + 1e-9
    for first in centres.values():
        for second in centres.values():
            if first < second and angle_between(poses[first, 3:], poses[second, 3:]) <= np.radians(
                heading
            ):
                distance = np.linalg.norm(poses[first, :3] - poses[second, :3])
                assert distance > 2 * radius + gap - 1e-9
    for row in np.flatnonzero(place < 0):  # no place's own, but too near to one
        earlier = poses[[centre for centre in centres.values() if centre < row]]
        apart_m = np.linalg.norm(earlier[:, :3] - poses[row, :3], axis=1)
        angle = np.degrees(angle_between(earlier[:, 3:], poses[row, 3:]))
        assert not ((apart_m <= radius - 1e-9) & (angle <= heading - 1e-9)).any()
        assert ((apart_m <= 2 * radius + gap + 1e-9) & (angle <= 2 * heading + 1e-9)).any()


# ---- batches


def a_place_set(sizes: list[int], cities: list[int] | None = None) -> PlaceSet:
    starts = np.concatenate([[0], np.cumsum(sizes)])
    city = np.array(cities or [0] * len(sizes))
    return PlaceSet(
        name='made',
        folder=Path('/'),
        files=np.array([f'{row}.jpg' for row in range(starts[-1])]),
        starts=starts,
        city=city,
        cities=tuple(f'c{number}' for number in range(city.max() + 1)),
        positions_m=np.full((starts[-1], 2), np.nan),
    )


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(3, 9), min_size=8, max_size=40), p=st.integers(2, 4),
    k=st.integers(2, 3), seed=st.integers(0, 99), epoch=st.integers(0, 9),
    world=st.integers(1, 2),
)  # fmt: skip
def test_every_batch_has_p_places_with_k_different_images(
    sizes: list[int], p: int, k: int, seed: int, epoch: int, world: int
) -> None:
    places = a_place_set(sizes)
    settings = DataConfig(places_per_batch=p, images_per_place=k)
    seen: list[int] = []
    for rank in range(world):
        sampler = PlaceSampler(places, settings, seed=seed, rank=rank, world_size=world)
        sampler.epoch = epoch
        batches = list(sampler)
        assert len(batches) == len(sampler) == len(sizes) // p // world
        assert list(sampler) == batches
        for batch in batches:
            rows = np.array([row for _, row in batch])
            assert len(set(rows.tolist())) == p * k
            of = places.place_of(rows)
            assert sorted(Counter(of.tolist()).values()) == [k] * p
            seen += sorted(set(of.tolist()))
        sampler.start_batch = world
        assert list(sampler) == batches[1:]
    assert len(seen) == len(set(seen)), 'a place is in two batches of an epoch'


@settings(max_examples=50, deadline=None)
@given(
    count=st.integers(8, 60), steps=st.integers(0, 3), before=st.integers(1, 3),
    after=st.integers(1, 3),
)  # fmt: skip
def test_other_processes_go_on_with_the_batches_that_are_left(
    count: int, steps: int, before: int, after: int
) -> None:
    places, settings = a_place_set([3] * count), DataConfig(places_per_batch=2, images_per_place=2)

    def dealt(world: int, start: int) -> list[list[list[tuple[int, int]]]]:
        """What each process gets."""
        samplers = [
            PlaceSampler(places, settings, seed=1, rank=rank, world_size=world)
            for rank in range(world)
        ]
        for sampler in samplers:
            sampler.start_batch = start
        return [list(sampler) for sampler in samplers]

    (everything,) = dealt(1, 0)
    done = [batch for rank in dealt(before, 0) for batch in rank[:steps]]
    rest = dealt(after, len(done))
    assert len({len(rank) for rank in rest}) == 1, 'a process would wait for another one'
    left = [batch for rank in rest for batch in rank]
    assert not any(batch in done for batch in left)
    assert 0 <= len(everything) - len(done) - len(left) < after


def test_epochs_and_seeds_differ() -> None:
    places = a_place_set([6] * 30)
    drawn = set()
    for seed in range(3):
        sampler = PlaceSampler(places, DataConfig(places_per_batch=5), seed=seed)
        for sampler.epoch in range(3):
            drawn.add(tuple(row for batch in sampler for _, row in batch))
    assert len(drawn) == 9


def test_a_batch_is_of_one_city_where_that_is_asked_for() -> None:
    places = a_place_set([4] * 20, [0] * 7 + [1] * 13)
    settings = DataConfig(places_per_batch=3, in_city=True)
    sampler = PlaceSampler(places, settings, seed=1)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 7 // 3 + 13 // 3
    for batch in batches:
        rows = np.array([row for _, row in batch])
        assert len(set(places.city[places.place_of(rows)].tolist())) == 1


def test_cities_with_too_few_places_for_a_batch_are_told() -> None:
    places = a_place_set([4] * 20, [0] * 7 + [1] * 2 + [2] * 11)
    sampler = PlaceSampler(places, DataConfig(places_per_batch=9, in_city=True), seed=1)
    assert [line.split(' with')[0] for line in sampler.left_out] == ['9 places of 2 cities']
    rows = [row for sampler.epoch in range(5) for batch in sampler for _, row in batch]
    assert set(places.city[places.place_of(np.array(rows))].tolist()) == {2}
    assert PlaceSampler(places, DataConfig(places_per_batch=9), seed=1).left_out == ()


def test_a_batch_has_all_places_where_there_are_fewer() -> None:
    sampler = PlaceSampler(a_place_set([4] * 5), DataConfig(places_per_batch=6), seed=0)
    assert [len(batch) for batch in sampler] == [5 * 4]


def test_every_place_is_in_a_batch_where_that_is_asked_for() -> None:
    places = a_place_set([4] * 20, [0] * 7 + [1] * 2 + [2] * 11)
    for in_city, batches in ((False, 4), (True, 2 + 1 + 2)):
        settings = DataConfig(places_per_batch=6, in_city=in_city)
        sampler = PlaceSampler(places, settings, seed=1, every_place=True)
        rows = [np.array([row for _, row in batch]) for batch in sampler]
        assert len(rows) == len(sampler) == batches and sampler.left_out == ()
        of = np.concatenate([places.place_of(batch) for batch in rows])
        assert np.bincount(of).tolist() == [4] * 20


def test_too_few_places_for_a_batch_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(DatasetError, match=r'lower data\.places_per_batch'):
        PlaceSampler(a_place_set([4] * 5), DataConfig(), seed=0, world_size=2)
    with pytest.raises(DatasetError, match='a batch needs at least two places'):
        PlaceSampler(a_place_set([4]), DataConfig(), seed=0)
    with pytest.raises(DatasetError, match='a batch needs at least two places'):
        PlaceSampler(a_place_set([4]), DataConfig(), seed=0, every_place=True)


# ---- inspect


def test_inspect_tells_and_draws_what_can_be_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_gsv_cities(tmp_path / 'gsv', {'Paris': {1: 5, 7: 4}, 'London': {1: 4, 2: 1}})
    drawn = tmp_path / 'drawn.png'
    assert data(['inspect', str(tmp_path / 'gsv'), f'--picture={drawn}', '--deep']) == 0
    said = capsys.readouterr().out
    assert '13 images of 3 places in 2 cities' in said and '4 to 5, median 4' in said
    assert 'Paris: 2 places, 9 images, ' in said and '1 place with fewer than 4 images' in said
    assert '0 of 13 images are broken' in said
    assert cv2.imread(str(drawn)).std() > 5
    files[0].write_bytes(files[0].read_bytes()[:200])
    assert data(['inspect', str(tmp_path / 'gsv'), f'--picture={drawn}', '--deep']) == 1
    assert f'broken: {files[0]}' in capsys.readouterr().out


def test_inspect_tells_what_can_be_evaluated_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(4):
        picture(tmp_path / 'set' / 'database' / f'{number}.png', number)
        picture(tmp_path / 'set' / 'queries' / f'{number}.png', number + 9)
    (tmp_path / 'set' / 'gt.csv').write_text('query,positives\n0.png,0.png;1.png\n1.png,\n')
    drawn = tmp_path / 'drawn.png'
    assert data(['inspect', str(tmp_path / 'set'), f'--picture={drawn}']) == 0
    said = capsys.readouterr().out
    assert '4 database images, 2 queries' in said and 'unmatchable: 1 query' in said
    assert drawn.stat().st_size > 1000
    assert data(['inspect', str(tmp_path / 'nothing')]) == 2
    assert 'no such folder' in capsys.readouterr().err


def test_gsv_xs_names_stop_where_zones_are_in_some_of_them(tmp_path: Path) -> None:
    (name, *_) = write_gsv_xs(tmp_path, {'Town': {5: 2}})
    fields = name.split('@')
    picture(tmp_path / 'train' / 'Town' / '@'.join([*fields[:3], '', *fields[4:]]))
    with pytest.raises(DatasetError, match='no UTM zone in this name, but in others'):
        open_places(config(tmp_path))


def test_images_of_a_town_without_a_place_are_told(tmp_path: Path) -> None:
    write_gsv_xs(tmp_path, {'Town': {5: 2}})
    picture(tmp_path / 'train' / 'Town' / 'overview.jpg')
    (tmp_path / 'train' / 'Town' / 'a.heic').write_bytes(b'')
    said = str(open_places(config(tmp_path)))
    assert 'left out: 1 image without a place in its name' in said
    assert 'left out: 1 file .heic is not supported' in said
