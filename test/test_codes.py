"""Codes find what an exact comparison with every row finds, and what they say is exact."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from worlds import straight_drive, unit_rows, write_map

from vpr_ros.core.errors import MapError
from vpr_ros.core.mapping import codes as codes_module
from vpr_ros.core.mapping import files as files_module
from vpr_ros.core.mapping.codes import CodedRows, codes_pay, write_codes
from vpr_ros.core.mapping.header import read_header
from vpr_ros.core.mapping.index import CodedIndex, ExactIndex
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.products import products
from vpr_ros.core.types import Descriptors
from vpr_ros.map_care.check import damages
from vpr_ros.map_care.edit import append, keep_places

COUNT = 6000


def clustered_rows(count: int, size: int, seed: int = 0) -> Descriptors:
    """Descriptors whose variance falls along the axes, around a common direction."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(np.random.default_rng(9).standard_normal((size, size)))[0]
    spread = rng.standard_normal((count, size)) / np.sqrt(np.arange(1, size + 1)) @ axes
    rows = spread + 1.5 * axes[0]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def another_look(rows: Descriptors, *, noise: float = 0.5, seed: int = 1) -> Descriptors:
    seen = rows + noise * clustered_rows(len(rows), rows.shape[1], seed)
    return (seen / np.linalg.norm(seen, axis=1, keepdims=True)).astype(np.float32)


def coded(folder: Path, rows: Descriptors) -> CodedRows:
    folder.mkdir()
    np.save(folder / 'descriptors.npy', rows)
    write_codes(folder, rows)
    return CodedRows(folder)


@pytest.mark.parametrize('size', [512, 64, 52, 1100])
def test_the_best_rows_are_found_and_their_similarity_is_exact(tmp_path: Path, size: int) -> None:
    rows = clustered_rows(COUNT, size)
    index = coded(tmp_path / 'part', rows)
    queries = another_look(rows[::60])
    same = 0
    for query in queries:
        ((similarity, found),) = index.search([(query, 10)])
        np.testing.assert_allclose(similarity, rows[found] @ query, atol=1e-5)
        assert (np.diff(similarity) <= 0).all() and len(set(found.tolist())) == 10
        same += found[0] == np.argmax(rows @ query)
    assert same >= 0.99 * len(queries)


def test_more_rows_than_there_are_asked_for_are_all_returned(tmp_path: Path) -> None:
    rows = clustered_rows(600, 64)
    ((similarity, found),) = coded(tmp_path / 'part', rows).search([(rows[3], 600)])
    assert len(similarity) == len(set(found.tolist())) >= 590
    assert found[0] == 3


ON_A_SMALL_DISK = """
import subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from worlds import straight_drive, unit_rows
from vpr_ros.core.errors import MapError
from vpr_ros.core.mapping import codes
from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.core.mapping.writer import build
codes.CODED_FROM_PLACES = codes.CODED_FROM_BYTES = 0
disk = Path(sys.argv[2])
header = MapHeader(model_name='t', model_sha256='a' * 64, descriptor_size=32)
for kibibytes in range(140, 240, 10):
    size = f'size={kibibytes}k'
    subprocess.run(['mount', '-t', 'tmpfs', '-o', size, 'tmpfs', disk], check=True)
    try:
        with build(disk / 'map', header) as writer:
            for row, pose in zip(unit_rows(640, 32), straight_drive(640)):
                writer.add(row, pose, stamp_ns=0, name='')
        print('whole', len(list(disk.glob('map/parts/*/codes_*.faiss'))))
    except MapError as error:
        print(error, [path.name for path in disk.iterdir()])
    subprocess.run(['umount', disk], check=True)
"""


