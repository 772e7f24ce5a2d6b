"""What may be wrong with a map, found before a robot finds it.

Damage is a file that differs from its digest. The rest are weaknesses that no file shows: places
that look like far ones, stretches of the route without a place, the same image twice, and images
in which there is little to see.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.core.errors import ImageError, MapError
from vpr_ros.core.image import shows_something
from vpr_ros.core.mapping.files import check_file
from vpr_ros.core.mapping.header import read_header
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.positions import stretches
from vpr_ros.core.plurals import by_count, counted
from vpr_ros.core.types import Image, Poses
from vpr_ros.evaluating.tolerance import Tolerance, TruePlaces
from vpr_ros.map_care.redundancy import Redundancy, standing_for

MOST_QUERIES = 20_000
"""Places that are compared with all others, and images that are looked at, in a larger map."""

_NEIGHBOURS = 50  # most similar places of each, among which near and far ones are compared
_CHUNK = 256
_STEPS = 4096  # of routes, looked into at a time
_WEAK_PERCENT = 10
_SAME_IMAGE = Redundancy(radius_m=0.05, heading_rad=float(np.radians(1.0)), similarity=0.99)
_SPACINGS_OF_A_GAP = 3.0
_DARK_LEVEL, _BRIGHT_LEVEL, _FLAT_CONTRAST = 20.0, 240.0, 10.0  # of 255: mean, mean, deviation
_BLURRED_SHARE = 0.33  # of its neighbours' sharpness; a smear of 15 pixels in 640 is below it
_NEIGHBOURHOOD = 15  # images before and after


@dataclass(frozen=True, slots=True)
class Alias:
    """Two places that look alike and lie apart."""

    place: int
    twin: int
    similarity: float
    near_similarity: float  # of the place's most similar near place; -1 where there is none
    distance_m: float


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of a recorded route without a place."""

    before: int  # the places at its ends
    after: int
    length_m: float
    seconds: float


@dataclass(frozen=True, slots=True)
class PoorImage:
    """A place whose image shows little."""

    place: int
    reason: str
    is_blank: bool = False  # the localizer would see nothing in it


@dataclass(frozen=True, slots=True)
class Findings:
    """All weaknesses of a map."""

    compared: int  # places that were compared with all others
    aliased: int  # of these, look like a far one
    aliases: list[Alias]  # the most similar pair of each two regions, most similar first
    gaps: list[Gap]  # longest first
    duplicates: NDArray[np.int64]  # [n, 2]: a place and the newer one that is the same
    poor_images: list[PoorImage]
    unpictured: int = 0  # of the compared places, those that were mapped without a thumbnail
    blank: int = 0  # of the compared places, those in whose image the localizer sees nothing


def blank_said(blank: int, images: int) -> str:
    """How many images show nothing, and what to do where most of them do."""
    verb = by_count(blank, 'shows', 'show')
    said = f'{blank} of {counted(images, "image")} {verb} nothing'
    if 2 * blank <= images:
        return said
    return (
        f'{said}, and a robot would refuse such images; if the sensor has 14 bits, '
        'convert them to 8 bits with a range'
    )


def damages(folder: Path) -> list[str]:
    """One line for each damaged or missing file; raises MapError where there is no map at all."""
    header = read_header(folder)
    found = []
    for name, digest in tqdm((header.files or {}).items(), unit='file', disable=None, delay=2):
        try:
            check_file(folder / name, digest, whole=True)
        except MapError as error:
            found.append(str(error))
    return found


def spacing_m(place_map: PlaceMap) -> float:
    """Median distance between places that follow each other on a route; 0 for a single place."""
    apart_m = _steps(place_map)[2]
    moved = apart_m[apart_m > 0]
    return float(np.median(moved)) if moved.size else 0.0


def check(place_map: PlaceMap, *, near_m: float, far_m: float) -> Findings:
    """Look for everything; near_m and far_m grow with a map whose places lie further apart."""
    spacing = spacing_m(place_map)
    near_m = max(near_m, 1.5 * spacing)
    far_m = max(far_m, 2 * near_m)
    own = np.flatnonzero(~place_map.is_distractor)
    rows = own[sampled(len(own), MOST_QUERIES)]
    aliased = find_aliases(place_map, rows, near_m=near_m, far_m=far_m)
    poor = find_poor_images(place_map, rows)
    keeper = standing_for(place_map, _SAME_IMAGE)
    doubled = np.flatnonzero(keeper != np.arange(len(keeper)))
    return Findings(
        compared=len(rows),
        aliased=len(aliased),
        aliases=distinct(aliased, place_map, far_m),
        gaps=find_gaps(place_map, shortest_m=max(near_m, _SPACINGS_OF_A_GAP * spacing)),
        duplicates=np.stack([doubled, keeper[doubled]], axis=1),
        poor_images=poor,
        unpictured=sum(not place_map.thumbnail_jpeg(row) for row in rows.tolist()),
        blank=sum(image.is_blank for image in poor),
    )


