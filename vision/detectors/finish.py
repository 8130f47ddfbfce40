"""The end that all decoders of raw boxes share: suppress, map back, clip."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vision.detection import Detections
from vision.geometry import clip_to_frame
from vision.nms import class_wise_nms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vision.geometry import Letterbox

# exp(8) times its anchor is far out of every picture: what lies beyond is only overflow.
LARGEST_LOG_SIZE = np.float32(8)


def finish(
    boxes: tuple[NDArray[np.float32], NDArray[np.float32]],
    score: NDArray[np.float32],
    class_id: NDArray[np.intp],
    *,
    iou: float,
    letterbox: Letterbox,
    size_wh: tuple[int, int],
) -> Detections:
    """Return candidates as detections, best first.

    Args:
        boxes: (N, 2) centres and (N, 2) sizes, in input pixels.
        score: (N,).
        class_id: (N,).
        iou: Boxes of a class that overlap by more are one object.
        letterbox: How the frame was laid into the input.
        size_wh: The frame's.
    """
    centre, size = boxes
    half = size * np.float32(0.5)
    xyxy = np.concatenate([centre - half, centre + half], axis=1)
    kept = class_wise_nms(xyxy, score, class_id, iou)
    in_frame = letterbox.inverse(xyxy[kept].reshape(-1, 2, 2)).reshape(-1, 4)
    clipped, inside = clip_to_frame(in_frame, size_wh)
    found = Detections(clipped, score[kept], class_id[kept].astype(np.int32))
    return found if inside.all() else found.select(inside)
