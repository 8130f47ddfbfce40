"""Any TFLite delegate library: OpenCL GPU, Edge TPU, VX, Arm NN. Verified like the GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vision.errors import BackendError
from vision.interfaces import BackendInfo
from vision.litert.interpreter import Runner, load_delegate
from vision.litert.mutex import Mutex
from vision.litert.options import Precision  # noqa: TC001  (pydantic resolves it at run time)
from vision.litert.probe import verify
from vision.litert.verdict import Attempt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vision.model_spec import ModelSpec

_SLOTS = 2


class DelegateConfig(BaseModel):
    """Which library, and what it is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    library: str
    """Its path, or a name that the dynamic linker knows."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The delegate's own."""
    precision: Precision = "fp16"
    """In which it computes, as far as is known: decides how exact it must be."""


class DelegateBackend:
    """Runs a model through a delegate.

    `submit` does nothing and `collect` computes, as on the CPU.

    Raises:
        BackendError: If the library or the model is refused, or its answers are wrong.
    """

    Config = DelegateConfig
    slots = _SLOTS
    queues = False

    def __init__(self, config: DelegateConfig, *, spec: ModelSpec) -> None:
        attempt = Attempt(
            accelerator="delegate",
            precision=config.precision,
            library=config.library,
            options=config.options,
        )
        verdict = verify(spec, attempt)
        if not verdict.ok:
            raise BackendError(f"{spec.name} on delegate {config.library}: {verdict.why}")
        self._mutex = Mutex()
        self._runner: Runner | None = Runner(
            str(spec.path), 1, load_delegate(config.library, config.options)
        )
        self.inputs, self.outputs = self._runner.inputs, self._runner.outputs
        self._views = [np.zeros(self.inputs[0].shape, self.inputs[0].dtype) for _ in range(_SLOTS)]
        self._extra = [np.zeros(tensor.shape, tensor.dtype) for tensor in self.inputs[1:]]
        self.info = BackendInfo(
            name="delegate",
            device=verdict.device,
            delegated_ops=verdict.delegated_ops,
            total_ops=verdict.total_ops,
            precision="int8" if self._runner.quantised else config.precision,
            max_error=verdict.worst_error,
            threads=0,
        )

    def input_view(self, slot: int) -> NDArray[Any]:
        """Return the input array of `slot`."""
        return self._views[slot]

    def submit(self, slot: int) -> None:
        """Do nothing: `collect` computes."""

    def collect(self, slot: int) -> Sequence[NDArray[Any]]:
        """Run the model on `slot`; the outputs hold until the next `collect`.

        Raises:
            BackendError: If the delegate fails, or the model is closed.
        """
        with self._mutex:
            if self._runner is None:
                raise BackendError("delegate: the model is closed")
            return self._runner.run([self._views[slot], *self._extra])

    def close(self) -> None:
        """Free the model, after the run that is in hand. Safe twice and from any thread."""
        with self._mutex:
            self._runner = None
