"""A frame into a model's input: one pass, in place, nothing allocated a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from vision.errors import ModelError
from vision.geometry import Letterbox

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vision.interfaces import TensorSpec
    from vision.model_spec import InputSpec

_RGB_CHANNELS = 3
_PIXELS = np.arange(256, dtype=np.float64)


class Preprocessor:
    """Resizes, reorders and normalises frames for one model input.

    Args:
        spec: How the model was trained.
        tensor: The input, (1, H, W, 3), float32, uint8 or int8.

    Raises:
        ModelError: If the input is no picture.
    """

    def __init__(self, spec: InputSpec, tensor: TensorSpec) -> None:
        shape = tensor.shape
        if len(shape) != 4 or shape[0] != 1 or shape[3] != _RGB_CHANNELS:  # noqa: PLR2004
            raise ModelError(
                f"input {tensor.name!r} has shape {shape}, not a picture (1, height, width, 3)"
            )
        self._input_wh = (shape[2], shape[1])
        self._spec = spec
        self._small = np.empty((shape[1], shape[2], 3), np.uint8)
        self._write = _writer(spec, tensor)
        self._frame_wh = (0, 0)
        self._letterbox = Letterbox(1, 1, 0, 0)
        self._matrix = np.zeros((2, 3))

    def __call__(self, image: NDArray[np.uint8], slot: NDArray[Any]) -> Letterbox:
        """Write `image` (H, W, 3) BGR into `slot` (1, h, w, 3); return the way there."""
        height, width = image.shape[:2]
        if (width, height) != self._frame_wh:
            self._plan((width, height))
        if self._spec.fit == "letterbox":
            cv2.warpAffine(
                image, self._matrix, self._input_wh, dst=self._small, flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT, borderValue=(0, 0, 0),
            )  # fmt: skip
        else:
            cv2.resize(image, self._input_wh, dst=self._small, interpolation=cv2.INTER_LINEAR)
        if self._spec.color == "rgb":
            cv2.cvtColor(self._small, cv2.COLOR_BGR2RGB, dst=self._small)
        self._write(self._small, slot[0])
        return self._letterbox

    def _plan(self, frame_wh: tuple[int, int]) -> None:
        fit = Letterbox.fit if self._spec.fit == "letterbox" else Letterbox.stretch
        box = fit(frame_wh, self._input_wh)
        self._matrix = np.array([[box.scale_x, 0, box.pad_x], [0, box.scale_y, box.pad_y]])
        self._letterbox, self._frame_wh = box, frame_wh


def _writer(spec: InputSpec, tensor: TensorSpec) -> Any:
    if tensor.dtype == np.float32:
        return _float_writer(spec)
    if tensor.dtype in (np.uint8, np.int8):
        return _quantised_writer(spec, tensor)
    raise ModelError(f"input {tensor.name!r} is {tensor.dtype}, not float32, uint8 or int8")


def _float_writer(spec: InputSpec) -> Any:
    factor, offset = np.float32(1 / spec.std), np.float32(spec.mean / spec.std)

    def write(pixels: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        np.multiply(pixels, factor, out=out)
        if offset:
            np.subtract(out, offset, out=out)

    return write


def _quantised_writer(spec: InputSpec, tensor: TensorSpec) -> Any:
    real = (_PIXELS - spec.mean) / spec.std
    scale = tensor.scale or 1 / spec.std
    limits = np.iinfo(tensor.dtype)
    table = np.clip(np.rint(real / scale) + tensor.zero_point, limits.min, limits.max)
    if np.abs(table - limits.min - _PIXELS).max() <= 1:
        # Within rounding of the pixel itself, which is what such a model was trained on.
        table = _PIXELS + limits.min
    lut = table.astype(tensor.dtype).view(np.uint8)
    if tensor.dtype == np.uint8 and np.array_equal(lut, _PIXELS):
        return lambda pixels, out: np.copyto(out, pixels)
    return lambda pixels, out: cv2.LUT(pixels, lut, dst=out.view(np.uint8))
