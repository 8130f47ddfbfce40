"""What must be known of a model besides its `.tflite`: a catalogue entry or a sidecar."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (pydantic resolves it at run time)
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class InputSpec(BaseModel):
    """How a frame becomes the model's input, as it was trained.

    `normalize` maps a pixel p of 0…255 to (p - mean) / std in real numbers; a
    quantised input is quantised from there by the tensor's own scale.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fit: Literal["letterbox", "stretch", "warp"] = "stretch"
    """`letterbox` keeps the ratio and pads the rest; the others fill the input, `stretch` by
    `cv2.resize`, `warp` without its half-pixel shift, as TensorFlow 1 resized."""
    pad: Literal["center", "corner"] = "center"
    """Where a letterbox puts the picture: in the middle by MediaPipe's own warp, or into
    the corner at top left by `cv2.resize`, as YOLOX and EfficientDet do."""
    pad_value: int = Field(default=0, ge=0, le=255)
    """Of a letterbox's border, as a pixel."""
    color: Literal["rgb", "bgr"] = "rgb"
    mean: float = 127.5
    std: float = Field(default=127.5, gt=0)


class ModelSpec(BaseModel):
    """A model file and everything its detector needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    path: Path
    sha256: str
    task: Literal["detect", "classify", "embed"] = "detect"
    decoder: str
    """A name in the registry's table of detectors."""
    input: InputSpec = InputSpec()
    labels: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    """From the TFLite metadata, in the order of the outputs; empty where there is none."""
    total_ops: int = 0
    """Operations in the file; 0 where it was not looked into."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The decoder's own section (anchors and thresholds)."""

    def named(self, count: int) -> tuple[str, ...]:
        """Return at least `count` labels; where the model has no name, `class N`."""
        return self.labels + tuple(f"class {n}" for n in range(len(self.labels), count))
