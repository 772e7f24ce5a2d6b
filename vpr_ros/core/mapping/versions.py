"""Maps of earlier programs, read as if today's had written them.

A map is an asset: its drive may never be driven again, so that "rebuild it" is no answer to an old
one. Every version that was ever written has a function here that brings the content of its
map.yaml to today's form. test/golden_maps has maps that the old programs wrote.

The version rises where an earlier program would misread or refuse a map: an entry that changes its
meaning, or a further file (layout.py). An entry that may be absent leaves it as it is.

A map gets the oldest version that says all of it, because a robot may run an older program than
the machine that makes its maps: one without cells is written as version 1 to this day.

    1   descriptors, poses, stamps, names, thumbnails; codes; landmarks and their networks
    2   and cells: the entry `cells`, a file cells.npy in each part
    3   and descriptors in half precision: the entry `half_descriptors`
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vpr_ros.core.errors import MapError

FORMAT_VERSION = 3
"""The newest one."""


def version_saying(values: Mapping[str, Any]) -> int:
    """The oldest version whose programs read a map with these entries as it is meant."""
    if values['half_descriptors']:
        return 3
    return 2 if values['cells'] is not None else 1


def _from_1(found: Mapping[str, Any]) -> dict[str, Any]:
    """Add the entries that the first programs of version 1 left out."""
    unknown: dict[str, Any] = {
        'field_of_view_deg': None,
        'camera': None,
        'landmark_features': '',
        'calibration': None,
        'model_calibration': None,
        'changes': [],
    }
    return _from_2(unknown | dict(found) | {'cells': None})  # which version 1 does not know


def _from_2(found: Mapping[str, Any]) -> dict[str, Any]:
    return dict(found) | {'half_descriptors': False}  # which version 2 does not know


UPGRADES: dict[int, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    1: _from_1,
    2: _from_2,
    3: dict,
}
"""From each version to the newest one; what it is given stays as it is."""


def upgraded(found: Any, *, path: Path) -> dict[str, Any]:
    """The content of map.yaml in today's form; raises MapError naming `path`."""
    if not isinstance(found, dict):
        raise MapError(
            f'{path}: it holds a {type(found).__name__}, expected the entries of a map; '
            'restore it or rebuild the map with build_map'
        )
    version = found.get('format_version')
    if type(version) is int and version > FORMAT_VERSION:
        raise MapError(
            f'{path}: map format version {version}, this program reads up to {FORMAT_VERSION}; '
            'update the program'
        )
    if type(version) is not int or version not in UPGRADES:
        said = f'{version!r}' if 'format_version' in found else 'missing'
        raise MapError(
            f'{path}: format_version {said}, expected one of {sorted(UPGRADES)}; '
            'restore it or rebuild the map with build_map'
        )
    return UPGRADES[version](found) | {'format_version': FORMAT_VERSION}
