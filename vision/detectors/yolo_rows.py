"""Rows that the model has decoded itself: YOLOv5's, YOLOv8's and their kin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vision.detection import Detections
from vision.detectors.finish import finish
from vision.detectors.objectness import BOX, FIRST_CLASS, ObjectRows
from vision.errors import ModelError
from vision.quantized import least_stored, to_real

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from vision.geometry import Letterbox
    from vision.interfaces import TensorSpec
    from vision.model_spec import ModelSpec

    Rows = tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]

_RANK = 3


class YoloRowsConfig(BaseModel):
    """How the rows are laid out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: Literal["v5", "v8"]
    """`v5`: (1, N, 5 + C), x, y, w, h, objectness, classes. `v8`: (1, 4 + C, N), without
    objectness, also YOLO11's."""
    coordinates: Literal["normalized", "pixels"] = "normalized"
    """Of the input: fractions, or pixels."""
    iou: float = Field(default=0.45, gt=0, le=1)
    """Boxes of a class that overlap by more are one object."""


class YoloRows:
    """Decodes one output of rows.

    Raises:
        ModelError: If the output is no such rows.
    """

    Config = YoloRowsConfig

    def __init__(
        self,
        config: YoloRowsConfig,
        *,
        spec: ModelSpec,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        min_score: float,
    ) -> None:
        output = outputs[0]
        first, axis = (FIRST_CLASS, 2) if config.layout == "v5" else (BOX, 1)
        if len(outputs) != 1 or len(output.shape) != _RANK or output.shape[axis] <= first:
            shape = "(1, N, 5 + classes)" if config.layout == "v5" else "(1, 4 + classes, N)"
            raise ModelError(
                f"{spec.path}: no rows of layout {config.layout}: expected one output {shape}, "
                f"found {[each.shape for each in outputs]}"
            )
        self.labels = spec.named(output.shape[axis] - first)
        self._iou = config.iou
        unit = inputs[0].picture_wh if config.coordinates == "normalized" else (1, 1)
        self._unit = np.array(unit, np.float32)
        self._rows: Callable[[NDArray[Any]], Rows] = (
            ObjectRows(output, min_score) if config.layout == "v5" else _Columns(output, min_score)
        )

    def decode(
        self, outputs: Sequence[NDArray[Any]], letterbox: Letterbox, size_wh: tuple[int, int]
    ) -> Detections:
        """Return boxes, best first."""
        row, box, score, class_id = self._rows(outputs[0])
        if not row.size:
            return Detections.empty()
        return finish(
            (box[:, :2] * self._unit, box[:, 2:] * self._unit), score, class_id,
            iou=self._iou, letterbox=letterbox, size_wh=size_wh,
        )  # fmt: skip


class _Columns:
    """Picks from (1, 4 + C, N), where a candidate is a column."""

    def __init__(self, tensor: TensorSpec, min_score: float) -> None:
        self._tensor = tensor
        self._least = least_stored(min_score, tensor)

    def __call__(self, output: NDArray[Any]) -> Rows:
        classes = output[0, BOX:]
        column = np.flatnonzero(classes.max(axis=0) >= self._least)
        class_id = classes[:, column].argmax(axis=0)
        score = to_real(classes[class_id, column], self._tensor)
        return column, to_real(output[0, :BOX, column], self._tensor), score, class_id
