"""Cameras and graphics cards as files of /dev: are they there, and may we use them."""

from __future__ import annotations

import grp
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision.doctor import child
from vision.doctor.report import Finding, broken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DEV = Path("/dev")
_FRAME_DEADLINE_S = 30.0  # a network camera's own time-outs are shorter


def video_nodes(dev: Path = _DEV) -> Iterator[Finding]:
    """Ask every `video*` of `dev` what it is, without taking a picture."""
    nodes = sorted(dev.glob("video[0-9]*"), key=lambda node: (len(node.name), node.name))
    if not nodes:
        yield Finding("video devices", "skip", f"no {dev}/video*: no camera is plugged in")
    for node in nodes:
        lacking = _permission(node, "video")
        if lacking:
            yield Finding(str(node), "warn", "no permission", lacking)
            continue
        answer = child.python("-m", "vision.doctor.camera_child", str(node))
        kind, _, name = answer.out.strip().partition(" ")
        if answer.problem:
            yield Finding(
                str(node), "warn", f"no camera answers: {answer.problem}", "plug it in again"
            )
        elif kind == "capture":
            yield Finding(str(node), "ok", f"{name}, a capture device")
        else:
            yield Finding(str(node), "skip", f"{name}, no capture device")


def source(camera: str, section: Mapping[str, Any]) -> Finding:
    """Take one frame from a configured source, in a process of its own.

    Args:
        camera: Its name.
        section: Of the plug-in that reads it: `type` and its own keys.
    """
    check = f"camera {camera}"
    address = str(section.get("device") or section.get("path") or section["type"])
    device = Path(address)
    if section["type"] == "v4l2" and device.exists():
        lacking = _permission(device, "video")
        if lacking:
            return Finding(check, "bad", f"no permission for {device}", lacking)
    answer = child.python(
        "-m", "vision.doctor.source_child", camera, json.dumps(section),
        deadline_s=_FRAME_DEADLINE_S,
    )  # fmt: skip
    if not answer.problem:
        return Finding(check, "ok", f"{address} gives {answer.out.strip()}")
    problem = answer.problem.removeprefix(f"{check}: ")
    words = problem if address in problem else f"{address}: {problem}"
    return broken(check, words, f"set cameras.{camera}.source to one that works")


def render_nodes(dev: Path = _DEV, sys: Path = Path("/sys")) -> Iterator[Finding]:
    """Check that the graphics cards may be used by this user."""
    nodes = sorted(dev.glob("dri/renderD*"))
    if not nodes:
        yield Finding("render nodes", "skip", f"no {dev}/dri/renderD*: no graphics driver runs")
    for node in nodes:
        driver = sys / "class" / "drm" / node.name / "device" / "driver"
        words = f"driver {driver.resolve().name}" if driver.exists() else "driver unknown"
        lacking = _permission(node, "render")
        if lacking:
            yield Finding(str(node), "warn", f"{words}: no permission", lacking)
        else:
            yield Finding(str(node), "ok", words)


def _permission(node: Path, usual_group: str) -> str:
    """Return the line that lets this user read and write `node`, empty where he may."""
    if os.access(node, os.R_OK | os.W_OK):
        return ""
    try:
        status = node.stat()
        group = grp.getgrgid(status.st_gid).gr_name
    except (OSError, KeyError):
        group = usual_group
    else:
        both = stat.S_IRGRP | stat.S_IWGRP
        if status.st_gid == 0 or status.st_mode & both != both:
            return f"sudo chgrp {usual_group} {node} && sudo chmod g+rw {node}"
    return f"sudo usermod -aG {group} $USER, then log in again"
