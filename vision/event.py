"""What the program tells the world: CloudEvents 1.0."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Event:
    """Something that the rules noticed, before anyone is told.

    Attributes:
        event_id: Time-ordered and unique across restarts (see `new_event_id`).
        type: `vision.object.new` and so on.
        camera: The camera's name.
        subject: `<camera>/<track_id>`.
        unix_ns: Wall clock of the frame that caused it.
        read_ns: Zero point of the latencies (see `Frame.read_ns`).
        data: The body's `data`, without what only the publisher knows.
    """

    event_id: str
    type: str
    camera: str
    subject: str
    unix_ns: int
    read_ns: int
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """An event as every publisher sends it.

    Attributes:
        event_id: The key by which receivers drop repeats.
        sequence: Counts per node without gaps.
        camera: For topics.
        type: For topics.
        body: One line of JSON without its newline, UTF-8.
    """

    event_id: str
    sequence: int
    camera: str
    type: str
    body: bytes


# Ids follow the monotonic clock from a wall-clock start: a clock set back in mid-run
# must not bring ids that sort before those already sent. The counter takes the 42 bits
# that RFC 9562 (section 6.2, method 1) allows; it starts in their lower quarter and
# cannot come round.
_STARTED_NS = time.time_ns() - time.monotonic_ns()
_COUNTER = itertools.count(int.from_bytes(os.urandom(5), "big"))
_TIME_ERROR = 5


def new_event_id() -> str:
    """Return a UUID version 7 (RFC 9562): 48 bits of time, a 42-bit count, 32 random.

    Each sorts after all that this process was given before, in one millisecond too.
    """
    now_ms = (_STARTED_NS + time.monotonic_ns()) // 1_000_000
    count = next(_COUNTER)
    high, low = 0x7000 | count >> 30 & 0xFFF, 0x80000000 | count & 0x3FFFFFFF
    rest = f"{low:08x}{os.urandom(4).hex()}"
    digits = f"{now_ms & (1 << 48) - 1:012x}"
    return f"{digits[:8]}-{digits[8:]}-{high:04x}-{rest[:4]}-{rest[4:]}"


def clock_synced() -> bool | None:
    """Return whether a time service has set this machine's clock; None where nobody knows.

    Asks the kernel (adjtimex(2), which reads only), whatever the service is called.
    """
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(256))
    except (AttributeError, OSError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def rfc3339(unix_ns: int) -> str:
    """Return a UTC time stamp with milliseconds, e.g. `2026-01-31T12:00:00.250Z`."""
    seconds, rest_ns = divmod(unix_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest_ns // 1_000_000:03d}Z"


def to_record(
    event: Event,
    *,
    node: str,
    sequence: int,
    latency_ms: Mapping[str, float],
    backend: Mapping[str, Any],
) -> Record:
    """Render `event` as one line of CloudEvents JSON."""
    body = {
        "specversion": "1.0",
        "id": event.event_id,
        "source": f"vision/{node}/{event.camera}",
        "type": event.type,
        "time": rfc3339(event.unix_ns),
        "subject": event.subject,
        "sequence": sequence,
        "datacontenttype": "application/json",
        "data": {
            **event.data,
            "latency_ms": dict(latency_ms),
            "backend": dict(backend),
            "schema_version": SCHEMA_VERSION,
        },
    }
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Record(event.event_id, sequence, event.camera, event.type, text.encode(errors="replace"))
