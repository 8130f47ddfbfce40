"""The Vulkan drivers of this machine, by their files: no driver code runs here.

The search order is the Vulkan loader's own (Khronos, "Loader and Driver Interface").
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path

_NAMED = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
_MODULES = Path("/sys/module")
_KERNEL_DRIVERS = ("nvidia", "amdgpu", "i915", "xe", "panfrost", "panthor", "v3d", "msm", "etnaviv")


@dataclass(frozen=True, slots=True)
class Drivers:
    """What would draw and compute here.

    Attributes:
        words: For people, e.g. `libGLX_nvidia.so.0, kernel module nvidia 550.54`.
        key: Changes whenever a driver, its library or the kernel does.
        problem: Why none can work and how to mend it, or None.
    """

    words: str
    key: str
    problem: str | None


def named() -> bool:
    """Whether the user has picked the driver by name, and so means even a software one."""
    return any(os.environ.get(variable) for variable in _NAMED)


def look() -> Drivers:
    """Read the driver files."""
    traces: list[str] = [platform.release(), *(os.environ.get(name, "") for name in _NAMED)]
    libraries: list[str] = []
    broken: list[str] = []
    for manifest in manifests():
        try:
            text = manifest.read_text(encoding="utf-8")
            library = str(json.loads(text)["ICD"]["library_path"])
        except (OSError, ValueError, KeyError, TypeError):
            broken.append(str(manifest))
            continue
        libraries.append(library)
        traces += [text, trace(library_path(manifest, library))]
    modules = _kernel_modules()
    words = ", ".join((*(Path(library).name for library in libraries), *modules))
    key = hashlib.sha256("\0".join((*traces, *broken, *modules)).encode()).hexdigest()
    return Drivers(words, key, _problem(libraries, broken))


def _problem(libraries: list[str], broken: list[str]) -> str | None:
    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return "there is no Vulkan loader (libvulkan.so.1): apt install libvulkan1"
    if libraries:
        return None
    if broken:
        return f"the Vulkan driver file {broken[0]} cannot be read: no library in it"
    for variable in _NAMED:
        if os.environ.get(variable):
            return f"{variable}={os.environ[variable]} names no driver file"
    return "no Vulkan driver is installed: apt install mesa-vulkan-drivers, or the GPU maker's own"


def manifests() -> list[Path]:
    """Return the driver files, in the loader's order."""
    for variable in _NAMED:
        if os.environ.get(variable):
            return _listed(os.environ[variable])
    home = Path.home()
    roots = (
        os.environ.get("XDG_CONFIG_HOME") or home / ".config",
        *(os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"),
        "/etc",
        os.environ.get("XDG_DATA_HOME") or home / ".local/share",
        *(os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":"),
    )
    found = [path for root in roots for path in sorted(Path(root).glob("vulkan/icd.d/*.json"))]
    return found + _listed(os.environ.get("VK_ADD_DRIVER_FILES", ""))


def _listed(text: str) -> list[Path]:
    """Return the files of a list, folders opened."""
    paths = [Path(part) for part in text.split(":") if part]
    opened = [sorted(path.glob("*.json")) if path.is_dir() else [path] for path in paths]
    return [path for group in opened for path in group if path.exists()]


def library_path(manifest: Path, library: str) -> Path:
    """Return where the library is that `manifest` names.

    A bare name is the dynamic linker's to find; everything else is relative to the file.
    """
    if "/" in library:
        return manifest.parent / library
    machine = f"{platform.machine()}-linux-gnu"
    folders = (
        *os.environ.get("LD_LIBRARY_PATH", "").split(":"),
        f"/usr/lib/{machine}",
        "/usr/lib64",
        "/usr/lib",
        "/usr/local/lib",
    )
    candidates = (Path(folder) / library for folder in folders if folder)
    return next((path for path in candidates if path.exists()), Path(library))


def trace(path: Path) -> str:
    """Return what changes when the file does, without reading it."""
    try:
        found = path.stat()
    except OSError:
        return f"{path} missing"
    return f"{path.resolve()} {found.st_size} {found.st_mtime_ns}"


def _kernel_modules() -> list[str]:
    found = []
    for name in _KERNEL_DRIVERS:
        if (_MODULES / name).is_dir():
            version = _MODULES / name / "version"
            try:
                found.append(f"kernel module {name} {version.read_text('ascii').strip()}")
            except OSError:
                found.append(f"kernel module {name}")
    return found
