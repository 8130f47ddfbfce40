"""A camera made of one picture: pans and zooms over it at a given size and rate."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict

from vision.clock import FrameClock
from vision.frame import Frame, FramePool, frozen_view
from vision.picture import read_picture

_PERIOD_S = 8.0
_ZOOM = 0.25  # how far it zooms in, as a part of the picture


class StillConfig(BaseModel):
    """The picture, and the camera that it plays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    size_wh: tuple[int, int] = (640, 480)
    fps: float = 30.0
    live: bool = True


class StillSource:
    """Plays a camera for demonstrations, tests and benchmarks; frame n is always the same."""

    Config = StillConfig

    def __init__(self, config: StillConfig, *, camera: str) -> None:
        self.live = config.live
        self._config = config
        self._camera = camera
        self._pool = FramePool()
        self._picture = np.empty((0, 0, 3), np.uint8)
        self._clock = FrameClock(config.fps, live=config.live)
        self._next_id = 0

    def open(self) -> None:
        """Load the picture; raises SourceError."""
        path = Path(self._config.path)
        self._picture = read_picture(path)
        self._clock = FrameClock(
            self._config.fps, live=self.live, file_unix_ns=path.stat().st_mtime_ns
        )

    def read(self) -> Frame:
        """Return the next frame, waiting for its time where the camera is live."""
        frame_id, self._next_id = self._next_id, self._next_id + 1
        image = self._pool.acquire(self._config.size_wh)
        cv2.warpAffine(
            self._picture, self._view(frame_id / self._config.fps), self._config.size_wh,
            dst=image, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        captured_ns, unix_ns, read_ns = self._clock.stamp(frame_id)
        return Frame(frozen_view(image), frame_id, captured_ns, unix_ns, self._camera, read_ns)

    def _view(self, seconds: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """Return the (2, 3) map from the picture to the frame at this moment."""
        width, height = self._config.size_wh
        picture_height, picture_width = self._picture.shape[:2]
        phase = 2 * math.pi * seconds / _PERIOD_S
        # The window is the largest that the frame's ratio allows, less the zoom of this moment.
        window = 1 - _ZOOM * (0.5 - 0.5 * math.cos(phase))
        scale = max(width / picture_width, height / picture_height) / window
        slack_x = picture_width * scale - width
        slack_y = picture_height * scale - height
        x = slack_x * (0.5 + 0.5 * math.sin(phase))
        y = slack_y * (0.5 - 0.25 * math.sin(phase))
        return np.array([[scale, 0, -x], [0, scale, -y]])

    def close(self) -> None:
        """Nothing is held open."""
