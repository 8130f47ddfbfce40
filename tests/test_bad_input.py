"""What goes wrong is told in one line, with the right exit code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import DEADLINE_S, events_of

CONFIG = """\
detectors: {face: {model: face-short}}
cameras: {front: {source: "still:%s"}}
"""


def one_line(done):
    lines = [line for line in done.stderr.splitlines() if not line.startswith("INFO ")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("detectors: {face: {model: face-short}}\ncamera: {}\n", "x.yaml:2: camera: unknown key"),
        (CONFIG + "stats_interval_s: soon\n", "x.yaml:3: stats_interval_s:"),
        (b"\x7fELF\0\0\1\2", "binary"),
    ],
)
def test_a_wrong_configuration(vision, picture, tmp_path, text, expected):
    content = text % picture if isinstance(text, str) and "%s" in text else text
    (tmp_path / "x.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert expected in one_line(vision("run", "x.yaml", code=78))


def test_a_missing_and_an_unreadable_configuration(vision, tmp_path):
    assert "no such file" in one_line(vision("run", "none.yaml", code=78))
    (tmp_path / "folder.yaml").mkdir()
    assert "folder.yaml" in one_line(vision("run", "folder.yaml", code=78))


def test_a_plug_in_section_is_checked_before_any_device_opens(vision, root):
    done = vision(
        "run", root / "configs" / "headless.yaml", "--source", "/dev/video99",
        "--set", "publishers.0.pth=x", code=78,
    )  # fmt: skip
    assert "did you mean 'path'" in one_line(done)


def test_no_such_camera(vision, root):
    done = vision("run", root / "configs" / "headless.yaml", "--source", "/dev/video99", code=69)
    assert "/dev/video99 does not exist" in one_line(done)


def test_what_is_no_video(vision, root, tmp_path):
    (tmp_path / "x.mp4").write_bytes(os.urandom(5000))
    done = vision("run", root / "configs" / "headless.yaml", "--source", "x.mp4", code=69)
    assert "x.mp4 is no video" in one_line(done)


def test_a_truncated_video_is_told_and_what_it_had_is_kept(vision, root, shared_data, tmp_path):
    whole = (shared_data / "pets09" / "vtest.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 4])
    done = vision(
        "run", root / "configs" / "headless.yaml", "--source", "cut.avi",
        "--set", "detectors.face.model=coco-ssd", "--set", "publishers.0.path=e.jsonl", code=69,
    )  # fmt: skip
    assert "of 795 frames: it is cut short or damaged" in one_line(done)
    kinds = [event["type"].rsplit(".", 1)[1] for event in events_of(tmp_path / "e.jsonl")]
    assert kinds.count("new") == kinds.count("end") > 0


def test_an_unknown_model_a_missing_one_and_an_unknown_scheme(vision, root, picture):
    done = vision("detect", picture, "--model", "face-shrt", code=78)
    assert "did you mean 'face-short'" in one_line(done)
    done = vision("detect", picture, "--model", "./none.tflite", code=78)
    assert "none.tflite" in one_line(done)
    done = vision("run", root / "configs" / "headless.yaml", "--source", "ftp://x/y", code=78)
    assert "ftp://" in one_line(done)


def _model(root, name):
    for folder in [root / "models", *map(Path, os.environ["VISION_MODEL_PATH"].split(os.pathsep))]:
        if (folder / name).exists():
            return folder / name
    pytest.skip(f"{name} is not on this machine")


@pytest.mark.parametrize("damage", ["noise", "half", "zeros"])
def test_a_damaged_model(vision, root, picture, tmp_path, damage):
    whole = _model(root, "face_detection_short_range.tflite").read_bytes()
    content = {
        "noise": os.urandom(5000),
        "half": whole[: len(whole) // 2],
        "zeros": whole[:20000] + bytes(len(whole) - 20000),
    }[damage]
    (tmp_path / "x.tflite").write_bytes(content)
    (tmp_path / "x.yaml").write_text(
        "decoder: blazeface\ninput: {fit: letterbox}\nlabels: [face]\n"
    )
    done = vision("detect", picture, "--model", "./x.tflite", code=78)
    assert "x.tflite" in one_line(done)


def test_a_model_of_the_catalogues_name_with_another_content(vision, root, picture, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite").write_bytes(b"x" * 4185023)
    done = subprocess.run(
        [sys.executable, str(root / "main.py"), "detect", str(picture), "--model", "coco-ssd"],
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        env={**os.environ, "VISION_MODEL_PATH": str(folder)},
    )  # fmt: skip
    assert done.returncode == 78
    assert "SHA-256" in one_line(done)


def test_a_model_for_another_task(vision, picture, shared_models):
    path = shared_models / "mobilefacenet_112_f32.tflite"
    assert "mobilefacenet" in one_line(vision("detect", picture, "--model", path, code=78))


@pytest.mark.parametrize("size_wh", [(1, 1), (8000, 6000)])
def test_a_picture_of_any_size(vision, tmp_path, size_wh):
    assert cv2.imwrite(str(tmp_path / "p.png"), np.zeros((size_wh[1], size_wh[0], 3), np.uint8))
    done = vision("detect", "p.png", "--json", "--save", "marked")
    assert f'"width": {size_wh[0]}, "height": {size_wh[1]}' in done.stdout
    assert (tmp_path / "marked" / "p.png").stat().st_size > 0


def test_a_damaged_picture_among_good_ones(vision, picture, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    done = vision("detect", "broken.jpg", picture, "--json", code=69)
    assert "broken.jpg" in one_line(done)
    assert len(done.stdout.splitlines()) == 1


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@needs_root
@pytest.mark.parametrize(("options", "code"), [("size=64k", 70), ("size=64k,ro", 78)])
def test_a_full_disk_and_a_read_only_folder_for_events(root, picture, tmp_path, options, code):
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    disk = tmp_path / "disk"
    disk.mkdir()
    run = (
        f"mount -t tmpfs -o {options} none {disk} && exec {sys.executable} {root / 'main.py'} "
        f"run {root / 'configs' / 'headless.yaml'} --source still:{picture} --frames 200 "
        f"--set publishers.0.path={disk}/e.jsonl --set rules.update_s=0.001 "
        f"--set cameras.front.fps=100"
    )
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", run],
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    if done.stderr.startswith(("unshare:", "mount:")):
        pytest.skip("mounting is not allowed here")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "No space left" in last if code == 70 else "Read-only" in last


def test_a_wrong_command_line(vision):
    assert "--help" in one_line(vision("detect", code=2))
    assert "No such command" in one_line(vision("wach", code=2))
    assert "exclude each other" in one_line(vision("run", "--headless", "--display", code=2))
