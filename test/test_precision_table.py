"""benchmarks/precision.py measures each way by what that way describes."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from worlds import picture, write_recall_set, write_tiny_model

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.types import Descriptors, Image

pytest.importorskip('onnxruntime.quantization')
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'benchmarks'))
import precision


class Wrong(OnnxDescriber):
    """Describes an image as its opposite."""

    def describe(self, images: Sequence[Image]) -> Descriptors:
        return -super().describe(images)


@pytest.fixture
def recall_set(tmp_path: Path) -> Path:
    """Queries that are the images of the database."""
    seen = [picture(place) for place in range(6)]
    return write_recall_set(tmp_path / 'set', seen, seen)


def test_recall_is_of_what_each_way_describes(recall_set: Path, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'model')
    ways = {'right': OnnxDescriber(model), 'wrong': Wrong(model)}
    found = precision.worst_recall(model, ways, recall_set, tmp_path / 'store')
    assert float(found['right']) == 1.0 and float(found['wrong']) < 0.5
