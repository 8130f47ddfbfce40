"""Bounded hand-over between two workers."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

_END = object()


class Closed(Exception):  # noqa: N818  (not an error: the other side has ended)
    """The mailbox is closed: nothing more will come, or nobody listens."""


class Mailbox(Generic[T]):
    """A bounded queue with one of two answers to a full one.

    Both waits, for an item and for room, are on C queues: a hand-over costs a third of
    one by `threading.Condition`, and it is paid at every stage of every frame.

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
        self._producers = producers
        self._on_drop = on_drop
        self._items: SimpleQueue[Any] = SimpleQueue()
        # A token for each free place; none are needed where `put` makes its own room.
        self._room: SimpleQueue[Any] | None = None if latest else SimpleQueue()
        for _ in range(capacity if self._room is not None else 0):
            self._put_token()
        self._closed = Event()
        self._lock = Lock()

    def put(self, item: T) -> None:
        """Add `item`, dropping the oldest or waiting if full; raises Closed."""
        if self._room is not None and self._room.get() is _END:
            self._room.put(_END)
        if self._closed.is_set():
            raise Closed(self.name)
        if self._room is None:
            while self._items.qsize() >= self._capacity:
                self._drop_oldest()
        self._items.put(item)

    def get(self, timeout_s: float | None = None) -> T:
        """Take the oldest item, waiting for one.

        Raises:
            Closed: If the mailbox is closed and drained.
            TimeoutError: If nothing came within `timeout_s`.
        """
        try:
            item: Any = self._items.get(timeout=timeout_s)
        except Empty:
            raise TimeoutError(self.name) from None
        if item is _END:
            self._items.put(_END)
            raise Closed(self.name)
        self._put_token()
        taken: T = item
        return taken

    def get_all(self) -> list[T]:
        """Take everything there is, waiting for one item; raises Closed."""
        items = [self.get()]
        while len(self):
            items.append(self.get())
        return items

    def done(self) -> None:
        """One producer has ended; the last one closes the mailbox for all."""
        with self._lock:
            self._producers -= 1
            last = self._producers <= 0
        if last:
            self.close()

    def close(self) -> None:
        """Refuse further items. What is inside can still be taken."""
        with self._lock:
            if self._closed.is_set():
                return
            self._closed.set()
        self._items.put(_END)
        if self._room is not None:
            self._room.put(_END)

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""
        return self._closed.is_set()

    def wait_closed(self, timeout_s: float) -> None:
        """Wait until the mailbox closes, but no longer than `timeout_s`."""
        self._closed.wait(timeout_s)

    def __len__(self) -> int:
        """Return how many items wait."""
        return self._items.qsize() - self._closed.is_set()

    def _put_token(self) -> None:
        if self._room is not None:
            self._room.put(None)

    def _drop_oldest(self) -> None:
        try:
            oldest = self._items.get_nowait()
        except Empty:  # taken just now
            return
        if oldest is _END:
            self._items.put(_END)
            raise Closed(self.name)
        self.drops += 1
        if self._on_drop is not None:
            self._on_drop(oldest)


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
