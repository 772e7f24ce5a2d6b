"""A map on disk: where images were taken and what they look like to one model.

A map is a folder:

    map.yaml                  what it is, and the sha256 of every file below
    parts/0000/descriptors.npy      float32 [n, D], unit rows, opened by memory map
    parts/0000/poses.npy            float64 [n, 7], map_T_camera (optical frame)
    parts/0000/stamps_ns.npy        int64 [n]
    parts/0000/names.txt            n lines: the image's name in its recording
    parts/0000/thumbnails.bin       JPEGs, one after another
    parts/0000/thumbnail_ends.npy   int64 [n], where each ends

and, where it was built with landmarks, the points that each place's image shows, L in all:

    parts/0000/landmark_ends.npy          int64 [n], where each place's end
    parts/0000/landmark_points.npy        float32 [L, 3], in the place's optical frame, metres
    parts/0000/landmark_sigmas.npy        float16 [L], standard deviation along the ray, metres
    parts/0000/landmark_descriptors.npy   uint8 [L, F]
    features/*.onnx                       the networks that found them, where they need some

Poses are the camera's, not the robot's, because that is what an image tells; the mounting of the
mapping camera is kept beside them, and a robot with another mounting gives its own. Rows are
streamed to disk while a map is built, so building needs no memory for what is already written. The
folder appears under its name only when it is complete.

A part is one recording and is never changed; vpr_ros/map_care/edit.py adds further ones. A map
that is open holds all its files, so that it stays what it is when its folder is replaced.
"""

import hashlib
import mmap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import yaml
from numpy.typing import NDArray

from vpr_ros.core.atomic import replace_file, staged_folder
from vpr_ros.core.camera import Camera
from vpr_ros.core.describing.model import Model, file_sha256
from vpr_ros.core.errors import MapError
from vpr_ros.core.geometry import FORWARD_CAMERA, checked_pose, compose, invert
from vpr_ros.core.image import decode
from vpr_ros.core.landmarks.feature_kinds import features_named
from vpr_ros.core.landmarks.features import Features
from vpr_ros.core.landmarks.points import Landmarks
from vpr_ros.core.localizing.confidence import SHIPPED, Calibration, as_dict, from_dict
from vpr_ros.core.mapping.codes import CodedRows, codes_pay, is_coded, write_codes
from vpr_ros.core.mapping.grid import Background, PlaceGrid, map_background, place_grid
from vpr_ros.core.mapping.index import CodedIndex, ExactIndex
from vpr_ros.core.types import Datum, Descriptors, Image, Poses, Stamps

FORMAT_VERSION = 1
HEADER_NAME = 'map.yaml'
_ARRAYS: dict[str, np.dtype[Any]] = {
    'descriptors': np.dtype('<f4'),
    'poses': np.dtype('<f8'),
    'stamps_ns': np.dtype('<i8'),
    'thumbnail_ends': np.dtype('<i8'),
}
_LANDMARK_ARRAYS: dict[str, np.dtype[Any]] = {
    'landmark_ends': np.dtype('<i8'),
    'landmark_points': np.dtype('<f4'),
    'landmark_sigmas': np.dtype('<f2'),
    'landmark_descriptors': np.dtype('u1'),
}
_NPY_HEADER_BYTES = 128
LARGE_BYTES = 64_000_000
"""Files from this size on are checked by samples when a map is opened, which must be quick."""
_BLOCKS, _BLOCK_BYTES = 256, 4096  # of the samples
_ATTEMPTS = 3  # to open a map that is being replaced
_ALL_BASES = 100_000  # places up to which the robot's poses at all of them are kept
FIRST_PART = 'parts/0000'
_GRAPHS = 'features/'  # folder of the landmarks' networks


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What was done to a map after it was built."""

    command: str
    made_at: str
    places: int  # afterwards
    source: str = ''  # of what was added


@dataclass(frozen=True, slots=True, kw_only=True)
class MapHeader:
    """What map.yaml says."""

    model_name: str
    model_sha256: str
    descriptor_size: int
    frame_id: str = 'map'
    datum: Datum | None = None
    has_heading: bool = (
        True  # False: rotations are unknown (identity), as for photos with GPS only
    )
    base_T_camera: tuple[float, ...] = tuple(FORWARD_CAMERA.tolist())
    mounting_known: bool = False
    field_of_view_deg: float | None = None  # horizontal, of the mapping camera
    camera: Camera | None = None  # that made the landmarks
    landmark_features: str = ''  # kind of features of the landmarks; empty: there are none
    source: str = ''
    command: str = ''
    made_at: str = ''
    places: int = 0
    calibration: dict[str, Any] | None = None  # see core/localizing/confidence.py, as_dict
    model_calibration: dict[str, Any] | None = None  # the model's; maps that are changed keep it
    files: dict[str, str] | None = None  # path within the folder -> sha256[:sha256 of samples]
    changes: tuple[Change, ...] = ()  # since it was built, oldest first
    format_version: int = FORMAT_VERSION

    @property
    def parts(self) -> list[str]:
        """Folders of the parts within the map, in the order of their rows."""
        return sorted(
            {name.rpartition('/')[0] for name in self.files or {} if name.startswith('parts/')}
        )

    @property
    def graphs(self) -> dict[str, str]:
        """Digests of the files of the landmarks' networks, by their paths within the map."""
        return {
            name: digest
            for name, digest in sorted((self.files or {}).items())
            if name.startswith(_GRAPHS)
        }


