"""What a `.tflite` file says about itself, read without a TFLite runtime.

The file is a FlatBuffer (`TFL3`). Models made for phones carry a second one (`M001`,
"TFLite metadata") in a buffer of the first, and the label files that it names in a zip
archive behind it. The numbers of its fields are those of TensorFlow's `metadata_schema.fbs`.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vision.errors import ModelError
from vision.models.flatbuffer import Buffer, DamagedError, Table
from vision.models.graph import Tensor, operators_of, tensor_of

if TYPE_CHECKING:
    from pathlib import Path

_NORMALIZATION = 1  # of the union ProcessUnitOptions
_LABEL_FILES = (2, 3)  # TENSOR_AXIS_LABELS, TENSOR_VALUE_LABELS
_LABEL_FILE_LIMIT = 1 << 20  # bytes; more is no list of labels
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, KeyError, ValueError,
    NotImplementedError, RuntimeError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Metadata:
    """What was found.

    Attributes:
        inputs: Of the graph, in its order.
        outputs: Of the graph, in its order.
        operators: Of the graph in the order of running; a custom one by its own name.
        output_names: Of the outputs, as the metadata has them, in the same order;
            empty where there is no metadata. So are the rest.
        labels: By class number, gaps (`???`) included.
        input_mean: By channel, or one for all; of a pixel 0…255.
        input_std: See `input_mean`.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: tuple[str, ...]
    output_names: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    input_mean: tuple[float, ...] = ()
    input_std: tuple[float, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the first input, with the batch dimension."""
        return self.inputs[0].shape

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """Of the outputs, as the graph has them."""
        return tuple(tensor.name for tensor in self.outputs)


def read_metadata(path: Path) -> Metadata:
    """Return what the model file at `path` says about itself.

    Raises:
        ModelError: If the file cannot be read, or is damaged where it is looked at.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot read the model: {error.strerror}") from error
    try:
        return parse(data)
    except DamagedError as error:
        raise ModelError(f"{path}: no usable TFLite model: {error}; get the file again") from error


def parse(data: bytes) -> Metadata:
    """Return what the bytes of a model file say.

    Raises:
        DamagedError: If they are no TFLite model, or a damaged one.
    """
    model = Buffer(data, b"TFL3").root()
    graph = model.nth_table(2, 0)
    inputs, outputs = graph.integers(1), graph.integers(2)
    if not inputs or not outputs:
        raise DamagedError("its graph has no input or no output")
    own = _own(model)
    described = next(own.tables(3), None) if own else None
    tensors = list(described.tables(3)) if described else []
    mean, std = _normalization(described) if described else ((), ())
    return Metadata(
        inputs=tuple(tensor_of(graph.nth_table(0, index)) for index in inputs),
        outputs=tuple(tensor_of(graph.nth_table(0, index)) for index in outputs),
        operators=tuple(operator.name for operator in operators_of(model, graph)),
        output_names=tuple(tensor.text(0) for tensor in tensors),
        labels=_labels(data, tensors),
        input_mean=mean,
        input_std=std,
    )


def _own(model: Table) -> Table | None:
    """Return the root of the metadata, None where the model has none."""
    for entry in model.tables(6):
        if entry.text(0) == "TFLITE_METADATA":
            return Buffer(model.nth_table(4, entry.integer(1, "I")).raw(0), b"M001").root()
    return None


def _normalization(described: Table) -> tuple[tuple[float, ...], tuple[float, ...]]:
    first = next(described.tables(2), None)
    for unit in first.tables(4) if first else ():
        options = unit.table(1)
        if unit.integer(0, "B") == _NORMALIZATION and options:
            return options.floats(0), options.floats(1)
    return (), ()


def _labels(data: bytes, tensors: list[Table]) -> tuple[str, ...]:
    for tensor in tensors:
        for file in tensor.tables(6):
            if file.integer(2, "b") in _LABEL_FILES:
                return _label_file(data, file.text(0))
    return ()


def _label_file(data: bytes, name: str) -> tuple[str, ...]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(name) as file:
            text = file.read(_LABEL_FILE_LIMIT).decode()
    except _ZIP_ERRORS as error:
        raise DamagedError(f"its label file {name!r} cannot be read") from error
    return tuple(line.strip() for line in text.rstrip().splitlines())
