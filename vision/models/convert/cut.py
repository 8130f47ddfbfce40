"""Where to cut a TensorFlow graph: by names, or before what a GPU cannot compute."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from vision.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BEFORE, _AFTER = "Preprocessor/", "Postprocessor/"
# The Object Detection API marks with these what goes into its post-processing.
_MARKS = ("Postprocessor/raw_box_encodings", "Postprocessor/raw_box_scores")
_SUPPRESSION = ("NonMaxSuppression", "CombinedNonMaxSuppression")


def tensor_name(name: str) -> str:
    """Return the name of a tensor, where a node's name means its first output."""
    name = name.removeprefix("^")
    return name if ":" in name else f"{name}:0"


def check_names(names: Iterable[str], graph: Any) -> None:
    """Raise ModelError for a name that no node of the GraphDef has."""
    nodes = {node.name for node in graph.node}
    for name in names:
        node = name.partition(":")[0]
        if node not in nodes:
            raise ModelError(f"the graph has no node {node!r}{nearest_of(node, nodes)}")


def nearest_of(name: str, names: Iterable[str]) -> str:
    """Return the names that come nearest to `name`, for an error: a graph has thousands."""
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0)
    return f"; nearest are {', '.join(close)}"


def detection_cut(graph: Any) -> tuple[list[str], list[str]]:
    """Return the tensors to begin and to end with, so that a GPU takes what is between.

    Args:
        graph: A GraphDef with a detector's post-processing.

    Returns:
        The input, empty to keep the graph's own; the outputs, empty where there is no
        non-maximum suppression to cut off.
    """
    nodes = {node.name: node for node in graph.node}
    if all(mark in nodes for mark in _MARKS):
        outputs = [tensor_name(nodes[mark].input[0]) for mark in _MARKS]
        return _leaving(graph, _BEFORE), outputs
    for node in graph.node:
        if node.op.startswith(_SUPPRESSION):
            return [], [tensor_name(name) for name in node.input[:2]]
    return [], []


def _leaving(graph: Any, scope: str) -> list[str]:
    """Return the tensors that go from a scope to the network itself."""
    names = {
        tensor_name(source)
        for node in graph.node
        if not node.name.startswith((scope, _AFTER))
        for source in node.input
        if source.startswith(scope)
    }
    return sorted(names) if len(names) == 1 else []


def cut_off(tf: Any, graph: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """Return a GraphDef that begins with `inputs` and has nothing that `outputs` do not need."""
    begin = {name.partition(":")[0] for name in inputs}
    part = tf.compat.v1.GraphDef()
    part.CopyFrom(graph)
    for node in part.node:
        if node.name in begin:
            node.CopyFrom(tf.compat.v1.NodeDef(name=node.name, op="Placeholder"))
            node.attr["dtype"].type = tf.float32.as_datatype_enum
    return tf.compat.v1.graph_util.extract_sub_graph(part, [n.partition(":")[0] for n in outputs])
