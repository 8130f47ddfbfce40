"""Fixed inputs for comparing two backends: the same on every machine and every day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from vision.interfaces import TensorSpec

_SEED = 20240229
_PICTURE_RANK = 4
_COUNT = 7  # pictures that `pixels` gives


def pixels(shape: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
    """Yield pictures of `shape`, (N, H, W, C), values 0…255.

    Noise reaches every weight; smooth pictures keep the values inside the model where
    a camera's pictures do.
    """
    rng = np.random.default_rng(_SEED)
    _, height, width, channels = shape
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    yield rng.uniform(0, 255, shape).astype(np.float32)
    yield rng.integers(0, 2, shape).astype(np.float32) * 255
    planes = (
        (x + y) / 2,
        (np.sin(12 * x) * np.cos(9 * y) + 1) / 2,
        ((np.floor(8 * x) + np.floor(8 * y)) % 2),
        _face(x, y),
        _face((3 * x) % 1, (2 * y) % 1),
    )
    for plane in planes:
        tint = rng.uniform(0.3, 1, channels)
        picture = plane[None, :, :, None] * tint * 255
        yield np.ascontiguousarray(np.broadcast_to(picture, shape), np.float32)


def _face(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Draw a bright oval with eyes and a mouth on a dark ground."""

    def spot(cx: float, cy: float, rx: float, ry: float) -> NDArray[np.float32]:
        distance = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2
        return np.asarray(1 / (1 + np.exp(np.clip(12 * (distance - 1), -60, 60))), np.float32)

    head = spot(0.5, 0.5, 0.28, 0.38)
    features = (
        spot(0.4, 0.42, 0.05, 0.03) + spot(0.6, 0.42, 0.05, 0.03) + spot(0.5, 0.68, 0.1, 0.03)
    )
    return np.asarray(0.2 + 0.6 * head - 0.5 * features, np.float32)


def inputs(spec: TensorSpec, mean: float, std: float) -> list[NDArray[Any]]:
    """Return what to feed to the input `spec`, by the model's own normalisation."""
    if len(spec.shape) != _PICTURE_RANK:
        noise = np.random.default_rng(_SEED).uniform(-1, 1, (_COUNT, *spec.shape))
        return [values.astype(spec.dtype) for values in noise]
    pictures = list(pixels(spec.shape))
    if spec.dtype == np.uint8:
        return [picture.astype(np.uint8) for picture in pictures]
    if spec.dtype == np.int8:
        return [(picture - 128).astype(np.int8) for picture in pictures]
    return [((picture - mean) / std).astype(spec.dtype) for picture in pictures]
