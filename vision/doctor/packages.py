"""Python and the packages that exclude each other."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from vision.doctor import child
from vision.doctor.report import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping

_PYTHONS = ((3, 10), (3, 13))
_RUNTIMES = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
_OPENCVS = (
    "opencv-python",
    "opencv-contrib-python",
    "opencv-python-headless",
    "opencv-contrib-python-headless",
)
_OPENCV_SAYS = (
    "import cv2; from vision.outputs.window_child import toolkit; print(cv2.__version__, toolkit())"
)


def installed() -> dict[str, str]:
    """Return the versions of the packages that the checks know, by name."""
    found = {}
    for name in (*_RUNTIMES, *_OPENCVS, "numpy"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def python_version(version: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """Check that there are wheels for this Python."""
    (_, oldest), (_, newest) = _PYTHONS
    words = f"{platform.python_version()} on {platform.machine()}, {sys.executable}"
    if _PYTHONS[0] <= version <= _PYTHONS[1]:
        return Finding("python", "ok", words)
    return Finding(
        "python", "bad", f"{words}: there are packages for 3.{oldest} to 3.{newest}",
        f"install python3.{newest} and make the environment anew with it",
    )  # fmt: skip


def tflite(versions: Mapping[str, str]) -> Finding:
    """Check that a TFLite runtime is here, and that it loads beside this numpy.

    Args:
        versions: As `installed` returns them.
    """
    check = "tflite runtime"
    name = next((name for name in _RUNTIMES if name in versions), None)
    if name is None:
        return Finding(check, "bad", "none is installed", "pip install 'ai-edge-litert==2.3.*'")
    numpy = versions.get("numpy", "none")
    words = f"{name} {versions[name]}, numpy {numpy}"
    if name == "tflite-runtime" and numpy.partition(".")[0] not in ("1", "none"):
        return Finding(
            check, "bad", f"{words}: tflite-runtime needs numpy 1",
            "pip install 'numpy<2' 'opencv-python-headless==4.9.*'",
        )  # fmt: skip
    problem = child.python("-c", f"import {_RUNTIMES[name]}.interpreter").problem
    if problem:
        mend = f"pip install --force-reinstall {name}=={versions[name]}"
        return Finding(check, "bad", f"{words}: {problem}", mend)
    return Finding(check, "ok", words)


def opencv(versions: Mapping[str, str]) -> Finding:
    """Check that cv2 loads, and that only one build of it is installed.

    Args:
        versions: As `installed` returns them.
    """
    builds = [name for name in _OPENCVS if name in versions]
    answer = child.python("-c", _OPENCV_SAYS)
    if answer.problem:
        return Finding("opencv", "bad", answer.problem, _opencv_mend(answer.problem, builds))
    version, _, windows = answer.out.strip().partition(" ")
    words = f"cv2 {version} from {' and '.join(builds) or 'the system'}, "
    words += f"windows through {windows}" if windows else "built without windows"
    if len(builds) > 1:
        mend = f"pip uninstall -y {' '.join(builds)} && pip install {builds[0]}"
        return Finding("opencv", "warn", f"{words}: the builds overwrite each other", mend)
    return Finding("opencv", "ok", words)


def _opencv_mend(problem: str, builds: list[str]) -> str:
    if "shared object" in problem:
        return "apt install libgl1 libglib2.0-0 libxcb1, or the extra `headless` instead"
    if builds:
        return f"pip uninstall -y {' '.join(builds)} && pip install {builds[0]}"
    return "pip install opencv-python, or opencv-python-headless for a machine without a screen"
