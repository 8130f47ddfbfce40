"""Decoders of raw heads: against the post-processing inside real models, and written-out sums."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from vision.backends.cpu import interpreter_class
from vision.detectors.anchors import EfficientDetGrids, SsdGrids
from vision.detectors.ssd_anchors import SsdAnchors, SsdAnchorsConfig
from vision.errors import ModelError
from vision.geometry import Letterbox, iou_matrix
from vision.interfaces import TensorSpec
from vision.model_spec import ModelSpec
from vision.models.catalogue import resolve
from vision.nms import class_wise_nms
from vision.quantized import least_stored, to_real

FLOAT = np.dtype(np.float32)
OP = "TFLite_Detection_PostProcess"
SQUARE = Letterbox.stretch((300, 300), (300, 300))


def tensor(name, shape, dtype=np.float32, scale=0.0, zero_point=0):
    return TensorSpec(name, tuple(shape), np.dtype(dtype), scale, zero_point)


def model(tmp_path, **known):
    return ModelSpec(name="m", path=tmp_path / "m.tflite", sha256="", decoder="x", **known)


# --- stored and real -------------------------------------------------------------------


@given(
    value=st.floats(-3, 3), scale=st.floats(1 / 512, 1 / 16), zero=st.integers(-128, 127),
)  # fmt: skip
def test_comparing_as_stored_is_comparing_real_numbers(value, scale, zero):
    spec = tensor("q", (256,), np.int8, scale, zero)
    stored = np.arange(-128, 128).astype(np.int8)
    real = to_real(stored, spec).astype(np.float64)
    clear = np.abs(real - value) > 1e-3 * scale  # on a step, float32 itself is undecided
    assert np.array_equal((stored >= least_stored(value, spec))[clear], (real >= value)[clear])


def test_a_float_output_is_handed_through_without_a_copy():
    values = np.ones(3, np.float32)
    assert to_real(values, tensor("f", (3,))) is values


# --- suppression -----------------------------------------------------------------------


BOXES = st.integers(1, 30).flatmap(
    lambda n: st.tuples(
        arrays(np.float32, (n, 2), elements=st.integers(0, 100).map(float)),
        arrays(np.float32, (n, 2), elements=st.integers(1, 50).map(float)),
        arrays(np.float32, n, elements=st.floats(0.125, 1, width=32), unique=True),
        arrays(np.intp, n, elements=st.integers(0, 2)),
    )
)


@given(BOXES)
def test_suppression_is_the_textbook_s_class_by_class(drawn):
    corner, size, score, class_id = drawn
    xyxy = np.concatenate([corner, corner + size], axis=1)
    overlap = iou_matrix(xyxy, xyxy)
    if (np.abs(overlap - 0.5) < 1e-3).any():
        return  # a tie that rounding decides
    expected = []
    for i in np.argsort(-score, kind="stable"):
        if all(class_id[i] != class_id[j] or overlap[i, j] < 0.5 for j in expected):
            expected.append(int(i))
    assert class_wise_nms(xyxy, score, class_id, 0.5).tolist() == expected


def test_a_picture_of_noise_does_not_stop_the_line():
    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 300, (100_000, 2)).astype(np.float32)
    score = rng.uniform(0, 1, len(corner)).astype(np.float32)
    xyxy = np.concatenate([corner, corner + 1], axis=1)
    kept = class_wise_nms(xyxy, score, np.zeros(len(corner), np.intp), 0.5)
    assert 0 < len(kept) <= 1000
    assert kept[0] == score.argmax()


# --- SSD -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coco_raw(shared_models):
    """The quantised heads of coco-ssd, and what its own post-processing makes of them."""
    spec = resolve(str(shared_models / "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"))
    with warnings.catch_warnings():
        # LiteRT's; tflite-runtime has none.
        warnings.filterwarnings("ignore", message=".*preserve_all_tensors", category=UserWarning)
        bare = interpreter_class()(
            model_path=str(spec.path), num_threads=1, experimental_preserve_all_tensors=True
        )
    bare.allocate_tensors()
    (op,) = [op for op in bare._get_ops_details() if op["op_name"] == OP]
    details = {detail["index"]: detail for detail in bare.get_tensor_details()}
    heads = [
        tensor(d["name"], d["shape"], d["dtype"], *d["quantization"])
        for d in (details[index] for index in op["inputs"])
    ]

    def run(image):
        rgb = cv2.cvtColor(cv2.resize(image, (300, 300)), cv2.COLOR_BGR2RGB)
        bare.set_tensor(bare.get_input_details()[0]["index"], rgb[None])
        bare.invoke()
        return [bare.get_tensor(i) for i in (*op["inputs"], *op["outputs"])]

    return spec, heads, run


def test_generated_anchors_are_those_inside_coco_ssd(coco_raw):
    """They are stored in 8 bits, so within half a step."""
    _, heads, run = coco_raw
    stored = to_real(run(np.zeros((9, 9, 3), np.uint8))[2], heads[2])
    ours = SsdGrids(kind="ssd").make((300, 300), None)[..., ::-1].reshape(-1, 4)
    assert np.abs(ours - stored).max() <= heads[2].scale / 2


def test_quantised_heads_decode_as_the_op_inside_the_model(coco_raw, shared_data, tmp_path):
    """The op gives an anchor its best class only and suppresses across classes.

    So each of its boxes is one of ours, or lies under a better one of its own class whose
    anchor the op gave to another.
    """
    spec, heads, run = coco_raw
    # The op decodes from the stored anchors, so the comparison does.
    stored = to_real(run(np.zeros((9, 9, 3), np.uint8))[2], heads[2])
    np.save(tmp_path / "anchors.npy", stored)
    config = SsdAnchorsConfig.model_validate(
        {"anchors": {"kind": "file", "path": "anchors.npy"}, "iou": 0.6}
    )
    spec = spec.model_copy(update={"path": tmp_path / "m.tflite"})
    decoder = SsdAnchors(
        config, spec=spec, inputs=[tensor("i", (1, 300, 300, 3))], outputs=heads[:2], min_score=0.3
    )
    exact = compared = 0
    for path in sorted((shared_data / "coco128" / "images").rglob("*.jpg"))[:40]:
        encodings, classes, _, boxes, labels, scores, _ = run(cv2.imread(str(path)))
        found = decoder.decode([encodings, classes], SQUARE, (300, 300))
        expected = np.clip(boxes[0][:, [1, 0, 3, 2]] * 300, 0, 300).astype(np.float32)
        for box, label, score in zip(expected, labels[0], scores[0], strict=True):
            if score < 0.3:
                continue
            ours = found.select(found.class_id == int(label))
            overlap = iou_matrix(box[None], ours.xyxy)[0]
            same = (overlap > 0.99) & (np.abs(ours.score - score) < 1e-6)
            assert same.any() or ((overlap > config.iou) & (ours.score >= score)).any()
            exact += same.any()
            compared += 1
    assert compared > 60
    assert exact / compared > 0.95


def random_heads(seed, classes, activation):
    rng = np.random.default_rng(seed)
    encodings = rng.normal(0, 1, (1, 1917, 4)).astype(np.float32)
    raw = rng.normal(-4, 2, (1, 1917, classes)).astype(np.float32)
    if activation == "none":
        raw = 1 / (1 + np.exp(-raw))
    return encodings, raw.astype(np.float32)


def reference(config, encodings, raw, min_score):
    """Everything decoded first, in double precision, class by class: slow and plain."""
    raw = raw[0].astype(np.float64)
    if config.activation == "sigmoid":
        raw = 1 / (1 + np.exp(-raw))
    if config.activation == "softmax":
        raw = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    anchors = SsdGrids(kind="ssd").make((300, 300), None).astype(np.float64) * 300
    ty, tx, th, tw = (encodings[0] / np.array(config.scales)).astype(np.float64).T
    (ax, ay), (aw, ah) = anchors[:, 0].T, anchors[:, 1].T
    x, y, w, h = tx * aw + ax, ty * ah + ay, np.exp(tw) * aw, np.exp(th) * ah
    xyxy = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1).astype(np.float32)
    found = []
    for column in range(int(config.background), raw.shape[1]):
        strong = np.flatnonzero(raw[:, column] >= min_score)
        order = strong[np.argsort(-raw[strong, column], kind="stable")]
        overlap = iou_matrix(xyxy[order], xyxy[order])
        kept = []
        for i in range(len(order)):
            if all(overlap[i, j] <= config.iou for j in kept):
                kept.append(i)
        label = column - int(config.background)
        found += [(label, raw[order[i], column], xyxy[order[i]].clip(0, 300)) for i in kept]
    found = [f for f in found if f[2][0] < f[2][2] and f[2][1] < f[2][3]]
    return sorted(found, key=lambda f: -f[1])


@pytest.mark.parametrize("activation", ["none", "sigmoid", "softmax"])
@pytest.mark.parametrize("background", [True, False])
def test_float_heads_decode_as_written_out(activation, background, tmp_path):
    config = SsdAnchorsConfig.model_validate(
        {"anchors": {"kind": "ssd"}, "activation": activation, "background": background}
    )
    encodings, raw = random_heads(8, 4 if activation == "softmax" else 6, activation)
    min_score = 0.95 if activation == "softmax" else 0.6
    decoder = SsdAnchors(
        config.model_copy(update={"boxes": "boxes"}), spec=model(tmp_path, labels=("one",)),
        inputs=[tensor("i", (1, 300, 300, 3))],
        outputs=[tensor("scores", raw.shape), tensor("boxes", encodings.shape)],
        min_score=min_score,
    )  # fmt: skip
    found = decoder.decode([raw, encodings], SQUARE, (300, 300))
    expected = reference(config, encodings, raw, min_score)
    assert len(found) == len(expected) > 10
    assert np.allclose(found.score, [score for _, score, _ in expected], atol=1e-5)
    assert found.class_id.tolist() == [label for label, _, _ in expected]
    assert np.allclose(found.xyxy, [box for _, _, box in expected], atol=1e-2)
    assert decoder.labels[:2] == ("one", "class 1")


def test_nothing_strong_is_no_detection(tmp_path):
    config = SsdAnchorsConfig.model_validate({"anchors": {"kind": "ssd"}})
    decoder = SsdAnchors(
        config, spec=model(tmp_path), inputs=[tensor("i", (1, 300, 300, 3))],
        outputs=[tensor("b", (1, 1917, 4)), tensor("s", (1, 1917, 2))], min_score=0.1,
    )  # fmt: skip
    outputs = [np.zeros((1, 1917, 4), np.float32), np.zeros((1, 1917, 2), np.float32)]
    assert len(decoder.decode(outputs, SQUARE, (300, 300))) == 0


@pytest.mark.parametrize("min_score", [0.0, 1.0])
def test_a_threshold_at_the_end_of_the_scale_is_no_accident(min_score, tmp_path):
    config = SsdAnchorsConfig.model_validate(
        {"anchors": {"kind": "ssd"}, "activation": "sigmoid", "background": False}
    )
    decoder = SsdAnchors(
        config, spec=model(tmp_path), inputs=[tensor("i", (1, 300, 300, 3))],
        outputs=[tensor("b", (1, 1917, 4)), tensor("s", (1, 1917, 1), np.uint8, 0.1, 128)],
        min_score=min_score,
    )  # fmt: skip
    encodings = np.full((1, 1917, 4), 1e9, np.float32)  # an overflow, were it not limited
    scores = np.full((1, 1917, 1), 200, np.uint8)
    found = decoder.decode([encodings, scores], SQUARE, (300, 300))
    assert len(found) == 0  # all of them lie outside of the picture, and no warning is raised


def test_heads_that_do_not_fit_the_anchors_are_refused(tmp_path):
    config = SsdAnchorsConfig.model_validate({"anchors": {"kind": "ssd"}})
    for shapes in ([(1, 1917, 4)], [(1, 896, 4), (1, 896, 2)], [(1, 1917, 4), (1, 1917, 4)]):
        with pytest.raises(ModelError, match=r"for its 1917 anchors .* it needs one output"):
            SsdAnchors(
                config, spec=model(tmp_path), inputs=[tensor("i", (1, 300, 300, 3))],
                outputs=[tensor("x", shape) for shape in shapes], min_score=0.5,
            )  # fmt: skip


def test_efficientdet_lays_nine_anchors_a_cell_over_five_levels():
    pairs = EfficientDetGrids(kind="efficientdet").make((320, 320), None) * 320
    assert len(pairs) == 9 * (40**2 + 20**2 + 10**2 + 5**2 + 3**2)
    assert pairs[0].tolist() == [[4, 4], [24, 24]]
    assert pairs[1, 1] == pytest.approx([24 * 2**0.5, 24 / 2**0.5])
    assert pairs[3, 1] == pytest.approx([24 * 2 ** (1 / 3)] * 2)
    assert pairs[9, 0].tolist() == [12, 4]
    assert pairs[-1, 0] == pytest.approx([320 * 2.5 / 3] * 2)


@pytest.mark.parametrize("content", [b"", b"junk", None, np.zeros((3, 5)), np.array(["a"])])
def test_a_list_of_anchors_that_is_none_is_refused(content, tmp_path):
    path = tmp_path / "a.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    config = SsdAnchorsConfig.model_validate({"anchors": {"kind": "file", "path": "a.npy"}})
    with pytest.raises(ModelError, match=r"a\.npy: .*anchors"):
        config.anchors.make((300, 300), tmp_path)


def test_a_misspelt_option_is_an_error():
    with pytest.raises(ValidationError, match="background_column"):
        SsdAnchorsConfig.model_validate({"anchors": {"kind": "ssd"}, "background_column": True})


def test_efficientdet_s_rows_decode_as_its_own_code_writes_them_out(tmp_path):
    """`decode_box_outputs` and `anchors.py`: ty, tx, th, tw against y1, x1, y2, x2 in pixels."""
    rng = np.random.default_rng(4)
    rows = []
    for level in range(3, 8):
        side = -(-320 // 2**level)
        stride = 320 / side
        for y in np.arange(stride / 2, 320, stride):
            for x in np.arange(stride / 2, 320, stride):
                for octave in range(3):
                    for aspect in (1.0, 2.0, 0.5):
                        base = 3.0 * stride * 2 ** (octave / 3)
                        w, h = base * aspect**0.5, base / aspect**0.5
                        rows.append((y - h / 2, x - w / 2, y + h / 2, x + w / 2))
    y1, x1, y2, x2 = np.array(rows).T
    chosen = rng.choice(len(rows), 40, replace=False)
    encodings = rng.normal(0, 0.3, (1, len(rows), 4)).astype(np.float32)
    logits = np.full((1, len(rows), 90), -9, np.float32)
    logits[0, chosen, np.arange(40)] = 2  # a class each: nothing is suppressed
    ty, tx, th, tw = encodings[0].T
    height, width = np.exp(th) * (y2 - y1), np.exp(tw) * (x2 - x1)
    cy, cx = ty * (y2 - y1) + (y1 + y2) / 2, tx * (x2 - x1) + (x1 + x2) / 2
    expected = np.stack([cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2], axis=1)
    config = SsdAnchorsConfig.model_validate(
        {
            "anchors": {"kind": "efficientdet"}, "scales": [1, 1, 1, 1],
            "activation": "sigmoid", "background": False,
        }
    )  # fmt: skip
    decoder = SsdAnchors(
        config, spec=model(tmp_path), inputs=[tensor("i", (1, 320, 320, 3))],
        outputs=[tensor("s", logits.shape), tensor("b", encodings.shape)], min_score=0.5,
    )  # fmt: skip
    square = Letterbox.stretch((320, 320), (320, 320))
    found = decoder.decode([logits, encodings], square, (320, 320))
    clipped = expected.clip(0, 320)[chosen]
    seen = (clipped[:, 0] < clipped[:, 2]) & (clipped[:, 1] < clipped[:, 3])
    assert sorted(found.class_id.tolist()) == np.flatnonzero(seen).tolist()
    assert np.allclose(found.xyxy, clipped[found.class_id], atol=0.01)
