"""The last stage: hands records to one publisher, again until it has taken them."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vision.errors import ConfigError, PublishError
from vision.event import to_record
from vision.runtime.mailbox import Mailbox
from vision.runtime.worker import Worker
from vision.stats import Stats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vision.event import Event, Record
    from vision.interfaces import Publisher

_log = logging.getLogger(__name__)

_FIRST_RETRY_S = 0.25
_LONGEST_RETRY_S = 30.0
_WAITING_EVENTS = 100_000  # about 100 MB: a day of a busy camera


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record on its way, and the zero point of its latency."""

    record: Record
    read_ns: int


def outgoing(
    event: Event,
    node: str,
    latency_ms: Mapping[str, float],
    backend: Mapping[str, Any],
    sequence: int,
) -> Outgoing:
    """Render `event` for the publishers."""
    record = to_record(event, node=node, sequence=sequence, latency_ms=latency_ms, backend=backend)
    return Outgoing(record, event.read_ns)


class Publishing:
    """One publisher's worker: in order, at least once, never in vision's way.

    Records wait in memory while the publisher fails. What cannot be delivered when
    the program ends is an error that says how much.
    """

    def __init__(self, name: str, publisher: Publisher, *, producers: int) -> None:
        self.stats = Stats()
        self.published = 0
        self.mailbox: Mailbox[Outgoing] = Mailbox(
            f"events for {name}", _WAITING_EVENTS, latest=True, producers=producers
        )
        self._name = name
        self._publisher = publisher

    def worker(self) -> Worker:
        """Return the worker; the crew starts it."""
        return Worker(
            f"publish {self._name}", self._step, open_=self._open,
            close=self._close, takes=[self.mailbox],
        )  # fmt: skip

    def _open(self) -> None:
        try:
            self._publisher.open()
        except PublishError as error:
            raise ConfigError(str(error)) from error

    def _step(self) -> None:
        batch = self.mailbox.get_all()
        self._deliver([item.record for item in batch])
        self.published += len(batch)
        now_ns = time.monotonic_ns()
        for item in batch:
            self.stats.record("capture_to_publish", now_ns - item.read_ns)

    def _deliver(self, records: Sequence[Record]) -> None:
        delay_s = _FIRST_RETRY_S
        while True:
            last_try = self.mailbox.closed
            try:
                self._publisher.publish(records)
            except PublishError as error:
                if last_try:
                    left = len(records) + len(self.mailbox)
                    raise PublishError(f"{left} events could not be published: {error}") from error
                if delay_s == _FIRST_RETRY_S:
                    _log.warning("%s; events are kept and tried again", error)
            else:
                break
            self.mailbox.wait_closed(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_RETRY_S)
        if delay_s != _FIRST_RETRY_S:
            _log.warning("%s: events are delivered again", self._name)

    def _close(self) -> None:
        self._publisher.close()
        if self.mailbox.drops:
            raise PublishError(
                f"{self._name}: {self.mailbox.drops} events were lost: more than "
                f"{_WAITING_EVENTS} waited while nothing could be published"
            )
