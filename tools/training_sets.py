"""Make the sets that the models in models/ were trained on, and those of fine-tuning.

  python tools/training_sets.py OUTPUT [--data ../shared/data] [--train ../shared/train]

OUTPUT/real      the pictures in the archives of --train, without those whose name begins with gsv_
                 (Street View): what the default model's whitening was learned on
OUTPUT/calibration    a few of those and of the demo's day, for the ranges of the default's int8
OUTPUT/images    pictures without labels, for a teacher: ie_tower_indoor without the three floors
                 below, the demo's drives, and the photographs and textures in some
                 Debian packages (PACKAGES; by apt-get, where it is there)
OUTPUT/places    the same floors and drives with places.csv, for the loss of places
OUTPUT/held_out  an evaluation set of the floors f09, f13 and f17, which are in neither
OUTPUT/halves    for fine-tuning: N/places has a random half of ie_tower_indoor's clips, as places,
                 N/other the queries of the other half, which search the whole database

No other set is touched: corridor, rtabmap_corridor_loop, gardenspoint_thumb, nordland_64x32,
lund_street_gps and sfxl_toy stay unseen.
"""

import argparse
import csv
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
from tqdm import tqdm

from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.types import Image
from vpr_ros.drives import open_drive
from vpr_training.data.config import DataConfig
from vpr_training.data.layouts import open_places

Item = TypeVar('Item')

ROOT = Path(__file__).resolve().parents[1]
HELD_OUT = ('f09', 'f13', 'f17')
HALVES = 3
CALIBRATION_REAL, CALIBRATION_DEMO = 48, 16  # images
STREET_VIEW = 'gsv_'  # for research only
WINDOW_S, PERIOD_S = 5, 8  # a place: five seconds of a walk, three seconds from the next
LONGEST_SIDE, SMALLEST_SIDE = 640, 256
PACKAGES = {
    'opencv-doc': 'usr/share/doc',
    'torcs-data': 'usr/share/games',
    'stellarium-data': 'usr/share/stellarium/landscapes',
    'plasma-workspace-wallpapers': 'usr/share/wallpapers',
    'mate-backgrounds': 'usr/share/backgrounds',
    'gnome-backgrounds': 'usr/share/backgrounds',
    'ukui-wallpapers': 'usr/share/backgrounds',
    'lomiri-wallpapers-16.04': 'usr/share/wallpapers',
    'lomiri-wallpapers-20.04': 'usr/share/wallpapers',
}
"""Debian package -> the folder of its pictures; its copyright file has their licences."""


def ie_tower(data: Path) -> Iterator[tuple[Path, str, str]]:
    """Image, place ('' between two places) and clip; a clip is of one floor."""
    root = data / 'ie_tower_indoor'
    with (root / 'labels.csv').open(newline='', encoding='utf-8') as file:
        for row in csv.DictReader(file):
            path = root / row['split'] / row['image']
            if not path.is_file():
                continue
            window, second = divmod(int(row['second']) - 1, PERIOD_S)
            place = f'{row["clip"]}_{window}' if second < WINDOW_S else ''
            yield path, place, row['clip']


def demo_places() -> Iterator[tuple[Path, str]]:
    """Image and place of the frames of both drives that lie in one."""
    found = open_places(
        DataConfig(root=str(ROOT / 'demo' / 'drives'), place_radius=4.0, place_gap=2.0)
    )
    for place in range(found.places):
        for row in found.rows(place):
            yield found.path(int(row)), f'demo_{place}'


