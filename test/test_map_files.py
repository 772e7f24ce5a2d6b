"""A map's files are what a map has, inside the map, and fit its header and each other.

Each of these maps has the right digests: somebody wrote it so, by mistake or on purpose.
"""

import errno
import hashlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faiss
import numpy as np
import onnx
import pytest
import yaml
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_xfeat import network
from worlds import cell_bits, straight_drive, unit_rows, write_map, write_tiny_model

from vpr_ros import map
from vpr_ros.core.errors import MapError
from vpr_ros.core.mapping import files, header, versions
from vpr_ros.core.mapping.header import MapHeader, read_header, write_calibration
from vpr_ros.core.mapping.layout import PLACE_FILES, files_of_parts
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.map_care import edit
from vpr_ros.map_care.edit import append, assemble, merge

GOLDEN = Path(__file__).parent / 'golden_maps'
PART = 'parts/0000'
COUNT = 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A map of 5 places and 16 numbers each, in a folder of its own."""
    write_map(tmp_path / 'home' / 'map', unit_rows(COUNT, 16), straight_drive(COUNT))
    return tmp_path / 'home' / 'map'


@pytest.fixture
def with_cells(tmp_path: Path) -> Path:
    """The same map with cells of 3 x 4 x 16."""
    folder = tmp_path / 'cells' / 'map'
    write_map(folder, unit_rows(COUNT, 16), straight_drive(COUNT), cells=cell_bits(COUNT))
    return folder


def change_header(folder: Path, **entries: Any) -> None:
    path = folder / 'map.yaml'
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | entries))


def list_file(folder: Path, name: str, content: bytes) -> None:
    """List a file with the digest of some content."""
    files = yaml.safe_load((folder / 'map.yaml').read_text())['files']
    change_header(folder, files=files | {name: hashlib.sha256(content).hexdigest()})


def forge(folder: Path, name: str, content: bytes) -> None:
    """Write a file of a map anew and list its digest."""
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_bytes(content)
    list_file(folder, name, content)


def as_npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


# Names


@pytest.mark.parametrize(
    'name',
    [
        'features/../../x',
        '../x',
        'parts/0000/../../../x',
        '/etc/hostname',
        '/dev/zero',
        'features/..\\..\\x.onnx',
        'parts\\0000\\poses.npy',
        'features/.hidden.onnx',
        'features/inner/x.onnx',
        'features/x.so',
        'parts/0000/x.npy',
        'parts/00000/poses.npy',
        'parts/٠٠٠٠/poses.npy',
        'poses.npy',
        'map.yaml',
        '',
    ],
)
def test_a_name_that_no_map_has_is_refused_before_its_file_is_opened(
    folder: Path, name: str
) -> None:
    list_file(folder, name, b'')
    with pytest.raises(MapError, match=r'map\.yaml: damaged \(lists the file .*, expected parts/'):
        read_header(folder)
    with pytest.raises(MapError, match='lists the file'):
        PlaceMap.open(folder)


@given(st.text(st.sampled_from('partsfeu0/.\\\n\0nxo'), max_size=24))
def test_no_accepted_name_leads_out_of_the_map(name: str) -> None:
    try:
        files_of_parts([*(read_header(GOLDEN / 'first').files or {}), name])
    except ValueError:
        return
    assert os.path.normpath(name) == name and not Path(name).is_absolute()
    assert name.split('/')[0] in ('parts', 'features')


def test_merging_an_evil_map_writes_nothing_outside_and_over_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / 'home' / '.bashrc'
    mine.write_text('mine')
    evil = Path(shutil.copytree(folder, tmp_path / 'download' / 'map'))
    (evil.parent / '.bashrc').write_text('evil')
    list_file(evil, 'features/../../.bashrc', b'evil')
    output = tmp_path / 'home' / 'both'
    assert map.main(['merge', str(folder), str(evil), '--output', str(output)]) == 2
    assert 'features/../../.bashrc' in capsys.readouterr().err
    assert mine.read_text() == 'mine'
    assert sorted(path.name for path in mine.parent.iterdir()) == ['.bashrc', 'map']


def test_a_file_that_is_there_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / 'source', tmp_path / 'target'
    source.write_text('new')
    target.write_text('old')

    def refuse(source: Path, target: Path) -> None:
        raise PermissionError('no links here')

    for link in (os.link, refuse):
        monkeypatch.setattr(os, 'link', link)
        with pytest.raises(FileExistsError):
            edit._link(source, target)
    assert target.read_text() == 'old'


# Kinds of files


def link_to_zero(path: Path) -> None:
    path.symlink_to('/dev/zero')


def link_to_a_copy(path: Path) -> None:
    path.symlink_to(path.parents[4] / 'copy')


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ('replace', 'said'),
    [
        (link_to_zero, 'a symbolic link, expected a file'),
        (link_to_a_copy, 'a symbolic link, expected a file'),
        (os.mkfifo, 'not a regular file'),
        (Path.mkdir, 'not a regular file'),
    ],
)
def test_only_regular_files_are_opened(
    folder: Path, tmp_path: Path, replace: Callable[[Path], None], said: str
) -> None:
    header = read_header(folder)
    path = folder / PART / 'names.txt'
    shutil.copy(path, tmp_path / 'copy')
    path.unlink()
    replace(path)
    with pytest.raises(MapError, match=rf'names\.txt: it is {said}'):
        PlaceMap.open(folder)
    with pytest.raises(MapError, match=rf'names\.txt: it is {said}'), append(folder, header):
        pass
    assert [entry.name for entry in folder.parent.iterdir()] == ['map']


@pytest.mark.parametrize('inner', ['parts', 'parts/0000'])
def test_a_link_in_place_of_a_folder_is_refused(folder: Path, inner: str) -> None:
    elsewhere = folder.parent / 'elsewhere'
    (folder / inner).rename(elsewhere)
    (folder / inner).symlink_to(elsewhere)
    with pytest.raises(MapError, match=rf'{inner} is a symbolic link, expected a folder'):
        PlaceMap.open(folder)


def test_a_header_that_is_a_link_is_refused(folder: Path) -> None:
    (folder / 'map.yaml').rename(folder / 'real.yaml')
    (folder / 'map.yaml').symlink_to('real.yaml')
    with pytest.raises(MapError, match=r'map\.yaml: it is a symbolic link, expected a file'):
        PlaceMap.open(folder)


def test_what_this_user_may_not_read_is_not_called_damaged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever rebuilt such a map would lose nothing but time."""

    def refused(path: Path) -> None:
        raise PermissionError(errno.EACCES, 'Permission denied', str(path))

    step = 'Permission denied; give this user access to it, or choose another path'
    monkeypatch.setattr(files, '_whole_sha256', refused)
    path = folder / PART / 'poses.npy'
    with pytest.raises(MapError) as raised:
        files.check_file(path, 'a' * 64, whole=True)
    assert str(raised.value) == f'{path}: {step}'
    monkeypatch.setattr(header, 'open_regular', refused)
    with pytest.raises(MapError) as raised:
        read_header(folder)
    assert str(raised.value) == f'{folder / "map.yaml"}: {step}'


