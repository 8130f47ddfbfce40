"""From a failing accelerator to the CPU and back, without losing a frame."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from vision.errors import BackendError, VisionError
from vision.runtime.attendant import Attendant
from vision.runtime.lock import Lock
from vision.runtime.mailbox import Closed, Mailbox
from vision.runtime.worker import Finished, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from vision.geometry import Letterbox
    from vision.interfaces import Backend, BackendInfo, Detector
    from vision.preprocess import Preprocessor

T = TypeVar("T")

_log = logging.getLogger(__name__)

_DEADLINE_S = 0.8  # for an accelerator's answer: with the CPU's start, a fall takes under 2 s
_FIRST_RETRY_S = 30.0
_LONGEST_RETRY_S = 600.0


@dataclass(frozen=True, slots=True)
class Engine:
    """A model on one backend, with the preprocessing and the decoder made for it."""

    backend: Backend
    preprocess: Preprocessor
    detector: Detector


@dataclass(frozen=True, slots=True)
class Written:
    """A frame in a model's slot, and the way back to the frame."""

    slot: int
    letterbox: Letterbox
    engine: Engine


@dataclass(frozen=True, slots=True)
class Below:
    """What there is to fall back on.

    Attributes:
        spare: Makes the engine that takes over.
        revive: Makes the first engine again, after verifying it.
    """

    spare: Callable[[], Engine]
    revive: Callable[[], Engine]


class Failover:
    """Runs an engine; where it fails or hangs, another one takes over.

    The frame is still there, so the one at hand and those in flight are written anew
    for the spare engine. The first one is tried again at growing intervals.

    Args:
        name: Of the model, for the log.
        engine: What runs.
        below: None where nothing can take over: then errors go to the caller.
        deadline_s: For each call of an engine that something can take over from.
        retry_s: Until the first engine is tried again; doubles every time.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        below: Below | None = None,
        *,
        deadline_s: float = _DEADLINE_S,
        retry_s: float = _FIRST_RETRY_S,
    ) -> None:
        self.slots, self.queues = engine.backend.slots, engine.backend.queues
        self._name = name
        self._engine = engine
        self._below = below
        self._deadline_s, self._first_retry_s = deadline_s, retry_s
        self._reason: str | None = None
        self._spare: Engine | None = None
        self._left: Engine | None = None
        self._lock = Lock()
        self._revived: Mailbox[Engine] = Mailbox(f"{name} revived", latest=True)
        self._reviver: Worker | None = None
        self._submits: Attendant | None = None
        self._collects: Attendant | None = None
        self._attend()

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, by the model's own `class_id`."""
        return self._engine.detector.labels

    @property
    def info(self) -> BackendInfo:
        """What computes now, and why it is no longer what computed first."""
        return replace(self._engine.backend.info, fallback=self._reason)

    def write(self, image: NDArray[np.uint8], slot: int) -> Written:
        """Preprocess `image` into `slot` and submit it."""
        with self._lock:
            if len(self._revived):
                self._rise(self._revived.get())
            engine = self._engine
            try:
                return self._write(engine, image, slot)
            except BackendError as error:
                self._fall(engine, error)
                return self._write(self._engine, image, slot)

    def collect(
        self, written: Written, image: NDArray[np.uint8]
    ) -> tuple[Sequence[NDArray[Any]], Written]:
        """Wait for the outputs of what `image` was written into, and say who computed them."""
        if written.engine is not self._left:
            try:
                return self._collect(written), written
            except BackendError as error:
                with self._lock:
                    self._fall(written.engine, error)
        with self._lock:
            written = self._write(self._engine, image, written.slot)
        return self._collect(written), written

    def close(self) -> None:
        """Free the engines."""
        self._revived.close()
        if self._reviver is not None:
            self._reviver.join(self._deadline_s)
        self._dismiss()
        for engine in {id(e): e for e in (self._engine, self._spare) if e is not None}.values():
            engine.backend.close()

    def _attend(self) -> None:
        """Have the calls that may hang made by threads that can be left behind."""
        if self._below is not None:
            self._submits = Attendant(f"{self._name} submit")
            self._collects = Attendant(f"{self._name} collect")

    def _dismiss(self) -> None:
        for attendant in (self._submits, self._collects):
            if attendant is not None:
                attendant.close()

    def _write(self, engine: Engine, image: NDArray[np.uint8], slot: int) -> Written:
        backend = engine.backend
        letterbox = engine.preprocess(image, backend.input_view(slot))
        self._guarded(self._submits, engine, lambda: backend.submit(slot))
        return Written(slot, letterbox, engine)

    def _collect(self, written: Written) -> Sequence[NDArray[Any]]:
        backend, slot = written.engine.backend, written.slot
        return self._guarded(self._collects, written.engine, lambda: backend.collect(slot))

    def _guarded(self, attendant: Attendant | None, engine: Engine, call: Callable[[], T]) -> T:
        if attendant is None or engine is self._spare:
            return call()
        try:
            return attendant.call(call, self._deadline_s)
        except TimeoutError:
            raise BackendError(f"no answer within {self._deadline_s} s") from None

    def _fall(self, engine: Engine, error: BackendError) -> None:
        """Leave `engine` for the spare one; raises `error` where there is none."""
        if engine is not self._engine:
            return  # another worker has fallen already
        if self._below is None or engine is self._spare:
            raise error
        if self._spare is None:
            self._spare = self._below.spare()
        info = engine.backend.info
        self._reason = f"{info.name} failed: {error}"
        _log.warning("%s: %s; the CPU takes over", self._name, self._reason)
        self._left, self._engine = engine, self._spare
        self._dismiss()
        self._attend()
        revival = _Revival(engine, self._below, self._revived, self._first_retry_s)
        self._reviver = Worker(f"{self._name} revive", revival.step)
        self._reviver.start()

    def _rise(self, engine: Engine) -> None:
        _log.warning("%s: %s is back", self._name, engine.backend.info.name)
        self._engine, self._left, self._reason = engine, None, None


class _Revival:
    """Frees the engine that failed, and makes it again when it is right again."""

    def __init__(
        self, failed: Engine, below: Below, revived: Mailbox[Engine], retry_s: float
    ) -> None:
        self._failed = failed
        self._below = below
        self._revived = revived
        self._retry_s = retry_s

    def step(self) -> None:
        self._failed.backend.close()
        self._revived.wait_closed(self._retry_s)
        if self._revived.closed:
            raise Finished
        try:
            engine = self._below.revive()
        except VisionError as error:
            _log.info("not back yet: %s", error)
            self._retry_s = min(2 * self._retry_s, _LONGEST_RETRY_S)
            return
        try:
            self._revived.put(engine)
        except Closed:
            engine.backend.close()
        raise Finished
