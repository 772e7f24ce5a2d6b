"""Checkpoints, tar files and images of some kB that would take all memory are refused soon."""

import os
import tarfile
import zipfile
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from worlds import picture

torch = pytest.importorskip('torch', reason='needs torch: make setup-training')
from vpr_ros.core import image as image_module
from vpr_ros.core.errors import ImageError, VprError
from vpr_ros.core.image import encode_jpeg, read
from vpr_training.basics.errors import TrainingError
from vpr_training.data.tables import read_rows
from vpr_training.models.checkpoints import load_checkpoint
from vpr_training.models.network import NetworkConfig
from vpr_training.models.tensors import load_state, read_state
from vpr_training.runs.adding_cells import _pictures


@pytest.mark.parametrize(
    'tensor',
    [
        torch.zeros(1).expand(10**13),
        torch.zeros(4).as_strided((10**6, 10**6), (0, 0)),
        torch.zeros(3, device='meta'),
        torch.zeros(2, 2).to_sparse(),
    ],
    ids=['expanded', 'strided', 'meta', 'sparse'],
)
def test_a_tensor_that_does_not_hold_its_numbers_is_refused(
    tmp_path: Path, tensor: torch.Tensor
) -> None:
    network: dict[str, Any] = asdict(NetworkConfig()) | {'weights': None}
    path = tmp_path / 'evil.ckpt'
    torch.save({'network': network, 'state_dict': {'backbone.conv1.weight': tensor}}, path)
    assert path.stat().st_size < 10_000
    with pytest.raises(TrainingError, match=r'conv1\.weight is not a plain tensor|not a torch'):
        load_checkpoint(path)


def test_a_part_of_a_larger_tensor_is_plain(tmp_path: Path) -> None:
    path = tmp_path / 'weights.pt'
    whole = torch.arange(24.0).reshape(4, 6)
    torch.save({'rows': whole[1:3], 'turned': whole.T, 'none': whole[:0]}, path)
    network = torch.nn.Module()
    for name, value in read_state(path).items():
        network.register_buffer(name, torch.zeros_like(value))
    load_state(network, read_state(path), source='weights', refusal='no')
    assert torch.equal(network.get_buffer('turned'), whole.T)


def test_a_checkpoint_with_packed_records_is_refused(tmp_path: Path) -> None:
    plain, packed = tmp_path / 'plain.pt', tmp_path / 'packed.pt'
    torch.save({'x': torch.zeros(1 << 20)}, plain)
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(packed, 'w', zipfile.ZIP_DEFLATED) as target,
    ):
        for record in source.infolist():
            target.writestr(record.filename, source.read(record))
    assert packed.stat().st_size < 10_000
    assert len(read_state(plain)['x']) == 1 << 20
    with pytest.raises(TrainingError, match='its records are packed'):
        read_state(packed)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    """torch loads one with a flipped bit, and the network is another one."""
    path = tmp_path / 'best.ckpt'
    torch.save({'x': torch.arange(1000.0)}, path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(torch.arange(500.0, 504.0).numpy().tobytes())] ^= 1
    for content, said in (
        (bytes(flipped), r'damaged \(checksum of best/data/0\)'),
        (whole[:-100], 'cut off or damaged'),
    ):
        path.write_bytes(content)
        with pytest.raises(TrainingError, match=f'best.ckpt: it is {said}.*; copy it again'):
            read_state(path)


def test_an_older_torch_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / 'old.pt'
    torch.save({'x': torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    assert torch.equal(read_state(path)['x'], torch.ones(3))


def test_a_checkpoint_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe.ckpt')
    with pytest.raises(TrainingError, match='not a regular file'):
        read_state(tmp_path / 'pipe.ckpt')


def test_an_image_file_with_holes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / 'a.jpg'
    path.write_bytes(encode_jpeg(picture(1)))
    assert read(path).shape == picture(1).shape
    os.truncate(path, 50 << 30)
    with pytest.raises(ImageError, match='53687091200 bytes, expected an image of at most'):
        read(path)


@pytest.mark.parametrize('kind', ['packed', 'pipe', 'large'])
def test_a_tar_file_is_not_unpacked_and_its_images_have_a_bound(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / 'images.tar'
    if kind == 'pipe':
        os.mkfifo(source)
    else:
        with tarfile.open(source, 'w:gz' if kind == 'packed' else 'w') as tar:
            jpeg = encode_jpeg(picture(1))
            entry = tarfile.TarInfo('a.jpg')
            entry.size = len(jpeg)
            tar.addfile(entry, BytesIO(jpeg))
    if kind == 'large':
        monkeypatch.setattr(image_module, 'MOST_ENCODED', 100)
        count, loads = _pictures(source)
        assert count == 1
        with pytest.raises(ImageError, match=r'images\.tar: a\.jpg: \d+ bytes, expected'):
            next(loads)()
    else:
        with pytest.raises(VprError, match='cannot be read as a tar file'):
            _pictures(source)


def test_a_table_with_a_line_without_an_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / 'gt.csv'
    path.write_bytes(b'query,database\n')
    os.truncate(path, 60 << 30)
    with pytest.raises(VprError, match=r'gt\.csv: cannot be read \(it has a line of more than'):
        list(read_rows(path, ['query', 'database']))
