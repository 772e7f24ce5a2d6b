"""How long the graphs of a model take for an image on this processor, measured in turns."""

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.fastest import medians_ms
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.precision import Precision

_ROUNDS, _IN_A_ROW = 10, 5


def latencies_ms(
    folder: Path, precisions: Sequence[Precision], threads: int
) -> dict[Precision, float]:
    """Median milliseconds of describing one image with graphs of a model, in turns.

    Cells are described, too, where the model has some.
    """
    found = medians_ms(
        {
            name: OnnxDescriber(Model.open(folder, precision=name), threads=threads)
            for name in precisions
        },
        rounds=tqdm(range(_ROUNDS), desc='latency', disable=None, leave=False),
        in_a_row=_IN_A_ROW,
        with_cells=True,
    )
    return {name: found[name] for name in precisions}