class PlaceMap:
    """An opened map; its files have been checked against their digests."""

    def __init__(self, folder: Path, header: MapHeader) -> None:
        """Use PlaceMap.open; this only keeps what was read."""
        self.folder = folder
        self.header = header
        parts = [folder / part for part in header.parts]
        poses = [load_array(part, 'poses') for part in parts]
        self.poses: Poses = np.concatenate(poses)
        self._bases: tuple[bytes, Poses] | None = None  # of a mounting, see base_poses
        self.stamps_ns: Stamps = np.concatenate([load_array(part, 'stamps_ns') for part in parts])
        self.part_starts = np.cumsum([0, *(len(rows) for rows in poses)])  # and N at the end
        self.blocks: list[Descriptors] = [
            load_array(part, 'descriptors', mapped=True) for part in parts
        ]  # [n, D] of each part
        codes = [CodedRows(part) if is_coded(part) else None for part in parts]
        self.index = CodedIndex(self.blocks, codes) if any(codes) else ExactIndex(self.blocks)
        self._name_files = [_mapped(part / 'names.txt') for part in parts]
        self._thumbnail_files = [_mapped(part / 'thumbnails.bin') for part in parts]
        self._thumbnail_ends = [load_array(part, 'thumbnail_ends') for part in parts]
        self._landmarks = [_landmark_arrays(part) for part in parts]
        self._graphs = [_mapped(folder / name) for name in header.graphs]

    @classmethod
    def open(cls, folder: Path | str, *, model: Model | None = None) -> 'PlaceMap':
        """Open a map and check every file; raises MapError.

        With `model`, a map that another model made is refused.
        """
        folder = Path(folder)
        for attempt in range(1, _ATTEMPTS + 1):
            header = read_header(folder)
            try:
                return cls._open(folder, header, model)
            except MapError:
                if attempt == _ATTEMPTS or read_header(folder) == header:
                    raise  # damaged, not replaced in the meantime
        raise AssertionError  # the last attempt returns or raises

    @classmethod
    def _open(cls, folder: Path, header: MapHeader, model: Model | None) -> 'PlaceMap':
        if model is not None:
            require_model(folder, header, model)
        for name, expected in (header.files or {}).items():
            check_file(folder / name, expected)
        try:
            opened = cls(folder, header)
        except (OSError, ValueError, RuntimeError) as error:
            raise MapError(
                f'{folder}: cannot be read ({error}); rebuild it with build_map'
            ) from error
        if not opened.landmarks_fit():
            raise MapError(f'{folder}: damaged landmarks; rebuild it with build_map --landmarks')
        if not len(opened) == len(opened.stamps_ns) == len(opened.index) == header.places > 0:
            raise MapError(
                f'{folder}: {len(opened)} poses, {len(opened.stamps_ns)} stamps, '
                f'{len(opened.index)} descriptors, '
                f'map.yaml says {header.places} places; rebuild it with build_map'
            )
        return opened

    def __len__(self) -> int:
        """Number of places, N."""
        return len(self.poses)

    @property
    def has_landmarks(self) -> bool:
        """Whether places have landmarks."""
        return bool(self.header.landmark_features) and self.header.camera is not None

    @property
    def landmark_graphs(self) -> dict[str, bytes]:
        """The ONNX files of the landmarks' networks by their names."""
        names = [name.removeprefix(_GRAPHS) for name in self.header.graphs]
        return dict(zip(names, map(bytes, self._graphs), strict=True))

    def features(self) -> Features:
        """What found the landmarks; raises MapError where this program does not have it."""
        try:
            return features_named(self.header.landmark_features, self.landmark_graphs)
        except MapError as error:
            raise MapError(f'{self.folder}: {error}') from error

    @property
    def landmark_descriptor_size(self) -> int | None:
        """F; None without any landmarks."""
        sizes = [
            int(arrays['landmark_descriptors'].shape[1])
            for arrays in self._landmarks
            if arrays is not None
        ]
        return sizes[0] if sizes else None

    def landmarks_fit(self) -> bool:
        """Whether the landmarks' arrays belong together and to the places."""
        return all(
            arrays is None
            or (
                len(arrays['landmark_ends']) == places
                and {len(arrays[name]) for name in _LANDMARK_ARRAYS if name != 'landmark_ends'}
                == {int(arrays['landmark_ends'][-1]) if places else 0}
            )
            for places, arrays in zip(np.diff(self.part_starts), self._landmarks, strict=True)
        )

    def landmarks(self, place_index: int) -> Landmarks | None:
        """What a place's image shows; None in a part without landmarks."""
        part, row = self._part_row(place_index)
        arrays = self._landmarks[part]
        if arrays is None:
            return None
        ends = arrays['landmark_ends']
        found = slice(int(ends[row - 1]) if row else 0, int(ends[row]))
        return Landmarks(
            np.array(arrays['landmark_points'][found]),
            arrays['landmark_sigmas'][found].astype(np.float32),
            np.array(arrays['landmark_descriptors'][found]),
        )

    @property
    def base_T_camera(self) -> Poses:
        """Mounting of the camera that made the map, [7]."""
        return np.array(self.header.base_T_camera)

    @cached_property
    def grid(self) -> PlaceGrid:
        """The places on a grid along the mapping drive, as a belief needs them."""
        return place_grid(self.base_poses()[:, :3], self.stamps_ns)

    @cached_property
    def background(self) -> Background:
        """What the places look like to the map itself; one pass over the descriptors."""
        return map_background(self.index)

    @cached_property
    def calibration(self) -> Calibration:
        """The map's own, else that of its model."""
        found = self.header.calibration
        return self.calibration_of_model if found is None else from_dict(found)

    @property
    def calibration_of_model(self) -> Calibration:
        """What the model's card said when the map was made, else the first model's."""
        found = self.header.model_calibration
        return SHIPPED if found is None else from_dict(found)

    @cached_property
    def id(self) -> str:
        """See map_id."""
        return map_id(self.header)

    def base_poses(
        self, places: NDArray[np.int64] | None = None, *, base_T_camera: Poses | None = None
    ) -> Poses:
        """map_T_base [K, 7] of a robot whose camera is where the places' was.

        places: [K], None for all; base_T_camera: [7], None takes the mapping camera's mounting.
        """
        mounting = self.base_T_camera if base_T_camera is None else base_T_camera
        if len(self) <= _ALL_BASES:  # asked several times for each frame
            key = mounting.tobytes()
            if self._bases is None or self._bases[0] != key:
                self._bases = key, compose(self.poses, invert(mounting))
            found = self._bases[1]
            return found.copy() if places is None else np.asarray(found[places])
        poses = self.poses if places is None else self.poses[places]
        return compose(poses, invert(mounting))

    @cached_property
    def names(self) -> list[str]:
        """Name of each place's image in its recording, N of them."""
        return [
            line
            for file in self._name_files
            for line in bytes(file).decode('utf-8').split('\n')[:-1]
        ]

    def thumbnail(self, place_index: int) -> Image:
        """The small picture of a place, RGB."""
        return decode(self.thumbnail_jpeg(place_index), source=f'{self.folder}, {place_index}')

    def thumbnail_jpeg(self, place_index: int) -> bytes:
        """The small picture of a place as it is kept."""
        part, row = self._part_row(place_index)
        ends = self._thumbnail_ends[part]
        start = int(ends[row - 1]) if row else 0
        return self._thumbnail_files[part][start : int(ends[row])]

    def descriptor(self, place_index: int) -> Descriptors:
        """A place's descriptor [D]."""
        part, row = self._part_row(place_index)
        return np.asarray(self.blocks[part][row])

    def descriptors_of(self, places: NDArray[np.int64]) -> Descriptors:
        """Descriptors [K, D] of places [K], copied."""
        found = np.empty((len(places), self.header.descriptor_size), dtype=np.float32)
        for start, block in zip(self.part_starts, self.blocks):
            inside = (places >= start) & (places < start + len(block))
            found[inside] = block[places[inside] - start]
        return found

    def _part_row(self, place_index: int) -> tuple[int, int]:
        """The part that a place is in, and its row there."""
        if not 0 <= place_index < len(self):
            raise IndexError(f'place {place_index} of {len(self)}')
        part = int(np.searchsorted(self.part_starts, place_index, side='right')) - 1
        return part, place_index - int(self.part_starts[part])


