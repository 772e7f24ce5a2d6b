"""What tells whether a pose by landmarks is right, and the weights that vpr_ros ships for it.

    python benchmarks/landmark_confidence.py --rows DIR [--town DIR] [--features sift,xfeat]
    python benchmarks/landmark_confidence.py --rows DIR --fit [--features sift,xfeat]

Drives are localized on maps with landmarks: along the drive; each image anew; with the places
around the robot left out of the map, so that only look-alikes can answer; and on maps of other
sets. A row is what was observed of one verification and whether its pose was within the radius.
The second form fits the weights, and judges those of the other sets on each set. The shipped ones
are the line "without town", or "all sets" where there are no rows of a town.

--town: a folder with `day`, perhaps `dusk`, of another town, which is drawn with bpy
(demo/requirements.txt): `python demo/render.py --seed 8 --condition day --samples 6 --output
DIR/day`.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from inputs import DRIVES, add_data_argument
from landmarks import as_posed_folder, kinds_there
from real_drives import run, split_in_two

from vpr_ros import build_map
from vpr_ros.core.camera import Camera
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.geometry import compose, invert
from vpr_ros.core.image import read, shows_something
from vpr_ros.core.landmarks.features import FeatureRays, Features, Keypoints, SiftFeatures
from vpr_ros.core.landmarks.xfeat import XFeatFeatures
from vpr_ros.core.localizing.confidence import Calibration, at_most_known
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.consensus import Verified
from vpr_ros.core.localizing.judges import Verdict
from vpr_ros.core.localizing.landmark_evidence import (
    LANDMARK_CENTRES,
    LANDMARK_OBSERVATIONS,
    LANDMARK_SCALES,
    LANDMARKS_OBSERVED,
)
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.outcome import Fix, NoFix, Outcome, Reason
from vpr_ros.core.localizing.query import Query
from vpr_ros.core.localizing.rig import Rig
from vpr_ros.core.localizing.verify import Placed, Verifier, decided
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Image
from vpr_ros.drives import open_drive
from vpr_ros.evaluating.fitting import fit
from vpr_ros.evaluating.reliability import reliability
from vpr_ros.map_care.edit import keep_places

LOOSE = LocalizerConfig(min_inliers=6, min_inlier_ratio=0.2)
"""Takes more for a place than the defaults, to know what wrong ones look like."""
HOLES_M = (20.0, 60.0)
BLOCKS = 5
FOREIGN_FRAMES = 20
RATES = (0.01, 0.05)
REPORT = (
    *('landmarks', 'set left out of the fit', 'frames', 'by landmarks before', 'all fixes before'),
    *('by landmarks at 0.01', 'all fixes at 0.01', 'by landmarks at 0.05', 'all fixes at 0.05'),
    'calibration error',
)
A_FIX = Fix(np.array([0, 0, 0, 0, 0, 0, 1.0]), np.eye(6), 1.0, 0)
DEFAULTS = LocalizerConfig()
LEAST_RATIO = {'sift': SiftFeatures.least_inlier_ratio} | dict.fromkeys(
    ('xfeat', 'xfeat-lighterglue'), XFeatFeatures.least_inlier_ratio
)
PERIOD_NS = 125_000_000
UNPOSED = ('corridor', 'ie_tower_indoor', 'rtabmap_corridor_loop', 'lund_street_gps')


@dataclass(frozen=True)
class Driven:
    """One drive, all in memory."""

    name: str
    images: list[Image]
    descriptors: np.ndarray  # [Q, D]
    bases: np.ndarray  # [Q, 7]
    stamps_ns: np.ndarray  # [Q]


@dataclass(frozen=True)
class Pair:
    """A mapped drive and one to be localized on it."""

    group: str  # pairs of one group share scenes
    name: str
    mapped: Path
    driven: Path
    radius_m: float


class Remembering:
    """Features that find and match nothing twice, and take any share of matches for a place."""

    least_inlier_ratio = 0.0

    def __init__(self, features: Features, found: dict, matched: dict) -> None:
        self._features, self._found, self._matched = features, found, matched

    def __getattr__(self, name: str) -> object:
        return getattr(self._features, name)

    def extract(self, image: Image) -> Keypoints:
        if id(image) not in self._found:
            self._found[id(image)] = image, self._features.extract(image)
        return self._found[id(image)][1]

    def match(self, first: FeatureRays, second: FeatureRays) -> tuple[np.ndarray, np.ndarray]:
        key = id(first.descriptors), hash(second.descriptors.tobytes())
        if key not in self._matched:
            self._matched[key] = self._features.match(first, second)
        return self._matched[key]


class Recorder(Verifier):
    """Keeps what was seen, and leaves the judge's outcome as it is."""

    placed: Placed | None = None
    verified: Verified | None = None
    judged: Outcome | None = None

    def refine(self, query: Query, verdict: Verdict, rig: Rig, config: LocalizerConfig) -> Outcome:
        self.verified = None
        self.placed, self.judged = self.place(query, verdict, rig, config), verdict.outcome
        return verdict.outcome

    def verify(self, *arguments: object) -> Verified | None:
        self.verified = super().verify(*arguments)
        return self.verified


