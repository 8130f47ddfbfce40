"""Calls that may hang, in a thread that can be left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from vision.runtime.mailbox import Closed, Mailbox
from vision.runtime.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Attendant:
    """Makes calls for another thread, which waits no longer than it wants to.

    After a call that raised or did not come back, an attendant is of no more use.
    """

    def __init__(self, name: str) -> None:
        self._requests: Mailbox[Callable[[], Any]] = Mailbox(f"{name} requests", latest=False)
        self._answers: Mailbox[Any] = Mailbox(f"{name} answers", latest=False)
        self._worker = Worker(
            name, self._step, takes=[self._requests], gives=[self._answers]
        )  # fmt: skip
        self._worker.start()

    def _step(self) -> None:
        self._answers.put(self._requests.get()())

    def call(self, work: Callable[[], T], timeout_s: float) -> T:
        """Return what `work` returns, or raise what it raises.

        Raises:
            TimeoutError: If it is not back in time, or another thread has closed the
                attendant meanwhile; the call may still be at it.
        """
        try:
            self._requests.put(work)
            answer: T = self._answers.get(timeout_s)
        except Closed:
            raise self._worker.error or TimeoutError("the attendant is closed") from None
        return answer

    def close(self) -> None:
        """Let the thread end when its call is back."""
        self._requests.close()
        self._answers.close()
