"""What native libraries write to stderr by themselves."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_STDERR = 2


@contextmanager
def without_chatter() -> Iterator[None]:
    """Hold stderr back, and let it go at the end without the lines that only say INFO.

    TFLite greets with such a line for every model, and has no switch for it.
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
                if not line.startswith(b"INFO: "):
                    os.write(_STDERR, line)
