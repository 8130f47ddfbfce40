"""BlazeFace, as MediaPipe decodes it: anchors, six keypoints, weighted suppression.

Source: Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile
GPUs", 2019, and MediaPipe's `face_detection` graphs for the constants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from vision.detection import Detections
from vision.errors import ModelError
from vision.geometry import clip_to_frame
from vision.quantized import least_stored, to_real

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vision.geometry import Letterbox
    from vision.interfaces import TensorSpec
    from vision.model_spec import ModelSpec

_VALUES = 16  # box x, y, w, h, then six keypoints x, y
_LOGIT_LIMIT = np.float32(100)
_IOU = 0.3  # boxes that overlap the best by more are blended into it


class BlazeFaceConfig(BaseModel):
    """Which of the two models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    range: Literal["short", "full"] = "short"


@dataclass(frozen=True, slots=True)
class Layout:
    """What differs between the models.

    Attributes:
        strides: One a layer; layers of equal stride share a grid.
        anchors_per_layer: In each cell.
        candidate_score: Boxes from here up enter the blend.
    """

    strides: tuple[int, ...]
    anchors_per_layer: int
    candidate_score: float


LAYOUTS = {
    "short": Layout((8, 16, 16, 16), 2, 0.5),
    "full": Layout((4,), 1, 0.6),
}


class BlazeFace:
    """Decodes BlazeFace; scores below the model's own candidate score are never returned.

    Args:
        config: Which model.
        spec: For its name, in errors.
        inputs: The model's input, (1, S, S, 3).
        outputs: Regressors (1, A, 16) and logits (1, A, 1), in any order, quantised or not.
        min_score: The floor of what `decode` returns.

    Raises:
        ModelError: If the outputs are not those of a BlazeFace with these strides.
    """

    Config = BlazeFaceConfig

    def __init__(
        self,
        config: BlazeFaceConfig,
        *,
        spec: ModelSpec,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        min_score: float,
    ) -> None:
        size = inputs[0].picture_wh[0]
        layout = LAYOUTS[config.range]
        self._centres = anchor_centres(layout, size)
        anchors = len(self._centres)
        shapes = [output.shape for output in outputs]
        try:
            self._regressors = shapes.index((1, anchors, _VALUES))
            self._logits = shapes.index((1, anchors, 1))
        except ValueError:
            raise ModelError(
                f"{spec.path}: not a BlazeFace of input {size}: expected outputs "
                f"(1, {anchors}, {_VALUES}) and (1, {anchors}, 1), found {shapes}"
            ) from None
        self.labels = spec.labels or ("face",)
        self._min_score = min_score
        self._outputs = tuple(outputs)
        # Weaker boxes would be blended into strong ones and move them, so the floor
        # of what is returned does not lower the candidates'.
        min_logit = math.log(layout.candidate_score / (1 - layout.candidate_score))
        self._least_logit = least_stored(min_logit, outputs[self._logits])

    def decode(
        self,
        outputs: Sequence[NDArray[Any]],
        letterbox: Letterbox,
        size_wh: tuple[int, int],
    ) -> Detections:
        """Return faces with six keypoints: eyes, nose tip, mouth, ears."""
        logits = outputs[self._logits][0, :, 0]
        candidates = np.flatnonzero(logits >= self._least_logit)
        if not candidates.size:
            return Detections.empty()
        raw = to_real(outputs[self._regressors][0, candidates], self._outputs[self._regressors])
        points = self._points(raw, self._centres[candidates])
        real_logits = to_real(logits[candidates], self._outputs[self._logits])
        limited = np.minimum(real_logits, _LOGIT_LIMIT)
        score: NDArray[np.float32] = np.float32(1) / (np.float32(1) + np.exp(-limited))
        blended, scores = weighted_suppression(points, score, _IOU)
        in_frame = letterbox.inverse(blended)
        xyxy, kept = clip_to_frame(in_frame[:, :2].reshape(-1, 4), size_wh)
        kept &= scores >= self._min_score
        found = Detections(xyxy, scores, np.zeros(len(scores), np.int32), in_frame[:, 2:])
        return found if kept.all() else found.select(kept)

    @staticmethod
    def _points(raw: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (N, 8, 2) input pixels: top left, bottom right, six keypoints."""
        pairs = raw.reshape(len(raw), -1, 2)
        points = pairs + centres[:, None]
        half = pairs[:, 1] * np.float32(0.5)
        np.add(points[:, 0], half, out=points[:, 1])
        points[:, 0] -= half
        return points


def anchor_centres(layout: Layout, size: int) -> NDArray[np.float32]:
    """Return the (A, 2) anchor centres in input pixels, in the order of the outputs."""
    layers: list[NDArray[np.float32]] = []
    strides = list(layout.strides)
    while strides:
        stride = strides[0]
        same = sum(s == stride for s in strides)  # equal strides stand together
        strides = strides[same:]
        cells = np.arange(-(-size // stride), dtype=np.float32) + np.float32(0.5)
        y, x = np.meshgrid(cells, cells, indexing="ij")
        grid = np.stack([x.ravel(), y.ravel()], axis=1) * np.float32(size / len(cells))
        layers.append(np.repeat(grid, same * layout.anchors_per_layer, axis=0))
    return np.concatenate(layers)


def weighted_suppression(
    points: NDArray[np.float32], score: NDArray[np.float32], iou: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Blend boxes that overlap, instead of dropping all but the best.

    The best box takes in, weighted by score, all that overlap it by more than `iou`;
    they are dropped, and so on with the rest. Its score stays its own.

    Args:
        points: (N, P, 2); the first two are the box's corners.
        score: (N,).
        iou: Overlap from which boxes are one object.

    Returns:
        (M, P, 2) float32 blended points and (M,) float32 scores, best first.
    """
    boxes = points[:, :2].reshape(-1, 4).tolist()
    left = np.argsort(-score, kind="stable").tolist()
    best: list[int] = []
    blended = []
    flat = points.reshape(len(points), -1)
    while left:
        best.append(left[0])
        group, left = _overlapping(boxes, left, iou)
        weights = score[group]
        blended.append(weights @ flat[group] / weights.sum())
    return np.array(blended, np.float32).reshape(-1, *points.shape[1:]), score[best]


def _overlapping(
    boxes: Sequence[Sequence[float]], left: Sequence[int], iou: float
) -> tuple[list[int], list[int]]:
    """Split `left` into what overlaps its first by more than `iou`, itself too, and the rest.

    A loop, since there are a dozen boxes: numpy's calls would cost more than the sums.
    """
    x1, y1, x2, y2 = boxes[left[0]]
    own_area = (x2 - x1) * (y2 - y1)
    group, rest = [left[0]], list[int]()
    for index in left[1:]:
        left_x, top_y, right_x, bottom_y = boxes[index]
        width = min(x2, right_x) - max(x1, left_x)
        height = min(y2, bottom_y) - max(y1, top_y)
        overlap = max(width, 0.0) * max(height, 0.0)
        union = own_area + (right_x - left_x) * (bottom_y - top_y) - overlap
        (group if overlap > iou * union else rest).append(index)
    return group, rest
