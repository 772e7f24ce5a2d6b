"""`map` as a user types it: it looks into a map, grows it, keeps it small, and gives it away."""

import json
import re
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
from conftest import ROOT
from worlds import (
    CELLS,
    cell_bits,
    straight_drive,
    unit_rows,
    write_map,
    write_posed_folder,
    write_tiny_model,
)

from vpr_ros import build_map, map
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.mapping.header import MapHeader, map_id, read_header
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.writer import build
from vpr_ros.core.types import Datum
from vpr_ros.drives import open_drive
from vpr_ros.drives.geographic import datum_at, degrees_of
from vpr_ros.map_care import export
from vpr_ros.map_care.export import export_csv, export_images, export_npz, export_tum
from vpr_ros.map_care.facts import facts, size_on_disk, table

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model/, and three drives: places 0 to 11, 8 to 19, and 3 to 8."""
    folder = tmp_path_factory.mktemp('world')
    write_tiny_model(folder / 'model')
    write_posed_folder(folder / 'day', range(12))
    write_posed_folder(folder / 'further', range(8, 20))
    write_posed_folder(folder / 'query', range(3, 9))
    return folder


@pytest.fixture
def mapped(world: Path, tmp_path: Path) -> Path:
    """A map of day/."""
    arguments = ['--model', str(world / 'model'), '--output', str(tmp_path / 'map')]
    assert build_map.main([*arguments, '--bag', str(world / 'day')]) == 0
    return tmp_path / 'map'


def append(world: Path, mapped: Path, drive: str, *options: str) -> int:
    model = str(world / 'model')
    return map.main(
        ['append', str(mapped), '--model', model, '--bag', str(world / drive), *options]
    )


def test_info_tells_what_is_in_a_map_and_what_was_done_to_it(
    world: Path, mapped: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert append(world, mapped, 'further') == 0
    picture = tmp_path / 'picture.png'
    capsys.readouterr()
    assert map.main(['info', str(mapped), '--picture', str(picture)]) == 0
    said = capsys.readouterr().out
    assert re.search(r'places +24 in 2 parts', said)
    assert re.search(r'extent +190\.0 x 0\.0 x 0\.0 m', said)
    assert re.search(r'spacing +10\.00 m', said)
    assert re.search(r'model +tiny \([0-9a-f]{12}\)', said)
    assert 'made by               build_map --model' in said
    assert re.search(r'then +24 places at \S+ by map append', said)
    assert picture.read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('known', [True, False])
def test_info_tells_what_is_known_of_poses_and_camera(tmp_path: Path, known: bool) -> None:
    header = MapHeader(
        model_name='t',
        model_sha256='a' * 64,
        descriptor_size=8,
        has_heading=known,
        mounting_known=known,
        datum=Datum(33, 'U', 500_000.0, 5_450_000.0) if known else None,
    )
    poses = straight_drive(4, spacing_m=3.0)
    poses[:, :3] += [[100, 50, 2], [100, 51, 2], [100, 50, 2.5], [100, 54, 2]]
    with build(tmp_path / 'map', header) as writer:
        for row, pose in zip(unit_rows(4, 8), poses):
            writer.add(row, pose, stamp_ns=0, name='', thumbnail=b'')
    told = dict(facts(PlaceMap.open(tmp_path / 'map')))
    assert told['extent'] == '9.0 x 4.0 x 0.5 m'
    assert told['headings'] == ('known' if known else 'not known')
    assert told['mounting'] == ('known' if known else 'not known, assumed to look forward')
    assert told['descriptors'] == '8 numbers each'
    each = (4 * 8 * 4 + 128) // 4  # four rows of eight floats, behind the 128 bytes of their form
    assert f'(descriptors {each}, ' in told['a place']
    datum = 'UTM zone 33U, 500000.0 east, 5450000.0 north'
    assert told.get('datum') == (datum if known else None)


def test_the_size_of_a_map_names_its_three_largest_files(tmp_path: Path) -> None:
    place_map = write_map(tmp_path / 'map', unit_rows(40, 4096), straight_drive(40))
    files = [path for path in (tmp_path / 'map').rglob('*') if path.is_file()]
    files.sort(key=lambda path: -path.stat().st_size)
    total = sum(path.stat().st_size for path in files)
    shares = ', '.join(f'{path.name} {path.stat().st_size / 1e6:.1f}' for path in files[:3])
    assert size_on_disk(place_map.header, place_map.folder) == f'{total / 1e6:.1f} MB ({shares})'


def test_an_appended_drive_is_found_by_the_map(world: Path, mapped: Path, capsys: Capture) -> None:
    assert append(world, mapped, 'further', '--every', '20m') == 0
    said = capsys.readouterr().out
    assert '12 images read, 6 places mapped' in said
    assert '12 places before, 18 now in 2 parts' in said
    np.testing.assert_allclose(
        PlaceMap.open(mapped).poses[12:, 0], [80, 100, 120, 140, 160, 180], atol=1e-6
    )


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['append', 'map', '--bag', 'day'], 'which is not a shipped model'),
        (['append', 'map', '--bag', 'nowhere', '--model', 'model'], 'nowhere'),
        (['append', 'map', '--bag', 'day', '--model', 'other'], 'made with model tiny'),
        (['append', 'map', '--images', 'plain', '--model', 'model'], 'no poses in it'),
        (['append', 'map', '--images', 'utm', '--model', 'model'], 'expected frame map'),
        (['info', 'day'], 'no map here'),
        (['check', 'day'], 'no map here'),
        (['export', 'map'], 'expected at least one of --tum'),
        (['export', 'map', '--geojson', 'out'], 'no position on the Earth'),
        (['export', 'map', '--csv', '/nowhere/out'], 'cannot be written'),
        (['export', 'map', '--images', 'model'], 'exists and is not a posed folder'),
        (['export', 'map', '--images', 'note.txt'], 'exists and is not a posed folder'),
        (['export', 'map', '--tum', 'out', '--csv', './out'], '--tum and --csv: both write out'),
        (['export', 'map', '--slim', 'new', '--half', '--images', 'new'], 'both write new'),
        (['merge', 'map', 'nowhere', '--output', 'all'], 'no map here'),
        (['prune', 'map', '--distance', '-1'], '--distance'),
        (['prune', 'map', '--bag', 'plain', '--model', 'model'], 'has no poses, expected true'),
    ],
)
def test_what_cannot_be_done_is_one_line_and_the_map_stays(
    world: Path,
    mapped: Path,
    tmp_path: Path,
    arguments: list[str],
    said: str,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ('model', 'day'):
        (tmp_path / name).symlink_to(world / name)
    if 'other' in arguments:
        write_tiny_model(tmp_path / 'other', name='other', grid=4)
    for name in ('plain', 'utm'):
        (tmp_path / name).mkdir()
    (tmp_path / 'note.txt').write_text('mine')
    image = (world / 'day' / 'images' / '000000.jpg').read_bytes()
    (tmp_path / 'plain' / '0.jpg').write_bytes(image)
    (tmp_path / 'utm' / '@500000.0@5000000.0@33@T@@@@@90@@@@@@.jpg').write_bytes(image)
    monkeypatch.chdir(tmp_path)
    before = map_id(read_header(mapped))
    capsys.readouterr()
    assert map.main(arguments) == 2
    *notes, error = capsys.readouterr().err.splitlines()
    assert said in error and all(line.startswith('note: ') for line in notes)
    assert map_id(PlaceMap.open(mapped).header) == before


def test_a_drive_from_another_origin_than_the_maps_is_refused(
    world: Path, tmp_path: Path, capsys: Capture
) -> None:
    image = (world / 'day' / 'images' / '000000.jpg').read_bytes()
    folder, model = tmp_path / 'utm', ['--model', str(world / 'model')]
    folder.mkdir()
    (folder / '@500000.0@5000000.0@33@T@@@@@90@@@@@@.jpg').write_bytes(image)
    mapped, drive = str(tmp_path / 'map'), ['--images', str(folder)]
    assert build_map.main([*drive, *model, '--output', mapped]) == 0
    datum = PlaceMap.open(tmp_path / 'map').header.datum
    assert datum is not None
    north, east = degrees_of(datum.east_m, datum.north_m, datum.utm_zone, datum.utm_letter)
    for degrees, status in ((north, 0), (north + 0.001, 2)):
        given = ['--datum', f'{degrees:.9f},{east:.9f}']
        assert map.main(['append', mapped, *drive, *model, *given]) == status
    said = "positions from an origin that lies 111.1 m away from the map's; leave out --datum"
    assert said in capsys.readouterr().err
    assert len(PlaceMap.open(tmp_path / 'map')) == 2


def test_check_is_content_with_a_good_map_and_fails_on_a_damaged_one(
    mapped: Path, capsys: Capture
) -> None:
    assert map.main(['check', str(mapped)]) == 0
    said = capsys.readouterr().out
    assert re.search(r'files +6, all as map.yaml says', said)
    assert re.search(r'duplicates +0', said)
    (mapped / 'parts/0000/names.txt').write_text('x')
    assert map.main(['check', str(mapped)]) == 1
    assert 'names.txt: sha256' in capsys.readouterr().out
    (mapped / 'map.yaml').write_text('format_version: 1')
    assert map.main(['check', str(mapped)]) == 1
    assert 'map.yaml: damaged' in capsys.readouterr().out


def test_the_report_shows_what_was_found_and_needs_no_other_file(
    tmp_path: Path, capsys: Capture
) -> None:
    rows, poses = unit_rows(40, 16), straight_drive(40)
    rows[30] = rows[2]  # alike, and 28 m apart before the gap
    poses[20:, 0] += 30
    poses[6], rows[6] = poses[5], rows[5]
    write_map(tmp_path / 'map', rows, poses)
    report = tmp_path / 'check.html'
    assert map.main(['check', str(tmp_path / 'map'), '--report', str(report)]) == 0
    said = capsys.readouterr().out
    assert re.search(r'look-alike places +\d', said) and 'looks like' in said
    assert '31.0 m and 1.0 s from 19 at (19.0, 0.0) to 20 at (50.0, 0.0)' in said
    assert re.search(r'duplicates +1, which `map prune` leaves out', said)
    page = report.read_text()
    for title in (
        'Where it lies',
        'Places that look alike and lie apart',
        'Gaps in the route',
        'Images that show little',
        'Duplicates',
        'The map',
    ):
        assert f'<h2>{title}</h2>' in page
    assert 'data:image/jpeg;base64,' in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    (tmp_path / 'map' / 'parts/0000/names.txt').write_text('x')
    assert map.main(['check', str(tmp_path / 'map'), '--report', str(report)]) == 1
    assert 'names.txt: sha256' in report.read_text()


def test_pruning_leaves_out_what_was_driven_twice_and_keeps_the_recall(
    world: Path, mapped: Path, capsys: Capture
) -> None:
    assert append(world, mapped, 'day') == 0
    capsys.readouterr()
    query = ['--bag', str(world / 'query'), '--model', str(world / 'model')]
    assert map.main(['prune', str(mapped), *query]) == 0
    said = capsys.readouterr().out
    assert '24 places, 12 of them redundant' in said
    assert said.count('R@1 1.000') == 2 and '(6 queries of the bag)' in said
    pruned = PlaceMap.open(mapped)
    assert len(pruned) == 12 and pruned.header.parts == ['parts/0000']
    assert pruned.header.changes[-1].command.startswith('map prune')


def test_a_drive_that_leads_past_no_place_does_not_let_pruning_pass(
    world: Path, mapped: Path, tmp_path: Path, capsys: Capture
) -> None:
    write_posed_folder(tmp_path / 'elsewhere', range(100, 104))
    asked = ['--bag', str(tmp_path / 'elsewhere'), '--model', str(world / 'model')]
    coarse = ['--distance', '15', '--similarity', '-1', '--output', str(tmp_path / 'small')]
    assert map.main(['prune', str(mapped), *coarse, *asked]) == 2
    assert 'not one of 4 queries has a true place within 5 m' in capsys.readouterr().err
    assert not (tmp_path / 'small').exists()


def test_pruning_that_would_cost_recall_is_refused_or_only_measured(
    mapped: Path, capsys: Capture
) -> None:
    """Places ten metres apart that stand for each other within 15 m: half of them is left."""
    coarse = ['--distance', '15', '--similarity', '-1', '--radius', '12']
    assert map.main(['prune', str(mapped), *coarse]) == 1
    said = capsys.readouterr().out
    assert '12 places, 6 of them redundant' in said and 'nothing written' in said
    for allowed in ('0', '1'):
        assert (
            map.main(['prune', str(mapped), *coarse, '--dry-run', '--max-recall-drop', allowed])
            == 0
        )
        assert len(PlaceMap.open(mapped)) == 12
    assert map.main(['prune', str(mapped), *coarse, '--max-recall-drop', '1']) == 0
    assert len(PlaceMap.open(mapped)) == 6


def test_merging_shows_the_recall_of_each_map_and_of_all(
    world: Path, mapped: Path, tmp_path: Path, capsys: Capture
) -> None:
    model, other, both = (
        str(world / 'model'),
        str(tmp_path / 'other'),
        str(tmp_path / 'both'),
    )
    build_map.main(['--model', model, '--bag', str(world / 'further'), '--output', other])
    query = ['--bag', str(world / 'query'), '--model', model]
    capsys.readouterr()
    assert map.main(['merge', str(mapped), other, '--output', both, *query]) == 0
    said = capsys.readouterr().out.splitlines()
    shares = [float(found[1]) for line in said if (found := re.search(r'R@1 ([\d.]+)', line))]
    assert shares == [1.0, pytest.approx(1 / 6, abs=1e-3), 1.0]
    assert '24 places in 2 parts' in said[-1]


def test_every_form_is_written_under_a_name_that_is_no_text(mapped: Path, tmp_path: Path) -> None:
    for name in ('tum', 'csv', 'npz', 'faiss'):
        path = tmp_path / f'b\udce4.{name}'
        assert map.main(['export', str(mapped), f'--{name}', str(path)]) == 0
        assert path.stat().st_size > 0


def test_exported_poses_are_the_maps(
    mapped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, '_ADDED_AT_ONCE', 5)  # so that the index is made in pieces
    files = {name: tmp_path / name for name in ('tum', 'csv', 'npz', 'faiss')}
    options = [word for name, path in files.items() for word in (f'--{name}', str(path))]
    assert map.main(['export', str(mapped), *options]) == 0
    place_map = PlaceMap.open(mapped)
    rows = np.loadtxt(files['tum'])
    np.testing.assert_allclose(rows[:, 1:], place_map.poses, atol=1e-8)
    np.testing.assert_allclose(rows[:, 0], place_map.stamps_ns / 1e9, atol=1e-6)
    lines = files['csv'].read_text().splitlines()
    assert lines[0] == 'image,stamp_s,x,y,z,qx,qy,qz,qw' and len(lines) == 13
    assert lines[2].startswith('000001.jpg,1.100000000,10.000000000,')
    arrays = np.load(files['npz'], allow_pickle=False)
    np.testing.assert_array_equal(arrays['descriptors'], place_map.blocks[0])
    np.testing.assert_array_equal(arrays['poses'], place_map.poses)
    np.testing.assert_array_equal(arrays['stamps_ns'], place_map.stamps_ns)
    assert arrays['names'].tolist() == place_map.names
    index = faiss.read_index(str(files['faiss']))
    queries = unit_rows(5, place_map.header.descriptor_size)
    np.testing.assert_array_equal(
        index.search(queries, 4)[1], place_map.index.search(queries, 4)[1]
    )


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
from vpr_ros import map
sys.exit(map.main(sys.argv[1:]))
"""