def sampled(count: int, most: int) -> NDArray[np.int64]:
    """Rows [K] from 0 to before `count`, evenly thinned to `most` of them where there are more."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def find_aliases(
    place_map: PlaceMap, rows: NDArray[np.int64], *, near_m: float, far_m: float
) -> list[Alias]:
    """Places of rows [Q] that look like one beyond far_m; most similar first.

    Alike means: at least as similar as the place's own most similar one within near_m, or as one
    in ten places of this map is to its own. So the model's scale does not matter. From such a
    place a single image may lead astray, the more so when light or season differ.
    """
    near, far, twin = _best_near_and_far(place_map, rows, near_m=near_m, far_m=far_m)
    weak = np.percentile(near[near > -1], _WEAK_PERCENT) if (near > -1).any() else 1.0
    alike = np.flatnonzero((far > -1) & (far >= np.minimum(near, weak)))
    positions = place_map.poses[:, :3]
    found = [
        Alias(
            place=int(rows[row]),
            twin=int(twin[row]),
            similarity=float(far[row]),
            near_similarity=float(near[row]),
            distance_m=float(np.linalg.norm(positions[rows[row]] - positions[twin[row]])),
        )
        for row in alike
    ]
    return sorted(found, key=lambda alias: -alias.similarity)


def _best_near_and_far(
    place_map: PlaceMap, rows: NDArray[np.int64], *, near_m: float, far_m: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Similarity [Q] of the most similar near and far place of each row, and the far place [Q].

    They are looked for among the few dozen most similar places; -1 where none is there.
    """
    near = np.full(len(rows), -1, dtype=np.float32)
    far, twin = near.copy(), np.full(len(rows), -1, dtype=np.int64)
    positions, count = place_map.poses[:, :3], min(_NEIGHBOURS, len(place_map))
    for start in tqdm(range(0, len(rows), _CHUNK), unit='chunk', disable=None, delay=2):
        chunk = rows[start : start + _CHUNK]
        similarity, places = place_map.index.search(place_map.descriptors_of(chunk), count)
        apart_m = np.linalg.norm(positions[places] - positions[chunk][:, None], axis=-1)  # [q, K]
        is_other = places != chunk[:, None]
        near_ones = np.where(is_other & (apart_m <= near_m), similarity, -1)
        is_far = (apart_m >= far_m) & ~place_map.is_distractor[places]
        far_ones = np.where(is_far, similarity, -1)
        best = far_ones.argmax(axis=1)[:, None]
        done = slice(start, start + len(chunk))
        near[done] = near_ones.max(axis=1)
        far[done] = np.take_along_axis(far_ones, best, 1)[:, 0]
        twin[done] = np.take_along_axis(places, best, 1)[:, 0]
    return near, far, twin


def distinct(aliases: list[Alias], place_map: PlaceMap, apart_m: float) -> list[Alias]:
    """The first of those whose both ends lie within apart_m of the ends of one before it.

    Each is compared with those that have an end in the cells around its own first one.
    """
    chosen: list[Alias] = []
    ends: list[Poses] = []  # [2, 3] each
    at_cell: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for alias in aliases:
        pair = place_map.poses[[alias.place, alias.twin], :3]
        (x, y), other = np.floor(pair[:, :2] / (1.001 * apart_m)).astype(np.int64).tolist()
        around = product((x - 1, x, x + 1), (y - 1, y, y + 1))
        near = sorted({number for cell in around for number in at_cell.get(cell, ())})
        known = np.array([ends[number] for number in near]).reshape(-1, 2, 3)
        same = [
            (np.linalg.norm(known - ordered, axis=-1) <= apart_m).all(axis=1)
            for ordered in (pair, pair[::-1])
        ]
        if not np.any(same):
            for cell in {(x, y), (other[0], other[1])}:
                at_cell[cell].append(len(chosen))
            chosen.append(alias)
            ends.append(pair)
    return chosen


