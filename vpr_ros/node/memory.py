"""Keep the memory of one image for the next one.

glibc returns blocks of megabytes to the system when they are freed, and asks for them anew. So
each raw image costs a page fault for every 4 kB, three times: in DDS, in the message and in
Python. That was nine tenths of the time to receive a 1080p image (decision 0028), on the cores
that the network needs.
"""

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_BLOCK = 32 << 20  # bytes; glibc takes no more, and images beyond it go as before
_MOST_KEPT = 128 << 20  # bytes that are free and not given back
_BY_OPERATOR = ('MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_', 'GLIBC_TUNABLES')


def keep_freed_memory() -> bool:
    """Set up this process' allocator; False if it is not glibc's or the operator has set it."""
    if any(name in os.environ for name in _BY_OPERATOR):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl has none, and needs none
        return False
    return all(
        mallopt(what, value) == 1
        for what, value in ((_MMAP_THRESHOLD, _LARGEST_BLOCK), (_TRIM_THRESHOLD, _MOST_KEPT))
    )
