"""What a part of a map is known by before its places are read: the digests of its files.

The id of each place is a sha256 of its own, so that knowing a part by its places takes seconds for
a hundred thousand of them. Everything that the ids cover comes from the part's files, whose
digests map.yaml has, and from little else. So equal digests mean equal places, and a part that the
fleet has is known without a look at them. Other files may hold the same places (a cut, or another
program's): then the places decide, as ever.
"""

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.mapping.codes import CODE_FILES
from vpr_ros.core.mapping.files import check_file
from vpr_ros.core.mapping.layout import LANDMARK_FILES
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.fleet.places import Form


def files_digest(
    place_map: PlaceMap, part: str, form: Form, *, shift_m: NDArray[np.float64]
) -> str:
    """What a part's places are known by as a whole: its files, their form and their shift.

    part: its folder within the map. Opening a map checks large files by samples only. Here they
    are read as a whole, because a place that was changed must not be taken for the old one. Raises
    MapError for a file that differs from map.yaml.
    """
    left_out = {*CODE_FILES, *(() if form.landmarks else LANDMARK_FILES)}
    digests = {}
    for name in sorted(place_map.header.part_files[part] - left_out):
        expected = (place_map.header.files or {})[f'{part}/{name}']
        digests[name], _, is_sampled = expected.partition(':')
        if is_sampled:
            check_file(place_map.folder / part / name, expected, whole=True)
    said = [form.model_sha256, form.cells, form.landmarks, shift_m.tobytes().hex(), digests]
    return hashlib.sha256(f'vpr_ros part files 1 {json.dumps(said)}\n'.encode()).hexdigest()
