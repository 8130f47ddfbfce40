"""A folder of pictures as inputs of a model, made by the same preprocessing as in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vision.errors import ModelError
from vision.interfaces import TensorSpec
from vision.picture import SUFFIXES, read_picture
from vision.preprocess import Preprocessor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from vision.model_spec import InputSpec

MOST = 200
"""Pictures that are used of a folder; more do not make the ranges better."""


def find_pictures(folder: Path) -> list[Path]:
    """Return the folder's pictures by name, evenly thinned out to `MOST`.

    Raises:
        ModelError: If it is no folder, or has none.
    """
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise ModelError(f"{folder}: cannot look for pictures: {error.strerror}") from error
    if not found:
        raise ModelError(
            f"{folder}: no pictures in this folder (files ending in {', '.join(sorted(SUFFIXES))})"
        )
    picked = np.linspace(0, len(found) - 1, min(len(found), MOST)).round().astype(int)
    return [found[index] for index in picked]


def inputs(
    pictures: list[Path], spec: InputSpec, shape: tuple[int, ...]
) -> Iterator[NDArray[np.float32]]:
    """Yield each picture as a new float32 array of `shape`.

    Raises:
        ModelError: If `shape` is no picture's.
        SourceError: If a file is damaged.
    """
    prepare = Preprocessor(spec, TensorSpec("image", shape, np.dtype(np.float32)))
    for path in pictures:
        ready = np.empty(shape, np.float32)
        prepare(read_picture(path), ready)
        yield ready
