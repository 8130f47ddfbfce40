"""Box maths and the way between frame and model input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.detection import Detections
from vision.geometry import Letterbox, area, clip_to_frame, iou_matrix

SIZES = st.tuples(st.integers(1, 8000), st.integers(1, 8000))
BOXES = st.lists(st.tuples(*[st.integers(-50, 50)] * 4), min_size=1, max_size=12).map(
    lambda rows: np.array(
        [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in rows], np.float32
    )
)


@given(SIZES, st.integers(16, 640), st.sampled_from([Letterbox.fit, Letterbox.stretch]))
def test_inverse_undoes_forward(size_wh, side, fit):
    box = fit(size_wh, (side, side))
    points = np.random.default_rng(1).uniform(0, 1, (20, 2)).astype(np.float32) * size_wh
    there_and_back = box.inverse(box.forward(points.astype(np.float32)))
    assert np.abs(there_and_back - points).max() <= 1e-3 * max(size_wh)


@given(SIZES, st.integers(16, 640))
def test_a_letterbox_keeps_the_ratio_fits_and_is_centred(size_wh, side):
    box = Letterbox.fit(size_wh, (side, side))
    assert box.scale_x == box.scale_y
    corners = box.forward(np.array([(0, 0), size_wh], np.float32))
    assert corners.min() >= -0.01
    assert corners.max() <= side + 0.01
    assert np.allclose(corners[0] + corners[1], side, atol=0.05)
    assert np.ptp(corners, axis=0).max() == pytest.approx(side, rel=1e-3)


@given(BOXES, BOXES)
def test_iou_against_counting_pixels(a, b):
    def cells(box):
        x1, y1, x2, y2 = box.astype(int)
        return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}

    ious = iou_matrix(a, b)
    for i in range(min(3, len(a))):
        for j in range(min(3, len(b))):
            one, two = cells(a[i]), cells(b[j])
            expected = len(one & two) / len(one | two) if one | two else 0.0
            assert ious[i, j] == pytest.approx(expected, abs=1e-5)


@given(BOXES)
def test_iou_is_symmetric_and_one_with_itself(boxes):
    ious = iou_matrix(boxes, boxes)
    assert np.allclose(ious, ious.T)
    assert np.allclose(np.diag(ious), (area(boxes) > 0).astype(float))


@given(BOXES, st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_clipped_boxes_lie_in_the_frame_and_have_area(boxes, size_wh):
    clipped, kept = clip_to_frame(boxes, size_wh)
    assert clipped.min() >= 0
    assert (clipped[:, 2] <= size_wh[0]).all()
    assert (clipped[:, 3] <= size_wh[1]).all()
    assert (area(clipped[kept]) > 0).all()
    assert (area(clipped[~kept]) == 0).all()


def test_detections_say_what_shape_was_expected():
    with pytest.raises(ValueError, match=r"score: expected shape \(2,\) float32, got \(3,\)"):
        Detections(np.zeros((2, 4), np.float32), np.zeros(3, np.float32), np.zeros(2, np.int32))
    with pytest.raises(ValueError, match="float64"):
        Detections(np.zeros((2, 4)), np.zeros(2, np.float32), np.zeros(2, np.int32))
