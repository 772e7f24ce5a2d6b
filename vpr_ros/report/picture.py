"""A picture that a person understands at a glance.

It shows what the camera sees beside what the map remembers, what follows from it, and how sure the
answers of the last while were.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vpr_ros.core.image import resize
from vpr_ros.core.types import Image

MOMENTS = 120
"""Answers that the chart of probabilities has room for."""

_GOOD, _BAD, _GREY, _DARK = (46, 160, 67), (207, 84, 60), (90, 96, 104), (30, 34, 40)  # RGB
# Heights as shares of the images' height.
_TITLE, _VERDICT, _DETAILS, _CHART = 0.075, 0.13, 0.09, 0.2
_GAP_PX = 4


@dataclass(frozen=True, slots=True)
class Moment:
    """How one image was answered."""

    probability: float  # in [0, 1]
    is_fix: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is written below the images."""

    headline: str
    details: str
    match_title: str
    is_fix: bool


def glance(
    query: Image,
    match: Image | None,
    verdict: Verdict,
    *,
    history: Sequence[Moment] = (),
    height_px: int,
) -> Image:
    """Query left, best match right (grey if there is none), verdict and chart below; RGB.

    The headline stands on green for a fix, on red for none. history: the last answers, newest
    last, drawn as bars at the right end of the chart.
    """
    left = _scaled(query, height_px)
    right = _scaled(match, height_px) if match is not None else np.full_like(left, 64)
    gap = np.full((height_px, _GAP_PX, 3), 255, dtype=np.uint8)
    pair = np.hstack([left, gap, right])
    title_px = max(round(_TITLE * height_px), 8)
    for picture, title, start in (
        (left, 'camera', 0),
        (right, verdict.match_title, left.shape[1] + _GAP_PX),
    ):
        width = min(_text_width(title, title_px), picture.shape[1])
        pair[:title_px, start : start + width] = _bar(title, title_px, width, _GREY)
    width = pair.shape[1]
    rows = [
        pair,
        _bar(
            verdict.headline,
            round(_VERDICT * height_px),
            width,
            _GOOD if verdict.is_fix else _BAD,
        ),
        _bar(verdict.details, round(_DETAILS * height_px), width, _DARK),
        _chart(history, round(_CHART * height_px), width),
    ]
    return np.vstack(rows)


def _scaled(image: Image, height_px: int) -> Image:
    width_px = max(1, round(image.shape[1] * height_px / image.shape[0]))
    return resize(image, (height_px, width_px))


def _chart(history: Sequence[Moment], height: int, width: int) -> Image:
    """A bar for each of the last answers, newest at the right, full height for certainty."""
    canvas = np.full((height, width, 3), _DARK, dtype=np.uint8)
    canvas[height // 2] = _GREY
    label = _bar('probability', max(height // 3, 8), width, _DARK)
    edges = np.linspace(0, width, MOMENTS + 1).round().astype(int)
    shown = list(history)[-MOMENTS:]
    label_width = min(_text_width('probability', label.shape[0]), width)
    canvas[: label.shape[0], :label_width] = label[:, :label_width]
    for slot, moment in enumerate(shown, MOMENTS - len(shown)):
        top = height - max(round(moment.probability * height), 2)
        end = max(edges[slot + 1] - 1, edges[slot] + 1)  # a line of background between two bars
        canvas[top:, edges[slot] : end] = _GOOD if moment.is_fix else _BAD
    return canvas


def _bar(text: str, height: int, width: int, colour: tuple[int, int, int]) -> Image:
    """White text on a colour, shrunk until it fits."""
    canvas = np.full((height, width, 3), colour, dtype=np.uint8)
    scale = _text_scale(height) * min(1.0, width / _text_width(text, height))
    cv2.putText(
        canvas,
        text,
        (4, round(height * 0.7)),
        cv2.FONT_HERSHEY_SIMPLEX,
        scale,
        (255, 255, 255),
        1,
        cv2.LINE_AA,
    )
    return canvas


def _text_scale(height: int) -> float:
    return height / 42


def _text_width(text: str, height: int) -> int:
    """Pixels of a line of text on a bar, its margins included."""
    size, _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, _text_scale(height), 1)
    return int(size[0]) + 8
