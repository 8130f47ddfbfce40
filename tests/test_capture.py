"""A camera that is pulled out and comes back, and ends that are no failure."""

from __future__ import annotations

import time

import numpy as np
import pytest

from vision.capture import Capture
from vision.errors import EndOfStream, SourceError
from vision.frame import Frame
from vision.runtime.mailbox import Closed, Mailbox
from vision.runtime.worker import Crew, Worker
from vision.stats import Stats

DEADLINE_S = 10.0


class PulledCamera:
    """Gives frames; from `pulled_at` on nothing, until it was opened `absent` more times."""

    def __init__(self, *, live=True, frames=20, pulled_at=None, absent=0, there=True):
        self.live = live
        self.opened = 0
        self.closed = 0
        self._left = frames
        self._pulled_at, self._absent, self._there = pulled_at, absent, there
        self._id = 0

    def open(self):
        self.opened += 1
        if not self._there or 1 < self.opened <= 1 + self._absent:
            raise SourceError("camera front: /dev/video7 does not exist")

    def read(self):
        if self._id == self._left:
            raise EndOfStream
        if self._id == self._pulled_at and self.opened <= 1 + self._absent:
            raise SourceError("camera front: /dev/video7 gives no more frames")
        frame_id, self._id = self._id, self._id + 1
        now_ns = time.monotonic_ns()
        return Frame(np.zeros((2, 2, 3), np.uint8), frame_id, now_ns, 0, "front", now_ns)

    def close(self):
        self.closed += 1


def run(source, **limits):
    crew = Crew()
    frames = Mailbox("frames", latest=False)
    capture = Capture(source, frames, crew, Stats(), retry_s=0.01, **limits)
    got = []

    def take():
        got.append(frames.get().frame_id)

    crew.workers += [
        Worker("capture", capture.step, open_=capture.open, close=capture.close, gives=[frames]),
        Worker("take", take, takes=[frames]),
    ]
    crew.start()
    assert crew.wait(DEADLINE_S)
    crew.stop()
    assert crew.join(DEADLINE_S) == []
    return got, [worker.error for worker in crew.failed]


def test_a_pulled_camera_is_opened_again_until_it_is_back(caplog):
    source = PulledCamera(pulled_at=5, absent=3)
    got, errors = run(source)
    assert got == list(range(20))  # ids go on
    assert errors == []
    assert source.opened == 5
    assert source.closed >= 4
    lines = [record.message for record in caplog.records]
    assert "gives no more frames; trying again" in lines[0]
    assert lines[-1].endswith("is back")


def test_a_camera_that_never_was_there_ends_the_line():
    got, errors = run(PulledCamera(there=False))
    assert got == []
    assert [str(error) for error in errors] == ["camera front: /dev/video7 does not exist"]
    assert errors[0].exit_code == 69


def test_a_file_that_breaks_is_not_tried_again():
    source = PulledCamera(live=False, pulled_at=5, absent=1)
    got, errors = run(source)
    assert got == list(range(5))
    assert len(errors) == 1
    assert source.opened == 1


def test_a_pulled_camera_does_not_hold_up_the_stop():
    crew = Crew()
    frames = Mailbox("frames", 100, latest=True)
    capture = Capture(PulledCamera(pulled_at=5, absent=10**6), frames, crew, Stats(), retry_s=60)
    crew.workers.append(
        Worker("capture", capture.step, open_=capture.open, close=capture.close, gives=[frames])
    )
    crew.start()
    for _ in range(5):
        frames.get(DEADLINE_S)
    crew.stop()
    assert crew.join(DEADLINE_S) == []
    assert not crew.failed
    with pytest.raises(Closed):
        frames.get()


def test_limits_end_it():
    assert run(PulledCamera(), frames_limit=7)[0] == list(range(7))
    assert run(PulledCamera(), frames_limit=0)[0] == []
    assert run(PulledCamera(), seconds_limit=0.0)[0] == []
