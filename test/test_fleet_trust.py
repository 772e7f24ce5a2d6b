"""What a stranger wrote into a store makes no map, and what is secret gets into none."""

import shutil
from pathlib import Path

import pytest
from fleet_maps import drive, refused_pull
from fleet_world import FleetProcess
from worlds import contents, straight_drive, unit_rows, write_map

from vpr_ros.fleet.address import checked_address, without_secrets


@pytest.mark.parametrize(
    ('what', 'said'),
    [
        ('landmark behind', 'a landmark -1 m in front of its camera'),
        ('landmark on the lens', 'a landmark 0 m in front of its camera'),
        ('nan landmark', 'a landmark contains NaN'),
        ('infinite sigma', 'deviation of a landmark is below 0 or not finite'),
        ('negative sigma', 'deviation of a landmark is below 0 or not finite'),
        ('moved landmark', 'is not what its id says'),
        ('many landmarks', '8193 landmarks of a place, expected at most 8192'),
    ],
)
def test_hostile_landmarks_are_refused(
    engine: FleetProcess, tmp_path: Path, fleet: Path, what: str, said: str
) -> None:
    engine.done('push', drive(tmp_path / 'day', landmarks='cells'), '--fleet', fleet)
    engine.do('forge', fleet=str(fleet), what=what)
    assert said in refused_pull(engine, fleet, tmp_path / 'out')


@pytest.mark.parametrize(
    ('column', 'value', 'said'),
    [
        ('landmark_points', "X'00'", 'expected 12 and 2 and 4 for each'),
        ('landmark_sigmas', "X'0000'", 'expected 12 and 2 and 4 for each'),
        ('landmark_descriptors', "X''", 'expected 12 and 2 and 4 for each'),
        ('landmark_descriptors', 'NULL', "'landmark_descriptors' has empty values"),
        ('landmark_id', 'id', 'differs from the name of the table'),
    ],
)
def test_landmarks_that_were_changed_are_refused(
    engine: FleetProcess, tmp_path: Path, fleet: Path, column: str, value: str, said: str
) -> None:
    engine.done('push', drive(tmp_path / 'day', landmarks='cells'), '--fleet', fleet)
    engine.do('tamper', fleet=str(fleet), column=column, value=value)
    assert said in refused_pull(engine, fleet, tmp_path / 'out')


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'landmark_features': ''}, "column 'landmark_descriptors' is binary, expected none"),
        ({'landmark_features': 'root-sift'}, 'expected 12 and 2 and 128 for each'),
        ({'landmark_features': 'xfeat'}, "details are damaged (landmarks of 'xfeat'"),
        ({'camera': None}, 'details are damaged'),
        ({'camera': {'width_px': 64}}, 'details are damaged'),
    ],
)
def test_a_part_that_says_other_landmarks_than_it_has_is_refused(
    engine: FleetProcess, tmp_path: Path, fleet: Path, changes: dict[str, object], said: str
) -> None:
    engine.done('push', drive(tmp_path / 'day', landmarks='cells'), '--fleet', fleet)
    engine.do('tamper_details', fleet=str(fleet), changes=changes)
    assert said in refused_pull(engine, fleet, tmp_path / 'out')


@pytest.mark.parametrize(
    ('what', 'said'),
    [
        ('infinite descriptor', 'a descriptor of norm inf, expected 1'),
        ('long descriptor', 'a descriptor of norm 3, expected 1'),
        ('nan pose', 'contains NaN'),
        ('no quaternion', 'quaternion norm 0, expected 1'),
        ('path upwards', "the name '../../etc/passwd'"),
        ('escape', r"the name 'a\x1b[2Jb.jpg'"),
        ('two lines', r"the name 'a.jpg\nb.jpg'"),
        ('large thumbnail', 'a thumbnail of 1048577 bytes'),
    ],
)
def test_hostile_places_are_refused_and_the_old_map_stays(
    engine: FleetProcess, tmp_path: Path, fleet: Path, what: str, said: str
) -> None:
    engine.done('push', drive(tmp_path / 'day'), '--fleet', fleet)
    engine.do('forge', fleet=str(fleet), what=what)
    write_map(tmp_path / 'old', unit_rows(3, 4), straight_drive(3))
    before = contents(tmp_path / 'old')
    assert said in engine.refused('pull', '--fleet', fleet, '--output', tmp_path / 'old')
    assert contents(tmp_path / 'old') == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ['day', 'fleet', 'old']


@pytest.mark.parametrize(
    ('column', 'value', 'said'),
    [
        ('z', '1000.0', 'is not what its id says'),
        ('name', "'x.jpg'", 'is not what its id says'),
        ('id', 'NULL', "'id' has empty values"),
        ('x', 'NULL', "'x' has empty values"),
        ('thumbnail', 'NULL', "'thumbnail' has empty values"),
        ('row', '0', 'differs from the name of the table'),
    ],
)
def test_places_that_were_changed_are_refused(
    engine: FleetProcess, tmp_path: Path, fleet: Path, column: str, value: str, said: str
) -> None:
    engine.done('push', drive(tmp_path / 'day'), '--fleet', fleet)
    engine.do('tamper', fleet=str(fleet), column=column, value=value)
    assert said in refused_pull(engine, fleet, tmp_path / 'out')


