"""How well a converted model agrees with the network that it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vision.geometry import iou_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vision.detection import Detections
    from vision.models.convert.original import Answer
    from vision.models.convert.quantize import Precision

STRONG = 0.5
"""Score from which on a box has to be found again."""
FLOOR = 0.3
"""Score of the box that it is found again as: one on the threshold may fall below it."""
_SAME_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Limit:
    """What is allowed.

    Attributes:
        mean_error: Of a raw output, as a part of its range. The largest error says less:
            it is that of one number among many thousands that no box comes from.
        alike: The part of strong boxes or of best classes that must be the same.
    """

    mean_error: float
    alike: float


LIMITS: dict[Precision, Limit] = {
    "none": Limit(1e-4, 0.99),
    "fp16": Limit(2e-3, 0.98),
    "dynamic": Limit(2e-2, 0.9),
    "int8": Limit(2e-2, 0.9),
}


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over all pictures and outputs.

    Attributes:
        max_error: The largest difference of a raw output, as a part of its range.
        mean_error: The mean difference, so too; of the worst output.
        alike: The part of strong boxes or of best classes that are the same; None where
            nothing says how to read the outputs, or there were no strong boxes.
    """

    max_error: float
    mean_error: float
    alike: float | None

    def problem(self, precision: Precision) -> str:
        """Say which limit is passed, empty where none is."""
        limit = LIMITS[precision]
        if not self.mean_error <= limit.mean_error:  # so that NaN is a problem, too
            return f"its mean error is {self.mean_error:.2%}, allowed is {limit.mean_error:.2%}"
        if self.alike is not None and self.alike < limit.alike:
            return f"only {self.alike:.1%} of its answers are alike, wanted are {limit.alike:.0%}"
        return ""


def raw_errors(expected: Sequence[Answer], actual: Sequence[Answer]) -> tuple[float, float]:
    """Return the largest and the mean difference, as parts of each output's range."""
    largest = mean = 0.0
    for name in expected[0]:
        want = np.stack([answer[name] for answer in expected]).astype(np.float64)
        have = np.stack([answer[name] for answer in actual]).astype(np.float64)
        span = float(np.ptp(want)) or 1.0
        usable = want.shape == have.shape and np.isfinite(have).all()
        error = np.abs(want - have) / span if usable else np.array(np.inf)
        largest, mean = max(largest, float(error.max())), max(mean, float(error.mean()))
    return largest, mean


def same_boxes(expected: Sequence[Detections], actual: Sequence[Detections]) -> float | None:
    """Return the part of strong boxes, of either side, that the other side has as well."""
    strong = found = 0
    for want, have in zip(expected, actual, strict=True):
        alike = (iou_matrix(want.xyxy, have.xyxy) >= _SAME_IOU) & (
            want.class_id[:, None] == have.class_id
        )
        for side, axis in ((want, 1), (have, 0)):
            counts = side.score >= STRONG
            strong += int(counts.sum())
            found += int((alike.any(axis=axis) & counts).sum())
    return found / strong if strong else None


def same_class(expected: Sequence[Answer], actual: Sequence[Answer]) -> float:
    """Return the part of answers whose best class is the same."""
    same = [_best(want) == _best(have) for want, have in zip(expected, actual, strict=True)]
    return sum(same) / len(same)


def _best(answer: Answer) -> int:
    return int(next(iter(answer.values())).argmax())
