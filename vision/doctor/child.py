"""Asks in a child process what could crash or hang this one."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass

from vision import paths

DEADLINE_S = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a child said.

    Attributes:
        out: Its standard output.
        problem: Why the answer is not to be had, in words; empty where it ended well.
    """

    out: str
    problem: str = ""


def python(*arguments: str, deadline_s: float = DEADLINE_S) -> Answer:
    """Run `python ARGUMENTS` in which `vision` can be imported."""
    return run(sys.executable, *arguments, deadline_s=deadline_s)


def run(*command: str, deadline_s: float = DEADLINE_S) -> Answer:
    """Run a command and wait for it no longer than `deadline_s`."""
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=paths.child_environment(),
        )
    except OSError as error:
        return Answer("", f"{command[0]} does not start: {error.strerror}")
    try:
        out, err = child.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        child.kill()
        # One that hangs in the kernel does not even die: leave it there.
        with suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=1.0)
        return Answer("", f"no answer within {deadline_s:g} s")
    if child.returncode < 0:
        return Answer(out, f"it crashes ({signal.Signals(-child.returncode).name})")
    if child.returncode:
        lines = err.strip().splitlines() or [f"exit status {child.returncode}"]
        return Answer(out, lines[-1].strip())
    return Answer(out)
