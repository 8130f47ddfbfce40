"""Classifiers with one number a class."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from vision.errors import ModelError
from vision.quantized import to_real

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vision.interfaces import TensorSpec
    from vision.model_spec import ModelSpec


class ClassesConfig(BaseModel):
    """What the numbers are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    activation: Literal["none", "softmax", "sigmoid"] = "none"
    """What turns them into probabilities; `none` where they are that already."""


class Classes:
    """Reads one output (1, C) or (1, 1, 1, C), quantised or not.

    Raises:
        ModelError: If the outputs are others.
    """

    Config = ClassesConfig

    def __init__(
        self, config: ClassesConfig, *, spec: ModelSpec, outputs: Sequence[TensorSpec]
    ) -> None:
        shape = outputs[0].shape
        if len(outputs) != 1 or math.prod(shape) != shape[-1]:
            raise ModelError(
                f"{spec.path}: no classifier: expected one output (1, classes), "
                f"found {[output.shape for output in outputs]}"
            )
        self._activation = config.activation
        self._tensor = outputs[0]
        self.labels = spec.named(shape[-1])

    def probabilities(self, outputs: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Return (C,) float32, 0…1."""
        probability = to_real(outputs[0].reshape(-1), self._tensor)
        if self._activation == "softmax":
            powers = np.exp(probability - probability.max())
            probability = powers / powers.sum()
        elif self._activation == "sigmoid":
            probability = np.float32(1) / (np.float32(1) + np.exp(-probability.clip(-80, 80)))
        # A copy: the outputs are the backend's, and overwritten at the next picture.
        return np.array(probability, np.float32)
