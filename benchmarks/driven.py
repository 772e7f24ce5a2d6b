"""Drives whose truth is known, localized frame by frame on maps that are made from others.

What the benchmarks of drives share: a drive as descriptors (`Pass`), a map made of one (`Bench`),
and what each frame of another gets on it (`localized`). Descriptors are kept in a folder between
runs, by the digest of the model's graph.
"""

import csv
import hashlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from vpr_ros.core.atomic import staged_file
from vpr_ros.core.camera import Camera
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.documents import parse_yaml
from vpr_ros.core.geometry import FORWARD_CAMERA, IDENTITY, compose, invert
from vpr_ros.core.image import read
from vpr_ros.core.landmarks.features import CellFeatures
from vpr_ros.core.landmarks.points import LandmarkMaker
from vpr_ros.core.localizing import match
from vpr_ros.core.localizing.confidence import OBSERVED, Calibration
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.kept_calibrations import model_calibration_of
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.core.localizing.query import Query
from vpr_ros.core.mapping.described import describe_as_kept
from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.writer import build
from vpr_ros.drives import DriveOptions, open_drive
from vpr_ros.evaluating.ellipse import Extent, is_inside
from vpr_ros.evaluating.tolerance import Tolerance
from vpr_ros.session.tracker import State, Tracker

T = TypeVar('T')

PERIOD_NS = 125_000_000
RADII_M = {
    'corridor': 2.0,
    'gardenspoint_thumb': 2.0,
    'nordland_64x32': 1.0,
    'rtabmap_corridor_loop': 2.0,
}
"""Of sets whose truth is in frames: a frame is a metre."""

SAME_WAY_RAD = np.radians(45.0)
"""A place that looks another way than this is not what the camera sees."""


@dataclass(frozen=True)
class Pass:
    """One drive: what was seen where and when."""

    descriptors: np.ndarray  # [Q, D]
    cells: np.ndarray | None  # [Q, h * w, C / 8]
    bases: np.ndarray  # [Q, 7]
    stamps_ns: np.ndarray  # [Q]
    loads: np.ndarray  # [Q], what gives the images
    travelled_m: np.ndarray | None = None  # [Q], by odometry since the frame before
    camera: Camera | None = None  # None: not calibrated
    base_T_camera: np.ndarray = field(default_factory=lambda: FORWARD_CAMERA)  # [7]

    def __getitem__(self, rows: np.ndarray | slice) -> 'Pass':
        """Some of the images, in the order given, at the first stamps; without odometry."""
        bases = self.bases[rows]
        stamps_ns = self.stamps_ns[: len(bases)]
        cells = None if self.cells is None else self.cells[rows]
        return replace(
            self,
            descriptors=self.descriptors[rows],
            cells=cells,
            bases=bases,
            stamps_ns=stamps_ns,
            loads=self.loads[rows],
            travelled_m=None,
        )

    @cached_property
    def blank(self) -> np.ndarray:
        """An image of the drive's size: what it shows is known by its cells."""
        height, width = self.loads[0]().shape[:2]
        return np.broadcast_to(np.uint8(0), (height, width, 3))

    def __len__(self) -> int:
        return len(self.bases)

    def cut(self, start: int, end: int) -> 'Pass':
        """A stretch of the drive at its own stamps, with its odometry."""
        part = slice(start, end)
        return replace(
            self,
            descriptors=self.descriptors[part],
            cells=None if self.cells is None else self.cells[part],
            bases=self.bases[part],
            stamps_ns=self.stamps_ns[part],
            loads=self.loads[part],
            travelled_m=None if self.travelled_m is None else self.travelled_m[part],
        )


@dataclass(frozen=True)
class Bench:
    """A mapped drive and one to be localized on it."""

    name: str
    mapped: Pass
    driven: Pass
    radius_m: float
    place_map: PlaceMap

    @property
    def rounding_m(self) -> float:
        """Half a frame where truth is in whole frames and a pose lies between them."""
        return 0.5 if self.name in RADII_M else 0.0


@dataclass(frozen=True)
class Outcome:
    """What a drive got, frame by frame, [Q] each."""

    best: np.ndarray  # whether the best place is true
    single: np.ndarray  # the same from the image alone
    matchable: np.ndarray  # whether there is a true place
    observed: np.ndarray  # [Q, OBSERVED], NaN where nothing was seen
    probability: np.ndarray
    fixed: np.ndarray
    right: np.ndarray  # whether there is a fix and it is true
    inside: np.ndarray  # of a true fix: whether the truth is in its 95 % ellipsoid; else NaN
    states: list[State]
    error_m: np.ndarray  # of a fix: how far the truth is from it; else NaN


