"""Raw images of megabytes: they arrive whole, and their memory is not fetched anew for each."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2, from apt or from the wheels of `make setup`')
from ros_world import ROOT
from worlds import straight_drive, unit_rows, write_map, write_tiny_model

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.encodings import rgb_to_image, to_rgb
from vpr_ros.core.image import resize
from vpr_ros.drives import open_drive
from vpr_ros.drives.writer import writing
from vpr_ros.evaluating.live import run_live
from vpr_ros.node.large_images import PROFILES, room_for_large_images

FAULTS = """
import resource, numpy
from vpr_ros.node.memory import keep_freed_memory
kept = keep_freed_memory()
source = numpy.ones(6_000_000, numpy.uint8)
for _ in range(3):
    bytes(source)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    bytes(source)
print(kept, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 20)
"""


def faults(**environment: str) -> tuple[bool, int]:
    """Whether memory is kept, and the page faults of one 6 MB copy in a new process."""
    unset = {name: word for name, word in os.environ.items() if not name.startswith('MALLOC_')}
    done = subprocess.run(
        [sys.executable, '-c', FAULTS],
        cwd=ROOT,
        env=unset | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    kept, count = done.stdout.split()
    return kept == 'True', int(count)


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='an allocator of glibc')
def test_an_image_takes_the_memory_that_the_one_before_has_left() -> None:
    kept, count = faults()
    if not kept:
        pytest.skip('the allocator is not that of glibc')
    assert count < 100  # of 1500 pages


def test_what_the_operator_has_set_of_the_allocator_stays() -> None:
    kept, count = faults(MALLOC_MMAP_THRESHOLD_='131072')
    assert not kept
    assert count > 1000


def test_a_sender_has_the_profile_for_large_images_while_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(PROFILES, raising=False)
    with room_for_large_images():
        assert Path(os.environ[PROFILES]).read_text().count('67108864') == 1
    assert PROFILES not in os.environ


@pytest.mark.parametrize('name', [PROFILES, 'FASTDDS_BUILTIN_TRANSPORTS'])
def test_a_profile_of_the_operator_stays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(PROFILES, raising=False)
    monkeypatch.setenv(name, 'mine')
    with room_for_large_images():
        assert os.environ.get(PROFILES) == ('mine' if name == PROFILES else None)


def test_raw_images_of_1080p_all_arrive_and_are_localized(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'model')
    rows = unit_rows(4, model.card.descriptor_size)
    write_map(tmp_path / 'map', rows, straight_drive(4), model_sha256=model.card.sha256)
    picture = resize(np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8), (1080, 1920))
    with writing(tmp_path / 'bag') as bag:
        for row in range(20):
            bag.image(10**9 + row * 10**8, picture)
    parameters = {'map': str(tmp_path / 'map'), 'model': str(tmp_path / 'model')}
    found = run_live(tmp_path / 'bag', None, parameters, every_image=True)
    assert (found.sent, found.dropped) == (20, 0)


def test_the_default_model_describes_a_raw_1080p_image_alike_whole_and_smaller() -> None:
    """A real picture, enlarged."""
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    describer = OnnxDescriber(Model.open(default_model(), precision='fp32'), threads=1)
    drive = open_drive(ROOT / 'demo' / 'drives' / 'day')
    frame = next(drive.frames()).load()
    message = rgb_to_image(resize(frame, (1080, 1920)), Image, Header())
    smaller = to_rgb(message, at_least_hw=describer.model.card.image_size)
    whole, half = describer.describe([to_rgb(message), smaller])
    assert float(whole @ half) > 0.999
