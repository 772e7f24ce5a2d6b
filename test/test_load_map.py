"""The running node goes over to another map by ~/load_map and by its parameter."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2, from apt or from the wheels of `make setup`')
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from rcl_interfaces.srv import GetParameters
from ros_world import ROOT, Peer, domain, running
from sensor_msgs.msg import Image
from session_world import PLACES as STREET_PLACES
from session_world import drive as drive_along
from session_world import outcomes, session_on, street
from std_msgs.msg import String
from test_localize import PLACES, assert_reported, raw
from visualization_msgs.msg import Marker
from waiting import until
from worlds import picture, straight_drive, write_map, write_tiny_model

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.errors import VprError
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.mapping.header import read_header
from vpr_ros.map_care.edit import append
from vpr_ros.node import maps, opening
from vpr_ros.node.lifecycle import Active
from vpr_ros.node.maps import Loading, MapLoader
from vpr_ros.node.qos import LATCHED
from vpr_ros.session.mailbox import Mailbox
from vpr_ros.session.worker import Worker

NEW = 6  # places of the drive that is appended


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A tiny model, a map of twelve places, and the same map with a drive appended."""
    folder = tmp_path_factory.mktemp('load_map')
    model = write_tiny_model(folder / 'model')
    describer = OnnxDescriber(model)
    described = describer.describe([picture(place) for place in range(PLACES + NEW)])
    poses = straight_drive(PLACES + NEW, spacing_m=10.0)
    poses[PLACES:, 1] += 500.0
    sha256 = model.card.sha256
    for name in ('map', 'longer'):
        write_map(folder / name, described[:PLACES], poses[:PLACES], model_sha256=sha256)
    with append(folder / 'longer', read_header(folder / 'longer')) as writer:
        for place in range(PLACES, PLACES + NEW):
            thumbnail = encode_jpeg(picture(place))
            writer.add(
                described[place],
                poses[place],
                stamp_ns=place * 10**9,
                name=f'{place}',
                thumbnail=thumbnail,
            )
    return {
        'map': folder / 'map',
        'model': folder / 'model',
        'image_qos': 'default',
        'max_false_fix_rate': 0.2,
    }


def longer(world: dict[str, Any]) -> Path:
    return Path(world['map']).parent / 'longer'


def set_map(peer: Peer, folder: Path) -> Any:
    return peer.set('map', str(folder))


def map_parameter(peer: Peer) -> str:
    request = GetParameters.Request(names=['map'])
    return str(
        peer.call(GetParameters, '/localize/get_parameters', request).values[0].string_value
    )


def load_map(peer: Peer, folder: Path) -> Any:
    if maps.LoadMap is None:
        pytest.skip('vpr_msgs is not built, or before ~/load_map; see `make setup`')
    return peer.call(maps.LoadMap, '/localize/load_map', maps.LoadMap.Request(folder=str(folder)))


def drive(peer: Peer, images: Any, places: range, *, start_s: int) -> None:
    for row, place in enumerate(places):
        peer.show(images, raw(place, stamp_s=start_s + row))


def mapped(process: Any, folder: Path) -> bool:
    """Whether a process holds files of a map."""
    return f'{folder}/' in Path(f'/proc/{process.pid}/maps').read_text()


@pytest.mark.parametrize('way', [load_map, set_map], ids=['service', 'parameter'])
def test_a_localized_robot_stays_localized_while_the_node_goes_over_to_a_longer_map(
    world: dict[str, Any], way: Callable[[Peer, Path], Any]
) -> None:
    with domain() as (number, peer), running(number, **world) as process:
        states = peer.listen(String, '/localize/state', LATCHED)
        places = peer.listen(Marker, '/localize/places', LATCHED)
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        images = peer.publisher(Image, '/image')
        drive(peer, images, range(8), start_s=100)
        peer.wait(lambda: bool(states) and states[-1].data == 'LOCALIZED', f'{states}')
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose')
        told, folder = len(states), longer(world)
        answer = way(peer, folder)
        assert getattr(answer, 'success', True) and getattr(answer, 'successful', True), answer
        peer.wait(lambda: len(places[-1].points) == PLACES + NEW, 'no new places are drawn')
        drive(peer, images, range(8, PLACES), start_s=108)
        assert_reported(peer, reports, f'places: {PLACES + NEW}')
        assert_reported(peer, reports, f'map: {folder}')
        assert [state.data for state in states[told:]] == []
        assert fixes[-1].pose.pose.position.x == pytest.approx(10.0 * (PLACES - 1), abs=8.0)
        assert map_parameter(peer) == str(folder)
        assert mapped(process, folder) and not mapped(process, world['map'])
        if way is load_map:
            assert f'{NEW} of them new' in answer.message and len(answer.map_id) == 12


