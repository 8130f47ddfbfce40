"""A folder of pictures, or one picture: each is a frame, in the order of their names."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from vision.clock import FrameClock
from vision.errors import EndOfStream, SourceError
from vision.frame import Frame
from vision.picture import SUFFIXES, read_picture


class FolderConfig(BaseModel):
    """A folder, or a single picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    fps: float = 25.0
    """Frames a second of `captured_ns`, and of the pace where it is live."""
    live: bool = False


class FolderSource:
    """Reads pictures; each may have its own size."""

    Config = FolderConfig

    def __init__(self, config: FolderConfig, *, camera: str) -> None:
        self.live = config.live
        self._config = config
        self._camera = camera
        self._pictures: list[Path] = []
        self._clock = FrameClock(config.fps, live=config.live)
        self._next_id = 0

    def open(self) -> None:
        """List the pictures; raises SourceError if there are none."""
        path = Path(self._config.path)
        try:
            entries = sorted(path.iterdir()) if path.is_dir() else [path]
        except OSError as error:
            raise SourceError(f"camera {self._camera}: {path}: {error.strerror}") from error
        self._pictures = [p for p in entries if p.suffix.lower() in SUFFIXES]
        if not self._pictures:
            raise SourceError(
                f"camera {self._camera}: no pictures in {path} "
                f"(looked for {', '.join(sorted(SUFFIXES))})"
            )
        first = self._pictures[0]
        self._clock = FrameClock(
            self._config.fps,
            live=self.live,
            file_unix_ns=first.stat().st_mtime_ns if first.exists() else 0,
        )

    def read(self) -> Frame:
        """Return the next picture; raises EndOfStream, or SourceError if it is damaged."""
        if self._next_id == len(self._pictures):
            raise EndOfStream
        path = self._pictures[self._next_id]
        image = read_picture(path)
        frame_id, self._next_id = self._next_id, self._next_id + 1
        captured_ns, unix_ns, read_ns = self._clock.stamp(frame_id)
        return Frame(image, frame_id, captured_ns, unix_ns, self._camera, read_ns)

    def close(self) -> None:
        """Nothing is held open between pictures."""