class ArrayFile:
    """A .npy whose rows are appended as they come, so that nothing waits in memory."""

    def __init__(self, path: Path, dtype: np.dtype[Any], columns: int, stack: ExitStack) -> None:
        """columns: numbers of a row; 0: rows are single numbers."""
        self.rows = 0
        self.columns = columns
        self._dtype = dtype
        self._file: BinaryIO = stack.enter_context(path.open('wb'))
        self._file.write(self._header())

    def append(self, values: Any) -> None:
        """Append one row or several: values [columns] or [n, columns], or [n] of single ones."""
        array = np.asarray(values, dtype=self._dtype)
        self._file.write(array.tobytes())
        self.rows += array.size // max(self.columns, 1)

    def finish(self) -> None:
        """Write the final number of rows into the header."""
        self._file.seek(0)
        self._file.write(self._header())
        self._file.flush()

    def _header(self) -> bytes:
        """The .npy header (format 1.0).

        It is padded to a fixed length so that it can be rewritten in place.
        """
        shape = (self.rows, self.columns) if self.columns else (self.rows,)
        text = repr({'descr': self._dtype.str, 'fortran_order': False, 'shape': shape}).encode()
        body = text.ljust(_NPY_HEADER_BYTES - 11) + b'\n'
        return b'\x93NUMPY\x01\x00' + len(body).to_bytes(2, 'little') + body