COLUMNS = (
    *('inliers', 'odds', 'sigma', 'ahead'),
    *('matches', 'agreement', 'right'),
    *('judged', 'judged_probability', 'judged_right', 'same_place', 'frame'),
)


def localized(
    place_map: PlaceMap,
    driven: Driven,
    radius_m: float,
    frames: np.ndarray,
    features: Features,
    *,
    cold: bool = False,
    foreign: bool = False,
) -> np.ndarray:
    """Rows [frames, COLUMNS] of a drive on a map, NaN where landmarks support nothing."""
    config = replace(LOOSE, agreement_radius=radius_m)
    localizer = Localizer(None, place_map, config)
    recorder = Recorder(place_map)
    recorder._features = features
    wanted, rows = set(frames.tolist()), []
    for frame in range(int(frames.max()) + 1):
        if cold and frame not in wanted:
            continue
        if cold:
            localizer.reset()
        localizer._verifier = recorder if frame in wanted else None
        image = driven.images[frame]
        query = Query(
            driven.descriptors[frame],
            int(driven.stamps_ns[frame]),
            shows_something=shows_something(image),
            image=image,
        )
        recorder.placed = recorder.judged = None
        localizer.locate(query)
        if frame in wanted:
            rows.append(row(recorder, driven.bases[frame], radius_m, frame, foreign=foreign))
    return np.array(rows)


def row(
    recorder: Recorder, base: np.ndarray, radius_m: float, frame: int, *, foreign: bool
) -> list[float]:
    placed, judged = recorder.placed, recorder.judged
    found = dict.fromkeys(COLUMNS, np.nan) | {'frame': frame, 'judged': isinstance(judged, Fix)}
    if judged is not None:
        found['judged_probability'] = judged.probability
    if isinstance(judged, Fix):
        apart_m = np.linalg.norm(judged.pose[:3] - base[:3])
        found['judged_right'] = not foreign and apart_m <= radius_m
    if placed is not None:
        error_m = np.inf if foreign else np.linalg.norm(placed.fix.pose[:3] - base[:3])
        found |= dict(zip(COLUMNS, placed.observed))
        found['matches'], found['agreement'] = (
            recorder.verified.best_matches,
            recorder.verified.agreement,
        )
        found['right'] = error_m <= radius_m
        if isinstance(judged, Fix):
            apart_m = np.linalg.norm(judged.pose[:3] - placed.fix.pose[:3])
            found['same_place'] = apart_m <= radius_m
    return [float(found[name]) for name in COLUMNS]


def driven_of(folder: Path, describer: OnnxDescriber) -> Driven:
    """A recording with poses."""
    drive = open_drive(folder)
    frames = list(drive.frames())
    images = [frame.load() for frame in frames]
    stamps_ns = np.array([frame.stamp_ns for frame in frames])
    cameras, _ = drive.trajectory.at(stamps_ns)
    rows = np.array([describer.describe([image])[0] for image in images])
    name = '_'.join(folder.parts[-2:])
    return Driven(name, images, rows, compose(cameras, invert(drive.base_T_camera)), stamps_ns)


def foreign_of(driven: Driven, camera: Camera, describer: OnnxDescriber) -> Driven:
    """Its first images, cut to another camera's shape, as that camera would have had them."""
    images = [cut(image, camera) for image in driven.images[:FOREIGN_FRAMES]]
    rows = np.array([describer.describe([image])[0] for image in images])
    count = len(images)
    return Driven(driven.name, images, rows, driven.bases[:count], driven.stamps_ns[:count])


