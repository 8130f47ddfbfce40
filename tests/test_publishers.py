"""JSON Lines and standard output: whole lines, each once, in order, whatever happens."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vision.errors import PublishError
from vision.event import Record
from vision.publishers.jsonl import JsonlConfig, JsonlPublisher

ROOT = Path(__file__).resolve().parent.parent


def record(n, size=600):
    body = json.dumps({"n": n, "filler": ""})
    body = json.dumps({"n": n, "filler": "x" * max(size - len(body), 0)})
    return Record(f"id-{n}", n, "front", "vision.object.new", body.encode())


def records(first, last, size=600):
    return [record(n, size) for n in range(first, last)]


def publisher(path, **config):
    return JsonlPublisher(JsonlConfig(path=str(path), **config), node="porch")


def numbers(*paths):
    """Return the `n` of every line; a line that is not whole JSON fails here."""
    data = b"".join(Path(path).read_bytes() for path in paths)
    assert not data or data.endswith(b"\n")
    return [json.loads(line)["n"] for line in data.decode().split("\n")[:-1]]


def oldest_first(path):
    older = sorted(path.parent.glob(path.name + ".*"), key=lambda p: -int(p.suffix[1:]))
    return [*older, path]


@pytest.fixture
def events(tmp_path):
    return tmp_path / "deep" / "er" / "events.jsonl"


@pytest.fixture
def own(events):
    made = publisher(events)
    made.open()
    yield made
    made.close()


def test_lines_are_appended_across_restarts(events):
    for start in (0, 3):
        own = publisher(events)
        own.open()
        own.publish(records(start, start + 2))
        own.publish([record(start + 2)])
        own.close()
        own.close()
    assert numbers(events) == list(range(6))


def test_a_config_knows_its_keys():
    with pytest.raises(ValidationError):
        JsonlConfig(path="x", colour="red")
    with pytest.raises(ValidationError):
        JsonlConfig(path="")


@pytest.mark.parametrize("torn", [b'{"n": 1, "fil', b"\0" * 10_000, b"{" + b"x" * 9_000])
def test_a_torn_last_line_is_taken_off_and_said(events, caplog, torn):
    events.parent.mkdir(parents=True)
    events.write_bytes(record(0).body + b"\n" + torn)
    own = publisher(events)
    own.open()
    own.publish([record(1)])
    own.close()
    assert numbers(events) == [0, 1]
    assert f"{len(torn)} bytes" in caplog.text


def test_a_file_of_another_kind_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"first\nno newline here")
    with pytest.raises(PublishError, match=r"notes\.txt.*no event"):
        publisher(path).open()
    assert path.read_bytes() == b"first\nno newline here"


@given(st.lists(st.lists(st.integers(20, 6000), max_size=6), max_size=12), st.integers(1, 20_000))
def test_rotation_splits_no_line_and_loses_none(tmp_path_factory, batches, max_bytes):
    path = tmp_path_factory.mktemp("rotation") / "e.jsonl"
    own, count = publisher(path, max_bytes=max_bytes, keep=100), 0
    own.open()
    for batch in batches:
        own.publish([record(count + k, size) for k, size in enumerate(batch)])
        count += len(batch)
    own.close()
    files = oldest_first(path)
    assert numbers(*files) == list(range(count))
    for file in files:
        assert file.stat().st_size <= max_bytes or len(numbers(file)) == 1


def test_rotation_keeps_as_many_as_told(events):
    own = publisher(events, max_bytes=1000, keep=2)
    own.open()
    own.publish(records(0, 10))
    own.close()
    assert [numbers(path) for path in oldest_first(events)] == [[7], [8], [9]]


def test_a_gap_in_the_numbers_is_no_trouble(events):
    own = publisher(events, max_bytes=1000, keep=5)
    own.open()
    own.publish(records(0, 4))
    Path(f"{events}.2").unlink()
    own.publish(records(4, 6))
    own.close()
    assert [(p.suffix, numbers(p)) for p in oldest_first(events)] == [
        (".5", [0]), (".3", [2]), (".2", [3]), (".1", [4]), (".jsonl", [5]),
    ]  # fmt: skip


def test_a_file_moved_away_loses_nothing(own, events, caplog):
    own.publish([record(0)])
    moved = events.rename(events.with_name("moved"))
    own.publish([record(1)])
    assert numbers(moved, events) == [0, 1]
    assert "moved away" in caplog.text


def test_a_removed_file_and_folder_come_back(own, events):
    own.publish([record(0)])
    events.unlink()
    events.parent.rmdir()
    own.publish([record(1)])
    assert numbers(events) == [1]


def test_a_file_truncated_by_another_program_goes_on(own, events):
    own.publish(records(0, 3))
    os.truncate(events, 0)
    own.publish([record(3)])
    assert numbers(events) == [3]


def test_two_writers_of_one_file_are_one_too_many(own, events):
    with pytest.raises(PublishError, match="another program is writing it"):
        publisher(events).open()
    own.close()
    second = publisher(events)
    second.open()
    second.close()


@pytest.mark.parametrize("where", ["/proc/nothing/events.jsonl", "/dev/null/events.jsonl", "/"])
def test_a_place_that_cannot_be_written_is_one_clear_line(where):
    with pytest.raises(PublishError) as caught:
        publisher(where).open()
    assert where in str(caught.value)
    assert "\n" not in str(caught.value)


WRITER = """
import itertools, sys
sys.path.insert(0, sys.argv[1] + "/tests")
from test_publishers import publisher, record
own = publisher(sys.argv[2], max_bytes=int(sys.argv[3]), keep=1000)
own.open()
print("open", flush=True)
for start in itertools.count(0, 20):
    own.publish([record(n, 300 + n % 400) for n in range(start, start + 20)])