class MapWriter:
    """Rows of a map being built; obtained from `build`."""

    def __init__(
        self,
        folder: Path,
        descriptor_size: int,
        stack: ExitStack,
        *,
        part: str = FIRST_PART,
        landmark_descriptor_size: int | None = None,
    ) -> None:
        """folder: the staged map; part: a folder that is not yet in it.

        landmark_descriptor_size: F, of a part with landmarks.
        """
        self.places = 0
        self._descriptor_size = descriptor_size
        self._part = folder / part
        self._part.mkdir(parents=True)
        columns = {'descriptors': descriptor_size, 'poses': 7}
        dtypes = dict(_ARRAYS)
        if landmark_descriptor_size is not None:
            columns |= {'landmark_points': 3, 'landmark_descriptors': landmark_descriptor_size}
            dtypes |= _LANDMARK_ARRAYS
        self._arrays = {
            name: ArrayFile(self._part / f'{name}.npy', dtype, columns.get(name, 0), stack)
            for name, dtype in dtypes.items()
        }
        self._names, self._thumbnails = (
            stack.enter_context((self._part / name).open('wb'))
            for name in ('names.txt', 'thumbnails.bin')
        )

    def add(
        self, descriptor: Descriptors, pose: Poses, *, stamp_ns: int, name: str, thumbnail: bytes
    ) -> None:
        """Append one place.

        It is given by its descriptor [D], map_T_camera [7], and its image's stamp, name and small
        JPEG.
        """
        pose = checked_pose(pose, source=name)
        if descriptor.shape != (self._descriptor_size,) or not np.isfinite(descriptor).all():
            raise MapError(
                f'{name}: descriptor of shape {descriptor.shape}, expected finite values of shape '
                f'({self._descriptor_size},)'
            )
        self._thumbnails.write(thumbnail)
        self._names.write(name.replace('\n', ' ').encode() + b'\n')
        self._arrays['descriptors'].append(descriptor)
        self._arrays['poses'].append(pose)
        self._arrays['stamps_ns'].append(stamp_ns)
        self._arrays['thumbnail_ends'].append(self._thumbnails.tell())
        self.places += 1

    def add_landmarks(self, landmarks: Landmarks) -> None:
        """Append the landmarks of the next place that has none yet."""
        self._arrays['landmark_points'].append(landmarks.points_m)
        self._arrays['landmark_sigmas'].append(landmarks.sigma_m)
        self._arrays['landmark_descriptors'].append(landmarks.descriptors)
        self._arrays['landmark_ends'].append(self._arrays['landmark_points'].rows)

    def finish(self) -> None:
        """Write the final number of rows into the arrays' headers, and codes of many rows."""
        for array in self._arrays.values():
            array.finish()
        self._names.flush()
        self._thumbnails.flush()
        descriptors = load_array(self._part, 'descriptors', mapped=True)
        if codes_pay(descriptors):
            write_codes(self._part, descriptors)
        ends = self._arrays.get('landmark_ends')
        if ends is not None and ends.rows != self.places:
            raise MapError(f'{self.places} places, landmarks of {ends.rows}')


