"""Tensors of a file, read without pickle, and how they get into a network, or do not fit."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vpr_ros.core.lfs import LFS_ADVICE, is_lfs_pointer
from vpr_training.basics.errors import TrainingError

_ANOTHER = 'copy it again, or take another checkpoint'


def read_state(path: Path) -> dict[str, Any]:
    """A torch file's content, tensors and plain values only; raises TrainingError.

    A file with packed records is refused: torch packs none, and some kB may unpack to any size.
    So is a damaged one: torch writes checksums and does not compare them.
    """
    try:
        if path.exists() and not path.is_file():
            raise TrainingError(f'{path}: it is not a regular file')
        _check_records(path)
        state = torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError as error:
        raise TrainingError(f'{path}: no such file') from error
    except TrainingError:
        raise
    except Exception as error:  # torch raises many kinds for a file that is not its own
        if is_lfs_pointer(path):
            raise TrainingError(f'{path}: {LFS_ADVICE}') from error
        if _holds_objects(path, error):
            raise TrainingError(
                f'{path}: it holds objects of Python, not only tensors and plain values; they can '
                'run code, so they are not loaded; save the state_dict() of the network alone, in '
                'the program that made it'
            ) from error
        line = (
            str(error).strip().splitlines()[0][:200]
            if str(error).strip()
            else type(error).__name__
        )
        if _of_objects(error):  # its text says how to load it nevertheless
            line = 'its content is something else'
        raise TrainingError(f'{path}: it is not a torch file of tensors ({line})') from error
    if not isinstance(state, dict):
        raise TrainingError(
            f'{path}: it holds a {type(state).__name__}, expected a dict of tensors'
        )
    return state


def _check_records(path: Path) -> None:
    """Raise TrainingError for packed or damaged records; an older torch file is no zip archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            if any(record.compress_type != zipfile.ZIP_STORED for record in archive.infolist()):
                raise TrainingError(
                    f'{path}: its records are packed, which torch does not do; save it with '
                    'torch.save'
                )
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        if _begins_with(path, b'PK'):
            raise TrainingError(
                f'{path}: it is cut off or damaged ({error}); {_ANOTHER}'
            ) from error
        return  # whatever else it is, torch will say
    if damaged:
        raise TrainingError(f'{path}: it is damaged (checksum of {damaged}); {_ANOTHER}')


def _begins_with(path: Path, *starts: bytes) -> bool:
    with path.open('rb') as file:
        return file.read(2) in starts


def _is_plain(value: object) -> bool:
    """Whether a value is a tensor on the CPU that holds each of its numbers.

    One of a single number may call itself any size, of which the first check would take memory.
    """
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == 'cpu'
        and not value.is_quantized
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _holds_objects(path: Path, error: Exception) -> bool:
    """Whether a file that torch refused is one of pickled objects: a module, TorchScript, code."""
    if not _of_objects(error):
        return False
    return _begins_with(path, b'PK', *(bytes([0x80, version]) for version in range(2, 6)))


def _of_objects(error: Exception) -> bool:
    """Whether torch met something else than tensors: objects, TorchScript, or another file."""
    return type(error).__name__ == 'UnpicklingError' or 'TorchScript' in str(error)


def load_state(
    network: nn.Module, state: Mapping[str, Any], *, source: str, refusal: str, strict: bool = True
) -> None:
    """Give a network its tensors; TrainingError, `source` and `refusal`, if they do not fit.

    strict: whether tensors may neither be missing nor be too many. None may hold NaN.
    """
    if not all(isinstance(key, str) for key in state):
        raise TrainingError(f'{source}: expected tensors by name')
    for key, value in state.items():
        if not _is_plain(value):
            raise TrainingError(f'{source}: {key} is not a plain tensor')
        if not bool(torch.isfinite(value).all()):
            raise TrainingError(
                f'{source}: {key} holds NaN or infinity, as after a training that failed; take an '
                'earlier checkpoint'
            )
    try:
        network.load_state_dict(state, strict=strict)
    except RuntimeError as error:
        line = ' '.join(str(error).split())[:300]
        raise TrainingError(f'{source}: {refusal}: {line}') from error
