"""A fleet's maps in a store, by the real LanceDB in a process of its own."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fleet_maps import drive, refused_pull, require_same_places
from fleet_world import FleetProcess
from worlds import contents, straight_drive, unit_rows, write_map

from vpr_ros.core.errors import FleetError
from vpr_ros.core.mapping.files import LARGE_BYTES
from vpr_ros.core.mapping.header import map_id, read_header, write_header
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.processor import Processor
from vpr_ros.core.types import Datum
from vpr_ros.fleet import listing, pull
from vpr_ros.fleet.address import checked_address
from vpr_ros.fleet.engine import arrow, ask, require_processor
from vpr_ros.fleet.records import PartRecord
from vpr_ros.map_care.edit import merge, slimmed

needs_engine = pytest.mark.skipif(
    not importlib.util.find_spec('lancedb'), reason='lancedb is missing (requirements/fleet.txt)'
)


def listed(engine: FleetProcess, fleet: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(engine.done('fleet', fleet, '--json'))
    return found


@needs_engine
def test_a_library_that_refuses_numpy_1_is_told_with_the_one_that_takes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(name: str) -> None:
        raise ImportError(f'{name} requires NumPy 2.0 or newer, found 1.26.4')

    monkeypatch.setattr('importlib.import_module', refused)
    with pytest.raises(FleetError, match=r"found 1\.26\.4\); pip install 'pyarrow<26'"):
        arrow()


def test_a_pushed_map_comes_back_as_it_was(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    parts = [drive(tmp_path / f'{n}', seed=n, north_m=50.0 * n) for n in range(3)]
    merge([PlaceMap.open(part) for part in parts], tmp_path / 'all')
    said = engine.done('push', tmp_path / 'all', '--fleet', fleet, '--robot', 'r2')
    assert said == f'{fleet}: version 2, 30 places in 3 parts added\n'
    engine.done('pull', '--fleet', fleet, '--output', tmp_path / 'back')
    sent, back = PlaceMap.open(tmp_path / 'all'), PlaceMap.open(tmp_path / 'back')
    require_same_places(sent, back)
    assert back.part_starts.tolist() == [0, 10, 20, 30]
    assert map_id(back.header) == map_id(sent.header)
    assert back.header.model_sha256 == sent.header.model_sha256
    np.testing.assert_array_equal(back.grid.place_of_cell, sent.grid.place_of_cell)


def test_what_is_there_already_is_not_added_again(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    day = drive(tmp_path / 'day')
    engine.done('push', day, '--fleet', fleet)
    for robot in ('same', 'other'):
        said = engine.done('push', day, '--fleet', fleet, '--robot', robot)
        assert said == f'{fleet}: version 2 has all of the map already (1 part), nothing added\n'
    engine.done('pull', '--fleet', fleet, '--near', '3,0,2.5', '--output', tmp_path / 'cut')
    said = engine.done('push', tmp_path / 'cut', '--fleet', fleet)
    assert 'nothing added' in said
    assert engine.do('rows', fleet=str(fleet)) == 10

    merge([PlaceMap.open(day), PlaceMap.open(drive(tmp_path / 'b', seed=1))], tmp_path / 'both')
    said = engine.done('push', tmp_path / 'both', '--fleet', fleet)
    assert 'version 3, 10 places in 1 part added' in said
    assert engine.do('rows', fleet=str(fleet)) == 20


def test_a_part_is_known_by_its_files_or_else_by_its_places(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    day = drive(tmp_path / 'day', landmarks='cells')

    def pushed(folder: Path) -> tuple[str, int]:
        said, read = engine.do('places_read', argv=['push', str(folder), '--fleet', str(fleet)])
        return said, read

    said, read = pushed(day)
    assert '10 places in 1 part added' in said and read == 10
    known = f'{fleet}: version 2 has all of the map already (1 part), nothing added\n'
    assert pushed(day) == (known, 0)
    engine.done('pull', '--fleet', fleet, '--output', tmp_path / 'back')
    assert pushed(tmp_path / 'back') == (known, 0)
    engine.do('tamper_details', fleet=str(fleet), changes={'files': ''})  # as in an older store
    said, read = pushed(day)
    assert 'has all of the map already (1 part)' in said and read == 10


def changed(folder: Path, what: str) -> Path:
    """The same drive as drive(folder, landmarks='cells') but for one number of a place."""
    drive(folder, landmarks='cells')
    part = folder / 'parts/0000'
    if what == 'name':
        text = (part / 'names.txt').read_text()
        (part / 'names.txt').write_text(text.replace('0/7.jpg', '0/8.jpg'))
    elif what == 'thumbnail':
        content = bytearray((part / 'thumbnails.bin').read_bytes())
        content[170] ^= 1
        (part / 'thumbnails.bin').write_bytes(content)
    else:
        array = np.load(part / f'{what}.npy')
        row = array.reshape(len(array), -1)[len(array) // 2]
        if what == 'descriptors':
            row[:] = np.roll(row, 1)  # stays of unit length
        else:
            row[0] += 1
        np.save(part / f'{what}.npy', array)
    write_header(folder, replace(read_header(folder), files=None))
    return folder


def test_a_part_with_any_change_is_never_taken_for_the_one_that_the_fleet_has(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    engine.done('push', drive(tmp_path / 'map', landmarks='cells'), '--fleet', fleet)
    changes = (
        'name', 'thumbnail', 'poses', 'stamps_ns', 'descriptors', 'cells', 'landmark_points',
        'landmark_sigmas', 'landmark_descriptors',
    )  # fmt: skip
    for number, what in enumerate(changes):
        said = engine.done('push', changed(tmp_path / what, what), '--fleet', fleet)
        assert f'version {number + 3}, 10 places in 1 part added' in said, what


def test_a_large_file_that_was_changed_where_its_samples_are_not_is_refused(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    """Opening a map checks a large file by samples, which miss a single bit."""
    folder = drive(tmp_path / 'map', places=80, thumbnail_bytes=900_000)
    path = folder / 'parts/0000/thumbnails.bin'
    assert path.stat().st_size > LARGE_BYTES
    engine.done('push', folder, '--fleet', fleet)
    with path.open('r+b') as file:
        file.seek(100_000)
        file.write(b'!')
    assert len(PlaceMap.open(folder)) == 80
    said = engine.refused('push', folder, '--fleet', fleet)
    assert 'thumbnails.bin: sha256' in said and 'the file is damaged' in said


def test_a_map_in_half_precision_comes_back_in_it(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    """Part by part: beside one of single precision, both stay what they were."""
    slimmed(PlaceMap.open(drive(tmp_path / 'whole')), tmp_path / 'half', half=True)
    engine.done('push', tmp_path / 'half', '--fleet', fleet)
    engine.done('pull', '--fleet', fleet, '--output', tmp_path / 'back')
    sent, back = PlaceMap.open(tmp_path / 'half'), PlaceMap.open(tmp_path / 'back')
    require_same_places(sent, back)
    assert map_id(back.header) == map_id(sent.header)
    assert back.header.half_descriptors and back.half_places == 10
    assert 'nothing added' in engine.done('push', tmp_path / 'back', '--fleet', fleet)

    engine.done('push', drive(tmp_path / 'other', seed=1), '--fleet', fleet)
    engine.done('pull', '--fleet', fleet, '--output', tmp_path / 'both')
    both = PlaceMap.open(tmp_path / 'both')
    assert (len(both), both.half_places) == (20, 10)
    other = PlaceMap.open(tmp_path / 'other').descriptors_of(np.arange(10))
    np.testing.assert_array_equal(both.descriptors_of(np.arange(10, 20)), other)


def test_numbers_that_half_precision_would_change_are_not_taken_for_halves(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    engine.done('push', drive(tmp_path / 'whole'), '--fleet', fleet)
    engine.do('tamper_details', fleet=str(fleet), changes={'half_descriptors': True})
    said = refused_pull(engine, fleet, tmp_path / 'map')
    assert 'descriptors of half precision, but theirs have more digits' in said


def test_a_cut_has_exactly_the_places_within_the_radius_in_their_order(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    everything = []
    for n in range(3):
        folder = drive(tmp_path / f'{n}', places=40, seed=n, north_m=3.0 * n)
        engine.done('push', folder, '--fleet', fleet)
        everything.append(PlaceMap.open(folder))
    x, y, radius = 17.0, 4.0, 5.0  # 14, 0 and 21, 1 lie on its edge: 3, 4 and 5
    alone = ('--distractors', '0')
    engine.done(
        'pull', '--fleet', fleet, f'--near={x},{y},{radius}', *alone, '--output', tmp_path / 'cut'
    )
    cut = PlaceMap.open(tmp_path / 'cut')
    wanted = [
        f'{n}/{row}.jpg'
        for n, place_map in enumerate(everything)
        for row in range(40)
        if (place_map.poses[row, 0] - x) ** 2 + (place_map.poses[row, 1] - y) ** 2 <= radius**2
    ]
    assert cut.names == wanted
    assert '0/14.jpg' in wanted and '0/20.jpg' in wanted and '0/13.jpg' not in wanted
    assert len(cut.header.parts) == 3

    engine.done('pull', '--fleet', fleet, '--near=-3,0,3', *alone, '--output', tmp_path / 'edge')
    edge = PlaceMap.open(tmp_path / 'edge')
    assert (edge.names, edge.header.command) == (['0/0.jpg'], 'map pull within 3 m of -3, 0')
    before = contents(tmp_path / 'cut')
    said = engine.refused(
        'pull', '--fleet', fleet, '--near', '691234.5,5334567.25,5', '--output', tmp_path / 'cut'
    )
    assert 'version 4 has no place within 5 m of 691234.5, 5334567.25' in said
    assert contents(tmp_path / 'cut') == before


def test_equal_versions_give_equal_bytes_and_a_rollback_destroys_nothing(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    for n in range(2):
        folder = drive(tmp_path / f'{n}', seed=n, north_m=9.0 * n)
        engine.done('push', folder, '--fleet', fleet, '--robot', f'r{n}')

    def pulled(name: str, *options: str) -> dict[str, bytes]:
        engine.done('pull', '--fleet', fleet, *options, '--output', tmp_path / name)
        return contents(tmp_path / name)

    newest = pulled('a')
    assert pulled('b') == newest == pulled('c', '--version', '3')
    older = pulled('d', '--version', '2')
    assert older != newest
    said = engine.done('fleet', fleet, '--rollback', '2')
    assert said == f'{fleet}: version 4 equals version 2\n'
    assert pulled('e') == older and pulled('f', '--version', '3') == newest
    said = engine.done('push', tmp_path / '1', '--fleet', fleet, '--robot', 'r1')
    assert 'version 5, 10 places in 1 part added, 1 of them sent before' in said
    assert pulled('g') == newest
    assert engine.do('rows', fleet=str(fleet)) == 20
    assert 'version 5 is already the newest' in engine.refused('fleet', fleet, '--rollback', '5')
    assert 'no version 9' in engine.refused('fleet', fleet, '--rollback', '9')
    assert 'no version 9' in refused_pull(engine, fleet, tmp_path / 'h', '--version', '9')
    far = str(2**64)  # more than the library counts to
    assert f'no version {far};' in refused_pull(engine, fleet, tmp_path / 'h', '--version', far)

    changes = {one['version']: one['change'] for one in listed(engine, fleet)['versions']}
    assert changes == {
        1: 'empty',
        2: '1 part of r0',
        3: '1 part of r1',
        4: 'rolled back to 2',
        5: '1 part of r1',
    }
    for version in ('2', '3'):  # forward again
        engine.done('fleet', fleet, '--rollback', version)
    changes = {one['version']: one['change'] for one in listed(engine, fleet)['versions']}
    assert (changes[6], changes[7]) == ('rolled back to 2', 'rolled back to 3')


def test_a_listing_tells_drives_extents_models_conditions_and_who_pushed(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    day = drive(tmp_path / 'day', north_m=2.0)
    dusk = drive(tmp_path / 'dusk', seed=1)
    engine.done('push', day, '--fleet', fleet, '--robot', 'r1', '--condition', 'day')
    engine.done(
        'push', dusk, '--fleet', fleet, '--robot', 'r2', '--condition', 'dusk', '--note', 'wet'
    )
    said = engine.done('fleet', fleet)
    assert re.search(r'version +3, content [0-9a-f]{12}: 20 places in 2 parts', said)
    assert re.search(r'model +model-a \(a{12}\) 20', said)
    assert re.search(r'condition +day 10, dusk 10', said)
    assert re.search(r'0\.0\.\.9\.0, 2\.0\.\.2\.0 +day +r1 +2\S+ +day\.bag', said)
    assert re.search(r'dusk +r2 +2\S+ +dusk\.bag +wet', said)
    parts = listed(engine, fleet)['parts']
    assert [(one['robot'], one['condition'], one['y_max'], one['note']) for one in parts] == [
        ('r1', 'day', 2.0, ''),
        ('r2', 'dusk', 0.0, 'wet'),
    ]
    assert parts[0].items() >= {
        'places': 10, 'x_min': 0.0, 'x_max': 9.0, 'y_min': 2.0, 'first_stamp_ns': 0,
        'last_stamp_ns': 9 * 10**9, 'source': 'day.bag',
        'model_name': 'model-a', 'model_sha256': 'a' * 64,
    }.items()  # fmt: skip
    engine.done('pull', '--fleet', fleet, '--condition', 'dusk', '--output', tmp_path / 'cut')
    assert PlaceMap.open(tmp_path / 'cut').names[0] == '1/0.jpg'
    said = refused_pull(engine, fleet, tmp_path / 'x', '--condition', 'x')
    assert 'has no places of condition x' in said
    assert 'and 1 older' in engine.done('fleet', fleet, '--versions', '2')
    said = engine.done('fleet', fleet, '--versions', '1')
    assert 'and 2 older' in said and re.search(r' 20 +1 part of r2$', said, re.M)


def test_several_models_live_side_by_side_and_a_cut_is_of_one(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    for model in 'ab':
        folder = drive(tmp_path / model, model=model * 64, cells=model == 'a')
        engine.done('push', folder, '--fleet', fleet)
    said = refused_pull(engine, fleet, tmp_path / 'x')
    assert 'model-a (aaaaaaaaaaaa), model-b (bbbbbbbbbbbb); choose one model with --model' in said
    for asked in ('model-b', 'bbbb'):
        engine.done('pull', '--fleet', fleet, '--model', asked, '--output', tmp_path / asked)
        assert PlaceMap.open(tmp_path / asked).header.model_sha256 == 'b' * 64
    said = refused_pull(engine, fleet, tmp_path / 'x', '--model', 'c')
    assert 'no places of model c' in said

    other = drive(tmp_path / 'other', seed=3, model='a' * 64, cells=False)
    said = engine.refused('push', other, '--fleet', fleet)
    assert 'cells None, expected 16 and (3, 4, 16)' in said


def test_another_coordinate_frame_is_refused_and_another_origin_is_shifted(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    datum = Datum(33, 'U', 1000.0, 2000.0)
    engine.done('push', drive(tmp_path / 'first', datum=datum), '--fleet', fleet)
    moved = Datum(33, 'U', 1100.0, 1950.0)
    engine.done('push', drive(tmp_path / 'moved', seed=1, datum=moved), '--fleet', fleet)
    engine.done('pull', '--fleet', fleet, '--output', tmp_path / 'all')
    both = PlaceMap.open(tmp_path / 'all')
    assert both.header.datum == datum
    np.testing.assert_allclose(both.poses[10:13, :2], [[100, -50], [101, -50], [102, -50]])
    for number, stranger in enumerate(
        (
            drive(tmp_path / 'zone', datum=Datum(32, 'U', 1000.0, 2000.0)),
            drive(tmp_path / 'local', frame_id='map'),
        )
    ):
        said = engine.refused('push', stranger, '--fleet', fleet)
        assert ('UTM zone 32U', 'frame map')[number] in said
        assert 'expected UTM zone 33U as the fleet has them' in said


def test_landmarks_of_networks_and_calibrations_are_said_to_be_left_out(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    golden = Path(__file__).parent / 'golden_maps'
    status, _, notes = engine.map('push', golden / 'xfeat_landmarks', '--fleet', fleet)
    assert status == 0 and 'its landmarks are left out' in notes and 'networks' in notes
    engine.done('pull', '--fleet', fleet, '--output', tmp_path / 'bare')
    assert not PlaceMap.open(tmp_path / 'bare').has_landmarks
    for name in ('first', 'appended', 'newest', 'sift_landmarks'):
        engine.done('push', golden / name, '--fleet', fleet)
    status, _, notes = engine.map('push', golden / 'calibrated', '--fleet', fleet)
    assert status == 0 and 'its calibration is left out' in notes
    engine.done('pull', '--fleet', fleet, '--output', tmp_path / 'all')
    assert PlaceMap.open(tmp_path / 'all').header.landmark_features == 'root-sift'


def landmark_files(folder: Path, part: int = 0) -> dict[str, bytes]:
    place_files = folder / f'parts/{part:04d}'
    return {path.name: path.read_bytes() for path in sorted(place_files.glob('landmark_*.npy'))}


@pytest.mark.parametrize('kind', ['cells', 'sift'])
def test_landmarks_without_networks_come_back_as_they_were(
    engine: FleetProcess, tmp_path: Path, fleet: Path, kind: str
) -> None:
    marked = drive(tmp_path / 'marked', places=20, landmarks=kind)
    bare = drive(tmp_path / 'bare', seed=1, north_m=30.0)
    merge([PlaceMap.open(bare), PlaceMap.open(marked)], tmp_path / 'both')
    status, _, notes = engine.map('push', tmp_path / 'both', '--fleet', fleet)
    assert status == 0 and 'left out' not in notes
    for name in ('back', 'again'):
        engine.done('pull', '--fleet', fleet, '--output', tmp_path / name)
    sent, back = PlaceMap.open(tmp_path / 'both'), PlaceMap.open(tmp_path / 'back')
    require_same_places(sent, back)
    assert len(landmark_files(marked)) == 4
    assert landmark_files(tmp_path / 'back', 1) == landmark_files(marked)
    assert landmark_files(tmp_path / 'back', 0) == {}
    assert map_id(back.header) == map_id(sent.header)
    assert back.header.camera == sent.header.camera is not None
    assert back.features().name == sent.features().name
    assert contents(tmp_path / 'back') == contents(tmp_path / 'again')

    engine.done('pull', '--fleet', fleet, '--near', '8,0,3.5', '--output', tmp_path / 'cut')
    cut = PlaceMap.open(tmp_path / 'cut')
    assert cut.names[:7] == [f'0/{row}.jpg' for row in range(5, 12)]
    for row in range(7):
        found, wanted = cut.landmarks(row), PlaceMap.open(marked).landmarks(row + 5)
        assert found is not None and wanted is not None
        np.testing.assert_array_equal(found.points_m, wanted.points_m)
    for pulled in ('both', 'back', 'cut'):
        assert 'nothing added' in engine.done('push', tmp_path / pulled, '--fleet', fleet)


def test_landmarks_of_another_size_than_their_kind_has_are_not_sent(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    marked = drive(tmp_path / 'marked', landmarks='cells')
    write_header(marked, replace(read_header(marked), landmark_features='root-sift'))
    said = engine.refused('push', marked, '--fleet', fleet)
    assert f'{marked}: landmarks of 4 numbers, expected 128 as root-sift has them' in said
    assert listed(engine, fleet)['places'] == 0


def test_the_same_places_with_landmarks_are_added_and_a_cut_has_each_place_once_with_them(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    bare, marked = drive(tmp_path / 'bare'), drive(tmp_path / 'marked', landmarks='cells')
    engine.done('push', bare, '--fleet', fleet)
    assert '10 places in 1 part added' in engine.done('push', marked, '--fleet', fleet)
    engine.done('pull', '--fleet', fleet, '--output', tmp_path / 'all')
    assert len(PlaceMap.open(tmp_path / 'all')) == 10
    assert landmark_files(tmp_path / 'all') == landmark_files(marked)
    assert 'nothing added' in engine.done('push', bare, '--fleet', fleet)

    second = tmp_path / 'second'
    engine.done('push', marked, '--fleet', second)
    assert 'nothing added' in engine.done('push', bare, '--fleet', second)


def test_a_cut_keeps_the_landmarks_of_one_kind_and_says_so(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    for number, (kind, focal_px) in enumerate([('cells', 50.0), ('sift', 50.0), ('cells', 51.0)]):
        folder = drive(
            tmp_path / f'{number}',
            seed=number,
            north_m=9.0 * number,
            landmarks=kind,
            focal_px=focal_px,
        )
        engine.done('push', folder, '--fleet', fleet)
    status, _, notes = engine.map('pull', '--fleet', fleet, '--output', tmp_path / 'all')
    assert status == 0 and '1 of 3 parts has landmarks of another kind than cells' in notes
    assert 'made by different cameras' in notes and 'different lenses' not in notes
    header = PlaceMap.open(tmp_path / 'all').header
    assert header.camera == read_header(tmp_path / '0').camera
    for number in (0, 2):
        assert landmark_files(tmp_path / 'all', number) == landmark_files(tmp_path / f'{number}')
    assert landmark_files(tmp_path / 'all', 1) == {}
    assert 'nothing added' in engine.done('push', tmp_path / 'all', '--fleet', fleet)

    narrow = drive(tmp_path / '3', seed=3, north_m=30.0, landmarks='cells', focal_px=70.0)
    engine.done('push', narrow, '--fleet', fleet)
    _, _, notes = engine.map('pull', '--fleet', fleet, '--output', tmp_path / 'both')
    assert 'the parts were mapped through different lenses' in notes

    engine.done('pull', '--fleet', fleet, '--near', '5,9,3', '--output', tmp_path / 'sift')
    assert PlaceMap.open(tmp_path / 'sift').header.landmark_features == 'root-sift'


def test_a_store_from_before_landmarks_is_read_and_pushed_to(
    engine: FleetProcess, tmp_path: Path
) -> None:
    # Written by `map push` of the first program that had it, from drive(tmp_path / 'bare').
    old = Path(__file__).parent / 'golden_fleet'
    fleet = Path(shutil.copytree(old, tmp_path / 'fleet'))
    bare = drive(tmp_path / 'bare')
    engine.done('pull', '--fleet', fleet, '--output', tmp_path / 'back')
    require_same_places(PlaceMap.open(bare), PlaceMap.open(tmp_path / 'back'))
    assert not PlaceMap.open(tmp_path / 'back').has_landmarks
    assert 'nothing added' in engine.done('push', bare, '--fleet', fleet)
    marked = drive(tmp_path / 'marked', landmarks='cells')
    assert '10 places in 1 part added' in engine.done('push', marked, '--fleet', fleet)


def test_a_folder_without_a_fleet_is_said_to_be_none(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    for arguments in (('fleet', fleet), ('pull', '--fleet', fleet, '--output', tmp_path / 'out')):
        assert 'no fleet here; make one with map push' in engine.refused(*arguments)
    spaced = tmp_path / 'my fleet'
    assert f"--fleet '{spaced}'" in engine.refused('fleet', spaced)
    assert 'X,Y,R in metres' in engine.refused(
        'pull', '--fleet', fleet, '--near', '1,2', '--output', tmp_path / 'out'
    )


def test_a_processor_without_avx2_is_told_before_the_library_is_loaded() -> None:
    old = Processor('old', frozenset({'sse4_2', 'avx'}))
    with pytest.raises(FleetError, match='no AVX2'):
        require_processor(old, machine='x86_64')
    require_processor(old, machine='aarch64')
    require_processor(Processor('not told', frozenset()), machine='x86_64')
    require_processor(Processor('new', old.abilities | {'avx2'}), machine='x86_64')


def test_a_pulled_map_says_its_model_and_a_model_folder_must_be_that(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    from worlds import write_tiny_model

    model = write_tiny_model(tmp_path / 'model')
    day = drive(tmp_path / 'day')
    engine.done('push', day, '--fleet', fleet)
    said = engine.refused(
        'pull', '--fleet', fleet, '--model', tmp_path / 'model', '--output', tmp_path / 'out'
    )
    assert 'no places of model tiny, only of model-a' in said
    write_map(
        tmp_path / 'own',
        unit_rows(3, model.card.descriptor_size),
        straight_drive(3),
        model_sha256=model.card.sha256,
    )
    engine.done('push', tmp_path / 'own', '--fleet', fleet)
    engine.done(
        'pull', '--fleet', fleet, '--model', tmp_path / 'model', '--output', tmp_path / 'out'
    )
    assert read_header(tmp_path / 'out').model_sha256 == model.card.sha256


@pytest.mark.parametrize('name', ['memory:x', 'shared-memory:x', 'file:x', '~nobody-here'])
def test_a_name_that_the_engine_knows_as_something_else_is_a_folder(
    engine: FleetProcess, tmp_path: Path, name: str
) -> None:
    command = [sys.executable, '-m', 'vpr_ros.map', 'push', drive(tmp_path / 'day')]
    subprocess.run([*command, '--fleet', name], cwd=tmp_path, check=True)
    assert (tmp_path / name / 'parts.lance').is_dir()
    said = engine.done('pull', '--fleet', tmp_path / name, '--output', tmp_path / 'cut')
    assert '10 places' in said


@pytest.mark.parametrize('address', ['memory:/x', 's3:/bucket/x', 'file:/x', 'robot:/mnt/fleet'])
def test_an_address_with_one_slash_is_refused(
    engine: FleetProcess, tmp_path: Path, address: str
) -> None:
    day = drive(tmp_path / 'day')
    for arguments in (('push', day, '--fleet', address), ('fleet', address)):
        said = engine.refused(*arguments)
        assert 'neither a folder nor a kind of store; write s3://bucket/fleet' in said
    with pytest.raises(FleetError, match='neither') as caught:
        checked_address('s3:/me:hunter22@bucket/x')
    assert 'hunter22' not in str(caught.value)
    assert checked_address('./memory:/x') == './memory:/x'


def test_looking_for_a_fleet_makes_no_folder(engine: FleetProcess, tmp_path: Path) -> None:
    missing = tmp_path / 'mistyped' / 'fleet'
    for arguments in (
        ('fleet', missing),
        ('fleet', missing, '--rollback', '1'),
        ('pull', '--fleet', missing, '--output', tmp_path / 'out'),
    ):
        assert 'no fleet here' in engine.refused(*arguments)
    assert not list(tmp_path.iterdir())


def test_a_link_that_leads_nowhere_and_one_in_a_circle_are_refused(
    engine: FleetProcess, tmp_path: Path
) -> None:
    day = drive(tmp_path / 'day')
    (tmp_path / 'nowhere').symlink_to(tmp_path / 'missing')
    (tmp_path / 'circle').symlink_to(tmp_path / 'circle')
    said = engine.refused('push', day, '--fleet', tmp_path / 'nowhere')
    assert 'nowhere: cannot be written (File exists)' in said
    said = engine.refused('push', day, '--fleet', tmp_path / 'circle')
    assert 'circle: cannot be read (Too many levels of symbolic links)' in said


@pytest.mark.parametrize('size', [0, 100])
def test_a_file_of_the_store_that_was_cut_short_is_refused_with_the_next_step(
    engine: FleetProcess, tmp_path: Path, fleet: Path, size: int
) -> None:
    engine.done('push', drive(tmp_path / 'day'), '--fleet', fleet)
    (table,) = fleet.glob('places_*/data/*')
    with table.open('r+b') as file:
        file.truncate(size)
    said = refused_pull(engine, fleet, tmp_path / 'out')
    assert 'restore the store from a copy, or push the maps to another fleet' in said


@pytest.mark.parametrize(
    ('said', 'told'),
    [
        (
            'lance error: LanceError(IO): No space left on device (os error 28) at path "/f/x", '
            '/root/.cargo/lance-io/src/local.rs:1:2',
            'No space left on device',
        ),
        (
            'Invalid input, Failed to connect to namespace: Io { path: Some("/f/x"), '
            'err: Os { code: 13, kind: PermissionDenied, message: "Permission denied" } }',
            'Permission denied',
        ),
    ],
)
def test_an_error_of_the_system_is_told_in_its_words(said: str, told: str) -> None:
    def failing() -> None:
        raise RuntimeError(said)

    for reads in (False, True):
        with pytest.raises(FleetError) as caught:
            ask('/f', failing, reads=reads)
        assert str(caught.value) == f'/f: {told}'


def test_a_listing_names_the_drive_of_each_part_of_a_joined_map_and_of_its_cut(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    parts = [drive(tmp_path / name, seed=seed) for seed, name in enumerate(('one', 'two'))]
    merge([PlaceMap.open(part) for part in parts], tmp_path / 'both', command='map merge one two')
    engine.done('push', tmp_path / 'both', '--fleet', fleet)
    engine.done('pull', '--fleet', fleet, '--output', tmp_path / 'cut')
    engine.done('push', tmp_path / 'cut', '--fleet', tmp_path / 'second')
    for address in (fleet, tmp_path / 'second'):
        found = [one['source'] for one in listed(engine, address)['parts']]
        assert found == ['one.bag', 'two.bag']


def test_a_listing_names_the_drive_of_each_part_of_a_map_of_an_earlier_program(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    parts = [drive(tmp_path / name, seed=seed) for seed, name in enumerate(('one', 'two'))]
    merge([PlaceMap.open(part) for part in parts], tmp_path / 'both', command='map merge one two')
    header = replace(read_header(tmp_path / 'both'), part_sources=())
    (joined,) = header.changes
    appended = replace(joined, command='map append both --bag two.bag', source='two.bag')
    for changes, drives in (
        ((appended,), ['one.bag', 'two.bag']),
        ((appended, replace(joined, command='map prune both', source='')), ['one.bag and 1 more']),
    ):
        write_header(tmp_path / 'both', replace(header, changes=changes))
        engine.done('push', tmp_path / 'both', '--fleet', fleet / f'{len(changes)}')
        assert [one['source'] for one in listed(engine, fleet / f'{len(changes)}')['parts']] == (
            drives if len(drives) == 2 else 2 * drives
        )


def test_a_listing_counts_a_place_that_several_parts_hold_once_as_a_pull_takes_it(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    same = drive(tmp_path / 'bare')
    for number, (folder, condition) in enumerate(
        (
            (same, 'day'),
            (drive(tmp_path / 'marked', landmarks='cells'), 'dusk'),
            (drive(tmp_path / 'other', seed=1), 'day'),  # at the same times and positions
        )
    ):
        said = engine.done('push', folder, '--fleet', fleet, '--condition', condition)
        assert f'version {number + 2}, 10 places in 1 part added' in said

    found = listed(engine, fleet)
    assert [one['places'] for one in found['parts']] == [10, 10, 10]
    assert [one['places'] for one in found['versions']] == [20, 10, 10, 0]
    assert found['places'] == 20
    said = engine.done('fleet', fleet)
    assert 'condition day 20, dusk 10\n' in said and ': 20 places in 3 parts\n' in said
    for asked, places in (((), 20), (('--condition', 'dusk'), 10), (('--version', '3'), 10)):
        engine.done('pull', '--fleet', fleet, *asked, '--output', tmp_path / 'cut')
        assert len(PlaceMap.open(tmp_path / 'cut')) == places

    damaged = found['parts'][1]['part']
    shutil.rmtree(fleet / f'places_{damaged}.lance')
    assert listed(engine, fleet)['places'] == 30  # as the parts say


def test_the_first_push_to_a_folder_says_that_it_made_a_store_and_where(
    engine: FleetProcess, tmp_path: Path
) -> None:
    """As at a mount point whose share is not mounted."""
    (tmp_path / 'mnt').mkdir()
    (tmp_path / 'link').symlink_to('mnt')
    place = tmp_path / 'link' / 'fleet'
    said = f'note: this is the first push to a new store, in the folder {tmp_path}/mnt/fleet;'
    for seed in range(2):
        pushed = 'push', drive(tmp_path / f'{seed}', seed=seed), '--fleet', place
        status, out, notes = engine.map(*pushed)
        assert (status, out) == (0, f'{place}: version {seed + 2}, 10 places in 1 part added\n')
        assert notes.startswith(said) == (seed == 0)


def record(number: int, **changed: object) -> PartRecord:
    """A part of the fleet's map, as far as a listing looks at it."""
    said = dict.fromkeys(
        ('push', 'model_name', 'condition', 'note', 'pushed_at', 'source', 'made_at', 'details'),
        '',
    )
    known = dict.fromkeys(('x_min', 'y_min', 'x_max', 'y_max'), 0.0)
    known |= dict.fromkeys(('places', 'first_stamp_ns', 'last_stamp_ns', 'sequence', 'number'), 1)
    named = {'part': f'{number}', 'model_sha256': 'a' * 64, 'robot': f'r{number}'}
    return PartRecord(**(said | known | named | changed))


