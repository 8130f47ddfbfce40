"""A classifier on its backend: pictures in, probabilities out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from vision.failover import Failover
    from vision.interfaces import BackendInfo, Classifier

_SLOT = 0  # one picture at a time


class PictureClassifier:
    """Runs a classifier on one picture after the other, in one thread."""

    def __init__(self, runner: Failover) -> None:
        self._runner = runner
        self.labels: Sequence[str] = runner.labels

    @property
    def info(self) -> BackendInfo:
        """What computes."""
        return self._runner.info

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the (C,) probabilities of an (H, W, 3) BGR picture."""
        outputs, written = self._runner.collect(self._runner.write(image, _SLOT), image)
        # The engine was made for a model whose task is `classify`.
        return cast("Classifier", written.engine.detector).probabilities(outputs)

    def close(self) -> None:
        """Free the model."""
        self._runner.close()


def crop(
    image: NDArray[np.uint8], xyxy: Sequence[float], region: Sequence[float] = (0, 0, 1, 1)
) -> NDArray[np.uint8]:
    """Return the part of a picture that a box covers, at least one pixel of it.

    Args:
        image: (H, W, 3).
        xyxy: The box, in pixels; what lies outside of the picture is left out.
        region: x1, y1, x2, y2 of the part of the box that counts, as fractions.
    """
    height, width = image.shape[:2]
    x, y, box_width, box_height = xyxy[0], xyxy[1], xyxy[2] - xyxy[0], xyxy[3] - xyxy[1]
    left, right = _pixels(x + region[0] * box_width, x + region[2] * box_width, width)
    top, bottom = _pixels(y + region[1] * box_height, y + region[3] * box_height, height)
    return image[top:bottom, left:right]


def _pixels(start: float, end: float, limit: int) -> tuple[int, int]:
    first = min(max(math.floor(start), 0), limit - 1)
    return first, max(first + 1, min(math.ceil(end), limit))
