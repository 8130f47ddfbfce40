"""A mutex of the C library, for the C objects that two threads must not enter at once.

Threads and queues are the runtime's business, above the backends; what is guarded
here is below them: LiteRT aborts the process when one model is run by two threads.
"""

from __future__ import annotations

import ctypes
import errno
import time

_CLOCK_MONOTONIC = 1
_MUTEX_BYTES = 64  # pthread_mutex_t has 40 (x86-64) or 48 (aarch64); zeros are its initializer

_waiting = ctypes.CDLL(None)  # releases the GIL: for calls that may block
_instant = ctypes.PyDLL(None)  # keeps the GIL: a free mutex costs no hand-over


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class Mutex:
    """A context manager; not re-entrant."""

    def __init__(self) -> None:
        self._memory = ctypes.create_string_buffer(_MUTEX_BYTES)

    def acquire(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s`; return whether the mutex is held now."""
        if _instant.pthread_mutex_trylock(self._memory) == 0:
            return True
        seconds, fraction = divmod(time.clock_gettime(_CLOCK_MONOTONIC) + timeout_s, 1)
        until = _Timespec(int(seconds), int(fraction * 1e9))
        status = _waiting.pthread_mutex_clocklock(
            self._memory, _CLOCK_MONOTONIC, ctypes.byref(until)
        )
        if status not in (0, errno.ETIMEDOUT):
            raise OSError(status, "pthread_mutex_clocklock")
        return bool(status == 0)

    def release(self) -> None:
        """Let the next one in."""
        _instant.pthread_mutex_unlock(self._memory)

    def __enter__(self) -> None:
        if _instant.pthread_mutex_trylock(self._memory) != 0:
            _waiting.pthread_mutex_lock(self._memory)

    def __exit__(self, *_: object) -> None:
        self.release()