def test_a_disk_that_is_full_before_the_codes_are_written_is_told_in_one_line(
    tmp_path: Path,
) -> None:
    """Where a file is mapped, the system kills who writes to a full disk; faiss sees no error."""
    alone = ['unshare', '--user', '--map-root-user', '--mount']
    try:
        subprocess.run([*alone, 'mount', '-t', 'tmpfs', 'tmpfs', tmp_path], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f'a process may mount no disk of its own here ({error})')
    command = [*alone, sys.executable, '-c', ON_A_SMALL_DISK, str(ROOT / 'test'), str(tmp_path)]
    environment = os.environ | {'OMP_NUM_THREADS': '1'}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    full = f'{tmp_path}/map: cannot be written (No space left on device) []'
    assert set(said) == {full, 'whole 4'} and said == sorted(said)  # on larger disks it is whole


def test_equal_rows_come_in_their_order(tmp_path: Path) -> None:
    rows = clustered_rows(2000, 64)
    rows[[5, 900, 1500]] = rows[5]
    ((_, found),) = coded(tmp_path / 'part', rows).search([(rows[5], 3)])
    assert found.tolist() == [5, 900, 1500]


@pytest.mark.parametrize(
    ('places', 'size', 'pays'),
    [(5000, 400, True), (5000, 399, False), (4999, 512, False), (20_000, 64, False)],
)
def test_codes_are_for_parts_of_many_places_and_bytes(places: int, size: int, pays: bool) -> None:
    assert codes_pay(places, size) == pays


def test_a_part_with_codes_is_not_compared_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = clustered_rows(COUNT, 64)
    index = CodedIndex([rows], [coded(tmp_path / 'part', rows)])

    def few(chosen: Descriptors, vector: Descriptors) -> Descriptors:
        assert len(chosen) < 100
        return products(chosen, vector)

    monkeypatch.setattr('vpr_ros.core.mapping.index.products', few)
    assert index.search(rows[77:78], 5)[1][0, 0] == 77
    assert index.search_among(np.arange(COUNT), rows[77], 5)[1][0] == 77
    assert index.search_beside(rows[77], 5, rows[900], 5)[1][0] == 77


def test_coded_and_plain_parts_are_searched_as_one(tmp_path: Path) -> None:
    blocks = [clustered_rows(50, 64, 3), np.empty((0, 64), np.float32)]
    blocks += [clustered_rows(COUNT, 64), clustered_rows(70, 64, 4)]
    index = CodedIndex(blocks, [None, None, coded(tmp_path / 'part', blocks[2]), None])
    exact = ExactIndex(blocks)
    rows = np.concatenate(blocks)
    queries = another_look(rows[::60], noise=0.2)
    similarity, found = index.search(queries, 5)
    true_similarity, truth = exact.search(queries, 5)
    assert found.shape == similarity.shape == (len(queries), 5)
    assert np.mean(found == truth) > 0.99
    np.testing.assert_allclose(similarity[:, 0], true_similarity[:, 0], atol=1e-5)
    some = np.array([COUNT + 60, 3, 700, 49, 50, COUNT + 49])  # of all parts, in no order
    np.testing.assert_array_equal(index.rows(some), rows[some])
    for query in queries[:5]:
        wanted = rows[some] @ query
        np.testing.assert_allclose(index.similarities_of(some, query), wanted, atol=1e-5)
        np.testing.assert_allclose(index.similar_about(some, query), wanted, atol=5e-3)
        assert (
            index.search_among(some, query, 2)[1].tolist()
            == some[np.argsort(-wanted)[:2]].tolist()
        )
        best = index.search_beside(query, 3, rows[COUNT + 60], 1)
        assert best[1].tolist() == exact.search(query[None], 3)[1][0].tolist()
        assert best[2].tolist() == [COUNT + 60]


