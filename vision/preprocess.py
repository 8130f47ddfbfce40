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

_COLORS = 3
_PIXELS = np.arange(256, dtype=np.float64)


class Preprocessor:
    """Resizes, reorders and normalises frames for one model input.

    Args:
        spec: How the model was trained.
        tensor: The input, (1, H, W, 3) or (1, 3, H, W), float32, uint8 or int8.

    Raises:
        ModelError: If the input is no picture.
    """

    def __init__(self, spec: InputSpec, tensor: TensorSpec) -> None:
        shape = tensor.shape
        if len(shape) != 4 or shape[0] != 1 or _COLORS not in (shape[1], shape[3]):  # noqa: PLR2004
            raise ModelError(
                f"input {tensor.name!r} has shape {shape}, not a picture (1, height, width, 3) "
                f"or (1, 3, height, width)"
            )
        self._input_wh = tensor.picture_wh
        self._spec = spec
        self._border = (spec.pad_value,) * _COLORS
        pads = spec.fit == "letterbox"
        self._border_mode = cv2.BORDER_CONSTANT if pads else cv2.BORDER_REPLICATE
        self._warps = spec.fit == "warp" or (pads and spec.pad == "center")
        self._small = np.full((*self._input_wh[::-1], _COLORS), spec.pad_value, np.uint8)
        # Planes are written one by one, and so come in any order for nothing.
        self._planes = np.empty((_COLORS, *self._input_wh[::-1]), np.uint8)
        self._order = list(self._planes[::-1] if spec.color == "rgb" else self._planes)
        self._to_rgb = spec.color == "rgb" and not tensor.planar
        self._pixels = self._planes if tensor.planar else self._small
        self._write = _writer(spec, tensor)
        self._frame_wh = (0, 0)
        self._letterbox = Letterbox(1, 1, 0, 0)
        self._matrix = np.zeros((2, 3))
        self._inner = self._small

    def __call__(self, image: NDArray[np.uint8], slot: NDArray[Any]) -> Letterbox:
        """Write `image` (H, W, 3) BGR into `slot`; return the way there."""
        height, width = image.shape[:2]
        if (width, height) != self._frame_wh:
            self._plan((width, height))
        if self._warps:
            cv2.warpAffine(
                image, self._matrix, self._input_wh, dst=self._small, flags=cv2.INTER_LINEAR,
                borderMode=self._border_mode, borderValue=self._border,
            )  # fmt: skip
        else:
            inner = self._inner
            inner_wh = (inner.shape[1], inner.shape[0])
            cv2.resize(image, inner_wh, dst=inner, interpolation=cv2.INTER_LINEAR)
        if self._to_rgb:
            cv2.cvtColor(self._small, cv2.COLOR_BGR2RGB, dst=self._small)
        elif self._pixels is self._planes:
            cv2.split(self._small, self._order)
        self._write(self._pixels, slot[0])
        return self._letterbox

    def _plan(self, frame_wh: tuple[int, int]) -> None:
        way = Letterbox.stretch
        if self._spec.fit == "letterbox":
            way = Letterbox.fit if self._spec.pad == "center" else Letterbox.corner
        box = way(frame_wh, self._input_wh)
        self._matrix = np.array([[box.scale_x, 0, box.pad_x], [0, box.scale_y, box.pad_y]])
        columns, rows = round(box.scale_x * frame_wh[0]), round(box.scale_y * frame_wh[1])
        self._small[:] = self._spec.pad_value
        self._inner = self._small[:rows, :columns]
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
