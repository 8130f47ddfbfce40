"""The graph inside a `.tflite` file: its tensors and its operators.

The numbers of the fields are those of TensorFlow's `schema.fbs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vision.errors import ModelError
from vision.models.flatbuffer import Buffer, DamagedError, Table
from vision.models.operators import BUILTIN_OPERATORS

if TYPE_CHECKING:
    from pathlib import Path

_CUSTOM = BUILTIN_OPERATORS.index("CUSTOM")
_TYPES = """
float32 float16 int32 uint8 int64 string bool int16 complex64 int8 float64 complex128 uint64
resource variant uint32 uint16 int4 bfloat16
""".split()  # noqa: SIM905  (a number's name, in the schema's order)


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor.

    Attributes:
        name: As the converter left it.
        shape: With the batch dimension.
        dtype: numpy's name.
        scale: Of a quantised tensor, else 0; of its first channel where each has its own.
        zero_point: See `scale`.
        dynamic: A dimension is known only when the model runs.
        sparse: Its weights leave out the zeros.
        buffer: Number of the buffer with its data; 0 where it has none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int
    dynamic: bool
    sparse: bool
    buffer: int


@dataclass(frozen=True, slots=True)
class Operator:
    """One operation: its name, and the numbers of its tensors (-1 for one left out)."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """The main graph, in the order of running.

    Attributes:
        tensors: All of them.
        operators: All of them.
        inputs: Numbers of tensors.
        outputs: Numbers of tensors.
        buffer_bytes: Length of every buffer.
    """

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    buffer_bytes: tuple[int, ...]

    def constant_bytes(self, tensor: int) -> int:
        """Return the length of what a tensor holds in the file; 0 if it is computed."""
        return self.buffer_bytes[self.tensors[tensor].buffer]


def read_graph(path: Path) -> Graph:
    """Return the main graph of the model file at `path`.

    Raises:
        ModelError: If the file cannot be read, or is damaged.
    """
    try:
        return parse_graph(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot read the model: {error.strerror}") from error
    except DamagedError as error:
        raise ModelError(f"{path}: no usable TFLite model: {error}; get the file again") from error


def parse_graph(data: bytes) -> Graph:
    """Return the main graph in the bytes of a model file; raises DamagedError."""
    model = Buffer(data, b"TFL3").root()
    main = model.nth_table(2, 0)
    graph = Graph(
        tensors=tuple(tensor_of(table) for table in main.tables(0)),
        operators=operators_of(model, main),
        inputs=main.integers(1),
        outputs=main.integers(2),
        buffer_bytes=tuple(table.length(0) or table.integer(2, "Q") for table in model.tables(4)),
    )
    count, buffers = len(graph.tensors), len(graph.buffer_bytes)
    used = [i for op in graph.operators for i in (*op.inputs, *op.outputs)]
    if any(not -1 <= i < count for i in (*used, *graph.inputs, *graph.outputs)):
        raise DamagedError("an operator's tensor does not exist")
    if any(tensor.buffer >= buffers for tensor in graph.tensors):
        raise DamagedError("a tensor's data does not exist")
    return graph


def tensor_of(table: Table) -> Tensor:
    """Return what a tensor's table says."""
    number = table.integer(1, "b")
    quantization = table.table(4)
    scales = quantization.floats(2) if quantization else ()
    zero_points = quantization.longs(3) if quantization else ()
    return Tensor(
        name=table.text(3),
        shape=table.integers(0),
        dtype=_TYPES[number] if 0 <= number < len(_TYPES) else f"type {number}",
        scale=scales[0] if scales else 0.0,
        zero_point=zero_points[0] if zero_points else 0,
        dynamic=-1 in table.integers(7),
        sparse=table.table(6) is not None,
        buffer=table.integer(2, "I"),
    )


def operators_of(model: Table, main: Table) -> tuple[Operator, ...]:
    """Return the operators of a graph; raises DamagedError."""
    names = [_name(code) for code in model.tables(1)]
    try:
        return tuple(
            Operator(names[table.integer(0, "I")], table.integers(1), table.integers(2))
            for table in main.tables(3)
        )
    except IndexError:
        raise DamagedError("an operator is not in its own list") from None


def _name(code: Table) -> str:
    # Codes up to 127 stand in an older, one-byte field (and here too, or not).
    number = max(code.integer(0, "b"), code.integer(3, "i"))
    if number == _CUSTOM:
        return code.text(1)
    known = 0 <= number < len(BUILTIN_OPERATORS)
    return BUILTIN_OPERATORS[number] if known else f"BUILTIN_{number}"
