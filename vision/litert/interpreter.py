"""The TFLite interpreter, with or without a delegate, from whichever runtime is installed."""

from __future__ import annotations

import ctypes
import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from vision.errors import BackendError
from vision.interfaces import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_MODULES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
_QUANTISED = (np.uint8, np.int8)
_DELEGATE_API = ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate")
_DELEGATE = "DELEGATE"  # the name of a node that stands for others


def module() -> Any:
    """Return the module that has `Interpreter` and `load_delegate`.

    Raises:
        BackendError: If neither runtime is installed.
    """
    for name in _MODULES:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise BackendError("no TFLite runtime is installed: pip install ai-edge-litert")


def load_delegate(library: str, options: Mapping[str, Any]) -> Any:
    """Return the delegate of a shared library.

    Args:
        library: Its path, or a name that the dynamic linker knows.
        options: The delegate's own.

    Raises:
        BackendError: If the file does not load, is no delegate, or refuses.
    """
    texts = {key: str(value) for key, value in options.items()}
    try:
        # Before the runtime does: its own object complains on stderr when it dies half made.
        symbols = ctypes.CDLL(library)
        if not all(hasattr(symbols, name) for name in _DELEGATE_API):
            raise BackendError(
                f"delegate {library}: this library is no TFLite delegate: "
                f"it has no {' and '.join(_DELEGATE_API)}"
            )
        return module().load_delegate(library, texts)
    except OSError as error:
        raise BackendError(f"delegate {library}: the library does not load: {error}") from error
    except ValueError as error:
        reason = " ".join(str(error).split()) or "it gives no reason"
        raise BackendError(
            f"delegate {library}: it refuses to start (its device or its options): {reason}"
        ) from error


class Runner:
    """A model in an interpreter, arrays in and arrays out.

    Args:
        path: The `.tflite` file.
        threads: CPU threads.
        delegate: What `load_delegate` gave.

    Attributes:
        inputs: Its inputs.
        outputs: Its outputs, in the order of the model file.
        split: Operations that the delegate took, and operations in the model.
        quantised: It computes in 8 bits, wholly or in part.

    Raises:
        BackendError: If the runtime refuses the model, or the delegate does.
    """

    def __init__(self, path: str, threads: int, delegate: Any = None) -> None:
        try:
            interpreter = module().Interpreter(
                model_path=path,
                num_threads=threads,
                experimental_delegates=None if delegate is None else [delegate],
            )
            self.split = _split(interpreter._get_ops_details())  # noqa: SLF001  (nothing public tells)
            interpreter.allocate_tensors()  # here XNNPACK takes what is left
        except (RuntimeError, ValueError) as error:
            raise BackendError(f"{path}: refused: {' '.join(str(error).split())}") from error
        self._interpreter = interpreter
        details = interpreter.get_input_details()
        self._input_ids = [detail["index"] for detail in details]
        self.inputs = tuple(_spec(detail) for detail in details)
        details = interpreter.get_output_details()
        # Functions, not views: a living view makes the interpreter refuse to run.
        self._read = [interpreter.tensor(detail["index"]) for detail in details]
        self.outputs = tuple(_spec(detail) for detail in details)
        self._results = [np.empty(spec.shape, spec.dtype) for spec in self.outputs]
        self.quantised = any(
            detail["dtype"] in _QUANTISED for detail in interpreter.get_tensor_details()
        )

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Compute; the arrays returned hold until the next run.

        Raises:
            BackendError: If the runtime or the delegate fails.
        """
        try:
            for index, values in zip(self._input_ids, inputs, strict=True):
                self._interpreter.set_tensor(index, values)
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise BackendError(f"the interpreter failed: {' '.join(str(error).split())}") from error
        for result, read in zip(self._results, self._read, strict=True):
            np.copyto(result, read())
        return self._results


def _split(nodes: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Count what delegates took: all that lies between their inputs and their outputs."""
    producers = {
        tensor: node["index"]
        for node in nodes
        if node["op_name"] != _DELEGATE
        for tensor in node["outputs"]
    }
    by_index = {node["index"]: node for node in nodes}
    taken: set[int] = set()
    for delegate in (node for node in nodes if node["op_name"] == _DELEGATE):
        given, wanted = set(delegate["inputs"]), list(delegate["outputs"])
        while wanted:
            tensor = wanted.pop()
            index = producers.get(tensor)
            if tensor not in given and index is not None and index not in taken:
                taken.add(index)
                wanted.extend(by_index[index]["inputs"])
    return len(taken), len(set(producers.values()))


def _spec(detail: Mapping[str, Any]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    shape = tuple(int(n) for n in detail["shape"])
    return TensorSpec(detail["name"], shape, np.dtype(detail["dtype"]), scale, zero_point)
