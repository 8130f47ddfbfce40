"""Between real numbers and what a quantised tensor stores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vision.interfaces import TensorSpec


def to_real(stored: NDArray[Any], tensor: TensorSpec) -> NDArray[np.float32]:
    """Return float32 real values of what `tensor` stores; float32 is handed through."""
    values: NDArray[np.float32] = stored.astype(np.float32, copy=False)
    if tensor.scale:
        values = (values - np.float32(tensor.zero_point)) * np.float32(tensor.scale)
    return values


def least_stored(value: float, tensor: TensorSpec) -> np.generic:
    """Return the least that `tensor` can store for `value` or more.

    `stored >= least_stored(value, tensor)` is `to_real(stored, tensor) >= value` without
    the conversion. Where nothing reaches `value`, the answer is above all that is stored.
    """
    if not tensor.scale:
        return np.float32(value)
    # A hair less, so that a value which is exactly on a step does not round up past it.
    step = math.ceil(value / tensor.scale + tensor.zero_point - 1e-4)
    limits = np.iinfo(tensor.dtype)
    if step > limits.max:
        return np.int64(step)
    exact: np.generic = tensor.dtype.type(max(step, limits.min))
    return exact
