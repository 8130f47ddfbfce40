"""What to change in a model so that it runs where it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision.models.inspect.gpu_rules import SUPPRESSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vision.models.inspect.report import Report

_MOST_TRANSPOSES = 0.1
_STORED = ("uint8", "int8")
_INSTEAD = {"SQUEEZE": "RESHAPE", "EXPAND_DIMS": "RESHAPE", "GATHER_ND": "SLICE"}


def advise(report: Report) -> list[str]:
    """Return sentences, the weightiest first; none where nothing is to be changed."""
    return [
        *_sparse(report),
        *_suppression(report),
        *_types(report),
        *_shapes(report),
        *_tail(report),
        *_transposes(report),
        *_stored(report),
    ]


def _sparse(report: Report) -> Iterator[str]:
    names = {step.name for step in report.steps}
    if "DENSIFY" in names or any(tensor.sparse for tensor in report.graph.tensors):
        yield (
            "sparse weights: use the dense file of this model; split between CPU and GPU, "
            "sparse ones have given NaN and values up to 1e32 without an error"
        )


def _suppression(report: Report) -> Iterator[str]:
    step = next((step for step in report.steps if step.name in SUPPRESSION), None)
    if step is None:
        return
    operator = report.graph.operators[step.index]
    computed = [n for n in operator.inputs if n >= 0 and not report.graph.constant_bytes(n)]
    names = ", ".join(report.graph.tensors[n].name for n in computed[:3])
    yield (
        f"cut before {step.name} (operation {step.index}), at {names}: the CPU decodes these "
        f"faster than it takes the model in parts (decoders ssd-anchors, yolo-rows)"
    )


def _types(report: Report) -> Iterator[str]:
    graph = report.graph
    names = [
        graph.tensors[number].name
        for operator in graph.operators
        for number in operator.inputs
        if number >= 0 and graph.tensors[number].dtype == "int64"
    ]
    if names:
        more = f" and {len(set(names)) - 1} more" if len(set(names)) > 1 else ""
        yield f"int64 indices at {names[0]}{more}: export with int32, or cut before them"


def _shapes(report: Report) -> Iterator[str]:
    for tensor in (*report.metadata.inputs, *report.metadata.outputs):
        if tensor.dynamic:
            yield f"{tensor.name} has open dimensions: convert with a fixed size"
            return
    batch = report.metadata.input_shape[:1]
    if batch and batch[0] > 1:
        yield f"it takes {batch[0]} pictures at once: for one camera convert with a batch of 1"


def _tail(report: Report) -> Iterator[str]:
    """Yield what is to be done about what stays on the CPU."""
    parts = report.parts
    on_cpu = sorted({step.name for step in report.steps if step.refusal is not None})
    if len(parts) == 2 and parts[0].on_gpu and not SUPPRESSION.intersection(on_cpu):  # noqa: PLR2004
        step = report.steps[parts[1].first]
        yield f"cut before {step.name} (operation {step.index}): all up to there is for the GPU"
    elif len(parts) > 2:  # noqa: PLR2004  (one on each processor)
        names = ", ".join(
            f"{name} (by {_INSTEAD[name]})" if name in _INSTEAD else name for name in on_cpu
        )
        yield f"{len(parts)} parts, a copy between every two: replace {names}, or stay on the CPU"


def _transposes(report: Report) -> Iterator[str]:
    count = sum(step.name == "TRANSPOSE" for step in report.steps)
    if count > _MOST_TRANSPOSES * len(report.steps):
        yield (
            f"{count} TRANSPOSE of {len(report.steps)} operations turn planes (NCHW) around: "
            f"a converter that lays the network out as NHWC (onnx2tf) leaves them out"
        )


def _stored(report: Report) -> Iterator[str]:
    kinds = {step.name for step in report.steps}
    weights = {
        report.graph.tensors[number].dtype
        for operator in report.graph.operators
        for number in operator.inputs
        if number >= 0
    }
    if weights.intersection(_STORED) and "CONV_2D" in kinds:
        yield (
            "8-bit: made for the CPU; a GPU computes it in floating point, no faster than fp16 "
            "and with other rounding: convert with --quantize fp16 for a GPU"
        )
