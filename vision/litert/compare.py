"""How far a backend's answers are from the CPU's.

Raw outputs are compared number by number, in real units. A model that ends in its own
non-maximum suppression gives a list, in which one rounding may swap two rows; there the
boxes are matched first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vision.geometry import iou_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vision.interfaces import TensorSpec

    Answers = Sequence[NDArray[Any]]

_STRONG_SCORE = 0.3
_SCORE_SLACK = 0.05
_SAME_IOU = 0.8
_LEAST_SPAN = 0.05


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one output, over all pictures.

    Attributes:
        name: The output's.
        max_error: Largest absolute difference, in real units; infinite for NaN.
        relative: The same as a part of what the output spans on that very picture, at the
            picture where this is the most. One step of a quantised output is no difference.
    """

    name: str
    max_error: float
    relative: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """All outputs.

    Attributes:
        differences: By output; of a list of boxes, over the boxes that match.
        unmatched: Of a list, the part of the CPU's strong boxes that the other has not,
            or not alike; None where the outputs are no list.
    """

    differences: list[Difference]
    unmatched: float | None = None


def compare(
    specs: Sequence[TensorSpec], expected: Sequence[Answers], actual: Sequence[Answers]
) -> Comparison:
    """Compare answers to the same pictures.

    Args:
        specs: The outputs.
        expected: The CPU's answer to each picture: one array an output.
        actual: The other's.
    """
    roles = _find_list(specs, expected)
    if roles is not None:
        return _compare_lists(specs, roles, expected, actual)
    return Comparison(
        [
            _difference(spec, [want[i] for want in expected], [have[i] for have in actual])
            for i, spec in enumerate(specs)
        ]
    )


def _difference(
    spec: TensorSpec, expected: Sequence[NDArray[Any]], actual: Sequence[NDArray[Any]]
) -> Difference:
    unit = spec.scale or 1.0
    want = np.stack(expected).astype(np.float64).reshape(len(expected), -1) * unit
    have = np.stack(actual).astype(np.float64).reshape(len(actual), -1) * unit
    if not np.isfinite(have).all():
        return Difference(spec.name, math.inf, math.inf)
    errors = np.abs(want - have).max(axis=1)
    # An output that is nearly constant on one picture is measured against the others.
    spans = np.maximum(np.ptp(want, axis=1), np.ptp(want) * _LEAST_SPAN)
    excess = np.maximum(errors - spec.scale, 0)
    relative = np.where(excess > 0, math.inf, 0)
    np.divide(excess, spans, out=relative, where=spans > 0)
    return Difference(spec.name, float(errors.max()), float(relative.max()))


@dataclass(frozen=True, slots=True)
class _ListOutputs:
    """Which output is what: boxes (1, N, 4), classes and scores (1, N)."""

    boxes: int
    classes: int
    scores: int


def _find_list(specs: Sequence[TensorSpec], expected: Sequence[Answers]) -> _ListOutputs | None:
    """Know a detection post-process by shapes and values: class numbers are whole."""
    boxes = [i for i, spec in enumerate(specs) if spec.shape[2:] == (4,)]
    if len(boxes) != 1:
        return None
    columns = [i for i, spec in enumerate(specs) if spec.shape == specs[boxes[0]].shape[:2]]
    classes = [i for i in columns if all((a[i] == np.rint(a[i])).all() for a in expected)]
    scores = [i for i in columns if i not in classes]
    if len(classes) != 1 or len(scores) != 1:
        return None
    return _ListOutputs(boxes[0], classes[0], scores[0])


def _compare_lists(
    specs: Sequence[TensorSpec],
    roles: _ListOutputs,
    expected: Sequence[Answers],
    actual: Sequence[Answers],
) -> Comparison:
    best = max(float(want[roles.scores].max()) for want in expected)
    floor = min(_STRONG_SCORE, best / 2)
    matched: dict[int, list[tuple[NDArray[Any], NDArray[Any]]]] = {
        roles.boxes: [],
        roles.scores: [],
    }
    strong = 0
    for want, have in zip(expected, actual, strict=True):
        rows = np.flatnonzero(want[roles.scores][0] >= floor)
        strong += len(rows)
        same = (
            (iou_matrix(want[roles.boxes][0][rows], have[roles.boxes][0]) >= _SAME_IOU)
            & (want[roles.classes][0][rows, None] == have[roles.classes][0])
            & (np.abs(want[roles.scores][0][rows, None] - have[roles.scores][0]) <= _SCORE_SLACK)
        )
        for row, partners in zip(rows, same, strict=True):
            if partners.any():
                partner = int(partners.argmax())
                for i, pairs in matched.items():
                    pairs.append((want[i][0][row], have[i][0][partner]))
    found = len(matched[roles.scores])
    if not found:
        return Comparison([], 1.0)
    differences = [
        _difference(specs[i], [want for want, _ in pairs], [have for _, have in pairs])
        for i, pairs in matched.items()
    ]
    return Comparison(differences, 1 - found / strong)
