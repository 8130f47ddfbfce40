"""The overlay by what it promises: a copy, boxes where they are, nothing old shown as new."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vision.detection import Detections, Track
from vision.drawing import color_of
from vision.frame import Frame, Result, frozen_view
from vision.overlay import _BLACK, _DARK, Hud, Overlay

HUD = Hud(fps=29.97, backend="cpu", age_ms=12.3)
LABELS = ("face", "person", "car")
NOTHING = Detections.empty()


def result_of(image, tracks=(), detections=NOTHING):
    frame = Frame(frozen_view(image), 0, 0, 0, "front", 0)
    return Result(frame, detections, tuple(tracks), ())


def track(xyxy, *, class_id=1, unseen=0, track_id=7):
    box = np.array(xyxy, np.float32)
    return Track(track_id, box, 0.87, class_id, LABELS[class_id], 5, unseen, 0)


def detections(boxes, *, class_id=1, score=0.6, keypoints=None):
    n = len(boxes)
    points = None if keypoints is None else np.array(keypoints, np.float32)
    return Detections(
        np.array(boxes, np.float32).reshape(n, 4), np.full(n, score, np.float32),
        np.full(n, class_id, np.int32), points,
    )  # fmt: skip


def gray(width, height, level=90):
    return np.full((height, width, 3), level, np.uint8)


def share_of_color(line, class_id=1):
    """The part of a (N, 3) line of pixels that has the colour of the class."""
    return np.all(line == color_of(class_id), axis=-1).mean()


def hud_region(picture):
    """The mask of what the overlay draws when there is nothing to show."""
    return np.any(picture != 90, axis=-1)


sizes = st.tuples(st.integers(1, 700), st.integers(1, 500))
coordinates = st.floats(-2000, 2000, width=32)
boxes = st.tuples(coordinates, coordinates, coordinates, coordinates).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 1, max(b[1], b[3]) + 1)
)


@given(
    sizes, st.lists(st.tuples(boxes, st.integers(0, 2), st.integers(0, 3)), max_size=6), st.data()
)
def test_any_boxes_on_any_picture(size_wh, found, data):
    image = gray(*size_wh)
    tracks = [track(b, class_id=c, unseen=u) for b, c, u in found]
    loose = data.draw(st.lists(boxes, max_size=3))
    keypoints = data.draw(arrays(np.float32, (len(loose), 6, 2), elements=coordinates))
    picture = Overlay(LABELS).draw(
        result_of(image, tracks, detections(loose, keypoints=keypoints)), HUD
    )
    assert picture.shape == image.shape
    assert picture.dtype == np.uint8
    assert np.all(image == 90)


@given(
    x=st.integers(0, 500), y=st.integers(120, 380), width=st.integers(40, 300),
    height=st.integers(40, 300), unseen=st.integers(0, 2),
)  # fmt: skip
def test_pixels_away_from_the_drawing_are_the_frame_s(x, y, width, height, unseen):
    image = np.random.default_rng(x + y).integers(0, 255, (480, 640, 3), np.uint8)
    box = (x, y, x + width, y + height)
    picture = Overlay(LABELS).draw(result_of(image, [track(box, unseen=unseen)]), HUD)
    untouched = ~hud_region(Overlay(LABELS).draw(result_of(gray(640, 480)), HUD))
    # The label is above the box and may be wider; a rim and the line lie around it.
    untouched[y - 40 : y, :] = False
    untouched[max(0, y - 2) : y + height + 2, max(0, x - 2) : x + width + 2] = False
    assert untouched.sum() > 10_000
    assert np.array_equal(picture[untouched], image[untouched])
    inner = (slice(y + 10, min(470, y + height - 10)), slice(x + 10, min(630, x + width - 10)))
    assert np.array_equal(picture[inner], image[inner])


def test_a_seen_track_is_a_solid_line_on_the_box():
    picture = Overlay(LABELS).draw(result_of(gray(640, 480), [track((200, 150, 400, 350))]), HUD)
    assert share_of_color(picture[150, 200:400]) == 1
    assert share_of_color(picture[349, 200:400]) == 1
    assert share_of_color(picture[150:350, 200]) == 1
    assert share_of_color(picture[150:350, 399]) == 1
    assert share_of_color(picture[250, 206:394]) == 0


def test_an_unseen_track_never_looks_like_a_seen_one():
    box = (200, 150, 400, 350)
    seen, unseen = (
        Overlay(LABELS).draw(result_of(gray(640, 480), [track(box, unseen=n)]), HUD) for n in (0, 1)
    )
    for edge in (
        np.s_[150, 200:400],
        np.s_[349, 200:400],
        np.s_[150:350, 200],
        np.s_[150:350, 399],
    ):
        assert 0.3 < share_of_color(unseen[edge]) < 0.7
    # The label: coloured paper against coloured ink, and no score.
    seen_label, unseen_label = (picture[134:149, 201:260] for picture in (seen, unseen))
    assert share_of_color(seen_label) > 0.5
    assert share_of_color(unseen_label) < 0.3
    assert np.any(seen[120:149, 280:330] != 90)
    assert np.all(unseen[120:149, 310:] == 90)


def test_a_detection_without_a_track_is_thin():
    found = detections([(200, 150, 400, 350)])
    picture = Overlay(LABELS).draw(result_of(gray(640, 480), (), found), HUD)
    assert share_of_color(picture[150, 200:400]) == 1
    assert share_of_color(picture[250, 199:205]) == pytest.approx(1 / 6)


def test_a_detection_under_its_track_is_drawn_once():
    box, found = (200, 150, 400, 350), detections([(204, 154, 404, 354)])
    overlay = Overlay(LABELS)
    alone = overlay.draw(result_of(gray(640, 480), [track(box)]), HUD)
    both = overlay.draw(result_of(gray(640, 480), [track(box)], found), HUD)
    assert np.array_equal(alone, both)


@pytest.mark.parametrize(
    ("box", "class_id"), [((220, 170, 420, 370), 2), ((420, 200, 500, 300), 1)]
)
def test_a_detection_that_is_something_else_is_drawn_too(box, class_id):
    overlay = Overlay(LABELS)
    shown = [track((200, 150, 400, 350))]
    found = detections([box], class_id=class_id)
    picture = overlay.draw(result_of(gray(640, 480), shown, found), HUD)
    assert share_of_color(picture[box[3] - 1, box[0] : box[2]], class_id) > 0.8


def test_keypoints_are_dots_where_they_are():
    found = detections([(200, 150, 400, 350)], keypoints=[[[250, 200], [350, 210], [9999, -50]]])
    picture = Overlay(LABELS).draw(result_of(gray(640, 480), (), found), HUD)
    assert tuple(picture[200, 250]) == color_of(1)
    assert tuple(picture[210, 350]) == color_of(1)
    assert tuple(picture[230, 300]) == (90, 90, 90)


def test_the_frame_stays_and_the_copy_is_read_only():
    image = gray(64, 48)
    picture = Overlay(LABELS).draw(result_of(image, [track((5, 5, 40, 40))]), HUD)
    assert np.all(image == 90)
    with pytest.raises(ValueError, match="read-only"):
        picture[0, 0] = 0


def test_a_picture_that_is_held_is_not_drawn_over():
    overlay = Overlay(LABELS)
    held = overlay.draw(result_of(gray(64, 48), [track((5, 5, 40, 40))]), HUD)
    before = held.copy()
    overlay.draw(result_of(gray(64, 48, 200)), HUD)
    assert np.array_equal(held, before)


@pytest.mark.parametrize("size_wh", [(1, 1), (2, 300), (8000, 6000)])
def test_the_smallest_and_the_largest_picture(size_wh):
    width, height = size_wh
    box = (-5, -5, width * 0.6 + 1, height * 0.7 + 1)
    shown = [track(box), track(box, unseen=1)]
    picture = Overlay(LABELS).draw(result_of(gray(*size_wh), shown), HUD)
    assert picture.shape == (height, width, 3)
    assert np.any(picture != 90)


def test_lines_and_text_grow_with_the_picture():
    def drawn_share(scale):
        box = np.array((200, 150, 400, 350)) * scale
        image = gray(640 * scale, 480 * scale)
        return hud_region(Overlay(LABELS).draw(result_of(image, [track(box)]), HUD)).mean()

    assert drawn_share(3) == pytest.approx(drawn_share(1), rel=0.25)


def test_the_corner_says_every_part_of_it():
    overlay = Overlay(LABELS)
    image = gray(640, 480)
    plain = overlay.draw(result_of(image), HUD)
    others = [
        Hud(12.0, "cpu", 12.3), Hud(29.97, "gpu NVIDIA H200", 12.3), Hud(29.97, "cpu", 99.0),
        Hud(29.97, "cpu", 12.3, "GPU failed"),
    ]  # fmt: skip
    for hud in others:
        assert not np.array_equal(plain, overlay.draw(result_of(image), hud))


def test_labels_outside_of_ascii_and_unknown_classes_are_drawn():
    named = Overlay(("visage à côté", "人", ""))
    for class_id in (0, 1, 2, 90):
        found = detections([(200, 150, 400, 350)], class_id=class_id)
        picture = named.draw(result_of(gray(640, 480), (), found), HUD)
        assert np.any(picture[130:149, 201:260] != 90)


def contrast(first, second):
    """WCAG 2.1's contrast ratio of two BGR colours."""

    def luminance(color):
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
            for c in (value / 255 for value in color)
        ]
        return 0.0722 * linear[0] + 0.7152 * linear[1] + 0.2126 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@given(st.integers(0, 10_000))
def test_text_is_readable_on_every_classcolor_of(class_id):
    assert contrast(color_of(class_id), _BLACK) >= 4.5
    assert contrast(color_of(class_id), _DARK) >= 4.5


def test_the_first_classes_are_told_apart():
    colors = [np.array(color_of(n), float) for n in range(8)]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(colors, 2)) > 60