"""


def size_of(folder):
    """Return the bytes in `folder`, whose files are being renamed meanwhile."""
    size = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def test_no_line_crosses_a_page_so_that_no_kill_can_cut_it(own, events):
    own.publish(records(0, 200, size=640))
    own.publish([record(n, 600 + n % 50) for n in range(200, 400)])
    end = 0
    for line in events.read_bytes().splitlines(keepends=True):
        start, end = end, end + len(line)
        assert start // 4096 == (end - 1) // 4096
    assert numbers(events) == list(range(400))
    assert end < 400 * 641 * 1.1


@pytest.mark.parametrize("max_bytes", [64 << 20, 20_000])
def test_sigkill_at_any_moment_leaves_whole_lines(tmp_path, max_bytes):
    for attempt in range(8):
        path = tmp_path / str(attempt) / "e.jsonl"
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(ROOT), str(path), str(max_bytes)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as child:
            try:
                assert child.stdout.readline() == b"open\n"
                deadline = time.monotonic() + 10
                wanted = random.Random(attempt).randrange(1, 400_000)
                while size_of(path.parent) < wanted:
                    assert time.monotonic() < deadline
            finally:
                child.kill()
        written = numbers(*(p for p in oldest_first(path) if p.exists()))
        assert written == list(range(len(written)))
        assert written


def in_namespace(script, *, options):
    """Run Python in a mount namespace of its own, in a tmpfs at /mnt; return its last line."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    command = f'mount -t tmpfs -o {options} none /mnt && exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", command, sys.executable, script],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/tests"},
    )  # fmt: skip
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_full_disk_takes_back_the_half_line_and_goes_on_when_there_is_room():
    found = in_namespace(
        """
import json
from pathlib import Path
from test_publishers import *
Path("/mnt/filler").write_bytes(bytes(900_000))
own = publisher("/mnt/e.jsonl")
own.open()
errors, batch = [], records(0, 500, size=700)
for _ in range(3):
    try:
        own.publish(batch)
    except PublishError as error:
        errors.append(str(error))
        whole = len(numbers("/mnt/e.jsonl"))
Path("/mnt/filler").unlink()
own.publish(batch)
own.publish(records(500, 510))
print(json.dumps([errors, whole, numbers("/mnt/e.jsonl")]))
""",
        options="size=1m",
    )
    errors, whole, written = found
    assert len(errors) == 3
    assert "/mnt/e.jsonl: No space left on device; make room" in errors[0]
    assert 0 < whole < 500
    assert written == list(range(510))


def test_a_disk_that_turns_read_only_is_said_and_recovered_from():
    found = in_namespace(
        """
import json, subprocess
from test_publishers import *
own = publisher("/mnt/e.jsonl")
own.open()
own.publish([record(0)])
own.close()
errors = []
subprocess.run(["mount", "-o", "remount,ro", "/mnt"], check=True)
for act in (own.open, lambda: own.publish([record(1)])):
    try:
        act()
    except PublishError as error:
        errors.append(str(error))
subprocess.run(["mount", "-o", "remount,rw", "/mnt"], check=True)
own.publish([record(1)])
print(json.dumps([errors, numbers("/mnt/e.jsonl")]))
""",
        options="size=1m",
    )
    errors, written = found
    assert ["Read-only file system" in error for error in errors] == [True, True]
    assert written == [0, 1]


STDOUT = """
import sys
from test_publishers import *
from vision.publishers.stdout import StdoutConfig, StdoutPublisher
own = StdoutPublisher(StdoutConfig(), node="porch")
own.open()
"""


def python(script, **options):
    return subprocess.Popen(
        [sys.executable, "-c", STDOUT + script],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/tests"}, text=True, **options,
    )  # fmt: skip


def test_stdout_gets_every_line_at_once_and_in_order():
    child = python(
        """
print("said before")
own.publish(records(0, 300))
sys.stdin.read()
own.close()
print("said after")
""",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    # The child still waits for its input: what is here was flushed.
    lines = [child.stdout.readline() for _ in range(301)]
    rest, _ = child.communicate()
    assert lines[0] == "said before\n"
    assert [json.loads(line)["n"] for line in lines[1:]] == list(range(300))
    assert rest == "said after\n"
    assert child.returncode == 0


def test_a_reader_that_left_is_one_clear_error_and_a_quiet_end():
    child = python(
        """
sys.stdin.read()
try:
    own.publish([record(0)])
except PublishError as error:
    print(error, file=sys.stderr)
""",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    child.stdout.close()
    child.stdin.close()
    said = child.stderr.read()
    child.stderr.close()
    assert child.wait() == 0
    assert said.startswith("cannot write events to standard output: Broken pipe;")
    assert said.count("\n") == 1
