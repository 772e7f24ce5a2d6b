"""Keep the memory of one image for the next one.

glibc gives blocks of megabytes back to the system when they are freed and gets them anew, so that
each raw image costs a page fault for every 4 kB of it, three times over: in DDS, in the message
and in Python. That was nine tenths of the time in which a 1080p image was taken
(decision 0028), and on the same cores as the network.
"""

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_BLOCK = 32 << 20  # bytes; glibc takes no more, and images beyond it go as before
_MOST_KEPT = 128 << 20  # bytes that are free and not given back
_BY_OPERATOR = ('MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_', 'GLIBC_TUNABLES')


def keep_freed_memory() -> bool:
    """Ask this process' allocator to; False where it is not glibc's or the operator has set it."""
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
