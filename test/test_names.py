"""Files whose names are not UTF-8 are read, and their names are written as text everywhere."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from worlds import picture, write_posed_folder, write_tiny_model

from vpr_ros import build_map, evaluate_bag, images_to_bag, map
from vpr_ros.core.describing.model import Model
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.names import as_text, cleaned
from vpr_ros.drives import open_drive
from vpr_training.data.layouts import open_recall_set
from vpr_training.evaluate import main as evaluate

LATIN = os.fsdecode(b'stra\xdfe')  # from an archive of an old Windows


@given(st.text(st.characters(codec=None), max_size=12))
def test_a_name_becomes_text_and_text_stays_as_it_is(name: str) -> None:
    text = as_text(name)
    text.encode()
    assert as_text(text) == text
    if name.isascii():
        assert text == name


def test_bytes_that_are_no_text_are_written_as_numbers() -> None:
    assert as_text(LATIN) == r'stra\xdfe'
    assert as_text('straße') == 'straße'
    assert as_text('\ud800') == r'\ud800'
    alone = range(0x80, 0x100)  # no such byte is a character of UTF-8 by itself
    for one in alone:
        assert as_text(os.fsdecode(bytes([one]))) == f'\\x{one:x}'
    assert cleaned({LATIN: [LATIN, (LATIN, 1.5, None)]}) == {
        r'stra\xdfe': [r'stra\xdfe', (r'stra\xdfe', 1.5, None)]
    }


@pytest.fixture
def world(tmp_path: Path) -> tuple[Path, Model]:
    """A posed folder whose name, images and table are not UTF-8, and a model."""
    folder = write_posed_folder(tmp_path / f'drive_{LATIN}', range(5))
    table = (folder / 'poses.csv').read_text()
    for file in (folder / 'images').iterdir():
        table = table.replace(file.name, f'{LATIN}_{file.name}')
        file.rename(file.with_name(f'{LATIN}_{file.name}'))
    (folder / 'poses.csv').write_bytes(os.fsencode(table))
    return folder, write_tiny_model(tmp_path / 'tiny')


def test_a_drive_with_such_names_is_mapped_checked_and_evaluated(
    world: tuple[Path, Model], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, model = world
    output = tmp_path / f'map_{LATIN}'
    options = ['--model', str(model.folder)]
    assert build_map.main(['--bag', str(folder), '--output', str(output), *options]) == 0
    place_map = PlaceMap.open(output)
    assert place_map.names == [rf'stra\xdfe_{number:06d}.jpg' for number in range(5)]
    assert r'stra\xdfe' in place_map.header.source and r'stra\xdfe' in place_map.header.command
    page, figures = tmp_path / f'{LATIN}.html', tmp_path / f'{LATIN}.json'
    picture_file, table = tmp_path / f'{LATIN}.png', tmp_path / f'{LATIN}.csv'
    geo = tmp_path / f'{LATIN}.npz'
    assert map.main(['info', str(output), '--picture', str(picture_file)]) == 0
    assert map.main(['check', str(output), '--report', str(page)]) == 0
    assert map.main(['export', str(output), '--csv', str(table), '--npz', str(geo)]) == 0
    assert map.main(['append', str(output), '--bag', str(folder), *options]) == 0
    assert map.main(['merge', str(output), str(output), '--output', f'{output}_2']) == 0
    asked = ['--bag', str(folder), '--map', str(output), *options]
    written = ['--json', str(figures), '--report', str(page)]
    assert evaluate_bag.main([*asked, *written]) == 0
    for file in (page, table, figures, output / 'map.yaml'):
        file.read_bytes().decode('utf-8')
    assert 'stra\\xdfe' in json.loads(figures.read_text())['bag']
    assert r'stra\xdfe_000000.jpg' in table.read_text()
    assert yaml.safe_load((output / 'map.yaml').read_text())['changes'][0]['source']


def test_a_name_that_controls_a_terminal_is_kept_as_one_line_that_a_fleet_takes(
    tmp_path: Path,
) -> None:
    odd = ('a\x1b[31m', 'b\n', 'c\u2028', 'd\x85', 'stra\udcdfe')
    for number, name in enumerate(odd):
        where = f'@{500000 + 5 * number}.0@5000000.0@33@T@@@{name}@.jpg'
        (tmp_path / 'drive').mkdir(exist_ok=True)
        (tmp_path / 'drive' / where).write_bytes(encode_jpeg(picture(number)))
    folder, model = str(tmp_path / 'map'), str(write_tiny_model(tmp_path / 'tiny').folder)
    drive = ['--bag', str(tmp_path / 'drive'), '--model', model]
    assert build_map.main([*drive, '--output', folder]) == 0
    names = PlaceMap.open(folder).names
    assert [name.split('@')[7] for name in names] == [
        r'a\x1b[31m', r'b\x0a', r'c\u2028', r'd\x85', r'stra\xdfe'
    ]  # fmt: skip
    pytest.importorskip('lancedb', reason='lancedb is missing (requirements/fleet.txt)')
    fleet = str(tmp_path / 'fleet')
    assert map.main(['push', folder, '--fleet', fleet]) == 0
    assert map.main(['pull', '--fleet', fleet, '--output', str(tmp_path / 'back')]) == 0
    assert PlaceMap.open(tmp_path / 'back').names == names


def test_such_names_go_into_a_bag(world: tuple[Path, Model], tmp_path: Path) -> None:
    assert images_to_bag.main([str(world[0]), '--output', str(tmp_path / LATIN)]) == 0
    assert len(open_drive(tmp_path / LATIN)) == 5


def test_an_image_with_such_a_name_that_is_broken_is_named(
    world: tuple[Path, Model], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, model = world
    broken = next((folder / 'images').iterdir())
    broken.write_bytes(b'\xff\xd8')
    arguments = ['--bag', str(folder), '--output', str(tmp_path / 'map')]
    assert build_map.main([*arguments, '--model', str(model.folder)]) == 0
    said = ''.join(capfd.readouterr())
    assert '1 image could not be used, the first: ' in said and r'stra\xdfe' in said


def test_the_trainers_evaluation_reads_such_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    model = write_tiny_model(tmp_path / 'tiny')
    root = tmp_path / LATIN
    for half in ('database', 'queries'):
        for place in range(3):
            file = root / half / f'@{1000 + 100 * place}@2000@32@U@@@@@@@@@@{LATIN}@.jpg'
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode_jpeg(picture(place)))
    figures, page = tmp_path / 'figures.json', tmp_path / 'page.html'
    asked = ['--model', str(model.folder), '--dataset', str(root)]
    assert evaluate([*asked, '--json', str(figures), '--report', str(page)]) == 0
    assert json.loads(figures.read_text())['dataset'] == r'stra\xdfe'
    page.read_bytes().decode('utf-8')


def test_places_of_a_folder_with_such_names_are_looked_at(tmp_path: Path) -> None:
    from vpr_training.data.__main__ import main as inspect

    root = tmp_path / LATIN
    for town in (f'Da_{LATIN}', f'Hier_{LATIN}'):
        for image in range(2):
            name = f'@{image}@2@32@U@@@p{image}@@@@@@@201501@5_{town}@.jpg'
            (root / 'train' / town).mkdir(parents=True, exist_ok=True)
            encoded = cv2.imencode('.jpg', np.full((32, 32, 3), 90 * image, np.uint8))[1]
            (root / 'train' / town / name).write_bytes(encoded.tobytes())
    drawn = tmp_path / 'drawn.png'
    words = ['inspect', str(root), '--deep', '--min-images', '2', '--picture', str(drawn)]
    assert inspect(words) == 0
    assert drawn.stat().st_size > 1000


def test_the_set_is_named_as_text(tmp_path: Path) -> None:
    for half in ('database', 'queries'):
        file = tmp_path / LATIN / half / '@1@2@.jpg'
        file.parent.mkdir(parents=True)
        file.write_bytes(encode_jpeg(picture(0)))
    assert open_recall_set(tmp_path / LATIN).name == r'stra\xdfe'