@pytest.mark.parametrize(
    ('column', 'value', 'said'),
    [
        ('push', "'x'", 'expected a digest'),
        ('part', "'../../x'", 'expected a digest'),
        ('places', '-1', 'has -1 places'),
        ('places', '12', 'holds 10 places, expected 12'),
        ('x_max', "CAST('NaN' AS DOUBLE)", 'x_max of a part'),
        ('robot', 'NULL', 'robot of a part is None'),
        ('details', "'{}'", 'details are damaged'),
        ('details', "'[[['", 'details are damaged'),
        ('model_sha256', f"'{'b' * 64}'", 'is not what its id says'),
    ],
)
def test_parts_that_were_changed_are_refused(
    engine: FleetProcess, tmp_path: Path, fleet: Path, column: str, value: str, said: str
) -> None:
    engine.done('push', drive(tmp_path / 'day'), '--fleet', fleet)
    engine.do('tamper_parts', fleet=str(fleet), column=column, value=value)
    assert said in refused_pull(engine, fleet, tmp_path / 'out')


def test_rows_that_come_in_another_order_than_asked_for_are_refused(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    engine.done('push', drive(tmp_path / 'day'), '--fleet', fleet)
    argv = ['pull', '--fleet', str(fleet), '--output', str(tmp_path / 'out')]
    status, out, err = engine.do('with_rows_in_another_order', argv=argv)
    assert (status, out) == (2, '')
    assert 'the rows came in another order than requested; try again' in err
    assert not (tmp_path / 'out').exists()


def test_words_of_strangers_do_not_reach_the_terminal_raw(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    engine.done('push', drive(tmp_path / 'day'), '--fleet', fleet)
    engine.do('tamper_parts', fleet=str(fleet), column='note', value="'\x1b[2J'")
    assert '\x1b' not in engine.done('fleet', fleet) + engine.done('fleet', fleet, '--json')
    said = engine.refused('push', tmp_path / 'day', '--fleet', fleet, '--note', 'two\nlines')
    assert '--note' in said


def test_missing_places_and_other_columns_are_refused(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    engine.done('push', drive(tmp_path / 'day'), '--fleet', fleet)
    engine.do('other_columns', fleet=str(fleet))
    said = refused_pull(engine, fleet, tmp_path / 'out')
    assert "column 'descriptor' is fixed_size_list<item: double>" in said
    engine.done('push', drive(tmp_path / 'day'), '--fleet', tmp_path / 'second')
    engine.do('forget_rows', fleet=str(tmp_path / 'second'), where='row = 3')
    said = refused_pull(engine, tmp_path / 'second', tmp_path / 'out')
    assert 'the digest of its 9 places differs' in said
    lost = next((tmp_path / 'second').glob('places_*.lance'))
    shutil.rmtree(lost)
    another = drive(tmp_path / 'another', seed=1)
    for command in (['pull', '--output', tmp_path / 'out'], ['push', another]):
        said = engine.refused(*command, '--fleet', tmp_path / 'second')
        part = lost.stem.removeprefix('places_')[:12]
        assert f'the places of part {part} are missing; restore the store from a copy' in said


@pytest.mark.parametrize(
    'address',
    [
        's3://user:hunter22@bucket/x',
        's3://bucket/x?token=hunter22',
        'db://hunter22',
        'gs://b/#hunter22',
    ],
)
def test_addresses_with_secrets_are_refused_without_repeating_them(
    engine: FleetProcess, tmp_path: Path, address: str
) -> None:
    day = drive(tmp_path / 'day')
    for arguments in (
        ('push', day, '--fleet', address),
        ('pull', '--fleet', address, '--output', tmp_path / 'out'),
        ('fleet', address),
    ):
        status, out, err = engine.map(*arguments)
        assert status == 2 and 'hunter22' not in out + err
    assert sorted(path.name for path in tmp_path.iterdir()) == ['day']


def test_no_credential_of_the_environment_is_in_a_map_or_a_store(
    engine: FleetProcess, tmp_path: Path, fleet: Path
) -> None:
    engine.done('push', drive(tmp_path / 'day'), '--fleet', fleet)
    engine.done('pull', '--fleet', fleet, '--output', tmp_path / 'out')
    for content in (contents(tmp_path / 'out') | contents(fleet)).values():
        assert b'very-secret-value' not in content
    assert str(fleet) not in (tmp_path / 'out' / 'map.yaml').read_text()


def test_what_the_engine_says_is_cleaned_of_secrets() -> None:
    said = 'PUT https://me:pw1234@host/x?sig=abc%20 failed\n with key s3cr3t-key-value, true'
    environment = {
        'A_TOKEN': 's3cr3t-key',  # also where it begins another one
        'AWS_SECRET_ACCESS_KEY': 's3cr3t-key-value',
        'USE_KEYS': 'true',
    }
    cleaned = without_secrets(said, environment)
    assert cleaned == 'PUT https://***@host/x?*** failed with key ***, true'
    assert checked_address('/a folder/x@y?z') == '/a folder/x@y?z'