@pytest.mark.parametrize(
    ('x_m', 'y_m', 'away_m'),
    [
        (5, 2, 0),
        (10, 4, 0),
        (13, 2, 3),
        (-2, 1, 2),
        (5, -2, 2),
        (6, 9, 5),
        (13, 8, 5),
        (-3, -4, 5),
    ],
)
def test_a_part_is_near_a_circle_that_reaches_its_extent(
    x_m: float, y_m: float, away_m: float
) -> None:
    part = record(1, x_min=0.0, x_max=10.0, y_min=0.0, y_max=4.0)
    assert part.is_near(x_m, y_m, away_m + 0.1) and part.is_near(x_m, y_m, away_m)
    assert not away_m or not part.is_near(x_m, y_m, away_m - 0.1)


def test_parts_that_may_share_a_place_are_those_of_the_plain_loop() -> None:
    """By model, time and position, where the last place of one may be the first of another."""
    random = np.random.default_rng(0)
    for _ in range(100):
        records = []
        for number in range(6):
            begin, x, y = random.integers(0, 8, 3).tolist()
            last, width, height = random.integers(0, 4, 3).tolist()
            records.append(
                record(
                    number,
                    model_sha256='ab'[random.integers(2)] * 64,
                    first_stamp_ns=begin,
                    last_stamp_ns=begin + last,
                    x_min=float(x),
                    x_max=float(x + width),
                    y_min=float(y),
                    y_max=float(y + height),
                )
            )
        expected = {
            one.part
            for one in records
            for other in records
            if one is not other
            and one.model_sha256 == other.model_sha256
            and one.first_stamp_ns <= other.last_stamp_ns
            and other.first_stamp_ns <= one.last_stamp_ns
            and max(one.x_min, other.x_min) <= min(one.x_max, other.x_max)
            and max(one.y_min, other.y_min) <= min(one.y_max, other.y_max)
        }
        assert {one.part for one in listing._overlapping(records)} == expected


