"""An image described as maps keep it: a descriptor, and the signs of its cells.

Places and queries are described here alike, in one pass of the network. Cells become bits at once,
because those of a whole drive may wait in memory: 3 kB an image in place of 50.
"""

from vpr_ros.core.describing.describe import Describer
from vpr_ros.core.matching.bits import packed
from vpr_ros.core.types import Described, Image


def describe_as_kept(describer: Describer, image: Image, *, with_cells: bool = True) -> Described:
    """Descriptor of an image [H, W, 3], and its cells where they are asked for and there are some.

    A model without cells is asked for its descriptor alone.
    """
    if not with_cells or describer.model.card.cells is None:
        return Described(describer.describe([image])[0])
    descriptors, cells = describer.describe_with_cells([image])
    return Described(descriptors[0], None if cells is None else packed(cells[0]))
