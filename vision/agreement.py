"""Whether an accelerator finds what the CPU finds, in scenes drawn for that.

The raw outputs are compared before, in a child process (see `vision.litert.probe`). This
is the second look, at what those numbers mean: boxes, classes and scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from vision.errors import BackendError
from vision.geometry import iou_matrix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from vision.detection import Detections
    from vision.failover import Engine

_SIZE_WH = (480, 360)
# Least overlap and largest difference of scores, by the precision of the accelerator.
_LIMITS = {"fp32": (0.95, 0.02), "fp16": (0.8, 0.1), "int8": (0.8, 0.1)}


def check(accelerated: Engine, reference: Engine, min_score: float) -> None:
    """Compare what both engines find with at least `min_score`.

    Each box of one needs a box of the same class of the other, which may be a little
    below `min_score`, so that one on the very threshold is no disagreement.

    Raises:
        BackendError: With the box that one of them does not find.
    """
    info = accelerated.backend.info
    least_iou, score_slack = _LIMITS[info.precision]
    for scene in scenes():
        ours, theirs = _find(accelerated, scene), _find(reference, scene)
        for who, found, other in ((info.name, ours, theirs), ("cpu", theirs, ours)):
            alone = _unmatched(found, other, min_score, least_iou, score_slack)
            if alone is not None:
                label = accelerated.detector.labels[found.class_id[alone]]
                raise BackendError(
                    f"in a drawn scene only the {who} finds a {label} with score "
                    f"{found.score[alone]:.2f}: the outputs disagree"
                )


def scenes() -> Iterator[NDArray[np.uint8]]:
    """Yield (360, 480, 3) BGR pictures: faces drawn large and small, and a plain wall."""
    width, height = _SIZE_WH
    wall = np.full((height, width, 3), (190, 170, 150), np.uint8)
    yield wall
    for faces in (((150, 180, 90), (350, 190, 60)), ((240, 180, 120),)):
        scene = wall.copy()
        for x, y, radius in faces:
            _draw_face(scene, x, y, radius)
        yield cv2.GaussianBlur(scene, (5, 5), 0).astype(np.uint8, copy=False)


def _find(engine: Engine, scene: NDArray[np.uint8]) -> Detections:
    backend = engine.backend
    letterbox = engine.preprocess(scene, backend.input_view(0))
    backend.submit(0)
    return engine.detector.decode(backend.collect(0), letterbox, _SIZE_WH)


def _unmatched(
    found: Detections, other: Detections, min_score: float, least_iou: float, score_slack: float
) -> int | None:
    """Return the first box of `found` that `other` has not."""
    overlap = iou_matrix(found.xyxy, other.xyxy)
    same = found.class_id[:, None] == other.class_id
    near = np.abs(found.score[:, None] - other.score) <= score_slack
    matched = (same & near & (overlap >= least_iou)).any(axis=1)
    alone = np.flatnonzero((found.score >= min_score + score_slack) & ~matched)
    return int(alone[0]) if alone.size else None


def _draw_face(scene: NDArray[np.uint8], x: int, y: int, radius: int) -> None:
    def oval(
        at: tuple[float, float], axes: tuple[float, float], color: tuple[int, int, int],
        arc: tuple[int, int] = (0, 360),
    ) -> None:  # fmt: skip
        centre = (round(x + at[0] * radius), round(y + at[1] * radius))
        axes_px = (round(axes[0] * radius), round(axes[1] * radius))
        cv2.ellipse(scene, centre, axes_px, 0, *arc, color, cv2.FILLED, cv2.LINE_AA)

    oval((0, 0), (0.78, 1), (150, 180, 225))
    oval((0, -0.62), (0.8, 0.5), (40, 50, 60), (180, 360))
    for side in (-1, 1):
        oval((0.32 * side, -0.3), (0.2, 0.06), (50, 60, 70), (180, 360))
        oval((0.32 * side, -0.12), (0.15, 0.08), (245, 245, 245))
        oval((0.32 * side, -0.12), (0.07, 0.07), (50, 40, 30))
    oval((0, 0.15), (0.1, 0.14), (120, 150, 195), (0, 180))
    oval((0, 0.48), (0.28, 0.12), (90, 90, 190), (0, 180))
