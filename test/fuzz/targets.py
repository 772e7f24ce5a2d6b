"""What reads input that others made, each as a function of bytes.

A target may raise the project's own errors, and returns otherwise. Whatever else it raises is a
fault. Its seeds are files of test/fuzz/seeds, made by make_seeds.py.
"""

import array
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from mutation import Choices

from vpr_ros.core.camera import camera_calibration
from vpr_ros.core.encodings import ENCODINGS, to_depth_m, to_rgb
from vpr_ros.core.errors import VprError
from vpr_ros.core.image import decode
from vpr_ros.core.localizing.kept_calibrations import calibration_of
from vpr_ros.core.mapping.header import read_header
from vpr_ros.core.mapping.place_map import PlaceMap

HERE = Path(__file__).resolve().parent
SEEDS = HERE / 'seeds'
GOLDEN = HERE.parent / 'golden_maps'
_MOST_FRAMES, _MOST_MESSAGES = 50, 20  # of one input

Run = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    """How input is read; make: gets a folder of its own and gives what reads one input."""

    make: Callable[[Path], Run]
    seeds: Callable[[], Sequence[bytes]]
    words: tuple[bytes, ...] = ()


def _files(name: str) -> Callable[[], Sequence[bytes]]:
    return lambda: [path.read_bytes() for path in sorted((SEEDS / name).iterdir())]


# Images -------------------------------------------------------------------------------------


def _image(folder: Path) -> Run:
    def run(content: bytes) -> None:
        sizes = (None, (8, 8), (16, 16), (64, 64), (480, 640))
        decode(content, at_least_hw=sizes[len(content) % len(sizes)])

    return run


def _message_fields(content: bytes) -> Any:
    """A message of any fields; often of data as long as they say, so that it goes on."""
    choices = Choices(content)
    kind = choices.number()
    if kind % 8 == 0:
        size = choices.number()
        return SimpleNamespace(
            format=choices.take(size % 32).decode('latin1'), data=choices.rest()
        )
    known = (*ENCODINGS, '32FC1', '64FC4', '', 'RGB8')
    height, width, step = choices.number(4), choices.number(4), choices.number(4)
    encoding = str(choices.one_of(known))
    if kind % 4:
        height, width = height % 64, width % 64
        step = width * (1 + step % 8)
    data = choices.rest()
    if kind % 3 and height * step < 1 << 16:
        wanted = height * step * (3 if encoding.startswith('nv') else 2) // 2
        data = data[:wanted].ljust(wanted, b'\x55')
    forms: tuple[Callable[[bytes], Any], ...] = (
        bytes, bytearray, memoryview, lambda raw: array.array('B', raw),
        lambda raw: np.frombuffer(raw, np.uint8),
    )  # fmt: skip
    return SimpleNamespace(
        encoding=encoding,
        height=height,
        width=width,
        step=step,
        is_bigendian=kind % 2,
        data=forms[kind % len(forms)](data),
    )


def _encodings(folder: Path) -> Run:
    def run(content: bytes) -> None:
        message = _message_fields(content)
        reads = to_depth_m if content[-1:] > b'\xc0' else to_rgb
        reads(message)

    return run


# Maps and models ----------------------------------------------------------------------------


def _use(place_map: PlaceMap) -> None:
    """What node and commands do with a map."""
    calibration_of(place_map.header)
    _ = place_map.names, place_map.grid, place_map.background, place_map.base_poses()
    for place in range(min(len(place_map), 3)):
        place_map.thumbnail(place)
        place_map.landmarks(place)
        place_map.cells(place)
    place_map.index.search(place_map.descriptors_of(np.arange(1)), 3)
    if place_map.has_landmarks:
        place_map.features()


def _map_header(folder: Path) -> Run:
    folder_of = {}
    for each in sorted(GOLDEN.iterdir()):
        shutil.copytree(each, folder / each.name)
        digests = (read_header(each).files or {}).values()
        folder_of |= {digest.encode(): folder / each.name for digest in digests}

    def run(content: bytes) -> None:
        digest = next((one for one in folder_of if one in content), None)
        which = folder_of[digest] if digest else folder / 'newest'
        (which / 'map.yaml').write_bytes(content)
        _use(PlaceMap.open(which))

    return run


def _map_headers() -> Sequence[bytes]:
    return [path.read_bytes() for path in sorted(GOLDEN.glob('*/map.yaml'))]