def find_gaps(place_map: PlaceMap, *, shortest_m: float) -> list[Gap]:
    """Steps of a route longer than shortest_m that no other recording covers; longest first."""
    before, after, apart_m = _steps(place_map)
    long = apart_m > shortest_m
    steps = np.stack([before[long], after[long]], axis=1)  # [S, 2]
    open_steps = steps[~_are_covered(place_map.poses, steps, shortest_m / 2)]
    ends_m = place_map.poses[open_steps, :3]  # [G, 2, 3]
    lengths_m = np.linalg.norm(ends_m[:, 1] - ends_m[:, 0], axis=1)
    passed_ns = np.diff(place_map.stamps_ns[open_steps], axis=1)[:, 0]
    rows = zip(open_steps.tolist(), lengths_m.tolist(), (passed_ns / 1e9).tolist())
    found = [Gap(start, end, length_m, seconds) for (start, end), length_m, seconds in rows]
    return sorted(found, key=lambda gap: -gap.length_m)


def find_poor_images(place_map: PlaceMap, rows: NDArray[np.int64]) -> list[PoorImage]:
    """Rows [Q] whose thumbnail is dark, white, flat, unreadable, or less sharp than around it."""
    found: list[PoorImage] = []
    sharpness = np.full(len(rows), np.nan)
    for number, row in enumerate(tqdm(rows.tolist(), unit='image', disable=None, delay=2)):
        try:
            image = place_map.thumbnail(row)
        except ImageError:
            found.append(PoorImage(row, 'unreadable'))
            continue
        if image is None:
            continue  # the map was made without
        is_blank = not shows_something(image)
        if reason := _lack(image) or ('flat' if is_blank else ''):
            found.append(PoorImage(row, reason, is_blank))
        else:
            sharpness[number] = _sharpness(image)
    blurred = _is_below_its_neighbours(sharpness)
    found += [PoorImage(row, 'blurred') for row in rows[blurred].tolist()]
    return sorted(found, key=lambda poor: poor.place)


def _steps(
    place_map: PlaceMap,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Each two places [S], [S] that follow each other in a recording, and their distance [S]."""
    routes = list(_routes(place_map))
    before = np.concatenate([rows[:-1] for rows in routes])
    after = np.concatenate([rows[1:] for rows in routes])
    positions = place_map.poses[:, :3]
    return before, after, np.linalg.norm(positions[after] - positions[before], axis=1)


def _routes(place_map: PlaceMap) -> Iterator[NDArray[np.int64]]:
    """The rows of each recording by their stamps."""
    header, starts = place_map.header, place_map.part_starts
    for part, start, end in zip(header.parts, starts[:-1], starts[1:], strict=True):
        if part not in header.distractor_parts:
            yield start + np.argsort(place_map.stamps_ns[start:end], kind='stable')


def _are_covered(poses: Poses, steps: NDArray[np.int64], reach_m: float) -> NDArray[np.bool_]:
    """Whether every point of the line of steps [S, 2] between places has one within reach_m, [S].

    poses: [N, 7], of all places.
    """
    covered = np.ones(len(steps), dtype=bool)
    if not len(steps):
        return covered
    near = TruePlaces(poses, Tolerance(reach_m))
    for start in tqdm(range(0, len(steps), _STEPS), unit='chunk', disable=None, delay=2):
        ends_m = poses[steps[start : start + _STEPS], :3]  # [s, 2, 3]
        apart_m = ends_m[:, 1] - ends_m[:, 0]
        # An even number, so that the middle is asked for: the ends are places and cover the rest.
        halves = np.ceil(np.linalg.norm(apart_m, axis=1) / (2 * reach_m))
        pieces = 2 * np.clip(halves, 1, 50).astype(np.int64)
        step = np.repeat(np.arange(len(pieces)), pieces + 1)  # of each point
        within = stretches(np.zeros_like(pieces), pieces + 1)
        points = np.zeros((len(step), 7))
        points[:, :3] = ends_m[step, 0] + (within / pieces[step])[:, None] * apart_m[step]
        covered[start + step[near.missing(points)]] = False
    return covered


def _lack(image: Image) -> str:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if grey.mean() < _DARK_LEVEL:
        return 'dark'
    if grey.mean() > _BRIGHT_LEVEL:
        return 'white'
    return 'flat' if grey.std() < _FLAT_CONTRAST else ''


def _sharpness(image: Image) -> float:
    """Share of an image's variance that is between neighbouring pixels."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var() / (grey.var() + 1))


def _is_below_its_neighbours(sharpness: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which values [Q] fall far below the median around them; NaN are left out."""
    below = np.zeros(len(sharpness), dtype=bool)
    for row in np.flatnonzero(~np.isnan(sharpness)):
        around = sharpness[max(0, row - _NEIGHBOURHOOD) : row + _NEIGHBOURHOOD + 1]
        below[row] = sharpness[row] < _BLURRED_SHARE * np.nanmedian(around)
    return below
