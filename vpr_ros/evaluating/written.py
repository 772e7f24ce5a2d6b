"""The files that an evaluation leaves: its figures as JSON, its fixes for evo."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.core.atomic import replace_file, staged_file, unwritable_as
from vpr_ros.core.errors import DriveError
from vpr_ros.core.names import cleaned
from vpr_ros.core.trajectory import Trajectory
from vpr_ros.core.tum import write_tum
from vpr_ros.evaluating.answers import Answer
from vpr_ros.evaluating.measuring import Variant
from vpr_ros.evaluating.shown_figures import as_json, finite


def write_figures(path: Path, variants: Sequence[Variant], asked: Mapping[str, Any]) -> None:
    """Write the figures of all variants; the first one's stand at the top.

    asked: what is the same for all of them, such as the bag and the radius; 'map' is where it was
    made for this run. Raises DriveError where the file cannot be written.
    """
    found = [_figures(variant) | dict(asked) for variant in variants]
    whole = found[0] | ({'variants': found} if found[1:] else {})
    with unwritable_as(DriveError, path):
        replace_file(path.absolute(), (json.dumps(cleaned(whole), indent=2) + '\n').encode())


def write_fixes(path: Path, answers: Sequence[Answer]) -> int:
    """Write the fixes as TUM lines, by stamp; returns how many there are, which may be none.

    Drives may share stamps, as simulated ones do; the fixes of all of them are written. Raises
    DriveError where the file cannot be written.
    """
    fixes = [(answer.stamp_ns, answer.pose) for answer in answers if answer.pose is not None]
    fixes.sort(key=lambda fix: fix[0])
    stamps_ns = np.array([stamp_ns for stamp_ns, _ in fixes], dtype=np.int64)
    poses = np.array([pose for _, pose in fixes]).reshape(-1, 7)
    with unwritable_as(DriveError, path), staged_file(path) as staging:
        write_tum(staging, Trajectory(stamps_ns, poses))
    return len(fixes)


def _figures(variant: Variant) -> dict[str, Any]:
    setup = variant.setup
    return as_json(variant.evaluation) | {
        'name': variant.name,
        'splits': {name: as_json(part) for name, part in variant.splits.items()},
        'images_per_s': finite(variant.images_per_s),
        'peak_memory_mb': variant.memory_mb,
        'bag': None,
        'map': str(setup.place_map.folder),
        'map_id': setup.place_map.id,
        'model': setup.model.card.name,
        'model_sha256': setup.model.card.sha256,
        'precision': setup.model.precision,
        'radius_m': None,
        'heading_deg': None,
        'live': variant.live,
        'settings': setup.settings,
    }
