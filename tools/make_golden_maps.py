"""Make test/golden_maps/: small maps in every form that earlier programs wrote, by their own code.

A customer keeps a map for years, so every form that was ever written stays readable. The proof is
only as good as its bytes: each map here is written by the program of a named commit, taken out of
the history into a temporary folder. A map that is there already is left alone.

A new form of map gets a line in FORMS, with the last commit that wrote the form before it.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / 'test' / 'golden_maps'

# Place n lies at x = 10 n metres, was seen n seconds after the start, is called n.jpg, and its
# descriptor is the n-th axis. So a test knows what to find without asking the map.
COMMON = """
import sys
from pathlib import Path
import numpy as np
from vpr_ros.core.geometry import FORWARD_CAMERA, compose
from vpr_ros.core.image import encode_jpeg
try:
    from vpr_ros.core.mapping.header import MapHeader
    from vpr_ros.core.mapping.writer import build
except ImportError:  # before the modules moved into rooms
    from vpr_ros.core.place_map import MapHeader, build

folder = Path(sys.argv[1])

def add(writer, start, end, size=8, landmarks=None, cells=None):
    for n in range(start, end):
        base = np.array([10.0 * n, 0, 0, 0, 0, 0, 1])
        writer.add(
            np.eye(size, dtype=np.float32)[n],
            compose(base, FORWARD_CAMERA),
            stamp_ns=n * 10**9,
            name=f'{n}.jpg',
            thumbnail=encode_jpeg(np.full((8, 8, 3), 20 + n, np.uint8)),
            **({} if cells is None else {'cells': cells(n)}),
        )
        if landmarks is not None:
            writer.add_landmarks(landmarks(n))

def header(size=8, **more):
    return MapHeader(
        model_name='golden', model_sha256='a' * 64, descriptor_size=size,
        source='golden', command='build_map golden', **more
    )
"""
APPEND = """
from vpr_ros.core.map_edit import append
from vpr_ros.core.place_map import read_header
"""
LANDMARKS = """
from vpr_ros.core.camera import Camera
from vpr_ros.core.landmarks import Landmarks

camera = Camera(64, 48, (50.0, 0.0, 31.5, 0.0, 50.0, 23.5, 0.0, 0.0, 1.0), 'plumb_bob', ())

def points(size):
    return lambda n: Landmarks(
        np.array([[0.1 * k, 0.2, 5.0 + n] for k in range(n + 1)], np.float32),
        np.full(n + 1, 0.25, np.float32),
        np.full((n + 1, size), 7 * n, np.uint8),
    )
"""
CALIBRATION = """
from vpr_ros.core.confidence import Calibration, as_dict

made = Calibration((0.5, 20.0, 10.0, -0.1), -20.0, 'golden', 40, 0.02, 5.0)
"""

FORMS = {
    'first': (
        '20d5831',
        """
with build(folder, header()) as writer:
    add(writer, 0, 4)
""",
    ),
    'geographic': (
        'fcf9fef',
        """
from vpr_ros.core.types import Datum
datum = Datum(33, 'U', 500_000.0, 5_700_000.0)
view = {'field_of_view_deg': 90.0, 'frame_id': 'utm'}
with build(folder, header(datum=datum, has_heading=False, **view)) as writer:
    add(writer, 0, 4)
""",
    ),
    'appended': (
        '3193967',
        APPEND
        + """
with build(folder, header()) as writer:
    add(writer, 0, 3)
with append(folder, read_header(folder), command='map append', source='more') as writer:
    add(writer, 3, 5)
""",
    ),
    'coded': (
        'b113f0d',
        """
from vpr_ros.core import place_map
place_map.CODED_FROM_BYTES, place_map.LARGE_BYTES = 1, 2000  # as of a map of many places
with build(folder, header(32)) as writer:
    add(writer, 0, 24, 32)
""",
    ),
    'sift_landmarks': (
        'c5616af',
        LANDMARKS
        + """
kept = {'camera': camera, 'landmark_features': 'root-sift'}
with build(folder, header(**kept), landmark_descriptor_size=128) as writer:
    add(writer, 0, 4, landmarks=points(128))
""",
    ),
    'calibrated': (
        'c63a3da',
        CALIBRATION
        + """
