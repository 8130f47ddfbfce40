"""The first stage: reads a source until it ends, and a lost camera until it is back."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from vision.errors import EndOfStream, SourceError
from vision.runtime.worker import Finished

if TYPE_CHECKING:
    from vision.frame import Frame
    from vision.interfaces import Source
    from vision.runtime.mailbox import Mailbox
    from vision.runtime.worker import Crew
    from vision.stats import Stats

_log = logging.getLogger(__name__)

_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 30.0


class Capture:
    """Puts a source's frames into a mailbox.

    A camera that was there and is lost is opened again and again, at growing
    intervals; one that never was there, and a file, end the line with their error.

    Args:
        frames_limit: Frames after which it ends; None for all.
        seconds_limit: Seconds after which it ends; None for never.
        retry_s: Until a lost camera is opened again; doubles every time.
        name: Of the camera, for the log.
    """

    def __init__(
        self,
        source: Source,
        frames: Mailbox[Frame],
        crew: Crew,
        stats: Stats,
        *,
        frames_limit: int | None = None,
        seconds_limit: float | None = None,
        retry_s: float = _FIRST_RETRY_S,
        name: str = "",
    ) -> None:
        self._source = source
        self._frames = frames
        self._crew = crew
        self._stats = stats
        self._left = frames_limit
        self._seconds_limit = seconds_limit
        self._retry_s = retry_s
        self._name = name
        self._deadline_ns: int | None = None

    def open(self) -> None:
        """Open the source; raises SourceError."""
        self._source.open()
        if self._seconds_limit is not None:
            self._deadline_ns = time.monotonic_ns() + round(self._seconds_limit * 1e9)

    def step(self) -> None:
        """Read one frame and hand it on."""
        started_ns = time.monotonic_ns()
        if self._crew.stopping or self._left == 0:
            raise Finished
        if self._deadline_ns is not None and started_ns >= self._deadline_ns:
            raise Finished
        try:
            frame = self._source.read()
        except EndOfStream:
            raise Finished from None
        except SourceError as error:
            if not self._source.live or not self._stats.frames_in:
                raise
            self._reopen(error)
            return
        self._stats.frames_in += 1
        self._stats.record("read", time.monotonic_ns() - started_ns)
        if self._left is not None:
            self._left -= 1
        self._frames.put(frame)

    def _reopen(self, error: SourceError) -> None:
        delay_s = self._retry_s
        while not self._crew.stopping:
            _log.warning("%s; trying again in %.1f s", error, delay_s)
            self._source.close()
            self._crew.pause(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_RETRY_S)
            try:
                self._source.open()
            except SourceError as again:
                error = again
            else:
                _log.warning("camera %s is back", self._name)
                return

    def close(self) -> None:
        """Give the source back."""
        self._source.close()
