"""Tensors of a file, read without pickle, and how they get into a network, or do not fit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

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
        line = (
            str(error).strip().splitlines()[0][:200]
            if str(error).strip()
            else type(error).__name__
        )
        raise TrainingError(f'{path}: it is not a torch file of tensors ({line})') from error
    if not isinstance(state, dict):
        raise TrainingError(
            f'{path}: it holds a {type(state).__name__}, expected a dict of tensors'
        )
    return state


def load_state(
    network: nn.Module, state: Mapping[str, Any], *, refusal: str, strict: bool = True
) -> None:
    """Give a network its tensors; TrainingError that begins with `refusal` if they do not fit.

    strict: whether tensors may neither be missing nor be too many.
    """
    try:
        network.load_state_dict(state, strict=strict)
    except RuntimeError as error:
        line = ' '.join(str(error).split())[:300]
        raise TrainingError(f'{refusal}: {line}') from error
