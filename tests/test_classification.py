"""Classifiers: real ones against the bare interpreter, and recognition without a sidecar."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vision.backends.cpu import interpreter_class
from vision.building import build_classifier
from vision.classification import top_k
from vision.classifiers.classes import Classes, ClassesConfig
from vision.classify import crop
from vision.config import ClassifierConfig, InferenceConfig
from vision.errors import ModelError
from vision.interfaces import TensorSpec
from vision.model_spec import ModelSpec
from vision.models.catalogue import resolve
from vision.models.entries import Sidecar, load
from vision.models.metadata import read_metadata
from vision.models.recognise import draft, recognise

FLOAT, QUANTISED = "mobilenet_v1_0.25_224_float.tflite", "mobilenet_v1_0.25_128_quant.tflite"
CPU = InferenceConfig(backend="cpu", threads=1)


def image_of(shared_data, number):
    return cv2.imread(str(shared_data / "coco128" / "images" / f"{number:012}.jpg"))


@pytest.mark.parametrize("file", [FLOAT, QUANTISED])
def test_probabilities_are_the_bare_interpreter_s(shared_models, shared_data, file):
    classifier = build_classifier("c", ClassifierConfig(model=str(shared_models / file)), CPU)
    bare = interpreter_class()(model_path=str(shared_models / file), num_threads=1)
    bare.allocate_tensors()
    (source,), (target,) = bare.get_input_details(), bare.get_output_details()
    side = source["shape"][1]
    for number in (9, 25, 30, 34, 36):
        image = image_of(shared_data, number)
        rgb = cv2.cvtColor(cv2.resize(image, (side, side)), cv2.COLOR_BGR2RGB)
        pixels = rgb if file == QUANTISED else (rgb.astype(np.float32) - 127.5) / 127.5
        bare.set_tensor(source["index"], pixels[None])
        bare.invoke()
        expected = bare.get_tensor(target["index"])[0].astype(np.float32)
        if file == QUANTISED:
            scale, zero_point = target["quantization"]
            expected = (expected - zero_point) * scale
        assert np.allclose(classifier(image), expected, atol=1e-4)
    classifier.close()


@pytest.mark.parametrize("file", [FLOAT, QUANTISED])
def test_detect_names_what_a_picture_shows(vision, shared_models, shared_data, file):
    picture = shared_data / "coco128" / "images" / "000000000034.jpg"
    arguments = ("detect", picture, "--model", shared_models / file, "--backend", "cpu")
    line = json.loads(vision(*arguments, "--json", "--top-k", 3).stdout)
    assert line["classes"][0]["label"] == "zebra"
    assert len(line["classes"]) == 3
    assert line["classes"][0]["score"] > 0.9
    assert "detections" not in line
    assert (line["width"], line["height"]) == (640, 425)
    assert vision(*arguments, "--min-score", 0.5).stdout.startswith(f"{picture} [0]: zebra ")


def test_a_saved_picture_says_what_it_shows(vision, shared_models, shared_data, tmp_path):
    picture = shared_data / "coco128" / "images" / "000000000034.jpg"
    vision("detect", picture, "--model", shared_models / FLOAT, "--save", tmp_path / "out")
    drawn = cv2.imread(str(tmp_path / "out" / picture.name))
    difference = np.abs(drawn.astype(int) - cv2.imread(str(picture))).max(axis=2) > 60
    assert difference[8:82, 8:80].mean() > 0.3
    assert difference[90:].mean() < 0.01


def test_a_classifier_finds_no_boxes_and_a_detector_no_classes(vision, shared_models):
    message = "this model's task is 'classify', not 'detect'"
    error = vision(
        "run", "--source", "still:x.png", "--set",
        f"detectors.face.model={shared_models / FLOAT}", "--headless", code=78,
    ).stderr  # fmt: skip
    assert message in error
    with pytest.raises(ModelError, match="'detect', not 'classify'"):
        build_classifier("c", ClassifierConfig(model="coco-ssd"), CPU)


def spec(tmp_path, labels=()):
    return ModelSpec(name="m", path=tmp_path / "m", sha256="", decoder="classes", labels=labels)


def reader(tmp_path, activation, shape=(1, 3), dtype=np.float32, scale=0.0, zero_point=0):
    tensor = TensorSpec("out", shape, np.dtype(dtype), scale, zero_point)
    return Classes(ClassesConfig(activation=activation), spec=spec(tmp_path), outputs=[tensor])


def test_logits_become_probabilities(tmp_path):
    logits = np.array([[1.0, 2.0, 400.0]], np.float32)
    assert reader(tmp_path, "softmax").probabilities([logits]).tolist() == [0, 0, 1]
    sigmoid = reader(tmp_path, "sigmoid").probabilities([logits])
    assert sigmoid == pytest.approx([0.7310586, 0.880797, 1])


def test_stored_numbers_are_read_by_their_scale(tmp_path):
    stored = np.array([[[[10, 20, 30]]]], np.uint8)
    classes = reader(tmp_path, "none", (1, 1, 1, 3), np.uint8, 0.01, 10)
    assert classes.probabilities([stored]) == pytest.approx([0, 0.1, 0.2])
    assert classes.labels == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize("shape", [(1, 10, 4), (2, 192)])
def test_outputs_that_are_no_classes_are_refused(tmp_path, shape):
    with pytest.raises(ModelError, match=r"no classifier: expected one output \(1, classes\)"):
        reader(tmp_path, "none", shape)


@given(arrays(np.float32, 8, elements=st.floats(0, 1, width=32)), st.integers(1, 10))
def test_the_best_come_first(probability, k):
    labels = [str(n) for n in range(8)]
    best = top_k(probability, labels, k, 0.25)
    scores = sorted((p for p in probability.tolist() if p >= 0.25), reverse=True)[:k]
    assert [each.score for each in best] == pytest.approx(scores, abs=1e-4)
    assert all(probability[int(each.label)] >= 0.25 for each in best)


@given(
    st.lists(st.floats(-50, 150), min_size=4, max_size=4),
    st.tuples(st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0.5, 1), st.floats(0.5, 1)),
)
def test_a_crop_always_has_a_pixel_and_lies_in_the_picture(box, region):
    image = np.zeros((60, 80, 3), np.uint8)
    x, y = sorted(box[::2]), sorted(box[1::2])
    part = crop(image, (x[0], y[0], x[1], y[1]), region)
    assert part.size
    assert part.shape[0] <= 60
    assert part.shape[1] <= 80


def test_a_crop_is_the_part_of_the_box_that_counts():
    image = np.arange(100 * 100).reshape(100, 100, 1).repeat(3, axis=2)
    part = crop(image, (20, 40, 60, 80), (0, 0.5, 0.5, 1))
    assert np.array_equal(part, image[60:80, 20:40])


# --- recognition -----------------------------------------------------------------------


def test_what_is_certain_is_recognised(shared_models):
    known = {name: recognise(read_metadata(shared_models / name)) for name in (FLOAT, QUANTISED)}
    for name, sidecar in known.items():
        assert (sidecar.task, sidecar.decoder) == ("classify", "classes"), name
        assert (sidecar.input.mean, sidecar.input.std) == (127.5, 127.5), name


@pytest.mark.parametrize("name", ["face-short", "face-full"])
def test_blazeface_is_recognised_by_its_shapes(name):
    spec = resolve(name)
    sidecar = recognise(read_metadata(spec.path))
    assert (sidecar.decoder, sidecar.options) == ("blazeface", spec.options)
    assert sidecar.input == spec.input


@pytest.mark.parametrize("file", ["yolox_nano_float16.tflite", "mobilefacenet_112_f32.tflite"])
def test_what_is_not_certain_is_refused_with_what_to_do(vision, shared_models, file):
    path = shared_models / file
    error = vision("detect", "x.jpg", "--model", path, code=78).stderr
    assert "nothing says how to read this model's outputs, (" in error
    assert f"write {path.stem}.yaml beside it: `python main.py models inspect {path}`" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("file", "decoder"),
    [
        ("yolox_nano_float16.tflite", "yolox"), (FLOAT, "classes"),
        ("coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite", "ssd-postprocess"),
    ],
)  # fmt: skip
def test_a_draft_is_a_sidecar_that_loads(shared_models, tmp_path, file, decoder):
    (tmp_path / "m.yaml").write_text(draft(read_metadata(shared_models / file)))
    assert load(tmp_path / "m.yaml", Sidecar).decoder == decoder


def test_a_yolox_runs_with_its_draft_as_it_is(vision, shared_models, shared_data, tmp_path):
    shutil.copy(shared_models / "yolox_nano_float16.tflite", tmp_path / "m.tflite")
    (tmp_path / "m.yaml").write_text(draft(read_metadata(tmp_path / "m.tflite")))
    picture = shared_data / "coco128" / "images" / "000000000009.jpg"
    assert "class 45" in vision("detect", picture, "--model", "./m.tflite").stdout
