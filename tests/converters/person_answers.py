"""Runs where TensorFlow is: what the person network's own graph finds in pictures."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

source, folder, target = map(Path, sys.argv[1:])
graph = tf.compat.v1.GraphDef.FromString(source.read_bytes())


def whole(image):
    return tf.graph_util.import_graph_def(
        graph,
        input_map={"image_tensor:0": image},
        return_elements=["detection_boxes:0", "detection_scores:0"],
        name="",
    )


function = tf.compat.v1.wrap_function(whole, [tf.TensorSpec((1, None, None, 3), tf.uint8)])
function = function.prune(function.inputs, function.outputs)
answers = {}
for path in sorted(folder.iterdir()):
    image = cv2.imread(str(path))
    boxes, scores = function(tf.constant(np.ascontiguousarray(image[None, ..., ::-1])))
    size = np.tile(image.shape[:2], 2)
    xyxy = (boxes.numpy()[0] * size)[:, [1, 0, 3, 2]]
    answers[path.name] = {"xyxy": xyxy.tolist(), "score": scores.numpy()[0].tolist()}
target.write_text(json.dumps(answers))
