"""Shows a camera in a window, which is a process of its own."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import termios
import time
from typing import IO, TYPE_CHECKING, cast

from pydantic import BaseModel, ConfigDict, PositiveInt

from vision.errors import StageError
from vision.outputs.shared_picture import SharedPicture
from vision.outputs.window_child import EXIT_QUIT
from vision.paths import child_environment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vision.frame import Result

_log = logging.getLogger(__name__)

_HUNG_S = 10.0
_CLOSE_S = 0.7


class WindowConfig(BaseModel):
    """The section `{type: window}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fullscreen: bool = False
    title: str | None = None
    """None: the camera's name."""
    size_wh: tuple[PositiveInt, PositiveInt] | None = None
    """None: the picture's, scaled down to fit on any monitor."""


class WindowOutput:
    """A window: `q`, Esc and closing it stop the program, `f` toggles full screen.

    Vision never waits for it. Where there can be no window, or it goes away, one line
    in the log says so and everything else goes on.

    Args:
        config: Its section.
        camera: The camera's name, for the title and the log.
    """

    Config = WindowConfig

    def __init__(self, config: WindowConfig, *, camera: str) -> None:
        self._config = config
        self._camera = camera
        self._child: _Child | None = None
        self._quit = False

    def open(self) -> None:
        """Start the window's process; whether it can open is known only later."""
        self._quit = False
        try:
            self._child = _Child(self._config, self._config.title or f"vision - {self._camera}")
        except OSError as error:
            raise StageError(
                f"window of camera {self._camera!r}: cannot start a process: {error.strerror}"
            ) from error

    def write(self, image: NDArray[np.uint8], result: Result) -> bool:  # noqa: ARG002
        """Hand over a (H, W, 3) BGR picture, unseen ones are replaced; False after a quit."""
        if self._child is not None:
            if self._child.process.poll() is None:
                self._child.put(image, self._camera)
            else:
                self.close()
        return not self._quit

    def close(self) -> None:
        """Close the window within a second."""
        if self._child is None:
            return
        status, last_words = self._child.end()
        self._child = None
        self._quit = status == EXIT_QUIT
        if status not in (0, EXIT_QUIT):
            _log.warning("no window for camera %r, vision goes on: %s", self._camera, last_words)


class _Child:
    """The process, the picture that it looks at, and what it says on stderr."""

    def __init__(self, config: WindowConfig, title: str) -> None:
        self._picture = SharedPicture()
        # A file, not a pipe: the child goes on though nobody reads it.
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed in `end`)
        self._woken_s = time.monotonic()
        self._hung = False
        settings = config.model_dump() | {"title": title, "fds": self._picture.fds}
        try:
            # In a session of its own, so that Ctrl-C in a terminal reaches the parent alone.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vision.outputs.window_child", json.dumps(settings)],
                stdin=subprocess.PIPE, stdout=self._stderr, stderr=self._stderr, bufsize=0,
                pass_fds=self._picture.fds, start_new_session=True,
                # HighGUI aborts on any other platform.
                env=child_environment(QT_QPA_PLATFORM="xcb"),
            )  # fmt: skip
        except OSError:
            self._release()
            raise

    def put(self, image: NDArray[np.uint8], camera: str) -> None:
        """Share `image` and wake the child, unless the last wake is still on its way."""
        self._picture.put(image)
        line = cast("IO[bytes]", self.process.stdin).fileno()
        unread = array.array("i", [0])
        fcntl.ioctl(line, termios.FIONREAD, unread)
        now_s = time.monotonic()
        if unread[0] == 0:
            self._woken_s = now_s
            with contextlib.suppress(BrokenPipeError):  # ended just now: `write` will see it
                os.write(line, b".")
        elif now_s - self._woken_s > _HUNG_S and not self._hung:
            self._hung = True
            _log.warning("the window of camera %r does not answer; vision goes on", camera)

    def end(self) -> tuple[int, str]:
        """Stop the process if it runs; return its exit status and its last words."""
        cast("IO[bytes]", self.process.stdin).close()
        try:
            status = self.process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            status = 0
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").split("\n")
        self._release()
        if status < 0:
            return status, f"killed by {signal.Signals(-status).name}"
        said = [line.strip() for line in lines if line.strip()]
        return status, said[-1] if said else f"exit status {status}"

    def _release(self) -> None:
        self._picture.close()
        self._stderr.close()
