"""Whether the pictures of a drive are turned or mirrored compared with the map's.

A camera that is mounted upside down, a portrait picture and a driver that flips give images of
which the node only says that they are probably not on the map. So where a drive gets hardly a fix,
some of its images are turned, and whether they get fixes then tells for sure.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from vpr_ros.core.errors import ImageError
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.core.localizing.rig import MountedCamera
from vpr_ros.core.types import Frame, Image
from vpr_ros.drives.drive import Drive
from vpr_ros.evaluating.answers import Answer

_FEWEST = 20  # images of a drive
_HARDLY = 0.1  # share of the images that get a fix as they are
_TRIED, _COMPARED = 40, 10  # images of the drive, at most
_MANY = 0.5  # share of the tried ones that get a fix

_WAYS: dict[str, Callable[[Image], Image]] = {
    'as they are': lambda image: image,
    'turned by 180 degrees': lambda image: image[::-1, ::-1],
    'turned by 90 degrees to the right': lambda image: np.rot90(image, -1),
    'turned by 90 degrees to the left': lambda image: np.rot90(image, 1),
    'mirrored': lambda image: image[:, ::-1],
    'mirrored and turned by 180 degrees': lambda image: image[::-1],
}


def turned_said(drive: Drive, answers: Sequence[Answer], localizer: Localizer) -> str:
    """How the images have to be turned to get fixes, as a note; '' where nothing helps.

    Looks only where hardly an image got a fix. The localizer forgets its drive.
    """
    answered = sum(answer.pose is not None for answer in answers)
    if len(answers) < _FEWEST or answered >= _HARDLY * len(answers):
        return ''
    frames = _some(drive)
    if not frames:
        return ''
    compared = frames[:: max(1, len(frames) // _COMPARED)]
    likeness = {way: _likeness(compared, way, localizer) for way in _WAYS}
    best = max(likeness, key=lambda way: likeness[way])
    if _WAYS[best] is _WAYS['as they are']:
        return ''
    count = _fixes(frames, best, localizer)
    if count < _MANY * len(frames):
        return ''
    return (
        f'{drive.name}: {count} of {len(frames)} images get a fix if they are {best}, and '
        f'{answered} of {len(answers)} as they are; the picture is turned compared with the '
        "map's, correct it in the camera's driver"
    )


def _some(drive: Drive) -> list[Frame]:
    """Some images of a drive, spread over it; those that cannot be used are left out."""
    every = max(1, len(drive) // _TRIED)
    found: list[Frame] = []
    for number, recorded in enumerate(drive.frames()):
        if number % every == 0 and len(found) < _TRIED:
            with suppress(ImageError):
                found.append(Frame(recorded.load(), recorded.stamp_ns))
    return found


def _turned(frame: Frame, way: str) -> Frame:
    return Frame(np.ascontiguousarray(_WAYS[way](frame.image)), frame.stamp_ns)


def _likeness(frames: Sequence[Frame], way: str, localizer: Localizer) -> float:
    """Median similarity of the images to the most similar place, each by itself."""
    queries = [localizer.describe(_turned(frame, way)) for frame in frames]
    descriptors = np.array([query.descriptor for query in queries])
    similarity, _ = localizer.place_map.index.search(descriptors, 1)
    return float(np.median(similarity[:, 0]))


def _fixes(frames: Sequence[Frame], way: str, localizer: Localizer) -> int:
    """How many of the images get a fix."""
    localizer.reset()
    localizer.rig.cameras = [MountedCamera()]
    located = [localizer.locate(localizer.describe(_turned(frame, way))) for frame in frames]
    return sum(isinstance(found.outcome, Fix) for found in located)
