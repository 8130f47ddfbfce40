"""The few words of X11 that HighGUI leaves out, through libxcb."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAP_NOTIFY, _EXPOSE = 19, 12
_FREE = ctypes.CDLL(None).free
_FREE.argtypes = [ctypes.c_void_p]


class _Screens(ctypes.Structure):
    """`xcb_screen_iterator_t`; a screen begins with the number of its root window."""

    _fields_ = (
        ("screen", ctypes.POINTER(ctypes.c_uint32)),
        ("left", ctypes.c_int),
        ("index", ctypes.c_int),
    )


class Display:
    """A connection of our own to the X server that `DISPLAY` names.

    Raises:
        OSError: If there is none; the message says in words why, and what to do.
    """

    def __init__(self) -> None:
        name = os.environ.get("DISPLAY")
        if not name:
            raise OSError("DISPLAY is not set: run it on the desktop, or set DISPLAY=:0")
        try:
            self._xcb = ctypes.CDLL("libxcb.so.1")
        except OSError:
            raise OSError("libxcb.so.1 is missing: apt install libxcb1") from None
        for function in ("connect", "get_setup", "get_property_value", "query_tree_children"):
            getattr(self._xcb, f"xcb_{function}").restype = ctypes.c_void_p
        for request in ("query_tree", "get_property", "intern_atom"):
            getattr(self._xcb, f"xcb_{request}_reply").restype = ctypes.c_void_p
        self._xcb.xcb_setup_roots_iterator.restype = _Screens
        self._connection = ctypes.c_void_p(self._xcb.xcb_connect(None, None))
        if self._xcb.xcb_connection_has_error(self._connection):
            self.close()
            raise OSError(f"no X server answers at DISPLAY={name}, or it does not let this user in")

    def close(self) -> None:
        """Disconnect."""
        self._xcb.xcb_disconnect(self._connection)

    def announce_again(self, size_wh: tuple[int, int]) -> None:
        """Tell this process once more that its windows are mapped and want to be drawn.

        Qt 5 now and then loses a window's first events; without them it takes the window
        for hidden and never draws. Told twice, nothing happens but one more drawing.
        """
        pid_atom = self._pid_atom()
        setup = ctypes.c_void_p(self._xcb.xcb_get_setup(self._connection))
        root = self._xcb.xcb_setup_roots_iterator(setup).screen[0]
        for window in self._below(root):
            if self._number(window, pid_atom) == os.getpid():
                self._send(window, struct.pack("=BxHIIB", _MAP_NOTIFY, 0, window, window, 0))
                self._send(window, struct.pack("=BxHI6H", _EXPOSE, 0, window, 0, 0, *size_wh, 0, 0))
        self._xcb.xcb_flush(self._connection)

    def _send(self, window: int, event: bytes) -> None:
        # An empty event mask addresses whoever made the window.
        self._xcb.xcb_send_event(self._connection, 0, window, 0, event.ljust(32, b"\0"))

    def _below(self, window: int) -> Iterator[int]:
        reply = self._ask("query_tree", window)
        if reply is None:  # it has just gone
            return
        count = self._xcb.xcb_query_tree_children_length(reply)
        first = self._xcb.xcb_query_tree_children(reply)
        children = list((ctypes.c_uint32 * count).from_address(first)) if count else []
        _FREE(reply)
        for child in children:
            yield child
            yield from self._below(child)

    def _number(self, window: int, atom: int) -> int | None:
        reply = self._ask("get_property", 0, window, atom, 0, 0, 1)
        if reply is None:
            return None
        found = self._xcb.xcb_get_property_value_length(reply) == 4  # noqa: PLR2004
        value = self._xcb.xcb_get_property_value(reply)
        number = ctypes.c_uint32.from_address(value).value if found else None
        _FREE(reply)
        return number

    def _pid_atom(self) -> int:
        name = b"_NET_WM_PID"
        reply = self._ask("intern_atom", 0, len(name), name)
        if reply is None:
            return 0
        atom = ctypes.c_uint32.from_address(reply.value + 8).value
        _FREE(reply)
        return atom

    def _ask(self, request: str, *arguments: Any) -> Any:
        cookie = getattr(self._xcb, f"xcb_{request}")(self._connection, *arguments)
        reply = getattr(self._xcb, f"xcb_{request}_reply")(self._connection, cookie, None)
        return ctypes.c_void_p(reply) if reply else None