def _map_file(folder: Path) -> Run:
    """A file of a map, whose digest is made right: input is `map/path`, a line end, its bytes."""
    from vpr_ros.core.mapping.files import file_digest

    headers, digests = {}, {}
    for each in sorted(GOLDEN.iterdir()):
        shutil.copytree(each, folder / each.name)
        headers[each.name] = (each / 'map.yaml').read_text()
        files = read_header(each).files or {}
        digests |= {f'{each.name}/{path}': digest for path, digest in files.items()}

    def run(content: bytes) -> None:
        title, _, inner = content.partition(b'\n')
        path = title.decode('latin1')
        if path not in digests:
            return
        name = path.partition('/')[0]
        (folder / path).write_bytes(inner)
        try:
            header = headers[name].replace(digests[path], file_digest(folder / path))
            (folder / name / 'map.yaml').write_text(header)
            _use(PlaceMap.open(folder / name))
        finally:
            shutil.copyfile(GOLDEN / path, folder / path)

    return run


def _map_files() -> Sequence[bytes]:
    return [
        f'{path.relative_to(GOLDEN).as_posix()}\n'.encode() + path.read_bytes()
        for path in sorted(GOLDEN.rglob('*'))
        if path.is_file() and path.name != 'map.yaml' and path.stat().st_size < 50_000
    ]


def _model_card(folder: Path) -> Run:
    from vpr_ros.core.describing.model import Model

    (folder / 'model.onnx').write_bytes(b'')

    def run(content: bytes) -> None:
        (folder / 'card.json').write_bytes(content)
        Model.open(folder)

    return run


# Drives -------------------------------------------------------------------------------------


def _camera_info(folder: Path) -> Run:
    from vpr_ros.drives.camera_info import CameraInfo

    def run(content: bytes) -> None:
        path = folder / 'camera_info.yaml'
        path.write_bytes(content)
        found = CameraInfo.read(path)
        for rectified in (False, True):
            camera = camera_calibration(
                found.width,
                found.height,
                matrix=found.camera,
                distortion_model=found.distortion_model,
                distortion=found.distortion,
                projection=found.projection,
                rectified=rectified,
            ).camera
            if camera is not None:
                camera.normalized(np.array([[1.0, 2.0]]))

    return run


def _mounting(folder: Path) -> Run:
    from vpr_ros.drives import open_drive

    shutil.copyfile(SEEDS / 'image' / 'small.jpg', folder / 'a.jpg')

    def run(content: bytes) -> None:
        (folder / 'mounting.yaml').write_bytes(content)
        open_drive(folder)

    return run


def _exif(folder: Path) -> Run:
    from vpr_ros.drives import open_drive

    def run(content: bytes) -> None:
        (folder / 'photo.jpg').write_bytes(content)
        for frame in open_drive(folder).frames():
            frame.load()

    return run


def _utm_names(folder: Path) -> Run:
    """Two names, one a line; both programs that read such names."""
    from vpr_ros.drives.geotags import place_geotags, utm_geotags
    from vpr_training.data import utm_names

    def run(content: bytes) -> None:
        lines = content.decode('utf-8', 'surrogateescape').replace('/', '').split('\n')
        files = tuple(Path(line) for line in lines[:3] if line.strip('\0.'))
        errors = []
        try:
            tags = utm_geotags(files)
            if any(tag is not None for tag in tags):
                place_geotags(tags, None, [])
        except VprError as error:
            errors.append(error)
        found = utm_names.positions(files)
        utm_names.positives_within(found, found, 25.0)
        if len(files) > 1:
            utm_names.distance_m(files[0], files[1])
        if errors:
            raise errors[0]

    return run


def _poses_csv(folder: Path) -> Run:
    from vpr_ros.drives import open_drive

    for name in ('a.jpg', 'b.jpg', 'c.jpg'):
        shutil.copyfile(SEEDS / 'image' / 'small.jpg', folder / name)

    def run(content: bytes) -> None:
        (folder / 'poses.csv').write_bytes(content)
        drive = open_drive(folder)
        for frame in drive.frames():
            frame.load()
            if drive.trajectory is not None:
                drive.trajectory.at(np.array([frame.stamp_ns]), max_gap_s=1.0)

    return run


def _pose_file(folder: Path) -> Run:
    from vpr_ros.core.tum import read_tum

    def run(content: bytes) -> None:
        (folder / 'poses.tum').write_bytes(content)
        trajectory, _ = read_tum(folder / 'poses.tum')
        trajectory.at(trajectory.stamps_ns, max_gap_s=1.0)

    return run


def _training_tables(folder: Path) -> Run:
    """gt.csv, or places.csv where the first line has a place_id."""
    from vpr_training.data import place_table, truth_table
    from vpr_training.data.config import DataConfig

    for half in ('database', 'queries', 'images'):
        (folder / half).mkdir()
        for name in ('a.jpg', 'b.jpg', 'c.jpg'):
            shutil.copyfile(SEEDS / 'image' / 'small.jpg', folder / half / name)

    def run(content: bytes) -> None:
        if b'place_id' in content.split(b'\n')[0]:
            (folder / 'places.csv').write_bytes(content)
            place_table.read(folder, DataConfig(root=str(folder), held_out=0.25))
        else:
            (folder / 'gt.csv').write_bytes(content)
            truth_table.read(folder)

    return run


