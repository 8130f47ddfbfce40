"""The child of `probe`: tries one model on one accelerator and says how it goes.

Run as `python -m vision.litert.probe_child TASK`. Each step is a line of JSON on stdout
before it begins and another with what it found; the last line that came tells the parent
where a crash or a hang was. What LiteRT itself says goes to stderr, for the parent to read.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision.errors import VisionError
from vision.litert import compare, environment, pictures
from vision.litert.capi import LockMode
from vision.litert.compiled_model import CompiledModel
from vision.litert.interpreter import Runner, load_delegate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Run = Callable[[Sequence[NDArray[Any]]], list[NDArray[Any]]]

_TIMED_S = 0.4
_RUNS = (3, 60)  # at least, at most
_MAX_THREADS = 8


def main() -> None:
    """Do the task in the first argument.

    The alarm kills the process, whatever native code it hangs in, when for
    `deadline_s` there was no progress.
    """
    task = json.loads(sys.argv[1])
    try:
        _probe(task)
    except VisionError as error:
        _say(error=str(error))
    sys.stdout.flush()
    os._exit(0)  # nothing is worth a driver's own way out


def _say(**found: Any) -> None:
    print(json.dumps(found), flush=True)  # noqa: T201  (stdout is the parent's)


def _probe(task: dict[str, Any]) -> None:
    deadline_s = task["deadline_s"]

    def begin(step: str) -> None:
        signal.alarm(deadline_s)
        _say(step=step)

    environment.speak_up()
    begin("running on the CPU")
    # The CPU first: it has been seen at half its speed after a GPU that failed.
    reference = Runner(task["model"], threads=1)
    feeds = [
        [values, *others]
        for values, *others in zip(
            *(pictures.inputs(spec, task["mean"], task["std"]) for spec in reference.inputs),
            strict=True,
        )
    ]
    expected = [_copied(reference.run(feed)) for feed in feeds]
    _say(
        cpu_p50_ms=_time_threads(task["model"], reference, feeds[0]), quantised=reference.quantised
    )
    begin("compiling")
    run = _gpu(task) if task["accelerator"] == "gpu" else _delegate(task)
    actual = []
    for feed in feeds:
        begin("running")
        actual.append(_copied(run(feed)))
    found = compare.compare(reference.outputs, expected, actual)
    _say(differences=[asdict(item) for item in found.differences], unmatched=found.unmatched)
    begin("being timed")
    _say(p50_ms=_p50_ms(run, feeds[0]))


def _copied(arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
    return [array.copy() for array in arrays]


def _gpu(task: dict[str, Any]) -> Run:
    model = CompiledModel(Path(task["model"]), task["precision"])
    buffers = model.new_buffers()
    _say(total_ops=model.total_ops, **({"delegated_ops": model.total_ops} if model.whole else {}))

    def run(feed: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        for buffer, values in zip(buffers.inputs, feed, strict=True):
            buffer.lock(LockMode.WRITE)[...] = values
            buffer.unlock()
        model.run(buffers)
        answers = []
        for buffer in buffers.outputs:
            answers.append(buffer.lock(LockMode.READ).copy())
            buffer.unlock()
        return answers

    return run


def _delegate(task: dict[str, Any]) -> Run:
    delegate = load_delegate(task["library"], task["options"])
    runner = Runner(task["model"], threads=1, delegate=delegate)
    delegated, total = runner.split
    _say(delegated_ops=delegated, total_ops=total)
    return runner.run


def _time_threads(model: str, first: Runner, feed: list[NDArray[Any]]) -> dict[int, float]:
    threads = range(1, min(len(os.sched_getaffinity(0)), _MAX_THREADS) + 1)
    return {n: _p50_ms((first if n == 1 else Runner(model, n)).run, feed) for n in threads}


def _p50_ms(run: Run, feed: Sequence[NDArray[Any]]) -> float:
    run(feed)
    times: list[float] = []
    least, most = _RUNS
    while len(times) < least or (sum(times) < _TIMED_S * 1e3 and len(times) < most):
        started = time.perf_counter_ns()
        run(feed)
        times.append((time.perf_counter_ns() - started) / 1e6)
    return round(statistics.median(times), 4)


if __name__ == "__main__":
    main()
