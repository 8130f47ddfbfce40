"""Keeping to a rate, as a camera does."""

from __future__ import annotations

import time


class Pacer:
    """Lets one frame pass every 1/fps seconds, without drift.

    A caller that comes late gets its frame at once, and the schedule starts anew from
    there: a camera does not hand out the frames that nobody was there to take.
    """

    def __init__(self, fps: float) -> None:
        self._interval_ns = round(1e9 / fps)
        self._due_ns = 0

    def wait(self) -> int:
        """Sleep until the next frame is due; return the monotonic time in ns."""
        now_ns = time.monotonic_ns()
        if self._due_ns > now_ns:
            time.sleep((self._due_ns - now_ns) / 1e9)
            now_ns = time.monotonic_ns()
            self._due_ns += self._interval_ns
        else:
            self._due_ns = now_ns + self._interval_ns
        return now_ns


class FrameClock:
    """Stamps frames that come from a file.

    Live, a frame is stamped when its turn has come, after waiting for it. Otherwise
    its time is its position in the file, so that the same file gives the same tracks
    and events however fast it is read.

    Args:
        fps: Frames a second.
        live: Whether to keep to that rate.
        file_unix_ns: The file's modification time, which stands for the moment of its
            first frame.
    """

    def __init__(self, fps: float, *, live: bool, file_unix_ns: int = 0) -> None:
        self._fps = fps
        self._pacer = Pacer(fps) if live else None
        self._start_ns, self._start_unix_ns = time.monotonic_ns(), file_unix_ns

    def stamp(self, frame_id: int) -> tuple[int, int, int]:
        """Return `captured_ns`, `unix_ns` and `read_ns` of a frame just read."""
        if self._pacer is not None:
            now_ns = self._pacer.wait()
            return now_ns, time.time_ns(), now_ns
        position_ns = round(frame_id * 1e9 / self._fps)
        return self._start_ns + position_ns, self._start_unix_ns + position_ns, time.monotonic_ns()
