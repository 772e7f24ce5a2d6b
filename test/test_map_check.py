"""What is wrong with a map is found, and nothing is found in a sound one."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from worlds import (
    picture,
    straight_drive,
    unit_rows,
    write_map,
    write_posed_folder,
    write_tiny_model,
)

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.errors import MapError
from vpr_ros.core.image import encode_jpeg, shows_something
from vpr_ros.core.mapping import files
from vpr_ros.core.mapping.header import MapHeader, read_header
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.writer import build
from vpr_ros.core.types import Descriptors, Poses
from vpr_ros.drives import open_drive
from vpr_ros.map_care import check as check_module
from vpr_ros.map_care.build import append_drive, build_map
from vpr_ros.map_care.check import (
    Alias,
    Findings,
    Gap,
    PoorImage,
    blank_said,
    check,
    damages,
    find_aliases,
    find_gaps,
    sampled,
    spacing_m,
)
from vpr_ros.map_care.edit import append
from vpr_ros.map_care.facts import weaknesses
from vpr_ros.map_care.page import sound_page
from vpr_ros.report.page import Gallery, Headline, Table, render


def drifting_rows(count: int, *, seed: int = 0) -> Descriptors:
    """Descriptors [count, 32] of which neighbours look alike."""
    rng = np.random.default_rng(seed)
    steps = rng.standard_normal((count + 4, 32))
    rows = sum(steps[shift : shift + count] for shift in range(5))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def pictured(folder: Path, pictures: list[np.ndarray], poses: Poses | None = None) -> PlaceMap:
    """A map of neighbours that look alike, with given thumbnails."""
    poses = straight_drive(len(pictures)) if poses is None else poses
    header = MapHeader(model_name='test', model_sha256='a' * 64, descriptor_size=32)
    with build(folder, header) as writer:
        for row, (image, pose, descriptor) in enumerate(
            zip(pictures, poses, drifting_rows(len(poses)))
        ):
            thumbnail = encode_jpeg(image, quality=95)
            writer.add(descriptor, pose, stamp_ns=row, name=f'{row}', thumbnail=thumbnail)
    return PlaceMap.open(folder)


@pytest.fixture(scope='module')
def pictures() -> list[np.ndarray]:
    """Forty pictures with detail."""
    rng = np.random.default_rng(0)
    return [
        cv2.addWeighted(
            picture(number), 0.7, rng.integers(0, 255, (120, 160, 3), np.uint8), 0.3, 0
        )
        for number in range(40)
    ]


def test_images_in_which_a_robot_would_see_nothing_are_counted(
    tmp_path: Path, pictures: list[np.ndarray]
) -> None:
    flat = [np.full((120, 160, 3), 28 + number % 3, np.uint8) for number in range(11)]
    place_map = pictured(tmp_path / 'map', [*flat, pictures[0]])
    found = check(place_map, near_m=5, far_m=20)
    assert (found.blank, found.compared) == (11, 12)
    assert {image.place for image in found.poor_images if image.is_blank} == set(range(11))
    said = '11 of 12 images show nothing'
    assert any(said in value for _, value in weaknesses(place_map, found))
    assert '14 bits, convert them to 8 bits with a range' in blank_said(11, 12)
    assert blank_said(1, 12) == '1 of 12 images shows nothing'
    assert said in render(sound_page(place_map, found, [], 'map check'))


def test_a_map_of_thermal_images_of_fourteen_bits_is_noted(tmp_path: Path) -> None:
    folder = write_posed_folder(tmp_path / 'thermal', range(6))
    rng = np.random.default_rng(0)
    for file in (folder / 'images').iterdir():
        raw = 7400 + cv2.resize(rng.uniform(0, 510, (6, 8)), (160, 120)).astype(np.uint16)
        encoded = cv2.imencode('.png', raw)[1].tobytes()
        file.write_bytes(encoded)
    describer = OnnxDescriber(write_tiny_model(tmp_path / 'tiny'))
    report = build_map(open_drive(folder), describer, tmp_path / 'map')
    assert (report.blank, report.mapped) == (6, 6)
    assert any('6 of 6 images show nothing' in line for line in report.lines())
    assert not shows_something(next(open_drive(folder).frames()).load())  # as the query side
    report = append_drive(
        tmp_path / 'map',
        read_header(tmp_path / 'map'),
        open_drive(write_posed_folder(tmp_path / 'seen', range(3))),
        describer,
    )
    assert report.blank == 0 and not any('nothing' in line for line in report.lines())


def test_nothing_is_wrong_with_a_sound_map(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    place_map = pictured(tmp_path / 'map', pictures)
    found = check(place_map, near_m=5, far_m=20)
    assert (found.compared, found.aliased, found.aliases) == (40, 0, [])
    assert (found.gaps, found.poor_images, len(found.duplicates)) == ([], [], 0)
    assert damages(tmp_path / 'map') == []


def test_two_stretches_that_look_alike_are_one_finding(tmp_path: Path) -> None:
    rows = drifting_rows(100)
    rows[70:80] = rows[20:30]
    place_map = write_map(tmp_path / 'map', rows, straight_drive(100))
    found = check(place_map, near_m=5, far_m=20)
    assert 20 <= found.aliased <= 30  # and a neighbour or two
    assert len(found.aliases) == 1
    (alias,) = found.aliases
    assert {alias.place // 10, alias.twin // 10} == {2, 7}
    assert alias.distance_m == pytest.approx(50) and alias.similarity == pytest.approx(1)
    assert alias.near_similarity < alias.similarity


def test_a_similarity_that_is_not_known_is_not_told_as_a_number(tmp_path: Path) -> None:
    """A camera that stood still for the whole drive: of 50 equal places none need be near."""
    rows = np.repeat(drifting_rows(1), 400, axis=0)
    place_map = write_map(tmp_path / 'map', rows, straight_drive(400, spacing_m=2.0))
    found = check(place_map, near_m=5, far_m=20)
    lines = ' '.join(line for _, line in weaknesses(place_map, found))
    assert any(alias.near_similarity == -1 for alias in found.aliases)
    assert '-1.00' not in lines
    assert '1.00, and no near one is among its most similar' in lines


def test_a_large_map_is_looked_through_in_pieces_with_the_same_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, poses = drifting_rows(100), straight_drive(100)
    rows[70:80] = rows[20:30]
    poses[40:, 0] += 25.0
    poses[90:, 0] += 40.0
    place_map = write_map(tmp_path / 'map', rows, poses)
    whole = check(place_map, near_m=5, far_m=20)
    monkeypatch.setattr(check_module, '_CHUNK', 7)
    monkeypatch.setattr(check_module, '_STEPS', 1)
    pieces = check(place_map, near_m=5, far_m=20)
    assert [(gap.before, gap.after) for gap in pieces.gaps] == [(89, 90), (39, 40)]
    assert (pieces.aliased, pieces.aliases) == (whole.aliased, whole.aliases)


def test_places_that_look_alike_and_lie_near_are_no_finding(tmp_path: Path) -> None:
    rows = drifting_rows(100)
    rows[22:26] = rows[20]
    found = check(write_map(tmp_path / 'map', rows, straight_drive(100)), near_m=5, far_m=20)
    assert found.aliased == 0


@pytest.mark.parametrize(('similarity', 'aliased'), [(0.7, True), (0.5, False)])
def test_a_far_place_need_not_be_more_alike_than_the_best_near_one(
    tmp_path: Path, similarity: float, aliased: bool
) -> None:
    """Pairs of places; one in ten is less alike than 0.6, as a far place may be, too."""
    rows, poses = np.zeros((40, 64), np.float32), straight_drive(40)
    for pair in range(20):
        alike = 0.6 if pair >= 17 else 0.9
        rows[2 * pair, pair] = 1.0
        rows[2 * pair + 1, [pair, 20 + pair]] = alike, np.sqrt(1 - alike**2)
        poses[2 * pair : 2 * pair + 2, 0] += 100.0 * pair
    rows[2, [0, 1]] = similarity, np.sqrt(1 - similarity**2)
    found = find_aliases(
        write_map(tmp_path / 'map', rows, poses), np.arange(40), near_m=5, far_m=20
    )
    assert ((0, 2) in {(alias.place, alias.twin) for alias in found}) == aliased


def test_a_map_of_few_places_is_measured_by_its_own_spacing(tmp_path: Path) -> None:
    """Ten metres from place to place; three in a row look alike, of which none is far."""
    rows, poses = np.repeat(unit_rows(14, 64), 3, axis=0), straight_drive(42, spacing_m=10.0)
    rows += 0.2 * unit_rows(42, 64, 1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    poses[15:, 0] += 15.0  # 25 m are no gap here
    poses[30:, 0] += 25.0  # 35 m are one
    found = check(write_map(tmp_path / 'map', rows, poses), near_m=5, far_m=20)
    assert (found.aliased, [gap.before for gap in found.gaps]) == (0, [29])


def test_a_stretch_without_places_is_found_unless_another_drive_covers_it(tmp_path: Path) -> None:
    poses = straight_drive(60)
    poses[30:, 0] += 25.0
    place_map = write_map(tmp_path / 'map', drifting_rows(60), poses)
    (gap,) = check(place_map, near_m=5, far_m=20).gaps
    assert (gap.before, gap.after, gap.seconds) == (29, 30, 1.0)
    assert gap.length_m == pytest.approx(26)
    with append(tmp_path / 'map', read_header(tmp_path / 'map')) as writer:
        for row in range(40):
            pose = straight_drive(60)[row + 20]
            pose[1] = 1.0  # the other lane
            descriptor = drifting_rows(40, seed=1)[row]
            writer.add(descriptor, pose, stamp_ns=row, name='', thumbnail=b'')
    assert find_gaps(PlaceMap.open(tmp_path / 'map'), shortest_m=5) == []


def test_the_same_image_twice_is_found(tmp_path: Path) -> None:
    poses, rows = straight_drive(40), drifting_rows(40)
    poses[11], rows[11] = poses[10], rows[10]
    found = check(write_map(tmp_path / 'map', rows, poses), near_m=5, far_m=20)
    assert found.duplicates.tolist() == [[10, 11]]


def test_images_that_show_little_are_found_by_what_they_lack(
    tmp_path: Path, pictures: list[np.ndarray]
) -> None:
    spoilt = list(pictures)
    spoilt[5] = spoilt[5] // 40
    spoilt[9] = np.full_like(spoilt[9], 120)
    haze = np.broadcast_to(np.linspace(110, 130, 160)[:, None] + [60, 0, -60], (120, 160, 3))
    spoilt[11] = haze.astype(np.uint8)  # coloured, and not blank
    spoilt[13] = 245 + spoilt[13] // 30
    spoilt[17] = cv2.blur(spoilt[17], (9, 1))
    found = check(pictured(tmp_path / 'map', spoilt), near_m=5, far_m=20)
    assert [(poor.place, poor.reason) for poor in found.poor_images] == [
        (5, 'dark'),
        (9, 'flat'),
        (11, 'flat'),
        (13, 'white'),
        (17, 'blurred'),
    ]
    assert [poor.place for poor in found.poor_images if poor.is_blank] == [5, 9, 13]


def test_a_map_without_pictures_says_so_and_is_checked(tmp_path: Path) -> None:
    header = MapHeader(model_name='test', model_sha256='a' * 64, descriptor_size=32)
    with build(tmp_path / 'map', header) as writer:
        for row, pose in enumerate(straight_drive(3)):
            writer.add(drifting_rows(3)[row], pose, stamp_ns=row, name='', thumbnail=b'')
    place_map = PlaceMap.open(tmp_path / 'map')
    found = check(place_map, near_m=5, far_m=20)
    assert (found.poor_images, found.unpictured) == ([], 3)
    assert ('poor images', '0; 3 of 3 places have no picture') in weaknesses(place_map, found)


@pytest.mark.parametrize(
    ('gaps', 'shown', 'last'), [(10, 10, '9.0 m'), (13, 10, '... and 3 more')]
)
def test_ten_findings_of_a_kind_are_shown_and_the_others_counted(
    tmp_path: Path, gaps: int, shown: int, last: str
) -> None:
    place_map = write_map(tmp_path / 'map', unit_rows(3, 8), straight_drive(3))
    none = np.empty((0, 2), np.int64)
    found = Findings(2, 0, [], [Gap(0, 1, float(n), 1.0) for n in range(gaps)], none, [], 1)
    said = weaknesses(place_map, found)
    assert ('gaps in the route', f'{gaps}') in said
    assert ('look-alike places', '0 of 2 compared') in said
    assert ('poor images', '0; 1 of 2 places has no picture') in said
    lines = [line for title, line in said if not title]
    assert sum(' m and 1.0 s from ' in line for line in lines) == shown
    assert lines[-1].startswith(last)


def test_the_page_shows_each_finding_once_and_no_empty_section(tmp_path: Path) -> None:
    place_map = write_map(tmp_path / 'map', unit_rows(8, 8), straight_drive(8))
    aliases = [Alias(row, row + 1, 0.9, 0.5, 30.0) for row in range(4)]
    poor = [*(PoorImage(row, 'dark') for row in range(6)), PoorImage(6, 'unreadable')]
    found = Findings(5, 4, aliases, [], np.empty((0, 2), np.int64), poor)
    page = sound_page(place_map, found, [], 'map check')
    alike, little = (section for section in page.sections if isinstance(section, Gallery))
    assert not any(isinstance(section, Table) for section in page.sections)
    shown = [picture.caption.split()[0] for strip in alike.strips for picture in strip.pictures]
    assert shown == ['0', '1', '1', '2', '2', '3', '3', '4']
    pictures = [picture for strip in little.strips for picture in strip.pictures]
    captions = [picture.caption.partition(' at ')[0] for picture in pictures]
    assert captions == [*(f'dark: {row}' for row in range(6)), 'unreadable: 6']
    assert [bool(picture.jpeg) for picture in pictures] == [True] * 6 + [False]
    headline = page.sections[0]
    assert isinstance(headline, Headline)
    assert 'of 5 that were compared' in [figure.note for figure in headline.figures]


def test_every_damaged_file_is_named(tmp_path: Path) -> None:
    write_map(tmp_path / 'map', unit_rows(5, 16), straight_drive(5))
    part = tmp_path / 'map' / 'parts' / '0000'
    (part / 'names.txt').write_text('other')
    (part / 'poses.npy').unlink()
    found = damages(tmp_path / 'map')
    assert len(found) == 2
    assert 'names.txt: sha256' in found[0] and 'poses.npy: No such file' in found[1]
    with pytest.raises(MapError, match='no map here'):
        damages(tmp_path)


def test_a_bit_that_opening_a_map_does_not_look_at_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large files are opened by 256 samples of 4096 bytes, here of 3 MB: most lies between."""
    monkeypatch.setattr(files, 'LARGE_BYTES', 1_000_000)
    header = MapHeader(model_name='test', model_sha256='a' * 64, descriptor_size=32)
    with build(tmp_path / 'map', header) as writer:
        for row, pose in enumerate(straight_drive(3)):
            thumbnail = bytes([row]) * 1_000_000
            writer.add(drifting_rows(3)[row], pose, stamp_ns=row, name='', thumbnail=thumbnail)
    path = tmp_path / 'map' / 'parts' / '0000' / 'thumbnails.bin'
    assert damages(tmp_path / 'map') == []
    with path.open('r+b') as file:
        file.seek(8000)  # the second sample begins behind 11 kB
        file.write(b'!')
    assert len(PlaceMap.open(tmp_path / 'map')) == 3
    (found,) = damages(tmp_path / 'map')
    assert 'thumbnails.bin: sha256' in found
    with path.open('r+b') as file:
        file.write(b'!')  # in the first one
    with pytest.raises(MapError, match=r'thumbnails\.bin: sha256'):
        PlaceMap.open(tmp_path / 'map')


def test_a_route_goes_by_the_stamps_of_its_places(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(40)
    poses, rows = straight_drive(40), drifting_rows(40)
    poses[20:, 0] += 25
    place_map = write_map(
        tmp_path / 'map', rows[order], poses[order], stamps_ns=order.astype(np.int64) * 10**9
    )
    assert spacing_m(place_map) == pytest.approx(1)
    (gap,) = find_gaps(place_map, shortest_m=5)
    assert (order[gap.before], order[gap.after], gap.seconds) == (19, 20, 1.0)


@pytest.mark.parametrize(('count', 'most'), [(1, 5), (5, 5), (7, 5), (100, 7)])
def test_samples_are_distinct_and_even(count: int, most: int) -> None:
    rows = sampled(count, most)
    assert len(rows) == min(count, most) and rows[0] == 0
    assert rows[-1] == count - 1 and (count == 1 or np.ptp(np.diff(rows)) <= 1)
