"""The window's own process: HighGUI takes its holder down with the display.

Standard input is the line to the parent: any byte says that there is a new picture,
its end says that the parent has closed or died. The exit status says how it ended.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from vision.outputs.fit import fit_on_black
from vision.outputs.shared_picture import SharedPicture
from vision.outputs.x11 import Display

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXIT_QUIT = 10
"""A person closed the window."""
EXIT_NO_WINDOW = 11
"""There can be no window here; the last line on stderr says why."""

_IDLE_S = 0.02
"""How long a key press waits where no pictures come; HighGUI has nothing to wait on."""
_SETTLE_MS = 200
_LARGEST_WH = (1280, 720)
_QUIT_KEYS = frozenset(map(ord, "qQ\x1b"))
_FULLSCREEN_KEYS = frozenset(map(ord, "fF"))


def main() -> int:
    """Show pictures until the parent or a person ends it."""
    # The parent decides when to stop, and its end is the end of standard input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    settings = json.loads(sys.argv[1])
    try:
        display = open_display()
    except OSError as error:
        print(error, file=sys.stderr)  # noqa: T201  (the parent reads it)
        return EXIT_NO_WINDOW
    cv2.setNumThreads(1)
    picture = SharedPicture(tuple(settings["fds"]))
    window = _Window(display, settings)
    while True:
        readable, _, _ = select.select([0], [], [], _IDLE_S)
        if readable and not os.read(0, 4096):
            return 0
        if readable or window.resized():
            with picture.newest() as image:
                if image is not None:
                    window.show(image)
        if not window.pump():
            return EXIT_QUIT


def toolkit() -> str:
    """Return what OpenCV makes windows with, like QT5; nothing where it is built without."""
    # cv2.currentUIFramework() came with 4.10 only.
    found = re.search(r"^ *GUI: +(\w+)", cv2.getBuildInformation(), re.MULTILINE)
    return found[1] if found and found[1] != "NONE" else ""


def open_display() -> Display:
    """Connect without HighGUI, which would abort; OSError says what is missing for a window."""
    if not toolkit():
        raise OSError(
            "this OpenCV is built without windows: install the extra `display` "
            "(opencv-python) in place of `headless`"
        )
    return Display()


class _Window:
    """A HighGUI window that shows the whole picture, whatever the ratio, on black."""

    def __init__(self, display: Display, settings: dict[str, Any]) -> None:
        self._display = display
        self._title = settings["title"]
        self._size_wh = settings["size_wh"]
        self._fullscreen = settings["fullscreen"]
        self._open = False
        self._canvas = np.zeros((0, 0, 3), np.uint8)

    def show(self, image: NDArray[np.uint8]) -> None:
        """Show (H, W, 3) BGR in the window's own pixels; the first one opens it."""
        if not self._open:
            self._create((image.shape[1], image.shape[0]))
        width, height = self._inner_wh()
        if self._canvas.shape[:2] != (height, width):
            self._canvas = np.zeros((height, width, 3), np.uint8)
        fit_on_black(image, self._canvas)
        cv2.imshow(self._title, self._canvas)

    def resized(self) -> bool:
        """Whether the window is no longer as large as what it shows."""
        if not self._open:
            return False
        width, height = self._inner_wh()
        return self._canvas.shape[:2] != (height, width)

    def pump(self) -> bool:
        """Handle keys and the window manager; False where a person closed the window."""
        if not self._open:
            return True
        key = cv2.pollKey() & 0xFF
        if key in _QUIT_KEYS or not self._alive():
            return False
        if key in _FULLSCREEN_KEYS:
            self._fullscreen = not self._fullscreen
            self._apply_fullscreen()
        return True

    def _create(self, picture_wh: tuple[int, int]) -> None:
        width, height = picture_wh
        scale = min(1.0, _LARGEST_WH[0] / width, _LARGEST_WH[1] / height)
        size_wh = self._size_wh or (max(1, round(width * scale)), max(1, round(height * scale)))
        flags = cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL
        cv2.namedWindow(self._title, flags)
        cv2.waitKey(_SETTLE_MS)
        cv2.resizeWindow(self._title, *size_wh)
        self._display.announce_again(size_wh)
        cv2.moveWindow(self._title, 0, 0)  # it was placed before it had its size
        self._open = True
        if self._fullscreen:
            self._apply_fullscreen()

    def _apply_fullscreen(self) -> None:
        state = cv2.WINDOW_FULLSCREEN if self._fullscreen else cv2.WINDOW_NORMAL
        cv2.setWindowProperty(self._title, cv2.WND_PROP_FULLSCREEN, state)

    def _alive(self) -> bool:
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) > 0
        except cv2.error:  # what some versions say of a closed window
            return False

    def _inner_wh(self) -> tuple[int, int]:
        _, _, width, height = cv2.getWindowImageRect(self._title)
        return max(1, width), max(1, height)


if __name__ == "__main__":
    sys.exit(main())
