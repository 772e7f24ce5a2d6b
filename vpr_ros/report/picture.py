"""A picture that a person understands at a glance.

It shows what the camera sees, and what the map remembers.
"""

import cv2
import numpy as np

from vpr_ros.core.image import resize
from vpr_ros.core.types import Image

_GOOD, _BAD, _GREY = (46, 160, 67), (207, 84, 60), (90, 96, 104)  # RGB
_CAPTION_PX = 28
_GAP_PX = 4


def side_by_side(
    query: Image, match: Image | None, *, caption: str, good: bool, height_px: int = 240
) -> Image:
    """Query left, best match right (grey if there is none), caption below on green or red; RGB."""
    left = _scaled(query, height_px)
    right = _scaled(match, height_px) if match is not None else np.full_like(left, 64)
    gap = np.full((height_px, _GAP_PX, 3), 255, dtype=np.uint8)
    pair = np.hstack([left, gap, right])
    bar = np.full((_CAPTION_PX, pair.shape[1], 3), _GOOD if good else _BAD, dtype=np.uint8)
    _write(bar, caption)
    for picture, title, start in ((left, 'camera', 0), (right, 'map', left.shape[1] + _GAP_PX)):
        label = np.full((18, min(64, picture.shape[1]), 3), _GREY, dtype=np.uint8)
        _write(label, title)
        pair[: label.shape[0], start : start + label.shape[1]] = label
    return np.vstack([pair, bar])


def _scaled(image: Image, height_px: int) -> Image:
    width_px = max(1, round(image.shape[1] * height_px / image.shape[0]))
    return resize(image, (height_px, width_px))


def _write(canvas: Image, text: str) -> None:
    """White text on the canvas, shrunk until it fits."""
    height, width = canvas.shape[:2]
    scale = height / 50
    text_width = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]
    scale *= min(1.0, (width - 8) / max(text_width, 1))
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