def _bag(folder: Path) -> Run:
    """A storage file, whose kind its first line says."""
    from vpr_ros.drives import open_drive

    def run(content: bytes) -> None:
        kind, _, inner = content.partition(b'\n')
        suffix = {b'ros1': 'bag', b'sqlite3': 'db3'}.get(kind, 'mcap')
        path = folder / f'drive.{suffix}'
        for old in folder.iterdir():
            old.unlink()
        path.write_bytes(inner)
        drive = open_drive(path)
        for number, frame in enumerate(drive.frames()):
            if number == _MOST_FRAMES:
                break
            try:
                frame.load()
            except VprError:
                continue
            if drive.trajectory is not None:
                drive.trajectory.at(np.array([frame.stamp_ns]), max_gap_s=1.0)

    return run


# The node -----------------------------------------------------------------------------------


class _Node:
    """Takes the node's callbacks, and gives them messages without any middleware."""

    def __init__(self) -> None:
        self.callbacks: dict[str, tuple[Any, Callable[[Any], None]]] = {}

    def create_subscription(
        self, kind: Any, topic: str, callback: Callable[[Any], None], *_: Any, **__: Any
    ) -> None:
        self.callbacks[topic] = kind, callback

    def create_service(self, *_: Any) -> None:
        pass

    def get_clock(self) -> Any:
        now = SimpleNamespace(nanoseconds=10**9)
        return SimpleNamespace(now=lambda: now, create_jump_callback=lambda *_, **__: None)


class _Mailbox:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def put(self, event: Any) -> None:
        self.events.append(event)


def _messages(folder: Path) -> Run:
    """Messages as they come over the wire: the number of a topic, a size, and CDR of each.

    rosbags reads them, because the middleware's own reader crashes on some that are none.
    """
    from bags import STORE
    from session_world import session_on, street

    from vpr_ros.core.types import Datum
    from vpr_ros.node import conversions as convert
    from vpr_ros.node.config import NodeConfig
    from vpr_ros.node.inputs import Inputs

    place_map = street(folder / 'map', datum=Datum(33, 'U', 3.9e5, 5.8e6))
    node, mailbox = _Node(), _Mailbox()
    failures: list[Exception] = []
    Inputs(
        node,  # type: ignore[arg-type]
        NodeConfig(image_topic='camera'),
        place_map,
        mailbox,  # type: ignore[arg-type]
        map_frame='map',
        report=failures.append,
    )
    topics = list(node.callbacks.values())
    header = convert.header(0, 'map')

    def run(content: bytes) -> None:
        session = session_on(place_map)
        failures.clear()
        mailbox.events.clear()
        choices = Choices(content)
        for _ in range(_MOST_MESSAGES):
            if not choices.rest():
                break
            kind, callback = topics[choices.number() % len(topics)]
            try:
                name = f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}'
                message = STORE.deserialize_cdr(choices.take(choices.number(2)), name)
            except Exception:  # the middleware drops what is no message
                continue
            callback(message)
        if failures:
            raise next((one for one in failures if not isinstance(one, VprError)), failures[0])
        for event in mailbox.events:
            for answer in session.handle(event):
                located = getattr(answer, 'located', None)
                if located is not None and convert.PlaceMatchArray is not None:
                    convert.matches_message(located, place_map, header, count=3)

    return run


TARGETS = {
    'image': Target(_image, _files('image')),
    'encodings': Target(_encodings, _files('encodings')),
    'map_header': Target(_map_header, _map_headers),
    'map_file': Target(_map_file, _map_files, (b'\x93NUMPY', b'<f4', b'|O', b'True', b'(0,)')),
    'model_card': Target(_model_card, _files('model_card')),
    'camera_info': Target(_camera_info, _files('camera_info')),
    'mounting': Target(_mounting, _files('mounting')),
    'exif': Target(_exif, _files('exif'), (b'Exif\0\0', b'MM\0*', b'II*\0')),
    'utm_names': Target(_utm_names, _files('utm_names')),
    'poses_csv': Target(_poses_csv, _files('poses_csv')),
    'pose_file': Target(_pose_file, _files('pose_file')),
    'training_tables': Target(_training_tables, _files('training_tables')),
    'messages': Target(_messages, _files('messages')),
    'bag': Target(_bag, _files('bag')),
}
