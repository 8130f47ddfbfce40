"""Which operations a GPU takes, and why not the others.

Sources: the operations listed under "Supported ops" in the LiteRT GPU documentation
(https://ai.google.dev/edge/litert/performance/gpu), with the conditions that TensorFlow
checks in `lite/tools/versioning/gpu_compatibility.cc`. DENSIFY stands in both, but GPU
runs of sparse models gave NaN and values up to 1e32, so it counts as not taken.

These are rules on paper. What a driver really takes, only trying tells.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vision.models.graph import Graph, Operator, Tensor

_TAKEN = frozenset(
    """
ABS ADD ADD_N AVERAGE_POOL_2D BATCH_MATMUL CAST CONCATENATION CONV_2D COS CUMSUM DEPTHWISE_CONV_2D
DEPTH_TO_SPACE DEQUANTIZE DIV ELU EQUAL EXP FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GELU
GREATER GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGISTIC LSTM MAXIMUM
MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD PADV2 POW PRELU QUANTIZE
REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR
RESIZE_NEAREST_NEIGHBOR RSQRT SELECT SELECT_V2 SIGN SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SPLIT_V
SQRT SQUARE SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE TRANSPOSE_CONV
Convolution2DTransposeBias MaxPoolingWithArgmax2D MaxUnpooling2D Resampler
""".split()  # noqa: SIM905  (90 names, one a line, would bury the rules)
)
SUPPRESSION = frozenset(
    {"NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "TFLite_Detection_PostProcess"}
)
_WITHOUT_KERNEL = frozenset({"int64", "string", "complex64", "complex128", "float64", "variant"})
_SLICES = frozenset({"SLICE", "STRIDED_SLICE"})
_SLICE_RANKS = (3, 4)
_REDUCTIONS = frozenset({"MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"})
_INDICES = 1  # the second input of GATHER, and the axes of a reduction
_PAIRS = _REDUCTIONS | {"GATHER", "MUL"}  # have two inputs at the least, all others one


def refusal(graph: Graph, operator: Operator) -> str | None:
    """Return why a GPU does not take `operator`, None where it does."""
    if operator.name in SUPPRESSION:
        return "suppression of boxes has no GPU kernel"
    if operator.name == "DENSIFY":
        return "sparse weights are unpacked on the CPU"
    if operator.name not in _TAKEN:
        return "no GPU kernel"
    if len(operator.inputs) < 1 + (operator.name in _PAIRS) or -1 in operator.inputs[:2]:
        return "an input is missing"
    numbers = [i for i in (*operator.inputs, *operator.outputs) if i >= 0]
    return _by_type(graph, numbers) or _by_arguments(graph, operator)


def _by_type(graph: Graph, numbers: list[int]) -> str | None:
    for number in numbers:
        tensor = graph.tensors[number]
        if tensor.dtype in _WITHOUT_KERNEL:
            return f"{tensor.dtype} tensor {tensor.name!r}"
        if tensor.dynamic:
            return f"shape of {tensor.name!r} is known only at run time"
    return None


def _by_arguments(graph: Graph, operator: Operator) -> str | None:
    inputs = [graph.tensors[i] for i in operator.inputs if i >= 0]
    conditions = {
        "its slices have neither 3 nor 4 dimensions": (
            operator.name in _SLICES and len(inputs[0].shape) not in _SLICE_RANKS
        ),
        "its indices are not one row of int32, or its values are": (
            operator.name == "GATHER" and not _gathers(inputs)
        ),
        "its axes are computed, not constant": (
            operator.name in _REDUCTIONS and not graph.constant_bytes(operator.inputs[_INDICES])
        ),
        "both factors are stretched": operator.name == "MUL" and _both_broadcast(inputs),
        "16-bit integers": operator.name == "DEQUANTIZE" and inputs[0].dtype == "int16",
        "its weights are unpacked on the CPU": (
            operator.name == "DEQUANTIZE" and operator.inputs[0] in _unpacked(graph)
        ),
        "its input is constant": (
            operator.name == "FULLY_CONNECTED" and graph.constant_bytes(operator.inputs[0]) > 0
        ),
    }
    return next((reason for reason, holds in conditions.items() if holds), None)


@functools.lru_cache(maxsize=1)
def _unpacked(graph: Graph) -> frozenset[int]:
    """Return the outputs of DENSIFY."""
    return frozenset(n for op in graph.operators if op.name == "DENSIFY" for n in op.outputs)


def _gathers(inputs: list[Tensor]) -> bool:
    values, indices = inputs[:2]
    return values.dtype != "int32" and indices.dtype == "int32" and len(indices.shape) == 1


def _both_broadcast(inputs: list[Tensor]) -> bool:
    first, second = inputs[0].shape, inputs[1].shape
    if len(first) != len(second):
        return False
    pairs = list(zip(first, second, strict=True))
    return any(a < b for a, b in pairs) and any(b < a for a, b in pairs)
