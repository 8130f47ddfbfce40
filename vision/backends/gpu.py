"""The GPU through LiteRT's C API: verified before its first use, two frames in flight."""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from vision import paths
from vision.errors import BackendError
from vision.interfaces import BackendInfo
from vision.litert import capi, driver
from vision.litert.capi import LockMode
from vision.litert.compiled_model import BufferSet, CompiledModel
from vision.litert.kernel_cache import RUNS_UNTIL_WRITTEN, KernelCache
from vision.litert.mutex import Mutex
from vision.litert.options import Precision  # noqa: TC001  (pydantic resolves it at run time)
from vision.litert.probe import verify
from vision.litert.verdict import Attempt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vision.litert.verdict import Verdict
    from vision.model_spec import ModelSpec

_SLOTS = 2
_CLOSE_S = 1.0  # for a run to end; one that does not is a driver that hangs


class GpuConfig(BaseModel):
    """How the GPU computes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Precision = "fp32"


class _State(Enum):
    WRITING = "free"
    QUEUED = "in flight"
    FAILED = "lost"
    CLOSED = "closed"


class _Slot:
    """One frame's buffers; the input is locked for writing unless the frame is in flight."""

    def __init__(self, model: CompiledModel) -> None:
        self.mutex = Mutex()
        self.state = _State.WRITING
        self.buffers: BufferSet = model.new_buffers()
        self.results = [np.empty(spec.shape, spec.dtype) for spec in model.outputs]
        for extra in self.buffers.inputs[1:]:
            extra.lock(LockMode.WRITE).fill(0)
            extra.unlock()
        self.view = self.buffers.inputs[0].lock(LockMode.WRITE)

    def expect(self, state: _State, slot: int) -> None:
        if self.state is not state:
            raise BackendError(f"gpu: slot {slot} is {self.state.value}, not {state.value}")

    def destroy(self) -> None:
        if self.state is _State.WRITING:
            self.buffers.inputs[0].unlock()
        self.state = _State.CLOSED
        self.buffers.destroy()


class GpuBackend:
    """Runs a model on the GPU.

    Two sets of buffers: while the GPU computes one frame, the next one is written and
    queued. `input_view` is the driver's own memory, valid until `close`.

    Raises:
        BackendError: If the GPU was not verified for this model, with the reason.
    """

    Config = GpuConfig
    slots = _SLOTS
    queues = True

    def __init__(self, config: GpuConfig, *, spec: ModelSpec) -> None:
        verdict = verify(spec, Attempt(precision=config.precision))
        if not verdict.ok:
            raise BackendError(f"gpu: {spec.name}: {verdict.why}")
        self._model = CompiledModel(
            spec.path, config.precision, lambda: _kernel_cache(spec, config.precision)
        )
        self.inputs, self.outputs = self._model.inputs, self._model.outputs
        self._slots: list[_Slot] = []
        try:
            self._check(verdict)
            for _ in range(_SLOTS):
                self._slots.append(_Slot(self._model))
        except BackendError:
            self.close()
            raise
        self._runs = 0
        self.info = _info(verdict, config.precision)

    def _check(self, verdict: Verdict) -> None:
        whole = verdict.delegated_ops == verdict.total_ops
        if self._model.whole != whole or self._model.total_ops != verdict.total_ops:
            raise BackendError("gpu: the model compiles otherwise than when it was verified")

    def input_view(self, slot: int) -> NDArray[Any]:
        """Return the first input of `slot`, 64-byte aligned, to be written in place."""
        entry = self._slots[slot]
        entry.expect(_State.WRITING, slot)
        return entry.view

    def submit(self, slot: int) -> None:
        """Queue `slot`.

        Raises:
            BackendError: If the GPU refuses, `slot` is in flight, or all is closed.
        """
        entry = self._slots[slot]
        with entry.mutex:
            entry.expect(_State.WRITING, slot)
            entry.state = _State.FAILED
            entry.buffers.inputs[0].unlock()
            self._model.run(entry.buffers)
            entry.state = _State.QUEUED

    def collect(self, slot: int) -> Sequence[NDArray[Any]]:
        """Wait for `slot`; the outputs hold until it is collected again.

        Raises:
            BackendError: If the GPU failed, gave no finite numbers, or nothing is in flight.
        """
        entry = self._slots[slot]
        with entry.mutex:
            entry.expect(_State.QUEUED, slot)
            entry.state = _State.FAILED
            for buffer, result in zip(entry.buffers.outputs, entry.results, strict=True):
                np.copyto(result, buffer.lock(LockMode.READ))
                buffer.unlock()
            entry.view = entry.buffers.inputs[0].lock(LockMode.WRITE)
            entry.state = _State.WRITING
        if not all(map(_finite, entry.results)):
            raise BackendError("gpu: the answer is not finite (NaN): the driver fails")
        self._runs += 1
        if self._runs == RUNS_UNTIL_WRITTEN and self._model.cache is not None:
            self._model.cache.confirm()
        return entry.results

    def close(self) -> None:
        """Free the model, after the calls that are in hand. Safe twice and from any thread.

        A call that does not end within a second keeps the memory: freeing what a hanging
        driver may still write to would crash the process. Frames in flight are lost.
        """
        held = [entry for entry in self._slots if entry.mutex.acquire(_CLOSE_S)]
        closed = any(entry.state is _State.CLOSED for entry in held)
        if len(held) == len(self._slots) and not closed:
            for entry in held:
                entry.destroy()
            self._model.close()
        for entry in held:
            entry.mutex.release()


def _finite(values: NDArray[Any]) -> bool:
    """Return whether all of `values` are finite: one NaN or infinity spoils a sum."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(values.sum()))


def _info(verdict: Verdict, precision: Precision) -> BackendInfo:
    return BackendInfo(
        name="gpu",
        device=verdict.device + (", in software" if verdict.software else ""),
        delegated_ops=verdict.delegated_ops,
        total_ops=verdict.total_ops,
        precision=precision,
        max_error=verdict.worst_error,
        threads=0,
    )


def _kernel_cache(spec: ModelSpec, precision: Precision) -> KernelCache | None:
    parts = (spec.sha256, capi.installed() or "", driver.look().key, precision)
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return KernelCache.open(paths.cache_dir() / "gpu" / "kernels", name)