@contextmanager
def build(
    folder: Path | str, header: MapHeader, *, features: Features | None = None
) -> Iterator[MapWriter]:
    """Yield a writer; when the block ends, the map replaces whatever `folder` held before.

    An error or a kill before that, a full disk included, leaves the old map as it was. Raises
    MapError where the map cannot be written or has no place. `places`, `files` and `made_at` of
    the header are filled in here. features: of a map with landmarks.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / HEADER_NAME).is_file() and any(folder.iterdir()):
        raise MapError(
            f'{folder}: exists and is not a map; give --output a new folder or an old map'
        )
    try:
        with staged_folder(folder) as staging:
            with ExitStack() as stack:
                writer = MapWriter(
                    staging,
                    header.descriptor_size,
                    stack,
                    landmark_descriptor_size=features.descriptor_size if features else None,
                )
                yield writer
                writer.finish()
            if features is not None:
                write_graphs(staging, features)
            if writer.places == 0:
                raise MapError(
                    f'{folder}: not written, there is no image with a pose to put into it'
                )
            write_header(staging, replace(header, files=None, places=writer.places, made_at=now()))
    except OSError as error:
        raise MapError(f'{folder}: cannot be written ({error.strerror or error})') from error


def read_header(folder: Path) -> MapHeader:
    """Read map.yaml; raises MapError that names the file and what is wrong with it."""
    path = folder / HEADER_NAME
    if not path.is_file():
        raise MapError(f'{folder}: no map here (no {HEADER_NAME}); make one with build_map')
    try:
        found = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise MapError(
            f'{path}: cannot be read ({type(error).__name__}); rebuild it with build_map'
        ) from error
    version = found.get('format_version') if isinstance(found, dict) else None
    if version != FORMAT_VERSION:
        raise MapError(
            f'{path}: map format version {version}, this program reads {FORMAT_VERSION}; '
            'rebuild it with build_map'
        )
    known = {entry.name for entry in fields(MapHeader)}
    try:
        settings: dict[str, Any] = {name: value for name, value in found.items() if name in known}
        if settings.get('datum') is not None:
            settings['datum'] = Datum(**settings['datum'])
        if settings.get('camera') is not None:
            settings['camera'] = Camera.checked(settings['camera'])
        settings['changes'] = tuple(Change(**change) for change in settings.get('changes', ()))
        header = MapHeader(**settings)
        checked_pose(header.base_T_camera, source='base_T_camera')
        for calibration in (header.calibration, header.model_calibration):
            if calibration is not None:
                from_dict(calibration)
        if not header.files:
            raise ValueError('no files listed')
    except Exception as error:
        raise MapError(f'{path}: damaged ({error}); rebuild it with build_map') from error
    return header


def write_header(folder: Path, header: MapHeader) -> None:
    """Write map.yaml into a staged map; digests that the header already has are kept."""
    known = header.files or {}
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and path.name != HEADER_NAME
    )
    files = {name: known.get(name) or _digest(folder / name) for name in names}
    (folder / HEADER_NAME).write_bytes(_header_bytes(replace(header, files=files)))


def graph_digests(features: Features) -> dict[str, str]:
    """What `MapHeader.graphs` says of a map with these landmarks."""
    return {
        _GRAPHS + name: hashlib.sha256(graph).hexdigest()
        for name, graph in sorted(features.graphs.items())
    }


def write_graphs(folder: Path, features: Features) -> None:
    """Write the landmarks' networks into a staged map that has none."""
    for name, graph in features.graphs.items():
        path = folder / _GRAPHS / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(graph)