@pytest.mark.parametrize('form', ['tum', 'csv', 'npz', 'faiss'])
def test_an_export_that_does_not_fit_on_the_disk_leaves_the_old_file(
    tmp_path: Path, form: str
) -> None:
    write_map(tmp_path / 'map', unit_rows(30, 16), straight_drive(30))
    target = tmp_path / 'out' / form
    target.parent.mkdir()
    target.write_text('old')
    words = ['export', str(tmp_path / 'map'), f'--{form}', str(target)]
    command = [sys.executable, '-c', LIMITED, *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr == f'error: {target}: cannot be written (File too large)\n'
    assert target.read_text() == 'old' and len(list(target.parent.iterdir())) == 1


def test_exported_stamps_keep_nanoseconds(tmp_path: Path) -> None:
    # Lines of TUM go by time, rows of a table do not. The last is before the start of the clock.
    stamps_ns = np.array([10**9 + 50, 5, -1_500_000_000])
    place_map = write_map(
        tmp_path / 'map', unit_rows(3, 8), straight_drive(3), stamps_ns=stamps_ns
    )
    export_tum(place_map, tmp_path / 'poses.tum')
    lines = [line.split() for line in (tmp_path / 'poses.tum').read_text().splitlines()]
    assert [line[0] for line in lines] == ['-1.500000000', '0.000000005', '1.000000050']
    assert [float(line[1]) for line in lines] == [2.0, 1.0, 0.0]
    export_csv(place_map, tmp_path / 'poses.csv')
    rows = [line.split(',') for line in (tmp_path / 'poses.csv').read_text().splitlines()[1:]]
    assert [row[1] for row in rows] == ['1.000000050', '0.000000005', '-1.500000000']


def test_exported_cells_are_the_maps(tmp_path: Path) -> None:
    bits = cell_bits(3)
    place_map = write_map(tmp_path / 'map', unit_rows(3, 8), straight_drive(3), cells=bits)
    export_npz(place_map, tmp_path / 'map.npz')
    rows, columns, numbers = CELLS
    with np.load(tmp_path / 'map.npz', allow_pickle=False) as arrays:
        cells = arrays['cells']
    np.testing.assert_array_equal(cells, bits.reshape(3, rows, columns, numbers // 8))


def test_exported_thumbnails_are_a_drive_again(world: Path, mapped: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'folder'
    for _ in range(2):  # the second replaces the first
        assert map.main(['export', str(mapped), '--images', str(folder)]) == 0
    drive = open_drive(folder)
    assert drive.trajectory is not None and len(drive) == 12
    place_map = PlaceMap.open(mapped)
    np.testing.assert_allclose(drive.trajectory.poses, place_map.poses, atol=1e-8)
    again = ['--model', str(world / 'model'), '--output', str(tmp_path / 'again')]
    assert build_map.main([*again, '--bag', str(folder)]) == 0
    rows = PlaceMap.open(tmp_path / 'again').blocks[0]
    assert (np.sum(rows * place_map.blocks[0], axis=1) > 0.99).all()


@pytest.mark.parametrize('known', [True, False])
def test_exported_thumbnails_keep_the_mounting_of_the_camera(tmp_path: Path, known: bool) -> None:
    mounting = (0.3, -0.1, 1.2, 0.5, -0.5, 0.5, -0.5)
    header = MapHeader(
        model_name='t',
        model_sha256='a' * 64,
        descriptor_size=8,
        base_T_camera=mounting,
        mounting_known=known,
    )
    with build(tmp_path / 'map', header) as writer:
        picture = encode_jpeg(np.zeros((8, 8, 3), np.uint8))
        pose = straight_drive(1)[0]
        writer.add(unit_rows(1, 8)[0], pose, stamp_ns=0, name='', thumbnail=picture)
    export_images(PlaceMap.open(tmp_path / 'map'), tmp_path / 'folder')
    drive = open_drive(tmp_path / 'folder')
    assert drive.mounting_known == known
    assert np.allclose(drive.base_T_camera, mounting) == known


def test_a_map_without_headings_is_not_exported_as_a_drive_that_has_some(
    tmp_path: Path, capsys: Capture
) -> None:
    write_map(tmp_path / 'map', unit_rows(2, 8), straight_drive(2), has_heading=False)
    assert map.main(['export', str(tmp_path / 'map'), '--images', str(tmp_path / 'folder')]) == 2
    assert 'has no headings' in capsys.readouterr().err
    assert not (tmp_path / 'folder').exists()


def test_a_geographic_map_is_exported_in_degrees(tmp_path: Path) -> None:
    datum = datum_at(49.2, 16.6)
    poses = straight_drive(3, spacing_m=100.0)
    poses[:, 1] = 30.0 * np.arange(3)
    header = MapHeader(model_name='t', model_sha256='a' * 64, descriptor_size=8, datum=datum)
    with build(tmp_path / 'map', header) as writer:
        for row, pose in enumerate(poses):
            writer.add(unit_rows(3, 8)[row], pose, stamp_ns=row, name=f'{row}', thumbnail=b'')
    assert map.main(['export', str(tmp_path / 'map'), '--geojson', str(tmp_path / 'out')]) == 0
    found = json.loads((tmp_path / 'out').read_text())
    assert found['type'] == 'FeatureCollection' and len(found['features']) == 3
    points = np.array([feature['geometry']['coordinates'] for feature in found['features']])
    np.testing.assert_allclose(points[0], [16.6, 49.2], atol=1e-6)  # longitude first
    zone, letter = datum.utm_zone, datum.utm_letter
    expected = [
        degrees_of(datum.east_m + x, datum.north_m + y, zone, letter) for x, y in poses[:, :2]
    ]
    np.testing.assert_allclose(points[:, ::-1], expected, atol=1e-9)
    assert found['features'][1]['properties'] == {
        'place': 1,
        'image': '1',
        'stamp_s': '0.000000001',
    }


def test_a_map_of_unknown_zone_has_no_degrees(tmp_path: Path, capsys: Capture) -> None:
    datum = Datum(0, '', 5.0, 5.0)
    header = MapHeader(model_name='t', model_sha256='a' * 64, descriptor_size=8, datum=datum)
    with build(tmp_path / 'map', header) as writer:
        pose = straight_drive(1)[0]
        writer.add(unit_rows(1, 8)[0], pose, stamp_ns=0, name='', thumbnail=b'')
    assert map.main(['export', str(tmp_path / 'map'), '--geojson', str(tmp_path / 'out')]) == 2
    assert 'no position on the Earth' in capsys.readouterr().err


def test_a_folder_with_a_long_name_does_not_touch_its_figures() -> None:
    said = table([('outputs/first/merged', '1'), ('a/folder/of/a/longer/name', '2')]).splitlines()
    assert said == ['outputs/first/merged       1', 'a/folder/of/a/longer/name  2']


def test_recall_of_own_places_leaves_each_out(tmp_path: Path, capsys: Capture) -> None:
    """Two drives past the same ten places: each is found by the other drive's, not by itself."""
    rows = unit_rows(10, 16)
    poses = straight_drive(10, spacing_m=50.0)
    write_map(
        tmp_path / 'map', np.concatenate([rows, rows[:5]]), np.concatenate([poses, poses[:5]])
    )
    assert map.main(['prune', str(tmp_path / 'map'), '--dry-run', '--similarity', '2']) == 2
    capsys.readouterr()
    assert map.main(['prune', str(tmp_path / 'map'), '--dry-run']) == 0
    said = capsys.readouterr().out
    assert '15 places, 5 of them redundant' in said
    assert 'before                R@1 0.667' in said and '15 queries of its own places' in said
    assert 'after                 R@1 0.333' in said
    assert map.main(['prune', str(tmp_path / 'map'), '--dry-run', '--distance', '0']) == 0
    assert len(PlaceMap.open(tmp_path / 'map')) == 15


def test_a_map_without_redundant_places_is_not_written_anew(
    tmp_path: Path, capsys: Capture
) -> None:
    write_map(tmp_path / 'map', unit_rows(10, 16), straight_drive(10, spacing_m=50.0))
    before = (tmp_path / 'map' / 'map.yaml').read_bytes()
    for more in ([], ['--output', str(tmp_path / 'smaller')]):
        assert map.main(['prune', str(tmp_path / 'map'), *more]) == 0
        assert capsys.readouterr().out == '10 places, 0 of them redundant\n'
    assert (tmp_path / 'map' / 'map.yaml').read_bytes() == before
    assert not (tmp_path / 'smaller').exists()