def described(
    name: str, images: np.ndarray, model: Model, cache: Path | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Descriptors [Q, D] and cells of a list of images, from the cache if they are there."""
    kept = cache / f'{name}-{model.graph_sha256[:12]}.npz' if cache else None
    if kept and kept.is_file():
        with np.load(kept, allow_pickle=False) as arrays:
            if len(arrays['descriptors']) == len(images):
                return arrays['descriptors'], arrays.get('cells')
    describer = OnnxDescriber(model)
    seen = [
        describe_as_kept(describer, load())
        for load in tqdm(images, desc=name, unit='image', disable=None, delay=2)
    ]
    arrays = {'descriptors': np.array([one.descriptor for one in seen])}
    if model.card.cells is not None:
        arrays['cells'] = np.array([one.cells for one in seen])
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with staged_file(kept) as staged, staged.open('wb') as file:
            np.savez(file, **arrays)
    return arrays['descriptors'], arrays.get('cells')


def folder_pass(folder: Path, model: Model, cache: Path | None) -> Pass:
    """A folder of images as a drive along x."""
    return line_pass(f'{folder.parent.name}-{folder.name}', sorted(folder.iterdir()), model, cache)


def line_pass(name: str, files: Sequence[Path], model: Model, cache: Path | None) -> Pass:
    """Images as a drive along x: image k at k metres."""
    loads = np.array([partial(read, file) for file in files])
    rows, cells = described(name, loads, model, cache)
    bases = np.tile(IDENTITY, (len(rows), 1))
    bases[:, 0] = np.arange(len(rows))
    return Pass(rows, cells, bases, np.arange(len(rows)) * PERIOD_NS, loads)


def drive_pass(folder: Path, model: Model, cache: Path | None, *, name: str = '') -> Pass:
    """A recording with poses; with the odometry of its odometry.csv, if it has one.

    name: under which its descriptors are kept; empty: that of the folder.
    """
    drive = open_drive(folder, DriveOptions(base_T_camera=_mounting(folder / 'mounting.yaml')))
    frames = list(drive.frames())
    loads = np.array([frame.load for frame in frames])
    rows, cells = described(name or folder.name, loads, model, cache)
    stamps_ns = np.array([frame.stamp_ns for frame in frames])
    cameras, _ = drive.trajectory.at(stamps_ns)
    bases = compose(cameras, invert(drive.base_T_camera))
    travelled_m = _travelled_m(folder / 'odometry.csv', stamps_ns)
    return Pass(
        rows, cells, bases, stamps_ns, loads, travelled_m, drive.camera, drive.base_T_camera
    )


def _mounting(file: Path) -> np.ndarray | None:
    """base_T_camera [7] as demo/render.py writes it; None where there is none."""
    found = parse_yaml(file.read_bytes()) if file.is_file() else {}
    return np.array([*found['position_m'], *found['quat_xyzw']]) if 'quat_xyzw' in found else None


def _travelled_m(table: Path, stamps_ns: np.ndarray) -> np.ndarray | None:
    """How far the robot drove since the image before, [Q]; None without odometry."""
    if not table.is_file():
        return None
    with table.open(newline='') as file:
        rows = [
            (float(row['stamp_s']), float(row['x']), float(row['y']))
            for row in csv.DictReader(file)
        ]
    stamp_s, x, y = np.array(rows).T
    at = [np.interp(stamps_ns / 1e9, stamp_s, axis) for axis in (x, y)]
    return np.hypot(*(np.diff(axis, prepend=axis[0]) for axis in at))


def written(mapped: Pass, model: Model, folder: Path) -> PlaceMap:
    """A map of a drive, as build_map makes it: with landmarks by cells of a calibrated camera."""
    features = CellFeatures() if mapped.camera is not None and mapped.cells is not None else None
    maker = None if features is None else LandmarkMaker(mapped.camera, features)
    header = MapHeader(
        model_name=model.card.name,
        model_sha256=model.card.sha256,
        descriptor_size=mapped.descriptors.shape[1],
        model_calibration=model.card.calibration,
        cells=model.card.cells,
        base_T_camera=tuple(mapped.base_T_camera.tolist()),
        camera=None if features is None else mapped.camera,
        landmark_features='' if features is None else features.name,
    )
    with build(folder, header, features=features) as writer:
        for row, (descriptor, base) in enumerate(
            zip(mapped.descriptors, mapped.bases, strict=True)
        ):
            writer.add(
                descriptor,
                compose(base, mapped.base_T_camera),
                stamp_ns=int(mapped.stamps_ns[row]),
                name=str(row),
                thumbnail=b'',
                cells=None if mapped.cells is None else mapped.cells[row],
            )
            if maker is not None:
                pose = compose(base, mapped.base_T_camera)
                for landmarks in maker.add(mapped.loads[row](), pose):
                    writer.add_landmarks(landmarks)
        for landmarks in () if maker is None else maker.finish():
            writer.add_landmarks(landmarks)
    return PlaceMap.open(folder)


def localized(
    bench: Bench,
    driven: Pass,
    *,
    seen: np.ndarray | None = None,
    foreign: bool | np.ndarray = False,
    calibration: Calibration | None = None,
) -> Outcome:
    """A drive along a map, frame by frame; by odometry, too, where the drive has some.

    seen: [Q], whether an image shows something. foreign: whether no answer can be right, for all
    frames or for each [Q]. calibration: None takes that of the model.
    """
    made = calibration or model_calibration_of(bench.place_map.header)
    config = LocalizerConfig(agreement_radius=bench.radius_m)
    localizer, tracker = Localizer(None, bench.place_map, config, calibration=made), Tracker()
    places = bench.place_map.base_poses()
    near_by = Tolerance(bench.radius_m, SAME_WAY_RAD)
    fix_near_by = Tolerance(bench.radius_m + bench.rounding_m, SAME_WAY_RAD)
    own = ~np.broadcast_to(foreign, len(driven))
    truth = [bench.mapped.bases[:, :3], driven.bases[own, :3]]
    extent = Extent.of(np.concatenate(truth))
    rows = []
    states = []
    for frame, (descriptor, base) in enumerate(zip(driven.descriptors, driven.bases, strict=True)):
        query = Query(
            descriptor,
            int(driven.stamps_ns[frame]),
            cells=None if driven.cells is None else driven.cells[frame],
            shows_something=bool(seen is None or seen[frame]),
            image=driven.blank if bench.place_map.has_landmarks else None,
            travelled_m=None if driven.travelled_m is None else float(driven.travelled_m[frame]),
        )
        located = localizer.locate(query)
        near = near_by.accepts(places, base) & own[frame]
        outcome = located.outcome
        fixed = isinstance(outcome, Fix)
        right = fixed and own[frame] and bool(fix_near_by.accepts(outcome.pose, base))
        first, alone = (found.place_index[0] for found in (located.candidates, located.similar))
        inside = error_m = np.nan
        if fixed and own[frame]:
            away_m = outcome.pose[:3] - base[:3]
            error_m = float(np.linalg.norm(away_m))
            if right:
                inside = is_inside(away_m, outcome.covariance[:3, :3], extent)
        observed = np.full(OBSERVED, np.nan) if located.observed is None else located.observed
        facts = (near[first], near[alone], near.any(), outcome.probability, fixed, right)
        rows.append((*facts, inside, error_m, *observed))
        states.append(tracker.follow(located, localizer))
    table = np.array(rows, dtype=float)
    best, single, matchable, _, fixed, right = table[:, :6].astype(bool).T
    return Outcome(
        best,
        single,
        matchable,
        table[:, 8:],
        table[:, 3],
        fixed,
        right,
        table[:, 6],
        states,
        table[:, 7],
    )


class Maps:
    """Maps of drives, each written once into a folder."""

    def __init__(self, model: Model, folder: Path) -> None:
        self._model = model
        self._folder = folder
        self._folders: dict[str, Path] = {}

    def write(self, name: str, mapped: Pass) -> Path:
        """The folder of the map of a drive, of which the name tells it from others."""
        if name not in self._folders:
            self._folders[name] = self._folder / f'map-{len(self._folders)}'
            written(mapped, self._model, self._folders[name])
        return self._folders[name]

    def bench(self, place: str, name: str, mapped: Pass, driven: Pass, radius_m: float) -> Bench:
        """A drive on the map of another."""
        place_map = PlaceMap.open(self.write(name, mapped))
        return Bench(place, mapped, driven, radius_m, place_map)


class Matches:
    """Matches of cells, remembered by what was matched: they take most of the time of a frame.

    Kept in a file between runs, for as long as the matching itself stays as it is.
    """

    def __init__(self, cache: Path | None) -> None:
        package = Path(match.__file__).parent.parent
        sources = [Path(match.__file__), *sorted((package / 'matching').glob('*.py'))]
        made = hashlib.sha256(b''.join(file.read_bytes() for file in sources)).hexdigest()
        self._file = cache / f'matches-{made[:12]}.npz' if cache else None
        self._known: dict[bytes, np.ndarray] = {}
        self._new: dict[bytes, np.ndarray] = {}
        if self._file and self._file.is_file():
            with np.load(self._file, allow_pickle=False) as arrays:
                keys, starts, scores = (arrays[name] for name in ('keys', 'starts', 'scores'))
            ends = np.append(starts[1:], len(scores))
            for key, start, end in zip(keys, starts.tolist(), ends.tolist()):
                self._known[key.tobytes()] = scores[start:end]

    @contextmanager
    def remembered(self) -> Iterator[None]:
        """Within it, the localizer looks here before it matches."""
        matches = match.match_scores

        def remembering(
            query: np.ndarray, places: np.ndarray, grid: tuple[int, int]
        ) -> np.ndarray:
            digest = hashlib.blake2b(query.tobytes(), digest_size=16)
            digest.update(places.tobytes())
            key = digest.digest()
            if key not in self._known:
                self._known[key] = self._new[key] = matches(query, places, grid)
            return self._known[key]

        match.match_scores = remembering
        try:
            yield
        finally:
            match.match_scores = matches

    def new(self) -> dict[bytes, np.ndarray]:
        """What has been matched since the last call."""
        new, self._new = self._new, {}
        return new

    def add(self, found: dict[bytes, np.ndarray]) -> None:
        """Know what another process matched."""
        self._known |= found

    def save(self) -> None:
        """Write all into the file."""
        if self._file is None or not self._known:
            return
        keys = np.frombuffer(b''.join(self._known), dtype=np.uint8).reshape(-1, 16)
        scores = list(self._known.values())
        starts = np.cumsum([0, *map(len, scores[:-1])])
        with staged_file(self._file) as staged, staged.open('wb') as file:
            np.savez(file, keys=keys, starts=starts, scores=np.concatenate(scores))


_WORK: tuple[Callable[[int], Any], Matches] | None = None


def spread(
    work: Callable[[int], T],
    count: int,
    matches: Matches | None = None,
    *,
    workers: int,
    unit: str,
) -> Iterator[T]:
    """work(0) to work(count - 1) by forked processes, in order, with their matches remembered."""
    global _WORK  # which the workers inherit: no large arguments go to them
    _WORK = (work, matches or Matches(None))
    with multiprocessing.get_context('fork').Pool(workers) as pool:
        found = pool.imap(_one, range(count))
        for result, new in tqdm(found, total=count, unit=unit, disable=None):
            _WORK[1].add(new)
            yield result


def _one(number: int) -> tuple[Any, dict[bytes, np.ndarray]]:
    work, matches = _WORK
    with matches.remembered():
        return work(number), matches.new()


def carried(driven: Pass) -> Pass:
    """The first and the last of three thirds: the robot is carried over the second."""
    third = len(driven) // 3
    return driven[np.r_[0:third, 2 * third : len(driven)]]


def strayed(driven: Pass, elsewhere: Pass) -> tuple[Pass, np.ndarray]:
    """A drive whose middle third is another's: it leaves the map and returns.

    And which frames are the other's, [Q]. Stamps go on; the way driven does not, of which there is
    no odometry.
    """
    start = len(driven) // 3
    end = start + min(start, len(elsewhere))
    foreign = np.zeros(len(driven), dtype=bool)
    foreign[start:end] = True

    def mixed(own: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.concatenate([own[:start], other[: end - start], own[end:]])

    cells = None if driven.cells is None else mixed(driven.cells, elsewhere.cells)
    made = replace(
        driven,
        descriptors=mixed(driven.descriptors, elsewhere.descriptors),
        cells=cells,
        loads=mixed(driven.loads, elsewhere.loads),
        travelled_m=None,
    )
    return made, foreign
