"""Converters talk a lot, on both streams and from native code."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_STREAMS = (1, 2)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop all that is written to stdout and stderr, and all warnings."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(stream) for stream in _STREAMS]
    try:
        with Path(os.devnull).open("wb") as nowhere, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for stream in _STREAMS:
                os.dup2(nowhere.fileno(), stream)
            yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, own in zip(_STREAMS, kept, strict=True):
            os.dup2(own, stream)
            os.close(own)