def broken(world: dict[str, Any], folder: Path, kind: str) -> Path:
    """A map that cannot take the place of the world's."""
    if kind == 'no folder':
        return folder
    if kind == 'another frame':
        model = write_tiny_model(folder.parent / 'model')
        write_map(folder, *small(), model_sha256=model.card.sha256)
        text = (folder / 'map.yaml').read_text()
        (folder / 'map.yaml').write_text(text.replace('frame_id: map', 'frame_id: hall'))
        return folder
    if kind == 'another model':
        write_map(folder, *small())
        return folder
    shutil.copytree(longer(world), folder)
    damaged = folder / 'parts/0000/descriptors.npy'
    if kind == 'a damaged file':
        content = bytearray(damaged.read_bytes())
        content[-1] ^= 1
        damaged.write_bytes(content)
    elif kind == 'a link out of the map':
        (folder.parent / 'outside').write_bytes(damaged.read_bytes())
        damaged.unlink()
        damaged.symlink_to(folder.parent / 'outside')
    return folder


def small() -> tuple[np.ndarray, np.ndarray]:
    return np.eye(3, 8, dtype=np.float32), straight_drive(3)


KINDS = {
    'no folder': 'no map here',
    'another model': 'this program runs tiny',
    'another frame': 'expected map as in the served map',
    'a damaged file': 'the file is damaged',
    'a link out of the map': 'link',
}


def test_what_cannot_be_used_is_refused_with_its_reason_and_the_old_map_stays(
    world: dict[str, Any], tmp_path: Path
) -> None:
    with domain() as (number, peer), running(number, **world) as process:
        states = peer.listen(String, '/localize/state', LATCHED)
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        images = peer.publisher(Image, '/image')
        drive(peer, images, range(8), start_s=100)
        peer.wait(lambda: bool(states) and states[-1].data == 'LOCALIZED', f'{states}')
        told = len(states)
        for kind, said in KINDS.items():
            folder = broken(world, tmp_path / kind / 'map', kind)
            answer = set_map(peer, folder)
            if not answer.successful:
                assert said in answer.reason
            reports.clear()
            assert_reported(peer, reports, 'map refused: ' + str(folder))
            assert_reported(peer, reports, said)
            assert map_parameter(peer) == str(world['map'])
        drive(peer, images, range(8, PLACES), start_s=108)
        assert [state.data for state in states[told:]] == []
        assert mapped(process, world['map'])


def test_the_service_says_why_a_map_is_refused_and_which_one_is_served(
    world: dict[str, Any], tmp_path: Path
) -> None:
    with domain() as (number, peer), running(number, **world):
        served = load_map(peer, world['map'])
        assert served.success and '0 of them new' in served.message
        for kind in ('another model', 'a damaged file'):
            refused = load_map(peer, broken(world, tmp_path / kind / 'map', kind))
            assert not refused.success and KINDS[kind] in refused.message
            assert refused.map_id == served.map_id
        assert not load_map(peer, Path()).success
        relative = load_map(peer, Path('maps/office'))  # from where the node was started
        assert relative.message.startswith(f'{ROOT}/maps/office: no map here')
        assert 'Give the whole path' in load_map(peer, Path('~nobody-here/maps')).message


def test_a_node_that_is_not_active_refuses_and_one_that_is_asked_again_goes_on(
    world: dict[str, Any],
) -> None:
    with domain() as (number, peer), running(number, **world | {'autostart': False}):
        assert peer.change(Transition.TRANSITION_CONFIGURE)
        refused = set_map(peer, longer(world))
        assert not refused.successful and 'not active' in refused.reason
        assert set_map(peer, world['map']).successful  # what it is already
        assert peer.change(Transition.TRANSITION_ACTIVATE)
        assert set_map(peer, longer(world)).successful
        assert peer.change(Transition.TRANSITION_DEACTIVATE)
        assert peer.change(Transition.TRANSITION_CLEANUP)
        assert set_map(peer, world['map']).successful
        assert peer.change(Transition.TRANSITION_CONFIGURE)
        assert peer.change(Transition.TRANSITION_ACTIVATE)


# The loader by itself ----------------------------------------------------------------------------


