"""A model compiled for the GPU."""

from __future__ import annotations

from contextlib import ExitStack
from ctypes import Array, byref, c_bool, c_size_t, c_void_p
from typing import TYPE_CHECKING, Any

from vision.litert import capi, environment, options
from vision.litert.mutex import Mutex
from vision.litert.tensors import Buffer, name_of, spec_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from vision.interfaces import TensorSpec
    from vision.litert.kernel_cache import KernelCache

_SIGNATURE = 0


class BufferSet:
    """The buffers of one frame.

    Attributes:
        inputs: In the order of `CompiledModel.inputs`.
        outputs: In the order of `CompiledModel.outputs`.
        input_handles: For LiteRT, in its own order.
        output_handles: The same.
    """

    def __init__(self, inputs: list[Buffer], outputs: list[Buffer], order: Sequence[int]) -> None:
        self.inputs = inputs
        self.outputs = [outputs[i] for i in order]
        self.input_handles = _array(inputs)
        self.output_handles = _array(outputs)

    def destroy(self) -> None:
        """Free all of them."""
        for buffer in (*self.inputs, *self.outputs):
            buffer.destroy()


def _array(buffers: list[Buffer]) -> Array[c_void_p]:
    return (c_void_p * len(buffers))(*(buffer.handle for buffer in buffers))


class CompiledModel:
    """Owns LiteRT's objects for one model, and destroys them in the only safe order.

    Args:
        path: The `.tflite` file.
        precision: In which the GPU computes.
        cache: Called where this model makes the environment; kernels go there.

    Attributes:
        inputs: Its inputs.
        outputs: Its outputs, in the order of the model file, as the interpreter has them.
        total_ops: Operations in the model.
        whole: Every operation is on the GPU.
        cache: What `cache` gave, or None.

    Raises:
        BackendError: If LiteRT fails.
    """

    def __init__(
        self,
        path: Path,
        precision: options.Precision,
        cache: Callable[[], KernelCache | None] | None = None,
    ) -> None:
        self._api = api = capi.load()
        self._running = Mutex()
        self.cache: KernelCache | None = None
        with ExitStack() as undo:
            self._environment, is_new = environment.acquire(api)
            undo.callback(environment.release, api)
            if is_new and cache is not None:
                self.cache = cache()
            if self.cache is not None:
                undo.callback(self.cache.close)
            self._model = _new(api.CreateModelFromFile, self._environment, str(path).encode())
            undo.callback(api.DestroyModel, self._model)
            text = options.gpu_toml(precision, self.cache)
            wanted = options.create(api, text)
            undo.callback(api.DestroyOptions, wanted)
            self._compiled = _new(api.CreateCompiledModel, self._environment, self._model, wanted)
            undo.callback(api.DestroyCompiledModel, self._compiled)
            self._describe()
            self._undo = undo.pop_all()

    def _describe(self) -> None:
        api, subgraph = self._api, c_void_p()
        self._signature = _new(api.GetModelSignature, self._model, _SIGNATURE)
        api.GetSignatureSubgraph(self._signature, byref(subgraph))
        self.total_ops = _count(api.GetNumSubgraphOps, subgraph)
        whole = c_bool()
        api.CompiledModelIsNonCpuFullyAccelerated(self._compiled, byref(whole))
        self.whole = whole.value
        self.inputs = tuple(
            spec_of(api, _new(api.GetSignatureInputTensorByIndex, self._signature, i), None)
            for i in range(_count(api.GetNumSignatureInputs, self._signature))
        )
        self._signature_outputs = self._output_specs()
        # The signature may have another order than the file, which everyone else goes by.
        names = [
            name_of(api, _new(api.GetSubgraphOutput, subgraph, i))
            for i in range(_count(api.GetNumSubgraphOutputs, subgraph))
        ]
        place = {spec.name: i for i, spec in enumerate(self._signature_outputs)}
        self._order = [place[name] for name in names]
        self.outputs = tuple(self._signature_outputs[i] for i in self._order)

    def _output_specs(self) -> list[TensorSpec]:
        api = self._api
        number = _count(api.GetNumSignatureOutputs, self._signature)
        layouts = (capi.Layout * number)()
        api.GetCompiledModelOutputTensorLayouts(
            self._compiled,
            _SIGNATURE,
            number,
            layouts,
            True,
        )
        return [
            spec_of(api, _new(api.GetSignatureOutputTensorByIndex, self._signature, i), layout)
            for i, layout in enumerate(layouts)
        ]

    def new_buffers(self) -> BufferSet:
        """Return buffers for one frame; destroy them before the model is closed."""
        api = self._api
        with ExitStack() as undo:

            def make(spec: TensorSpec, i: int, requirements: Any) -> Buffer:
                needs = _new(requirements, self._compiled, _SIGNATURE, i)
                buffer = Buffer(api, self._environment, spec, needs)
                undo.callback(buffer.destroy)
                return buffer

            wanted_in = api.GetCompiledModelInputBufferRequirements
            wanted_out = api.GetCompiledModelOutputBufferRequirements
            buffers = BufferSet(
                [make(spec, i, wanted_in) for i, spec in enumerate(self.inputs)],
                [make(spec, i, wanted_out) for i, spec in enumerate(self._signature_outputs)],
                self._order,
            )
            undo.pop_all()
        return buffers

    def run(self, buffers: BufferSet) -> None:
        """Queue one run; the outputs' `lock` waits for it.

        Only one thread is ever inside: LiteRT aborts the process for two.
        """
        with self._running:
            self._api.RunCompiledModel(
                self._compiled,
                _SIGNATURE,
                len(buffers.input_handles),
                buffers.input_handles,
                len(buffers.output_handles),
                buffers.output_handles,
            )

    def close(self) -> None:
        """Destroy the model. Safe twice; no buffer of it may be in use."""
        self._undo.close()


def _new(function: Any, *arguments: Any) -> c_void_p:
    handle = c_void_p()
    function(*arguments, byref(handle))
    return handle


def _count(function: Any, handle: c_void_p) -> int:
    number = c_size_t()
    function(handle, byref(number))
    return number.value
