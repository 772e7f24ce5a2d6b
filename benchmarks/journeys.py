"""The drives that the matrix of pairs is made of, and the pairs.

Rendered ones come from a folder of worlds (WORLD/DRIVE/ is a posed folder, as demo/render.py makes
it) and from the demo, real ones from the sets of images that are sequences.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from driven import RADII_M, Pass, drive_pass, folder_pass, line_pass, strayed
from inputs import ROOT

from vpr_ros.core.describing.model import Model
from vpr_ros.core.geometry import IDENTITY
from vpr_ros.core.image_files import is_image_file

FRAMES = 300  # of a drive at most, so that the whole matrix takes minutes
FOREIGN_FRAMES = 150
SHORTEST_MIXTURE = 60  # frames
LAP = 40  # frames, after which rtabmap_corridor_loop repeats itself


@dataclass(frozen=True)
class Journey:
    """One drive of one place under one condition."""

    place: str
    condition: str
    driven: Pass
    radius_m: float
    is_rendered: bool
    is_metric: bool = True  # False: truth in whole frames or by GPS, too coarse for an ellipse

    @property
    def name(self) -> str:
        return f'{self.place}/{self.condition}'


@dataclass(frozen=True)
class Pair:
    """A drive on a map."""

    group: str  # rendered, real, foreign, twin or mixture
    mapped: Journey
    asked: Journey
    driven: Pass  # of it, what is localized
    foreign: np.ndarray  # [Q], whether a frame is of another place
    with_odometry: bool = False

    @property
    def name(self) -> str:
        odometry = ' + odometry' if self.with_odometry else ''
        what = ' (strays)' if self.group == 'mixture' else ''
        return f'{self.mapped.name} > {self.asked.name}{what}{odometry}'


def journeys(model: Model, data: Path, worlds: Path, cache: Path | None) -> list[Journey]:
    """All drives that are there."""
    found = list(_rendered(model, worlds, cache))
    demo = ROOT / 'demo' / 'drives'
    found += [
        Journey('demo', name, drive_pass(demo / name, model, cache), 5.0, True)
        for name in ('day', 'dusk')
    ]
    return found + list(_real(model, data, cache))


def _rendered(model: Model, worlds: Path, cache: Path | None) -> Iterator[Journey]:
    """The drives of each world, without those that are still being rendered."""
    for folder in sorted({table.parent for table in worlds.glob('*/*/poses.csv')}):
        images = [file for file in (folder / 'images').iterdir() if is_image_file(file)]
        posed = len((folder / 'poses.csv').read_text().splitlines()) - 1
        if len(images) < posed:
            print(f'{folder}: {len(images)} of {posed} images; left out')
            continue
        size = sum(file.stat().st_size for file in images)
        name = f'{folder.parent.name}-{folder.name}-{size}'
        driven = drive_pass(folder, model, cache, name=name)
        yield Journey(folder.parent.name, folder.name, driven, 5.0, True)


def _real(model: Model, data: Path, cache: Path | None) -> Iterator[Journey]:
    for name in ('corridor', 'gardenspoint_thumb', 'nordland_64x32'):
        if (data / name).is_dir():
            for part, condition in zip(('database', 'queries'), _CONDITIONS[name], strict=True):
                driven = folder_pass(data / name / part, model, cache)
                yield Journey(name, condition, driven, RADII_M[name], False, is_metric=False)
    loop = 'rtabmap_corridor_loop'
    if (data / loop).is_dir():
        whole = folder_pass(data / loop / 'images', model, cache)
        for lap, condition in enumerate(('lap 1', 'lap 2')):
            driven = whole[lap * LAP : (lap + 1) * LAP]
            driven = replace(driven, bases=whole.bases[:LAP])
            yield Journey(loop, condition, driven, RADII_M[loop], False, is_metric=False)
    if (data / 'kitti_clip1').is_dir():
        whole = drive_pass(data / 'kitti_clip1', model, cache)
        for start, condition in enumerate(('even', 'odd')):
            half = replace(whole[start::2], stamps_ns=whole.stamps_ns[start::2])
            yield Journey('kitti_clip1', condition, half, 3.0, False)
    if (data / 'lund_street_gps').is_dir():
        for part in ('database', 'queries'):
            driven = _lund(data, part, model, cache)
            yield Journey('lund_street_gps', part, driven, 15.0, False, is_metric=False)
    if (data / 'ie_tower_indoor').is_dir():
        driven = folder_pass(data / 'ie_tower_indoor' / 'queries', model, cache)
        yield Journey('ie_tower_indoor', 'floors', driven, 2.0, False, is_metric=False)


_CONDITIONS = {
    'corridor': ('pass 1', 'pass 2'),
    'gardenspoint_thumb': ('right', 'left'),
    'nordland_64x32': ('summer', 'winter'),
}


def _lund(data: Path, part: str, model: Model, cache: Path | None) -> Pass:
    """Photos along a street, by the positions that their cameras wrote down."""
    folder = data / 'lund_street_gps'
    files = sorted(file for file in (folder / part).iterdir() if is_image_file(file))
    with (folder / 'positions.csv').open(newline='') as file:
        at = {
            row['image']: (float(row['utm_east']), float(row['utm_north']))
            for row in csv.DictReader(file)
        }
    along = line_pass(f'lund_street_gps-{part}', files, model, cache)
    bases = np.tile(IDENTITY, (len(files), 1))
    bases[:, :2] = np.array([at[file.name] for file in files]) - at['01.jpg']
    return replace(along, bases=bases)


def pairs_of(found: Sequence[Journey]) -> list[Pair]:
    """The whole matrix."""
    made: list[Pair] = []
    for mapped in found:
        for asked in found:
            if mapped.place == asked.place and mapped.condition != asked.condition:
                made += _own_pairs(mapped, asked)
    return made + list(_foreign_pairs(found)) + list(_mixtures(found))


def _own_pairs(mapped: Journey, asked: Journey) -> Iterator[Pair]:
    driven = asked.driven.cut(0, FRAMES)
    own = np.zeros(len(driven), dtype=bool)
    group = 'rendered' if asked.is_rendered else 'real'
    yield Pair(group, mapped, asked, replace(driven, travelled_m=None), own)
    if driven.travelled_m is not None:
        yield Pair(group, mapped, asked, driven, own, with_odometry=True)


def _foreign_pairs(found: Sequence[Journey]) -> Iterator[Pair]:
    """The first map of each place with the last drive of each other place.

    Rendered towns have one plan of roads and some houses in common, whatever their seed is: they
    are twins, and all drives of one go along the map of the other.
    """
    first = {journey.place: journey for journey in reversed(found)}
    last = {journey.place: journey for journey in found}
    for mapped in first.values():
        for asked in found:
            is_twin = mapped.is_rendered and asked.is_rendered
            if asked.place != mapped.place and (is_twin or asked is last[asked.place]):
                driven = replace(asked.driven.cut(0, FOREIGN_FRAMES), travelled_m=None)
                group = 'twin' if is_twin else 'foreign'
                yield Pair(group, mapped, asked, driven, np.ones(len(driven), dtype=bool))


def _mixtures(found: Sequence[Journey]) -> Iterator[Pair]:
    """Each drive on the first map of its place, with another place's images in its middle."""
    first = {journey.place: journey for journey in reversed(found)}
    real = [place for place, journey in first.items() if not journey.is_rendered]
    for number, asked in enumerate(found):
        mapped = first[asked.place]
        if asked is mapped or len(asked.driven) < SHORTEST_MIXTURE:
            continue
        others = [place for place in real if place != asked.place]
        if others:
            other = first[others[number % len(others)]]
            driven, foreign = strayed(asked.driven.cut(0, FRAMES), other.driven)
            yield Pair('mixture', mapped, asked, driven, foreign)