def features_of(folder: Path, header: MapHeader) -> Features:
    """What found the landmarks of a map that is not opened; raises MapError."""
    graphs = {}
    for name, digest in header.graphs.items():
        check_file(folder / name, digest)
        graphs[name.removeprefix(_GRAPHS)] = (folder / name).read_bytes()
    return features_named(header.landmark_features, graphs)


def _header_bytes(header: MapHeader) -> bytes:
    values = asdict(header)
    values |= {'base_T_camera': list(header.base_T_camera), 'changes': list(values['changes'])}
    if header.camera is not None:
        values['camera'] = header.camera.as_mapping()
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode()


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Keep a calibration in map.yaml, which is exchanged in one step; raises MapError."""
    header = replace(read_header(folder), calibration=as_dict(calibration))
    try:
        replace_file(folder.absolute() / HEADER_NAME, _header_bytes(header))
    except OSError as error:
        raise MapError(f'{folder}: cannot be written ({error.strerror or error})') from error


def _landmark_arrays(part: Path) -> dict[str, NDArray[Any]] | None:
    """The landmarks' arrays of a part, by memory map; None where it has none."""
    if not (part / 'landmark_ends.npy').is_file():
        return None
    return {name: load_array(part, name, mapped=True) for name in _LANDMARK_ARRAYS}


def now() -> str:
    """The time in the form of map.yaml."""
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def require_model(folder: Path, header: MapHeader, model: Model) -> None:
    """Raise MapError by both names where another model made the map."""
    if model.card.sha256 != header.model_sha256:
        raise MapError(
            f'{folder}: made with model {header.model_name} ({header.model_sha256[:12]}), '
            f'this program runs {model.card.name} ({model.card.sha256[:12]}); '
            'choose that model or rebuild the map with build_map'
        )


def map_id(header: MapHeader) -> str:
    """A short name of a map's exact content, the same on every machine."""
    digests = ''.join(f'{name}{digest}' for name, digest in sorted((header.files or {}).items()))
    return hashlib.sha256(digests.encode()).hexdigest()[:12]


def _digest(path: Path) -> str:
    """What map.yaml has for a file: its sha256, and for a large one that of samples."""
    whole = file_sha256(path)
    return f'{whole}:{_sampled_sha256(path)}' if path.stat().st_size >= LARGE_BYTES else whole


def _sampled_sha256(path: Path) -> str:
    """sha256 of a file's size and of some hundred blocks, spread evenly from its start to its end.

    A file that is cut, mixed up or rewritten differs; a single flipped bit mostly does not.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open('rb') as file:
        for start in np.linspace(0, max(size - _BLOCK_BYTES, 0), _BLOCKS).astype(np.int64):
            file.seek(int(start))
            digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()


def check_file(path: Path, expected: str, *, whole: bool = False) -> None:
    """Raise MapError for a file that is missing or differs from its digest.

    A large file is checked by samples unless `whole` is given.
    """
    digest, _, sampled = expected.partition(':')
    by_samples = bool(sampled) and not whole
    expected_sha256 = sampled if by_samples else digest
    try:
        found = _sampled_sha256(path) if by_samples else file_sha256(path)
    except OSError as error:
        raise MapError(
            f'{path}: {error.strerror or error}; rebuild the map with build_map'
        ) from error
    if found != expected_sha256:
        raise MapError(
            f'{path}: sha256 {found[:12]}, map.yaml says {expected_sha256[:12]}; '
            'the file is damaged, restore it or rebuild the map with build_map'
        )


def load_array(part: Path, name: str, *, mapped: bool = False) -> NDArray[Any]:
    """One of a part's arrays, in memory or mapped from disk."""
    array: NDArray[Any] = np.load(
        part / f'{name}.npy', mmap_mode='r' if mapped else None, allow_pickle=False
    )
    return array


def _mapped(path: Path) -> mmap.mmap | bytes:
    """A file's bytes, not read before they are used; they stay when the file is replaced."""
    with path.open('rb') as file:
        is_empty = file.seek(0, 2) == 0  # which cannot be mapped
        return b'' if is_empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
