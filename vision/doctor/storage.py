"""Whether what is to be written can be written."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from vision.doctor.report import Finding

if TYPE_CHECKING:
    from pathlib import Path

    from vision.doctor.report import Status

_MB = 1_000_000
_LOW_MB = 500
_FULL_MB = 50


def place(check: str, path: Path, *, folder: bool, needed: bool) -> Finding:
    """Check that `path` can be written, and that its disk has room.

    Args:
        check: The finding's name.
        path: What the program would write; it makes the folders on the way there.
        folder: It writes files into `path`, not `path` itself.
        needed: The configuration cannot do without.
    """
    worst: Status = "bad" if needed else "warn"
    path = path.expanduser().absolute()
    below = path if folder else path.parent
    here = next(part for part in (below, *below.parents) if os.path.lexists(part))
    try:
        with tempfile.TemporaryFile(dir=here):
            disk = os.statvfs(here)
        if not folder and path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK))
    except OSError as error:
        mend = f"make {here} writable for this user, or choose another path"
        return Finding(check, worst, f"{path} cannot be written: {error.strerror}", mend)
    free_mb = disk.f_bavail * disk.f_frsize // _MB
    words = f"{path}, {free_mb} MB free"
    mend = f"make room on the disk of {here}"
    if free_mb < _FULL_MB:
        return Finding(check, worst, f"{words}: the disk is full", mend)
    if free_mb < _LOW_MB:
        return Finding(check, "warn", f"{words}: the disk is filling up", mend)
    return Finding(check, "ok", words)
