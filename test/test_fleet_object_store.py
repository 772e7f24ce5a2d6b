"""A fleet's store in object storage, by the real LanceDB and a server of the S3 protocol.

The server is moto's, which stands in for AWS: the protocol is real, S3 itself is not. The tests
run where VPR_S3_SERVER names that program:

    python3 -m venv outputs/moto
    outputs/moto/bin/pip install -r requirements/test-object-store.txt
    VPR_S3_SERVER=$PWD/outputs/moto/bin/moto_server make test ARGS=test/test_fleet_object_store.py
"""

import importlib.util
import json
import os
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet_maps import drive, require_same_places
from fleet_world import FleetProcess
from waiting import until
from worlds import contents

from vpr_ros.core.mapping.header import map_id
from vpr_ros.core.mapping.place_map import PlaceMap

SERVER = os.environ.get('VPR_S3_SERVER')
SECRET = 'hunter22-hunter22-hunter22'
pytestmark = [
    pytest.mark.skipif(
        not importlib.util.find_spec('lancedb'),
        reason='lancedb is missing (requirements/fleet.txt)',
    ),
    pytest.mark.skipif(
        SERVER is None,
        reason='needs VPR_S3_SERVER (see the head of test_fleet_object_store.py)',
    ),
]


@pytest.fixture(scope='module')
def endpoint() -> Iterator[str]:
    """A server of S3 with one bucket, `robots`."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    address = f'http://127.0.0.1:{port}'
    assert SERVER
    server = subprocess.Popen(
        [SERVER, '-H', '127.0.0.1', '-p', f'{port}'],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def has_bucket() -> bool:
        request = urllib.request.Request(f'{address}/robots', method='PUT')
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.URLError:
            return False

    try:
        until(has_bucket, f'no S3 at {address}')
        yield address
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope='module')
def engine(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetProcess]:
    process = FleetProcess(
        tmp_path_factory.mktemp('object store'),
        {
            'AWS_ENDPOINT_URL': endpoint,
            'AWS_ALLOW_HTTP': 'true',
            'AWS_DEFAULT_REGION': 'us-east-1',
            'AWS_ACCESS_KEY_ID': 'robot',
            'AWS_SECRET_ACCESS_KEY': SECRET,
        },
    )
    yield process
    process.close()


@pytest.fixture
def fleet(request: pytest.FixtureRequest) -> str:
    return f's3://robots/{request.node.name}'


def test_a_store_in_a_bucket_does_what_one_in_a_folder_does(
    engine: FleetProcess, tmp_path: Path, fleet: str
) -> None:
    first = drive(tmp_path / 'first', landmarks='cells')
    second = drive(tmp_path / 'second', seed=1, north_m=30.0)
    said = engine.refused('push', first, '--fleet', fleet)
    assert 'give --new with the first push, from one computer only' in said
    engine.done('push', first, '--fleet', fleet, '--new')
    engine.done('push', second, '--fleet', fleet)
    assert 'nothing added' in engine.done('push', first, '--fleet', fleet)

    engine.done('pull', '--fleet', fleet, '--version', '2', '--output', tmp_path / 'back')
    sent, back = PlaceMap.open(first), PlaceMap.open(tmp_path / 'back')
    require_same_places(sent, back)
    assert map_id(back.header) == map_id(sent.header)
    engine.done('pull', '--fleet', fleet, '--near', '5,30,2', '--output', tmp_path / 'cut')
    assert PlaceMap.open(tmp_path / 'cut').names == [f'1/{row}.jpg' for row in range(3, 8)]

    said = engine.done('fleet', fleet, '--rollback', '2')
    assert said == f'{fleet}: version 4 equals version 2\n'
    engine.done('pull', '--fleet', fleet, '--output', tmp_path / 'again')
    assert contents(tmp_path / 'again') == contents(tmp_path / 'back')
    listed = json.loads(engine.done('fleet', fleet, '--json'))
    assert [one['places'] for one in listed['versions']] == [10, 20, 10, 0]


def test_robots_that_push_to_a_bucket_at_once_all_arrive(
    engine: FleetProcess, tmp_path: Path, fleet: str
) -> None:
    maps = [drive(tmp_path / f'{n}', seed=n, north_m=9.0 * n) for n in range(4)]
    engine.done('push', maps[0], '--fleet', fleet, '--new')
    pushes = [['push', str(one), '--fleet', fleet, '--robot', one.name] for one in maps[1:]]
    answers = engine.do('at_once', commands=pushes)
    assert [status for status, _, _ in answers] == [0, 0, 0], answers
    listed = json.loads(engine.done('fleet', fleet, '--json'))
    assert sorted(one['robot'] for one in listed['parts'])[:3] == ['1', '2', '3']
    assert [one['places'] for one in listed['versions']] == [40, 30, 20, 10, 0]
    assert engine.do('rows', fleet=fleet) == 40


def test_a_push_to_a_bucket_that_meets_a_rollback_tries_again(
    engine: FleetProcess, tmp_path: Path, fleet: str
) -> None:
    for n in range(2):
        folder = drive(tmp_path / f'{n}', seed=n, north_m=9.0 * n)
        engine.done('push', folder, '--fleet', fleet, *['--new'][n:])
    third = drive(tmp_path / 'third', seed=2)
    (status, said, _), met = engine.do('conflicts', fleet=fleet, folder=str(third), always=False)
    assert (status, met) == (0, 1) and '10 places in 1 part added' in said
    engine.done('pull', '--fleet', fleet, '--output', tmp_path / 'all')
    assert len(PlaceMap.open(tmp_path / 'all')) == 20  # the first, and the third


def test_credentials_get_into_no_map_and_no_message(
    engine: FleetProcess, tmp_path: Path, fleet: str
) -> None:
    said = [engine.done('push', drive(tmp_path / 'map'), '--fleet', fleet, '--new')]
    said += [engine.done('fleet', fleet)]
    said += [engine.done('pull', '--fleet', fleet, '--output', tmp_path / 'back')]
    said += [engine.refused('fleet', 's3://no-such-bucket/fleet')]
    assert said[-1] == 'error: s3://no-such-bucket/fleet: The specified bucket does not exist'
    assert SECRET not in ''.join(said)
    for content in contents(tmp_path / 'back').values():
        assert SECRET.encode() not in content and b's3://' not in content