def test_a_file_that_is_not_listed_is_not_read(folder: Path) -> None:
    for name in ('landmark_ends.npy', 'codes_0.faiss'):
        (folder / PART / name).write_bytes(b'nobody wrote this')
    place_map = PlaceMap.open(folder)
    assert place_map.landmarks(0) is None and len(place_map) == COUNT


# Entries of the header

DATUM = {'utm_zone': 33, 'utm_letter': 'U', 'east_m': 5e5, 'north_m': 5.7e6}


@pytest.mark.parametrize(
    ('entries', 'said'),
    [
        ({'descriptor_size': 'many'}, "descriptor_size: 'many', expected int"),
        ({'descriptor_size': 0}, 'descriptor_size: 0, expected at least one'),
        ({'descriptor_size': True}, 'descriptor_size: True, expected int'),
        ({'places': -1}, 'places: -1, expected at least one'),
        ({'model_name': None}, 'model_name: None, expected str'),
        ({'has_heading': 'no'}, "has_heading: 'no', expected bool"),
        ({'field_of_view_deg': 'wide'}, "'wide', expected float or int or null"),
        ({'base_T_camera': [0, 0, 0]}, 'base_T_camera: shape'),
        ({'base_T_camera': [0, 0, 0, 0, 0, 0, float('nan')]}, 'base_T_camera: contains NaN'),
        (
            {'base_T_camera': [[0, 0, 0, 0, 0, 0, 1]] * 2},
            r'base_T_camera: shape \(2, 7\), expected',
        ),
        ({'changes': [{'who': 'me'}]}, 'unexpected keyword'),
        ({'datum': {'utm_zone': 33}}, 'missing 3 required'),
        ({'datum': DATUM | {'utm_zone': '33'}}, 'expected a zone, a letter and finite metres'),
        ({'datum': DATUM | {'east_m': float('inf')}}, 'expected a zone, a letter and finite'),
        ({'datum': DATUM | {'north_m': 'far'}}, 'must be real number'),
        ({'files': None}, 'files: None, expected dict'),
        ({'files': {}}, 'lists no part'),
        (
            {'files': {'parts/0000/poses.npy': 7}},
            r"poses\.npy': 7, expected a path and its sha256",
        ),
        ({'files': {'parts/0000/poses.npy': 'a' * 64}}, r'lists no parts/0000/descriptors\.npy'),
    ],
)
def test_an_entry_that_no_program_wrote_is_refused_by_its_name(
    folder: Path, entries: dict[str, Any], said: str
) -> None:
    change_header(folder, **entries)
    with pytest.raises(MapError, match=rf'map\.yaml: damaged \(.*{said}'):
        PlaceMap.open(folder)