from vpr_ros.core.place_map import write_calibration
with build(folder, header()) as writer:
    add(writer, 0, 4)
write_calibration(folder, made)
""",
    ),
    'xfeat_landmarks': (
        'd9acf5d',
        LANDMARKS
        + """
from onnx import TensorProto, helper, numpy_helper
from vpr_ros.core.xfeat import NETWORK_INPUTS, NETWORK_NAME, NETWORK_OUTPUTS, XFeatFeatures

def network():
    nodes = [
        helper.make_node('AveragePool', ['grey'], ['mean'], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node('Conv', ['mean', 'weights'], ['waves']),
        helper.make_node('LpNormalization', ['waves'], [NETWORK_OUTPUTS[0]], axis=1, p=2),
        helper.make_node('Squeeze', ['grey', 'one'], [NETWORK_OUTPUTS[1]]),
        helper.make_node('Sigmoid', ['mean'], [NETWORK_OUTPUTS[2]]),
    ]
    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    sizes = ([1, 64, None, None], [1, None, None], [1, 1, None, None])
    weights = np.cos(np.arange(64, dtype=np.float32)).reshape(64, 1, 1, 1)
    graph = helper.make_graph(
        nodes, 'golden', [value(NETWORK_INPUTS[0], [1, 1, None, None])],
        [value(name, size) for name, size in zip(NETWORK_OUTPUTS, sizes)],
        [numpy_helper.from_array(weights, 'weights'),
         numpy_helper.from_array(np.array([1], np.int64), 'one')],
    )
    opset = [helper.make_opsetid('', 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()

features = XFeatFeatures({NETWORK_NAME: network()})
kept = {'camera': camera, 'landmark_features': features.name}
with build(folder, header(**kept), features=features) as writer:
    add(writer, 0, 4, landmarks=points(64))
""",
    ),
    'newest': (
        '49a1bf1',
        APPEND
        + LANDMARKS
        + CALIBRATION
        + """
from dataclasses import replace
from vpr_ros.core.features import SiftFeatures
from vpr_ros.core.place_map import write_calibration
with build(folder, header(model_calibration=as_dict(replace(made, bias=-15.0)))) as writer:
    add(writer, 0, 3)
kept = camera, SiftFeatures()
before = read_header(folder)
with append(folder, before, command='map append', source='more', landmarks=kept) as writer:
    add(writer, 3, 5, landmarks=points(128))
write_calibration(folder, made)
""",
    ),
    'cells': (
        '73eed34',
        """
from vpr_ros.core.mapping.header import read_header
from vpr_ros.map_care.edit import append
bits = lambda n: np.arange(n, n + 12, dtype=np.uint8).reshape(6, 2)
with build(folder, header(cells=(2, 3, 16))) as writer:
    add(writer, 0, 3, cells=bits)
with append(folder, read_header(folder), command='map append', source='more') as writer:
    add(writer, 3, 5, cells=bits)
""",
    ),
    'half': (
        'ee328f1',
        """
from vpr_ros.core.mapping.header import read_header
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.map_care.edit import append, slimmed
bits = lambda n: np.arange(n, n + 12, dtype=np.uint8).reshape(6, 2)
with build(folder, header(cells=(2, 3, 16))) as writer:
    add(writer, 0, 3, cells=bits)
slimmed(PlaceMap.open(folder), folder, half=True, command='map export --half')
with append(folder, read_header(folder), command='map append', source='more') as writer:
    add(writer, 3, 5, cells=bits)
""",
    ),
}


def main() -> None:
    """Write the maps that are missing."""
    for name, (commit, code) in FORMS.items():
        if not (TARGET / name).exists():
            with tempfile.TemporaryDirectory() as folder:
                write(name, commit, code, Path(folder))
            print(f'{name}: by {commit}')


def write(name: str, commit: str, code: str, tree: Path) -> None:
    """Write one map by the program of a commit, which is taken out into `tree`."""
    archive = subprocess.run(
        ['git', 'archive', commit, 'vpr_ros'], cwd=ROOT, check=True, capture_output=True
    )
    subprocess.run(['tar', '-x'], cwd=tree, input=archive.stdout, check=True)
    command = [sys.executable, '-c', COMMON + code, str(TARGET / name)]
    subprocess.run(command, cwd=tree, check=True)


if __name__ == '__main__':
    main()