def pictures_of_packages(folder: Path) -> Iterator[tuple[str, Image]]:
    """Name and picture, wide and large ones in parts; icons and plain colours are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    seen = set()
    for package, inside in PACKAGES.items():
        unpacked = folder / package
        if not unpacked.is_dir():
            subprocess.run(['apt-get', 'download', package], cwd=folder, check=True)
            (archive,) = folder.glob(f'{package}_*.deb')
            subprocess.run(['dpkg-deb', '-x', archive, f'{unpacked}.partial'], check=True)
            Path(f'{unpacked}.partial').rename(unpacked)
        paths = [path for path in sorted((unpacked / inside).rglob('*')) if path.is_file()]
        for path in tqdm(paths, desc=package, unit='file', disable=None):
            image = cv2.imread(str(path)) if path.stat().st_size > 20_000 else None
            if image is None or min(image.shape[:2]) < SMALLEST_SIDE or image.std() < 15:
                continue
            look = cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA) // 32
            digest = hashlib.sha256(look.tobytes()).hexdigest()
            if digest in seen:  # wallpapers come in many sizes
                continue
            seen.add(digest)
            for number, part in enumerate(parts(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))):
                yield f'{package}/{digest[:12]}_{number}', part


def parts(image: Image) -> Iterator[Image]:
    """The picture, and quarters of a large one, all at most LONGEST_SIDE; panoramas as squares."""
    height, width = image.shape[:2]
    if width >= 2 * height:
        for left in range(0, width - height + 1, height // 2):
            yield smaller(image[:, left : left + height])
        return
    yield smaller(image)
    if min(height, width) >= 900:
        for top in (0, height // 2):
            for left in (0, width // 2):
                yield smaller(image[top : top + height // 2, left : left + width // 2])


def smaller(image: Image) -> Image:
    """The picture with its longer side at most LONGEST_SIDE."""
    scale = LONGEST_SIDE / max(image.shape[:2])
    if scale >= 1:
        return image
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def write_images(output: Path, data: Path) -> int:
    """OUTPUT/images; the count."""
    folder, count = output / 'images', 0
    ours = [path for path, _, clip in ie_tower(data) if not clip.startswith(HELD_OUT)]
    for path in ours:
        target = folder / path.parents[1].name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        count += 1
    for drive in ('day', 'dusk'):
        for number, frame in enumerate(open_drive(ROOT / 'demo' / 'drives' / drive).frames()):
            write(folder / 'demo' / f'{drive}_{number:04d}.jpg', frame.load())
            count += 1
    if shutil.which('apt-get') and shutil.which('dpkg-deb'):
        for name, picture in pictures_of_packages(output / 'packages'):
            write(folder / f'{name}.jpg', picture)
            count += 1
    else:
        print('no apt-get here: the pictures of the Debian packages are left out')
    return count


def write_real(folder: Path, train: Path) -> int:
    """OUTPUT/real; the count."""
    count = 0
    for archive in sorted(train.glob('*.tar')):
        if archive.stem.startswith(STREET_VIEW):
            continue
        (folder / archive.stem).mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as pictures:
            for member in pictures:
                content = pictures.extractfile(member) if member.name.endswith('.jpg') else None
                if content is not None:
                    name = member.name.removeprefix('images/').replace('/', '_')
                    (folder / archive.stem / name).write_bytes(content.read())
                    count += 1
    return count


def write_calibration(folder: Path, real: Path) -> int:
    """OUTPUT/calibration, of OUTPUT/real and of the demo's day, evenly; the count."""
    paths = sorted(real.rglob('*.jpg'))
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(evenly(paths, CALIBRATION_REAL)):
        shutil.copyfile(path, folder / f'real_{number:02d}.jpg')
    frames = list(open_drive(ROOT / 'demo' / 'drives' / 'day').frames())
    for number, frame in enumerate(evenly(frames, CALIBRATION_DEMO)):
        write(folder / f'demo_{number:02d}.jpg', frame.load())
    return len(list(folder.iterdir()))


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """So many of the items, evenly from the first on; all of fewer."""
    return [items[len(items) * row // count] for row in range(min(count, len(items)))]


def write(path: Path, image: Image) -> None:
    """As a JPEG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_jpeg(image))


def write_places(folder: Path, data: Path) -> int:
    """OUTPUT/places; the count of images."""
    lines = [
        f'{path},{place},ie_tower'
        for path, place, clip in ie_tower(data)
        if place and not clip.startswith(HELD_OUT)
    ]
    lines += [f'{path},{place},demo' for path, place in demo_places()]
    return write_table(folder / 'places.csv', 'image,place_id,city', lines)


def write_held_out(folder: Path, data: Path) -> int:
    """OUTPUT/held_out; the count of queries."""
    held = [path for path, _, clip in ie_tower(data) if clip.startswith(HELD_OUT)]
    return write_evaluation(folder, data, held, held)


def write_halves(folder: Path, data: Path) -> int:
    """OUTPUT/halves; the count of queries in all."""
    images, count = list(ie_tower(data)), 0
    clips = sorted({clip for *_, clip in images})
    for seed in range(HALVES):
        learned = set(random.Random(seed).sample(clips, len(clips) // 2))
        lines = [f'{path},{place}' for path, place, clip in images if place and clip in learned]
        write_table(folder / str(seed) / 'places' / 'places.csv', 'image,place_id', lines)
        asked = [path for path, _, clip in images if clip not in learned]
        everything = [path for path, *_ in images]
        count += write_evaluation(folder / str(seed) / 'other', data, everything, asked)
    return count


def write_evaluation(
    folder: Path, data: Path, searched: Sequence[Path], asked: Sequence[Path]
) -> int:
    """Those of the database that are searched, and those of the queries that ask; their count."""
    for half, paths in (('database', searched), ('queries', asked)):
        (folder / half).mkdir(parents=True, exist_ok=True)
        for path in paths:
            if path.parent.name == half:
                shutil.copyfile(path, folder / half / path.name)
    queries = {path.name for path in asked}
    with (data / 'ie_tower_indoor' / 'gt.csv').open(newline='', encoding='utf-8') as file:
        rows = [row for row in csv.DictReader(file) if row['query'] in queries]
    lines = [f'{row["query"]},{row["positives"]}' for row in rows]
    return write_table(folder / 'gt.csv', 'query,positives', lines)


def write_table(path: Path, header: str, lines: Sequence[str]) -> int:
    """A CSV file; the count of its lines without the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join([header, *lines]) + '\n')
    return len(lines)


def main() -> None:
    """The command; see --help."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('output', type=Path)
    parser.add_argument(
        '--data',
        type=Path,
        default=Path(os.environ.get('VPR_DATA') or ROOT.parent / 'shared' / 'data'),
    )
    parser.add_argument('--train', type=Path, default=ROOT.parent / 'shared' / 'train')
    arguments = parser.parse_args()
    output, data = arguments.output, arguments.data.resolve()
    if not (data / 'ie_tower_indoor').is_dir():
        parser.error(f'{data}: no ie_tower_indoor here; give --data, or set VPR_DATA')
    if not any(arguments.train.glob('*.tar')):
        parser.error(f'{arguments.train}: no archives (*.tar) of images here; give --train')
    print(f'{output}/real: {write_real(output / "real", arguments.train)} images')
    calibration = output / 'calibration'
    print(f'{calibration}: {write_calibration(calibration, output / "real")} images')
    print(f'{output}/held_out: {write_held_out(output / "held_out", data)} queries')
    print(f'{output}/places: {write_places(output / "places", data)} images')
    print(f'{output}/halves: {write_halves(output / "halves", data)} queries')
    print(f'{output}/images: {write_images(output, data)} images')


if __name__ == '__main__':
    main()
