"""Throughput and latency against the limit: read + invoke and nothing else.

Limit and line run in turn on the same frames, model and threads, in one process, so
their ratio holds while the machine's clock drifts.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision.app import App, Limits
from vision.bench.limit import gil, in_flight, limit
from vision.bench.meter import WARM_UP_FRAMES, Measured, Meter, rss_mb
from vision.building import check
from vision.paths import child_environment, shipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vision.config_file import Loaded

_OVERLOAD = 1.4


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        loaded: One camera and one detector; outputs and publishers as the line has them.
        frames: In each run.
        rounds: Of limit and line in turn; the median of each is reported.
        paced_fps: The rate of the live part.
        gil: Whether to measure what the model leaves to other threads.
    """

    loaded: Loaded
    frames: int
    rounds: int
    paced_fps: float
    gil: bool = False


def measure(plan: Plan, progress: Callable[[str], None]) -> dict[str, Any]:
    """Run everything; return the report that `bench --json` prints."""
    limits, lines = [], []
    for number in range(plan.rounds):
        progress(f"round {number + 1} of {plan.rounds}: limit")
        limits.append(limit(_loaded(plan, live=False), plan.frames))
        progress(f"round {number + 1} of {plan.rounds}: line")
        lines.append(_line(_loaded(plan, live=False), plan.frames))
    limit_fps = statistics.median(run.fps for run in limits)
    line_fps = statistics.median(run.fps for run in lines)
    (camera,) = lines[-1].summary["cameras"].values()
    report = {
        "limit_fps": round(limit_fps, 1),
        "pipeline_fps": round(line_fps, 1),
        "ratio_to_limit": round(
            statistics.median(b.fps / a.fps for a, b in zip(limits, lines, strict=True)), 3
        ),
        "cpu_ms_per_frame": {
            "limit": _median(run.cpu_ms_per_frame for run in limits),
            "pipeline": _median(run.cpu_ms_per_frame for run in lines),
        },
        "page_faults_per_frame": _median(run.page_faults_per_frame for run in lines),
        "latency_ms": camera["latency_ms"],
        "drops": camera["drops"],
        "paced": _paced(plan, progress),
        "overload": _overload(plan, line_fps, progress),
        "first_result_s": _first_result(plan),
        "rss_mb": round(rss_mb(), 1),
        "backend": next(iter(camera["backends"].values())),
        "in_flight_fps": in_flight(plan.loaded, plan.frames),
    }
    if plan.gil:
        progress("what the model leaves to other threads")
        report["gil"] = gil(plan.loaded, plan.frames)
    return report


def _paced(plan: Plan, progress: Callable[[str], None]) -> dict[str, Any]:
    """At a camera's rate: what a frame costs, and how late it is."""
    progress(f"paced at {plan.paced_fps:g} fps: limit")
    loaded = _loaded(plan, live=True, fps=plan.paced_fps)
    frames = min(plan.frames, round(10 * plan.paced_fps))
    bare = limit(loaded, frames)
    progress(f"paced at {plan.paced_fps:g} fps: line")
    line = _line(loaded, frames)
    (camera,) = line.summary["cameras"].values()
    (publisher,) = line.summary["publishers"].values()
    return {
        "fps": plan.paced_fps,
        "cpu_ms_per_frame": {
            "limit": round(bare.cpu_ms_per_frame, 3),
            "pipeline": round(line.cpu_ms_per_frame, 3),
        },
        "cpu_ratio": round(line.cpu_ms_per_frame / bare.cpu_ms_per_frame, 3),
        "latency_ms": {
            "limit": bare.summary,
            "capture_to_shown": camera["latency_ms"]["capture_to_shown"],
            **publisher["latency_ms"],
        },
        "drops": sum(camera["drops"].values()),
    }


def _overload(plan: Plan, line_fps: float, progress: Callable[[str], None]) -> dict[str, Any]:
    """At 1.4 times what the line can do: the age of what is shown."""
    fps = _OVERLOAD * line_fps
    progress(f"overload at {fps:.0f} fps: line")
    line = _line(_loaded(plan, live=True, fps=fps), plan.frames)
    (camera,) = line.summary["cameras"].values()
    latency = camera["latency_ms"]
    service_ms = sum(latency[stage]["p50"] for stage in ("preprocess", "infer", "decode", "track"))
    shown = latency["capture_to_shown"]
    return {
        "fps": round(fps, 1),
        "service_ms": round(service_ms, 3),
        "shown_age_ms": shown,
        "age_to_service": round(shown["p50"] / service_ms, 2),
        "dropped": sum(camera["drops"].values()),
    }


def _line(loaded: Loaded, frames: int) -> Measured:
    """Run the whole line, with overlay and JSON Lines."""
    meter = Meter()
    with tempfile.TemporaryDirectory(prefix="vision-bench-") as folder:
        publisher = {"type": "jsonl", "path": str(Path(folder) / "events.jsonl")}
        config = loaded.config.model_copy(update={"publishers": (publisher,), "outputs": ()})
        checked = check(replace(loaded, config=config))
        shown = replace(checked, outputs=((lambda _, camera: meter.of(camera), None),))
        summary = App(shown, Limits(frames=frames + WARM_UP_FRAMES)).run()
    return meter.measured(summary)


def _loaded(plan: Plan, *, live: bool, fps: float | None = None) -> Loaded:
    """Return the plan's configuration with its camera paced or not."""
    config = plan.loaded.config
    update = {"live": live, "loop": True, **({} if fps is None else {"fps": fps})}
    cameras = {name: own.model_copy(update=update) for name, own in config.cameras.items()}
    return replace(plan.loaded, config=config.model_copy(update={"cameras": cameras}))


def _first_result(plan: Plan) -> float:
    """Return seconds from the start of a process to its end after one frame."""
    (camera,) = plan.loaded.config.cameras.values()
    (detector,) = plan.loaded.config.detectors.values()
    command = [sys.executable, "-m", "vision", "run", str(shipped("configs/headless.yaml"))]
    command += ["--source", str(camera.source), "--frames", "1", "--set", "publishers=[]"]
    command += ["--set", f"detectors.face.model={detector.model}"]
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        subprocess.run(command, check=True, capture_output=True, env=child_environment())
        seconds.append(time.monotonic() - started)
    return round(min(seconds), 3)


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 3)
