"""Work on a drive's frames ahead of use: images are decoded and described while others are used.

What OpenCV and onnxruntime compute runs beside Python, so that threads are enough.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from vpr_ros.core.describing.describe import Describer
from vpr_ros.core.errors import ImageError
from vpr_ros.core.mapping.described import describe_as_kept
from vpr_ros.core.types import Described, Descriptors, Image
from vpr_ros.drives.drive import RecordedFrame

Item = TypeVar('Item')
Result = TypeVar('Result')

_AHEAD = 4  # results that wait in memory


def prefetched(
    items: Iterable[Item], work: Callable[[Item], Result], *, workers: int = 1
) -> Iterator[tuple[Item, Result | ImageError]]:
    """Items in their order with what `work` makes of each.

    An image that cannot be used comes with its error instead. Few results wait in memory.
    """
    waiting: deque[tuple[Item, Future[Result | ImageError]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix='prefetch') as pool:
        for item in items:
            waiting.append((item, pool.submit(_done, work, item)))
            if len(waiting) > _AHEAD:
                first, working = waiting.popleft()
                yield first, working.result()
        for first, working in waiting:
            yield first, working.result()


def load(recorded: RecordedFrame, needed_hw: tuple[int, int]) -> Image:
    """The image of a frame, for `described` and `described_with_cells`."""
    return recorded.load(at_least_hw=needed_hw)


def described(
    items: Iterable[Item],
    load: Callable[[Item, tuple[int, int]], Image],
    describer: Describer,
) -> Iterator[tuple[Item, tuple[Image, Descriptors] | ImageError]]:
    """Items in their order with the image that each loads and its descriptor [D].

    load: from an item and the size (height, width) of which the describer makes use.
    """
    needed_hw = describer.model.card.image_size

    def work(item: Item) -> tuple[Image, Descriptors]:
        image = load(item, needed_hw)
        return image, describer.describe([image])[0]

    return prefetched(items, work, workers=describer.at_once)


def described_with_cells(
    items: Iterable[Item],
    load: Callable[[Item, tuple[int, int]], Image],
    describer: Describer,
    *,
    with_cells: bool = True,
) -> Iterator[tuple[Item, tuple[Image, Described] | ImageError]]:
    """The same with all that a map may keep of an image, from one pass of the network.

    with_cells: False where nobody keeps them, which saves their copying.
    """
    needed_hw = describer.model.card.image_size

    def work(item: Item) -> tuple[Image, Described]:
        image = load(item, needed_hw)
        return image, describe_as_kept(describer, image, with_cells=with_cells)

    return prefetched(items, work, workers=describer.at_once)


def _done(work: Callable[[Item], Result], item: Item) -> Result | ImageError:
    try:
        return work(item)
    except ImageError as error:
        return error
