"""Classifiers behind detectors: a real classifier on real pictures, and the whole line."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from vision.building import build_classifier
from vision.cascade import Cascade
from vision.classification import ClassScore
from vision.config import ClassifierConfig, Config, InferenceConfig, RulesConfig
from vision.detection import Detections, Track
from vision.frame import Frame, Result
from vision.overlay import Overlay
from vision.rules import Rules

CLASSIFIER = "mobilenet_v1_0.25_224_float.tflite"
SECOND_NS = 1_000_000_000
PERSON = frozenset({"person"})


def frame_of(image, seconds):
    return Frame(image, int(seconds * 10), int(seconds * SECOND_NS), 0, "c", 0)


def track(track_id, xyxy, label="person", frames_since_update=0):
    box = np.array(xyxy, np.float32)
    return Track(track_id, box, 0.9, 0, label, 5, frames_since_update, 0)


@pytest.fixture(scope="module")
def pictures(shared_data):
    images = shared_data / "coco128" / "images"
    zebra = cv2.imread(str(images / "000000000034.jpg"))
    umbrella = cv2.imread(str(images / "000000000036.jpg"))
    return zebra, umbrella


@pytest.fixture
def make(shared_models):
    made = []

    def cascade(labels=PERSON, **own):
        config = ClassifierConfig(
            model=str(shared_models / CLASSIFIER), **{"min_score": 0.0, **own}
        )
        inference = InferenceConfig(backend="cpu", threads=1)
        made.append(Cascade())
        made[-1].add("what", config, build_classifier("what", config, inference), labels)
        return made[-1]

    yield cascade
    for each in made:
        each.close()


def whole(image):
    return (0, 0, image.shape[1], image.shape[0])


def test_no_classifier_changes_nothing(pictures):
    tracks = [track(1, (0, 0, 10, 10))]
    assert Cascade().update(frame_of(pictures[0], 0), tracks) == (tuple(tracks), {})


def test_a_frame_is_named(make, pictures):
    tracks, classes = make(of="frame", top_k=2).update(frame_of(pictures[0], 0), [])
    assert tracks == ()
    assert [each.label for each in classes["what"]][:1] == ["zebra"]
    assert len(classes["what"]) == 2


def test_a_region_is_all_that_is_looked_at(make, pictures):
    zebra, umbrella = pictures
    beside = np.hstack([cv2.resize(zebra, (400, 400)), cv2.resize(umbrella, (400, 400))])
    for region, expected in (((0, 0, 0.5, 1), True), ((0.5, 0, 1, 1), False)):
        _, classes = make(of="frame", region=region).update(frame_of(beside, 0), [])
        assert (classes["what"][0].label == "zebra") is expected


def test_every_track_has_its_turn_one_a_frame(make, pictures):
    cascade = make(of="person", every_s=10)
    tracks = [track(number, whole(pictures[0])) for number in (1, 2, 3)]
    known = []
    for step in range(4):
        named, _ = cascade.update(frame_of(pictures[0], step / 10), tracks)
        known.append([bool(each.classes) for each in named])
    yes, no = True, False
    assert known == [[yes, no, no], [yes, yes, no], [yes, yes, yes], [yes, yes, yes]]


def test_only_tracks_of_its_detector_that_are_seen_now_are_looked_at(make, pictures):
    cascade = make(of="person")
    tracks = [
        track(1, whole(pictures[0]), "car"),
        track(2, whole(pictures[0]), frames_since_update=3),
    ]
    named, classes = cascade.update(frame_of(pictures[0], 0), tracks)
    assert [each.classes for each in named] == [{}, {}]
    assert classes == {}


def test_what_is_said_follows_slowly_and_only_when_due(make, pictures):
    zebra, umbrella = pictures
    cascade = make(of="person", every_s=1)

    def says(image, seconds):
        (named,), _ = cascade.update(frame_of(image, seconds), [track(1, whole(image))])
        return named.classes["what"][0]

    first = says(zebra, 0)
    assert first.label == "zebra"
    assert says(umbrella, 0.5) == first  # not due
    second = says(umbrella, 1.0)
    assert second.label == "zebra"
    assert second.score == pytest.approx(0.6 * first.score, abs=0.01)
    assert [says(umbrella, t).label for t in (2, 3, 4, 5, 6)][-1] == "umbrella"


def test_a_track_that_is_gone_is_forgotten(make, pictures):
    zebra, umbrella = pictures
    cascade = make(of="person", every_s=0)
    cascade.update(frame_of(zebra, 0), [track(1, whole(zebra))])
    cascade.update(frame_of(umbrella, 1), [])
    (named,), _ = cascade.update(frame_of(umbrella, 2), [track(1, whole(umbrella))])
    assert named.classes["what"][0].label == "umbrella"


def test_another_class_is_news_and_goes_into_the_event(make, pictures):
    zebra, umbrella = pictures
    cascade = make(of="person", every_s=0, min_score=0.1)
    config = Config.model_validate(
        {
            "detectors": {"person": {"model": "m"}}, "cameras": {"c": {"source": "x"}},
            "rules": {"update_s": None, "min_hits": 1},
        }
    )  # fmt: skip
    rules = Rules(config.rules, camera="c", zones={})
    told = []
    for step in range(8):
        frame = frame_of(zebra if step < 2 else umbrella, step)
        named, _ = cascade.update(frame, [track(1, (0, 0, 400, 400))])
        told += [(event.type, event.data["classes"]) for event in rules.update(frame, named)]
    assert told[0][0] == "vision.object.new"
    assert told[0][1]["what"][0]["label"] == "zebra"
    assert told[1][0] == "vision.object.update"
    assert told[1][1]["what"][0]["label"] != "zebra"
    assert len(told) < 6


def test_a_track_s_class_stands_beside_its_name(pictures):
    drawn = []
    for classes in ({}, {"what": ()}, {"what": (ClassScore("zebra", 0.9),)}):
        frame = frame_of(np.zeros((300, 400, 3), np.uint8), 0)
        tracks = (replace(track(1, (50, 100, 300, 250)), classes=classes),)
        result = Result(frame, Detections.empty(), tracks, ())
        drawn.append(Overlay(("person",)).draw(result).copy())
    assert np.array_equal(drawn[0], drawn[1])
    columns = np.flatnonzero((drawn[1] != drawn[2]).any(axis=(0, 2)))
    rows = np.flatnonzero((drawn[1] != drawn[2]).any(axis=(1, 2)))
    assert len(columns) > 30
    assert rows.max() <= 101


def test_a_frame_that_shows_another_class_is_told_once(make, pictures):
    zebra, umbrella = pictures
    cascade = make(of="frame", every_s=0, min_score=0.1)
    rules = Rules(RulesConfig(), camera="c", zones={})
    told = []
    for step in range(12):
        frame = frame_of(zebra if step < 4 else umbrella, step)
        _, classes = cascade.update(frame, [])
        told += rules.classify(frame, classes)
    assert {event.type for event in told} == {"vision.frame.classified"}
    assert told[0].subject == "c/what"
    labels = [event.data["label"] for event in told]
    assert labels[0] == "zebra"
    assert labels[-1] == "umbrella"
    assert all(a != b for a, b in itertools.pairwise(labels))
    assert told[0].data["classes"]["what"][0]["score"] == told[0].data["score"] > 0.9


def test_a_frame_in_which_nothing_is_sure_is_told_too():
    rules = Rules(RulesConfig(), camera="c", zones={})
    frame = frame_of(np.zeros((2, 2, 3), np.uint8), 0)
    assert rules.classify(frame, {"what": ()}) == ()  # nothing was, nothing is
    (one,) = rules.classify(frame, {"what": (ClassScore("cat", 0.9),)})
    (none,) = rules.classify(frame, {"what": ()})
    assert (one.data["label"], none.data["label"]) == ("cat", None)


def test_a_region_of_a_video_is_classified_through_the_whole_line(
    vision, root, tmp_path, shared_models, shared_data
):
    clip = shared_data / "clips" / "car-detection.mp4"
    own = f"{{road: {{model: {shared_models / CLASSIFIER}, region: [0, 0.2, 1, 1], min_score: 0}}}}"
    for run in ("a", "b"):
        vision(
            "run", root / "configs" / "headless.yaml", "--source", clip, "--frames", 60,
            "--set", "detectors.face.model=coco-ssd", "--set", f"classifiers={own}",
            "--set", "inference.backend=cpu", "--set", f"publishers.0.path={run}.jsonl",
        )  # fmt: skip
    first, second = (
        [json.loads(line) for line in (tmp_path / f"{run}.jsonl").read_text().splitlines()]
        for run in ("a", "b")
    )
    named = [e for e in first if e["type"] == "vision.frame.classified"]
    assert named
    assert named[0]["subject"] == "front/road"
    assert named[0]["data"]["backend"]["name"] == "cpu"
    again = [e for e in second if e["type"] == "vision.frame.classified"]
    assert [e["data"]["classes"] for e in named] == [e["data"]["classes"] for e in again]


def test_people_on_video_are_classified_through_the_whole_line(
    vision, root, tmp_path, shared_models, shared_data
):
    clip = shared_data / "clips" / "one-by-one-person-detection.mp4"
    own = f"{{what: {{model: {shared_models / CLASSIFIER}, of: face, every_s: 0.5, min_score: 0}}}}"
    done = vision(
        "run", root / "configs" / "headless.yaml", "--source", clip, "--frames", 150,
        "--set", "detectors.face.model=coco-ssd", "--set", f"classifiers={own}",
        "--set", "inference.backend=cpu", "--set", "publishers.0.path=e.jsonl", "--json",
    )  # fmt: skip
    assert json.loads(done.stdout)["events"] > 0
    events = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    people = [e["data"] for e in events if e["data"]["label"] == "person"]
    assert people
    for data in people:
        (best,) = data["classes"]["what"]
        assert 0 < best["score"] <= 1
    assert events[0]["data"]["latency_ms"]["classify"] > 0


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("{model: m.tflite, of: nobody}", "no detector is called 'nobody'"),
        ("{model: m.tflite, region: [0.5, 0, 0.5, 1]}", "region"),
        ("{model: m.tflite, topk: 2}", "did you mean 'top_k'"),
    ],
)
def test_a_classifier_s_section_is_checked(vision, root, own, message):
    done = vision(
        "config", "check", root / "configs" / "headless.yaml",
        "--set", f"classifiers={{what: {own}}}", code=78,
    )  # fmt: skip
    assert message in done.stderr
