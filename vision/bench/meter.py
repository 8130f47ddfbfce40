"""The clocks that a benchmark looks at."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision.errors import UsageError

WARM_UP_FRAMES = 30


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of the limit or of the line."""

    fps: float
    cpu_ms_per_frame: float
    page_faults_per_frame: float
    summary: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Clocks:
    """Wall clock, CPU time and minor page faults of this process."""

    wall_ns: int
    cpu_ns: int
    page_faults: int

    @staticmethod
    def now() -> Clocks:
        """Look at all of them."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return Clocks(time.monotonic_ns(), time.process_time_ns(), usage.ru_minflt)

    @staticmethod
    def between(first: Clocks, last: Clocks, frames: int, summary: dict[str, Any]) -> Measured:
        """Return what passed from `first` to `last`, a frame."""
        if frames <= 0:
            raise UsageError(f"bench: the source ended within the {WARM_UP_FRAMES} warm-up frames")
        return Measured(
            fps=frames * 1e9 / (last.wall_ns - first.wall_ns),
            cpu_ms_per_frame=(last.cpu_ns - first.cpu_ns) / 1e6 / frames,
            page_faults_per_frame=(last.page_faults - first.page_faults) / frames,
            summary=summary,
        )


class Meter:
    """An output that looks at the clocks after the warm-up and at every frame from there."""

    def __init__(self) -> None:
        self._frames = 0
        self._first = self._last = Clocks(0, 0, 0)

    def of(self, camera: str) -> Meter:  # noqa: ARG002  (as a plug-in is called)
        """Return this meter as the output of any camera."""
        return self

    def open(self) -> None:
        """Nothing to open."""

    def write(self, image: object, result: object) -> bool:  # noqa: ARG002
        """Look at the clocks."""
        self._frames += 1
        self._last = Clocks.now()
        if self._frames == WARM_UP_FRAMES:
            self._first = self._last
        return True

    def close(self) -> None:
        """Nothing to close."""

    def measured(self, summary: dict[str, Any]) -> Measured:
        """Return what passed since the warm-up."""
        return Clocks.between(self._first, self._last, self._frames - WARM_UP_FRAMES, summary)


def rss_mb() -> float:
    """Return this process's resident memory."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
