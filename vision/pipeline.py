"""The line: capture, preprocess, detect, overlay. Each stage is a worker; each is timed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from vision.capture import Capture
from vision.frame import Frame, Result
from vision.lane import Lane, merge
from vision.overlay import Hud
from vision.publishing import outgoing
from vision.runtime.mailbox import Mailbox
from vision.runtime.worker import Worker
from vision.stats import Rate, Stats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from vision.cascade import Cascade
    from vision.classification import ClassScore
    from vision.detection import Detections, Track
    from vision.event import Event
    from vision.failover import Written
    from vision.interfaces import BackendInfo, Output, Source, Tracker
    from vision.overlay import Overlay
    from vision.publishing import Outgoing
    from vision.rules import Rules
    from vision.runtime.mailbox import Broadcast
    from vision.runtime.worker import Crew


@dataclass(frozen=True, slots=True)
class Job:
    """A frame on its way through the models."""

    frame: Frame
    written: tuple[Written, ...]
    timings_ns: dict[str, int]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a camera's line is made of."""

    camera: str
    node: str
    source: Source
    lanes: tuple[Lane, ...]
    cascade: Cascade
    min_score: NDArray[np.float32]
    """(C,) by class of the line: from here up a box is shown and may start a track."""
    tracker: Tracker
    rules: Rules
    overlay: Overlay
    outputs: tuple[Output, ...]