class Running:
    """A session at work with a loader, whose maps open when they are allowed to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allowed = threading.Event()
        self.opening = threading.Event()
        self.told: list[tuple[str, str]] = []
        self.publishing = threading.Event()
        self.published = threading.Event()  # before that, the worker stays at its event
        self.published.set()
        self.session = session_on(street(folder))
        card = self.session.localizer.describer.model.card
        card.descriptor_size, card.name = 64, 'tiny'
        card.reads_maps_of = lambda sha256: True
        self.mailbox = Mailbox()
        self.worker = Worker(
            self.session, self.mailbox, publish=self._publish, report=lambda error: None
        )
        self.loader = MapLoader(
            self.session,
            self.mailbox,
            serving=str(folder),
            finished=lambda loading, refusal: self.told.append((loading.folder, refusal)),
        )
        monkeypatch.setattr(maps, 'open_map', self._open)

    def _open(self, folder: Path, model: Any) -> Any:
        self.opening.set()
        assert self.allowed.wait(30)
        return opening.open_map(folder, model)

    def _publish(self, answers: Any) -> None:
        self.publishing.set()
        assert self.published.wait(30)

    def frames(self, places: range, start_s: float) -> list[Any]:
        """What the worker answers to images."""
        return [
            outcome
            for event in drive_along(places, start_s=start_s)
            for outcome in outcomes(self.mailbox.put(event).result(30))
        ]

    def begin(self, folder: Path) -> Loading:
        return self.loader.begin(str(folder))

    def deactivate(self) -> None:
        nothing = SimpleNamespace(destroy=lambda: None, end=lambda: None)
        Active(self.worker, nothing, nothing, self.loader).close()

    def end(self) -> None:
        self.deactivate()
        self.allowed.set()
        self.loader.join()


@pytest.fixture
def at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Running(tmp_path / 'map', monkeypatch)
    yield made
    made.end()


def test_frames_are_answered_by_the_old_map_while_another_one_is_opened(
    at_work: Running, tmp_path: Path
) -> None:
    street(tmp_path / 'other')
    loading = at_work.begin(tmp_path / 'other')
    assert at_work.opening.wait(30)
    assert len(at_work.frames(range(10, 20), 100.0)) == 10
    assert not loading.done.done()
    assert at_work.session.localizer.place_map.folder == tmp_path / 'map'
    at_work.allowed.set()
    assert f'{STREET_PLACES} places of {tmp_path / "other"}' in loading.done.result(30)
    assert len(at_work.frames(range(20, 30), 110.0)) == 10
    assert at_work.session.state.value == 'LOCALIZED'
    assert at_work.loader.serving == str(tmp_path / 'other')


def test_a_second_map_is_refused_while_one_is_opened_and_taken_after_it(
    at_work: Running, tmp_path: Path
) -> None:
    street(tmp_path / 'other')
    first = at_work.begin(tmp_path / 'other')
    with pytest.raises(VprError, match='other is still being opened'):
        at_work.begin(tmp_path / 'third')
    at_work.allowed.set()
    first.done.result(30)
    assert 'places of' in at_work.begin(tmp_path / 'map').done.result(30)


def test_a_map_that_changes_on_disk_while_it_is_opened_is_refused(
    at_work: Running, tmp_path: Path
) -> None:
    """By its digests; the frame that it is in is asked again once it is open."""
    street(tmp_path / 'other')
    loading = at_work.begin(tmp_path / 'other')
    assert at_work.opening.wait(30)
    path = tmp_path / 'other/map.yaml'
    path.write_text(path.read_text().replace('frame_id: map', 'frame_id: hall'))
    at_work.allowed.set()
    with pytest.raises(VprError, match='in frame hall, expected map'):
        loading.done.result(30)
    path.write_text(path.read_text().replace('frame_id: hall', 'frame_id: map'))
    at_work.allowed.clear()
    at_work.opening.clear()
    loading = at_work.begin(tmp_path / 'other')
    assert at_work.opening.wait(30)
    (tmp_path / 'other/parts/0000/poses.npy').write_bytes(b'')
    at_work.allowed.set()
    with pytest.raises(VprError, match='the file is damaged'):
        loading.done.result(30)
    assert [bool(refusal) for _, refusal in at_work.told] == [True, True]
    assert at_work.session.localizer.place_map.folder == tmp_path / 'map'
    assert 'damaged' in at_work.session.counts.snapshot().facts['map refused']


def test_a_node_that_is_deactivated_while_a_map_is_opened_answers_and_keeps_the_old_one(
    at_work: Running, tmp_path: Path
) -> None:
    street(tmp_path / 'other')
    loading = at_work.begin(tmp_path / 'other')
    assert at_work.opening.wait(30)
    at_work.loader.close()
    with pytest.raises(VprError, match='is being deactivated'):
        loading.done.result(0)  # at once
    at_work.end()
    assert at_work.session.localizer.place_map.folder == tmp_path / 'map'


def test_a_node_that_is_deactivated_while_it_goes_over_to_a_map_answers_that_it_has(
    at_work: Running, tmp_path: Path
) -> None:
    street(tmp_path / 'other')
    at_work.published.clear()
    loading = at_work.begin(tmp_path / 'other')
    at_work.allowed.set()
    assert at_work.publishing.wait(30)  # what the session says of the map, which it has taken
    ending = threading.Thread(target=at_work.deactivate)
    ending.start()
    until(lambda: at_work.mailbox._closed, 'the mailbox stays open')
    at_work.published.set()
    ending.join(30)
    assert f'places of {tmp_path / "other"}' in loading.done.result(0)
    assert at_work.session.localizer.place_map.folder == tmp_path / 'other'
    assert at_work.loader.serving == str(tmp_path / 'other')
    assert at_work.told == [(str(tmp_path / 'other'), '')]
