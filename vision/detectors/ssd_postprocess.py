"""SSD with `TFLite_Detection_PostProcess` inside: boxes, classes, scores and a count."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from vision.detection import Detections
from vision.errors import ModelError
from vision.geometry import clip_to_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vision.geometry import Letterbox
    from vision.interfaces import TensorSpec
    from vision.model_spec import ModelSpec

_METADATA_NAMES = {
    "location": "boxes",
    "category": "classes",
    "score": "scores",
    "number of detections": "count",
}
# The op's own outputs: the tensor's name, then :1, :2 and :3.
_OP_NAME = re.compile(r"TFLite_Detection_PostProcess(?::(\d))?$")
_OP_ORDER = ("boxes", "classes", "scores", "count")


class SsdPostprocessConfig(BaseModel):
    """Nothing to set: the op inside the model has decoded and suppressed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SsdPostprocess:
    """Reads the op's outputs, found by metadata or by name, never by position.

    Raises:
        ModelError: If an output is missing, or has no name that tells what it is.
    """

    Config = SsdPostprocessConfig

    def __init__(
        self,
        config: SsdPostprocessConfig,  # noqa: ARG002  (a plug-in's uniform call)
        *,
        spec: ModelSpec,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        min_score: float,
    ) -> None:
        roles = output_roles(spec, outputs)
        missing = sorted(set(_OP_ORDER) - roles.keys())
        if missing:
            names = [output.name for output in outputs]
            raise ModelError(
                f"{spec.path}: no output for {', '.join(missing)} among {names}; the model needs "
                f"TFLite metadata, or `output_names` in its sidecar"
            )
        self._roles = roles
        self._input_wh = np.array(inputs[0].picture_wh, np.float32)
        self.labels = spec.labels
        self._min_score = np.float32(min_score)

    def decode(
        self,
        outputs: Sequence[NDArray[np.float32]],
        letterbox: Letterbox,
        size_wh: tuple[int, int],
    ) -> Detections:
        """Return boxes in the order of the model: best first."""
        count = int(outputs[self._roles["count"]].ravel()[0])
        score = outputs[self._roles["scores"]][0, :count]
        strong = np.flatnonzero(score >= self._min_score)
        if not strong.size:
            return Detections.empty()
        corners = outputs[self._roles["boxes"]][0, strong].reshape(-1, 2, 2)[..., ::-1]
        xyxy = letterbox.inverse(corners * self._input_wh).reshape(-1, 4)
        clipped, inside = clip_to_frame(xyxy, size_wh)
        classes = outputs[self._roles["classes"]][0, strong].astype(np.int32)
        return Detections(clipped[inside], score[strong][inside].copy(), classes[inside])


def output_roles(spec: ModelSpec, outputs: Sequence[TensorSpec]) -> dict[str, int]:
    """Return which output is the boxes, classes, scores and count.

    The metadata's names come in the order of the model's outputs; without them the
    op's own tensor names tell.
    """
    if len(spec.output_names) == len(outputs):
        named = {
            _METADATA_NAMES[name.lower()]: index
            for index, name in enumerate(spec.output_names)
            if name.lower() in _METADATA_NAMES
        }
        if len(named) == len(_OP_ORDER):
            return named
    matches = [_OP_NAME.match(output.name) for output in outputs]
    return {_OP_ORDER[int(m.group(1) or 0)]: i for i, m in enumerate(matches) if m is not None}
