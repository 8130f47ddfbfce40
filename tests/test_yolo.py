"""YOLO heads: a real YOLOX against a plain decode and ground truth, rows against its head."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

from vision.backends.cpu import interpreter_class
from vision.detectors.yolo_rows import YoloRows, YoloRowsConfig
from vision.detectors.yolox import Yolox, YoloxConfig, grid_cells
from vision.errors import ModelError
from vision.geometry import Letterbox, iou_matrix
from vision.interfaces import TensorSpec
from vision.model_spec import ModelSpec

FILE = "yolox_nano_float16.tflite"
SIDECAR = """
decoder: yolox
input: {fit: letterbox, pad: corner, pad_value: 114, color: bgr, mean: 0, std: 1}
options: {iou: 0.65}
"""
INPUT = TensorSpec("images", (1, 3, 416, 416), np.dtype(np.float32))
SHAPE = (1, 3549, 85)


@pytest.fixture
def yolox_file(shared_models, tmp_path):
    shutil.copy(shared_models / FILE, tmp_path / "yolox.tflite")
    (tmp_path / "yolox.yaml").write_text(SIDECAR)
    return tmp_path / "yolox.tflite"


@pytest.fixture(scope="module")
def bare(shared_models):
    """Run YOLOX on a picture as its own code does: the raw head, and the ratio."""
    interpreter = interpreter_class()(model_path=str(shared_models / FILE), num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]

    def run(image):
        ratio = min(416 / image.shape[0], 416 / image.shape[1])
        size = int(image.shape[1] * ratio), int(image.shape[0] * ratio)
        padded = np.full((416, 416, 3), 114, np.uint8)
        padded[: size[1], : size[0]] = cv2.resize(image, size)
        planes = np.ascontiguousarray(padded.transpose(2, 0, 1), np.float32)
        interpreter.set_tensor(source, planes[None])
        interpreter.invoke()
        return interpreter.get_tensor(target), ratio

    return run


@pytest.fixture(scope="module")
def head(bare, shared_data):
    return bare(cv2.imread(str(shared_data / "coco128" / "images" / "000000000009.jpg")))[0]


def plain_decode(raw, min_score, iou):
    """Every cell, in double precision; then class by class: boxes, scores, classes."""
    rows = raw[0].astype(np.float64)
    start = 0
    for stride in (8, 16, 32):
        side = 416 // stride
        for y in range(side):
            cells = rows[start : start + side]
            cells[:, 0] = (cells[:, 0] + np.arange(side)) * stride
            cells[:, 1] = (cells[:, 1] + y) * stride
            cells[:, 2:4] = np.exp(cells[:, 2:4]) * stride
            start += side
    centre, half = rows[:, :2], rows[:, 2:4] / 2
    xyxy = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
    class_id = rows[:, 5:].argmax(axis=1)
    score = rows[:, 4] * rows[:, 5:].max(axis=1)
    kept = []
    for i in np.argsort(-score, kind="stable"):
        if score[i] < min_score:
            break
        rivals = [j for j in kept if class_id[j] == class_id[i]]
        if not rivals or iou_matrix(xyxy[i : i + 1], xyxy[rivals]).max() <= iou:
            kept.append(int(i))
    return xyxy[kept], score[kept], class_id[kept]


def average_precision(found, truth):
    """AP at IoU 0.5 of one class, area under the whole curve (COCO's matching)."""
    total = sum(len(boxes) for boxes in truth.values())
    taken = {key: np.zeros(len(boxes), bool) for key, boxes in truth.items()}
    hits = []
    for _, key, box in sorted(found, key=lambda f: -f[0]):
        overlap = iou_matrix(box[None], truth[key])[0] if key in truth else np.zeros(0)
        overlap = np.where(taken[key], 0, overlap) if key in truth else overlap
        hit = overlap.size and overlap.max() >= 0.5
        if hit:
            taken[key][overlap.argmax()] = True
        hits.append(bool(hit))
    if not hits:
        return 0.0
    correct = np.cumsum(hits)
    precision = correct / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * np.diff(correct / total, prepend=0)).sum())


def mean_average_precision(found, truth):
    """Over the classes that occur; both map a class to what average_precision takes."""
    return np.mean([average_precision(found.get(c, []), truth[c]) for c in truth])


def test_the_same_precision_as_a_plain_decode(one_shot, bare, shared_data, yolox_file):
    truth, ours, plain = {}, {}, {}
    for picture in json.loads((shared_data / "coco128" / "gt.json").read_text())["images"]:
        image = cv2.imread(str(shared_data / "coco128" / picture["file"]))
        key = picture["file"]
        for box in picture["boxes"]:
            x, y, w, h = box["bbox"]
            truth.setdefault(box["cls"], {}).setdefault(key, []).append([x, y, x + w, y + h])
        found = one_shot(str(yolox_file), image, min_score=0.01)
        for box, score, class_id in zip(found.xyxy, found.score, found.class_id, strict=True):
            ours.setdefault(int(class_id), []).append((score, key, box))
        raw, ratio = bare(image)
        for box, score, class_id in zip(*plain_decode(raw, 0.01, 0.65), strict=True):
            plain.setdefault(int(class_id), []).append((score, key, box / np.float32(ratio)))
    truth = {
        c: {key: np.array(boxes, np.float32) for key, boxes in pictures.items()}
        for c, pictures in truth.items()
    }
    expected = mean_average_precision(plain, truth)
    assert expected > 0.45
    assert mean_average_precision(ours, truth) == pytest.approx(expected, abs=0.01)


