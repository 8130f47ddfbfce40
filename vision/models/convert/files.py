"""A model and its sidecar onto the disk: both whole, or neither."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from vision.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write every file under a temporary name, then give all of them their names.

    Raises:
        ModelError: If the disk is full or the folder cannot be written; then no file is
            there that was not there before.
    """
    with ExitStack() as undo:
        parts = {}
        for target, content in files.items():
            part = target.with_name(f".{target.name}.{os.getpid()}.part")
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                undo.callback(part.unlink, missing_ok=True)
                _write(part, content)
            except OSError as error:
                raise ModelError(f"cannot write {target}: {error.strerror or error}") from error
            parts[part] = target
        for part, target in parts.items():
            part.replace(target)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
