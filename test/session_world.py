"""A session on a small made-up street, and the events of a drive along it; no ROS, no network."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from worlds import straight_drive, unit_rows, write_map

from vpr_ros.core.errors import ImageError
from vpr_ros.core.geometry import FORWARD_CAMERA
from vpr_ros.core.localizing.localizer import Localization, Localizer
from vpr_ros.core.localizing.rig import MountedCamera
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Datum, Frame, Image
from vpr_ros.session.answers import Answer, Localized, Noted, Refused, StateChanged
from vpr_ros.session.config import SessionConfig
from vpr_ros.session.events import ImageCame, InitialPoseCame, OdometryCame
from vpr_ros.session.session import Session

PLACES, SIZE, SPACING_M = 60, 64, 2.0
SECOND = 10**9
ROWS = unit_rows(PLACES, SIZE)
BROKEN = -1
DARK = 250


class Describer:
    """Knows the place that a picture was drawn for; each picture differs a little."""

    at_once = 1
    model = SimpleNamespace(card=SimpleNamespace(image_size=(16, 16), cells=None))

    def describe(self, images: Sequence[Image]) -> np.ndarray:
        """Rows [B, SIZE]."""
        found = []
        for image in images:
            place, noise = int(image[0, 0, 0]), int(image[0, 0, 1])
            random = np.random.default_rng(noise)
            row = ROWS[place % PLACES] + 0.03 * random.standard_normal(SIZE).astype(np.float32)
            found.append(row / np.linalg.norm(row))
        return np.array(found, dtype=np.float32)

    def describe_with_cells(self, images: Sequence[Image]) -> tuple[np.ndarray, None]:
        """Without cells."""
        return self.describe(images), None


def picture(place: int, noise: int = 0) -> Image:
    """A picture of a place; DARK shows nothing."""
    image = np.zeros((16, 16, 3), np.uint8)
    if place != DARK:
        image[:8] = 200
        image[0, 0] = place, noise % 256, 0
    return image


def image_at(
    place: int, stamp_s: float, *, noise: int | None = None, camera: int = 0, frame: str = ''
) -> ImageCame:
    """An image of a place; BROKEN cannot be decoded. Without `noise` it is unlike all others."""
    stamp_ns = round(stamp_s * SECOND)

    def read(*, at_least_hw: tuple[int, int] | None = None) -> Image:
        if place == BROKEN:
            raise ImageError('image: broken')
        return picture(place, stamp_ns // 10**8 if noise is None else noise)

    return ImageCame(stamp_ns, read, camera=camera, camera_frame=frame, came_ns=stamp_ns)


def drive(places: Sequence[int], *, start_s: float = 100.0) -> list[ImageCame]:
    """Images of places, one a second."""
    return [image_at(place, start_s + row) for row, place in enumerate(places)]


def odometry_at(x_m: float, stamp_s: float) -> OdometryCame:
    return OdometryCame(round(stamp_s * SECOND), np.array([x_m, 0, 0, 0, 0, 0, 1.0]))


def initial_pose(
    x_m: float,
    y_m: float = 0.0,
    z_m: float = 0.0,
    *,
    frame_id: str = 'map',
    variance: float = 0.25,
    z_variance: float = 0.0,
) -> InitialPoseCame:
    """What RViz sends, unless told otherwise."""
    covariance = np.diag([variance, variance, z_variance, 0, 0, 0.07])
    return InitialPoseCame(frame_id, np.array([x_m, y_m, z_m, 0, 0, 0, 1.0]), covariance)


def street(folder: Path, *, z_m: float = 0.0, datum: Datum | None = None) -> PlaceMap:
    """PLACES places along x, at a height."""
    poses = straight_drive(PLACES, spacing_m=SPACING_M)
    poses[:, 2] = z_m
    return write_map(folder, ROWS, poses, datum=datum)


def session_on(place_map: PlaceMap, mounting_of: Any = None, **settings: Any) -> Session:
    """A session; its thresholds are low, because a made-up street is easy."""
    given = {'max_false_fix_rate': 0.2} | settings
    config = SessionConfig(**given)
    cameras = [MountedCamera(), MountedCamera()]
    localizer = Localizer(Describer(), place_map, config, cameras=cameras)
    return Session(localizer, config, map_frame='map', mounting_of=mounting_of)


def answers_of(session: Session, events: Sequence[Any]) -> list[Answer]:
    """All answers to events, one after another."""
    return [answer for event in events for answer in session.handle(event)]


def outcomes(answers: Sequence[Answer]) -> list[Any]:
    """What the images told."""
    return [answer.located.outcome for answer in answers if isinstance(answer, Localized)]


def states(answers: Sequence[Answer]) -> list[str]:
    return [answer.state.value for answer in answers if isinstance(answer, StateChanged)]


def texts(answers: Sequence[Answer]) -> str:
    """What was noted or refused."""
    return '\n'.join(answer.text for answer in answers if isinstance(answer, (Noted, Refused)))


def wheels(x_m: float, stamp_s: float, *, frames: tuple[str, str] = ('', '')) -> OdometryCame:
    """Odometry that comes as soon as it is stamped."""
    pose = np.array([x_m, 0, 0, 0, 0, 0, 1.0])
    return OdometryCame(round(stamp_s * SECOND), pose, round(stamp_s * SECOND), frames)


def travelled(session: Session) -> list[float | None]:
    """What the session tells its localizer of the way since the last image, image by image."""
    told, step = [], session.localizer.step

    def noting(frame: Frame, **given: Any) -> Localization:
        told.append(given['travelled_m'])
        return step(frame, **given)

    session.localizer.step = noting  # type: ignore[method-assign]
    return told


def driven_with_two_cameras(place_map: PlaceMap) -> tuple[Session, list[float | None]]:
    """A session of two cameras that look ahead, and what `travelled` notes of it."""
    session = session_on(place_map, belief=False)
    cameras = session.localizer.rig.cameras
    cameras[1] = replace(cameras[1], base_T_camera=FORWARD_CAMERA)
    return session, travelled(session)
