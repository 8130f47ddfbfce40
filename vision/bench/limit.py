"""What no program can beat: read and infer, and nothing else."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from vision.bench.meter import WARM_UP_FRAMES, Clocks, Measured
from vision.building import check, load_engine
from vision.runtime.worker import Finished, Worker
from vision.stats import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from vision.config_file import Loaded
    from vision.interfaces import Backend

_IDLE_S = 1.0
_TICK_S = 0.0005


def limit(loaded: Loaded, frames: int) -> Measured:
    """Read and infer in one thread with preallocated buffers.

    On an accelerator as many frames are in flight as it has slots.
    """
    (camera,) = loaded.config.cameras
    source = check(loaded).source(camera)
    backend = _backend(loaded)
    latency = Histogram()
    turn = _turns(backend, backend.slots if backend.queues else 1)

    def read_and_infer() -> None:
        frame = source.read()
        turn()
        latency.record(time.monotonic_ns() - frame.read_ns)

    source.open()
    try:
        measured = _timed(read_and_infer, frames)
    finally:
        source.close()
        backend.close()
    return Measured(
        measured.fps,
        measured.cpu_ms_per_frame,
        measured.page_faults_per_frame,
        dict(latency.summary()),
    )


def in_flight(loaded: Loaded, frames: int) -> dict[str, float]:
    """Return frames a second of the bare model, by how many are in flight."""
    backend = _backend(loaded)
    counts = range(1, backend.slots + 1) if backend.queues else [1]
    try:
        return {str(n): round(_timed(_turns(backend, n), frames).fps, 1) for n in counts}
    finally:
        backend.close()


def gil(loaded: Loaded, frames: int) -> dict[str, float]:
    """Return how a thread that only ticks fares while the model runs.

    Returns:
        `tick_ratio`, its rate against that of an idle process, and `max_gap_ms`.
    """
    backend = _backend(loaded)
    try:
        _timed(_turns(backend, 1), WARM_UP_FRAMES)
        idle = _Ticker()
        time.sleep(_IDLE_S)
        idle.stop()
        busy = _Ticker()
        _timed(_turns(backend, backend.slots if backend.queues else 1), frames)
        busy.stop()
    finally:
        backend.close()
    return {
        "tick_ratio": round(busy.rate() / idle.rate(), 3),
        "max_gap_ms": round(busy.max_gap_ns / 1e6, 2),
    }


class _Ticker:
    """A thread that sleeps for half a millisecond again and again."""

    def __init__(self) -> None:
        self.max_gap_ns = 0
        self._ticks = 0
        self._stopping = False
        self._first_ns = self._last_ns = time.monotonic_ns()
        self._worker = Worker("ticker", self._tick)
        self._worker.start()

    def _tick(self) -> None:
        if self._stopping:
            raise Finished
        time.sleep(_TICK_S)
        now_ns = time.monotonic_ns()
        self.max_gap_ns = max(self.max_gap_ns, now_ns - self._last_ns)
        self._last_ns = now_ns
        self._ticks += 1

    def stop(self) -> None:
        self._stopping = True
        self._worker.join(1.0)

    def rate(self) -> float:
        return self._ticks * 1e9 / (self._last_ns - self._first_ns)


def _backend(loaded: Loaded) -> Backend:
    (detector,) = loaded.config.detectors.values()
    return load_engine(detector, loaded.config.inference).backend


def _turns(backend: Backend, ahead: int) -> Callable[[], None]:
    """Return a function that submits a frame, and collects one once `ahead` are in flight."""
    flying: deque[int] = deque()
    free = deque(range(ahead))
    for slot in free:
        backend.input_view(slot).fill(0)

    def turn() -> None:
        slot = free.popleft()
        backend.submit(slot)
        flying.append(slot)
        if not free:
            done = flying.popleft()
            backend.collect(done)
            free.append(done)

    return turn


def _timed(turn: Callable[[], None], frames: int) -> Measured:
    for _ in range(WARM_UP_FRAMES):
        turn()
    first = Clocks.now()
    for _ in range(frames):
        turn()
    return Clocks.between(first, Clocks.now(), frames, {})
