"""Trains LeNet-5 on handwritten digits and converts it: the whole chain in half a minute.

    python models/recipes/lenet5.py FOLDER

Leaves in FOLDER the trained network, three variants as `.tflite` with their sidecars, and
in FOLDER/digits the pictures that it was not trained on, named after what they show.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vision import cli
from vision.models.convert.extras import need

DESCRIPTION = Path(__file__).with_suffix(".yaml")
SIDE = 32
BRIGHTEST = 16  # of the data set's pixels
EPOCHS = 30
HELD_BACK = 5  # every fifth picture is for checking


def main() -> int:
    """Train, save and convert; return the exit code of the conversion."""
    if len(sys.argv) != 2:  # noqa: PLR2004
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    digits = need("sklearn.datasets", "recipes").load_digits()
    pictures = np.stack([as_picture(digit) for digit in digits.images])
    held_back = np.arange(len(pictures)) % HELD_BACK == 0
    network = train(pictures[~held_back], digits.target[~held_back])
    right = network.predict(pictures[held_back] / 255, verbose=0).argmax(1)
    right = (right == digits.target[held_back]).mean()
    print(f"LeNet-5 reads {right:.1%} of {held_back.sum()} digits that it was not trained on")
    unseen = folder / "digits"
    unseen.mkdir(parents=True, exist_ok=True)
    for index in np.flatnonzero(held_back):
        cv2.imwrite(str(unseen / f"{digits.target[index]}-{index:04d}.png"), pictures[index])
    source = folder / "lenet5.keras"
    network.save(source)
    how = [word for name in ("none", "fp16", "int8") for word in ("--quantize", name)]
    files = ["--describe", DESCRIPTION, "--calibrate", unseen, "-o", folder / "lenet5.tflite"]
    return cli.main(["models", "convert", *how, *map(str, files), str(source)])


def as_picture(digit: np.ndarray) -> np.ndarray:
    """Return an 8x8 digit as a (32, 32, 3) uint8 picture."""
    grey = (digit * (255 / BRIGHTEST)).astype(np.uint8)
    large = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return cv2.cvtColor(large, cv2.COLOR_GRAY2BGR)


def train(pictures: np.ndarray, labels: np.ndarray) -> Any:
    """Return LeNet-5, trained on (N, 32, 32, 3) uint8 pictures."""
    keras = need("tensorflow", "convert").keras
    keras.utils.set_random_seed(5)
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Conv2D(6, 5, activation="relu"),
            layers.AveragePooling2D(2),
            layers.Conv2D(16, 5, activation="relu"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    network.compile("adam", "sparse_categorical_crossentropy")
    network.fit(pictures / 255, labels, epochs=EPOCHS, verbose=0)
    return network


if __name__ == "__main__":
    sys.exit(main())
