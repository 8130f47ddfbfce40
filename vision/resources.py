"""What loading a model costs on this machine: measured the first time, then remembered."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from vision import paths
from vision.errors import BackendError
from vision.litert import interpreter
from vision.litert.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable

    from vision.interfaces import Backend

_RESIDENT = 1  # the field of /proc/self/statm, in pages


class Cost(BaseModel):
    """Of one model on one backend."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    load_ms: float
    """Until it is ready: reading, planning and, on a GPU, compiling."""
    rss_mb: float
    """By which this process grew, MB of 10^6 bytes; on a GPU without its own memory."""


def load_measured(sha256: str, name: str, load: Callable[[], Backend]) -> Backend:
    """Return what `load` gives; the first time on this machine, remember what it cost.

    Args:
        sha256: Of the model.
        name: Of the backend.
        load: Makes the backend.
    """
    place = _place(sha256, name)
    if place.exists():
        return load()
    with suppress(BackendError):  # the backend says it better
        interpreter.module()  # its own memory is no model's
    before, started_ns = _rss_bytes(), time.monotonic_ns()
    backend = load()
    load_ms = (time.monotonic_ns() - started_ns) / 1e6
    if name == "cpu":
        backend.submit(0)  # the interpreter's memory is only touched when it runs
        backend.collect(0)
    grown_mb = max(_rss_bytes() - before, 0) / 1e6
    cost = Cost(load_ms=round(load_ms, 1), rss_mb=round(grown_mb, 1))
    with suppress(OSError):  # a memory that cannot be written costs nothing else
        write_atomically(place, cost.model_dump_json().encode())
    return backend


def known(sha256: str) -> dict[str, Cost]:
    """Return what is remembered of a model, by backend."""
    costs = {}
    for path in sorted(_place(sha256, "cpu").parent.glob(f"{sha256}-*.json")):
        with suppress(OSError, ValidationError):  # damaged: as good as unknown
            name = path.stem.removeprefix(f"{sha256}-")
            costs[name] = Cost.model_validate_json(path.read_bytes())
    return costs


def _place(sha256: str, name: str) -> Path:
    return paths.cache_dir() / "resources" / f"{sha256}-{name}.json"


def _rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[_RESIDENT])
    return pages * os.sysconf("SC_PAGE_SIZE")
