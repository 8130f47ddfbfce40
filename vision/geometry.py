"""Box maths on (N, 4) arrays, and the way between a frame and a model's input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Letterbox:
    """The affine way from frame pixels to model-input pixels, and back.

    `x_in = scale_x * x + pad_x`, and so for y. A stretch is a letterbox with two
    scales and no padding.
    """

    scale_x: float
    scale_y: float
    pad_x: float
    pad_y: float
    _scale: NDArray[np.float32] = field(init=False, repr=False, compare=False)
    _pad: NDArray[np.float32] = field(init=False, repr=False, compare=False)

    @staticmethod
    def fit(size_wh: tuple[int, int], input_wh: tuple[int, int]) -> Letterbox:
        """Keep the ratio, centre, and pad the rest.

        MediaPipe's geometry: corner to corner, without the half-pixel shift of
        `cv2.resize`.
        """
        width, height = size_wh
        scale = min(input_wh[0] / width, input_wh[1] / height)
        return Letterbox(
            scale,
            scale,
            (input_wh[0] - scale * width) / 2,
            (input_wh[1] - scale * height) / 2,
        )

    @staticmethod
    def corner(size_wh: tuple[int, int], input_wh: tuple[int, int]) -> Letterbox:
        """Keep the ratio to the whole pixel, at top left, and pad the rest."""
        ratio = min(input_wh[0] / size_wh[0], input_wh[1] / size_wh[1])
        width, height = (max(1, int(side * ratio)) for side in size_wh)
        return Letterbox(width / size_wh[0], height / size_wh[1], 0.0, 0.0)

    @staticmethod
    def stretch(size_wh: tuple[int, int], input_wh: tuple[int, int]) -> Letterbox:
        """Fill the input, ratio or not."""
        return Letterbox(input_wh[0] / size_wh[0], input_wh[1] / size_wh[1], 0.0, 0.0)

    def __post_init__(self) -> None:
        # Made once for each size of frame, used at every one.
        scale = np.array((self.scale_x, self.scale_y), np.float32)
        object.__setattr__(self, "_scale", scale)
        object.__setattr__(self, "_pad", np.array((self.pad_x, self.pad_y), np.float32))

    def forward(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (..., 2) frame pixels to input pixels."""
        return points * self._scale + self._pad

    def inverse(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (..., 2) input pixels to frame pixels."""
        mapped: NDArray[np.float32] = (points - self._pad) / self._scale
        return mapped


def area(xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the (N,) areas of (N, 4) boxes; 0 for a box turned inside out."""
    sides = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 0)
    areas: NDArray[np.float32] = sides[:, 0] * sides[:, 1]
    return areas


def iou_matrix(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the (N, M) intersection over union of (N, 4) and (M, 4) boxes."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(bottom_right - top_left, 0)
    overlap = sides[..., 0] * sides[..., 1]
    union = area(a)[:, None] + area(b)[None, :] - overlap
    iou: NDArray[np.float32] = np.zeros_like(overlap)
    np.divide(overlap, union, out=iou, where=union > 0)
    return iou


def clip_to_frame(
    xyxy: NDArray[np.float32], size_wh: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Clip (N, 4) boxes to the frame; also return the (N,) mask of those that have area left."""
    clipped = np.minimum(np.maximum(xyxy, np.float32(0)), np.array(size_wh * 2, np.float32))
    sides = clipped[:, 2:] > clipped[:, :2]
    return clipped, sides[:, 0] & sides[:, 1]
