"""Cells as maps keep them: the sign of each number, a bit; 8 bytes for a cell of 64 numbers.

The numbers are whitened inside the graph, so that each sign halves all cells and says as much as
the others.
"""

import numpy as np

from vpr_ros.core.types import CellBits, Cells

_WORD_BYTES = 8  # what faiss compares at once


def packed(cells: Cells) -> CellBits:
    """Cells [..., h, w, C] -> their signs [..., h * w, C / 8], 1 for positive, most first."""
    *before, rows, columns, numbers = cells.shape
    signs = (cells > 0).reshape(*before, rows * columns, numbers)
    return np.packbits(signs, axis=-1)


def in_words(bits: CellBits) -> CellBits:
    """Bits [..., n, C / 8] as faiss compares them: whole words of 8 bytes, one after another."""
    missing = -bits.shape[-1] % _WORD_BYTES
    if missing:
        bits = np.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, missing)])
    return np.ascontiguousarray(bits)
