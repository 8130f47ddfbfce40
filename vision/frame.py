"""A frame, what was found in it, and the memory frames live in."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from vision.classification import ClassScore
    from vision.detection import Detections, Track
    from vision.event import Event


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of one camera.

    Attributes:
        image: (H, W, 3) uint8 BGR, read-only.
        frame_id: Counts from 0 for each camera.
        captured_ns: When the light fell in, on a monotonic clock; in a file, the
            position in the file. All logic takes its time differences from here.
        unix_ns: Wall clock at capture; for reports only.
        camera: The camera's name in the configuration.
        read_ns: `time.monotonic_ns()` when the picture was in hand. Equal to
            `captured_ns` on a live camera; the zero point of reported latencies.
    """

    image: NDArray[np.uint8]
    frame_id: int
    captured_ns: int
    unix_ns: int
    camera: str
    read_ns: int

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.image.shape[:2]
        return width, height


@dataclass(frozen=True, slots=True)
class Result:
    """What the detectors, the tracker and the rules say about one frame.

    Attributes:
        frame: The frame that everything here was computed from.
        detections: All detectors' boxes, in source-frame pixels.
        tracks: Confirmed and tentative tracks after this frame.
        events: What the rules said at this frame.
        timings_ns: Duration by stage.
        classes: What classifiers say of the frame or a region of it, by their names.
    """

    frame: Frame
    detections: Detections
    tracks: tuple[Track, ...]
    events: tuple[Event, ...]
    timings_ns: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, tuple[ClassScore, ...]] = field(default_factory=dict)


# A pool's buffer that nobody else looks at has these references: the pool's
# list, the loop variable, and getrefcount's own argument.
_IDLE_REFERENCES = 3


class FramePool:
    """Hands out picture buffers and takes each back when nobody looks at it.

    numpy keeps every view's owner alive and knows only one owner, so a buffer
    whose reference count is at rest is seen by nobody: no release call, no frame
    overwritten while a stage, a test or a slice of it still holds on.
    """

    def __init__(self) -> None:
        self._buffers: list[NDArray[np.uint8]] = []

    def acquire(self, size_wh: tuple[int, int]) -> NDArray[np.uint8]:
        """Return a writable (H, W, 3) uint8 buffer with unspecified content."""
        shape = (size_wh[1], size_wh[0], 3)
        if self._buffers and self._buffers[0].shape != shape:
            self._buffers.clear()
        for buffer in self._buffers:
            if sys.getrefcount(buffer) == _IDLE_REFERENCES:
                return buffer
        buffer = np.empty(shape, np.uint8)
        self._buffers.append(buffer)
        return buffer

    def __len__(self) -> int:
        return len(self._buffers)


def frozen_view(picture: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a read-only view of a uint8 picture (OpenCV's stubs do not tell its dtype)."""
    view: NDArray[np.uint8] = picture.view()
    view.flags.writeable = False
    return view
