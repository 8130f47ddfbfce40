"""Anchor boxes, as the Object Detection API and EfficientDet lay them, or out of a file."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path  # noqa: TC003  (pydantic resolves it at run time)
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vision.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Shapes = Sequence[tuple[float, float]]
    """Widths and heights, as fractions of the input's."""

_LOWEST = ((0.1, 1.0), (None, 2.0), (None, 0.5))  # scale (None: the layer's) and ratio


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SsdGrids(_Strict):
    """Source: Liu et al., "SSD", 2016; Object Detection API, `ssd_anchor_generator`."""

    kind: Literal["ssd"]
    layers: Annotated[int, Field(ge=2)] = 6
    first_stride: Annotated[int, Field(ge=1)] = 16
    """Of the first layer's grid, in input pixels; each further one has half the cells."""
    min_scale: float = 0.2
    max_scale: float = 0.95
    aspect_ratios: tuple[float, ...] = (1.0, 2.0, 0.5, 3.0, 1 / 3)
    reduce_lowest: bool = True
    """Three anchors a cell in the first layer instead of all."""

    def make(self, size_wh: tuple[int, int], _folder: Path) -> NDArray[np.float32]:
        """Return (A, 2, 2): centre x, y and width, height as fractions of the input."""
        span = (self.max_scale - self.min_scale) / (self.layers - 1)
        scales = [*(self.min_scale + span * i for i in range(self.layers)), 1.0]
        layers = []
        for index, (scale, following) in enumerate(pairwise(scales)):
            pairs = [(scale, ratio) for ratio in self.aspect_ratios]
            pairs.append((math.sqrt(scale * following), 1.0))
            if index == 0 and self.reduce_lowest:
                pairs = [(own or scale, ratio) for own, ratio in _LOWEST]
            shapes = [(s * math.sqrt(ratio), s / math.sqrt(ratio)) for s, ratio in pairs]
            stride = self.first_stride << index
            layers.append(_tiled((-(-size_wh[0] // stride), -(-size_wh[1] // stride)), shapes))
        return np.concatenate(layers)


class EfficientDetGrids(_Strict):
    """Source: Tan et al., "EfficientDet", 2020, and its `anchors.py`."""

    kind: Literal["efficientdet"]
    min_level: int = 3
    max_level: int = 7
    octave_scales: Annotated[int, Field(ge=1)] = 3
    aspect_ratios: tuple[float, ...] = (1.0, 2.0, 0.5)
    anchor_scale: float = 3.0
    """3 in the Lite models, 4 in the others."""

    def make(self, size_wh: tuple[int, int], _folder: Path) -> NDArray[np.float32]:
        """Return (A, 2, 2): centre x, y and width, height as fractions of the input."""
        layers = []
        for level in range(self.min_level, self.max_level + 1):
            columns, rows = (math.ceil(side / 2**level) for side in size_wh)
            sides = [
                self.anchor_scale * 2 ** (i / self.octave_scales) for i in range(self.octave_scales)
            ]
            shapes = [
                (side * math.sqrt(ratio) / columns, side / math.sqrt(ratio) / rows)
                for side in sides
                for ratio in self.aspect_ratios
            ]
            layers.append(_tiled((columns, rows), shapes))
        return np.concatenate(layers)


class AnchorFile(_Strict):
    """A `.npy` of (A, 4) numbers: centre y, x, height, width as fractions of the input."""

    kind: Literal["file"]
    path: Path
    """Relative to the model's folder."""

    def make(self, _size_wh: tuple[int, int], folder: Path) -> NDArray[np.float32]:
        """Return (A, 2, 2): centre x, y and width, height.

        Raises:
            ModelError: If the file is no such list.
        """
        path = folder / self.path
        try:
            raw = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ModelError(f"{path}: cannot read the anchors: {error}") from error
        if raw.ndim != 2 or raw.shape[1] != 4 or raw.dtype.kind != "f":  # noqa: PLR2004
            raise ModelError(
                f"{path}: anchors are (A, 4) floating-point numbers, centre y, x, height, width; "
                f"this is {raw.shape} {raw.dtype}"
            )
        pairs: NDArray[np.float32] = raw.astype(np.float32).reshape(-1, 2, 2)[..., ::-1]
        return pairs


Anchors = Annotated[SsdGrids | EfficientDetGrids | AnchorFile, Field(discriminator="kind")]


def _tiled(grid_wh: tuple[int, int], shapes: Shapes) -> NDArray[np.float32]:
    """Return the shapes at every cell of a grid, row by row."""
    x = (np.arange(grid_wh[0]) + 0.5) / grid_wh[0]
    y = (np.arange(grid_wh[1]) + 0.5) / grid_wh[1]
    centres = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 1, 2)
    sizes = np.array(shapes)[None]
    pairs = np.stack(np.broadcast_arrays(centres, sizes), axis=2)
    tiled: NDArray[np.float32] = pairs.reshape(-1, 2, 2).astype(np.float32)
    return tiled
