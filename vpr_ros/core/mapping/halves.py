"""Descriptors in half precision: half the bytes on the disk, and numbers of 11 bits.

numpy turns half floats into floats one by one: a product with 10,000 rows of 512 took 10 ms of the
processor in place of 0.9. OpenCV uses the processor's instruction for it: 1.1 ms for all of them
(benchmarks/halves.py).
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

HALF = np.dtype('<f2')


def as_floats(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Rows [..., D] of either precision as float32; float32 rows are not copied."""
    if rows.dtype != HALF:
        return np.asarray(rows, dtype=np.float32)
    if not rows.size:
        return np.empty(rows.shape, np.float32)
    bits = np.ascontiguousarray(rows).view(np.int16).reshape(-1, rows.shape[-1])
    return np.asarray(cv2.convertFp16(bits), dtype=np.float32).reshape(rows.shape)
