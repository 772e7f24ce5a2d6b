"""Tensors of a file, read without pickle, and how they get into a network, or do not fit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vpr_ros.core.lfs import LFS_ADVICE, is_lfs_pointer
from vpr_training.basics.errors import TrainingError


def read_state(path: Path) -> dict[str, Any]:
    """A torch file's content, tensors and plain values only; raises TrainingError."""
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError as error:
        raise TrainingError(f'{path}: no such file') from error
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


def _holds_objects(path: Path, error: Exception) -> bool:
    """Whether a file that torch refused is one of pickled objects: a module, TorchScript, code."""
    if not _of_objects(error):
        return False
    with path.open('rb') as file:
        return file.read(2) in (b'PK', *(bytes([0x80, version]) for version in range(2, 6)))


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
        if not isinstance(value, Tensor) or value.layout != torch.strided:
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
