"""Latency percentiles, rates and drops, in memory that does not grow."""

from __future__ import annotations

import math

import numpy as np

_PER_OCTAVE = 64  # buckets a doubling: 1.1 % wide
_OCTAVES = 48  # 1 ns to 78 hours
_SCALE = _PER_OCTAVE / math.log(2)


class Histogram:
    """Durations in logarithmic buckets: percentiles within 0.6 %, 24 kB for ever.

    One thread records; any may read.
    """

    def __init__(self) -> None:
        self.count = 0
        self._buckets = [0] * (_PER_OCTAVE * _OCTAVES)

    def record(self, duration_ns: int) -> None:
        """Count one duration; less than 1 ns counts as 1."""
        index = int(math.log(max(duration_ns, 1)) * _SCALE)
        self._buckets[min(index, len(self._buckets) - 1)] += 1
        self.count += 1

    def percentile_ms(self, percent: float) -> float:
        """Return the duration that `percent` of all do not exceed; 0 without any."""
        counts = np.cumsum(self._buckets)
        if not counts[-1]:
            return 0.0
        index = int(np.searchsorted(counts, counts[-1] * percent / 100))
        return math.exp((index + 0.5) / _SCALE) / 1e6

    def summary(self) -> dict[str, float]:
        """Return p50, p95 and p99 in milliseconds."""
        return {f"p{p}": round(self.percentile_ms(p), 3) for p in (50, 95, 99)}


class Stats:
    """What one camera's line did. Each stage is recorded by one thread."""

    def __init__(self) -> None:
        self.frames_in = 0
        self.frames_out = 0
        self._stages: dict[str, Histogram] = {}

    def record(self, stage: str, duration_ns: int) -> None:
        """Count one duration of `stage`."""
        histogram = self._stages.get(stage)
        if histogram is None:
            histogram = self._stages.setdefault(stage, Histogram())
        histogram.record(duration_ns)

    def latency_ms(self) -> dict[str, dict[str, float]]:
        """Return p50, p95 and p99 by stage, in milliseconds."""
        return {name: histogram.summary() for name, histogram in list(self._stages.items())}


class Rate:
    """Frames a second, smoothed over about a second of time."""

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._frames = 0.0
        self._seconds = 0.0

    def tick(self, now_ns: int) -> float:
        """Count a frame at `now_ns`; return the rate, 0 for the first.

        Frames and seconds fade alike, so the first short gap counts for no more than it
        lasted.
        """
        if self._last_ns is None:
            self._last_ns = now_ns
            return 0.0
        gap_s = (now_ns - self._last_ns) / 1e9
        keep = math.exp(-gap_s)
        self._frames = keep * self._frames + 1
        self._seconds = keep * self._seconds + gap_s
        self._last_ns = now_ns
        return self._frames / self._seconds if self._seconds > 0 else 0.0
