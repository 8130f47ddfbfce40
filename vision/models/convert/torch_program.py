"""PyTorch's exported programs (`torch.export.save`), by litert-torch."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vision.errors import ModelError
from vision.models.convert.extras import first_line, need
from vision.models.convert.original import Cut, Original

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vision.models.convert.original import Answer

_EXTRA = "convert-torch"
_PICTURE_RANK, _COLORS = 4, 3


def open_exported_program(path: Path, cut: Cut) -> Original:
    """Open an exported program whose input is a picture (1, 3, H, W)."""
    if cut.inputs or cut.outputs:
        raise ModelError(
            f"{path}: an exported program cannot be cut by names; export the part that is wanted"
        )
    torch = need("torch", _EXTRA)
    need("litert_torch", _EXTRA)
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path}: no exported program; write one with torch.export.save")
    try:
        program = torch.export.load(str(path))
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"{path}: no exported program: {first_line(error)}") from error
    network = program.module()
    arguments = program.example_inputs[0] if program.example_inputs else ()
    shapes = [tuple(each.shape) for each in arguments]
    if len(shapes) != 1 or len(shapes[0]) != _PICTURE_RANK or shapes[0][:2] != (1, _COLORS):
        raise ModelError(
            f"{path}: a model here has one input, a picture (1, 3, height, width); "
            f"this has {shapes}"
        )
    shape = (1, *shapes[0][2:], _COLORS)

    def run(image: NDArray[np.float32]) -> Answer:
        with torch.no_grad():
            found = network(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))
        every = [found] if isinstance(found, torch.Tensor) else list(found)
        return {f"output_{i}": np.asarray(values, np.float32) for i, values in enumerate(every)}

    outputs = tuple(run(np.zeros(shape, np.float32)))
    return Original(
        "exported program", shape, outputs, run, lambda: _convert(torch, network, shape, path),
        ("torch", "litert-torch"),
    )  # fmt: skip


def _convert(torch: Any, network: Any, shape: tuple[int, ...], path: Path) -> bytes:
    litert_torch = need("litert_torch", _EXTRA)
    # A picture comes with its colours last, as every other model's here.
    turned = litert_torch.to_channel_last_io(network, args=[0])
    with tempfile.TemporaryDirectory(prefix="vision-torch-") as folder:
        target = Path(folder) / "model.tflite"
        try:
            litert_torch.convert(turned, (torch.zeros(shape),)).export(str(target))
        except (OSError, ValueError, RuntimeError, NotImplementedError) as error:
            raise ModelError(
                f"{path}: litert-torch cannot convert it: {first_line(error)}"
            ) from error
        return target.read_bytes()
