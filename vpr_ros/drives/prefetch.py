"""Decode a drive's images ahead of use, so that the network never waits for the JPEG decoder."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from vpr_ros.core.errors import ImageError
from vpr_ros.core.types import Image

Item = TypeVar('Item')


def decoded(
    items: Iterable[Item], load: Callable[[Item], Image], *, workers: int = 1, ahead: int = 4
) -> Iterator[tuple[Item, Image | ImageError]]:
    """Items in their order with what `load` makes of each.

    An image that cannot be used comes with its error instead. At most `ahead` decoded images wait
    in memory.
    """
    waiting: deque[tuple[Item, Future[Image | ImageError]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix='decode') as pool:
        for item in items:
            waiting.append((item, pool.submit(_loaded, load, item)))
            if len(waiting) > ahead:
                first, loading = waiting.popleft()
                yield first, loading.result()
        for first, loading in waiting:
            yield first, loading.result()


def _loaded(load: Callable[[Item], Image], item: Item) -> Image | ImageError:
    try:
        return load(item)
    except ImageError as error:
        return error
