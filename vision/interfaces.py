"""The contracts that plug-ins fulfil. Each is small enough to hold in the head."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from vision.detection import Detections, Track
    from vision.event import Record
    from vision.frame import Frame, Result
    from vision.geometry import Letterbox


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A model's input or output.

    Attributes:
        name: As the model file has it.
        shape: With the batch dimension.
        dtype: numpy's.
        scale: Of a quantised tensor (real = scale * (q - zero_point)), else 0.
        zero_point: See `scale`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float = 0.0
    zero_point: int = 0

    @property
    def planar(self) -> bool:
        """Of a picture: each colour is a plane of its own, (1, 3, H, W)."""
        return self.shape[1:2] == (3,) and self.shape[-1] != 3  # noqa: PLR2004

    @property
    def picture_wh(self) -> tuple[int, int]:
        """Width and height of a picture, (1, H, W, 3) or (1, 3, H, W)."""
        height, width = self.shape[2:] if self.planar else self.shape[1:3]
        return width, height


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What really computes, for the overlay, the log, JSON and events.

    Attributes:
        name: `cpu`, `gpu` or `delegate`: what runs, never what was asked for.
        device: The processor's or adapter's own name.
        delegated_ops: Operations on the accelerator (0 on a CPU).
        total_ops: Operations in the model.
        precision: `fp32`, `fp16` or `int8`.
        max_error: Largest difference to the CPU's raw outputs, 0 on the CPU itself;
            None where it was not measured.
        threads: CPU threads, 0 where none of ours compute.
        fallback: Why this is not what was chosen, once it had to give way.
    """

    name: str
    device: str
    delegated_ops: int
    total_ops: int
    precision: str
    max_error: float | None
    threads: int
    fallback: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what events, summaries and `--json` show."""
        told = asdict(self)
        del told["threads"]
        if self.fallback is None:
            del told["fallback"]
        return told

    def words(self) -> str:
        """Return what a person reads in the overlay and in the log."""
        if self.fallback is not None:
            return f"{self.name} ({self.fallback})"
        if self.max_error:
            return f"{self.name} {self.precision}, error {self.max_error:.1g}"
        return self.name


class Source(Protocol):
    """Gives frames. `open`, `read` and `close` are called in one thread."""

    live: bool
    """A camera (paced by the world, latest wins) or a file (every frame counts)."""

    def open(self) -> None:
        """Open the device or file; raises SourceError."""

    def read(self) -> Frame:
        """Block for the next frame; raises SourceError or EndOfStream."""

    def close(self) -> None:
        """Give the device back. Safe after a failed `open`, and twice."""


class Backend(Protocol):
    """Runs one model. A slot is one frame's place in it.

    One thread may write and `submit` while another is in `collect`, on different slots.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    slots: int
    queues: bool
    """Whether `submit` starts the work, so that every submitted slot must be collected."""
    info: BackendInfo

    def input_view(self, slot: int) -> NDArray[Any]:
        """Return the first input of `slot`, to be written in place."""

    def submit(self, slot: int) -> None:
        """Start on `slot`; on a CPU nothing happens yet. Raises BackendError."""

    def collect(self, slot: int) -> Sequence[NDArray[Any]]:
        """Wait for `slot` and return its outputs, valid until it is submitted again."""

    def close(self) -> None:
        """Free the model. Safe twice."""


class Detector(Protocol):
    """Turns a model's outputs into boxes of the source frame."""

    labels: tuple[str, ...]

    def decode(
        self, outputs: Sequence[NDArray[Any]], letterbox: Letterbox, size_wh: tuple[int, int]
    ) -> Detections:
        """Return boxes with `score` ≥ the detector's own floor.

        Args:
            outputs: As `Backend.collect` gave them.
            letterbox: How the frame was laid into the model's input.
            size_wh: The source frame's, to clip to.
        """


class Classifier(Protocol):
    """Turns a model's outputs into class probabilities."""

    labels: tuple[str, ...]

    def probabilities(self, outputs: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Return (C,) float32, 0…1, of what `Backend.collect` gave."""


class Tracker(Protocol):
    """Follows boxes over frames."""

    def update(self, detections: Detections, captured_ns: int) -> Sequence[Track]:
        """Take one frame's boxes; return the tracks that are alive after it."""


class Output(Protocol):
    """Shows results to a person. Called in the overlay thread."""

    def open(self) -> None:
        """Open; raises StageError."""

    def write(self, image: NDArray[np.uint8], result: Result) -> bool:
        """Show a drawn (H, W, 3) BGR picture; False asks the program to stop."""

    def close(self) -> None:
        """Close. Safe after a failed `open`, and twice."""


class Publisher(Protocol):
    """Delivers events to another system. Called in its own thread."""

    def open(self) -> None:
        """Connect; raises PublishError."""

    def publish(self, records: Sequence[Record]) -> None:
        """Deliver all or raise PublishError; what was raised for is given again."""

    def close(self) -> None:
        """Disconnect. Safe after a failed `open`, and twice."""


class Factory(Protocol):
    """A plug-in class as the registry sees it: it has a `Config`."""

    Config: type[Any]

    def __call__(self, config: Any, **context: Any) -> Any:
        """Build the plug-in; opens nothing."""