def cut(image: Image, camera: Camera) -> Image:
    height, width = image.shape[:2]
    wanted = camera.width_px / camera.height_px
    if width / height > wanted:
        left = round((width - height * wanted) / 2)
        image = image[:, left : width - left]
    else:
        top = round((height - width / wanted) / 2)
        image = image[top : height - top]
    return cv2.resize(image, (camera.width_px, camera.height_px), interpolation=cv2.INTER_AREA)


def unposed(folder: Path) -> Driven:
    """The first images of a folder."""
    part = next(folder / name for name in ('queries', 'images') if (folder / name).is_dir())
    files = sorted(part.iterdir())[:FOREIGN_FRAMES]
    images = [read(file) for file in files]
    bases = np.tile([0.0] * 6 + [1.0], (len(images), 1))
    stamps_ns = np.arange(len(images)) * PERIOD_NS
    return Driven(folder.name, images, np.zeros((len(images), 1)), bases, stamps_ns)


def pairs_of(data: Path, town: Path | None, folder: Path) -> Iterator[Pair]:
    towns = {'demo': (DRIVES / 'day', DRIVES / 'dusk')}
    if town:
        towns['town'] = (town / 'day', town / 'dusk')
    for name, drives in towns.items():
        there = [drive for drive in drives if drive.is_dir()]
        if len(there) == 2:
            yield Pair(name, 'day-dusk', *there, 5.0)
            yield Pair(name, 'dusk-day', *reversed(there), 5.0)
        for drive in there:
            posed = drive if (drive / 'poses.csv').is_file() else None
            posed = posed or as_posed_folder(drive, folder / name / drive.name)
            even, odd = split_in_two(posed, folder / f'{name}_{drive.name}')
            yield Pair(name, f'{drive.name}-even', even, odd, 5.0)
            yield Pair(name, f'{drive.name}-odd', odd, even, 5.0)
    if (data / 'kitti_clip1').is_dir():
        even, odd = split_in_two(data / 'kitti_clip1', folder / 'kitti')
        yield Pair('kitti', 'even', even, odd, 3.0)
        yield Pair('kitti', 'odd', odd, even, 3.0)


def collect(
    kind: str, data: Path, town: Path | None, output: Path, groups: set[str], each: int
) -> None:
    """Write the rows of all pairs by one kind of features, a file for each."""
    describer = OnnxDescriber(Model.open(default_model(), precision='fp32'), threads=1)
    drives: dict[Path, Driven] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pairs = list(pairs_of(data, town, folder))
        for path in dict.fromkeys(pair.driven for pair in pairs):
            drives[path] = driven_of(path, describer)
        foreign = [unposed(data / name) for name in UNPOSED if (data / name).is_dir()]
        for number, pair in enumerate(pairs):
            done = output / f'{kind}+{pair.group}+{pair.name}.npz'
            names = {pair.group, f'{pair.group}+{pair.name}'}
            if done.is_file() or (groups and not groups & names):
                continue
            made = str(folder / f'map{number}')
            asked = ['--bag', str(pair.mapped), '--output', made, '--landmarks', kind]
            run(build_map.main, *asked, '--precision', 'fp32')
            place_map = PlaceMap.open(Path(made))
            features = Remembering(place_map.features(), {}, {})
            others = {}
            for other in pairs:
                if other.group != pair.group:
                    others.setdefault(other.group, drives[other.driven])
            driven = drives[pair.driven]
            found = dict(variants(place_map, driven, pair.radius_m, features, folder, each))
            for other in [*others.values(), *foreign]:
                strange = foreign_of(other, place_map.header.camera, describer)
                frames = np.arange(0, len(strange.images), each)
                for cold in (False, True):
                    key = f'foreign {other.name} {"cold" if cold else "warm"}'
                    found[key] = localized(
                        *(place_map, strange, pair.radius_m, frames, features),
                        cold=cold,
                        foreign=True,
                    )
            np.savez(done, **found)
            print(f'{done.name}: {summary(found)}', flush=True)


