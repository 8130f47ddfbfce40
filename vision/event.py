"""What the program tells the world: CloudEvents 1.0."""

from __future__ import annotations

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
        event_id: Time-ordered and unique across restarts (UUID version 7).
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


def new_event_id(unix_ms: int | None = None) -> str:
    """Return a UUID version 7 (RFC 9562, section 5.7): 48 bits of time, 74 random."""
    now_ms = time.time_ns() // 1_000_000 if unix_ms is None else unix_ms
    raw = bytearray((now_ms & (1 << 48) - 1).to_bytes(6, "big") + os.urandom(10))
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    digits = raw.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def rfc3339(unix_ns: int) -> str:
    """Return a UTC time stamp with milliseconds, e.g. `2026-01-31T12:00:00.250Z`."""
    seconds, rest_ns = divmod(unix_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest_ns // 1_000_000:03d}Z"


def to_record(
    event: Event, *, node: str, sequence: int, latency_ms: Mapping[str, float], backend: str
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
            "backend": backend,
            "schema_version": SCHEMA_VERSION,
        },
    }
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Record(event.event_id, sequence, event.camera, event.type, text.encode())