def test_an_entry_that_may_be_absent_has_its_default(folder: Path) -> None:
    needed = {'format_version', 'model_name', 'model_sha256', 'descriptor_size', 'places', 'files'}
    path = folder / 'map.yaml'
    entries = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({name: entries[name] for name in needed}))
    header = PlaceMap.open(folder).header
    assert (header.frame_id, header.has_heading, header.changes) == ('map', True, ())
    for name in needed:
        path.write_text(yaml.safe_dump({key: entries[key] for key in needed - {name}}))
        with pytest.raises(MapError, match=name):
            read_header(folder)


def test_the_order_in_which_files_are_listed_does_not_matter() -> None:
    names = [f'parts/{part:04d}/{file}' for part in (0, 1) for file in PLACE_FILES]
    parts = files_of_parts(sorted(names, reverse=True))
    assert list(parts) == ['parts/0000', 'parts/0001']
    assert set(parts['parts/0001']) == PLACE_FILES


def test_parts_that_are_not_numbered_one_by_one_are_refused(folder: Path) -> None:
    files = {
        name.replace('0000', '0003'): digest
        for name, digest in (read_header(folder).files or {}).items()
    }
    change_header(folder, files=files)
    with pytest.raises(MapError, match='lists parts/0003 as part number 0, expected parts/0000'):
        PlaceMap.open(folder)


@pytest.mark.parametrize(
    ('version', 'said'),
    [
        (versions.FORMAT_VERSION + 1, 'reads up to 3; update the program'),
        (0, r'format_version 0, expected one of \[1, 2, 3\]'),
        ('1', r"format_version '1', expected one of"),
        (None, 'format_version None, expected'),
        ([1], r'format_version \[1\], expected'),
        (True, 'format_version True, expected'),
    ],
)
def test_a_version_that_cannot_be_read_is_said(folder: Path, version: object, said: str) -> None:
    change_header(folder, format_version=version)
    with pytest.raises(MapError, match=said):
        PlaceMap.open(folder)


def test_a_missing_version_is_said(folder: Path) -> None:
    path = folder / 'map.yaml'
    path.write_text(path.read_text().replace('format_version: 1', ''))
    with pytest.raises(MapError, match='format_version missing, expected one of'):
        PlaceMap.open(folder)


