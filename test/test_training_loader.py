"""Batches: decoded small, augmented as RandAugment says, the same whoever reads them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip('torch', reason='needs torch: make setup-training')
from vpr_ros.core.image import decode, read, resize
from vpr_training.basics.errors import DatasetError
from vpr_training.data import augmentation
from vpr_training.data.config import DataConfig
from vpr_training.data.layouts import open_places
from vpr_training.data.loader import training_batches


def a_picture(seed: int = 0, size: tuple[int, int] = (60, 90)) -> np.ndarray:
    """Smooth and coloured, uint8 [H, W, 3]."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine places of four JPEGs, with places.csv."""
    folder = tmp_path_factory.mktemp('places')
    lines = ['image,place_id']
    for number in range(36):
        name = f'{number}.jpg'
        cv2.imwrite(str(folder / name), a_picture(number, (120, 160)))
        lines.append(f'{name},{number // 4}')
    (folder / 'places.csv').write_text('\n'.join(lines) + '\n')
    return folder


def batches(
    folder: Path, *, workers: int, start_batch: int = 0, epoch: int = 2, **more: object
) -> list[tuple[np.ndarray, np.ndarray]]:
    config = DataConfig(
        root=str(folder), places_per_batch=3, images_per_place=2, workers=workers,
        min_images_per_place=2, **more,
    )  # fmt: skip
    loading = training_batches(open_places(config), config, height=48, width=64, seed=5)
    loading.set_epoch(epoch, start_batch=start_batch)
    return [(images.numpy(), places.numpy()) for images, places in loading]


def test_batches_are_bytes_of_the_networks_size_and_places(folder: Path) -> None:
    for images, places in batches(folder, workers=0):
        assert images.shape == (6, 48, 64, 3) and images.dtype == np.uint8
        assert places.dtype == np.int64
        assert (places[0::2] == places[1::2]).all() and len(set(places.tolist())) == 3


def test_pictures_do_not_depend_on_who_reads_them_or_where_the_run_was_resumed(
    folder: Path,
) -> None:
    alone = batches(folder, workers=0)
    together = batches(folder, workers=2)
    resumed = batches(folder, workers=2, start_batch=1)
    assert len(alone) == 3
    for one, other in [*zip(alone, together, strict=True), *zip(alone[1:], resumed, strict=True)]:
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    assert not np.array_equal(alone[0][0], batches(folder, workers=0, epoch=3)[0][0])


@pytest.mark.timeout(60)
def test_workers_start_after_opencv_has_used_its_threads(folder: Path) -> None:
    """A forked process that waits for threads of its parent's would never give a batch."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        large = np.zeros((3000, 4000, 3), dtype=np.uint8)
        for _ in range(3):
            cv2.resize(large, (1000, 700), interpolation=cv2.INTER_AREA)
        assert len(batches(folder, workers=2)) == 3
        assert cv2.getNumThreads() == 4
    finally:
        cv2.setNumThreads(before)


def test_without_augmentation_the_pixels_are_the_cores(folder: Path) -> None:
    expected = {
        resize(read(folder / f'{number}.jpg'), (48, 64)).tobytes(): number // 4
        for number in range(36)
    }
    for images, places in batches(folder, workers=0, augment='none'):
        of = [expected[image.tobytes()] for image in images]
        assert [of.index(place) // 2 for place in of] == [0, 0, 1, 1, 2, 2]
        assert len(set(places.tolist())) == len(set(of)) == 3


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.filterwarnings('ignore:.*another image of its place is used')
def test_a_place_that_goes_while_it_is_read_is_told_in_one_sentence(
    tmp_path: Path, folder: Path, workers: int
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    for number in range(4, 8):
        (tmp_path / f'{number}.jpg').write_bytes(b'no picture')
    with pytest.raises(DatasetError) as caught:
        batches(tmp_path, workers=workers)
    assert str(caught.value).startswith(f'{tmp_path}/')
    assert 'neither this image nor another one of its place can be read' in str(caught.value)


def test_an_image_that_breaks_is_replaced_by_another_of_its_place(
    tmp_path: Path, folder: Path
) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / '4.jpg').write_bytes((tmp_path / '4.jpg').read_bytes()[:-50])
    with pytest.warns(UserWarning, match=r'4\.jpg.*another image of its place') as warned:
        found = [pair for epoch in range(6) for pair in batches(tmp_path, workers=0, epoch=epoch)]
    assert warned and all(len(images) == len(places) == 6 for images, places in found)
    for number in range(4, 8):
        (tmp_path / f'{number}.jpg').write_bytes(b'\xff\xd8 no picture')
    with (
        pytest.warns(UserWarning),
        pytest.raises(DatasetError, match='nor another one of its place'),
    ):
        for epoch in range(6):
            batches(tmp_path, workers=0, epoch=epoch)


# ---- decoding at a reduced scale


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(150, 700), width=st.integers(150, 700), target=st.integers(32, 320),
)  # fmt: skip
def test_a_reduced_picture_is_large_enough_and_shows_the_same(
    height: int, width: int, target: int
) -> None:
    patches = np.random.default_rng(1).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    picture = cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC)
    encoded = cv2.imencode('.jpg', picture)[1].tobytes()
    whole, reduced = decode(encoded), decode(encoded, at_least_hw=(target, target))
    assert reduced.shape[0] <= whole.shape[0] and reduced.shape[1] <= whole.shape[1]
    if reduced.shape != whole.shape:
        assert min(reduced.shape[:2]) >= target
        assert min(whole.shape[:2]) >= 2 * target
        size = (target, target)
        difference = resize(whole, size).astype(int) - resize(reduced, size)
        assert np.abs(difference).mean() < 4


def test_a_large_jpeg_is_decoded_at_a_quarter_and_a_png_whole() -> None:
    picture = a_picture(2, (960, 1280))
    jpeg, png = (cv2.imencode(kind, picture)[1].tobytes() for kind in ('.jpg', '.png'))
    assert decode(jpeg, at_least_hw=(240, 240)).shape == (240, 320, 3)
    assert decode(jpeg, at_least_hw=(241, 241)).shape == (480, 640, 3)
    assert decode(png, at_least_hw=(240, 240)).shape == (960, 1280, 3)


# ---- RandAugment against PIL, operation by operation


def enhanced(kind: Callable, factor: float) -> Callable[[PIL.Image.Image], PIL.Image.Image]:
    return lambda image: kind(image).enhance(factor)


def affine(*coefficients: float) -> Callable[[PIL.Image.Image], PIL.Image.Image]:
    """PIL's inverse map about the centre of the picture."""

    def warp(image: PIL.Image.Image) -> PIL.Image.Image:
        a, b, c, d, e, f = coefficients
        x, y = (image.width - 1) / 2 + 0.5, (image.height - 1) / 2 + 0.5
        data = (a, b, c + x - a * x - b * y, d, e, f + y - d * x - e * y)
        return image.transform(image.size, PIL.Image.Transform.AFFINE, data, PIL.Image.BILINEAR)

    return warp