def test_what_happened_between_two_versions_is_said() -> None:
    one, two, three = (record(number) for number in range(1, 4))
    for before, after, twin, said in (
        ([], [], None, 'empty'),
        ([], [two, one], None, '2 parts of r1, r2'),
        ([one], [one, record(4, robot='')], None, '1 part of no name'),
        ([one, two], [one, two], 2, 'the same parts'),
        ([one, two], [one], 2, 'rolled back to 2'),
        ([one], [one, two], 2, 'rolled back to 2'),
        ([one, two, three], [one], None, 'rolled back: 2 parts less'),
    ):
        assert listing._change(before, after, twin) == said


def test_a_cut_of_cameras_that_are_mounted_differently_says_whose_mounting_counts() -> None:
    level = {'base_T_camera': np.array([0.0, 0, 1, 0, 0, 0, 1]), 'camera': None}
    higher = level | {'base_T_camera': np.array([0.0, 0, 1.1, 0, 0, 0, 1])}

    def cut(*details: dict[str, object]) -> list[SimpleNamespace]:
        form = SimpleNamespace(landmarks='')
        return [
            SimpleNamespace(form=form, record=SimpleNamespace(form=form, known_details=each))
            for each in details
        ]

    assert list(pull._notes(cut(level, level))) == []
    (note,) = pull._notes(cut(level, level, higher))
    assert 'mounted in different ways' in note and 'that of the first part' in note
