"""What native libraries write to stderr by themselves."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_STDERR = 2
# TFLite's greeting, and everything below an error that LiteRT logs through Abseil.
_CHATTER = re.compile(
    rb"INFO: |[IW]\d{4} |WARNING: Logging before|=== Source Location Trace|third_party/"
)


@contextmanager
def without_chatter() -> Iterator[None]:
    """Hold stderr back, and let it go at the end without the lines that are no errors.

    TFLite and LiteRT write several for every model that they load, and have no switch.
    """
    sys.stderr.flush()
    kept = os.dup(_STDERR)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
            held.seek(0)
            for line in held:
                if not _CHATTER.match(line):
                    os.write(_STDERR, line)
