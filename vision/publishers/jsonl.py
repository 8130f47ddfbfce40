"""Events as lines of a file, which is rotated by size."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from vision.errors import PublishError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vision.event import Record

_log = logging.getLogger(__name__)

_PAGE = 4096  # the smallest there is
_GROWTH = 64  # a line may be that much longer than all before it
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class JsonlConfig(BaseModel):
    """Where, and how much of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(min_length=1)
    max_bytes: int = Field(64 * 1024 * 1024, ge=1)
    """A file that would grow larger becomes `path.1`, and a new one begins. No line
    is ever split, so one long line may be larger."""
    keep: int = Field(5, ge=1)
    """How many older files stay: `path.1` is the newest of them."""


class JsonlPublisher:
    """Appends each event as a line.

    A line is written as a whole or taken back, and a batch that failed half way goes on
    where it stopped when it is given again: no half line, no event twice. A kill tears no
    line shorter than a page (see `_line`); one torn by a power cut is taken off by `open`.

    The file is locked (flock) while it is written: two writers would take back each
    other's lines.
    """

    Config = JsonlConfig

    def __init__(self, config: JsonlConfig, *, node: str) -> None:  # noqa: ARG002
        self._path = Path(config.path).expanduser()
        self._max_bytes = config.max_bytes
        self._keep = config.keep
        self._fd = -1
        self._longest = 0
        self._written: set[str] = set()

    def open(self) -> None:
        """Open the file for appending, with its folder; raises PublishError."""
        try:
            self._open()
        except OSError as error:
            raise self._failed(error) from error

    def publish(self, records: Sequence[Record]) -> None:
        """Append those of `records` that a failed try has not; raises PublishError."""
        try:
            self._stay_in_place()
            for record in records:
                if record.event_id not in self._written:
                    self._append(record.body)
                    self._written.add(record.event_id)
        except OSError as error:
            raise self._failed(error) from error
        self._written.clear()

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self.close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        torn = _cut_torn_line(self._fd)
        if torn:
            _log.warning("%s: the last line was torn, its %d bytes are taken off", self._path, torn)

    def _stay_in_place(self) -> None:
        """Open the path anew where another program has removed or moved the file."""
        if self._fd >= 0:
            with suppress(FileNotFoundError):
                if os.path.samestat(self._path.stat(), os.fstat(self._fd)):
                    return
            _log.warning("%s was removed or moved away: a new one begins", self._path)
        self._open()

    def _append(self, body: bytes) -> None:
        size = os.fstat(self._fd).st_size
        line = self._line(body, size)
        if size and size + len(line) > self._max_bytes:
            self._rotate()
            size = 0
            line = self._line(body, size)
        left = memoryview(line)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:
            os.ftruncate(self._fd, size)
            raise

    def _line(self, body: bytes, size: int) -> bytes:
        """End `body` with a newline, and with spaces where the next line had to cross a page.

        Linux looks for a kill between the pages of a write, so a line within one page is
        never torn by it. JSON allows the spaces.
        """
        self._longest = max(self._longest, len(body) + _GROWTH)
        left = -(size + len(body) + 1) % _PAGE
        return body + b" " * (left if left < self._longest else 0) + b"\n"

    def _rotate(self) -> None:
        """Move each file up by one. A kill in between leaves a gap in the numbers, no loss."""
        names = [self._path, *(Path(f"{self._path}.{n + 1}") for n in range(self._keep))]
        for newer, older in zip(names[-2::-1], names[:0:-1], strict=True):
            with suppress(FileNotFoundError):
                newer.replace(older)
        self._open()

    def _failed(self, error: OSError) -> PublishError:
        # The next try opens the path afresh, and so finds what was mended.
        self.close()
        if isinstance(error, BlockingIOError):
            reason, mend = "another program is writing it", "give each its own path"
        else:
            reason = error.strerror or str(error)
            mend = "make room" if error.errno in _NO_ROOM else "mend that or choose another path"
        return PublishError(f"cannot write events to {self._path}: {reason}; {mend}")


def _cut_torn_line(fd: int) -> int:
    """Truncate the file behind its last newline; return how many bytes that took."""
    size = end = os.fstat(fd).st_size
    while end:
        start = max(end - _PAGE, 0)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        # What a power cut leaves is the beginning of an event, or zeros.
        if os.pread(fd, 1, end) not in (b"{", b"\0"):
            raise OSError(errno.EINVAL, "the file's last line is no event")
        os.ftruncate(fd, end)
    return size - end
