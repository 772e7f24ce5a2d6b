"""Whether what runs a model describes as onnxruntime does, on two pictures.

onnxruntime on the CPU is what the models' recall was measured with. Another backend may compute in
fewer bits, and a power or a sum may then be too large for them.
"""

from typing import Literal, TypeAlias

import numpy as np

from vpr_ros.core.describing.describe import Describer
from vpr_ros.core.errors import BackendError
from vpr_ros.core.image import resize
from vpr_ros.core.types import Image

Bits: TypeAlias = Literal['fp32', 'fp16', 'int8']
LEAST_COSINE: dict[Bits, float] = {'fp32': 0.999, 'fp16': 0.99, 'int8': 0.98}
"""Between two descriptors of an image, by what was computed in; below it, a backend is refused.

In int8, rounding leaves 0.99, and sums of bytes that overflow 0.72 to 0.96.
"""


class ParityError(BackendError):
    """A backend that runs and describes otherwise than onnxruntime; fp32 may be right."""


def require_parity(describer: Describer, reference: Describer, bits: Bits, *, what: str) -> None:
    """Raise ParityError where descriptors, or cells, are not those of the reference.

    what: is named in the error, such as 'the fp16 engine'.
    """
    images = probes()
    expected, expected_cells = reference.describe_with_cells(images)
    found, cells = describer.describe_with_cells(images)
    cosines = {'descriptors': float((found * expected).sum(axis=1).min())}
    if cells is not None and expected_cells is not None:
        products = cells.astype(np.float32) * expected_cells.astype(np.float32)
        # The mean: a cell that shows next to nothing has no direction of its own.
        cosines['cells'] = float(products.sum(axis=-1).mean())
    for name, cosine in cosines.items():
        if not cosine >= LEAST_COSINE[bits]:  # also where it is NaN
            raise ParityError(
                f'{reference.model.graph}: cosine {cosine:.3f} between {name} of {what} and those '
                f'of onnxruntime, expected at least {LEAST_COSINE[bits]}; choose another '
                'precision: fp32 is the safest'
            )


def probes() -> list[Image]:
    """Two smooth pictures, alike on every machine."""
    rng = np.random.default_rng(0)
    return [resize(rng.integers(0, 256, (12, 16, 3), np.uint8), (240, 320)) for _ in range(2)]