def variants(
    place_map: PlaceMap,
    driven: Driven,
    radius_m: float,
    features: Features,
    folder: Path,
    each: int,
) -> Iterator[tuple[str, np.ndarray]]:
    frames = np.arange(0, len(driven.images), each)
    run_on = partial(localized, driven=driven, radius_m=radius_m, features=features)
    yield 'warm', run_on(place_map, frames=frames)
    yield 'cold', run_on(place_map, frames=frames, cold=True)
    places_m = place_map.base_poses()[:, :3]
    for hole_m in HOLES_M:
        warm, cold = [], []
        for block in np.array_split(frames, BLOCKS):
            apart_m = np.linalg.norm(places_m[:, None] - driven.bases[block, :3], axis=2)
            kept = apart_m.min(axis=1) > hole_m
            if kept.sum() < 5:
                continue
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                keep_places(place_map, kept, Path(temporary) / 'map')
                holed = PlaceMap.open(Path(temporary) / 'map')
                warm.append(run_on(holed, frames=block))
                cold.append(run_on(holed, frames=block[::2], cold=True))
        if warm:
            yield f'hole{hole_m:.0f} warm', np.concatenate(warm)
            yield f'hole{hole_m:.0f} cold', np.concatenate(cold)


def summary(found: dict[str, np.ndarray]) -> str:
    right = np.concatenate([rows[:, COLUMNS.index('right')] for rows in found.values()])
    seen = ~np.isnan(right)
    return f'{len(right)} verified, {seen.sum()} supported, {int(right[seen].sum())} right'


@dataclass(frozen=True)
class Rows:
    """Verifications of one kind of features, R of them."""

    values: np.ndarray  # [R, COLUMNS]
    group: np.ndarray  # [R], of the map
    pair: np.ndarray  # [R]
    variant: np.ndarray  # [R]

    def __getitem__(self, which: np.ndarray) -> 'Rows':
        return Rows(*(rows[which] for rows in astuple(self)))

    def __getattr__(self, name: str) -> np.ndarray:
        return self.values[:, COLUMNS.index(name)]

    @property
    def observed(self) -> np.ndarray:
        return self.values[:, :LANDMARKS_OBSERVED]

    @property
    def supported(self) -> np.ndarray:
        return ~np.isnan(self.right)

    @property
    def on_map(self) -> np.ndarray:
        return np.isin(self.variant, ('warm', 'cold'))

    def held(self, kind: str) -> np.ndarray:
        """Which rows the configured number and share of inliers let through."""
        odds = np.exp(self.odds)
        inliers = ((self.matches + 0.5) * odds - 0.5) / (1 + odds)
        least = max(DEFAULTS.min_inlier_ratio, LEAST_RATIO[kind])
        enough = inliers > DEFAULTS.min_inliers - 0.5
        return self.supported & enough & (inliers > least * self.matches - 1e-6)


def rows_of(kind: str, folder: Path) -> Rows:
    found: list[tuple[np.ndarray, str, str, str]] = []
    for file in sorted(folder.glob(f'{kind}+*.npz')):
        _, group, pair = file.stem.split('+')
        with np.load(file) as kept:
            found += [(kept[variant], group, pair, variant) for variant in kept.files]
    if not found:
        raise SystemExit(f'{folder}: no rows of {kind}; collect them first')
    values = np.concatenate([entry[0] for entry in found])
    names = [
        np.repeat([entry[n] for entry in found], [len(e[0]) for e in found]) for n in (1, 2, 3)
    ]
    return Rows(values, *names)


def fitted(rows: Rows, kind: str, source: str) -> Calibration:
    """The weights for what is observed of landmarks.

    The robot is on the map or elsewhere alike, as a belief begins: frames whose place the map has
    weigh as much, all together, as those whose place it lacks.
    """
    counts = np.where(rows.on_map, 1.0, rows.on_map.sum() / max((~rows.on_map).sum(), 1))
    held = rows.held(kind)
    return fit(
        rows.observed[held],
        rows.right[held] == 1,
        prior=Calibration((0.0,) * len(LANDMARK_OBSERVATIONS), 0.0, 'nothing'),
        source=source,
        counts=counts[held],
        centres=LANDMARK_CENTRES,
        scales=LANDMARK_SCALES,
    )


def wilson(wrong: int, count: int) -> str:
    """A share and its 95 % interval (Wilson 1927)."""
    if not count:
        return '0 of 0'
    share, z = wrong / count, 1.96
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + (z / count) ** 2 / 4) / (1 + z**2 / count)
    return f'{wrong} of {count} [{max(middle - half, 0):.3f}, {min(middle + half, 1):.3f}]'


