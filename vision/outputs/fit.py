"""A whole picture in a frame of another shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def fit_on_black(image: NDArray[np.uint8], canvas: NDArray[np.uint8]) -> None:
    """Draw `image` (h, w, 3) as large as it fits into the middle of `canvas` (H, W, 3)."""
    height, width = canvas.shape[:2]
    scale = min(width / image.shape[1], height / image.shape[0])
    fit_wh = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    x, y = (width - fit_wh[0]) // 2, (height - fit_wh[1]) // 2
    if fit_wh != (width, height):
        canvas[:] = 0
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    cv2.resize(
        image, fit_wh, dst=canvas[y : y + fit_wh[1], x : x + fit_wh[0]], interpolation=method
    )
