"""YOLOX with its raw head: offsets and logarithmic sizes on three grids.

Source: Ge et al., "YOLOX: Exceeding YOLO Series in 2021", and its `decode_outputs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vision.detection import Detections
from vision.detectors.finish import LARGEST_LOG_SIZE, finish
from vision.detectors.objectness import FIRST_CLASS, ObjectRows
from vision.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vision.geometry import Letterbox
    from vision.interfaces import TensorSpec
    from vision.model_spec import ModelSpec


class YoloxConfig(BaseModel):
    """The grids."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strides: tuple[int, ...] = Field(default=(8, 16, 32), min_length=1)
    iou: float = Field(default=0.45, gt=0, le=1)
    """Boxes of a class that overlap by more are one object."""


class Yolox:
    """Decodes one output (1, N, 5 + C): N cells of all grids, C classes.

    A head that decodes by itself gives pixels: that is what `yolo-rows` reads.

    Raises:
        ModelError: If the output does not fit the grids.
    """

    Config = YoloxConfig

    def __init__(
        self,
        config: YoloxConfig,
        *,
        spec: ModelSpec,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        min_score: float,
    ) -> None:
        cells = grid_cells(inputs[0].picture_wh, config.strides)
        shape = outputs[0].shape
        if len(outputs) != 1 or shape[:2] != (1, len(cells)) or shape[2:] < (FIRST_CLASS + 1,):
            raise ModelError(
                f"{spec.path}: not a YOLOX of strides {config.strides}: expected one output "
                f"(1, {len(cells)}, 5 + classes), found {[output.shape for output in outputs]}"
            )
        self._origins, self._strides = cells[:, :2], cells[:, 2:]
        self._rows = ObjectRows(outputs[0], min_score)
        self._iou = config.iou
        self.labels = spec.named(shape[2] - FIRST_CLASS)

    def decode(
        self, outputs: Sequence[NDArray[Any]], letterbox: Letterbox, size_wh: tuple[int, int]
    ) -> Detections:
        """Return boxes, best first."""
        row, box, score, class_id = self._rows(outputs[0])
        if not row.size:
            return Detections.empty()
        strides = self._strides[row]
        centre = (box[:, :2] + self._origins[row]) * strides
        size = np.exp(np.minimum(box[:, 2:], LARGEST_LOG_SIZE)) * strides
        return finish(
            (centre, size), score, class_id,
            iou=self._iou, letterbox=letterbox, size_wh=size_wh,
        )  # fmt: skip


def grid_cells(input_wh: tuple[int, int], strides: Sequence[int]) -> NDArray[np.float32]:
    """Return (N, 3): column, row and stride of every cell, row by row, grid by grid."""
    grids = []
    for stride in strides:
        x, y = np.meshgrid(np.arange(input_wh[0] // stride), np.arange(input_wh[1] // stride))
        grids.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1))
    cells: NDArray[np.float32] = np.concatenate(grids).astype(np.float32)
    return cells
