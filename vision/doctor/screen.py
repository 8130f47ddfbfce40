"""Whether a window can open here."""

from __future__ import annotations

import os

from vision.doctor import child
from vision.doctor.report import Finding

_ASK = "from vision.outputs.window_child import why_no_window; print(why_no_window() or '')"


def display(*, needed: bool) -> Finding:
    """Ask the X server, as the window's own process does.

    Args:
        needed: The configuration has a window. It is done without where none can open,
            so this is never `bad`.
    """
    answer = child.python("-c", _ASK)
    problem = answer.problem or answer.out.strip()
    if not problem:
        wayland = " (Wayland, through Xwayland)" if os.environ.get("WAYLAND_DISPLAY") else ""
        detail = f"an X server answers at DISPLAY={os.environ['DISPLAY']}{wayland}"
        return Finding("display", "ok", detail)
    if not needed:
        return Finding("display", "skip", f"no window is configured ({problem.partition(': ')[0]})")
    if os.environ.get("WAYLAND_DISPLAY") and not os.environ.get("DISPLAY"):
        mend = "apt install xwayland, then log in again"
        return Finding("display", "warn", "Wayland without an X server", mend)
    detail, _, mend = problem.partition(": ")
    return Finding("display", "warn", detail, mend or "run it as the user of the desktop")
