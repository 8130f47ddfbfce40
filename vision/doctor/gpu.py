"""From the Vulkan loader to verified backends."""

from __future__ import annotations

import ctypes
import json
from typing import TYPE_CHECKING

from vision.doctor import child
from vision.doctor.report import Finding
from vision.errors import BackendError, ConfigError
from vision.litert import capi, driver
from vision.litert.choice import choose

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from vision.config import InferenceConfig
    from vision.doctor.report import Status
    from vision.litert.choice import Decision
    from vision.litert.verdict import Verdict
    from vision.model_spec import ModelSpec

_LOADER = "libvulkan.so.1"
_LOAD = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
_OTHER_MACHINE = "wrong ELF class"  # what the linker says of a 32-bit library


def accelerator(*, wanted: bool) -> Finding:
    """Check that the installed runtime has its GPU part.

    Args:
        wanted: The configuration lets models run on the GPU.
    """
    try:
        capi.folder()
    except BackendError as error:
        status: Status = "warn" if wanted else "skip"
        mend = f"pip install '{capi.PACKAGE}=={capi.RELEASE}.*'"
        return Finding("gpu runtime", status, str(error).removesuffix(f": {mend}"), mend)
    detail = f"{capi.PACKAGE} {capi.installed()} with {capi.ACCELERATOR}"
    return Finding("gpu runtime", "ok", detail)


def vulkan_loader(*, wanted: bool, library: str = _LOADER) -> Finding:
    """Check that the library which finds drivers is there.

    Args:
        wanted: The configuration lets models run on the GPU.
        library: Its name.
    """
    try:
        ctypes.CDLL(library)
    except OSError:
        status: Status = "warn" if wanted else "skip"
        detail = f"{library} does not load: no GPU"
        return Finding("vulkan loader", status, detail, "apt install libvulkan1")
    return Finding("vulkan loader", "ok", library)


def vulkan_drivers(manifests: Iterable[Path], *, wanted: bool) -> Iterator[Finding]:
    """Check that every driver file can be read and its library loads.

    Args:
        manifests: The driver files, as `driver.manifests` finds them.
        wanted: The configuration lets models run on the GPU.
    """
    status: Status = "warn" if wanted else "skip"
    none = True
    for manifest in manifests:
        none = False
        yield _vulkan_driver(manifest, status)
    if none:
        yield Finding(
            "vulkan driver", status, "no driver file is installed, or VK_DRIVER_FILES names none",
            "apt install mesa-vulkan-drivers, or the GPU maker's own driver",
        )  # fmt: skip


def _vulkan_driver(manifest: Path, status: Status) -> Finding:
    check = "vulkan driver"
    mend = f"reinstall the package that {manifest} is of, or remove the file"
    try:
        library = str(json.loads(manifest.read_text(encoding="utf-8"))["ICD"]["library_path"])
    except OSError as error:
        return Finding(check, status, f"{manifest}: {error.strerror}", mend)
    except (ValueError, KeyError, TypeError):
        return Finding(check, status, f"{manifest} names no library", mend)
    path = driver.library_path(manifest, library)
    problem = child.python("-c", _LOAD, str(path)).problem
    if _OTHER_MACHINE in problem:
        return Finding(check, "skip", f"{manifest}: for 32-bit programs")
    if problem:
        reason = problem.removeprefix("OSError: ")
        return Finding(check, status, f"{manifest}: {path} does not load: {reason}", mend)
    return Finding(check, "ok", f"{path.name} loads (named by {manifest})")


def backends(
    specs: Iterable[ModelSpec], inference: InferenceConfig, *, redo: bool
) -> Iterator[Finding]:
    """Try every model on what the configuration allows, and say what it would run on.

    Args:
        specs: The configuration's models.
        inference: Its section.
        redo: Try again what is remembered.
    """
    adapters = {""}
    for spec in specs:
        try:
            decision = choose(spec, inference, redo=redo)
        except ConfigError as error:
            yield Finding(
                f"backend {spec.name}", "bad", str(error).removeprefix(f"{spec.name}: "),
                "mend what is above, then --redo; or let the CPU do: inference.backend auto, "
                "require_gpu false",
            )  # fmt: skip
            continue
        for verdict in decision.verdicts.values():
            if verdict.device not in adapters:
                adapters.add(verdict.device)
                yield _adapter(verdict)
        yield from _verdicts(spec, decision)
        yield Finding(f"backend {spec.name}", "ok", _chosen(decision))


def _adapter(verdict: Verdict) -> Finding:
    kind = "the CPU in software" if verdict.software else "hardware"
    vendor = f" of {verdict.vendor}" if verdict.vendor else ""
    return Finding("adapter", "ok", f"{verdict.device}{vendor}, {kind}; {verdict.driver}")


def _verdicts(spec: ModelSpec, decision: Decision) -> Iterator[Finding]:
    kind = "delegate" if decision.backend == "delegate" else "gpu"
    refused: dict[str, list[str]] = {}
    for precision, verdict in decision.verdicts.items():
        if not verdict.ok:
            refused.setdefault(verdict.why, []).append(precision)
            continue
        detail = f"{precision}: {verdict.why}; {verdict.p50_ms:.2f} ms"
        if verdict.worst_error is not None:
            detail += f", outputs off by {verdict.worst_error:.2g} at most"
        yield Finding(f"{kind} {spec.name}", "ok", detail)
    for why, precisions in refused.items():
        if why == _obstacle():
            yield Finding(f"{kind} {spec.name}", "skip", "not tried: see the lines above")
            continue
        yield Finding(
            f"{kind} {spec.name}", "warn", f"{', '.join(precisions)}: {why}",
            "with another driver or model try --redo; or inference.backend: cpu",
        )  # fmt: skip


def _obstacle() -> str | None:
    """Return why no model can be tried at all, which has lines of its own."""
    try:
        capi.folder()
    except BackendError as error:
        return str(error)
    return driver.look().problem


def _chosen(decision: Decision) -> str:
    refused = decision.backend == "cpu" and not any(v.ok for v in decision.verdicts.values())
    threads = decision.settings.get("threads")
    words = f"{decision.backend}, {threads} threads" if threads else decision.backend
    return words if refused and decision.verdicts else f"{words}: {decision.why}"
