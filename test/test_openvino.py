"""OpenVINO runs a model where it describes alike and is faster here; else onnxruntime does.

All of it runs in processes of their own. In one in which OpenVINO has worked, the next signal with
a handler can end Python, and torch has a handler for the end of any child.
"""

import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from real_backends import import_apart
from worlds import picture, write_tiny_model

from vpr_ros.core import describing
from vpr_ros.core.describing import parity
from vpr_ros.core.describing.backend import open_describer
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import CARD_NAME, Model, read_card
from vpr_ros.core.describing.openvino import OpenVinoDescriber, compiled_request
from vpr_ros.core.errors import BackendError
from vpr_ros.core.processor import this_processor

T = TypeVar('T')

MODELS = Path(__file__).resolve().parents[1] / 'models'
IMAGES = [picture(place) for place in range(3)]


@pytest.fixture(scope='module')
def openvino() -> None:
    """Skips the test, or fails it, where OpenVINO is missing."""
    import_apart('openvino', 'openvino')


def apart(work: Callable[..., T], *given: object) -> T:
    """What `work` returns in a process of its own, which has OpenVINO."""
    with get_context('spawn').Pool(1, put_in_place) as pool:
        return pool.apply(work, given)


def put_in_place() -> None:
    for name, module in import_apart('openvino', 'openvino').items():
        sys.modules[name] = module


def test_a_tiny_model_with_cells_is_described_as_by_onnxruntime(
    openvino: None, tmp_path: Path
) -> None:
    apart(describe_a_tiny_model_with_cells, tmp_path)


def describe_a_tiny_model_with_cells(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny', cells=True)
    reference = OnnxDescriber(model)
    describer = OpenVinoDescriber(model, reference, threads=1)
    compiled = describer._request.get_compiled_model()
    assert compiled.get_property('INFERENCE_NUM_THREADS') == 1
    assert compiled.get_property('INFERENCE_PRECISION_HINT').to_string() == 'f32'
    expected, expected_cells = reference.describe_with_cells(IMAGES)
    descriptors, cells = describer.describe_with_cells(IMAGES)
    np.testing.assert_allclose(descriptors, expected, atol=1e-5)
    np.testing.assert_array_equal(describer.describe(IMAGES), descriptors)
    assert cells is not None and expected_cells is not None and cells.dtype == np.float16
    np.testing.assert_allclose(cells.astype(float), expected_cells.astype(float), atol=2e-3)


def least_cosine(name: str, precision: str) -> float | None:
    """Between a shipped model's descriptors by OpenVINO and by onnxruntime; None: refused."""
    model = Model.open(MODELS / name, precision=precision)
    reference = OnnxDescriber(model)
    try:
        describer = OpenVinoDescriber(model, reference)
    except parity.ParityError:
        return None
    cosines = (describer.describe(IMAGES) * reference.describe(IMAGES)).sum(axis=1)
    return float(cosines.min())


@pytest.mark.parametrize('name', sorted(path.parent.name for path in MODELS.glob('*/card.json')))
def test_shipped_models_are_described_as_by_onnxruntime_fp32_not_in_fewer_bits(
    openvino: None, name: str
) -> None:
    accepted = read_card(MODELS / name / CARD_NAME).precisions
    for precision, least in (('fp32', 0.9999), ('int8', 0.98)):
        if precision == 'fp32' or precision in accepted:
            found = apart(least_cosine, name, precision)
            # OpenVINO has no exact way to add bytes where the processor's way overflows.
            may_overflow = precision == 'int8' and not this_processor().multiplies_bytes_fast
            assert may_overflow if found is None else found > least


def test_settings_that_a_graph_cannot_be_compiled_with_give_way_to_the_next(
    openvino: None, tmp_path: Path
) -> None:
    apart(run_by_the_second_settings, tmp_path)


def run_by_the_second_settings(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    library = sys.modules['openvino']
    refused = {'NO_SUCH_SETTING': 'yes'}
    assert compiled_request(library, model, [refused, {}]) is not None
    with pytest.raises(BackendError, match='NO_SUCH_SETTING'):
        compiled_request(library, model, [refused])


def test_auto_measures_once_and_says_what_it_measured(openvino: None, tmp_path: Path) -> None:
    apart(choose_twice, tmp_path)


def choose_twice(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    first = open_describer(model, cache=tmp_path)
    assert 'onnxruntime' in first.measured and 'OpenVINO' in first.measured
    assert not first.is_failure
    second = open_describer(model, cache=tmp_path)
    assert (second.name, second.measured) == (first.name, first.measured)
    expected = OnnxDescriber(model).describe(IMAGES)
    np.testing.assert_allclose(second.describer.describe(IMAGES), expected, atol=1e-5)
    chosen = open_describer(model, backend='openvino', cache=tmp_path)
    assert chosen.name.startswith('OpenVINO ') and not chosen.reason
    for backend in ('cpu', 'onnxruntime'):
        chosen = open_describer(model, backend=backend, cache=tmp_path)
        assert chosen.name.startswith('onnxruntime ') and not chosen.reason


def test_an_openvino_that_describes_otherwise_leaves_onnxruntime_at_work(
    openvino: None, tmp_path: Path
) -> None:
    apart(choose_with_an_openvino_that_describes_otherwise, tmp_path)


def choose_with_an_openvino_that_describes_otherwise(tmp_path: Path) -> None:
    parity.LEAST_COSINE['fp32'] = 1.1
    model = write_tiny_model(tmp_path / 'tiny')
    for backend in ('auto', 'openvino'):
        chosen = open_describer(model, backend=backend, cache=tmp_path)
        assert chosen.name.startswith('onnxruntime ') and chosen.is_failure
        assert 'between descriptors of OpenVINO' in chosen.reason


def test_an_openvino_that_fails_on_an_image_leaves_onnxruntime_at_work(
    openvino: None, tmp_path: Path
) -> None:
    apart(choose_with_an_openvino_that_fails, tmp_path)


class FailingRequest:
    def infer(self, inputs: object) -> None:
        raise RuntimeError('out of memory')


def choose_with_an_openvino_that_fails(tmp_path: Path) -> None:
    describing.openvino.compiled_request = lambda *given: FailingRequest()
    chosen = open_describer(write_tiny_model(tmp_path / 'tiny'), cache=tmp_path)
    assert chosen.name.startswith('onnxruntime ') and chosen.is_failure
    assert 'model.onnx: OpenVINO fails on an image (out of memory)' in chosen.reason
