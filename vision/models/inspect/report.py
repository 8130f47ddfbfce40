"""Everything that can be said of a model file without running it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from vision.models.graph import Graph, read_graph
from vision.models.inspect.gpu_rules import refusal
from vision.models.metadata import Metadata, read_metadata

if TYPE_CHECKING:
    from pathlib import Path

# Their constants are the weights of whatever uses their output.
_UNPACKING = {"DEQUANTIZE", "DENSIFY"}


@dataclass(frozen=True, slots=True)
class Step:
    """One operation.

    Attributes:
        index: In the order of running.
        name: Of the operator.
        shape: Of its first output.
        weight_bytes: Of the constants that it computes with.
        refusal: Why a GPU does not take it, None where it does.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    weight_bytes: int
    refusal: str | None


@dataclass(frozen=True, slots=True)
class Kind:
    """All operations of one name.

    Attributes:
        name: Of the operator.
        count: How many.
        weight_bytes: Of all of them.
        on_gpu: How many a GPU takes.
        refusals: Why it does not take the others, each reason once.
    """

    name: str
    count: int
    weight_bytes: int
    on_gpu: int
    refusals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """Operations in a row on the same processor: from `first` to `last`, both included."""

    on_gpu: bool
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in a file."""

    path: Path
    size_bytes: int
    graph: Graph
    metadata: Metadata
    steps: tuple[Step, ...]

    @property
    def on_gpu(self) -> int:
        """Operations that a GPU takes, by the rules."""
        return sum(step.refusal is None for step in self.steps)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The split that would result: every change of processor costs a copy."""
        runs = groupby(self.steps, key=lambda step: step.refusal is None)
        rows = [(on_gpu, list(steps)) for on_gpu, steps in runs]
        return tuple(Part(on_gpu, steps[0].index, steps[-1].index) for on_gpu, steps in rows)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Operations by name, the heaviest first."""
        names = dict.fromkeys(step.name for step in self.steps)
        kinds = (_kind(name, [s for s in self.steps if s.name == name]) for name in names)
        return tuple(sorted(kinds, key=lambda kind: (-kind.weight_bytes, -kind.count)))


def inspect(path: Path) -> Report:
    """Read the model file at `path`; raises ModelError."""
    metadata, graph = read_metadata(path), read_graph(path)
    weights = weight_bytes(graph)
    steps = tuple(
        Step(
            index,
            operator.name,
            graph.tensors[operator.outputs[0]].shape if operator.outputs else (),
            weights[index],
            refusal(graph, operator),
        )
        for index, operator in enumerate(graph.operators)
    )
    return Report(path, path.stat().st_size, graph, metadata, steps)


def weight_bytes(graph: Graph) -> list[int]:
    """Return for every operation the bytes of its constants; shared ones count once."""
    held = {
        number: graph.buffer_bytes[tensor.buffer]
        for number, tensor in enumerate(graph.tensors)
        if tensor.buffer
    }
    weights = []
    for operator in graph.operators:
        own = sum(held.pop(number, 0) for number in operator.inputs)
        if operator.name in _UNPACKING:
            held[operator.outputs[0]] = own
            own = 0
        weights.append(own)
    return weights


def _kind(name: str, steps: list[Step]) -> Kind:
    refusals = dict.fromkeys(step.refusal for step in steps if step.refusal is not None)
    return Kind(
        name,
        len(steps),
        sum(step.weight_bytes for step in steps),
        sum(step.refusal is None for step in steps),
        tuple(refusals),
    )
