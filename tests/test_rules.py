"""When a track is told: new, update, end, and what each event says."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.config import RulesConfig
from vision.detection import Detections, Track
from vision.event import rfc3339, to_record
from vision.frame import Frame
from vision.rules import Rules, _inside
from vision.trackers.kalman import KalmanConfig, KalmanTracker

SECOND_NS = 1_000_000_000
START_UNIX_NS = 1_767_225_600 * SECOND_NS
IMAGE = np.zeros((400, 600, 3), np.uint8)
DOOR = {"door": ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))}


def frame(n, *, fps=10, unix_offset_ns=0):
    captured_ns = n * SECOND_NS // fps
    return Frame(
        IMAGE, n, 5_000 + captured_ns, START_UNIX_NS + captured_ns + unix_offset_ns, "front", n
    )


def track(hits, box=(10, 20, 50, 100), *, score=0.8, missed=0, track_id=1):
    return Track(
        track_id,
        np.array(box, np.float32),
        np.float32(score).item(),
        0,
        "person",
        hits,
        missed,
        5_000,
    )


def rules(zones=DOOR, **config):
    return Rules(RulesConfig(**config), camera="front", zones=zones)


def kinds(events):
    return [event.type.rpartition(".")[2] for event in events]


def test_new_comes_with_min_hits_and_end_with_the_tracks_end():
    own = rules(min_hits=3)
    told = [kinds(own.update(frame(n), [track(n + 1)])) for n in range(6)]
    assert told == [[], [], ["new"], [], [], []]
    assert kinds(own.update(frame(6), [track(6, missed=1)])) == []
    assert kinds(own.update(frame(7), [])) == ["end"]
    assert own.update(frame(8), []) == ()


def test_a_track_that_was_never_told_ends_in_silence():
    own = rules(min_hits=3)
    own.update(frame(0), [track(1)])
    assert own.update(frame(1), []) == ()
    own.update(frame(2), [track(1, track_id=2)])
    assert own.close(frame(2)) == ()


def test_new_waits_for_a_frame_with_the_object_in_it():
    own = rules(min_hits=1)
    assert own.update(frame(0), [track(3, missed=2)]) == ()
    assert kinds(own.update(frame(1), [track(4)])) == ["new"]


def test_an_event_says_everything_of_its_frame():
    own = rules(min_hits=2)
    own.update(frame(0), [track(1, score=0.9)])
    (event,) = own.update(frame(1), [track(2, (10.06, 20.04, 50.52, 100), score=1 / 3)])
    data = dict(event.data)
    assert data.pop("clock_synced") in (True, False, None)
    assert data == {
        "camera": "front",
        "track_id": 1,
        "label": "person",
        "score": 0.3333,
        "top_score": 0.9,
        "box": [10.0, 20.0, 50.6, 100.0],
        "frame_width": 600,
        "frame_height": 400,
        "frame_id": 1,
        "start_time": "2026-01-01T00:00:00.000Z",
        "end_time": None,
        "zones": ["door"],
        "snapshot": None,
    }
    assert (event.camera, event.subject) == ("front", "front/1")
    assert (event.unix_ns, event.read_ns) == (START_UNIX_NS + SECOND_NS // 10, 1)
    to_record(event, node="porch", sequence=1, latency_ms={}, backend={"name": "cpu"})


def test_end_shows_the_last_sighting_and_is_told_when_it_is_noticed():
    own = rules(min_hits=1)
    own.update(frame(0), [track(1)])
    own.update(frame(4), [track(5, (110, 20, 150, 100), score=0.7)])
    own.update(frame(5), [track(5, (300, 20, 340, 100), missed=1)])
    (end,) = own.update(frame(15), [])
    assert (end.data["frame_id"], end.data["box"]) == (4, [110.0, 20.0, 150.0, 100.0])
    assert (end.data["score"], end.data["top_score"]) == (0.7, 0.8)
    assert end.data["start_time"] == "2026-01-01T00:00:00.000Z"
    assert end.data["end_time"] == "2026-01-01T00:00:00.400Z"
    assert end.unix_ns == frame(15).unix_ns


def test_a_wall_clock_that_jumps_changes_no_duration_and_no_moment():
    own, jump = rules(min_hits=1, update_s=1.0), -365 * 86_400 * SECOND_NS
    (new,) = own.update(frame(0), [track(1)])
    told = [own.update(frame(n, unix_offset_ns=jump), [track(n + 1)]) for n in range(1, 25)]
    assert [n for n, events in enumerate(told, 1) if events] == [10, 20]
    (end,) = own.update(frame(25, unix_offset_ns=jump), [])
    assert end.data["start_time"] == new.data["start_time"]
    assert end.data["end_time"] == rfc3339(frame(24).unix_ns)


def test_update_comes_at_the_interval_of_captured_time():
    own = rules(min_hits=1, update_s=2.0)
    told = [kinds(own.update(frame(n), [track(n + 1)])) for n in range(61)]
    assert [n for n, events in enumerate(told) if events == ["update"]] == [20, 40, 60]


def test_no_interval_no_update():
    own = rules(min_hits=1, update_s=None)
    told = [own.update(frame(n), [track(n + 1)]) for n in range(200)]
    assert [n for n, events in enumerate(told) if events] == [0]


def test_update_waits_while_the_object_is_out_of_sight():
    own = rules(min_hits=1, update_s=1.0)
    own.update(frame(0), [track(1)])
    assert own.update(frame(10), [track(1, missed=10)]) == ()
    assert kinds(own.update(frame(12), [track(2)])) == ["update"]


def test_a_change_of_zones_is_told_once_it_holds():
    own = rules(min_hits=3, update_s=None)
    inside, outside = (10, 20, 50, 100), (400, 20, 440, 100)
    boxes = [inside] * 5 + [outside, inside] * 5 + [outside] * 6
    told = [own.update(frame(n), [track(n + 1, box)]) for n, box in enumerate(boxes)]
    assert [(n, kinds(e), e[0].data["zones"]) for n, e in enumerate(told) if e] == [
        (2, ["new"], ["door"]),
        (17, ["update"], []),
    ]


def test_a_clearly_better_score_is_told():
    own = rules(min_hits=1, update_s=None)
    scores = [0.5, 0.55, 0.52, 0.62, 0.7, 0.75]
    told = [own.update(frame(n), [track(n + 1, score=s)]) for n, s in enumerate(scores)]
    assert [(n, e[0].data["top_score"]) for n, e in enumerate(told) if e] == [
        (0, 0.5), (3, 0.62), (5, 0.75),
    ]  # fmt: skip


def test_close_ends_what_is_open_after_the_stream():
    own = rules(min_hits=1)
    own.update(frame(0), [track(1), track(1, track_id=2)])
    ends = own.close(frame(0))
    assert [(e.type, e.data["track_id"]) for e in ends] == [
        ("vision.object.end", 1), ("vision.object.end", 2),
    ]  # fmt: skip
    assert own.close(frame(0)) == ()


@pytest.mark.parametrize(
    ("box", "zones"),
    [
        ((0, 0, 20, 400), ["bottom", "left"]),
        ((580, 300, 600, 400), ["bottom"]),
        ((0, 0, 0.5, 10), ["left"]),
        ((280, 0, 330, 390), ["bottom"]),
    ],
)
def test_zones_are_where_the_lower_edge_stands_up_to_the_frames_own_edge(box, zones):
    own = rules(
        {
            "bottom": ((0, 0.9), (1, 0.9), (1, 1), (0, 1)),
            "left": ((0, 0), (0.5, 0), (0.5, 1), (0, 1)),
        },
        min_hits=1,
    )
    (event,) = own.update(frame(0), [track(1, box)])
    assert event.data["zones"] == zones


def test_a_zone_may_be_hollowed():
    u_shape = ((0, 0), (0.3, 0), (0.3, 0.7), (0.7, 0.7), (0.7, 0), (1, 0), (1, 1), (0, 1))
    assert [_inside(x, 0.5, u_shape) for x in (0.15, 0.5, 0.85)] == [True, False, True]
    assert _inside(0.5, 0.9, u_shape)


coordinates = st.floats(-50, 650, width=32)


@given(coordinates, coordinates, st.floats(0.125, 300, width=32), st.floats(0.125, 300, width=32))
def test_a_box_in_the_frame_stays_a_box_in_the_frame(x, y, w, h):
    x1, y1 = min(max(x, 0), 599), min(max(y, 0), 399)
    x2, y2 = min(x1 + w, 600), min(y1 + h, 400)
    (event,) = rules(min_hits=1).update(frame(0), [track(1, (x1, y1, x2, y2))])
    left, top, right, bottom = event.data["box"]
    assert 0 <= left < right <= 600
    assert 0 <= top < bottom <= 400
    assert max(abs(np.subtract(event.data["box"], (x1, y1, x2, y2)))) <= 0.1001


def test_tracker_and_rules_tell_each_object_once_from_first_to_last_sighting():
    tracker = KalmanTracker(KalmanConfig(), labels=("person",), start_score=0.5, max_age_s=1.0)
    own, events = rules(), []
    for n in range(120):
        boxes = [(5 * n, 100, 5 * n + 50, 200)] if n < 60 else []
        boxes += [(400, 10, 440, 90)] if n >= 20 else []
        found = Detections(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.full(len(boxes), 0.9, np.float32),
            np.zeros(len(boxes), np.int32),
        )
        events += own.update(frame(n), tracker.update(found, frame(n).captured_ns))
    events += own.close(frame(119))
    lines = [
        json.loads(to_record(e, node="n", sequence=i, latency_ms={}, backend={"name": "cpu"}).body)
        for i, e in enumerate(events)
    ]
    story = [
        (e["data"]["track_id"], e["type"].rpartition(".")[2], e["data"]["frame_id"]) for e in lines
    ]
    assert [s for s in story if s[1] != "update"] == [
        (1, "new", 2), (2, "new", 22), (1, "end", 59), (2, "end", 119),
    ]  # fmt: skip
    assert [s for s in story if s[0] == 2] == [
        (2, "new", 22), (2, "update", 72), (2, "end", 119),
    ]  # fmt: skip
    assert [line["id"] for line in lines] == sorted({line["id"] for line in lines})
