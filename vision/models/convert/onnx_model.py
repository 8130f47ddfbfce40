"""ONNX models, by onnx2tf; ONNX Runtime computes the original's answers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vision.errors import ModelError
from vision.models.convert.cut import nearest_of
from vision.models.convert.extras import first_line, need
from vision.models.convert.original import Cut, Original

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from vision.models.convert.original import Answer

_EXTRA = "convert-onnx"
_PICTURE_RANK, _COLORS = 4, 3
_SUPPRESSION = "NonMaxSuppression"


def open_onnx(path: Path, cut: Cut) -> Original:
    """Open an ONNX model whose input is a picture (1, 3, H, W)."""
    onnx = need("onnx", _EXTRA)
    runtime = need("onnxruntime", _EXTRA)
    decode_error = need("google.protobuf.message", _EXTRA).DecodeError
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except (OSError, decode_error, onnx.checker.ValidationError) as error:
        raise ModelError(f"{path}: no ONNX model: {first_line(error)}") from error
    model = _cut(onnx, model, cut)
    name, shape = _fix_input(model, path, cut)
    outputs = tuple(output.name for output in model.graph.output)
    state = need("onnxruntime.capi.onnxruntime_pybind11_state", _EXTRA)
    try:
        session = runtime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
    except (state.Fail, state.InvalidGraph, state.NotImplemented) as error:
        raise ModelError(f"{path}: ONNX Runtime cannot run it: {first_line(error)}") from error

    def run(image: NDArray[np.float32]) -> Answer:
        found = session.run(outputs, {name: np.ascontiguousarray(image.transpose(0, 3, 1, 2))})
        return {name: _pixels_last(values) for name, values in zip(outputs, found, strict=True)}

    return Original(
        "ONNX model", shape, outputs, run, lambda: _convert(onnx, model, path),
        ("onnx2tf", "onnx", "onnxruntime"),
    )  # fmt: skip


def _cut(onnx: Any, model: Any, cut: Cut) -> Any:
    """Return the wanted part, which is the whole where nothing else is said."""
    graph = model.graph
    outputs = list(cut.outputs)
    if cut.for_gpu and not outputs:
        nodes = (node for node in graph.node if node.op_type == _SUPPRESSION)
        outputs = next((list(node.input[:2]) for node in nodes), [])
    if not cut.inputs and not outputs:
        return model
    known = {name for node in graph.node for name in (*node.input, *node.output)}
    _check_names((*cut.inputs, *outputs), known)
    inputs = list(cut.inputs) or [entry.name for entry in _inputs(graph)]
    return onnx.utils.Extractor(model).extract_model(
        inputs, outputs or [output.name for output in graph.output]
    )


def _check_names(names: Iterable[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise ModelError(f"the model has no tensor {name!r}{nearest_of(name, known)}")


def _inputs(graph: Any) -> list[Any]:
    constants = {constant.name for constant in graph.initializer}
    return [entry for entry in graph.input if entry.name not in constants]


def _fix_input(model: Any, path: Path, cut: Cut) -> tuple[str, tuple[int, ...]]:
    """Give the one input a fixed size; return its name and (1, H, W, 3)."""
    inputs = _inputs(model.graph)
    sizes = inputs[0].type.tensor_type.shape.dim
    if len(inputs) != 1 or len(sizes) != _PICTURE_RANK or sizes[1].dim_value != _COLORS:
        raise ModelError(
            f"{path}: a model here has one input, a picture (1, 3, height, width); this has "
            f"{[entry.name for entry in inputs]}"
        )
    sizes[0].dim_value = 1
    if cut.size_wh:
        sizes[3].dim_value, sizes[2].dim_value = cut.size_wh
    height, width = sizes[2].dim_value, sizes[3].dim_value
    if not height or not width:
        raise ModelError(
            f"{path}: the model leaves the size of its input open; give it with --size WIDTH HEIGHT"
        )
    return inputs[0].name, (1, height, width, _COLORS)


def _pixels_last(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lay out an output as TFLite does: a map's channels come last."""
    return values.transpose(0, 2, 3, 1) if values.ndim == _PICTURE_RANK else values


def _convert(onnx: Any, model: Any, path: Path) -> bytes:
    onnx2tf = need("onnx2tf", _EXTRA)
    with tempfile.TemporaryDirectory(prefix="vision-onnx-") as folder:
        source = Path(folder) / "model.onnx"
        onnx.save(model, str(source))
        try:
            onnx2tf.convert(
                input_onnx_file_path=str(source), output_folder_path=folder, non_verbose=True
            )
            return (Path(folder) / "model_float32.tflite").read_bytes()
        except (SystemExit, OSError, ValueError, RuntimeError, NotImplementedError) as error:
            raise ModelError(
                f"{path}: onnx2tf cannot convert it: {first_line(error)}; cut off what it cannot "
                "with --outputs, or --for gpu"
            ) from error
