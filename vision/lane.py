"""One model in one camera's line: its free slots, and its boxes in the line's classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vision.detection import Detections
from vision.runtime.mailbox import Mailbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vision.failover import Failover, Written
    from vision.interfaces import BackendInfo


class Lane:
    """Writes frames into one model and reads boxes out of it.

    Args:
        name: The detector's, in the configuration.
        runner: Runs the model.
        labels: Of the classes that this model finds.
        class_ids: (C,) int32, from the detector's class to the line's; -1 drops it.
        max_detections: The best so many are kept; None keeps all.
    """

    def __init__(
        self,
        name: str,
        runner: Failover,
        *,
        labels: Sequence[str],
        class_ids: NDArray[np.int32],
        max_detections: int | None = None,
    ) -> None:
        self.name = name
        self.labels = frozenset(labels)
        self.slots, self.queues = runner.slots, runner.queues
        self._runner = runner
        # None where the model's classes are the line's: one model on the camera.
        same = np.array_equal(class_ids, np.arange(len(class_ids)))
        self._class_ids = None if same else class_ids
        self._max_detections = max_detections
        self._free: Mailbox[int] = Mailbox(f"{name} slots", self.slots, latest=False)
        for slot in range(self.slots):
            self._free.put(slot)

    @property
    def info(self) -> BackendInfo:
        """What computes."""
        return self._runner.info

    def claim(self) -> int:
        """Wait for a free slot; raises Closed when the line ends."""
        return self._free.get()

    def release(self, slot: int) -> None:
        """Give a slot back."""
        self._free.put(slot)

    def write(self, image: NDArray[np.uint8], slot: int) -> Written:
        """Preprocess `image` into `slot` and submit it."""
        return self._runner.write(image, slot)

    def collect(
        self, written: Written, image: NDArray[np.uint8]
    ) -> tuple[Sequence[NDArray[Any]], Written]:
        """Wait for the outputs of `image`; see `Failover.collect`."""
        return self._runner.collect(written, image)

    def decode(
        self, outputs: Sequence[NDArray[Any]], written: Written, size_wh: tuple[int, int]
    ) -> Detections:
        """Return boxes with the line's class ids."""
        found = written.engine.detector.decode(outputs, written.letterbox, size_wh)
        if self._class_ids is not None and len(found):
            class_id = self._class_ids[found.class_id]
            found = Detections(found.xyxy, found.score, class_id, found.keypoints)
            found = found.select(class_id >= 0)
        if self._max_detections is not None and len(found) > self._max_detections:
            best = np.argsort(-found.score, kind="stable")[: self._max_detections]
            found = found.select(np.sort(best))
        return found

    def close(self) -> None:
        """Free the model and wake whoever waits for a slot."""
        self._free.close()
        self._runner.close()


def merge(parts: Sequence[Detections]) -> Detections:
    """Return all boxes of a frame together; missing keypoints are NaN."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return Detections.empty()
    if len(parts) == 1:
        return parts[0]
    widths = [0 if part.keypoints is None else part.keypoints.shape[1] for part in parts]
    keypoints = None
    if any(widths):
        keypoints = np.full((sum(map(len, parts)), max(widths), 2), np.nan, np.float32)
        row = 0
        for part, width in zip(parts, widths, strict=True):
            if part.keypoints is not None:
                keypoints[row : row + len(part), :width] = part.keypoints
            row += len(part)
    return Detections(
        np.concatenate([part.xyxy for part in parts]),
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.class_id for part in parts]),
        keypoints,
    )
