"""Events as lines on standard output."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from vision.errors import PublishError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vision.event import Record


class StdoutConfig(BaseModel):
    """Nothing to choose."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StdoutPublisher:
    """Writes one event a line, for a pipe or a person.

    Past Python's own buffer: what a broken pipe refused would stay in there, and be
    tried once more, with a complaint, when the interpreter ends.
    """

    Config = StdoutConfig

    def __init__(self, config: StdoutConfig, *, node: str) -> None:
        """Take what every publisher is given; there is nothing to keep."""

    def open(self) -> None:
        """Do nothing: standard output is open."""

    def publish(self, records: Sequence[Record]) -> None:
        """Write all `records`; raises PublishError where nobody reads any more."""
        left = memoryview(b"".join(record.body + b"\n" for record in records))
        try:
            sys.stdout.flush()
            while left:
                left = left[os.write(sys.stdout.fileno(), left) :]
        except OSError as error:
            raise PublishError(
                f"cannot write events to standard output: {error.strerror}; "
                "start the program that reads them again, or take this publisher out"
            ) from error

    def close(self) -> None:
        """Leave standard output to those who still want to say something."""
