"""Draws a result on a copy of its frame."""

from __future__ import annotations

import colorsys
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vision.frame import FramePool, frozen_view
from vision.geometry import iou_matrix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from vision.classification import ClassScore
    from vision.detection import Detections, Track
    from vision.frame import Result

    Color = tuple[int, int, int]
    """Blue, green, red."""
    Corners = tuple[int, int, int, int]
    """The outermost pixels of a box: x1, y1, x2, y2, all inside of the frame."""

_BLACK: Color = (0, 0, 0)
_WHITE: Color = (255, 255, 255)
_DARK: Color = (28, 24, 22)
_AMBER: Color = (0, 176, 255)

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SAME_OBJECT_IOU = 0.3
_LEAST_BRIGHT = 132
"""So that black is readable on every colour, and every colour on `_DARK`."""
_FAR_PX = 1 << 20


@dataclass(frozen=True, slots=True)
class Hud:
    """What the corner says.

    Attributes:
        fps: Results a second.
        backend: What really computes, in words.
        age_ms: From capture to now.
        degraded: What does not work as it should, or None.
    """

    fps: float
    backend: str
    age_ms: float
    degraded: str | None = None


class Overlay:
    """Draws boxes, labels, keypoints and the corner, sized to the picture.

    A track that a detection of this very frame matched is a solid box with its
    score; one that only the tracker's motion model carries is dashed, its label
    inverted and without a score, so that an old box never looks like a new one. A
    detection that no track follows (yet) is a thin box.

    Args:
        labels: Names by `class_id`.
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self._pool = FramePool()

    def draw(self, result: Result, hud: Hud | None = None) -> NDArray[np.uint8]:
        """Return a drawn copy of the frame, (H, W, 3) uint8 BGR, read-only.

        Without a `hud` the corner stays free.

        Its memory is used again once nobody holds the picture or a view of it.
        """
        buffer = self._pool.acquire(result.frame.size_wh)
        np.copyto(buffer, result.frame.image)
        pen = _Pen(buffer)
        fresh = [track for track in result.tracks if not track.frames_since_update]
        stale = [track for track in result.tracks if track.frames_since_update]
        found = result.detections
        loose = found.select(~_followed(found, fresh))

        for track in stale:
            pen.stale(track)
        for xyxy, score, class_id in zip(loose.xyxy, loose.score, loose.class_id, strict=True):
            pen.loose(xyxy, float(score), int(class_id), self._label(int(class_id)))
        for track in fresh:
            pen.fresh(track)
        if found.keypoints is not None:
            pen.keypoints(found.keypoints, found.class_id)
        pen.labels()
        if hud is not None:
            pen.corner(hud)
        pen.classes(result.classes, rows_above=0 if hud is None else 2)
        return frozen_view(buffer)

    def _label(self, class_id: int) -> str:
        return self._labels[class_id] if class_id < len(self._labels) else f"class {class_id}"


class _Pen:
    """Draws on one picture; labels wait until every box is there, and lie on top."""

    def __init__(self, picture: NDArray[np.uint8]) -> None:
        height, width = picture.shape[:2]
        short = min(width, height)
        self._picture = picture
        self._size_wh = (width, height)
        self._line_px = max(3, round(short / 240))
        self._text_px = max(14, round(short / 28))
        self._labels: list[tuple[Corners, list[NDArray[np.uint8]]]] = []

    def fresh(self, track: Track) -> None:
        """Draw a track that was seen on this frame."""
        named = [best[0].label for best in track.classes.values() if best]
        name = ", ".join([f"{track.label} #{track.track_id}", *named])
        self._box(track.xyxy, self._line_px, name, track.score, track.class_id)

    def loose(self, xyxy: NDArray[np.float32], score: float, class_id: int, label: str) -> None:
        """Draw a detection that no track follows."""
        self._box(xyxy, max(1, self._line_px // 3), label, score, class_id)

    def _box(
        self, xyxy: NDArray[np.float32], line_px: int, name: str, score: float, class_id: int
    ) -> None:
        corners = self._corners(xyxy)
        if corners is None:
            return
        color = _color(class_id)
        x1, y1, x2, y2 = corners
        # One-pixel rings are six times cheaper than a thick line. The outer and inner
        # one are dark, so that the box is seen on a ground of its own colour.
        for inset in range(-1, min(line_px, (x2 - x1) // 2, (y2 - y1) // 2) + 1):
            ring = color if 0 <= inset < line_px else _DARK
            cv2.rectangle(
                self._picture, (x1 + inset, y1 + inset), (x2 - inset, y2 - inset), ring
            )  # fmt: skip
        tiles = [self._tile(name, color), self._tile(f"{score:.2f}", _DARK, color)]
        self._labels.append((corners, tiles))

    def stale(self, track: Track) -> None:
        """Draw where the motion model expects a track that was not seen."""
        corners = self._corners(track.xyxy)
        if corners is None:
            return
        color = _color(track.class_id)
        dash_px = 4 * self._line_px
        cv2.polylines(
            self._picture, _dashes(corners, dash_px), isClosed=False, color=color,
            thickness=max(1, self._line_px // 3),
        )  # fmt: skip
        name = f"{track.label} #{track.track_id}"
        self._labels.append((corners, [self._tile(name, _DARK, color)]))

    def keypoints(self, points: NDArray[np.float32], class_ids: NDArray[np.int32]) -> None:
        """Draw the dots of all boxes, (N, K, 2) pixels."""
        radius = self._line_px
        pixels = points.clip(-_FAR_PX, _FAR_PX).astype(np.int32)
        for class_id, dots in zip(class_ids.tolist(), pixels.tolist(), strict=True):
            for dot in dots:
                cv2.circle(self._picture, dot, radius + 1, _DARK, cv2.FILLED)
                cv2.circle(self._picture, dot, radius, _color(class_id), cv2.FILLED)

    def labels(self) -> None:
        """Put the labels on top."""
        for (x, y, *_), tiles in self._labels:
            total = sum(tile.shape[1] for tile in tiles)
            left = max(0, min(x, self._size_wh[0] - total))
            self._row(tiles, left, max(0, y - self._text_px))

    def corner(self, hud: Hud) -> None:
        """Say in the corner what `hud` knows."""
        fps = f"{hud.fps:.0f} fps" if hud.fps >= 10 else f"{hud.fps:.1f} fps"  # noqa: PLR2004
        texts = (fps, hud.backend, f"{hud.age_ms:.0f} ms")
        tiles = [self._tile(text, _DARK, _WHITE) for text in texts]
        margin = self._text_px // 2
        self._row(tiles, margin, margin)
        if hud.degraded is not None:
            self._row([self._tile(hud.degraded, _AMBER)], margin, margin + self._text_px)

    def classes(self, found: Mapping[str, Sequence[ClassScore]], rows_above: int) -> None:
        """Say below the corner what classifiers say of the whole picture."""
        best = [each for classes in found.values() for each in classes]
        for row, each in enumerate(best, rows_above):
            tiles = [self._tile(each.label, _DARK, _WHITE), self._tile(f"{each.score:.2f}", _WHITE)]
            self._row(tiles, self._text_px // 2, self._text_px // 2 + row * self._text_px)

    def _row(self, tiles: Sequence[NDArray[np.uint8]], x: int, y: int) -> None:
        width, height = self._size_wh
        for tile in tiles:
            part = tile[: max(0, height - y), : max(0, width - x)]
            self._picture[y : y + part.shape[0], x : x + part.shape[1]] = part
            x += tile.shape[1]

    def _tile(self, text: str, paper: Color, ink: Color = _BLACK) -> NDArray[np.uint8]:
        return _tile(text, self._text_px, paper, ink)

    def _corners(self, xyxy: NDArray[np.float32]) -> Corners | None:
        width, height = self._size_wh
        x1, y1, x2, y2 = xyxy.tolist()
        if not (x1 < width and y1 < height and x2 > 0 and y2 > 0):
            return None
        left, top = round(min(max(x1, 0), width - 1)), round(min(max(y1, 0), height - 1))
        right, bottom = round(min(x2, width)) - 1, round(min(y2, height)) - 1
        return left, top, max(left, right), max(top, bottom)


def _followed(detections: Detections, fresh: Sequence[Track]) -> NDArray[np.bool_]:
    """Return the (N,) mask of detections that lie under a track of their class."""
    if not fresh:
        return np.zeros(len(detections), np.bool_)
    boxes = np.stack([track.xyxy for track in fresh])
    classes = np.array([track.class_id for track in fresh])
    same = detections.class_id[:, None] == classes
    mask: NDArray[np.bool_] = np.any(
        same & (iou_matrix(detections.xyxy, boxes) >= _SAME_OBJECT_IOU), axis=1
    )
    return mask


def _dashes(corners: Corners, dash_px: int) -> list[NDArray[np.int32]]:
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
def _color(class_id: int) -> Color:
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
def _tile(text: str, height_px: int, paper: Color, ink: Color) -> NDArray[np.uint8]:
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
