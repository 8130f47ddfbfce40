"""Runs where TensorFlow is: writes LeNet's SavedModel, its frozen graph, and one with NMS."""

import sys
from pathlib import Path

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

source, folder = map(Path, sys.argv[1:])
network = tf.keras.models.load_model(source, compile=False)
network.export(folder / "saved", verbose=False)


def frozen(function, shape):
    spec = tf.TensorSpec(shape, tf.float32, name="image")
    graph = convert_variables_to_constants_v2(tf.function(function).get_concrete_function(spec))
    return graph.graph.as_graph_def().SerializeToString()


def with_suppression(image):
    numbers = tf.reshape(network(image), (5, 2))
    boxes = tf.concat([numbers, numbers + 0.5], 1, name="raw_boxes")
    scores = tf.reduce_sum(numbers, 1, name="raw_scores")
    return tf.gather(boxes, tf.image.non_max_suppression(boxes, scores, 3))


(folder / "lenet5.pb").write_bytes(frozen(network, (1, 32, 32, 3)))
(folder / "open.pb").write_bytes(frozen(lambda x: tf.reduce_mean(x, 3), (None, None, None, 3)))
(folder / "suppressed.pb").write_bytes(frozen(with_suppression, (1, 32, 32, 3)))
