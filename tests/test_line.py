"""The whole line, through the front door: real models, real video, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from conftest import DEADLINE_S, events_of


def without_the_unrepeatable(events):
    for event in events:
        del event["id"], event["data"]["latency_ms"]
    return events


def test_the_same_video_gives_the_same_events(vision, root, shared_data, shared_models, tmp_path):
    for run in ("one", "two"):
        vision(
            "run", root / "configs" / "headless.yaml", "--frames", 200,
            "--source", shared_data / "pets09" / "vtest.avi",
            "--set", "detectors.face.model=coco-ssd",
            "--set", f"publishers.0.path={run}.jsonl",
        )  # fmt: skip
    one, two = events_of(tmp_path / "one.jsonl"), events_of(tmp_path / "two.jsonl")
    assert len({event["id"] for event in one + two}) == len(one) + len(two)
    assert [event["id"] for event in one] == sorted(event["id"] for event in one)
    assert without_the_unrepeatable(one) == without_the_unrepeatable(two)
    assert {event["type"].rsplit(".", 1)[1] for event in one} == {"new", "update", "end"}
    assert [event["sequence"] for event in one] == list(range(1, len(one) + 1))
    for event in one:
        data = event["data"]
        x1, y1, x2, y2 = data["box"]
        assert 0 <= x1 < x2 <= data["frame_width"] == 768
        assert 0 <= y1 < y2 <= data["frame_height"] == 576
        assert event["source"] == "vision/vision/front"
        assert event["subject"] == f"front/{data['track_id']}"
        assert data["backend"]["name"] == "cpu"
        assert data["backend"]["max_error"] == 0
    begun = [e["subject"] for e in one if e["type"].endswith("new")]
    ended = [e["subject"] for e in one if e["type"].endswith("end")]
    assert sorted(begun) == sorted(ended)  # every track that began is told to its end


def test_a_run_of_a_file_takes_every_frame(vision, root, shared_data):
    done = vision(
        "run", root / "configs" / "headless.yaml", "--json", "--set", "publishers=[]",
        "--source", shared_data / "clips" / "head-pose-face-detection-male.gif",
    )  # fmt: skip
    summary = json.loads(done.stdout)
    camera = summary["cameras"]["front"]
    assert camera["frames_in"] == camera["frames_out"] > 50
    assert set(camera["drops"].values()) == {0}
    assert {"read", "wait", "preprocess", "infer", "decode", "track", "capture_to_result"} <= set(
        camera["latency_ms"]
    )


def test_a_live_source_never_waits_for_a_slow_model(vision, root, picture):
    done = vision(
        "run", root / "configs" / "headless.yaml", "--json", "--set", "publishers=[]",
        "--source", f"still:{picture}", "--set", "detectors.face.model=coco-ssd",
        "--set", "cameras.front.fps=1000", "--frames", 400, "--set", "inference.threads=1",
    )  # fmt: skip
    camera = json.loads(done.stdout)["cameras"]["front"]
    dropped = sum(camera["drops"].values())
    assert camera["frames_in"] == 400
    assert camera["frames_out"] + dropped == 400
    assert dropped > 0


def test_the_demo_leaves_a_video_with_boxes_and_events(vision, root, tmp_path, picture):
    done = vision(
        "demo", "--set", f'cameras.still.source="still:{picture}"', "--seconds", 3,
    )  # fmt: skip
    video, events = done.stdout.split()
    assert len(events_of(tmp_path / events)) > 0
    capture = cv2.VideoCapture(str(tmp_path / video))
    frames = 0
    boxed = 0
    while True:
        ok, image = capture.read()
        if not ok:
            break
        frames += 1
        # A box is drawn in one bright, saturated colour that a photograph hardly has.
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        boxed += int(np.count_nonzero((hsv[..., 1] > 150) & (hsv[..., 2] > 150)) > 200)
    capture.release()
    assert frames > 30
    assert boxed > frames // 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_in_order_and_tells_what_is_open(root, tmp_path, picture, number):
    process = _start_live(root, tmp_path, picture)
    _wait_for(lambda: (tmp_path / "e.jsonl").exists() and (tmp_path / "e.jsonl").stat().st_size)
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 0, errors
    kinds = [event["type"].rsplit(".", 1)[1] for event in events_of(tmp_path / "e.jsonl")]
    assert kinds.count("new") == kinds.count("end") > 0


def test_a_kill_leaves_whole_lines(root, tmp_path, picture):
    process = _start_live(root, tmp_path, picture, "--set", "rules.update_s=0.001")
    path = tmp_path / "e.jsonl"
    _wait_for(lambda: path.exists() and path.read_bytes().count(b"\n") > 20)
    process.kill()
    process.communicate(timeout=10)
    assert path.read_bytes().endswith(b"\n")
    assert len(events_of(path)) > 20


def _start_live(root, folder, picture, *more):
    return subprocess.Popen(
        [
            sys.executable, str(root / "main.py"), "run", str(root / "configs" / "headless.yaml"),
            "--source", f"still:{picture}", "--set", "publishers.0.path=e.jsonl", *more,
        ],
        cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def _wait_for(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        os.sched_yield()


def test_detect_prints_a_line_a_frame_and_nothing_else(vision, shared_data, tmp_path):
    done = vision(
        "detect", shared_data / "faces", "--model", "face-short", "--json", "--save", "marked"
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    pictures = sorted((shared_data / "faces").glob("*.jpg"))
    assert [line["source"] for line in lines] == [str(path) for path in pictures]
    assert done.stderr == ""
    for line, path in zip(lines, pictures, strict=True):
        marked = cv2.imread(str(tmp_path / "marked" / path.name))
        original = cv2.imread(str(path))
        assert marked.shape == original.shape == (line["height"], line["width"], 3)
        assert line["frame"] == 0
        assert line["backend"]["name"] == "cpu"
        assert line["backend"]["max_error"] == 0
        assert set(line["timings_ms"]) == {"preprocess", "infer", "decode"}
        for found in line["detections"]:
            x1, y1, x2, y2 = found["box"]
            assert 0 <= x1 < x2 <= line["width"]
            assert 0 <= y1 < y2 <= line["height"]
            assert found["label"] == "face"
            assert 0.5 <= found["score"] <= 1
            assert np.shape(found["keypoints"]) == (6, 2)


def test_two_models_on_one_camera_share_its_tracks(
    vision, root, shared_data, shared_models, tmp_path
):
    vision(
        "run", root / "configs" / "headless.yaml", "--frames", 40,
        "--source", shared_data / "clips" / "head-pose-face-detection-male.gif",
        "--set", "detectors.thing={model: coco-ssd}",
        "--set", "cameras.front.detectors=[face, thing]",
        "--set", "publishers.0.path=e.jsonl",
    )  # fmt: skip
    labels = {event["data"]["label"] for event in events_of(tmp_path / "e.jsonl")}
    assert {"face", "person"} <= labels


def test_bench_prints_the_contract(vision, picture):
    done = vision(
        "bench",
        "--json",
        "--source",
        f"still:{picture}",
        "--frames",
        60,
        "--rounds",
        1,
        "--fps",
        60,
    )
    report = json.loads(done.stdout)
    assert {
        "limit_fps", "pipeline_fps", "ratio_to_limit", "cpu_ms_per_frame", "latency_ms", "drops",
        "rss_mb", "backend",
    } <= set(report)  # fmt: skip
    assert set(report["cpu_ms_per_frame"]) == {"limit", "pipeline"}
    assert set(report["latency_ms"]["infer"]) == {"p50", "p95", "p99"}
    assert report["limit_fps"] > 0 < report["pipeline_fps"]
