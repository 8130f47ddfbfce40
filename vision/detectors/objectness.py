"""Rows of x, y, w, h, objectness and class scores, as YOLO heads up to YOLOX have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vision.quantized import least_stored, to_real

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vision.interfaces import TensorSpec

BOX = 4
FIRST_CLASS = 5


class ObjectRows:
    """Picks the rows that are worth decoding, and decodes nothing else.

    Args:
        tensor: The output, (1, N, 5 + C).
        min_score: Of objectness times class score.
    """

    def __init__(self, tensor: TensorSpec, min_score: float) -> None:
        self._tensor = tensor
        self._min_score = np.float32(min_score)
        self._least = least_stored(min_score, tensor)

    def __call__(
        self, output: NDArray[Any]
    ) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
        """Return row numbers, (K, 4) boxes, (K,) scores and (K,) best classes."""
        # No class score is above 1, so a weak objectness rules a row out by itself.
        row = np.flatnonzero(output[0, :, BOX] >= self._least)
        real = to_real(output[0, row], self._tensor)
        class_id = real[:, FIRST_CLASS:].argmax(axis=1)
        score = real[np.arange(len(row)), class_id + FIRST_CLASS] * real[:, BOX]
        strong = np.flatnonzero(score >= self._min_score)
        return row[strong], real[strong, :BOX], score[strong], class_id[strong]
