"""From what the child found and what LiteRT said to a verdict in plain words."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision.litert import driver, messages
from vision.litert.compare import Difference
from vision.litert.verdict import Verdict

if TYPE_CHECKING:
    from vision.litert.verdict import Attempt

TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "int8": 5e-2}
"""Allowed difference to the CPU, as a part of what an output spans on the same picture.

Seen on models that are right: fp32 1e-5, fp16 5e-3; on one that is wrong 0.5 and far more.
Of a quantised model the GPU computes the integers as floats; one that loses more by that
than 5e-2, as small classifiers do, is not the same model any more.
"""
UNMATCHED = 0.1
"""Allowed part of the CPU's boxes that a model with its own suppression does not give."""

_HUNG = (signal.SIGALRM, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What came back from the child.

    Attributes:
        status: Its exit status, negative for a signal.
        found: Its lines of JSON, in one.
        stderr: What it and LiteRT wrote.
    """

    status: int
    found: dict[str, Any]
    stderr: str


def judge(attempt: Attempt, evidence: Evidence, drivers: driver.Drivers) -> Verdict:
    """Decide whether the accelerator may be used, and say why or why not."""
    said, found = messages.read(evidence.stderr), evidence.found
    total = found.get("total_ops") or sum(said.split or ())
    delegated = found.get("delegated_ops", (said.split or (0,))[0])
    differences = [Difference(**item) for item in found.get("differences", ())]
    share = f"{delegated} of {total} operations on the accelerator"
    if said.unsupported:
        share += f", it cannot do {', '.join(said.unsupported)}"
    problem = _no_answer(evidence, said, drivers) or _pretence(said, delegated)
    if not problem:
        problem = _wrong(differences, found["unmatched"], _tolerance(attempt, found))
        problem = problem and f"{problem} ({share})"
    return Verdict(
        ok=not problem,
        why=problem or f"verified, {share}",
        device=said.device or Path(attempt.library).name,
        vendor=said.vendor,
        driver=drivers.words,
        software=said.software,
        delegated_ops=delegated,
        total_ops=total,
        unsupported=said.unsupported,
        max_error={item.name: item.max_error for item in differences},
        p50_ms=found.get("p50_ms"),
        cpu_p50_ms=found.get("cpu_p50_ms", {}),
    )


def _no_answer(evidence: Evidence, said: messages.Said, drivers: driver.Drivers) -> str:
    """Say why the child has not come to its end, empty where it has."""
    step = evidence.found.get("step", "starting")
    if said.no_adapter:
        reason = f": {said.warning}" if said.warning else ""
        return f"no Vulkan driver here gives an adapter ({drivers.words}){reason}"
    if -evidence.status in _HUNG:
        return f"it hangs while {step}: the driver is at fault"
    if evidence.status < 0:
        name = signal.Signals(-evidence.status).name
        return f"it crashes while {step} ({name}): the driver or the model is at fault"
    if "error" in evidence.found:
        return str(evidence.found["error"])
    if evidence.status or "p50_ms" not in evidence.found:
        lines = evidence.stderr.strip().splitlines()
        return f"it ends while {step}: {lines[-1].strip() if lines else 'no reason given'}"
    return ""


def _pretence(said: messages.Said, delegated: int) -> str:
    """Say where the CPU would be called an accelerator, else empty."""
    if said.software and not driver.named():
        return (
            f"the only adapter, {said.device}, is the CPU in software "
            "(name its driver file in VK_DRIVER_FILES to use it all the same)"
        )
    return "" if delegated else "none of the model's operations run on it"


def _tolerance(attempt: Attempt, found: dict[str, Any]) -> float:
    return TOLERANCE["int8" if found["quantised"] else attempt.precision]


def _wrong(differences: list[Difference], unmatched: float | None, tolerance: float) -> str:
    """Say how the answers are wrong, empty where they are right."""
    if unmatched is not None:
        if unmatched <= UNMATCHED:
            return ""
        return f"wrong answers: {unmatched:.0%} of the CPU's boxes are not there or not alike"
    worst = max(differences, key=lambda item: item.relative)
    if worst.relative <= tolerance:
        return ""
    return (
        f"wrong answers: output {worst.name!r} is off by {worst.max_error:.3g}, "
        f"{worst.relative:.2g} of what it spans (allowed: {tolerance:g})"
    )
