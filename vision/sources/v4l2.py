"""A camera behind `/dev/video*`, through OpenCV's V4L2."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
from pydantic import BaseModel, ConfigDict

from vision.errors import SourceError
from vision.frame import Frame, FramePool, frozen_view


class V4l2Config(BaseModel):
    """A device and what to ask of it; None leaves the driver's choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str
    """A path such as `/dev/video0`."""
    size_wh: tuple[int, int] | None = None
    fps: float | None = None


class V4l2Source:
    """Reads a V4L2 camera; MJPG first, since USB has no room for raw 720p at 30 fps."""

    Config = V4l2Config
    live = True

    def __init__(self, config: V4l2Config, *, camera: str) -> None:
        self._config = config
        self._camera = camera
        self._capture: cv2.VideoCapture | None = None
        self._pool = FramePool()
        self._size_wh = config.size_wh or (640, 480)
        self._next_id = 0

    def open(self) -> None:
        """Open the device; raises SourceError."""
        device = Path(self._config.device)
        if not device.exists():
            found = ", ".join(sorted(str(p) for p in Path("/dev").glob("video*"))) or "none"
            raise SourceError(
                f"camera {self._camera}: {device} does not exist (cameras here: {found}); "
                f"plug it in or set cameras.{self._camera}.source"
            )
        if not os.access(device, os.R_OK | os.W_OK):
            raise SourceError(
                f"camera {self._camera}: no permission for {device}; join its group: "
                f"sudo usermod -aG video $USER, then log in again"
            )
        capture = cv2.VideoCapture(str(device), cv2.CAP_V4L2)
        if not capture.isOpened():
            raise SourceError(
                f"camera {self._camera}: {device} does not open as a camera; "
                f"another program may hold it, or it is not a capture device"
            )
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if self._config.size_wh is not None:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._config.size_wh[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._config.size_wh[1])
        if self._config.fps is not None:
            capture.set(cv2.CAP_PROP_FPS, self._config.fps)
        self._size_wh = (
            int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        )
        self._capture = capture

    def read(self) -> Frame:
        """Block for the next frame; raises SourceError when the camera is gone."""
        if self._capture is None:
            raise SourceError(f"camera {self._camera}: read before open")
        ok, image = self._capture.read(self._pool.acquire(self._size_wh))
        now_ns = time.monotonic_ns()
        if not ok:
            raise SourceError(
                f"camera {self._camera}: {self._config.device} gives no more frames; "
                f"is it still plugged in?"
            )
        frame_id, self._next_id = self._next_id, self._next_id + 1
        return Frame(
            frozen_view(image), frame_id, now_ns, time.time_ns(), self._camera, now_ns
        )  # fmt: skip

    def close(self) -> None:
        """Give the device back."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
