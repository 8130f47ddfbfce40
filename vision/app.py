"""The composition root: a configuration in, a running program out."""

from __future__ import annotations

import logging
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2

from vision.building import Checked, build_cascade, build_models
from vision.errors import EXIT_INTERNAL, StageError, VisionError
from vision.overlay import Overlay
from vision.pipeline import Line, Parts
from vision.publishing import Publishing
from vision.rules import Rules
from vision.runtime.mailbox import Broadcast
from vision.runtime.worker import Crew

if TYPE_CHECKING:
    from types import FrameType

    from vision.runtime.worker import Worker

_log = logging.getLogger(__name__)

_STOP_S = 2.5  # for everything to drain, within the 3 s that a stop may take


@dataclass(frozen=True, slots=True)
class Limits:
    """When to end by itself; None for never."""

    frames: int | None = None
    seconds: float | None = None


class App:
    """All cameras' lines and the publishers, as one crew.

    Raises:
        ConfigError, ModelError: From the constructor, before any device opens.
    """

    def __init__(self, checked: Checked, limits: Limits | None = None) -> None:
        cv2.setNumThreads(1)  # the stages are the parallelism; OpenCV's own pool only adds CPU
        limits = limits or Limits()
        config = checked.config
        self.crew = Crew()
        self._config = config
        self._publishing = [
            Publishing(name, publisher, producers=len(config.cameras))
            for name, publisher in checked.named_publishers()
        ]
        events = Broadcast([publishing.mailbox for publishing in self._publishing])
        self.lines = [
            Line(
                _parts(checked, camera), self.crew, events,
                frames_limit=limits.frames, seconds_limit=limits.seconds,
            )
            for camera in config.cameras
        ]  # fmt: skip
        self._events = events
        for line in self.lines:
            self.crew.workers += line.workers()
        self.crew.workers += [publishing.worker() for publishing in self._publishing]

    def run(self) -> dict[str, Any]:
        """Run until the sources end or a signal comes; return the summary.

        Raises:
            VisionError: What ended a worker, or StageError naming one that is stuck.
        """
        started = time.monotonic()
        with _Signals(self.crew):
            self.crew.start()
            interval_s = self._config.stats_interval_s
            while not self.crew.wait(interval_s):
                self._log_statistics()
            if self.crew.failed:
                self.crew.stop()
            stuck = self.crew.join(_STOP_S)
        self._raise_failures(stuck)
        return self.summary(time.monotonic() - started)

    def _raise_failures(self, stuck: list[str]) -> None:
        errors = [_told(worker) for worker in self.crew.failed]
        if stuck:
            errors.append(StageError(f"did not stop within {_STOP_S} s: {', '.join(stuck)}"))
        for error in errors[1:]:
            _log.error("%s", error)
        if errors:
            raise errors[0]

    def _log_statistics(self) -> None:
        for line in self.lines:
            latency = line.stats.latency_ms().get("capture_to_result", {})
            _log.info(
                "%s: %d frames in, %d out, age p50 %.1f p99 %.1f ms, drops %s, backend %s",
                line.parts.camera, line.stats.frames_in, line.stats.frames_out,
                latency.get("p50", 0.0), latency.get("p99", 0.0), line.drops, line.backend,
            )  # fmt: skip

    def summary(self, elapsed_s: float) -> dict[str, Any]:
        """Return what was done, as `run --json` prints it."""
        return {
            "seconds": round(elapsed_s, 3),
            "events": self._events.sent,
            "cameras": {line.parts.camera: _line_summary(line, elapsed_s) for line in self.lines},
            "publishers": {
                publishing.mailbox.name.removeprefix("events for "): {
                    "published": publishing.published,
                    "latency_ms": publishing.stats.latency_ms(),
                }
                for publishing in self._publishing
            },
        }


def _told(worker: Worker) -> VisionError:
    """Return a worker's error as one for people."""
    error = worker.error
    if isinstance(error, VisionError):
        return error
    told = StageError(f"{worker.name} failed: {type(error).__name__}: {error}")
    told.__cause__ = error
    return told


def _parts(checked: Checked, camera: str) -> Parts:
    config = checked.config
    own = config.cameras[camera]
    models = build_models(config, own.detectors or tuple(config.detectors))
    tracker_class, tracker_config = checked.tracker
    return Parts(
        camera=camera,
        node=config.name,
        source=checked.source(camera),
        lanes=models.lanes,
        cascade=build_cascade(config, models.lanes),
        min_score=models.min_score,
        tracker=tracker_class(
            tracker_config,
            labels=models.labels,
            start_score=models.min_score,
            max_age_s=config.rules.max_age_s,
        ),
        rules=Rules(config.rules, camera=camera, zones=own.zones),
        overlay=Overlay(models.labels),
        outputs=checked.camera_outputs(camera),
    )


def _line_summary(line: Line, elapsed_s: float) -> dict[str, Any]:
    stats = line.stats
    return {
        "frames_in": stats.frames_in,
        "frames_out": stats.frames_out,
        "fps_in": round(stats.frames_in / elapsed_s, 2),
        "fps_out": round(stats.frames_out / elapsed_s, 2),
        "drops": line.drops,
        "latency_ms": stats.latency_ms(),
        "backends": {lane.name: lane.info.as_json() for lane in line.parts.lanes},
    }


class _Signals:
    """The first Ctrl-C or SIGTERM stops in order, the second at once."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._crew.stopping:
            os._exit(EXIT_INTERNAL if number == signal.SIGTERM else 128 + number)
        self._crew.stop()
