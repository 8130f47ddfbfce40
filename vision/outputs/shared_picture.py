"""The newest picture, shared with another process; nobody waits and none is torn."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_HEADER = struct.Struct("=QII")
"""Pictures written before this one and itself (0: none here), width, height."""
_PIXELS_AT = 64


class SharedPicture:
    """Two slots of anonymous memory, and a lock for each.

    The reader holds one slot at most, so the writer always finds the other. The
    memory and the locks belong to file descriptors: whichever process dies, and
    however, the kernel takes back its locks and nothing stays behind.

    Args:
        fds: The writer's `fds`, inherited; None makes new memory.
    """

    def __init__(self, fds: tuple[int, ...] | None = None) -> None:
        self.fds: tuple[int, ...] = fds or (_new_memory(), _new_memory(), _new_memory())
        *memories, locks = self.fds
        self._slots = [_Slot(fd, locks, n) for n, fd in enumerate(memories)]
        self._count = 0

    def put(self, image: NDArray[np.uint8]) -> None:
        """Store an (H, W, 3) uint8 picture of any size over the older of the two."""
        self._count += 1
        self._slots.sort(key=lambda slot: slot.written)
        for slot in self._slots:
            if slot.lock(wait=False):
                try:
                    slot.write(image, self._count)
                finally:
                    slot.unlock()
                return

    @contextmanager
    def newest(self) -> Iterator[NDArray[np.uint8] | None]:
        """Lend the newest (H, W, 3) picture, or None before the first."""
        newest = max(self._slots, key=_Slot.read_count)
        newest.lock(wait=True)
        try:
            yield newest.view()
        finally:
            newest.unlock()

    def close(self) -> None:
        """Give the memory back. Safe twice."""
        for fd in self.fds:
            os.close(fd)
        self.fds, self._slots = (), []


class _Slot:
    """One picture in a memory file that only ever grows.

    Its lock is a byte of another file: a process that closes any descriptor of a file,
    as mapping it anew does, loses all its locks on that file.
    """

    def __init__(self, fd: int, locks: int, number: int) -> None:
        self._fd = fd
        self._locks, self._number = locks, number
        self._memory = mmap.mmap(fd, 0)
        self.written = 0

    def lock(self, *, wait: bool) -> bool:
        how = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
        try:
            fcntl.lockf(self._locks, how, 1, self._number)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, self._number)

    def write(self, image: NDArray[np.uint8], count: int) -> None:
        height, width = image.shape[:2]
        if len(self._memory) < _PIXELS_AT + image.nbytes:
            os.ftruncate(self._fd, _PIXELS_AT + image.nbytes)
            self._memory = mmap.mmap(self._fd, 0)
        # A writer that dies in the middle leaves an empty slot, not half a picture.
        _HEADER.pack_into(self._memory, 0, 0, 0, 0)
        np.copyto(self._pixels(width, height), image)
        _HEADER.pack_into(self._memory, 0, count, width, height)
        self.written = count

    def read_count(self) -> int:
        self.lock(wait=True)
        count: int = _HEADER.unpack_from(self._memory)[0]
        self.unlock()
        return count

    def view(self) -> NDArray[np.uint8] | None:
        count, width, height = _HEADER.unpack_from(self._memory)
        if count == 0:
            return None
        if len(self._memory) < _PIXELS_AT + width * height * 3:
            self._memory = mmap.mmap(self._fd, 0)
        return self._pixels(width, height)

    def _pixels(self, width: int, height: int) -> NDArray[np.uint8]:
        return np.ndarray((height, width, 3), np.uint8, self._memory, _PIXELS_AT)


def _new_memory() -> int:
    fd = os.memfd_create("vision-picture")
    os.ftruncate(fd, mmap.PAGESIZE)
    return fd
