"""Dot products that leave no thread waiting.

BLAS shares a product of a matrix and a vector out to threads, which then wait for the next one in
a loop. At the pace of a camera that is a core's worth, and the network misses it. So each row is a
product of two vectors of its own: BLAS computes that on the calling thread, up to some length.
"""

import numpy as np
from numpy.typing import NDArray

_ONE_THREAD = 10_000  # numbers of a vector up to which OpenBLAS wakes no other thread


def products(rows: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Dot product [K] of each row [K, D] with a vector [D], on this thread alone."""
    if len(vector) > _ONE_THREAD:
        return np.asarray(np.einsum('nd,d->n', rows, vector))
    return np.asarray(np.matmul(rows[:, None, :], vector[:, None])[:, 0, 0])
