"""A map made with one lens, and a robot with another: with and without the virtual camera.

    python benchmarks/other_lenses.py [--data ../shared/data] [--sets NAME ...]

A narrower lens is the middle of each image, which is just what it would have taken. The first
table has single images of real sets, with verification; their cameras are taken to see 70 degrees.
The second one has the demo's drive at dusk on maps of the day, by build_map and evaluate_bag.
Barrel distortion is put into its images by OpenCV. All by the fp32 graph.
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import yaml
from inputs import DRIVES, add_data_argument
from landmarks import as_posed_folder
from real_drives import run

from vpr_ros import build_map, evaluate_bag
from vpr_ros.core.camera import Camera
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.image import encode_jpeg, read
from vpr_ros.core.localizing.match import match_order
from vpr_ros.core.matching.bits import packed
from vpr_ros.core.types import Image
from vpr_ros.core.virtual_camera import seen_as
from vpr_training.data.layouts import RecallSet, open_recall_set

SETS = ('corridor', 'gardenspoint_thumb', 'ie_tower_indoor', 'cambridge_streetview')
SHARES = (0.8, 0.667, 0.5)  # of width and height that the narrower lens sees
SEEN_DEG = 70.0
CANDIDATES = 25
BARREL = -0.25  # first coefficient of the distortion
FP32 = ('--precision', 'fp32')
Seen = tuple[np.ndarray, np.ndarray]
"""Descriptors [N, D] and cells [N, h * w, C / 8]."""


def nominal(image: Image) -> Camera:
    """A camera that takes images of this size and sees SEEN_DEG degrees."""
    height, width = image.shape[:2]
    focal = width / 2 / math.tan(math.radians(SEEN_DEG) / 2)
    middle = width / 2 - 0.5, height / 2 - 0.5
    return Camera(width, height, (focal, 0, middle[0], 0, focal, middle[1], 0, 0, 1))


def narrower(image: Image, camera: Camera, share: float) -> tuple[Image, Camera]:
    """What a camera with the same pixels sees through a narrower lens, and that camera."""
    height, width = image.shape[:2]
    rows, columns = round(height * share), round(width * share)
    top, left = (height - rows) // 2, (width - columns) // 2
    fx, skew, cx, _, fy, cy, *_ = camera.matrix
    matrix = (fx, skew, cx - left, 0.0, fy, cy - top, 0.0, 0.0, 1.0)
    made = replace(camera, width_px=columns, height_px=rows, matrix=matrix)
    return np.ascontiguousarray(image[top : top + rows, left : left + columns]), made


def barrelled(image: Image, camera: Camera) -> tuple[Image, Camera]:
    """What a lens with barrel distortion sees; its corners look as far as those of the camera."""
    height, width = image.shape[:2]
    corner = math.hypot(width / camera.matrix[0], height / camera.matrix[4]) / 2
    less = 1 + BARREL * corner**2
    fx, _, cx, _, fy, cy, *_ = camera.matrix
    matrix = np.array([[fx / less, 0, cx], [0, fy / less, cy], [0, 0, 1]])
    lens = np.array([BARREL, 0, 0, 0])
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(float)
    ends = cv2.undistortPointsIter(
        pixels.reshape(-1, 1, 2), matrix, lens, None, None, (3, 200, 1e-7)
    )
    at = (ends.reshape(height, width, 2) * [fx, fy] + [cx, cy]).astype(np.float32)
    seen = cv2.remap(image, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return seen, Camera(width, height, tuple(matrix.ravel().tolist()), 'plumb_bob', (*lens, 0.0))


def described(describer: OnnxDescriber, images: Sequence[Image]) -> Seen:
    found = [describer.describe_with_cells([image]) for image in images]
    cells = [packed(each[0]) for _, each in found if each is not None]
    return np.concatenate([rows for rows, _ in found]), np.stack(cells)


def recall(queries: Seen, database: Seen, images: RecallSet, grid: tuple[int, int]) -> float:
    """R@1 with verification."""
    right = 0
    for row, positives in enumerate(images.positives):
        similarity = database[0] @ queries[0][row]
        best = np.argsort(-similarity, kind='stable')[:CANDIDATES]
        order, _ = match_order(similarity[best], queries[1][row], database[1][best], grid)
        right += int(best[order[0]]) in set(map(int, positives))
    return right / len(images.positives)


def single_images(describer: OnnxDescriber, folder: Path) -> list[str]:
    """Rows of the first table for one set."""
    images, card = open_recall_set(folder), describer.model.card
    grid, size_hw = (card.cells or (0, 0))[:2], card.image_size
    places, queries = (
        [read(path) for path in paths] for paths in (images.database, images.queries)
    )
    see: Callable[[Sequence[Image]], Seen] = partial(described, describer)
    wide = {'places': see(places), 'queries': see(queries)}
    same = recall(wide['queries'], wide['places'], images, grid)
    rows = []
    for share in SHARES:
        small = {
            name: [narrower(image, nominal(image), share) for image in each]
            for name, each in (('places', places), ('queries', queries))
        }
        narrow = {name: see([image for image, _ in each]) for name, each in small.items()}
        like_narrow = see(
            [
                seen_as(image, nominal(image), small['places'][0][1], size_hw=size_hw)
                for image in queries
            ]
        )
        like_wide = see(
            [
                seen_as(image, own, nominal(places[0]), size_hw=size_hw)
                for image, own in small['queries']
            ]
        )
        found = (
            same,
            recall(narrow['queries'], narrow['places'], images, grid),
            recall(wide['queries'], narrow['places'], images, grid),
            recall(like_narrow, narrow['places'], images, grid),
            recall(narrow['queries'], wide['places'], images, grid),
            recall(like_wide, wide['places'], images, grid),
        )
        cells = [f'{images.name}, {len(images.positives)}', f'{share:g}']
        rows.append('| ' + ' | '.join(cells + [f'{one:.3f}' for one in found]) + ' |')
    return rows


def with_lens(
    drive: Path, folder: Path, lens: Callable[[Image, Camera], tuple[Image, Camera]]
) -> Path:
    """A posed folder of a bag, taken through another lens."""
    as_posed_folder(drive, folder)
    told = yaml.safe_load((folder / 'camera_info.yaml').read_text())
    matrix = tuple(told['camera_matrix']['data'])
    camera = Camera(told['image_width'], told['image_height'], matrix)
    for path in sorted((folder / 'images').iterdir()):
        image, made = lens(read(path), camera)
        path.write_bytes(encode_jpeg(image, quality=98))
    fx, _, cx, _, fy, cy, *_ = made.matrix
    told |= {
        'image_width': made.width_px,
        'image_height': made.height_px,
        'distortion_model': made.distortion_model,
        'distortion_coefficients': {'data': list(map(float, made.distortion))},
        'camera_matrix': {'data': list(made.matrix)},
        'projection_matrix': {'data': [fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1.0, 0]},
    }
    (folder / 'camera_info.yaml').write_text(yaml.safe_dump(told))
    return folder


def along_the_drive(place_map: Path, queries: Path, virtual: str) -> str:
    """Cells of the second table."""
    figures = queries.parent / 'figures.json'
    asked = ['--map', str(place_map), '--bag', str(queries), '--radius', '5']
    chosen = ['--set', f'virtual_camera={virtual}', '--json', str(figures)]
    run(evaluate_bag.main, *asked, *FP32, *chosen)
    found = json.loads(figures.read_text())
    fixes = round(found['answered'] * found['queries'])
    false = round((found['false_fixes'] or 0) * fixes)
    error_m = found['position_error_m']['median']
    return (
        f'{found["single_image"]["1"]:.3f} | {found["recall"]["1"]:.3f} | '
        f'{found["answered_of_answerable"]:.2f} | {false} of {fixes} | '
        f'{"-" if error_m is None else f"{error_m:.2f} m"}'
    )


def drives(folder: Path) -> list[str]:
    """Rows of the second table."""
    lenses: dict[str, Callable[[Image, Camera], tuple[Image, Camera]]] = {
        'as it is': lambda image, camera: (image, camera)
    }
    lenses |= {f'{share:g} of it': partial(narrower, share=share) for share in SHARES}
    lenses['barrel distortion'] = barrelled
    queries, maps = {}, {}
    for name, lens in lenses.items():
        at = folder / name.replace(' ', '_')
        queries[name] = with_lens(DRIVES / 'dusk', at / 'dusk', lens)
        day = with_lens(DRIVES / 'day', at / 'day', lens)
        maps[name] = at / 'map'
        run(build_map.main, '--bag', str(day), '--output', str(maps[name]), *FP32)
    whole = 'as it is'
    rows = []
    for name in lenses:
        if name == whole:
            cells = along_the_drive(maps[whole], queries[whole], 'true')
            rows.append(f'| {whole} | {whole} | | {cells} |')
            continue
        for mapped, robot in ((name, whole), (whole, name)):
            for virtual in ('false', 'true'):
                cells = along_the_drive(maps[mapped], queries[robot], virtual)
                rows.append(f'| {mapped} | {robot} | {virtual} | {cells} |')
        view = queries[name] / 'camera_info.yaml'
        made = folder / f'view_{name.replace(" ", "_")}'
        day = str(folder / whole.replace(' ', '_') / 'day')
        asked = ['--bag', day, '--view', str(view), '--output', str(made)]
        if name != 'barrel distortion':  # which sees more than the whole in its corners
            run(build_map.main, *asked, *FP32)
            cells = along_the_drive(made, queries[name], 'true')
            rows.append(f'| {whole}, --view {name} | {name} | true | {cells} |')
    return rows


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    add_data_argument(parser)
    parser.add_argument('--sets', nargs='*', default=list(SETS), choices=SETS)
    arguments = parser.parse_args()
    describer = OnnxDescriber(Model.open(default_model(), precision='fp32'))
    lines = []
    if arguments.data.is_dir():
        lines += ['', '| set, queries | share | wide lens for both | narrow lens for both |']
        lines[-1] += ' map narrow, robot wide | with it | map wide, robot narrow | with it |'
        lines += ['|' + '---|' * 8]
        for name in arguments.sets:
            lines += single_images(describer, arguments.data / name)
    else:
        print(f'other_lenses: no real images in {arguments.data}; give --data, or set VPR_DATA')
    with tempfile.TemporaryDirectory() as temporary:
        lines += ['', '| map | robot | virtual camera | R@1, one image | R@1 | answered |']
        lines[-1] += ' false fixes | median error |'
        lines += ['|' + '---|' * 8, *drives(Path(temporary))]
    print('\n'.join(lines))
    return 0


if __name__ == '__main__':
    sys.exit(main())
