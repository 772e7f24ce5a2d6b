"""Where the tests find real images, which are not part of the project, and how they begin."""

import importlib.metadata
import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from fleet_world import FleetProcess

settings.register_profile('vpr_ros', deadline=None)  # tests time nothing
settings.load_profile('vpr_ros')

# A shell starts programs in the background so that they, and what they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def shared_data() -> Path:
    folder = Path(os.environ.get('VPR_DATA') or ROOT.parent / 'shared' / 'data')
    if not folder.is_dir():
        pytest.skip(f'no real images in {folder}; set VPR_DATA to the folder that holds them')
    return folder


@pytest.fixture(scope='session')
def ros_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with vpr_ros, vpr_msgs and a stand-in for `bond`, built by a plain colcon."""
    from interfaces import built_workspace

    try:
        importlib.metadata.version('ros-rclpy')
    except importlib.metadata.PackageNotFoundError:
        pytest.skip('needs the wheels of ROS 2, which fit those that build interfaces: make setup')
    return built_workspace(tmp_path_factory.mktemp('colcon') / 'ws')


@pytest.fixture(scope='module')
def engine(tmp_path_factory: pytest.TempPathFactory) -> 'Iterator[FleetProcess]':
    """Commands on a fleet's store, by the real LanceDB in a process of its own."""
    if not importlib.util.find_spec('lancedb'):
        pytest.skip('lancedb is missing (requirements/fleet.txt)')
    from fleet_world import FleetProcess

    secret = {'AWS_SECRET_ACCESS_KEY': 'very-secret-value'}
    process = FleetProcess(tmp_path_factory.mktemp('fleet'), secret)
    yield process
    process.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Where a store may be made."""
    return tmp_path / 'fleet'
