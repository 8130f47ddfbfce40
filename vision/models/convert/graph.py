"""TensorFlow's three formats, all as one frozen graph between one picture and named outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vision.errors import ModelError
from vision.models.convert.cut import check_names, cut_off, detection_cut, tensor_name
from vision.models.convert.extras import first_line, need
from vision.models.convert.original import Cut, Original

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from vision.models.convert.original import Answer

_EXTRA = "convert"
_PICTURE_RANK = 4
_OWN_INPUTS = ("Placeholder", "PlaceholderWithDefault")
_HEIGHT_WIDTH = (1, 2)


def open_frozen_graph(path: Path, cut: Cut) -> Original:
    """Open a GraphDef whose variables are constants."""
    tf = _tensorflow()
    decode_error = need("google.protobuf.message", _EXTRA).DecodeError
    try:
        graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    except (OSError, decode_error) as error:
        raise ModelError(f"{path}: no TensorFlow graph: {first_line(error)}") from error
    if not graph.node:
        raise ModelError(f"{path}: no TensorFlow graph: it has no nodes")
    inputs = [f"{node.name}:0" for node in graph.node if node.op in _OWN_INPUTS]
    used = {name.partition(":")[0].removeprefix("^") for node in graph.node for name in node.input}
    outputs = [f"{node.name}:0" for node in graph.node if node.name not in used]
    return _Graph(tf, graph, inputs, outputs, path).cut(cut, "frozen graph")


def open_saved_model(path: Path, cut: Cut) -> Original:
    """Open a SavedModel by its serving signature, else by its only one."""
    tf = _tensorflow()
    try:
        loaded = tf.saved_model.load(str(path))  # owns the variables, until they are constants
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise ModelError(f"{path}: no SavedModel: {first_line(error)}") from error
    known = dict(loaded.signatures)
    name = "serving_default" if "serving_default" in known or len(known) != 1 else next(iter(known))
    if name not in known:
        raise ModelError(f"{path}: this SavedModel has no signature {name!r}")
    return _frozen(tf, known[name], path).cut(cut, "SavedModel")


def open_keras(path: Path, cut: Cut) -> Original:
    """Open a Keras file."""
    tf = _tensorflow()
    try:
        model = tf.keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path}: no Keras model: {first_line(error)}") from error
    own = getattr(model, "input_shape", None)
    if not isinstance(own, tuple):
        raise ModelError(f"{path}: a model here has one input, a picture; this has {own}")
    network = tf.function(
        lambda image: model(image, training=False),
        input_signature=[tf.TensorSpec((1, *own[1:]), tf.float32)],
    )
    return _frozen(tf, network.get_concrete_function(), path).cut(cut, "Keras file")


def _tensorflow() -> Any:
    tf = need("tensorflow", _EXTRA)
    tf.get_logger().setLevel("ERROR")
    tf.config.set_visible_devices([], "GPU")  # the same answers on every machine
    return tf


def _frozen(tf: Any, function: Any, path: Path) -> _Graph:
    frozen = need(
        "tensorflow.python.framework.convert_to_constants", _EXTRA
    ).convert_variables_to_constants_v2(function)
    inputs, outputs = ([t.name for t in side] for side in (frozen.inputs, frozen.outputs))
    return _Graph(tf, frozen.graph.as_graph_def(), inputs, outputs, path)


class _Graph:
    """A frozen graph with the names of its inputs and outputs."""

    def __init__(
        self, tf: Any, graph: Any, inputs: Sequence[str], outputs: Sequence[str], path: Path
    ) -> None:
        self._tf, self._graph, self._path = tf, graph, path
        self._inputs, self._outputs = inputs, outputs

    def cut(self, cut: Cut, kind: str) -> Original:
        """Return the part that is wanted; raises ModelError."""
        tf = self._tf
        check_names((*cut.inputs, *cut.outputs), self._graph)
        begin, end = detection_cut(self._graph) if cut.for_gpu else ([], [])
        inputs = [tensor_name(name) for name in cut.inputs or begin or self._inputs]
        outputs = [tensor_name(name) for name in cut.outputs or end or self._outputs]
        if len(inputs) != 1:
            raise ModelError(
                f"{self._path}: the graph has {len(inputs)} inputs ({', '.join(inputs)}), and a "
                "model here has one, a picture; say which with --inputs"
            )
        shape = self._input_shape(inputs[0], cut)
        part = cut_off(tf, self._graph, inputs, outputs)
        try:
            module, function = _function(tf, part, inputs[0], outputs, shape)
        except (ValueError, tf.errors.OpError) as error:
            raise ModelError(f"{self._path}: the cut does not hold: {first_line(error)}") from error
        names = tuple(name.removesuffix(":0") for name in outputs)

        def run(image: NDArray[np.float32]) -> Answer:
            found = function(tf.constant(image))
            return {name: np.asarray(found[name], np.float32) for name in names}

        return Original(
            kind, shape, names, run, lambda: _convert(tf, function, module, self._path),
            ("tensorflow", "tensorflow-cpu"),
        )  # fmt: skip

    def _input_shape(self, name: str, cut: Cut) -> tuple[int, ...]:
        with self._tf.Graph().as_default() as graph:
            self._tf.import_graph_def(self._graph, name="")
            tensor = graph.get_tensor_by_name(name)
        if tensor.dtype != self._tf.float32:
            raise ModelError(
                f"{self._path}: input {name!r} is {tensor.dtype.name}, not float32; cut behind the "
                "conversion with --inputs, or use --for gpu"
            )
        sizes = tensor.shape.as_list() if tensor.shape.rank else [None] * _PICTURE_RANK
        sizes[0] = 1
        if cut.size_wh and len(sizes) == _PICTURE_RANK:
            sizes[1], sizes[2] = cut.size_wh[1], cut.size_wh[0]
            sizes[3] = sizes[3] or 3
        if None in sizes:
            raise ModelError(
                f"{self._path}: the graph leaves the size of {name!r} open; give it with "
                "--size WIDTH HEIGHT"
            )
        return tuple(sizes)


def _function(
    tf: Any, graph: Any, source: str, outputs: Sequence[str], shape: tuple[int, ...]
) -> tuple[Any, Any]:
    """Return a module and its function from a picture to outputs by name."""

    def network(image: Any) -> dict[str, Any]:
        found = tf.graph_util.import_graph_def(
            graph, input_map={source: image}, return_elements=list(outputs), name=""
        )
        return {name.removesuffix(":0"): t for name, t in zip(outputs, found, strict=True)}

    module = tf.Module()
    signature = [tf.TensorSpec(shape, tf.float32, name="image")]
    module.network = tf.function(network, input_signature=signature)
    return module, module.network.get_concrete_function()


def _convert(tf: Any, function: Any, module: Any, path: Path) -> bytes:
    converter_error = need("tensorflow.lite.python.convert_phase", _EXTRA).ConverterError
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    try:
        model: bytes = converter.convert()
    except converter_error as error:
        raise ModelError(
            f"{path}: TensorFlow cannot convert it: {first_line(error)}; cut off what it cannot "
            "with --outputs, or --for gpu"
        ) from error
    return model
