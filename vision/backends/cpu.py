"""The TFLite interpreter with XNNPACK, from whichever runtime package is installed."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from vision.errors import BackendError, ConfigError, ModelError
from vision.interfaces import BackendInfo, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from vision.model_spec import ModelSpec

_SLOTS = 3  # one in the interpreter, one waiting, one being written


class CpuConfig(BaseModel):
    """How many threads; None takes all cores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int | None = None


class CpuBackend:
    """Runs a model on the CPU.

    `submit` does nothing and `collect` invokes, so a frame that is overtaken while it
    waits costs no inference.

    Raises:
        ModelError: If the interpreter refuses the model.
        ConfigError: If no runtime package is installed.
    """

    Config = CpuConfig
    slots = _SLOTS
    queues = False

    def __init__(self, config: CpuConfig, *, spec: ModelSpec) -> None:
        threads = min(config.threads or cores(), cores())  # more than cores collapses
        try:
            interpreter = interpreter_class()(model_path=str(spec.path), num_threads=threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{spec.path}: the interpreter refuses it: {error}") from error
        self._interpreter: Any = interpreter
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self.inputs = tuple(_tensor_spec(detail) for detail in inputs)
        self.outputs = tuple(_tensor_spec(detail) for detail in outputs)
        # Functions, not views: a living view makes the interpreter refuse to run.
        self._input: Any = interpreter.tensor(inputs[0]["index"])
        self._output_views = [interpreter.tensor(detail["index"]) for detail in outputs]
        self._slots = [np.zeros(self.inputs[0].shape, self.inputs[0].dtype) for _ in range(_SLOTS)]
        self._results = [np.empty(t.shape, t.dtype) for t in self.outputs]
        self.info = BackendInfo(
            name="cpu",
            device=cpu_name(),
            delegated_ops=0,
            total_ops=spec.total_ops,
            precision="fp32" if self.inputs[0].dtype == np.float32 else "int8",
            max_error=0.0,
            threads=threads,
        )

    def input_view(self, slot: int) -> NDArray[Any]:
        """Return the input array of `slot`."""
        return self._slots[slot]

    def submit(self, slot: int) -> None:
        """Do nothing: `collect` computes."""

    def collect(self, slot: int) -> Sequence[NDArray[Any]]:
        """Run the model on `slot`; the outputs hold until the next `collect`."""
        if self._interpreter is None:
            raise BackendError("cpu: the model is closed")
        np.copyto(self._input(), self._slots[slot])
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise BackendError(f"cpu: the interpreter failed: {error}") from error
        for result, view in zip(self._results, self._output_views, strict=True):
            np.copyto(result, view())
        return self._results

    def close(self) -> None:
        """Free the interpreter."""
        self._interpreter = self._input = None  # each holds the interpreter
        self._output_views = []


def interpreter_class() -> Any:
    """Return `Interpreter` of ai_edge_litert, else of tflite_runtime."""
    try:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  (one of two)
    except ModuleNotFoundError:
        try:
            from tflite_runtime.interpreter import Interpreter  # noqa: PLC0415
        except ModuleNotFoundError:
            raise ConfigError(
                "no TFLite runtime is installed: pip install ai-edge-litert "
                "(tflite-runtime on 32-bit Arm)"
            ) from None
    return Interpreter


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def cpu_name() -> str:
    """Return the processor's name, or the architecture where the kernel tells none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    # x86 tells the processor, Arm at best the board.
    return told.get("model name") or told.get("Model") or platform.machine()


def _tensor_spec(detail: Mapping[str, Any]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    return TensorSpec(
        detail["name"],
        tuple(int(n) for n in detail["shape"]),
        np.dtype(detail["dtype"]),
        float(scale),
        int(zero_point),
    )