def outcome(row: Rows, probability: float, least: float) -> tuple[bool, bool]:
    """Whether a frame gets a fix, and whether it is wrong, as verify.py decides."""
    judged = replace(A_FIX, probability=float(row.judged_probability[0]))
    if not row.judged[0]:
        judged = NoFix(Reason.NOT_SURE)
    if np.isnan(probability):
        return bool(row.judged[0]), bool(row.judged[0] and not row.judged_right[0])
    apart_m = 0.0 if row.same_place[0] == 1 else 1e6
    pose = np.array([apart_m, *A_FIX.pose[1:]])
    placed = Fix(pose, np.eye(6), probability, 0, inliers=99)
    found = decided(judged, placed, replace(DEFAULTS, max_false_fix_rate=1 - least))
    if isinstance(found, NoFix):
        return False, False
    return True, not (row.right[0] if found.inliers else row.judged_right[0])


def line(name: str, rows: Rows, probability: np.ndarray, kind: str) -> str:
    """What the gate before and each rate let through, by landmarks alone and with the belief."""
    held = rows.held(kind)
    before = held & (rows.agreement >= DEFAULTS.min_agreement)
    cells = [str(len(rows.group)), wilson(int((rows.right[before] == 0).sum()), int(before.sum()))]
    ends = np.where(before, rows.right == 0, rows.judged_right == 0)  # the gate asked nobody
    cells.append(wilson(int(ends.sum()), int((before | (rows.judged == 1)).sum())))
    for rate in RATES:
        fixes = held & (probability >= 1 - rate)
        cells.append(wilson(int((rows.right[fixes] == 0).sum()), int(fixes.sum())))
        ends = np.array(
            [
                outcome(rows[[n]], probability[n] if held[n] else np.nan, 1 - rate)
                for n in range(len(rows.group))
            ]
        )
        cells.append(wilson(int(ends[:, 1].sum()), int(ends[:, 0].sum())))
    error = reliability(probability[held], rows.right[held] == 1).error if held.any() else np.nan
    return f'| {kind} | {name} | ' + ' | '.join([*cells, f'{error:.3f}']) + ' |'


def report(kind: str, folder: Path) -> None:
    """Print the weights from all rows, and what those of the other sets do on each set."""
    rows = rows_of(kind, folder)
    groups = list(dict.fromkeys(rows.group.tolist()))
    for group in [*(groups if len(groups) > 1 else []), 'all']:
        inside = rows.group == group
        source = 'all sets' if group == 'all' else f'without {group}'
        made = fitted(rows if group == 'all' else rows[~inside], kind, source)
        print(made, file=sys.stderr)
        judged = rows if group == 'all' else rows[inside]
        probability = np.full(len(judged.group), np.nan)
        seen = judged.supported
        probability[seen] = at_most_known(made, judged.observed[seen])
        for what, chosen in (
            ('along drives', judged.variant == 'warm'),
            ('each image anew', judged.variant == 'cold'),
            ('places left out', np.char.startswith(judged.variant, 'hole')),
            ('other sets', np.char.startswith(judged.variant, 'foreign')),
        ):
            print(line(f'{group}, {what}', judged[chosen], probability[chosen], kind))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    add_data_argument(parser)
    parser.add_argument('--town', type=Path)
    parser.add_argument('--rows', type=Path, required=True)
    parser.add_argument('--fit', action='store_true', help='fit and judge the rows that are there')
    parser.add_argument(
        '--groups', help='collect for these only: demo,town,kitti, or demo+day-dusk'
    )
    parser.add_argument('--features', metavar='KIND,KIND', help='default: all that are there')
    parser.add_argument(
        '--each',
        type=int,
        default=1,
        metavar='N',
        help='verify each Nth image: LighterGlue is slow',
    )
    arguments = parser.parse_args()
    arguments.rows.mkdir(parents=True, exist_ok=True)
    groups = set((arguments.groups or '').split(',')) - {''}
    if arguments.fit:
        print('\n| ' + ' | '.join(REPORT) + ' |\n|' + '---|' * len(REPORT))
        there = dict.fromkeys(file.name.split('+')[0] for file in sorted(arguments.rows.iterdir()))
        for kind in (arguments.features or ','.join(there)).split(','):
            report(kind, arguments.rows)
        return 0
    kinds = (arguments.features or ','.join(kinds_there())).split(',')
    for kind in kinds:
        collect(kind, arguments.data, arguments.town, arguments.rows, groups, arguments.each)
    return 0


if __name__ == '__main__':
    sys.exit(main())