def test_the_similarity_of_chosen_rows_is_that_of_all(tmp_path: Path) -> None:
    index = ExactIndex([unit_rows(30, 16), unit_rows(20, 16, 1)])
    query, rows = unit_rows(1, 16, 2)[0], np.array([49, 0, 30, 29, 7])
    np.testing.assert_allclose(
        index.similarities_of(rows, query), index.similarities(query)[rows], atol=1e-6
    )


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps of some thousand places get what maps of many get."""
    monkeypatch.setattr(codes_module, 'CODED_FROM_BYTES', 100_000)
    monkeypatch.setattr(codes_module, 'CODED_FROM_PLACES', 1000)
    monkeypatch.setattr(files_module, 'LARGE_BYTES', 100_000)


@pytest.mark.usefixtures('small_limits')
def test_a_large_map_has_codes_and_a_drive_is_added_without_new_ones(tmp_path: Path) -> None:
    folder = tmp_path / 'map'
    rows = clustered_rows(COUNT, 64)
    write_map(folder, rows, straight_drive(COUNT))
    written = (folder / 'parts/0000/codes_0.faiss').stat().st_ino
    with append(folder, read_header(folder)) as writer:
        pose, more = straight_drive(1)[0], clustered_rows(10, 64, 5)
        for row in more:
            writer.add(row, pose, stamp_ns=0, name='', thumbnail=b'')
    place_map = PlaceMap.open(folder)
    assert isinstance(place_map.index, CodedIndex)
    assert (folder / 'parts/0000/codes_0.faiss').stat().st_ino == written
    assert not (folder / 'parts/0001/codes_0.faiss').exists()
    assert place_map.index.search(more[4:5], 1)[1].tolist() == [[COUNT + 4]]
    assert place_map.index.search(rows[77:78], 1)[1].tolist() == [[77]]
    assert keep_places(place_map, np.arange(COUNT + 10) > 20, folder)
    assert (folder / 'parts/0000/codes_0.faiss').exists()
    assert PlaceMap.open(folder).index.search(rows[77:78], 1)[1].tolist() == [[77 - 21]]
    write_map(folder, rows[:100], straight_drive(100))
    assert not isinstance(PlaceMap.open(folder).index, CodedIndex)


@pytest.mark.usefixtures('small_limits')
@pytest.mark.parametrize('change', ['cut', 'longer', 'other'])
def test_large_files_are_checked_by_samples_at_opening(tmp_path: Path, change: str) -> None:
    folder = tmp_path / 'map'
    write_map(folder, clustered_rows(COUNT, 64), straight_drive(COUNT))
    path = folder / 'parts/0000/descriptors.npy'
    assert ':' in (read_header(folder).files or {})['parts/0000/descriptors.npy']
    content = path.read_bytes()
    path.write_bytes(
        {
            'cut': content[:-4096],
            'longer': content + b'x',
            'other': content[:128] + os.urandom(len(content) - 128),
        }[change]
    )
    with pytest.raises(MapError, match=r'descriptors\.npy: sha256'):
        PlaceMap.open(folder)
    assert len(damages(folder)) == 1


@pytest.mark.usefixtures('small_limits')
def test_one_flipped_bit_of_a_large_file_is_found_by_check(tmp_path: Path) -> None:
    folder = tmp_path / 'map'
    write_map(folder, clustered_rows(COUNT, 512), straight_drive(COUNT))
    path = folder / 'parts/0000/descriptors.npy'
    with path.open('r+b') as file:
        file.seek(path.stat().st_size // 2 + 45_001)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    assert len(PlaceMap.open(folder)) == COUNT
    assert len(damages(folder)) == 1


def test_nothing_stays_open_when_the_codes_are_forgotten(tmp_path: Path) -> None:
    def held() -> int:
        return len(list(Path('/proc/self/fd').iterdir()))

    rows = clustered_rows(2000, 64)
    gc.collect()  # what earlier tests left open
    before = held()
    index = coded(tmp_path / 'part', rows)
    index.search([(rows[0], 3)])
    assert held() > before
    del index
    gc.collect()
    assert held() == before


@pytest.mark.parametrize(('count', 'size'), [(0, 8), (1, 1), (7, 512), (3, 9_761), (2, 20_001)])
def test_products_are_sums_of_products_for_short_and_long_vectors(count: int, size: int) -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((count, size), dtype=np.float32)
    vector = random.standard_normal(size, dtype=np.float32)
    found = products(rows, vector)
    assert (found.shape, found.dtype) == ((count,), np.float32)
    np.testing.assert_allclose(found, rows.astype(np.float64) @ vector, rtol=1e-3, atol=1e-3)
