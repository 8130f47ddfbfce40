"""A video file: every frame counts, unless `live` paces it like a camera."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
from pydantic import BaseModel, ConfigDict

from vision.clock import FrameClock
from vision.errors import EndOfStream, SourceError
from vision.frame import Frame, FramePool, frozen_view

_DEFAULT_FPS = 25.0
_MAX_FPS = 1000.0
_COUNT_SLACK = 0.9  # containers only estimate their frame count


class VideoConfig(BaseModel):
    """A file that FFmpeg can read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    fps: float | None = None
    """None takes the file's own rate."""
    live: bool = False
    loop: bool = False
    """Start again at the end, for ever."""


class VideoSource:
    """Reads a video file frame for frame; the same file gives the same frames."""

    Config = VideoConfig

    def __init__(self, config: VideoConfig, *, camera: str) -> None:
        self.live = config.live
        self._config = config
        self._camera = camera
        self._capture: cv2.VideoCapture | None = None
        self._pool = FramePool()
        self._size_wh = (0, 0)
        self._clock = FrameClock(_DEFAULT_FPS, live=config.live)
        self._next_id = self._first_id = 0

    def open(self) -> None:
        """Open the file; raises SourceError."""
        path = Path(self._config.path)
        try:
            with path.open("rb") as file:  # to have the system's reason where it cannot be read
                status = os.fstat(file.fileno())
        except OSError as error:
            raise SourceError(f"camera {self._camera}: {path}: {error.strerror}") from error
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise SourceError(
                f"camera {self._camera}: {path} is {'no video' if status.st_size else 'empty'}; "
                f"give a video file, a folder of pictures or still:PICTURE"
            )
        self._capture = capture
        own_fps = capture.get(cv2.CAP_PROP_FPS)
        fps = self._config.fps or (own_fps if 0 < own_fps <= _MAX_FPS else _DEFAULT_FPS)
        self._clock = FrameClock(fps, live=self.live, file_unix_ns=status.st_mtime_ns)
        self._size_wh = (
            int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        )

    def read(self) -> Frame:
        """Return the next frame; raises EndOfStream, or SourceError if the file is cut short."""
        if self._capture is None:
            raise SourceError(f"camera {self._camera}: read before open")
        ok, image = self._capture.read(self._pool.acquire(self._size_wh))
        if not ok:
            self._check_complete()
            if not self._config.loop:
                raise EndOfStream
            return self._from_the_start()
        frame_id, self._next_id = self._next_id, self._next_id + 1
        captured_ns, unix_ns, read_ns = self._clock.stamp(frame_id)
        return Frame(frozen_view(image), frame_id, captured_ns, unix_ns, self._camera, read_ns)

    def _from_the_start(self) -> Frame:
        clock = self._clock
        self.close()
        self.open()
        self._clock, self._first_id = clock, self._next_id
        return self.read()

    def _check_complete(self) -> None:
        expected = self._capture.get(cv2.CAP_PROP_FRAME_COUNT) if self._capture else 0
        frames = self._next_id - self._first_id
        if frames == 0 or frames < expected * _COUNT_SLACK:
            raise SourceError(
                f"camera {self._camera}: {self._config.path} ended after {frames} of "
                f"{max(0, expected):.0f} frames: it is cut short or damaged"
            )

    def close(self) -> None:
        """Close the file."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
