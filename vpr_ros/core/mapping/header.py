"""The header of a map, map.yaml: its model, its parts, and the sha256 of its files.

Calibrations are kept as plain mappings, because the format does not know the filter that reads
them: vpr_ros/core/localizing/confidence.py does. So a map whose calibration is damaged can still
be looked into and mended.
"""

import errno
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from vpr_ros.core.atomic import recover_folder, replace_file, require_writable, unwritable_as
from vpr_ros.core.camera import Camera
from vpr_ros.core.describing.model import Model, checked_cells
from vpr_ros.core.documents import parse_yaml
from vpr_ros.core.errors import DocumentError, MapError, blames_path
from vpr_ros.core.geometry import FORWARD_CAMERA, checked_pose
from vpr_ros.core.lfs import LFS_ADVICE, is_lfs_content
from vpr_ros.core.mapping.files import RESTORE, file_digest, open_regular, unreadable
from vpr_ros.core.mapping.layout import (
    CELL_FILES,
    FIRST_PART,
    GRAPHS_FOLDER,
    HEADER_NAME,
    files_of_parts,
)
from vpr_ros.core.mapping.versions import FORMAT_VERSION, upgraded, version_saying
from vpr_ros.core.names import cleaned
from vpr_ros.core.types import Datum
from vpr_ros.core.writer_lock import only_writer

_MOST_BYTES = 16 << 20  # of map.yaml: the digests of 10,000 parts take 6 MB
_DIGEST = re.compile(r'[0-9a-f]{64}(:[0-9a-f]{64})?')
_TYPES: dict[str, tuple[type, ...]] = {
    'model_name': (str,),
    'model_sha256': (str,),
    'descriptor_size': (int,),
    'frame_id': (str,),
    'has_heading': (bool,),
    'mounting_known': (bool,),
    'half_descriptors': (bool,),
    'field_of_view_deg': (float, int, type(None)),
    'landmark_features': (str,),
    'source': (str,),
    'command': (str,),
    'made_at': (str,),
    'places': (int,),
    'calibration': (dict, type(None)),
    'model_calibration': (dict, type(None)),
    'files': (dict,),
}
_NEEDED = ('model_name', 'model_sha256', 'descriptor_size', 'places', 'files')


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
    cells: tuple[int, int, int] | None = None  # h, w, C of each place's; None: there are none
    half_descriptors: bool = False  # new parts have float16 rows, and older ones may
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
    calibration: dict[str, Any] | None = None  # its own, see calibration_of in confidence.py
    model_calibration: dict[str, Any] | None = None  # the model's; maps that are changed keep it
    files: dict[str, str] | None = None  # path within the folder -> sha256[:sha256 of samples]
    changes: tuple[Change, ...] = ()  # since it was built, oldest first
    part_sources: tuple[str, ...] = ()  # the drive of each part; earlier programs did not say
    distractor_parts: tuple[str, ...] = ()
    """Folders of parts whose places give no fix: they show what lies around a cut of a larger map.

    Programs that do not know this entry give fixes there.
    """
    format_version: int = FORMAT_VERSION

    @property
    def parts(self) -> list[str]:
        """Folders of the parts within the map, in the order of their rows."""
        return list(self.part_files)

    @property
    def part_files(self) -> dict[str, set[str]]:
        """Names of each part's files, by its folder within the map, in the order of the rows."""
        return files_of_parts(self.files) if self.files else {}

    @property
    def drives(self) -> tuple[str, ...]:
        """The drive of each part, in the order of the parts.

        Of a map that an earlier program joined or pruned, it is the first drive and how many more.
        """
        if self.part_sources:
            return self.part_sources
        later = [one.source for one in self.changes if one.source]
        is_appended = all(one.command.startswith('map append ') for one in self.changes)
        if is_appended and len(self.parts) == 1 + len(later):
            return (self.source, *later)
        return (first_of([self.source, *later]),) * len(self.parts)

    @property
    def graphs(self) -> dict[str, str]:
        """Digests of the files of the landmarks' networks, by their paths within the map."""
        return {
            name: digest
            for name, digest in sorted((self.files or {}).items())
            if name.startswith(GRAPHS_FOLDER)
        }


def first_of(drives: Sequence[str]) -> str:
    """The first of some drives, and how many more there are."""
    return drives[0] + (f' and {len(drives) - 1} more' if len(drives) > 1 else '')


