"""Our loader beside the usual PIL + torchvision pipeline: the same files, the same workers.

  python benchmarks/loading.py [--seconds 10]

Both read JPEGs, bring them to 320 x 320 and do RandAugment with three operations. The usual
pipeline then makes normalized floats, as everybody's does; ours leaves that to the device.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np

try:
    import torch
    from torchvision_parts import import_torchvision

    transforms = import_torchvision().transforms
except ImportError as error:
    print(f'loading: left out, needs make setup-training ({error})')
    sys.exit(0)
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from vpr_training.data.config import DataConfig
from vpr_training.data.layouts import open_places
from vpr_training.data.loader import training_batches

SIDE_PX, PLACES, IMAGES, P, K = 320, 24, 4, 8, 4
SIZES_HW = ((480, 640), (720, 1280), (1080, 1920))


class Usual(Dataset):
    """What a training script usually has."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.transform = transforms.Compose(
            [
                transforms.Resize((SIDE_PX, SIDE_PX)),
                transforms.RandAugment(num_ops=3),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int):
        return self.transform(Image.open(self.files[row]).convert('RGB')), row


def write_places(folder: Path, size_hw: tuple[int, int]) -> list[Path]:
    """Photograph-like JPEGs: noise of all scales."""
    rng = np.random.default_rng(0)
    picture = np.zeros((*size_hw, 3), dtype=np.float32)
    for cells in (4, 16, 64, 256):
        noise = rng.normal(0, 40, (cells * 3 // 4, cells, 3)).astype(np.float32)
        picture += cv2.resize(noise, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    pixels = (picture + 127).clip(0, 255).astype(np.uint8)
    files, lines = [], ['image,place_id']
    for number in range(PLACES * IMAGES):
        files.append(folder / f'{number}.jpg')
        cv2.imwrite(str(files[-1]), pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])
        lines.append(f'{files[-1].name},{number // IMAGES}')
    (folder / 'places.csv').write_text('\n'.join(lines) + '\n')
    return files


def rate(batches, seconds: float) -> list[float]:
    """Images per second of each epoch after the first, which starts the workers."""
    rates, ends = [], time.monotonic() + seconds
    while time.monotonic() < ends or len(rates) < 4:
        started = time.monotonic()
        images = sum(len(batch) for batch, _ in batches)
        rates.append(images / (time.monotonic() - started))
    return rates[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=10, help='for each pipeline and size')
    parser.add_argument('--workers', type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f'loading JPEGs for {SIDE_PX} x {SIDE_PX}, RandAugment(3), {arguments.workers} worker, '
        'images/s (median)'
    )
    print(f'  {"JPEG":>11} {"ours":>8} {"PIL + torchvision":>18} {"ratio":>6}')
    for size_hw in SIZES_HW:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            files = write_places(folder, size_hw)
            config = DataConfig(
                root=name, places_per_batch=P, images_per_place=K, workers=arguments.workers
            )
            batches = training_batches(
                open_places(config), config, height=SIDE_PX, width=SIDE_PX, seed=0
            )
            usual = DataLoader(
                Usual(files), batch_size=P * K, shuffle=True, num_workers=arguments.workers,
                persistent_workers=arguments.workers > 0,
            )  # fmt: skip
            rates = [np.median(rate(loading, arguments.seconds)) for loading in (batches, usual)]
        size = f'{size_hw[1]} x {size_hw[0]}'
        print(f'  {size:>11} {rates[0]:8.1f} {rates[1]:18.1f} {rates[0] / rates[1]:6.2f}')


if __name__ == '__main__':
    main()
