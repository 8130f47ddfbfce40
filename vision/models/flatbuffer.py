"""A reader of FlatBuffers that survives any bytes: the part that a TFLite file needs.

The format (https://flatbuffers.dev/internals): a table starts with the signed way back
to its vtable, which holds for each field its offset in the table, or 0 where the field
is absent. Tables, strings and vectors are reached by unsigned offsets forward, so
nothing here can run in a circle.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_IDENTIFIER = slice(4, 8)
_VTABLE_HEADER = 4


class DamagedError(ValueError):
    """An offset or a length points out of the buffer."""


class Buffer:
    """Bytes, every read checked.

    What is read in all is limited to twice the length: an honest file is read about
    once, but in a forged one a million entries can share one long string.

    Args:
        data: The whole FlatBuffer.
        identifier: The four bytes that its kind carries.

    Raises:
        DamagedError: If the identifier is another one.
    """

    def __init__(self, data: bytes, identifier: bytes) -> None:
        if data[_IDENTIFIER] != identifier:
            raise DamagedError(f"it does not carry the mark {identifier.decode()}")
        self._data = data
        self._allowance = 2 * len(data)

    def root(self) -> Table:
        """Return the outermost table."""
        return Table(self, self.follow(0))

    def number(self, code: str, position: int) -> int:
        """Return one little-endian integer of `struct` format `code`."""
        return int(struct.unpack("<" + code, self.take(position, struct.calcsize(code)))[0])

    def take(self, position: int, length: int) -> bytes:
        """Return `length` bytes from `position`."""
        self._allowance -= length
        if position < 0 or position + length > len(self._data) or self._allowance < 0:
            raise DamagedError(f"offset {position} leads out of it")
        return self._data[position : position + length]

    def follow(self, position: int) -> int:
        """Return the position to which the offset at `position` leads."""
        return position + self.number("I", position)


class Table:
    """One table of a buffer; fields go by their number in the schema."""

    __slots__ = ("_buffer", "_position", "_vtable", "_vtable_size")

    def __init__(self, buffer: Buffer, position: int) -> None:
        self._buffer = buffer
        self._position = position
        self._vtable = position - buffer.number("i", position)
        self._vtable_size = buffer.number("H", self._vtable)

    def integer(self, field: int, code: str) -> int:
        """Return the scalar of `struct` format `code`; 0 where it is absent."""
        position = self._find(field)
        return self._buffer.number(code, position) if position else 0

    def table(self, field: int) -> Table | None:
        """Return the table in `field`, None where it is absent."""
        position = self._find(field)
        return Table(self._buffer, self._buffer.follow(position)) if position else None

    def tables(self, field: int) -> Iterator[Table]:
        """Yield the tables of a vector; nothing where it is absent."""
        start, length = self._vector(field)
        for position in range(start, start + 4 * length, 4):
            yield Table(self._buffer, self._buffer.follow(position))

    def nth_table(self, field: int, index: int) -> Table:
        """Return one table of a vector."""
        start, length = self._vector(field)
        if not 0 <= index < length:
            raise DamagedError(f"entry {index} of {length} is asked for")
        return Table(self._buffer, self._buffer.follow(start + 4 * index))

    def raw(self, field: int) -> bytes:
        """Return a vector of bytes, or a string's; empty where it is absent."""
        return self._buffer.take(*self._vector(field))

    def text(self, field: int) -> str:
        """Return a string; empty where it is absent."""
        return self.raw(field).decode("utf-8", "replace")

    def floats(self, field: int) -> tuple[float, ...]:
        """Return a vector of 32-bit floats."""
        return self._numbers(field, "f")

    def integers(self, field: int) -> tuple[int, ...]:
        """Return a vector of 32-bit integers."""
        return tuple(map(int, self._numbers(field, "i")))

    def longs(self, field: int) -> tuple[int, ...]:
        """Return a vector of 64-bit integers."""
        return tuple(map(int, self._numbers(field, "q")))

    def length(self, field: int) -> int:
        """Return how many entries a vector has, without reading them."""
        return self._vector(field)[1]

    def _numbers(self, field: int, code: str) -> tuple[float, ...]:
        start, length = self._vector(field)
        size = struct.calcsize(code) * length
        return struct.unpack(f"<{length}{code}", self._buffer.take(start, size))

    def _vector(self, field: int) -> tuple[int, int]:
        """Return where a vector's first entry lies and how many there are."""
        position = self._find(field)
        if not position:
            return 0, 0
        start = self._buffer.follow(position)
        return start + 4, self._buffer.number("I", start)

    def _find(self, field: int) -> int:
        """Return where a field lies, 0 where it is absent."""
        entry = _VTABLE_HEADER + 2 * field
        if entry + 2 > self._vtable_size:
            return 0
        offset = self._buffer.number("H", self._vtable + entry)
        return self._position + offset if offset else 0
