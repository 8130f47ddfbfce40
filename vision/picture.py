"""Reading one picture from a file, with the reason where that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from vision.errors import SourceError
from vision.frame import frozen_view

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return a picture as (H, W, 3) uint8 BGR, read-only, turned as its EXIF says.

    Raises:
        SourceError: If the file cannot be read or is no picture.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    if not data.size:
        raise SourceError(f"{path} is empty; give a picture")
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:  # a picture beyond OpenCV's own limits
        raise SourceError(f"{path}: {error.err or 'too large'}; give a smaller picture") from error
    if image is None:
        raise SourceError(f"{path} is not a picture, or is damaged")
    return frozen_view(image)
