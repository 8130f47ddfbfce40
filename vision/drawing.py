"""The parts that pictures are drawn from: outlines, dashes, colours and tiles of text."""

from __future__ import annotations

import colorsys
import unicodedata
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Color = tuple[int, int, int]
    """Blue, green, red."""
    Corners = tuple[int, int, int, int]
    """The outermost pixels of a box: x1, y1, x2, y2, all inside of the frame."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LEAST_BRIGHT = 132
"""So that black is readable on every colour, and every colour on dark paper."""

# From a box's corners x1, y1, x2, y2: its four points, and the ways from them to its inside.
_POINTS = np.array([(0, 1), (2, 1), (2, 3), (0, 3)])
_INWARD = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)], np.int32)


def outlines(corners: NDArray[np.int32], line_px: int) -> NDArray[np.int32]:
    """Return (line_px + 2, N, 4, 2) outlines of (N, 4) boxes, from one pixel outside inwards."""
    middle = (corners[:, 2:] - corners[:, :2]).min(axis=1) // 2
    inset = np.minimum(np.arange(-1, line_px + 1, dtype=np.int32)[:, None], middle)
    rings: NDArray[np.int32] = corners[:, _POINTS] + _INWARD * inset[:, :, None, None]
    return rings


def dashes(corners: Corners, dash_px: int) -> list[NDArray[np.int32]]:
    """Return the (2, 2) line segments of a dashed box; a dash begins at each corner."""
    x1, y1, x2, y2 = corners
    segments = []
    for start in range(x1, x2 + 1, 2 * dash_px):
        end = min(start + dash_px, x2)
        segments += [((start, y1), (end, y1)), ((start, y2), (end, y2))]
    for start in range(y1, y2 + 1, 2 * dash_px):
        end = min(start + dash_px, y2)
        segments += [((x1, start), (x1, end)), ((x2, start), (x2, end))]
    return list(np.array(segments, np.int32))


@cache
def color_of(class_id: int) -> Color:
    """Return a bright colour; neighbours are a golden angle apart, so far from alike."""
    saturation = 0.85
    value = 0.8 if class_id // 6 % 2 else 1.0
    color = _from_hsv(class_id, saturation, value)
    while _brightness(color) < _LEAST_BRIGHT:
        saturation -= 0.05
        color = _from_hsv(class_id, saturation, value)
    return color


def _from_hsv(class_id: int, saturation: float, value: float) -> Color:
    hue = (0.40 + class_id * 0.618034) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * blue), round(255 * green), round(255 * red)


def _brightness(color: Color) -> float:
    """Return the luma of ITU-R BT.601, 0…255."""
    blue, green, red = color
    return 0.114 * blue + 0.587 * green + 0.299 * red


@lru_cache(maxsize=512)
def tile_of(text: str, height_px: int, paper: Color, ink: Color) -> NDArray[np.uint8]:
    """Return `text` as a (height_px, W, 3) picture, drawn once and pasted ever after."""
    # OpenCV's strokes know ASCII only and are rough at this size: drawn large, then shrunk.
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    zoom = 4 if height_px <= 48 else 1  # noqa: PLR2004
    big_px = height_px * zoom
    thickness = max(1, round(big_px / 13))
    scale = cv2.getFontScaleFromHeight(_FONT, round(big_px * 0.52), thickness)
    (width, text_px), _ = cv2.getTextSize(plain, _FONT, scale, thickness)
    pad = big_px // 3
    canvas = np.full((big_px, width + 2 * pad, 3), paper, np.uint8)
    base = (big_px + text_px) // 2
    cv2.putText(canvas, plain, (pad, base), _FONT, scale, ink, thickness, cv2.LINE_AA)
    small_wh = (max(1, canvas.shape[1] // zoom), height_px)
    return cv2.resize(canvas, small_wh, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
