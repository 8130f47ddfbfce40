"""The converters' packages, which a board does not need and may not have."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from typing import TYPE_CHECKING, Any

from vision.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable


def need(module: str, extra: str) -> Any:
    """Return a module that an extra of this project installs.

    Raises:
        ModelError: If it is missing; the message names the extra.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reads it when imported
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"this conversion needs the Python package {error.name!r}: "
            f"pip install 'edge-vision[{extra}]'"
        ) from error


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Return the versions of those distributions that are installed."""
    found = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def first_line(error: BaseException) -> str:
    """Return what a converter said, in one line."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
