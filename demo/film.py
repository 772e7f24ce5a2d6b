"""Make a film of the demo: camera, best match, map and path, probability and state over time.

    make demo && .venv/bin/python demo/film.py

The drive at dusk goes through the node's own session, on the map that the demo made. Each image is
one event, in order, so the same map gives the same film. The film leaves out only the ROS topics,
so no image is dropped.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vpr_ros.cli.command import Parser, command
from vpr_ros.cli.option_values import positive
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.geometry import compose, invert
from vpr_ros.core.image import resize
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.outcome import Fix, headline
from vpr_ros.core.localizing.rig import MountedCamera
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.plurals import by_count, counted
from vpr_ros.core.types import Image as Pixels
from vpr_ros.core.types import Poses
from vpr_ros.drives import open_drive
from vpr_ros.drives.drive import Drive
from vpr_ros.session.answers import Localized
from vpr_ros.session.config import SessionConfig
from vpr_ros.session.events import ImageCame
from vpr_ros.session.session import Session
from vpr_ros.session.tracker import State

ROOT = Path(__file__).resolve().parents[1]

WIDTH, HEIGHT = 800, 530
CAMERA_HW = (180, 240)
MARGIN, TITLE = 12, 22
STRIP_TOP = 418
PAPER, INK, SOFT, MAPPED = '#ffffff', '#24292f', '#6e7781', '#c8ccd2'
RIGHT, WRONG, SILENT = '#2e8b57', '#d1432b', '#e0a030'
STATES = {State.LOST: '#d1432b', State.TENTATIVE: '#e0a030', State.LOCALIZED: '#2e8b57'}


@dataclass(frozen=True, slots=True)
class Moment:
    """One image of the drive, and what the session said of it."""

    seconds: float  # since the first image
    camera: Pixels  # [H, W, 3]
    match: Pixels | None  # the map's picture of the best place
    truth_m: NDArray[np.float64]  # [2]
    pose_m: NDArray[np.float64] | None  # [2]; None without a fix
    said: str
    probability: float
    state: State

    def is_right(self, radius_m: float) -> bool:
        """Whether there is a fix, and it lies within the radius of the truth."""
        return self.pose_m is not None and bool(
            np.linalg.norm(self.pose_m - self.truth_m) <= radius_m
        )


def moments(place_map: PlaceMap, model: Model, drive: Drive) -> list[Moment]:
    """What the session says of each image of a drive."""
    config = SessionConfig()
    localizer = Localizer(OnnxDescriber(model), place_map, config)
    localizer.rig.cameras = [MountedCamera(calibration=drive.camera)]
    session = Session(localizer, config, map_frame=place_map.header.frame_id)
    return list(_moments(session, place_map, drive))


def _moments(session: Session, place_map: PlaceMap, drive: Drive) -> Iterator[Moment]:
    assert drive.trajectory is not None
    first_ns: int | None = None
    for recorded in drive.frames():
        first_ns = recorded.stamp_ns if first_ns is None else first_ns
        event = ImageCame(recorded.stamp_ns, recorded.load, came_ns=recorded.stamp_ns)
        map_T_camera, _ = drive.trajectory.at(np.array([recorded.stamp_ns]))
        truth = compose(map_T_camera[0], invert(drive.base_T_camera))
        for answer in session.handle(event):
            if isinstance(answer, Localized):
                seconds = (recorded.stamp_ns - first_ns) / 1e9
                yield _moment(answer, place_map, truth, seconds, session.state)


def _moment(
    answer: Localized, place_map: PlaceMap, truth: Poses, seconds: float, state: State
) -> Moment:
    outcome, place = answer.located.outcome, answer.located.shown_place
    return Moment(
        seconds=seconds,
        camera=answer.frame.image,
        match=None if place is None else place_map.thumbnail(place),
        truth_m=truth[:2],
        pose_m=outcome.pose[:2] if isinstance(outcome, Fix) else None,
        said=headline(outcome),
        probability=outcome.probability,
        state=state,
    )


class Sheet:
    """Draws the frames of the film."""

    def __init__(
        self, shown: Sequence[Moment], places_m: NDArray[np.float64], radius_m: float
    ) -> None:
        """shown: the whole drive; places_m: [N, 2]; radius_m: within which a fix is right."""
        self._shown, self._places_m, self._radius_m = shown, places_m, radius_m
        self._large, self._small, self._tiny = map(ImageFont.load_default, (16, 13, 11))
        points = np.vstack([places_m, [moment.truth_m for moment in shown]])
        self._low_m, self._high_m = points.min(axis=0), points.max(axis=0)
        self._map_box = (CAMERA_HW[1] + 3 * MARGIN, TITLE + MARGIN, WIDTH - MARGIN, STRIP_TOP - 58)

    def draw(self, last: int) -> Image.Image:
        """The frame of the moment `last`, with all that came before it."""
        sheet = Image.new('RGB', (WIDTH, HEIGHT), PAPER)
        pen = ImageDraw.Draw(sheet)
        self._pictures(sheet, pen, self._shown[last])
        self._map(pen, self._shown[: last + 1])
        self._verdict(pen, self._shown[last])
        self._strip(pen, self._shown[: last + 1])
        return sheet

    def _pictures(self, sheet: Image.Image, pen: ImageDraw.ImageDraw, now: Moment) -> None:
        top = MARGIN // 2
        matched = 'best match on the map' if now.pose_m is not None else 'likeliest place, refused'
        pictures = (('camera', now.camera), (matched, now.match))
        for title, picture in pictures:
            pen.text((MARGIN, top), title, fill=SOFT, font=self._small)
            if picture is not None:
                shrunk = Image.fromarray(resize(picture, CAMERA_HW))
                sheet.paste(shrunk, (MARGIN, top + TITLE - 4))
            top += CAMERA_HW[0] + TITLE - 2

    def _map(self, pen: ImageDraw.ImageDraw, past: Sequence[Moment]) -> None:
        left, top, _, _ = self._map_box
        pen.text((left, MARGIN // 2), 'map', fill=SOFT, font=self._small)
        for place_m in self._places_m:
            self._dot(pen, place_m, 2, MAPPED)
        path = [self._at(moment.truth_m) for moment in past]
        if path[1:]:
            pen.line(path, fill=INK, width=1)
        for moment in past:
            at_m = moment.truth_m if moment.pose_m is None else moment.pose_m
            self._dot(pen, at_m, 3, self._colour(moment))
        self._dot(pen, past[-1].truth_m, 7, INK, hollow=True)
        key = (('mapped', MAPPED), ('right fix', RIGHT), ('wrong fix', WRONG), ('no fix', SILENT))
        for row, (name, colour) in enumerate(key):
            y = top + 18 * row + 10
            pen.ellipse((left, y - 4, left + 8, y + 4), fill=colour)
            pen.text((left + 14, y), name, fill=INK, font=self._small, anchor='lm')
        y = top + 18 * len(key) + 10
        pen.ellipse((left - 2, y - 6, left + 10, y + 6), outline=INK, width=2)
        pen.text((left + 14, y), 'true position', fill=INK, font=self._small, anchor='lm')

    def _verdict(self, pen: ImageDraw.ImageDraw, now: Moment) -> None:
        left, y = self._map_box[0], STRIP_TOP - 38
        pen.rounded_rectangle((left, y - 12, left + 108, y + 12), 5, fill=STATES[now.state])
        pen.text((left + 54, y), now.state.value, fill=PAPER, font=self._small, anchor='mm')
        room_px = WIDTH - MARGIN - left - 120
        font = next(
            font
            for font in (self._large, self._small, self._tiny)
            if font.getlength(now.said) <= room_px or font is self._tiny
        )
        pen.text((left + 120, y), now.said, fill=INK, font=font, anchor='lm')

    def _strip(self, pen: ImageDraw.ImageDraw, past: Sequence[Moment]) -> None:
        left, right, bottom = MARGIN + 36, WIDTH - MARGIN, HEIGHT - 42
        top, state_top = STRIP_TOP + 22, HEIGHT - 30
        pen.text((MARGIN, STRIP_TOP), 'probability', fill=SOFT, font=self._small)
        for share in (0.0, 0.5, 1.0):
            y = bottom - share * (bottom - top)
            pen.line((left, y, right, y), fill='#e5e7ea')
            pen.text((left - 6, y), f'{share:.1f}', fill=SOFT, font=self._small, anchor='rm')
        edges = np.linspace(left, right, len(self._shown) + 1)
        for slot, moment in enumerate(past):
            x, end = edges[slot], edges[slot + 1] - 1
            high = max(moment.probability * (bottom - top), 1)
            pen.rectangle((x, bottom - high, end, bottom), fill=self._colour(moment))
            pen.rectangle((x, state_top, end + 1, state_top + 7), fill=STATES[moment.state])
        pen.text((MARGIN, state_top + 4), 'state', fill=SOFT, font=self._small, anchor='lm')
        said = f'{past[-1].seconds:.1f} s'
        pen.text((right, HEIGHT - 3), said, fill=SOFT, font=self._small, anchor='rb')

    def _colour(self, moment: Moment) -> str:
        if moment.pose_m is None:
            return SILENT
        return RIGHT if moment.is_right(self._radius_m) else WRONG

    def _at(self, position_m: NDArray[np.float64]) -> tuple[float, float]:
        left, top, right, bottom = self._map_box
        size_m = self._high_m - self._low_m
        scale = min((right - left - 16) / size_m[0], (bottom - top - 16) / size_m[1])
        across, up = (position_m - (self._low_m + self._high_m) / 2) * scale
        return (left + right) / 2 + across, (top + bottom) / 2 - up

    def _dot(
        self,
        pen: ImageDraw.ImageDraw,
        position_m: NDArray[np.float64],
        radius_px: int,
        colour: str,
        *,
        hollow: bool = False,
    ) -> None:
        x, y = self._at(position_m)
        box = (x - radius_px, y - radius_px, x + radius_px, y + radius_px)
        if hollow:
            pen.ellipse(box, outline=colour, width=2)
        else:
            pen.ellipse(box, fill=colour)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write the film."""
    args = _parser().parse_args(argv)
    model = Model.open(default_model())
    place_map = PlaceMap.open(args.map, model=model)
    shown = moments(place_map, model, open_drive(args.bag))
    sheet = Sheet(shown, place_map.base_poses()[:, :2], args.radius)
    chosen = [*range(0, len(shown), args.every), len(shown) - 1]
    frames = [sheet.draw(last) for last in chosen]
    mean_ms = 1e3 * shown[-1].seconds / (len(shown) - 1)
    wait_ms = round(mean_ms * args.every / args.speed)
    frames[0].save(
        args.output,
        save_all=True,
        append_images=frames[1:],
        duration=[wait_ms] * (len(frames) - 1) + [2500],
        loop=0,
        quality=args.quality,
        method=6,
    )
    if args.frames is not None:
        args.frames.mkdir(parents=True, exist_ok=True)
        for last, frame in zip(chosen, frames, strict=True):
            frame.save(args.frames / f'{last:03d}.png')
    fixes = sum(moment.pose_m is not None for moment in shown)
    right = sum(moment.is_right(args.radius) for moment in shown)
    print(
        f'{args.output}: {len(frames)} frames, {args.output.stat().st_size / 1e6:.1f} MB; '
        f'{right} of {counted(fixes, "fix")} {by_count(right, "is", "are")} right, '
        f'{counted(len(shown) - fixes, "image")} without a fix'
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--map', type=Path, default=ROOT / 'outputs/demo/map', help='map that `make demo` made')
    add('--bag', type=Path, default=ROOT / 'demo/drives/dusk', help='drive to show')
    add('--output', type=Path, default=ROOT / 'docs/pictures/demo.webp', help='file to write')
    add('--radius', type=positive, default=5.0, help='a fix within these metres is right')
    add('--every', type=int, default=2, help='show each Nth image')
    add('--speed', type=positive, default=2.0, help='times the speed of the drive')
    add('--quality', type=int, default=60, help='of the pictures, 0 to 100')
    add('--frames', type=Path, help='folder for the frames as PNG, to look at them one by one')
    return parser


if __name__ == '__main__':
    sys.exit(main())
