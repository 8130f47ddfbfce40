"""Compiled GPU programs kept between starts, so that a damaged file can do no harm.

A bad cache file can crash the driver. So a file is used only if its checksum, written
after a run that went well, still fits; a marker says that a use has begun and not yet
gone well, and a marker found at the start means a crash: the cache is dropped.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from vision.litert.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

RUNS_UNTIL_WRITTEN = 6
"""LiteRT writes the file in the fifth run."""


class KernelCache:
    """One cache file and its guards; `open` makes it.

    Attributes:
        folder: Where it is.
        name: Its key, LiteRT's `model_cache_key`.
    """

    def __init__(self, folder: Path, name: str, lock: int) -> None:
        self.folder = folder
        self.name = name
        self._lock = lock
        self._data = folder / f"{name}_mldrift_compiled_cache.bin"
        self._checksum = folder / f"{name}.sha256"
        self._marker = folder / f"{name}.in-use"

    @classmethod
    def open(cls, folder: Path, name: str) -> KernelCache | None:
        """Take the cache `name`; None where it cannot be had.

        Another process that is just filling it, or a folder that cannot be written,
        costs the cache and nothing else.

        Args:
            folder: Made where missing; nobody else's.
            name: Of everything that the programs depend on.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            cache = cls(folder, name, lock)
            cache._begin()
        except OSError:
            os.close(lock)
            return None
        return cache

    def _begin(self) -> None:
        if self._marker.exists() or not self._fits():
            # Unlinked, never truncated: another process may have it mapped.
            for path in (self._data, self._checksum):
                path.unlink(missing_ok=True)
        self._marker.touch()

    def _fits(self) -> bool:
        try:
            return self._checksum.read_text(encoding="ascii") == self._digest()
        except (OSError, ValueError):
            return False

    def _digest(self) -> str:
        # With the name, so that a file that was copied here from another key does not fit.
        return hashlib.sha256(self.name.encode() + self._data.read_bytes()).hexdigest()

    def confirm(self) -> None:
        """Say that the runs went well: what is there now may be used again. Safe twice."""
        if self._lock < 0:
            return
        with suppress(OSError):  # a full disk costs the cache and nothing else
            if self._data.exists():
                write_atomically(self._checksum, self._digest().encode())
        self.close()

    def close(self) -> None:
        """Let others have it. Safe twice."""
        if self._lock < 0:
            return
        with suppress(OSError):
            self._marker.unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = -1
