"""An accelerator that fails or hangs: every frame still gets its own answer."""

from __future__ import annotations

import dataclasses
import threading
import time

import numpy as np
import pytest

from vision.backends.cpu import CpuBackend, CpuConfig
from vision.building import load_engine
from vision.config import DetectorConfig, InferenceConfig
from vision.errors import BackendError
from vision.failover import Below, Engine, Failover
from vision.models.catalogue import resolve

DEADLINE_S = 10.0
OWN = DetectorConfig(model="face-short")
ON_CPU = InferenceConfig(backend="cpu", threads=1)


class FailingBackend(CpuBackend):
    """An accelerator as the line sees one, which breaks at a given call."""

    queues = True

    def __init__(self, how, at):
        super().__init__(CpuConfig(threads=1), spec=resolve("face-short"))
        self.info = dataclasses.replace(self.info, name="gpu", max_error=0.001)
        self.calls = 0
        self.how, self.at = how, at
        self.let_go = threading.Event()

    def _maybe(self, how):
        if how == self.how.split()[0]:
            self.calls += 1
            if self.calls > self.at:
                if self.how.endswith("hangs"):
                    self.let_go.wait(DEADLINE_S)
                raise BackendError("gpu: the device is lost")

    def submit(self, slot):
        self._maybe("submit")
        super().submit(slot)

    def collect(self, slot):
        self._maybe("collect")
        return super().collect(slot)


def engine_with(backend):
    whole = load_engine(OWN, ON_CPU)
    whole.backend.close()
    return Engine(backend, whole.preprocess, whole.detector)


def pictures(count):
    rng = np.random.default_rng(4)
    return [rng.integers(0, 255, (120, 160, 3), np.uint8) for _ in range(count)]


def answers(runner, images, ahead=2):
    """Run `images` with two in flight, as the line does; return each one's outputs."""
    got, flying = [], []
    for number, image in enumerate(images):
        flying.append((runner.write(image, number % ahead), image))
        if len(flying) == ahead:
            outputs, _ = runner.collect(*flying.pop(0))
            got.append([output.copy() for output in outputs])
    for written, image in flying:
        outputs, _ = runner.collect(written, image)
        got.append([output.copy() for output in outputs])
    return got


def truth(images):
    runner = Failover("truth", load_engine(OWN, ON_CPU))
    got = answers(runner, images, ahead=1)
    runner.close()
    return got


@pytest.mark.parametrize("how", ["submit fails", "collect fails", "submit hangs", "collect hangs"])
def test_no_frame_is_lost_or_answered_wrongly(how, caplog):
    images = pictures(12)
    backend = FailingBackend(how, at=5)
    below = Below(spare=lambda: load_engine(OWN, ON_CPU), revive=lambda: pytest.fail("too early"))
    runner = Failover("face", engine_with(backend), below, deadline_s=0.3, retry_s=60)
    assert runner.info.name == "gpu"
    started = time.monotonic()
    got = answers(runner, images)
    assert time.monotonic() - started < DEADLINE_S
    for ours, theirs in zip(got, truth(images), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert runner.info.name == "cpu"
    assert runner.info.fallback.startswith("gpu failed: ")
    assert runner.info.as_json()["fallback"] == runner.info.fallback
    warnings = [r for r in caplog.records if "takes over" in r.message]
    assert len(warnings) == 1
    backend.let_go.set()
    runner.close()


def test_a_submit_that_fails_while_another_thread_waits_for_an_answer():
    """The line has one thread for each; the one that waits must get its own frame's answer."""
    images = pictures(2)
    backend = FailingBackend("submit fails", at=1)
    waiting = threading.Event()

    def collect(slot, original=backend.collect):
        waiting.set()
        backend.let_go.wait(DEADLINE_S)
        return original(slot)

    backend.collect = collect
    below = Below(spare=lambda: load_engine(OWN, ON_CPU), revive=lambda: pytest.fail("too early"))
    runner = Failover("face", engine_with(backend), below, deadline_s=5, retry_s=60)
    first = runner.write(images[0], 0)
    got = []
    waiter = threading.Thread(
        target=lambda: got.append([o.copy() for o in runner.collect(first, images[0])[0]])
    )
    waiter.start()
    assert waiting.wait(DEADLINE_S)
    second = runner.write(images[1], 1)  # fails, and falls
    waiter.join(DEADLINE_S)
    backend.let_go.set()
    assert runner.info.name == "cpu"
    got.append([o.copy() for o in runner.collect(second, images[1])[0]])
    for ours, theirs in zip(got, truth(images), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    runner.close()


def test_it_goes_back_once_the_accelerator_is_right_again():
    backends = []
    tries = []

    def revive():
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise BackendError("still lost")
        backends.append(FailingBackend("never", at=0))
        return engine_with(backends[-1])

    images = pictures(6)
    failing = FailingBackend("collect fails", at=2)
    below = Below(spare=lambda: load_engine(OWN, ON_CPU), revive=revive)
    runner = Failover("face", engine_with(failing), below, retry_s=0.05)
    answers(runner, images)
    assert runner.info.name == "cpu"
    deadline = time.monotonic() + DEADLINE_S
    while runner.info.name == "cpu":
        answers(runner, images[:2])
        assert time.monotonic() < deadline
    assert runner.info.fallback is None
    gaps = np.diff(tries)
    assert gaps[-1] >= 2 * 0.05  # the interval grows
    got = answers(runner, images)
    for ours, theirs in zip(got, truth(images), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    runner.close()


def test_without_anything_below_the_error_is_the_callers():
    backend = FailingBackend("collect fails", at=0)
    runner = Failover("face", engine_with(backend))
    written = runner.write(pictures(1)[0], 0)
    with pytest.raises(BackendError, match="the device is lost"):
        runner.collect(written, pictures(1)[0])
    runner.close()


def test_a_spare_that_fails_too_is_told():
    broken = FailingBackend("collect fails", at=0)
    failing = FailingBackend("collect fails", at=0)
    below = Below(spare=lambda: engine_with(broken), revive=lambda: engine_with(failing))
    runner = Failover("face", engine_with(failing), below, retry_s=60)
    image = pictures(1)[0]
    with pytest.raises(BackendError, match="lost"):
        runner.collect(runner.write(image, 0), image)
    runner.close()
