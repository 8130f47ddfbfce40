"""What a compiled model says of its tensors, and the buffers that it computes in."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_char_p, c_int, c_size_t, c_void_p
from typing import TYPE_CHECKING, Any

import numpy as np

from vision.errors import BackendError, ModelError
from vision.interfaces import TensorSpec
from vision.litert import capi

if TYPE_CHECKING:
    from numpy.typing import NDArray


def name_of(api: Any, tensor: c_void_p) -> str:
    """Return the tensor's name in the model file."""
    text = c_char_p()
    api.GetTensorName(tensor, byref(text))
    return (text.value or b"").decode()


def spec_of(api: Any, tensor: c_void_p, layout: capi.Layout | None) -> TensorSpec:
    """Describe `tensor`.

    Args:
        api: See `capi.load`.
        tensor: LiteRtTensor.
        layout: The shape after compilation; without it the file's own, which is empty
            for the outputs of a detection post-process.
    """
    kind = capi.RankedTensorType()
    api.GetRankedTensorType(tensor, byref(kind))
    name = name_of(api, tensor)
    dtype = capi.DTYPES.get(kind.element_type)
    if dtype is None:
        raise ModelError(f"tensor {name!r} has element type {kind.element_type}, unknown here")
    layout = layout or kind.layout
    shape = tuple(layout.dimensions[: layout.rank])
    scale, zero_point = _quantization(api, tensor)
    return TensorSpec(name, shape, dtype, scale, zero_point)


def _quantization(api: Any, tensor: c_void_p) -> tuple[float, int]:
    kind = c_int()
    api.GetQuantizationTypeId(tensor, byref(kind))
    if kind.value != capi.PER_TENSOR_QUANTIZATION:
        return 0.0, 0
    values = capi.Quantization()
    api.GetPerTensorQuantization(tensor, byref(values))
    return values.scale, values.zero_point


class Buffer:
    """One tensor's memory, where the accelerator can reach it.

    Args:
        api: See `capi.load`.
        environment: LiteRtEnvironment.
        spec: Shape and type.
        requirements: LiteRtTensorBufferRequirements, the compiled model's.

    Raises:
        BackendError: If LiteRT does not give the memory, or of another size.
    """

    def __init__(
        self, api: Any, environment: c_void_p, spec: TensorSpec, requirements: c_void_p
    ) -> None:
        self._api = api
        self._spec = spec
        self._view: NDArray[Any] | None = None
        self._address = 0
        self.handle = c_void_p()
        kind = _ranked_type(spec)
        api.CreateManagedTensorBufferFromRequirements(
            environment, byref(kind), requirements, byref(self.handle)
        )
        size = c_size_t()
        api.GetTensorBufferPackedSize(self.handle, byref(size))
        expected = spec.dtype.itemsize * int(np.prod(spec.shape))
        if size.value != expected:
            self.destroy()
            raise BackendError(
                f"tensor {spec.name!r} {spec.shape}: LiteRT has {size.value} bytes for it, "
                f"not {expected}"
            )

    def lock(self, mode: capi.LockMode) -> NDArray[Any]:
        """Wait for the accelerator and return the memory, valid until `unlock`."""
        pointer = c_void_p()
        self._api.LockTensorBuffer(self.handle, byref(pointer), mode)
        address = pointer.value or 0
        if self._view is None or address != self._address:
            size = self._spec.dtype.itemsize * int(np.prod(self._spec.shape))
            memory: Any = (ctypes.c_char * size).from_address(address)
            self._view = np.frombuffer(memory, self._spec.dtype).reshape(self._spec.shape)
            self._address = address
        return self._view

    def unlock(self) -> None:
        """Give the memory back to the accelerator."""
        self._api.UnlockTensorBuffer(self.handle)

    def destroy(self) -> None:
        """Free the memory; views of it are invalid from now on."""
        self._api.DestroyTensorBuffer(self.handle)


def _ranked_type(spec: TensorSpec) -> capi.RankedTensorType:
    number = next(number for number, dtype in capi.DTYPES.items() if dtype == spec.dtype)
    kind = capi.RankedTensorType(number)
    kind.layout.rank = len(spec.shape)
    kind.layout.dimensions[: len(spec.shape)] = spec.shape
    return kind
