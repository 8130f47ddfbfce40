"""Draws a result on a copy of its frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vision.drawing import color_of, dashes, outlines, tile_of
from vision.frame import FramePool, frozen_view
from vision.geometry import iou_matrix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from vision.classification import ClassScore
    from vision.detection import Detections, Track
    from vision.drawing import Color, Corners
    from vision.frame import Result

_BLACK: Color = (0, 0, 0)
_WHITE: Color = (255, 255, 255)
_DARK: Color = (28, 24, 22)
_AMBER: Color = (0, 176, 255)

_SAME_OBJECT_IOU = 0.3
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
        pen.boxes()
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
        self._boxes: dict[tuple[int, Color], list[Corners]] = {}
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
        color = color_of(class_id)
        self._boxes.setdefault((line_px, color), []).append(corners)
        tiles = [self._tile(name, color), self._tile(f"{score:.2f}", _DARK, color)]
        self._labels.append((corners, tiles))

    def stale(self, track: Track) -> None:
        """Draw where the motion model expects a track that was not seen."""
        corners = self._corners(track.xyxy)
        if corners is None:
            return
        color = color_of(track.class_id)
        dash_px = 4 * self._line_px
        cv2.polylines(
            self._picture, dashes(corners, dash_px), isClosed=False, color=color,
            thickness=max(1, self._line_px // 3),
        )  # fmt: skip
        name = f"{track.label} #{track.track_id}"
        self._labels.append((corners, [self._tile(name, _DARK, color)]))

    def boxes(self) -> None:
        """Draw the boxes, all of one look at once.

        One-pixel rings are six times cheaper than a thick line. The outer and inner
        one are dark, so that a box is seen on a ground of its own colour.
        """
        for (line_px, color), corners in self._boxes.items():
            rings = outlines(np.array(corners, np.int32), line_px)
            dark = np.concatenate((rings[0], rings[-1]))
            cv2.polylines(self._picture, list(dark), isClosed=True, color=_DARK)
            bright = rings[1:-1].reshape(-1, 4, 2)
            cv2.polylines(self._picture, list(bright), isClosed=True, color=color)

    def keypoints(self, points: NDArray[np.float32], class_ids: NDArray[np.int32]) -> None:
        """Draw the dots of all boxes, (N, K, 2) pixels: lines of no length, with round ends."""
        fine = np.nan_to_num(points, nan=-_FAR_PX).clip(-_FAR_PX, _FAR_PX)
        pixels = fine.astype(np.int32)
        radius = self._line_px
        dots = list(pixels.reshape(-1, 1, 2))
        cv2.polylines(self._picture, dots, True, _DARK, 2 * radius + 1)
        for class_id in set(class_ids.tolist()):
            dots = list(pixels[class_ids == class_id].reshape(-1, 1, 2))
            cv2.polylines(self._picture, dots, True, color_of(class_id), 2 * radius - 1)

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
        return tile_of(text, self._text_px, paper, ink)

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