def read_header(folder: Path) -> MapHeader:
    """Read map.yaml of any version; raises MapError that names the file and what is wrong.

    Its entries are checked, and that its file names stay inside the map. No other file is opened.
    """
    path = folder / HEADER_NAME
    content = _content(folder)
    if is_lfs_content(content):
        raise MapError(f'{path}: {LFS_ADVICE}')
    try:
        found = parse_yaml(content, most_bytes=_MOST_BYTES)
    except DocumentError as error:
        raise MapError(f'{path}: cannot be read ({error}); {RESTORE}') from error
    values = upgraded(found, path=path)
    try:
        return _checked(values, folder)
    except Exception as error:  # whatever a wrong type raises in the classes that it is given to
        if blames_path(error):
            raise unreadable(path, error) from error
        raise MapError(f'{path}: damaged ({error}); {RESTORE}') from error


def _content(folder: Path) -> bytes:
    """The bytes of map.yaml, also while the map is being replaced; raises MapError."""
    path = folder / HEADER_NAME
    for is_last in (False, False, True):
        if not path.is_file():
            recover_folder(folder)
        try:
            if path.is_file():
                with open_regular(path) as file:
                    return file.read(_MOST_BYTES + 1)
        except OSError as error:
            if is_last or error.errno != errno.ENOENT:
                raise unreadable(path, error) from error
    if folder.name == HEADER_NAME and folder.is_file():
        raise MapError(f'{folder}: a file of a map, expected its folder; give {folder.parent}')
    inner = sorted(str(part.parents[1]) for part in folder.glob(f'*/{FIRST_PART}'))[:3]
    if inner:
        raise MapError(f'{folder}: no map here (no {HEADER_NAME}), but in {", ".join(inner)}')
    raise MapError(f'{folder}: no map here (no {HEADER_NAME}); make one with build_map')


def _checked(values: Mapping[str, Any], folder: Path) -> MapHeader:
    """The header of a map; raises for what write_header does not write."""
    known = {entry.name for entry in fields(MapHeader)}
    settings = {name: value for name, value in values.items() if name in known}
    for name in _NEEDED:
        if name not in settings:
            raise ValueError(f'the entry {name} is missing')
    for name, types in _TYPES.items():
        if name in settings and type(settings[name]) not in types:
            raise ValueError(f'{name}: {settings[name]!r}, expected {_called(types)}')
    for name in ('descriptor_size', 'places'):
        if settings[name] < 1:
            raise ValueError(f'{name}: {settings[name]}, expected at least one')
    if settings.get('datum') is not None:
        settings['datum'] = _checked_datum(Datum(**settings['datum']))
    if settings.get('camera') is not None:
        settings['camera'] = Camera.checked(settings['camera'])
    if 'base_T_camera' in settings:
        settings['base_T_camera'] = tuple(settings['base_T_camera'])
        mounting = checked_pose(settings['base_T_camera'], source='base_T_camera')
        if mounting.ndim != 1:
            raise ValueError(f'base_T_camera: shape {mounting.shape}, expected [7]')
    settings['changes'] = tuple(Change(**change) for change in settings['changes'])
    settings['cells'] = checked_cells(settings.get('cells'))
    _check_files(settings['files'], folder)
    _check_cells(settings['cells'], settings['files'])
    settings['part_sources'] = _checked_sources(settings.get('part_sources', []), settings)
    settings['distractor_parts'] = _checked_distractors(
        settings.get('distractor_parts', []), settings
    )
    return MapHeader(**settings)


def _checked_datum(datum: Datum) -> Datum:
    metres = datum.east_m, datum.north_m, datum.altitude_m
    named = type(datum.utm_zone) is int and type(datum.utm_letter) is str
    if not named or not all(math.isfinite(value) for value in metres):
        raise ValueError(f'{datum}, expected a zone, a letter and finite metres')
    return datum


def _called(types: tuple[type, ...]) -> str:
    return ' or '.join('null' if each is type(None) else each.__name__ for each in types)


def _check_files(files: Mapping[Any, Any], folder: Path) -> None:
    """Raise for names that lead elsewhere, and for digests that are none."""
    for name, digest in files.items():
        if type(name) is not str or type(digest) is not str or not _DIGEST.fullmatch(digest):
            raise ValueError(f'files: {name!r}: {digest!r}, expected a path and its sha256')
    files_of_parts(files)
    for inner in sorted({parent for name in files for parent in Path(name).parents}):
        if (folder / inner).is_symlink() and inner != Path():
            raise ValueError(f'{inner} is a symbolic link, expected a folder')


