"""The tracker: what must hold for any boxes, and what it makes of people in a real square."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision.detection import Detections
from vision.trackers.assignment import assign
from vision.trackers.kalman import KalmanConfig, KalmanTracker

LABELS = ("person", "car", "dog")
SECOND_NS = 1_000_000_000
anything = st.floats(width=32)
scores = st.floats(0, 1, width=32)
class_ids = st.integers(0, len(LABELS) - 1)


def detections(*boxes):
    """Each box is x1, y1, x2, y2[, score[, class_id]]."""
    rows = [(*box, *(0.9, 0)[len(box) - 4 :]) for box in boxes]
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(
        table[:, :4].astype(np.float32),
        table[:, 4].astype(np.float32),
        table[:, 5].astype(np.int32),
    )


def tracker(**context):
    return KalmanTracker(KalmanConfig(), labels=LABELS, **context)


def follow(scene, *, fps=30.0, **context):
    """Return the list of tracks after each frame of `scene`, a list of Detections."""
    own = tracker(**context)
    return [own.update(found, round(n * SECOND_NS / fps)) for n, found in enumerate(scene)]


def seen(tracks):
    return {t.track_id: t.xyxy.tolist() for t in tracks if t.frames_since_update == 0}


@st.composite
def scenes(draw):
    """A few frames of a few boxes that move, whole pixels, with gaps, doubles and noise."""
    n = draw(st.integers(1, 5))
    starts = draw(st.lists(st.tuples(*[st.integers(0, 500)] * 2), min_size=n, max_size=n))
    steps = draw(st.lists(st.tuples(*[st.integers(-6, 6)] * 2), min_size=n, max_size=n))
    kinds = draw(st.lists(st.tuples(scores, class_ids), min_size=n, max_size=n))
    frames = []
    for k in range(draw(st.integers(2, 8))):
        there = draw(st.lists(st.booleans(), min_size=n, max_size=n))
        frames.append(
            [
                (x + k * dx, y + k * dy, x + k * dx + 40, y + k * dy + 80, score, class_id)
                for (x, y), (dx, dy), (score, class_id), here in zip(
                    starts, steps, kinds, there, strict=True
                )
                if here
            ]
        )
    return frames


@given(scenes(), st.randoms(use_true_random=False))
def test_the_order_of_detections_does_not_matter(scene, random):
    shuffled = [random.sample(frame, len(frame)) for frame in scene]
    a = follow([detections(*frame) for frame in scene])
    b = follow([detections(*frame) for frame in shuffled])
    assert [seen(tracks) for tracks in a] == [seen(tracks) for tracks in b]


@given(scenes(), st.integers(-300, 300), st.integers(-300, 300))
def test_a_scene_that_is_moved_gives_the_same_tracks_moved(scene, dx, dy):
    moved = [
        [(x1 + dx, y1 + dy, x2 + dx, y2 + dy, *rest) for x1, y1, x2, y2, *rest in frame]
        for frame in scene
    ]
    a = follow([detections(*frame) for frame in scene])
    b = follow([detections(*frame) for frame in moved])
    for here, there in zip(a, b, strict=True):
        assert [t.track_id for t in here] == [t.track_id for t in there]
        for t, u in zip(here, there, strict=True):
            np.testing.assert_allclose(t.xyxy + np.array([dx, dy, dx, dy]), u.xyxy, atol=0.01)


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.lists(
                st.tuples(anything, anything, anything, anything, anything, class_ids), max_size=5
            ),
            st.integers(0, 10**15),
        ),
        max_size=8,
    )
)
def test_whatever_comes_in_numbers_stay_finite_and_ids_grow(frames):
    own, newest = tracker(), 0
    for boxes, captured_ns in frames:
        tracks = own.update(detections(*boxes), captured_ns)
        ids = [t.track_id for t in tracks]
        assert ids == sorted(set(ids))
        started = [i for i in ids if i > newest]
        assert started == list(range(newest + 1, newest + 1 + len(started)))
        newest += len(started)
        for t in tracks:
            assert np.isfinite(t.xyxy).all()
            assert t.label == LABELS[t.class_id]
            assert t.xyxy.dtype == np.float32
            assert t.hits >= 1


@given(scenes())
def test_a_matched_track_is_at_a_detection_of_its_class(scene):
    for frame, tracks in zip(scene, follow([detections(*f) for f in scene]), strict=True):
        given_boxes = {(*map(float, box[:4]), box[5]) for box in frame}
        for t in tracks:
            if t.frames_since_update == 0:
                assert (*t.xyxy.tolist(), t.class_id) in given_boxes


def test_what_stands_still_keeps_its_id():
    last = follow([detections((100, 100, 140, 180))] * 300)[-1]
    assert [(t.track_id, t.hits, t.first_seen_ns) for t in last] == [(1, 300, 0)]


def test_a_repeated_time_is_no_trouble():
    own = tracker()
    for _ in range(5):
        tracks = own.update(detections((100, 100, 140, 180)), 7)
    assert [(t.track_id, t.hits) for t in tracks] == [(1, 5)]


def test_two_that_cross_keep_their_ids():
    def at(second):
        return detections(
            (50 + 120 * second, 100, 90 + 120 * second, 180),
            (450 - 120 * second, 120, 490 - 120 * second, 200),
        )

    tracks = follow([at(n / 30) for n in range(100)])
    assert all(len(frame) == 2 for frame in tracks)
    assert set(seen(tracks[0])) == {1, 2}
    left_first = next(i for i, box in seen(tracks[0]).items() if box[0] == 50)
    assert seen(tracks[-1])[left_first][0] > 400


def test_behind_a_post_it_keeps_its_id():
    def at(n):
        x = 50 + 4 * n
        return detections() if 30 <= n < 50 else detections((x, 100, x + 40, 180))

    tracks = follow([at(n) for n in range(90)])
    assert [t.track_id for t in tracks[-1]] == [1]
    hidden = tracks[45][0]
    assert hidden.frames_since_update == 16
    assert abs(hidden.xyxy[0] - (50 + 4 * 45)) < 10


def test_unseen_for_longer_than_max_age_it_is_gone_and_its_id_with_it():
    own = tracker(max_age_s=1.0)
    box = detections((100, 100, 140, 180))
    for n in range(10):
        own.update(box, n * SECOND_NS // 10)
    for n in range(10, 20):
        assert [t.track_id for t in own.update(detections(), n * SECOND_NS // 10)] == [1]
    assert own.update(detections(), 2 * SECOND_NS) == ()
    assert [t.track_id for t in own.update(box, 2 * SECOND_NS)] == [2]


def test_frames_slower_than_max_age_can_be_followed():
    tracks = follow([detections((100, 100, 140, 180))] * 6, fps=0.5, max_age_s=1.0)
    assert tracks[-1][0].hits >= 4


@pytest.mark.parametrize("rates", [(10, 30), (7.5, 60)])
def test_the_same_motion_gives_the_same_tracks_at_any_rate(rates):
    def run(fps):
        def at(second):
            x, y = 40 + 90 * second, 400 - 45 * second
            if 2 <= second < 2.6:
                return detections((300, 60, 340, 140))
            return detections((x, y, x + 40, y + 80), (300, 60, 340, 140))

        own, last = tracker(), []
        for n in range(round(4 * fps) + 1):
            last = own.update(at(n / fps), round(n * SECOND_NS / fps))
        return [(t.track_id, t.xyxy.round(2).tolist(), t.first_seen_ns) for t in last]

    slow, fast = map(run, rates)
    assert slow == fast
    assert len(slow) == 2


def test_a_change_of_rate_and_a_gap_lose_nobody():
    own = tracker(max_age_s=1.0)
    times = [*np.arange(0, 1, 1 / 30), *np.arange(1, 2, 1 / 7), *np.arange(2.8, 4, 1 / 25)]
    ids = set()
    for second in times:
        x = 20 + 60 * second
        tracks = own.update(detections((x, 100, x + 40, 180)), round(second * SECOND_NS))
        ids |= {t.track_id for t in tracks}
    assert ids == {1}
    assert tracks[0].hits == len(times)


def test_classes_do_not_mix():
    own = tracker()
    box = (100, 100, 140, 180)
    own.update(detections((*box, 0.9, 0)), 0)
    tracks = own.update(detections((*box, 0.9, 1)), SECOND_NS // 30)
    assert [(t.label, t.frames_since_update) for t in tracks if t.frames_since_update == 0] == [
        ("car", 0)
    ]


def test_a_weak_box_keeps_a_track_and_starts_none():
    own = tracker(start_score=0.5)
    for n in range(3):
        own.update(detections((100, 100, 140, 180)), n * SECOND_NS // 30)
    tracks = own.update(
        detections((101, 100, 141, 180, 0.2), (300, 100, 340, 180, 0.3)), SECOND_NS // 10
    )
    assert [(t.track_id, t.frames_since_update) for t in tracks] == [(1, 0)]
    assert tracks[0].score == pytest.approx(0.2)


def test_each_class_has_its_own_start_score():
    own = tracker(start_score=np.array([0.5, 0.8, 0.8], np.float32))
    tracks = own.update(detections((0, 0, 9, 9, 0.6, 0), (50, 0, 59, 9, 0.6, 1)), 0)
    assert [t.label for t in tracks] == ["person"]


def test_a_second_box_on_one_object_starts_no_second_track():
    last = follow([detections((100, 100, 140, 180, 0.9), (102, 100, 140, 160, 0.6))] * 5)[-1]
    assert [(t.track_id, t.score) for t in last] == [(1, pytest.approx(0.9))]


def test_walkers_of_a_real_square_keep_their_ids(shared_data):
    """The annotated people of PETS 2009 as a fair detector would give them."""
    truth = np.loadtxt(shared_data / "pets09" / "gt.txt", delimiter=",")
    random = np.random.default_rng(2009)
    own, latest, switches = tracker(), {}, 0
    for frame_id in range(1, int(truth[:, 0].max()) + 1):
        people = truth[(truth[:, 0] == frame_id) & (random.random(len(truth)) > 0.15)]
        x, y, w, h = people[:, 2:6].T
        boxes = np.column_stack((x, y, x + w, y + h))
        boxes += random.normal(0, 0.03, boxes.shape) * np.column_stack((w, h, w, h))
        tracks = own.update(detections(*boxes), frame_id * SECOND_NS // 10)
        person_at = dict(
            zip(map(tuple, boxes.astype(np.float32).tolist()), people[:, 1], strict=True)
        )
        for track_id, xyxy in seen(tracks).items():
            person = person_at[tuple(xyxy)]
            switches += latest.setdefault(person, track_id) != track_id
            latest[person] = track_id
    assert len(latest) == 19
    assert switches <= 12, "of some 3,950 sightings"


@given(
    st.integers(1, 5).flatmap(
        lambda n: st.lists(
            st.lists(st.sampled_from([0, 0.1, 0.2, 0.25, 0.5, 0.7, 1]), min_size=n, max_size=n),
            min_size=1, max_size=5,
        )
    )
)  # fmt: skip
def test_the_assignment_is_the_best_of_all(rows):
    gain = np.array(rows)
    row, column = assign(gain)
    assert len(set(row)) == len(row) == len(set(column))
    assert (gain[row, column] > 0).all()
    wide = gain if gain.shape[0] <= gain.shape[1] else gain.T
    best = max(
        sum(wide[i, j] for i, j in enumerate(chosen))
        for chosen in itertools.permutations(range(wide.shape[1]), wide.shape[0])
    )
    assert gain[row, column].sum() == pytest.approx(best)