S = 0.3  # 9 of 30
COS, SIN = np.cos(np.radians(9)), np.sin(np.radians(9))
ORACLES = {
    'identity': lambda image: image,
    'shear_x': affine(1, -0.3 * S, 0, 0, 1, 0),
    'shear_y': affine(1, 0, 0, -0.3 * S, 1, 0),
    'translate_x': affine(1, 0, -round(S * 150 / 331 * 90), 0, 1, 0),
    'translate_y': affine(1, 0, 0, 0, 1, -round(S * 150 / 331 * 60)),
    'rotate': lambda image: image.rotate(9, PIL.Image.BILINEAR),
    'brightness': enhanced(PIL.ImageEnhance.Brightness, 1.27),
    'color': enhanced(PIL.ImageEnhance.Color, 1.27),
    'contrast': enhanced(PIL.ImageEnhance.Contrast, 1.27),
    'sharpness': enhanced(PIL.ImageEnhance.Sharpness, 1.27),
    'posterize': lambda image: PIL.ImageOps.posterize(image, 7),
    'solarize': lambda image: PIL.ImageOps.solarize(image, 179),
    'auto_contrast': PIL.ImageOps.autocontrast,
    'equalize': PIL.ImageOps.equalize,
}


def test_every_operation_has_an_oracle() -> None:
    assert [operation.__name__ for operation in augmentation.OPERATIONS] == list(
        {name: None for name in [op.__name__ for op in augmentation.OPERATIONS] if name in ORACLES}
    )
    assert len(augmentation.OPERATIONS) == len(ORACLES) == 14


@pytest.mark.parametrize('name', ORACLES)
@pytest.mark.parametrize('seed', range(3))
def test_each_operation_does_what_pil_does(name: str, seed: int) -> None:
    image = a_picture(seed)
    found = getattr(augmentation, name)(image, S, 1.0)
    expected = np.asarray(ORACLES[name](PIL.Image.fromarray(image)))
    assert found.shape == image.shape and found.dtype == np.uint8
    difference = np.abs(found.astype(int) - expected)
    if name in ('shear_x', 'shear_y', 'rotate', 'translate_x', 'translate_y'):
        # At the border they mix with black differently.
        difference = difference[8:-8, 16:-16]
    assert np.percentile(difference, 99) <= 3, np.percentile(difference, [50, 90, 99, 100])


def test_both_signs_are_each_others_opposite() -> None:
    image = a_picture()
    for name in ('shear_x', 'rotate', 'translate_y'):
        operation = getattr(augmentation, name)
        back = operation(operation(image, S, 1.0), S, -1.0)
        inside = np.abs(back.astype(int) - image)[20:-20, 30:-30]
        assert inside.mean() < 6, name
    darker = augmentation.brightness(image, S, -1.0)
    np.testing.assert_allclose(darker, image * 0.73, atol=1)


def test_strength_nought_changes_next_to_nothing() -> None:
    image = a_picture()
    for operation in augmentation.OPERATIONS:
        if operation.__name__ not in ('auto_contrast', 'equalize'):
            found = operation(image, 0.0, 1.0)
            assert np.abs(found.astype(int) - image).max() <= 1 or operation.__name__ == 'solarize'


def test_the_same_generator_gives_the_same_picture() -> None:
    image = a_picture()
    one, other = (
        augmentation.rand_augment(image, np.random.default_rng(3), operations=3, magnitude=9)
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, image)