class Line:
    """One camera's line.

    Live, every mailbox holds one item and the newest wins, so what is shown is fresh.
    From a file every `put` waits, so every frame counts and runs repeat.
    """

    def __init__(
        self,
        parts: Parts,
        crew: Crew,
        events: Broadcast[Outgoing],
        *,
        frames_limit: int | None = None,
        seconds_limit: float | None = None,
    ) -> None:
        self.parts = parts
        self.stats = Stats()
        self._crew = crew
        self._events = events
        live = parts.source.live
        queues = any(lane.queues for lane in parts.lanes)
        slots = min(lane.slots for lane in parts.lanes)
        self._frames: Mailbox[Frame] = Mailbox("frames", latest=live)
        # A queued slot must be collected, so none may be dropped: there are as many
        # places as slots. Otherwise a waiting frame gives way to a fresher one.
        self._jobs: Mailbox[Job] = Mailbox(
            "jobs", slots if queues else 1, latest=live and not queues, on_drop=self._recycle
        )
        self._results: Mailbox[Result] = Mailbox("results", latest=live)
        self._capture = Capture(
            parts.source, self._frames, crew, self.stats,
            frames_limit=frames_limit, seconds_limit=seconds_limit, name=parts.camera,
        )  # fmt: skip
        self._rate = Rate()
        self._last: Frame | None = None

    @property
    def backend(self) -> str:
        """What computes now, in words."""
        return " + ".join(dict.fromkeys(lane.info.words() for lane in self.parts.lanes))

    @property
    def drops(self) -> dict[str, int]:
        """Return frames that a fresher one overtook, by mailbox."""
        boxes = (self._frames, self._jobs, self._results)
        return {box.name: box.drops for box in boxes}

    def workers(self) -> list[Worker]:
        """Return the stages in order; the crew starts them."""
        name = self.parts.camera
        showing = bool(self.parts.outputs)
        stages = [
            Worker(
                f"{name} capture", self._capture.step, open_=self._capture.open,
                close=self._capture.close, gives=[self._frames],
            ),
            Worker(
                f"{name} preprocess", self._preprocess, takes=[self._frames], gives=[self._jobs]
            ),
            Worker(
                f"{name} detect", self._detect, close=self._end_detect, takes=[self._jobs],
                gives=[self._results, self._events],
            ),
        ]  # fmt: skip
        if showing:
            stages.append(
                Worker(
                    f"{name} overlay", self._show, open_=self._open_outputs,
                    close=self._close_outputs, takes=[self._results],
                )
            )  # fmt: skip
        return stages

    def _preprocess(self) -> None:
        # The slot first, then the frame: so the frame is the newest there is.
        slots = [lane.claim() for lane in self.parts.lanes]
        frame = self._frames.get()
        started_ns = time.monotonic_ns()
        written = tuple(
            lane.write(frame.image, slot)
            for lane, slot in zip(self.parts.lanes, slots, strict=True)
        )
        ended_ns = time.monotonic_ns()
        timings_ns = {"wait": started_ns - frame.read_ns, "preprocess": ended_ns - started_ns}
        self._jobs.put(Job(frame, written, timings_ns))

    def _recycle(self, job: Job) -> None:
        for lane, written in zip(self.parts.lanes, job.written, strict=True):
            lane.release(written.slot)

    def _detect(self) -> None:
        job = self._jobs.get()
        frame, timings_ns = job.frame, job.timings_ns
        found = self._infer(job)
        started_ns = time.monotonic_ns()
        followed = self.parts.tracker.update(found, frame.captured_ns)
        tracks, classes = self._classify(job, followed)
        rules = self.parts.rules
        events = (*rules.update(frame, tracks), *rules.classify(frame, classes))
        classify_ns = timings_ns.get("classify", 0)
        timings_ns["track"] = time.monotonic_ns() - started_ns - classify_ns
        self._last = frame
        self._account(timings_ns)
        self._send(events, timings_ns)
        if self.parts.outputs:
            strong = found.score >= self.parts.min_score[found.class_id]
            shown = found if strong.all() else found.select(strong)
            self._results.put(Result(frame, shown, tracks, events, timings_ns, classes))
        self.stats.record("capture_to_result", time.monotonic_ns() - frame.read_ns)

    def _infer(self, job: Job) -> Detections:
        infer_ns = decode_ns = 0
        parts = []
        for lane, written in zip(self.parts.lanes, job.written, strict=True):
            started_ns = time.monotonic_ns()
            outputs, written = lane.collect(written, job.frame.image)  # noqa: PLW2901
            collected_ns = time.monotonic_ns()
            parts.append(lane.decode(outputs, written, job.frame.size_wh))
            lane.release(written.slot)
            infer_ns += collected_ns - started_ns
            decode_ns += time.monotonic_ns() - collected_ns
        job.timings_ns["infer"] = infer_ns
        job.timings_ns["decode"] = decode_ns
        return merge(parts)

    def _classify(
        self, job: Job, tracks: Sequence[Track]
    ) -> tuple[tuple[Track, ...], Mapping[str, tuple[ClassScore, ...]]]:
        if not len(self.parts.cascade):
            return tuple(tracks), {}
        started_ns = time.monotonic_ns()
        named = self.parts.cascade.update(job.frame, tracks)
        job.timings_ns["classify"] = time.monotonic_ns() - started_ns
        return named

    def _account(self, timings_ns: dict[str, int]) -> None:
        self.stats.frames_out += 1
        for stage, duration_ns in timings_ns.items():
            self.stats.record(stage, duration_ns)

    def _send(self, events: Sequence[Event], timings_ns: dict[str, int]) -> None:
        for event in events:
            latency_ms = {name: round(ns / 1e6, 3) for name, ns in timings_ns.items()}
            latency_ms["total"] = round((time.monotonic_ns() - event.read_ns) / 1e6, 3)
            backend = self._backend_of(event).as_json()
            self._events.send(partial(outgoing, event, self.parts.node, latency_ms, backend))

    def _backend_of(self, event: Event) -> BackendInfo:
        """Return what found the object, or named the frame, that `event` is about."""
        if "classifier" in event.data:
            return self.parts.cascade.info(event.data["classifier"])
        lanes = self.parts.lanes
        return next((lane for lane in lanes if event.data["label"] in lane.labels), lanes[0]).info

    def _end_detect(self) -> None:
        if self._last is not None:
            self._send(self.parts.rules.close(self._last), {})
        for lane in self.parts.lanes:
            lane.close()
        self.parts.cascade.close()

    def _open_outputs(self) -> None:
        for output in self.parts.outputs:
            output.open()

    def _show(self) -> None:
        result = self._results.get()
        started_ns = time.monotonic_ns()
        hud = Hud(
            fps=self._rate.tick(started_ns),
            backend=self.backend,
            age_ms=(started_ns - result.frame.read_ns) / 1e6,
        )
        image = self.parts.overlay.draw(result, hud)
        self.stats.record("overlay", time.monotonic_ns() - started_ns)
        for output in self.parts.outputs:
            if not output.write(image, result):
                self._crew.stop()
        ended_ns = time.monotonic_ns()
        self.stats.record("output", ended_ns - started_ns)
        self.stats.record("capture_to_shown", ended_ns - result.frame.read_ns)

    def _close_outputs(self) -> None:
        for output in self.parts.outputs:
            output.close()
