"""Threads with a beginning, an end, and a name."""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Protocol

from vision.runtime.mailbox import Closed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Finished(Exception):  # noqa: N818  (not an error: there is no more work)
    """Raised by a step that has nothing more to do."""


class _Endable(Protocol):
    def done(self) -> None: ...


class _Closable(Protocol):
    def close(self) -> None: ...


def _nothing() -> None:
    """Stand in for an `open` or `close` that is not needed."""


class Worker:
    """A thread that opens, steps until Finished or Closed, and closes.

    Args:
        name: Of the thread.
        step: One turn of the work.
        open_, close: Called in the thread, before the first step and after the last;
            `close` also after a failed `open_`.
        takes: Mailboxes that it gets from: closed when it ends, so that whoever
            feeds it ends too.
        gives: Mailboxes that it puts into: told that this producer is done.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], None],
        *,
        open_: Callable[[], None] = _nothing,
        close: Callable[[], None] = _nothing,
        takes: Sequence[_Closable] = (),
        gives: Sequence[_Endable] = (),
    ) -> None:
        self.name = name
        self.error: BaseException | None = None
        self.ended = False
        self._open, self._step, self._close = open_, step, close
        self._takes, self._gives = takes, gives
        self._on_end: Callable[[], None] = _nothing
        self._opened = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self, on_end: Callable[[], None] = _nothing) -> None:
        """Start the thread, which calls `on_end` as its last act."""
        self._on_end = on_end
        self._thread.start()

    @property
    def is_source(self) -> bool:
        """Whether it stands at the head of a line."""
        return not self._takes

    def cancel(self) -> None:
        """End before the start: tell the mailboxes, run nothing."""
        self._leave()

    def wait_opened(self) -> bool:
        """Wait until `open_` is through; False if it failed."""
        self._opened.wait()
        return self.error is None

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; False if it did not come in time."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            try:
                self._open()
                self._opened.set()
                while True:
                    self._step()
            except (Finished, Closed):
                pass
            finally:
                self._close()
        except BaseException as error:  # noqa: BLE001  (kept for Crew, which raises it)
            self.error = error
        finally:
            self._opened.set()
            self._leave()

    def _leave(self) -> None:
        for taken in self._takes:
            taken.close()
        for given in self._gives:
            given.done()
        self.ended = True
        self._on_end()


class Crew:
    """All workers of a program: started together, stopped from the sources on.

    `stopping` is looked at by the workers that read sources; the rest drain and end
    because the mailboxes before them close.
    """

    def __init__(self) -> None:
        self.workers: list[Worker] = []
        self._stop = Event()
        # Whatever `wait` waits for is told here; a signal handler may put into it too.
        self._news: SimpleQueue[None] = SimpleQueue()

    @property
    def stopping(self) -> bool:
        """Whether the sources are asked to end."""
        return self._stop.is_set()

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until `stop`."""
        self._stop.wait(seconds)

    def start(self) -> None:
        """Start every worker, the last of the line first.

        Each has to be open before the next one starts, so nothing is captured that
        cannot be delivered; the first that fails ends the start.
        """
        waiting = list(self.workers)
        while waiting:
            worker = waiting.pop()
            worker.start(lambda: self._news.put(None))
            if not worker.is_source and not worker.wait_opened():
                for rest in waiting:
                    rest.cancel()
                return

    def stop(self) -> None:
        """Ask the sources to end. Safe from a signal handler and twice."""
        self._stop.set()
        self._news.put(None)

    def wait(self, timeout_s: float) -> bool:
        """Wait until all have ended, `stop` is asked for or one failed; False on time-out."""
        deadline = time.monotonic() + timeout_s
        while not (self.stopping or self.failed or all(worker.ended for worker in self.workers)):
            try:
                self._news.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                return False
        return True

    @property
    def failed(self) -> list[Worker]:
        """The workers that ended by an error."""
        return [worker for worker in self.workers if worker.error is not None]

    def join(self, timeout_s: float) -> list[str]:
        """Wait for all to end; return the names of those that did not in time."""
        deadline = time.monotonic() + timeout_s
        for worker in self.workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        return [worker.name for worker in self.workers if worker.alive]
