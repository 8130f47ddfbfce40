"""Bounded hand-over between two workers."""

from __future__ import annotations

from collections import deque
from threading import Condition, Lock
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")


class Closed(Exception):  # noqa: N818  (not an error: the other side has ended)
    """The mailbox is closed: nothing more will come, or nobody listens."""


class Mailbox(Generic[T]):
    """A bounded queue with one of two answers to a full one.

    Args:
        name: For statistics and errors.
        capacity: Items it holds.
        latest: `put` never blocks and drops the oldest, counted (live: what is shown
            is fresh). Otherwise `put` waits for room (files: every item arrives).
        producers: How many workers put into it; it closes when the last is done.
        on_drop: Is given each dropped item, to recycle what it holds.
    """

    def __init__(
        self,
        name: str,
        capacity: int = 1,
        *,
        latest: bool,
        producers: int = 1,
        on_drop: Callable[[T], None] | None = None,
    ) -> None:
        self.name = name
        self.drops = 0
        self._capacity = capacity
        self._latest = latest
        self._producers = producers
        self._on_drop = on_drop
        self._items: deque[T] = deque()
        self._closed = False
        lock = Lock()
        self._not_empty = Condition(lock)
        self._not_full = Condition(lock)

    def put(self, item: T) -> None:
        """Add `item`, dropping the oldest or waiting if full; raises Closed."""
        dropped: list[T] = []
        with self._not_full:
            while not self._closed and len(self._items) >= self._capacity:
                if self._latest:
                    dropped.append(self._items.popleft())
                else:
                    self._not_full.wait()
            if self._closed:
                raise Closed(self.name)
            self._items.append(item)
            self.drops += len(dropped)
            self._not_empty.notify()
        if self._on_drop is not None:
            for old in dropped:
                self._on_drop(old)

    def get(self, timeout_s: float | None = None) -> T:
        """Take the oldest item, waiting for one.

        Raises:
            Closed: If the mailbox is closed and drained.
            TimeoutError: If nothing came within `timeout_s`.
        """
        with self._not_empty:
            while not self._items:
                if self._closed:
                    raise Closed(self.name)
                if not self._not_empty.wait(timeout_s):
                    raise TimeoutError(self.name)
            item = self._items.popleft()
            self._not_full.notify()
            return item

    def get_all(self) -> list[T]:
        """Take everything there is, waiting for one item; raises Closed."""
        items = [self.get()]
        with self._not_full:
            items.extend(self._items)
            self._items.clear()
            self._not_full.notify_all()
        return items

    def done(self) -> None:
        """One producer has ended; the last one closes the mailbox for all."""
        with self._not_empty:
            self._producers -= 1
            last = self._producers <= 0
        if last:
            self.close()

    def close(self) -> None:
        """Refuse further items. What is inside can still be taken."""
        with self._not_empty:
            self._closed = True
            self._not_empty.notify_all()
            self._not_full.notify_all()

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""
        return self._closed

    def wait_closed(self, timeout_s: float) -> None:
        """Wait until the mailbox closes, but no longer than `timeout_s`."""
        with self._not_full:
            self._not_full.wait_for(lambda: self._closed, timeout_s)

    def __len__(self) -> int:
        return len(self._items)


class Broadcast(Generic[T]):
    """Numbers items and puts each into every mailbox, in one order for all of them."""

    def __init__(self, mailboxes: Iterable[Mailbox[T]]) -> None:
        self.sent = 0
        self._mailboxes = tuple(mailboxes)
        self._lock = Lock()

    def send(self, make: Callable[[int], T]) -> None:
        """Make the item from its number (from 1, no gaps) and hand it to everyone.

        A mailbox whose worker has ended gets nothing; the others do.
        """
        with self._lock:
            self.sent += 1
            item = make(self.sent)
            for mailbox in self._mailboxes:
                try:
                    mailbox.put(item)
                except Closed:
                    continue

    def done(self) -> None:
        """One producer has ended."""
        for mailbox in self._mailboxes:
            mailbox.done()