def test_detect_runs_with_a_sidecar(vision, yolox_file, shared_data):
    picture = shared_data / "coco128" / "images" / "000000000009.jpg"
    done = vision("detect", picture, "--model", yolox_file, "--backend", "cpu", "--json")
    found = json.loads(done.stdout)["detections"]
    assert {"class 45", "class 50"} <= {each["label"] for each in found}


def spec(tmp_path):
    return ModelSpec(name="m", path=tmp_path / "m.tflite", sha256="", decoder="x")


def output(shape, dtype=np.float32, scale=0.0, zero_point=0):
    return TensorSpec("out", tuple(shape), np.dtype(dtype), scale, zero_point)


def decoder(kind, tmp_path, tensor, min_score=0.3, inputs=INPUT, **options):
    return kind(
        kind.Config(iou=0.65, **options), spec=spec(tmp_path), inputs=[inputs], outputs=[tensor],
        min_score=min_score,
    )  # fmt: skip


SQUARE = Letterbox.stretch((416, 416), (416, 416))


def decoded(head):
    """The head's boxes as pixels, as a model with its own decoding would give them."""
    rows = head.copy()
    cells = grid_cells((416, 416), (8, 16, 32))
    rows[0, :, :2] = (rows[0, :, :2] + cells[:, :2]) * cells[:, 2:]
    rows[0, :, 2:4] = np.exp(rows[0, :, 2:4]) * cells[:, 2:]
    return rows


@pytest.mark.parametrize("coordinates", ["normalized", "pixels"])
@pytest.mark.parametrize("layout", ["v5", "v8"])
def test_decoded_rows_give_what_the_raw_head_gives(head, tmp_path, layout, coordinates):
    expected = decoder(Yolox, tmp_path, output(SHAPE)).decode([head], SQUARE, (416, 416))
    rows = decoded(head)
    if coordinates == "normalized":
        rows[0, :, :4] /= 416
    if layout == "v8":
        rows = np.concatenate([rows[..., :4], rows[..., 4:5] * rows[..., 5:]], axis=2)
        rows = np.ascontiguousarray(rows.transpose(0, 2, 1))
    reader = decoder(YoloRows, tmp_path, output(rows.shape), layout=layout, coordinates=coordinates)
    found = reader.decode([rows], SQUARE, (416, 416))
    assert len(found) == len(expected) > 3
    assert np.array_equal(found.class_id, expected.class_id)
    assert np.allclose(found.score, expected.score, atol=1e-5)
    assert np.allclose(found.xyxy, expected.xyxy, atol=0.01)
    assert len(reader.labels) == 80


@pytest.mark.parametrize("layout", ["v5", "v8"])
def test_quantised_rows_are_read_within_their_step(head, tmp_path, layout):
    rows = decoded(head)
    rows[0, :, :4] /= 416
    if layout == "v8":
        rows = np.concatenate([rows[..., :4], rows[..., 4:5] * rows[..., 5:]], axis=2)
        rows = np.ascontiguousarray(rows.transpose(0, 2, 1))
    scale, zero_point = 1 / 255, -128
    stored = np.clip(np.rint(rows / scale) + zero_point, -128, 127).astype(np.int8)
    real = (stored.astype(np.float32) - zero_point) * np.float32(scale)
    exact = decoder(YoloRows, tmp_path, output(rows.shape), layout=layout)
    quantised = decoder(
        YoloRows, tmp_path, output(rows.shape, np.int8, scale, zero_point), layout=layout
    )
    expected = exact.decode([real], SQUARE, (416, 416))
    found = quantised.decode([stored], SQUARE, (416, 416))
    assert len(found) == len(expected) > 3
    assert np.allclose(found.xyxy, expected.xyxy, atol=1e-3)
    assert np.allclose(found.score, expected.score, atol=1e-6)


def test_yolox_takes_interleaved_inputs_alike(head, tmp_path):
    interleaved = TensorSpec("images", (1, 416, 416, 3), np.dtype(np.float32))
    found = [
        decoder(Yolox, tmp_path, output(SHAPE), inputs=each).decode([head], SQUARE, (416, 416))
        for each in (INPUT, interleaved)
    ]
    assert np.array_equal(found[0].xyxy, found[1].xyxy)


def test_an_empty_picture_has_no_detections(tmp_path):
    nothing = decoder(Yolox, tmp_path, output(SHAPE))
    assert len(nothing.decode([np.zeros(SHAPE, np.float32)], SQUARE, (416, 416))) == 0


@pytest.mark.parametrize("shape", [(1, 3548, 85), (1, 3549, 5), (1, 10), (1, 1, 3549, 85)])
def test_a_head_of_other_grids_is_refused(tmp_path, shape):
    with pytest.raises(ModelError, match=r"not a YOLOX of strides .*\(1, 3549, 5 \+ classes\)"):
        decoder(Yolox, tmp_path, output(shape))


@pytest.mark.parametrize(
    ("layout", "shape"), [("v5", (1, 100, 5)), ("v8", (1, 4, 100)), ("v5", (1, 10))]
)
def test_rows_without_classes_are_refused(tmp_path, layout, shape):
    with pytest.raises(ModelError, match=f"no rows of layout {layout}"):
        decoder(YoloRows, tmp_path, output(shape), layout=layout)


def test_configs_know_their_words():
    with pytest.raises(ValueError, match="layout"):
        YoloRowsConfig.model_validate({"layout": "v9"})
    with pytest.raises(ValueError, match="stride"):
        YoloxConfig.model_validate({"stride": 8})
