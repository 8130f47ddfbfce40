"""Mailboxes and workers: what is dropped, what waits, how things end."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.runtime.mailbox import Broadcast, Closed, Mailbox
from vision.runtime.worker import Crew, Finished, Worker

DEADLINE_S = 5.0


@given(items=st.lists(st.integers(), max_size=30), capacity=st.integers(1, 5))
def test_latest_keeps_the_newest_and_counts_and_returns_the_rest(items, capacity):
    dropped = []
    box = Mailbox("box", capacity, latest=True, on_drop=dropped.append)
    for item in items:
        box.put(item)
    box.close()
    kept = box.get_all() if items else []
    assert kept == items[-capacity:]
    assert dropped == items[: len(items) - len(kept)]
    assert box.drops == len(dropped)


def test_a_blocking_mailbox_hands_over_everything_in_order():
    box = Mailbox("box", 2, latest=False)
    sent = list(range(500))

    def send():
        for item in sent:
            box.put(item)
        box.close()

    sender = threading.Thread(target=send)
    sender.start()
    received = []
    with pytest.raises(Closed):
        while True:
            received.append(box.get(DEADLINE_S))
    sender.join(DEADLINE_S)
    assert received == sent
    assert box.drops == 0


def test_get_times_out_and_a_closed_mailbox_refuses():
    box = Mailbox("box", latest=True)
    with pytest.raises(TimeoutError):
        box.get(0.01)
    box.put(1)
    box.close()
    with pytest.raises(Closed):
        box.put(2)
    assert box.get() == 1
    with pytest.raises(Closed):
        box.get()


def test_closing_twice_loses_nothing():
    box = Mailbox("box", 5, latest=True)
    for item in range(3):
        box.put(item)
    box.close()
    box.close()
    assert len(box) == 3
    assert box.get_all() == [0, 1, 2]
    with pytest.raises(Closed):
        box.get_all()


def test_a_producer_and_a_consumer_that_race_lose_only_what_is_counted():
    dropped = []
    box = Mailbox("box", 1, latest=True, on_drop=dropped.append)
    received = []

    def take():
        try:
            while True:
                received.append(box.get())
        except Closed:
            pass

    taker = threading.Thread(target=take)
    taker.start()
    for item in range(20_000):
        box.put(item)
    box.close()
    taker.join(DEADLINE_S)
    assert sorted(received + dropped) == list(range(20_000))
    assert received == sorted(received)
    assert box.drops == len(dropped)


def test_closing_wakes_a_waiting_producer():
    box = Mailbox("box", 1, latest=False)
    box.put(1)
    ended = []

    def send():
        try:
            box.put(2)
        except Closed:
            ended.append(True)

    sender = threading.Thread(target=send)
    sender.start()
    box.close()
    sender.join(DEADLINE_S)
    assert ended == [True]


def test_the_last_producer_closes():
    box = Mailbox("box", 4, latest=False, producers=2)
    box.done()
    box.put("still open")
    box.done()
    assert box.closed


def test_broadcast_numbers_without_gaps_in_one_order_for_all():
    boxes = [Mailbox(f"box {n}", 1000, latest=False) for n in range(3)]
    broadcast = Broadcast(boxes)
    senders = [
        threading.Thread(target=lambda: [broadcast.send(lambda n: n) for _ in range(100)])
        for _ in range(4)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(DEADLINE_S)
    assert [box.get_all() for box in boxes] == [list(range(1, 401))] * 3


def _line(crew, step, *, fail_at=None):
    """Build a source, a stage that `step`s, and a sink; return what the sink got."""
    first, second = Mailbox("first", latest=False), Mailbox("second", latest=False)
    numbers = iter(range(fail_at or 20))
    got = []

    def capture():
        if crew.stopping:
            raise Finished
        try:
            first.put(next(numbers))
        except StopIteration:
            raise Finished from None

    crew.workers += [
        Worker("capture", capture, gives=[first]),
        Worker("stage", lambda: second.put(step(first.get())), takes=[first], gives=[second]),
        Worker("sink", lambda: got.append(second.get()), takes=[second]),
    ]
    return got


def test_a_source_that_ends_drains_the_line():
    crew = Crew()
    got = _line(crew, lambda n: n * n)
    crew.start()
    assert crew.wait(DEADLINE_S)
    assert crew.join(DEADLINE_S) == []
    assert got == [n * n for n in range(20)]
    assert not crew.failed


def test_a_stage_that_raises_ends_the_line_and_is_named():
    def step(number):
        if number == 7:
            raise ValueError("seven")
        return number

    crew = Crew()
    got = _line(crew, step)
    crew.start()
    assert crew.wait(DEADLINE_S)
    crew.stop()
    assert crew.join(DEADLINE_S) == []
    assert got == list(range(7))
    assert [(w.name, str(w.error)) for w in crew.failed] == [("stage", "seven")]


def test_a_worker_that_does_not_open_ends_the_start():
    crew = Crew()
    got = _line(crew, lambda n: n)

    def refuse():
        raise OSError("no disk")

    crew.workers[-1] = Worker("sink", lambda: None, open_=refuse, takes=crew.workers[-1]._takes)
    crew.start()
    assert crew.join(DEADLINE_S) == []
    assert [w.name for w in crew.failed] == ["sink"]
    assert got == []


def test_a_stuck_worker_is_named():
    crew = Crew()
    release = threading.Event()
    crew.workers.append(Worker("stuck", release.wait))
    crew.start()
    crew.stop()
    assert crew.join(0.05) == ["stuck"]
    release.set()
    crew.workers[0]._step = lambda: (_ for _ in ()).throw(Finished)
    assert crew.join(DEADLINE_S) == []


def test_open_and_close_run_in_the_workers_thread_also_after_an_error():
    where = {}

    def step():
        where["step"] = threading.current_thread().name
        raise ValueError

    crew = Crew()
    crew.workers.append(
        Worker(
            "mine",
            step,
            open_=lambda: where.update(open=threading.current_thread().name),
            close=lambda: where.update(close=threading.current_thread().name),
        )
    )
    crew.start()
    assert crew.join(DEADLINE_S) == []
    assert where == {"open": "mine", "step": "mine", "close": "mine"}
