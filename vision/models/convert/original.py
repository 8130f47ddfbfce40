"""A trained network in its own framework: run as it is, and turned into a `.tflite`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vision.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Answer = dict[str, NDArray[np.float32]]
    """Outputs by name, in real units."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Which part of a network is wanted.

    Attributes:
        inputs: Names of tensors; empty for the network's own.
        outputs: See `inputs`.
        for_gpu: End before what a GPU cannot compute, where `outputs` does not say.
        size_wh: Of the input, where the network leaves it open.
    """

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    for_gpu: bool = False
    size_wh: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Original:
    """An opened network.

    Attributes:
        kind: What it is, in words.
        input_shape: (1, H, W, 3), float32.
        outputs: Their names, in the order of the `.tflite` file's signature.
        run: From one input to all outputs, computed by the network's own framework.
        convert: Makes the float32 `.tflite`; raises ModelError.
        tools: The distributions that have a part in it.
    """

    kind: str
    input_shape: tuple[int, ...]
    outputs: tuple[str, ...]
    run: Callable[[NDArray[np.float32]], Answer]
    convert: Callable[[], bytes]
    tools: tuple[str, ...]


_BY_SUFFIX = {
    ".pb": "graph:open_frozen_graph",
    ".keras": "graph:open_keras",
    ".h5": "graph:open_keras",
    ".onnx": "onnx_model:open_onnx",
    ".pt2": "torch_program:open_exported_program",
}
_SAVED_MODEL = "graph:open_saved_model"


def open_original(path: Path, cut: Cut) -> Original:
    """Open a network with the framework that it was made with.

    Args:
        path: A SavedModel folder, a frozen graph (`.pb`), a Keras file, an ONNX model or an
            exported program of PyTorch (`.pt2`).
        cut: The part that is wanted.

    Raises:
        ModelError: If it is none of these, is damaged, has no such tensors, or its
            framework is not installed.
    """
    if not path.exists():
        raise ModelError(f"{path}: no such model")
    folder = path.is_dir()
    if folder and not (path / "saved_model.pb").is_file():
        raise ModelError(f"{path}: a folder without saved_model.pb is no SavedModel")
    target = _SAVED_MODEL if folder else _BY_SUFFIX.get(path.suffix.lower())
    if target is None:
        raise ModelError(
            f"{path}: not a model that can be converted; give a SavedModel folder or a file "
            f"ending in {', '.join(_BY_SUFFIX)}"
        )
    module, _, function = target.partition(":")
    opener = getattr(importlib.import_module(f"vision.models.convert.{module}"), function)
    original: Original = opener(path, cut)
    return original