def test_the_map_of_an_older_version_is_upgraded_and_written_as_the_newest(
    with_cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the next version will be: it calls frame_id otherwise."""
    path = with_cells / 'map.yaml'
    old = path.read_text().replace('frame_id: map', 'frame: hall')
    path.write_text(old)

    def renamed(found: Any) -> dict[str, Any]:
        values = dict(found)
        return values | {'frame_id': values.pop('frame')}

    newest = versions.FORMAT_VERSION + 1
    monkeypatch.setattr(versions, 'FORMAT_VERSION', newest)
    monkeypatch.setattr('vpr_ros.core.mapping.header.version_saying', lambda values: newest)
    monkeypatch.setattr(versions, 'UPGRADES', {2: renamed, newest: dict})
    header = read_header(with_cells)
    assert (header.frame_id, header.format_version) == ('hall', newest)
    write_calibration(with_cells, {'bias': 1.0})
    assert yaml.safe_load(path.read_text())['format_version'] == newest
    assert read_header(with_cells).frame_id == 'hall'


def test_a_map_without_cells_is_written_as_programs_of_version_1_read_it(
    folder: Path, with_cells: Path
) -> None:
    for map_folder, version in ((folder, 1), (with_cells, 2)):
        write_calibration(map_folder, {'bias': 1.0})
        said = yaml.safe_load((map_folder / 'map.yaml').read_text())
        assert said['format_version'] == version


ENTRY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([*MapHeader.__dataclass_fields__]), value=ENTRY)
def test_any_value_of_any_entry_is_read_or_refused(folder: Path, name: str, value: object) -> None:
    path = folder / 'map.yaml'
    sound = path.read_text()
    try:
        change_header(folder, **{name: value})
        read_header(folder)
    except MapError as error:
        assert 'map.yaml' in str(error)
    finally:
        path.write_text(sound)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(st.sampled_from('!{}[]:-&*?|>\'"%@ \n\tab12.e~é\0')), st.binary()))
def test_any_text_in_place_of_a_header_is_refused(folder: Path, text: str | bytes) -> None:
    path = folder / 'map.yaml'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(MapError, match=r'map\.yaml: '):
        read_header(folder)


@pytest.mark.parametrize(
    'text',
    ['a: 2026-13-45', 'a: !!bool x', 'a: !!timestamp x', '[' * 5000],
    ids=['date', 'bool', 'timestamp', 'depth'],
)
def test_what_yaml_itself_stumbles_over_is_refused(folder: Path, text: str) -> None:
    (folder / 'map.yaml').write_text(text)
    with pytest.raises(MapError, match=r'map\.yaml: cannot be read'):
        read_header(folder)


# Arrays


def changed(folder: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    path = f'{PART}/{name}.npy'
    array = np.load(folder / path, allow_pickle=False)
    forge(folder, path, as_npy(change(array)))


def test_a_descriptor_size_that_the_rows_do_not_have_is_refused(folder: Path) -> None:
    change_header(folder, descriptor_size=99)
    said = r'parts/0000/descriptors\.npy: float32 \[5, 16\], expected float32 \[5, 99\]'
    with pytest.raises(MapError, match=said):
        PlaceMap.open(folder)


def test_a_number_of_places_that_the_parts_do_not_have_is_refused(folder: Path) -> None:
    change_header(folder, places=6)
    with pytest.raises(MapError, match=r'5 poses, map\.yaml says 6 places'):
        PlaceMap.open(folder)


CHANGES: list[tuple[str, Callable[[np.ndarray], np.ndarray], str]] = [
    ('descriptors', lambda a: a[:4], r'float32 \[4, 16\], expected float32 \[5, 16\]'),
    ('descriptors', lambda a: a[:, 0], r'float32 \[5\], expected'),
    ('descriptors', lambda a: a.astype('f8'), r'float64 \[5, 16\], expected float32'),
    ('descriptors', lambda a: a.astype('>f4'), r'>f4 \[5, 16\], expected float32'),
    ('descriptors', np.asfortranarray, r'float32 \[5, 16\], columns first, expected'),
    ('poses', lambda a: a[:, :6], r'float64 \[5, 6\], expected float64 \[5, 7\]'),
    ('poses', lambda a: a[0, 0], r'float64 \[\], expected float64 \[0, 7\]'),
    ('poses', lambda a: np.where(a == a.max(), np.nan, a), 'contains NaN or infinity'),
    ('poses', lambda a: np.where(a == a.max(), np.inf, a), 'contains NaN or infinity'),
    ('poses', lambda a: a * 2, 'quaternion norm 2, expected 1'),
    ('stamps_ns', lambda a: a[1:], r'int64 \[4\], expected int64 \[5\]'),
    ('stamps_ns', lambda a: a.astype('f8'), r'float64 \[5\], expected int64'),
    ('stamps_ns', lambda a: a[:, None], r'int64 \[5, 1\], expected int64 \[5\]'),
    ('thumbnail_ends', lambda a: a[:4], r'int64 \[4\], expected int64 \[5\]'),
    (
        'thumbnail_ends',
        lambda a: a[::-1],
        'end at .* or fall on the way, expected them to rise to',
    ),
    (
        'thumbnail_ends',
        lambda a: a - 1,
        r'expected them to rise to \d+, the number of bytes of thumbnails\.bin',
    ),
    ('thumbnail_ends', lambda a: a - a[1], 'expected them to rise to'),
]


@pytest.mark.parametrize(('name', 'change', 'said'), CHANGES)
def test_an_array_of_another_form_is_named_with_what_came_and_what_was_expected(
    folder: Path, name: str, change: Callable[[np.ndarray], np.ndarray], said: str
) -> None:
    changed(folder, name, change)
    with pytest.raises(MapError, match=rf'parts/0000/{name}\.npy: .*{said}'):
        PlaceMap.open(folder)


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'\x93NUMPY',
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'fortran_order': False, 'shape': (9, 7), }"
        + b' ' * 57 + b'\n',
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '|O', 'fortran_order': False, 'shape': (1, 7), }"
        + b' ' * 58 + b'\n' + bytes(56),
        b"\x93NUMPY\x01\x00\x76\x00((((((" + b' ' * 111 + b'\n',
        b'PK\x03\x04 an archive of arrays',
    ],
)  # fmt: skip
def test_what_is_no_array_is_named(folder: Path, content: bytes) -> None:
    forge(folder, f'{PART}/poses.npy', content)
    with pytest.raises(MapError, match=r'parts/0000/poses\.npy: cannot be read'):
        PlaceMap.open(folder)


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        (b'a\nb\n', '2 lines, expected 5'),
        (b'a\nb\nc\nd\ne\nf', '5 lines, expected 5'),
        (b'\xff\n' * 5, 'it is not UTF-8 text'),
        (b'a\n' * 4 + b'a' * 30_000 + b'\n', '30009 bytes for 5 names, expected at most 4096'),
    ],
)
def test_names_that_are_not_one_for_each_place_are_refused(
    folder: Path, text: bytes, said: str
) -> None:
    forge(folder, f'{PART}/names.txt', text)
    with pytest.raises(MapError, match=rf'names\.txt: {said}'):
        PlaceMap.open(folder)


def test_a_thumbnail_that_is_no_small_picture_is_refused(folder: Path) -> None:
    size = (1 << 20) + 1
    forge(folder, f'{PART}/thumbnails.bin', bytes(size))
    changed(folder, 'thumbnail_ends', lambda ends: np.full_like(ends, size))
    with pytest.raises(MapError, match=rf'thumbnails\.bin: a thumbnail of {size} bytes'):
        PlaceMap.open(folder)


CELL_CHANGES: list[tuple[Callable[[np.ndarray], np.ndarray], str]] = [
    (lambda a: a[:4], r'uint8 \[4, 24\], expected uint8 \[5, 24\]'),
    (lambda a: a[:, :23], r'uint8 \[5, 23\], expected'),
    (lambda a: a.reshape(5, 12, 2), r'uint8 \[5, 12, 2\], expected'),
    (lambda a: a[0, 0], r'uint8 \[\], expected'),
    (lambda a: a.view('i1'), r'int8 \[5, 24\], expected uint8'),
    (lambda a: a.astype('f2'), r'float16 \[5, 24\], expected uint8'),
    (np.asfortranarray, r'uint8 \[5, 24\], columns first, expected'),
    (lambda a: np.empty((5, 0), 'u1'), r'uint8 \[5, 0\], expected'),
]


@pytest.mark.parametrize(('change', 'said'), CELL_CHANGES)
def test_cells_of_another_form_are_named_with_what_came_and_what_was_expected(
    with_cells: Path, change: Callable[[np.ndarray], np.ndarray], said: str
) -> None:
    changed(with_cells, 'cells', change)
    with pytest.raises(MapError, match=rf'parts/0000/cells\.npy: {said}'):
        PlaceMap.open(with_cells)


@pytest.mark.parametrize(
    ('cells', 'said'),
    [
        ([3, 4, 8], r'cells\.npy: uint8 \[5, 24\], expected uint8 \[5, 12\]'),
        ([1024, 1024, 1024], r'expected uint8 \[5, 134217728\]'),
        (None, r'damaged \(cells is None and parts/0000 has cells\.npy, expected both or'),
        ([3, 4, 15], r'damaged \(cells is \[3, 4, 15\], expected .* a multiple of 8'),
        ([3, 4], 'damaged .* expected .rows, columns, numbers'),
        ([0, 4, 16], 'each from 1 to 1024'),
        ([3, -4, 16], 'each from 1 to 1024'),
        ([3, True, 16], 'each from 1 to 1024'),
        ([3, 4.0, 16], 'each from 1 to 1024'),
        ([2**40, 4, 16], 'each from 1 to 1024'),
        ('3 4 16', "damaged .*cells is '3 4 16', expected"),
        ({'rows': 3}, 'damaged .*expected .rows, columns, numbers'),
    ],
)
def test_a_size_that_the_cells_do_not_have_is_refused(
    with_cells: Path, cells: object, said: str
) -> None:
    change_header(with_cells, cells=cells)
    with pytest.raises(MapError, match=said):
        PlaceMap.open(with_cells)


def test_cells_in_a_map_that_says_it_has_none_and_the_other_way_round_are_refused(
    folder: Path, with_cells: Path
) -> None:
    change_header(folder, cells=[3, 4, 16], format_version=2)
    with pytest.raises(MapError, match=r'cells is \[3, 4, 16\] and parts/0000 has no cells\.npy'):
        PlaceMap.open(folder)
    change_header(with_cells, format_version=1)  # which knows no cells
    with pytest.raises(MapError, match=r'cells is None and parts/0000 has cells\.npy'):
        PlaceMap.open(with_cells)


LANDMARK_CHANGES: list[tuple[str, Callable[[np.ndarray], np.ndarray], str]] = [
    ('landmark_ends', lambda a: a[:3], r'int64 \[3\], expected int64 \[4\]'),
    (
        'landmark_ends',
        lambda a: a + 1,
        r'expected them to rise to 10, the number of rows of landmark_points',
    ),
    ('landmark_ends', lambda a: a[::-1], r'expected them to rise to'),
    ('landmark_points', lambda a: a[:, :2], r'float32 \[10, 2\], expected float32 \[10, 3\]'),
    ('landmark_sigmas', lambda a: a[:9], r'float16 \[9\], expected float16 \[10\]'),
    ('landmark_sigmas', lambda a: a.astype('f4'), r'float32 \[10\], expected float16'),
    ('landmark_descriptors', lambda a: a[:9], r'uint8 \[9, 128\], expected uint8 \[10, 128\]'),
    ('landmark_descriptors', lambda a: a.astype('i1'), 'int8 .* expected uint8'),
]


@pytest.mark.parametrize(('name', 'change', 'said'), LANDMARK_CHANGES)
def test_landmarks_of_another_form_are_named_with_what_came_and_what_was_expected(
    tmp_path: Path, name: str, change: Callable[[np.ndarray], np.ndarray], said: str
) -> None:
    folder = Path(shutil.copytree(GOLDEN / 'sift_landmarks', tmp_path / 'map'))
    changed(folder, name, change)
    with pytest.raises(MapError, match=rf'parts/0000/{name}\.npy: .*{said}'):
        PlaceMap.open(folder)


def test_landmarks_of_another_size_than_their_features_have_are_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / 'sift_landmarks', tmp_path / 'map'))
    changed(folder, 'landmark_descriptors', lambda array: array[:, :64])
    with pytest.raises(MapError, match='of 64 numbers, expected 128 as root-sift has them'):
        PlaceMap.open(folder).features()


def test_landmarks_of_two_sizes_in_one_map_are_refused(tmp_path: Path) -> None:
    maps = [PlaceMap.open(GOLDEN / name) for name in ('sift_landmarks', 'newest')]
    merge(maps, tmp_path / 'map')
    changed(tmp_path / 'map', 'landmark_descriptors', lambda array: array[:, :64])
    with pytest.raises(MapError, match='landmarks of 64 and 128 numbers, expected one size'):
        PlaceMap.open(tmp_path / 'map')


def test_landmarks_of_another_size_are_not_merged_into_a_map(tmp_path: Path) -> None:
    evil = Path(shutil.copytree(GOLDEN / 'sift_landmarks', tmp_path / 'evil'))
    changed(evil, 'landmark_descriptors', lambda array: array[:, :64])
    maps = [PlaceMap.open(each) for each in (GOLDEN / 'newest', evil)]
    with pytest.raises(MapError, match='landmarks of 128 and 64 numbers'):
        merge(maps, tmp_path / 'map')
    assert not (tmp_path / 'map').exists()


def test_landmarks_of_another_size_are_not_put_together_with_other_pieces(tmp_path: Path) -> None:
    evil = Path(shutil.copytree(GOLDEN / 'sift_landmarks', tmp_path / 'evil'))
    changed(evil, 'landmark_descriptors', lambda array: array[:, :64])
    pieces = [
        SimpleNamespace(folder=each, header=read_header(each))
        for each in (GOLDEN / 'newest', evil)
    ]
    model = write_tiny_model(tmp_path / 'model')
    with pytest.raises(MapError, match=f'newest and {evil}: landmarks of 128 and 64 numbers'):
        assemble(pieces, tmp_path / 'map', card=model.card, source='', command='')
    assert not (tmp_path / 'map').exists()


def test_pieces_that_are_damaged_or_do_not_fit_are_not_put_together(
    tmp_path: Path, folder: Path
) -> None:
    write_map(tmp_path / 'other', unit_rows(3, 16), straight_drive(3), model_sha256='b' * 64)
    write_map(tmp_path / 'damaged', unit_rows(3, 16), straight_drive(3))
    poses = tmp_path / 'damaged/parts/0000/poses.npy'
    poses.write_bytes(poses.read_bytes()[:-8] + bytes(8))
    card = write_tiny_model(tmp_path / 'model').card
    for name, said in (('other', 'made with models'), ('damaged', r'poses\.npy: sha256')):
        pieces = [
            SimpleNamespace(folder=each, header=read_header(each))
            for each in (folder, tmp_path / name)
        ]
        with pytest.raises(MapError, match=said):
            assemble(pieces, tmp_path / 'map', card=card, source='', command='')
        assert not (tmp_path / 'map').exists()


def test_nothing_is_appended_to_a_map_with_landmarks_of_another_size(tmp_path: Path) -> None:
    evil = Path(shutil.copytree(GOLDEN / 'sift_landmarks', tmp_path / 'evil'))
    changed(evil, 'landmark_descriptors', lambda array: array[:, :64])
    header = read_header(evil)
    assert header.camera is not None
    features = PlaceMap.open(GOLDEN / 'sift_landmarks').features()
    with (
        pytest.raises(MapError, match=r'landmarks \[10, 64\] in parts/0000, expected 128'),
        append(evil, header, landmarks=(header.camera, features)),
    ):
        raise AssertionError
    assert read_header(evil) == header


CODE_CHANGES: list[tuple[str, Callable[[np.ndarray], np.ndarray], str]] = [
    ('bytes', lambda a: a[:20], r'bytes\.npy: int8 \[20, 32\], expected int8 \[24, 32\]'),
    ('byte_scales', lambda a: a[:20], r'float32 \[20\], expected float32 \[24\]'),
]


@pytest.mark.parametrize(('name', 'change', 'said'), CODE_CHANGES)
def test_codes_of_other_descriptors_are_refused(
    tmp_path: Path, name: str, change: Callable[[np.ndarray], np.ndarray], said: str
) -> None:
    folder = Path(shutil.copytree(GOLDEN / 'coded', tmp_path / 'map'))
    changed(folder, name, change)
    with pytest.raises(MapError, match=said):
        PlaceMap.open(folder)


def test_a_shard_of_other_descriptors_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / 'coded', tmp_path / 'map'))
    shorter = faiss.IndexFlatIP(32)
    forge(folder, f'{PART}/codes_1.faiss', faiss.serialize_index(shorter).tobytes())
    said = r'codes_1\.faiss: 0 rows of 32 numbers, expected 6 of 32'
    with pytest.raises(MapError, match=said):
        PlaceMap.open(folder)


def test_a_code_file_that_is_no_array_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / 'coded', tmp_path / 'map'))
    unclosed = b'\x93NUMPY\x01\x00\x76\x00((((((' + b' ' * 111 + b'\n'
    forge(folder, f'{PART}/bytes.npy', unclosed)
    with pytest.raises(MapError, match='parts/0000: codes cannot be read'):
        PlaceMap.open(folder)


def test_codes_that_hide_rows_are_not_believed() -> None:
    """As those of a map that somebody made up, or of far too few places."""
    place_map = PlaceMap.open(GOLDEN / 'coded')
    queries = place_map.descriptors_of(np.arange(3))
    similarity, rows = place_map.index.search(queries, 10)
    assert similarity.shape == rows.shape == (3, 10)
    products = queries @ np.concatenate(place_map.blocks).T
    best = -np.sort(-products, axis=1)[:, :10]  # of equally similar rows any may come first
    np.testing.assert_allclose(similarity, best, atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(products, rows, axis=1), best, atol=1e-6)


# Nothing outside is touched

WATCHED = """
import os
import sys
from pathlib import Path
sys.path.insert(0, {test!r})
inside, installed = {inside!r}, tuple({installed!r})
from vpr_ros import map
from vpr_ros.core.errors import VprError
from vpr_ros.core.mapping.place_map import PlaceMap

def run(folder):
    output = Path(inside) / 'both'
    try:
        opened = PlaceMap.open(folder)
        opened.names, opened.thumbnail(0), opened.landmarks(0)
    except VprError:
        pass
    for words in (
        ['merge', {good!r}, str(folder), '--output', str(output)],
        ['check', str(folder)], ['info', str(folder)],
        ['export', str(folder), '--csv', str(Path(inside) / 'table.csv')],
    ):
        map.main(words)

run({good!r})  # what is imported late is imported now
touched = []

def watch(event, arguments):
    if event.partition('.')[0] in ('open', 'os', 'shutil') and event != 'os.listdir':
        touched.extend((event, each) for each in arguments if isinstance(each, (str, bytes, Path)))

sys.addaudithook(watch)
for folder in sorted(Path({hostile!r}).iterdir()):
    run(folder)
def is_outside(event, path):
    path = str(path) if not isinstance(path, bytes) else path.decode()
    if not path.startswith('/'):  # a mode, or a name within an open folder
        return False
    if (event, path) == ('open', '/proc/self/mountinfo'):  # where folders can be exchanged
        return False
    path = os.path.realpath(path)  # a link inside may lead out
    if path.startswith(inside):
        return False
    return not (event == 'open' and path.startswith(installed) and path.endswith(('.py', '.pyc')))
for event, path in touched:
    if is_outside(event, path):
        print('OUTSIDE', event, path)
print('watched', len(touched))
"""


def hostile_maps(folder: Path, hostile: Path, outside: Path) -> None:
    """Maps that name, link to or hold what lies elsewhere."""
    up = os.path.relpath(outside, hostile / 'x')

    def copy(name: str) -> Path:
        return Path(shutil.copytree(folder, hostile / name))

    for number, name in enumerate(
        [f'features/{up}/secret', str(outside / 'secret'), f'{up}/secret', '/dev/zero']
    ):
        list_file(copy(f'name{number}'), name, b'secret')
    for number, name in enumerate(['names.txt', 'poses.npy', 'thumbnails.bin']):
        path = copy(f'link{number}') / PART / name
        shutil.copy(path, outside / name)
        path.unlink()
        path.symlink_to(outside / name)
    inner = copy('inner') / 'parts'
    inner.rename(outside / 'parts')
    inner.symlink_to(outside / 'parts')
    header = copy('header') / 'map.yaml'
    header.rename(outside / 'map.yaml')
    header.symlink_to(outside / 'map.yaml')
    graph = network_with_weights_in(str(outside / 'secret'))
    networks = copy('graph')
    (networks / 'features').mkdir()
    forge(networks, 'features/xfeat.onnx', graph)
    change_header(networks, landmark_features='xfeat')
    (copy('yaml') / 'map.yaml').write_text(f'!!python/object/apply:open [{outside}/secret]')


MEMORY = {  # what `map info` asks for the memory that is left
    f'OUTSIDE open {path}'
    for path in (
        '/proc/meminfo',
        '/sys/fs/cgroup/memory.max',
        '/sys/fs/cgroup/memory.current',
    )
}


def network_with_weights_in(location: str) -> bytes:
    graph = onnx.load_from_string(network())
    weight = graph.graph.initializer[0]
    weight.data_location = onnx.TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = 'location', location
    return bytes(graph.SerializeToString())


def test_nothing_outside_is_opened_or_written_for_a_hostile_map(
    folder: Path, tmp_path: Path
) -> None:
    inside, outside = tmp_path / 'home', tmp_path / 'outside'
    outside.mkdir()
    (outside / 'secret').write_bytes(b'secret')
    (inside / 'download').mkdir()
    hostile_maps(folder, inside / 'download', outside)
    before = {path: path.read_bytes() for path in outside.rglob('*') if path.is_file()}
    code = WATCHED.format(
        test=str(Path(__file__).parent),
        inside=str(inside),
        installed=[sys.prefix, sys.base_prefix, str(ROOT)],
        good=str(folder),
        hostile=str(inside / 'download'),
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    watched = [line for line in done.stdout.splitlines() if line.startswith(('OUT', 'watched'))]
    assert watched[-1].startswith('watched') and int(watched[-1].split()[1]) > 50
    assert [line for line in watched[:-1] if line not in MEMORY] == [], done.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ['home', 'outside']


@pytest.mark.parametrize('name', ['map.yaml', 'parts/0000/poses.npy'])
def test_a_map_that_git_lfs_has_not_fetched_says_so(tmp_path: Path, name: str) -> None:
    write_map(tmp_path / 'map', unit_rows(3, 4), straight_drive(3))
    pointer = f'version https://git-lfs.github.com/spec/v1\noid sha256:{"0" * 64}\nsize 9\n'
    (tmp_path / 'map' / name).write_text(pointer)
    with pytest.raises(MapError, match='is a Git LFS pointer; run `git lfs pull`'):
        PlaceMap.open(tmp_path / 'map')
