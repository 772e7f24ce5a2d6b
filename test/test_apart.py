"""Places that are added in another frame than the map's are told, after append and merge."""

from pathlib import Path

import numpy as np
import pytest
from worlds import straight_drive, unit_rows, write_map, write_posed_folder, write_tiny_model

from vpr_ros import build_map, map
from vpr_ros.core.geometry import compose, yaw_quat
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.drives.geographic import datum_at
from vpr_ros.map_care.apart import appended_notes, merged_notes

COUNT = 60


def street(*, turned_deg: float = 0.0, moved_m: tuple[float, ...] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """map_T_camera along x, in another frame."""
    frame = np.array([*moved_m, *yaw_quat(np.radians(turned_deg))])
    return compose(frame, straight_drive(COUNT, spacing_m=2.0))


def seen(seed: int, *, like: int | None = None) -> np.ndarray:
    """Descriptors of the places; like: a seed whose places two in three of these look like."""
    rows = unit_rows(COUNT, 64, seed=seed)
    if like is not None:
        same = np.arange(COUNT) % 3 > 0
        rows[same] = unit_rows(COUNT, 64, seed=like)[same] + 0.02
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def notes(folder: Path, descriptors: np.ndarray, poses: np.ndarray, **options: object) -> str:
    first = write_map(folder / 'first', seen(0), street(), **options)  # type: ignore[arg-type]
    second = write_map(folder / 'second', descriptors, poses, **options)  # type: ignore[arg-type]
    return '\n'.join(merged_notes([first, second]))


def test_places_that_look_alike_and_lie_in_another_frame_are_told(tmp_path: Path) -> None:
    said = notes(tmp_path, seen(1, like=0), street(turned_deg=-70.0, moved_m=(5.0, 30.0, 0.0)))
    assert said.startswith(f'{tmp_path}/second: ')
    assert 'lie there if its positions are turned by 70 deg and moved by (' in said
    assert said.endswith('make the map anew from poses of one frame')


@pytest.mark.parametrize(
    ('like', 'moved_m'),
    [
        (0, (0.0, 1.0, 0.0)),  # the same street in the same frame
        (0, (1.0, 0.0, 12.0)),  # another floor that looks alike
        (None, (0.0, 30.0, 0.0)),  # another street
    ],
)
def test_one_frame_floors_and_other_places_are_left_alone(
    tmp_path: Path, like: int | None, moved_m: tuple[float, ...]
) -> None:
    assert notes(tmp_path, seen(1, like=like), street(moved_m=moved_m)) == ''


def test_places_by_gps_have_one_frame(tmp_path: Path) -> None:
    elsewhere = street(turned_deg=-70.0)
    assert notes(tmp_path, seen(1, like=0), elsewhere, datum=datum_at(48.0, 11.0)) == ''


def test_append_and_merge_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ['--model', str(write_tiny_model(tmp_path / 'model').folder)]
    for name in ('day', 'night'):
        write_posed_folder(tmp_path / name, range(40))
    table = tmp_path / 'night' / 'poses.csv'
    head, *rows = table.read_text().splitlines()
    moved = [row.split(',') for row in rows]
    table.write_text('\n'.join([head, *(','.join([*row[:3], '500', *row[4:]]) for row in moved)]))
    for name in ('day', 'night'):
        bag, output = ['--bag', str(tmp_path / name)], ['--output', str(tmp_path / f'{name}_map')]
        assert build_map.main([*bag, *output, *model]) == 0
    maps = [str(tmp_path / 'day_map'), str(tmp_path / 'night_map')]
    capsys.readouterr()
    assert map.main(['merge', *maps, '--output', str(tmp_path / 'both')]) == 0
    assert 'night_map: 20 of 20 of its places look like' in capsys.readouterr().err
    assert map.main(['append', maps[0], *model, '--bag', str(tmp_path / 'night')]) == 0
    said = capsys.readouterr().err
    assert 'night: 20 of 20 of its places look like' in said
    assert 'turned by 0 deg and moved by (0.0, -500.0, 0.0) m' in said
    assert map.main(['append', maps[1], *model, '--bag', str(tmp_path / 'night')]) == 0
    assert 'of its places look like' not in capsys.readouterr().err
    grown = PlaceMap.open(maps[0])
    assert len(appended_notes(grown, 40, 'night')) == 1
