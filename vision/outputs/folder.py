"""Saves every drawn picture as a file of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
from pydantic import BaseModel, ConfigDict, Field

from vision.errors import StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vision.frame import Result


class FolderConfig(BaseModel):
    """The section `{type: folder}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    format: Literal["jpg", "png"] = "jpg"
    quality: int = Field(default=90, ge=1, le=100)
    """Of JPEG."""


class FolderOutput:
    """Pictures `<camera>-<frame_id>.jpg` in a folder, which is made where it is missing.

    Args:
        config: Its section.
        camera: The camera's name.
    """

    Config = FolderConfig

    def __init__(self, config: FolderConfig, *, camera: str) -> None:
        self._folder = Path(config.path)
        self._camera = camera
        self._suffix = f".{config.format}"
        self._options = [cv2.IMWRITE_JPEG_QUALITY, config.quality] if config.format == "jpg" else []

    def open(self) -> None:
        """Make the folder; raises StageError."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StageError(f"pictures folder {self._folder}: {error.strerror}") from error

    def write(self, image: NDArray[np.uint8], result: Result) -> bool:
        """Save a (H, W, 3) BGR picture; raises StageError, and then leaves no half of one."""
        path = self._folder / f"{self._camera}-{result.frame.frame_id:08d}{self._suffix}"
        part = path.with_name(f".{path.name}.part")
        # Encoded in memory: `cv2.imwrite` would only say that it failed, not why.
        try:
            done, data = cv2.imencode(self._suffix, image, self._options)
        except cv2.error:  # what older versions say of too large a picture
            done = False
        if not done:
            height, width = image.shape[:2]
            raise StageError(f"picture {path}: {self._suffix} cannot hold {width}x{height} pixels")
        try:
            part.write_bytes(data.tobytes())
            os.replace(part, path)  # noqa: PTH105
        except OSError as error:
            part.unlink(missing_ok=True)
            raise StageError(
                f"picture {path}: {error.strerror}; make room or choose another path"
            ) from error
        return True

    def close(self) -> None:
        """Nothing is open between two pictures."""