def _check_cells(cells: tuple[int, int, int] | None, files: Mapping[str, str]) -> None:
    """Raise where a map with cells has a part without them, or the other way round."""
    for part, names in files_of_parts(files).items():
        if (cells is not None) != (names >= CELL_FILES):
            has = 'no cells.npy' if cells is not None else 'cells.npy'
            said = cells and list(cells)
            raise ValueError(f'cells is {said} and {part} has {has}, expected both or neither')


def _checked_sources(found: Any, settings: Mapping[str, Any]) -> tuple[str, ...]:
    parts = len(files_of_parts(settings['files']))
    is_list = isinstance(found, list) and all(type(one) is str for one in found)
    if not is_list or len(found) not in (0, parts):
        raise ValueError(f'part_sources: {found!r}, expected the drive of each part, {parts}')
    return tuple(found)


def _checked_distractors(found: Any, settings: Mapping[str, Any]) -> tuple[str, ...]:
    parts = set(files_of_parts(settings['files']))
    is_list = isinstance(found, list) and all(type(one) is str for one in found)
    if not is_list or not set(found) < parts:
        raise ValueError(f'distractor_parts: {found!r}, expected some of the parts, but not all')
    return tuple(found)


def write_header(folder: Path, header: MapHeader) -> None:
    """Write map.yaml into a staged map; digests that the header already has are kept."""
    known = header.files or {}
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and path.name != HEADER_NAME
    )
    files = {name: known.get(name) or file_digest(folder / name) for name in names}
    (folder / HEADER_NAME).write_bytes(_header_bytes(replace(header, files=files)))


def require_calibratable(folder: Path) -> None:
    """Raise MapError where `write_calibration` would fail; to be asked before long work."""
    with unwritable_as(MapError, folder), only_writer(folder):
        require_writable(folder / HEADER_NAME)


def write_calibration(folder: Path, calibration: Mapping[str, Any]) -> None:
    """Keep a calibration in map.yaml, which is exchanged in one step; raises MapError.

    A map that another program is changing is refused, since that would lose the calibration.
    calibration: as vpr_ros/core/localizing/confidence.py writes it.
    """
    with unwritable_as(MapError, folder), only_writer(folder):
        header = replace(read_header(folder), calibration=dict(calibration))
        replace_file(folder.absolute() / HEADER_NAME, _header_bytes(header))


def _header_bytes(header: MapHeader) -> bytes:
    values = asdict(header)
    values |= {'base_T_camera': list(header.base_T_camera), 'changes': list(values['changes'])}
    values |= {'cells': header.cells and list(header.cells)}
    values |= {'part_sources': list(header.part_sources)}
    values |= {'distractor_parts': list(header.distractor_parts)}
    values |= {'format_version': version_saying(values)}
    if header.camera is not None:
        values['camera'] = header.camera.as_mapping()
    return yaml.safe_dump(cleaned(values), sort_keys=False, allow_unicode=True).encode()


def now() -> str:
    """The time in the form of map.yaml."""
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def require_model(folder: Path, header: MapHeader, model: Model) -> None:
    """Raise MapError by both names where another model made the map."""
    if not model.card.reads_maps_of(header.model_sha256):
        raise MapError(
            f'{folder}: made with model {header.model_name} ({header.model_sha256[:12]}), '
            f'this program runs {model.card.name} ({model.card.sha256[:12]}); '
            'choose that model or rebuild the map with build_map'
        )


def require_cells(folder: Path, header: MapHeader, model: Model) -> None:
    """Raise MapError where a map has cells that a model of its name does not give.

    A map without cells needs none of its model.
    """
    given = model.card.cells
    if header.cells is not None and given != header.cells:
        has = 'no cells' if given is None else f'cells of {list(given)}'
        raise MapError(
            f'{folder}: has cells of {list(header.cells)}, {model.folder} gives {has}; '
            'choose the model folder that made the map or rebuild the map with build_map'
        )


def map_id(header: MapHeader) -> str:
    """A short name of a map's exact content, the same on every machine."""
    digests = ''.join(f'{name}{digest}' for name, digest in sorted((header.files or {}).items()))
    return hashlib.sha256(digests.encode()).hexdigest()[:12]
