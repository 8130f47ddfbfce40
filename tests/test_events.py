"""Event ids, times and the CloudEvents line."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import threading
import uuid
from datetime import datetime, timezone
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.event import Event, clock_synced, new_event_id, rfc3339, to_record


def event(**data):
    return Event(
        "id-1", "vision.object.new", "front", "front/7", 1_767_225_600_250_000_000, 0, data
    )


def test_ids_are_uuids_of_version_7_that_only_grow():
    ids = [new_event_id() for _ in range(20_000)]
    assert all(a < b for a, b in itertools.pairwise(ids))
    parsed = [uuid.UUID(i) for i in ids]
    assert {(u.version, u.variant) for u in parsed} == {(7, uuid.RFC_4122)}
    assert [str(u) for u in parsed] == ids
    milliseconds = len({i[:13] for i in ids})
    assert milliseconds < len(ids) / 10, "the point is many in one millisecond"


def test_ids_carry_the_time():
    now_ms = datetime.now(timezone.utc).timestamp() * 1000
    assert abs(uuid.UUID(new_event_id()).int // (1 << 80) - now_ms) < 60_000


def test_a_clock_set_back_brings_no_smaller_id():
    before = new_event_id()
    with mock.patch("time.time_ns", return_value=0):
        assert new_event_id() > before


def test_ids_of_threads_are_unique_and_grow_in_each():
    found = [[] for _ in range(4)]
    threads = [
        threading.Thread(
            target=lambda own: own.extend(new_event_id() for _ in range(5000)), args=(f,)
        )
        for f in found
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(own == sorted(own) for own in found)
    assert len({i for own in found for i in own}) == 20_000


def test_ids_of_a_later_process_are_greater():
    before = new_event_id()
    code = "from vision.event import new_event_id; print(new_event_id())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() > before


@given(st.integers(0, 4_102_444_800_000_000_000))
def test_rfc3339_is_utc_to_the_millisecond(unix_ns):
    text = rfc3339(unix_ns)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    back = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z")
    since = back - datetime(1970, 1, 1, tzinfo=timezone.utc)
    assert (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000 == (
        unix_ns // 1_000_000
    )


def test_the_clock_is_synced_or_not_or_unknown():
    assert clock_synced() in (True, False, None)


def test_a_record_is_one_cloudevent():
    record = to_record(
        event(label="face"),
        node="porch",
        sequence=3,
        latency_ms={"total": 4.5},
        backend={"name": "cpu"},
    )
    assert (record.event_id, record.sequence, record.camera, record.type) == (
        "id-1", 3, "front", "vision.object.new",
    )  # fmt: skip
    assert json.loads(record.body) == {
        "specversion": "1.0",
        "id": "id-1",
        "source": "vision/porch/front",
        "type": "vision.object.new",
        "time": "2026-01-01T00:00:00.250Z",
        "subject": "front/7",
        "sequence": 3,
        "datacontenttype": "application/json",
        "data": {
            "label": "face", "latency_ms": {"total": 4.5}, "backend": {"name": "cpu"},
            "schema_version": 1,
        },
    }  # fmt: skip


@given(st.text(st.characters()))
def test_any_text_makes_one_line_of_utf8(label):
    body = to_record(
        event(label=label), node="porch", sequence=1, latency_ms={}, backend={"name": "cpu"}
    ).body
    assert b"\n" not in body
    expected = label.encode(errors="replace").decode()
    assert json.loads(body.decode())["data"]["label"] == expected


def test_a_number_that_json_does_not_know_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        to_record(
            event(score=float("nan")), node="n", sequence=1, latency_ms={}, backend={"name": "cpu"}
        )
