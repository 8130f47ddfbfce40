"""What a classifier says of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class ClassScore(NamedTuple):
    """A class and how sure the model is of it, 0…1."""

    label: str
    score: float


def top_k(
    probability: NDArray[np.float32], labels: Sequence[str], k: int, min_score: float = 0.0
) -> tuple[ClassScore, ...]:
    """Return the best classes, best first.

    Args:
        probability: (C,).
        labels: C names.
        k: At most so many.
        min_score: None below this.
    """
    best = np.argsort(-probability, kind="stable")[:k]
    return tuple(
        ClassScore(labels[i], round(float(probability[i]), 4))
        for i in best
        if probability[i] >= min_score
    )
