"""Frames into model inputs, against arithmetic written out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision.errors import ModelError
from vision.interfaces import TensorSpec
from vision.model_spec import InputSpec
from vision.preprocess import Preprocessor

RNG = np.random.default_rng(5)


def tensor(side, dtype, scale=0.0, zero_point=0):
    return TensorSpec("input", (1, side, side, 3), np.dtype(dtype), scale, zero_point)


def written(spec, tensor_spec, image):
    slot = np.full(tensor_spec.shape, 99, tensor_spec.dtype)
    letterbox = Preprocessor(spec, tensor_spec)(image, slot)
    return slot[0], letterbox


def picture(width, height):
    noise = RNG.integers(0, 255, (max(height // 8, 1), max(width // 8, 1), 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def test_a_float_input_is_rgb_in_minus_one_to_one():
    image = picture(64, 64)
    got, _ = written(InputSpec(), tensor(64, np.float32), image)
    expected = image[..., ::-1].astype(np.float64) / 127.5 - 1
    assert np.abs(got - expected).max() < 1e-6


def test_mean_std_and_bgr():
    image = picture(32, 32)
    got, _ = written(InputSpec(color="bgr", mean=0, std=1), tensor(32, np.float32), image)
    assert np.array_equal(got, image.astype(np.float32))


def test_a_uint8_input_of_scale_one_128th_takes_the_pixels_as_they_are():
    image = picture(32, 32)
    got, _ = written(InputSpec(), tensor(32, np.uint8, 0.0078125, 128), image)
    assert np.array_equal(got, image[..., ::-1])


def test_an_int8_input_takes_the_pixels_less_128():
    image = picture(32, 32)
    got, _ = written(InputSpec(), tensor(32, np.int8, 2 / 255, -1), image)
    assert np.abs(got.astype(int) - (image[..., ::-1].astype(int) - 128)).max() <= 1


@given(
    mean=st.floats(0, 255), std=st.floats(1, 255), scale=st.floats(0.001, 1),
    zero_point=st.integers(0, 255),
)  # fmt: skip
@settings(max_examples=30)
def test_a_quantised_input_is_the_real_value_over_its_scale(mean, std, scale, zero_point):
    image = picture(16, 16)
    got, _ = written(InputSpec(mean=mean, std=std), tensor(16, np.uint8, scale, zero_point), image)
    real = (image[..., ::-1].astype(np.float64) - mean) / std
    expected = np.clip(np.rint(real / scale) + zero_point, 0, 255)
    assert np.abs(got - expected).max() <= 1


@pytest.mark.parametrize("size_wh", [(640, 480), (480, 640), (1, 1), (37, 211), (8000, 6000)])
def test_a_letterbox_puts_a_marked_point_where_it_says(size_wh):
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    x, y = size_wh[0] // 3, size_wh[1] // 2
    radius = max(size_wh) // 20
    cv2.circle(image, (x, y), radius, (255, 255, 255), -1)
    spec = InputSpec(fit="letterbox", mean=0, std=1)
    got, letterbox = written(spec, tensor(128, np.float32), image)
    rows, columns = np.nonzero(got[..., 0] > 127)
    if max(size_wh) == 1:
        return  # a point; that it does not crash is all
    expected = letterbox.forward(np.array([x, y], np.float32))
    assert np.abs(np.array([columns.mean(), rows.mean()]) - expected).max() < 1


def test_a_letterbox_is_black_around_the_picture():
    image = np.full((100, 200, 3), 200, np.uint8)
    got, _ = written(InputSpec(fit="letterbox", mean=0, std=1), tensor(128, np.float32), image)
    assert got[:31].max() == 0
    assert got[97:].max() == 0
    assert got[34:94].min() == 200


def planar(tensor_spec):
    _, height, width, colors = tensor_spec.shape
    return TensorSpec(
        "planar", (1, colors, height, width), tensor_spec.dtype, tensor_spec.scale,
        tensor_spec.zero_point,
    )  # fmt: skip


@pytest.mark.parametrize("size_wh", [(768, 576), (640, 427), (120, 90)])
def test_a_warp_resizes_as_tensorflow_1_did(size_wh):
    """Its `resize_bilinear`: a pixel at i comes from i * scale, with no half-pixel shift."""
    side = 300
    image = picture(*size_wh)
    spec = InputSpec(fit="warp", color="bgr", mean=0, std=1)
    got, letterbox = written(spec, tensor(side, np.float32), image)
    rows, y = _sampled(size_wh[1], side)
    columns, x = _sampled(size_wh[0], side)
    pixels = image.astype(np.float64)
    wide = pixels[:, columns[0]] * (1 - x)[:, None] + pixels[:, columns[1]] * x[:, None]
    expected = wide[rows[0]] * (1 - y)[:, None, None] + wide[rows[1]] * y[:, None, None]
    assert np.abs(got - expected).max() <= 6  # OpenCV places a pixel to 1/32
    assert np.abs(got - expected).mean() <= 0.5
    assert (letterbox.scale_x, letterbox.pad_x) == (side / size_wh[0], 0)


def _sampled(source, target):
    at = np.arange(target) * source / target
    low = np.floor(at).astype(int)
    return (low, np.minimum(low + 1, source - 1)), at - low


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int8])
def test_planes_hold_what_pixels_hold(dtype, fit, color):
    image = picture(90, 50)
    spec = InputSpec(fit=fit, color=color, pad_value=7)
    quantised = () if dtype == np.float32 else (0.02, 3)
    interleaved = tensor(48, dtype, *quantised)
    expected, _ = written(spec, interleaved, image)
    got, _ = written(spec, planar(interleaved), image)
    assert got.shape == (3, 48, 48)
    assert np.array_equal(got.transpose(1, 2, 0), expected)


@pytest.mark.parametrize("size_wh", [(640, 480), (480, 640), (1, 1), (37, 211), (3000, 20)])
def test_a_corner_letterbox_is_yolox_s(size_wh):
    """As its `preproc`: resized to whole pixels, top left, on grey 114."""
    image = picture(*size_wh)
    spec = InputSpec(fit="letterbox", pad="corner", pad_value=114, color="bgr", mean=0, std=1)
    got, letterbox = written(spec, tensor(416, np.float32), image)
    ratio = min(416 / size_wh[0], 416 / size_wh[1])
    width, height = (int(side * ratio) for side in size_wh)
    expected = np.full((416, 416, 3), 114, np.float32)
    expected[:height, :width] = cv2.resize(image, (width, height))
    assert np.array_equal(got, expected)
    corner = letterbox.inverse(np.array([width, height], np.float32))
    assert np.allclose(corner, size_wh, rtol=1e-5)


def test_a_border_left_from_another_size_is_painted_over():
    spec = InputSpec(fit="letterbox", pad="corner", pad_value=9, mean=0, std=1)
    preprocess = Preprocessor(spec, tensor(64, np.float32))
    slot = np.zeros((1, 64, 64, 3), np.float32)
    preprocess(np.full((10, 20, 3), 200, np.uint8), slot)
    preprocess(np.full((20, 10, 3), 100, np.uint8), slot)
    assert set(np.unique(slot)) == {9, 100}


def test_a_frame_of_another_size_is_planned_anew():
    preprocess = Preprocessor(InputSpec(fit="letterbox"), tensor(64, np.float32))
    slot = np.zeros((1, 64, 64, 3), np.float32)
    wide = preprocess(picture(200, 100), slot)
    tall = preprocess(picture(100, 200), slot)
    assert (wide.pad_x, wide.pad_y) == (0, 16)
    assert (tall.pad_x, tall.pad_y) == (16, 0)


@pytest.mark.parametrize("shape", [(2, 32, 32, 3), (1, 32, 32, 1), (1, 32, 3, 32), (1, 10)])
def test_an_input_that_is_no_picture_is_refused(shape):
    with pytest.raises(ModelError, match="not a picture"):
        Preprocessor(InputSpec(), TensorSpec("x", shape, np.dtype(np.float32)))


def test_an_input_type_that_no_picture_has_is_refused():
    with pytest.raises(ModelError, match="int64"):
        Preprocessor(InputSpec(), tensor(32, np.int64))
