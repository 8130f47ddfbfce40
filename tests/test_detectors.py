"""Decoders: against ground truth, against the bare interpreter, and by their properties."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vision.backends.cpu import CpuBackend, CpuConfig, interpreter_class
from vision.detectors.blazeface import LAYOUTS, anchor_centres, weighted_suppression
from vision.detectors.ssd_postprocess import SsdPostprocess, SsdPostprocessConfig, output_roles
from vision.errors import ModelError
from vision.geometry import Letterbox, iou_matrix
from vision.interfaces import TensorSpec
from vision.models.catalogue import resolve
from vision.preprocess import Preprocessor

FLOAT = np.dtype(np.float32)


@pytest.mark.parametrize(("name", "least"), [("face-short", 0.25), ("face-full", 0.9)])
def test_faces_are_found_where_people_marked_them(one_shot, shared_data, name, least):
    """Recall at IoU 0.4; the short range is made for faces nearer than most of these."""
    truth = json.loads((shared_data / "faces" / "gt.json").read_text())["images"]
    found = marked = 0
    for picture in truth:
        image = cv2.imread(str(shared_data / "faces" / picture["file"]))
        detections = one_shot(name, image)
        boxes = np.array([face["bbox"] for face in picture["boxes"]], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        marked += len(boxes)
        found += int((iou_matrix(boxes, detections.xyxy) > 0.4).any(axis=1).sum())
        assert not len(detections) or detections.keypoints.shape[1:] == (6, 2)
    assert found / marked >= least


def test_anchors_are_in_the_middle_of_their_cells():
    short = anchor_centres(LAYOUTS["short"], 128)
    assert short.shape == (896, 2)
    assert short[0].tolist() == short[1].tolist() == [4, 4]
    assert short[2].tolist() == [12, 4]
    assert short[512].tolist() == short[517].tolist() == [8, 8]
    assert short[518].tolist() == [24, 8]
    full = anchor_centres(LAYOUTS["full"], 192)
    assert full.shape == (2304, 2)
    assert full[-1].tolist() == [190, 190]


POINTS = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        arrays(np.float32, (n, 2), elements=st.floats(0, 100, width=32)),
        arrays(np.float32, (n, 2), elements=st.floats(1, 50, width=32)),
        arrays(np.float32, n, elements=st.floats(0.125, 1, width=32)),
    )
)


@given(POINTS)
def test_suppression_leaves_no_two_groups_for_one_box_and_keeps_the_best_score(drawn):
    corner, size, score = drawn
    points = np.stack([corner, corner + size], axis=1)
    blended, scores = weighted_suppression(points, score, 0.3)
    assert len(blended) == len(scores) <= len(points)
    assert scores[0] == score.max()
    assert (np.diff(scores) <= 0).all()
    assert blended.min() >= points.min() - 1e-3
    assert blended.max() <= points.max() + 1e-3


@given(POINTS)
def test_boxes_apart_are_left_as_they_are(drawn):
    corner, size, score = drawn
    shift = np.arange(len(corner), dtype=np.float32)[:, None] * 1000
    points = np.stack([corner + shift, corner + shift + size], axis=1)
    blended, scores = weighted_suppression(points, score, 0.3)
    order = np.argsort(-score, kind="stable")
    assert np.allclose(blended, points[order], rtol=1e-5)
    assert np.array_equal(scores, score[order])


def test_two_boxes_of_one_face_are_weighted_by_their_scores():
    points = np.array([[[0, 0], [10, 10]], [[1, 0], [11, 10]]], np.float32)
    blended, scores = weighted_suppression(points, np.array([0.9, 0.6], np.float32), 0.3)
    assert scores.tolist() == [np.float32(0.9)]
    assert blended[0, 0, 0] == pytest.approx(0.4, abs=1e-5)


def test_coco_ssd_through_our_line_is_the_bare_interpreter(one_shot, shared_data, shared_models):
    """The same picture: boxes within 1 px, scores within 0.01, the same classes."""
    spec = resolve("coco-ssd")
    bare = interpreter_class()(model_path=str(spec.path), num_threads=1)
    bare.allocate_tensors()
    by_name = {d["name"]: d["index"] for d in bare.get_output_details()}
    op = "TFLite_Detection_PostProcess"
    compared = 0
    for path in sorted((shared_data / "coco128").rglob("*.jpg")):
        image = cv2.imread(str(path))
        height, width = image.shape[:2]
        rgb = cv2.cvtColor(cv2.resize(image, (300, 300)), cv2.COLOR_BGR2RGB)
        bare.set_tensor(bare.get_input_details()[0]["index"], rgb[None])
        bare.invoke()
        boxes, classes, scores = (
            bare.get_tensor(by_name[f"{op}{suffix}"])[0] for suffix in ("", ":1", ":2")
        )
        limits = (width, height, width, height)
        expected = np.clip(boxes[:, [1, 0, 3, 2]] * limits, 0, limits)
        # A box that lies outside of the frame altogether is nothing that can be shown.
        keep = (
            (scores >= 0.1) & (expected[:, 2] > expected[:, 0]) & (expected[:, 3] > expected[:, 1])
        )
        found = one_shot("coco-ssd", image, min_score=0.1)
        assert np.abs(found.xyxy - expected[keep]).max(initial=0) < 1
        assert np.abs(found.score - scores[keep]).max(initial=0) < 0.01
        assert np.array_equal(found.class_id, classes[keep].astype(int))
        compared += len(found)
    assert compared > 500


def _ssd(names, metadata=()):
    outputs = [
        TensorSpec(
            name, (1,) if role == "count" else (1, 10, 4)[: 3 if role == "boxes" else 2], FLOAT
        )
        for name, role in names
    ]
    spec = resolve("coco-ssd").model_copy(update={"output_names": metadata})
    return spec, outputs


def test_ssd_outputs_are_found_by_name_in_any_order():
    op = "TFLite_Detection_PostProcess"
    spec, outputs = _ssd(
        [(f"{op}:3", "count"), (op, "boxes"), (f"{op}:2", "scores"), (f"{op}:1", "classes")]
    )
    assert output_roles(spec, outputs) == {"count": 0, "boxes": 1, "scores": 2, "classes": 3}


def test_ssd_outputs_are_found_by_metadata_where_names_tell_nothing():
    spec, outputs = _ssd(
        [("call:1", "scores"), ("call:3", "boxes"), ("call:0", "count"), ("call:2", "classes")],
        ("score", "location", "number of detections", "category"),
    )
    assert output_roles(spec, outputs) == {"scores": 0, "boxes": 1, "count": 2, "classes": 3}


def test_ssd_outputs_that_nothing_names_are_refused_not_guessed():
    spec, outputs = _ssd([("a", "boxes"), ("b", "classes"), ("c", "scores"), ("d", "count")])
    with pytest.raises(ModelError, match="no output for boxes, classes, count, scores among"):
        SsdPostprocess(
            SsdPostprocessConfig(), spec=spec, inputs=outputs[:1], outputs=outputs, min_score=0.5
        )


def test_ssd_decodes_the_same_from_shuffled_outputs():
    rng = np.random.default_rng(2)
    corner = rng.uniform(0, 0.5, (10, 2))
    boxes = np.concatenate([corner, corner + 0.3], axis=1).astype(np.float32)[None]
    values = {
        "location": boxes,
        "category": np.arange(10, dtype=np.float32)[None],
        "score": np.sort(rng.uniform(0.2, 1, 10).astype(np.float32))[::-1][None],
        "number of detections": np.array([10], np.float32),
    }
    results = []
    for order in (list(values), list(values)[::-1]):
        spec, _ = _ssd([], tuple(order))
        outputs = [TensorSpec("x", values[name].shape, FLOAT) for name in order]
        inputs = [TensorSpec("i", (1, 300, 300, 3), FLOAT)]
        decoder = SsdPostprocess(
            SsdPostprocessConfig(), spec=spec, inputs=inputs, outputs=outputs, min_score=0.3
        )
        letterbox = Letterbox.stretch((640, 480), (300, 300))
        results.append(decoder.decode([values[name] for name in order], letterbox, (640, 480)))
    assert len(results[0]) > 3
    assert np.array_equal(results[0].xyxy, results[1].xyxy)
    assert results[0].xyxy[0] == pytest.approx(boxes[0, 0, [1, 0, 3, 2]] * [640, 480, 640, 480])


def test_a_blazeface_decoder_refuses_another_models_outputs():
    from vision.detectors.blazeface import BlazeFace, BlazeFaceConfig

    spec = resolve("coco-ssd")
    backend = CpuBackend(CpuConfig(threads=1), spec=spec)
    with pytest.raises(ModelError, match="not a BlazeFace of input 300"):
        BlazeFace(
            BlazeFaceConfig(), spec=spec, inputs=backend.inputs, outputs=backend.outputs,
            min_score=0.5,
        )  # fmt: skip
    backend.close()


def test_quantised_heads_give_the_faces_of_their_real_numbers(one_shot, picture):
    """The heads of a real model, stored in 8 bits as an int8 conversion stores them."""
    from vision.detectors.blazeface import BlazeFace, BlazeFaceConfig

    image = cv2.imread(str(picture))
    one_shot("face-short", image)  # skips where the model is not here
    spec = resolve("face-short")
    backend = CpuBackend(CpuConfig(threads=1), spec=spec)
    letterbox = Preprocessor(spec.input, backend.inputs[0])(image, backend.input_view(0))
    heads = [head.copy() for head in backend.collect(0)]
    stored, quantised = [], []
    for head, tensor in zip(heads, backend.outputs, strict=True):
        scale = float(np.abs(head).max() / 127)
        stored.append(np.rint(head / scale).astype(np.int8))
        quantised.append(TensorSpec(tensor.name, tensor.shape, np.dtype(np.int8), scale, 0))
    real = [
        s.astype(np.float32) * np.float32(q.scale) for s, q in zip(stored, quantised, strict=True)
    ]
    found = []
    for outputs, tensors in ((stored, quantised), (real, backend.outputs)):
        decoder = BlazeFace(
            BlazeFaceConfig(), spec=spec, inputs=backend.inputs, outputs=tensors, min_score=0.5
        )
        found.append(decoder.decode(outputs, letterbox, image.shape[1::-1]))
    backend.close()
    assert len(found[0]) == len(found[1]) >= 3
    assert np.allclose(found[0].xyxy, found[1].xyxy, atol=1e-2)
    assert np.allclose(found[0].score, found[1].score, atol=1e-5)
