"""Boxes that a detector found, and boxes that a tracker follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from vision.classification import ClassScore


_FLOAT = np.dtype(np.float32)
_INT = np.dtype(np.int32)


def _check(name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"{name}: expected shape {shape} {dtype.name}, got {array.shape} {array.dtype.name}"
        )


@dataclass(frozen=True, slots=True)
class Detections:
    """N boxes of one frame.

    Attributes:
        xyxy: (N, 4) float32, source-frame pixels, x1 < x2 and y1 < y2.
        score: (N,) float32 in 0…1.
        class_id: (N,) int32, index into the detector's labels.
        keypoints: (N, K, 2) float32 pixels, or None where the model has none.

    Raises:
        ValueError: If a shape or dtype is another; the message has both.
    """

    xyxy: NDArray[np.float32]
    score: NDArray[np.float32]
    class_id: NDArray[np.int32]
    keypoints: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        n = len(self.xyxy)
        _check("xyxy", self.xyxy, (n, 4), _FLOAT)
        _check("score", self.score, (n,), _FLOAT)
        _check("class_id", self.class_id, (n,), _INT)
        if self.keypoints is not None:
            k = self.keypoints.shape[1] if self.keypoints.ndim > 1 else 0
            _check("keypoints", self.keypoints, (n, k, 2), _FLOAT)

    def __len__(self) -> int:
        return len(self.xyxy)

    def select(self, index: NDArray[np.bool_] | NDArray[np.intp]) -> Detections:
        """Return the boxes that a mask or index array picks."""
        return Detections(
            self.xyxy[index],
            self.score[index],
            self.class_id[index],
            None if self.keypoints is None else self.keypoints[index],
        )

    @staticmethod
    def empty() -> Detections:
        """Return no boxes."""
        return _EMPTY


_EMPTY = Detections(
    np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32), None
)


@dataclass(frozen=True, slots=True)
class Track:
    """One object followed over frames.

    Attributes:
        track_id: Counts from 1 for each camera, never used again.
        xyxy: (4,) float32, source-frame pixels, at this frame.
        score: Of the newest detection that matched, 0…1.
        class_id: Index into the line's labels.
        label: The name of that class.
        hits: Detections matched so far.
        frames_since_update: 0 where a detection of this very frame matched.
        first_seen_ns: `captured_ns` of the first detection.
        classes: What classifiers say of it, by their names, best class first.
    """

    track_id: int
    xyxy: NDArray[np.float32]
    score: float
    class_id: int
    label: str
    hits: int
    frames_since_update: int
    first_seen_ns: int
    classes: Mapping[str, tuple[ClassScore, ...]] = field(default_factory=dict)
