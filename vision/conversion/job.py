"""What is to be converted, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vision.models.entries import Description, Sidecar

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from vision.models.convert.agreement import Agreement
    from vision.models.convert.original import Answer, Cut, Original
    from vision.models.convert.quantize import Precision


@dataclass(frozen=True, slots=True)
class Order:
    """What to convert, and how.

    Attributes:
        source: The network.
        target: The `.tflite`; of several precisions each gets its name behind the stem.
        cut: The part that is wanted.
        precisions: The variants, in the order of the table.
        description: A file as a sidecar: task, decoder, input and so on.
        calibration: A folder of pictures, for `int8`.
        check: A folder of pictures to compare on; None for that of `calibration`, else
            drawn ones.
    """

    source: Path
    target: Path
    cut: Cut
    precisions: tuple[Precision, ...]
    description: Path | None = None
    calibration: Path | None = None
    check: Path | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """One converted model.

    Attributes:
        precision: Of its numbers.
        path: Where it is, or would be.
        size: Bytes.
        cpu_ms: Median of a run on one thread.
        gpu_ms: The same where the GPU is here and right, else None.
        agreement: With the original.
        problem: Why it is not offered, empty where it is.
    """

    precision: Precision
    path: Path
    size: int
    cpu_ms: float
    gpu_ms: float | None
    agreement: Agreement
    problem: str


@dataclass(slots=True)
class Job:
    """An order with all that is read and computed once for its variants.

    Attributes:
        order: What to convert.
        sidecar: What the order's description says, None without one.
        original: The network.
        images: (H, W, 3) BGR, to compare on.
        expected: What the original answers to each.
        samples: Files of pictures, for `int8`.
    """

    order: Order
    sidecar: Sidecar | None
    original: Original
    images: list[NDArray[np.uint8]]
    expected: list[Answer] = field(default_factory=list)
    samples: list[Path] = field(default_factory=list)

    @property
    def spec(self) -> Description:
        """What is said of the model; where nothing is, only its input is looked at."""
        return self.sidecar or Description(decoder="")
