"""Records the drawn pictures as a video file."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from vision.errors import StageError
from vision.outputs.fit import fit_on_black

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vision.frame import Result

_log = logging.getLogger(__name__)

_SPARE_BYTES = 1 << 20
_INDEX_BYTES = 64
"""More than any container writes about one frame when it is closed."""
_SMALLEST_PX = 2


class VideoConfig(BaseModel):
    """The section `{type: video}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    """Its suffix chooses the container; `{camera}` stands for the camera's name."""
    fps: PositiveFloat = 30.0
    """At which the file plays, whatever the rate at which pictures come."""
    codec: str = Field(default="mp4v", pattern=r"^[A-Za-z0-9]{4}$")


class VideoOutput:
    """A video of the first picture's size; others are fitted into it on black.

    It is written as `NAME.part.SUFFIX` and gets its name when it is closed and whole.
    A recording stops while the disk still has room for the container's end, without
    which nothing of it would play.

    Args:
        config: Its section.
        camera: The camera's name.
    """

    Config = VideoConfig

    def __init__(self, config: VideoConfig, *, camera: str) -> None:
        self._config = config
        self._path = Path(config.path.replace("{camera}", camera))
        self._part = self._path.with_suffix(f".part{self._path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._canvas = np.zeros((0, 0, 3), np.uint8)
        self._frames = 0

    def open(self) -> None:
        """Make the folder and an empty file, the first picture does the rest."""
        try:
            self._part.parent.mkdir(parents=True, exist_ok=True)
            self._part.write_bytes(b"")
        except OSError as error:
            raise StageError(f"recording {self._path}: {error.strerror}") from error

    def write(self, image: NDArray[np.uint8], result: Result) -> bool:  # noqa: ARG002
        """Append a (H, W, 3) BGR picture; raises StageError."""
        if self._writer is None:
            self._writer = self._start(image)
        self._check_room(image.nbytes)
        self._writer.write(self._fitted(image))
        self._frames += 1
        return True

    def close(self) -> None:
        """Finish the file and give it its name."""
        if self._writer is None:
            with contextlib.suppress(OSError):  # `open` has said it
                self._part.unlink(missing_ok=True)
            return
        self._writer.release()
        self._writer = None
        if not _plays(self._part):
            _log.error("recording %s is damaged and does not play: see %s", self._path, self._part)
            return
        try:
            self._part.replace(self._path)
        except OSError as error:
            _log.error("recording %s stays %s: %s", self._path, self._part, error.strerror)

    def _start(self, image: NDArray[np.uint8]) -> cv2.VideoWriter:
        height, width = (max(_SMALLEST_PX, side) for side in image.shape[:2])
        self._canvas = np.zeros((height, width, 3), np.uint8)
        self._frames = 0
        codec = cv2.VideoWriter.fourcc(*self._config.codec)
        writer = cv2.VideoWriter(
            str(self._part), cv2.CAP_FFMPEG, codec, self._config.fps, (width, height)
        )
        if not writer.isOpened():
            raise StageError(
                f"recording {self._path}: cannot write codec {self._config.codec!r} at "
                f"{width}x{height} there; `mp4v` in .mp4 and `MJPG` in .avi always work"
            )
        return writer

    def _check_room(self, frame_bytes: int) -> None:
        """Raise before the disk is full: FFmpeg itself only loses the frame in silence."""
        try:
            disk = os.statvfs(self._part)
        except OSError as error:
            raise StageError(f"recording {self._part}: {error.strerror}") from error
        needed = frame_bytes + _INDEX_BYTES * self._frames + _SPARE_BYTES
        if disk.f_bavail * disk.f_frsize < needed:
            raise StageError(
                f"recording {self._path}: the disk is full after {self._frames} frames"
            )

    def _fitted(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if image.shape == self._canvas.shape:
            return image
        fit_on_black(image, self._canvas)
        return self._canvas


def _plays(path: Path) -> bool:
    video = cv2.VideoCapture(str(path))
    try:
        return video.read()[0]
    finally:
        video.release()
