"""Tries a model on an accelerator in a child process, and keeps the verdict.

A driver that crashes, hangs or computes nonsense does so there. The verdict is made anew
whenever the model, the wheel, the driver or the kernel is another.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision import paths
from vision.errors import BackendError
from vision.litert import capi, driver, judge, verdict

if TYPE_CHECKING:
    from vision.litert.verdict import Attempt, Verdict
    from vision.model_spec import ModelSpec

DEADLINE_S = 30
_STEPS = 12  # for a child that not even its own alarm ends


def verify(
    spec: ModelSpec, attempt: Attempt, *, redo: bool = False, deadline_s: int = DEADLINE_S
) -> Verdict:
    """Return the verdict about `attempt`, from memory where nothing has changed since.

    Args:
        spec: The model.
        attempt: What to try.
        redo: Do not look into the memory.
        deadline_s: Without progress, after which the child counts as hung.
    """
    drivers = driver.look()
    try:
        _check_usable(attempt, drivers)
    except BackendError as error:
        return verdict.Verdict(ok=False, why=str(error), driver=drivers.words)
    place = verdict.path_for(_key(spec, attempt, drivers))
    known = None if redo else verdict.recall(place)
    if known is not None:
        return known
    found = _try(spec, attempt, drivers, deadline_s)
    with suppress(OSError):  # a memory that cannot be written costs time and nothing else
        verdict.remember(place, found)
    return found


def _check_usable(attempt: Attempt, drivers: driver.Drivers) -> None:
    """Refuse what needs no child to be refused."""
    if attempt.accelerator == "gpu":
        capi.folder()
        if drivers.problem:
            raise BackendError(drivers.problem)


def _key(spec: ModelSpec, attempt: Attempt, drivers: driver.Drivers) -> dict[str, Any]:
    return {
        "model": spec.sha256,
        "input": spec.input.model_dump(),
        "wheel": capi.installed(),
        "drivers": drivers.key,
        "attempt": attempt.model_dump(),
        "library": driver.trace(Path(attempt.library)) if attempt.library else None,
    }


def _try(spec: ModelSpec, attempt: Attempt, drivers: driver.Drivers, deadline_s: int) -> Verdict:
    task = {
        "model": str(spec.path.absolute()),
        "mean": spec.input.mean,
        "std": spec.input.std,
        "deadline_s": deadline_s,
        **attempt.model_dump(),
    }
    status, out, err = _run_child(task)
    found: dict[str, Any] = {}
    for line in out.splitlines():
        with suppress(ValueError):  # a driver may write to stdout too
            said = json.loads(line)
            found.update(said if isinstance(said, dict) else {})
    return judge.judge(attempt, judge.Evidence(status, found, err), drivers)


def _run_child(task: dict[str, Any]) -> tuple[int, str, str]:
    child = subprocess.Popen(
        [sys.executable, "-m", "vision.litert.probe_child", json.dumps(task)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=paths.child_environment(LITERT_DISABLE_OPENCL="1"),
    )
    try:
        out, err = child.communicate(timeout=task["deadline_s"] * _STEPS)
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
    finally:
        child.kill()  # a Ctrl-C while we wait
    return child.returncode, out, err
