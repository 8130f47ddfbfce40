"""Raw SSD heads: box encodings and class scores against anchors, EfficientDet's as well.

Source: Liu et al., "SSD: Single Shot MultiBox Detector", 2016; the encoding is that of the
Object Detection API's Faster R-CNN box coder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vision.detection import Detections
from vision.detectors.anchors import Anchors  # noqa: TC001  (pydantic resolves it at run time)
from vision.detectors.finish import LARGEST_LOG_SIZE, finish
from vision.errors import ModelError
from vision.quantized import least_stored, to_real

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vision.geometry import Letterbox
    from vision.interfaces import TensorSpec
    from vision.model_spec import ModelSpec

_BOX = 4
_RANK = 3
# Keeps thresholds of 0 and 1 finite as logits.
_LEAST_SCORE = 1e-6

Candidates = tuple["NDArray[np.intp]", "NDArray[np.intp]", "NDArray[np.float32]"]
"""Anchor, class and score of each."""


class SsdAnchorsConfig(BaseModel):
    """How the heads were trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    anchors: Anchors
    scales: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    """Divisors of ty, tx, th, tw; EfficientDet has 1, 1, 1, 1."""
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    """What turns the class scores into probabilities; `none` where they are that already."""
    background: bool = True
    """The first class column is the background."""
    boxes: str | None = None
    """Name of the encodings' output, where there are four class columns as well."""
    iou: float = Field(default=0.6, gt=0, le=1)
    """Boxes of a class that overlap by more are one object."""


class SsdAnchors:
    """Decodes encodings (1, A, 4) and class scores (1, A, C), found by their shapes.

    Args:
        config: How the heads were trained.
        spec: For labels, and the name in errors.
        inputs: The model's input, a picture.
        outputs: Encodings and scores in any order, quantised or not.
        min_score: The floor of what `decode` returns.

    Raises:
        ModelError: If the outputs do not fit each other or the anchors.
    """

    Config = SsdAnchorsConfig

    def __init__(
        self,
        config: SsdAnchorsConfig,
        *,
        spec: ModelSpec,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        min_score: float,
    ) -> None:
        input_wh = inputs[0].picture_wh
        pairs = config.anchors.make(input_wh, spec.path.parent) * np.array(input_wh, np.float32)
        self._centres, self._sizes = np.ascontiguousarray(pairs.transpose(1, 0, 2))
        self._boxes, self._scores = _roles(spec, outputs, len(pairs), config.boxes)
        self._outputs = tuple(outputs)
        self._mask = np.empty(outputs[self._scores].shape[1:], np.bool_)
        self._config = config
        ty, tx, th, tw = config.scales
        self._divisors = np.array(((tx, ty), (tw, th)), np.float32)
        self._first = int(config.background)
        self.labels = spec.named(outputs[self._scores].shape[2] - self._first)
        self._min_score = min(max(min_score, _LEAST_SCORE), 1 - _LEAST_SCORE)
        self._min_logit = np.log(self._min_score / (1 - self._min_score))
        least = self._min_logit if config.activation == "sigmoid" else self._min_score
        self._least = least_stored(float(least), outputs[self._scores])

    def decode(
        self, outputs: Sequence[NDArray[Any]], letterbox: Letterbox, size_wh: tuple[int, int]
    ) -> Detections:
        """Return boxes, best first; an anchor may hold boxes of several classes."""
        raw = outputs[self._scores][0]
        softmax = self._config.activation == "softmax"
        anchor, class_id, score = self._softmax(raw) if softmax else self._strong(raw)
        if not anchor.size:
            return Detections.empty()
        encoded = to_real(outputs[self._boxes][0, anchor], self._outputs[self._boxes])
        encoded = encoded.reshape(-1, 2, 2)[..., ::-1] / self._divisors
        sizes = self._sizes[anchor]
        centre = encoded[:, 0] * sizes + self._centres[anchor]
        size = np.exp(np.minimum(encoded[:, 1], LARGEST_LOG_SIZE)) * sizes
        return finish(
            (centre, size), score, class_id,
            iou=self._config.iou, letterbox=letterbox, size_wh=size_wh,
        )  # fmt: skip

    def _strong(self, raw: NDArray[Any]) -> Candidates:
        """Compare as stored; only what is strong becomes a real number."""
        np.greater_equal(raw, self._least, out=self._mask)
        self._mask[:, : self._first] = False
        anchor, column = np.divmod(np.flatnonzero(self._mask), raw.shape[1])
        score = to_real(raw[anchor, column], self._outputs[self._scores])
        if self._config.activation == "sigmoid":
            score = np.float32(1) / (np.float32(1) + np.exp(-score))
        return anchor, column - self._first, score

    def _softmax(self, raw: NDArray[Any]) -> Candidates:
        logits = to_real(raw, self._outputs[self._scores])
        anchor = np.arange(len(logits))
        if self._first:
            # A probability p leaves the background 1 - p at the most, so it stands
            # above it by logit(p) at the least: that spares most rows the exp.
            anchor = np.flatnonzero((logits[:, 1:].max(axis=1) - logits[:, 0]) >= self._min_logit)
        logits = logits[anchor]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        score = (powers / powers.sum(axis=1, keepdims=True))[:, self._first :]
        row, class_id = np.nonzero(score >= self._min_score)
        return anchor[row], class_id, score[row, class_id]


def _roles(
    spec: ModelSpec, outputs: Sequence[TensorSpec], anchors: int, name: str | None
) -> tuple[int, int]:
    """Return which output has the encodings and which the scores."""
    shapes = {i: t.shape for i, t in enumerate(outputs) if t.shape[:2] == (1, anchors)}
    boxes = [
        i for i, shape in shapes.items() if shape[2:] == (_BOX,) and name in (None, outputs[i].name)
    ]
    scores = [i for i, shape in shapes.items() if i not in boxes and len(shape) == _RANK]
    if len(boxes) != 1 or len(scores) != 1:
        found = ", ".join(f"{output.name} {output.shape}" for output in outputs)
        raise ModelError(
            f"{spec.path}: for its {anchors} anchors (options.anchors) it needs one output "
            f"(1, {anchors}, 4) and one (1, {anchors}, classes); there are {found}; "
            f"options.boxes names the first where the shapes do not tell"
        )
    return boxes[0], scores[0]
