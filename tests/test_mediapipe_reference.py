"""Our faces are MediaPipe's: the same pictures through both, box by box.

MediaPipe 0.10.21 lives in an environment of its own under the user's cache (made once,
400 MB). Short range is compared on the catalogue's file, which has the same weights; full
range on the sparse file out of MediaPipe's wheel, since the catalogue's dense one has others.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from vision.geometry import clip_to_frame, iou_matrix

REFERENCE = Path(__file__).resolve().parent / "reference"
CLIP_STEP = {".gif": 3, ".mp4": 100}
SPARSE_SIDECAR = """\
decoder: blazeface
input: {fit: letterbox}
labels: [face]
options: {range: full}
"""


@dataclass
class Faces:
    """One side's faces of one picture, boxes clipped to it."""

    xyxy: np.ndarray
    score: np.ndarray
    keypoints: np.ndarray

    @staticmethod
    def of(found, size_wh):
        xyxy, _ = clip_to_frame(
            np.array([face["box"] for face in found], np.float32).reshape(-1, 4), size_wh
        )
        score = np.array([face["score"] for face in found])
        return Faces(xyxy, score, np.array([face["keypoints"] for face in found]))


def _python_for_mediapipe():
    """Return a Python that MediaPipe's wheels are made for: 3.10 to 3.12."""
    for name in (sys.executable, "python3.12", "python3.11", "python3.10"):
        fits = "import sys, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))"
        path = shutil.which(name)
        if path and not subprocess.run([path, "-c", fits], check=False).returncode:
            return path
    pytest.skip("MediaPipe 0.10.21 needs Python 3.10 to 3.12 with venv, and there is none here")


@pytest.fixture(scope="session")
def mediapipe_python():
    """Return the Python of an environment with MediaPipe, made if it is not there yet."""
    python = _python_for_mediapipe()
    pins = REFERENCE / "requirements.txt"
    key = hashlib.sha256(pins.read_bytes() + python.encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vision-tests"
    environment = cache / f"mediapipe-{key}"
    if not environment.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            made = Path(folder) / "environment"
            subprocess.run([python, "-m", "venv", made], check=True)
            pip = [made / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps"]
            command = [*pip, "--requirement", pins]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if "No matching distribution" in done.stderr:
                pytest.skip(f"pip cannot reach MediaPipe: {done.stderr.splitlines()[-1]}")
            assert done.returncode == 0, done.stderr
            made.rename(environment)
    return environment / "bin" / "python"


@pytest.fixture(scope="session")
def pictures(shared_data, tmp_path_factory):
    """Return a folder with every picture as PNG, so that both sides see the same pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    for path in (shared_data / "faces").glob("*.jpg"):
        cv2.imwrite(str(folder / f"{path.stem}.png"), cv2.imread(str(path)))
    for path in (shared_data / "clips").iterdir():
        clip = cv2.VideoCapture(str(path))
        frame_id = 0
        while clip.grab():
            if frame_id % CLIP_STEP[path.suffix] == 0:
                cv2.imwrite(str(folder / f"{path.stem}-{frame_id:05}.png"), clip.retrieve()[1])
            frame_id += 1
        clip.release()
    return folder


@pytest.fixture(scope="session")
def sparse_model(mediapipe_python, tmp_path_factory):
    """Return MediaPipe's own full-range model, described for our side."""
    packages = next(mediapipe_python.parent.parent.glob("lib/python3*/site-packages"))
    name = "face_detection_full_range_sparse.tflite"
    model = tmp_path_factory.mktemp("models") / name
    shutil.copy(packages / "mediapipe/modules/face_detection" / name, model)
    model.with_suffix(".yaml").write_text(SPARSE_SIDECAR)
    return model


def _theirs(python, model_selection, pictures):
    command = [python, REFERENCE / "mediapipe_faces.py", str(model_selection), "0.5", pictures]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _ours(root, model, pictures):
    command = [
        sys.executable, root / "main.py", "detect", pictures, "--model", model,
        "--backend", "cpu", "--min-score", "0.5", "--json",
    ]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _pairs(ours, theirs):
    """Return (ours, theirs, IoU) for every two boxes that overlap most and by half at least."""
    iou = iou_matrix(ours.xyxy, theirs.xyxy)
    pairs = []
    while iou.size and iou.max() >= 0.5:
        i, j = np.unravel_index(iou.argmax(), iou.shape)
        pairs.append((i, j, iou[i, j]))
        iou[i, :] = iou[:, j] = 0
    return pairs


@pytest.mark.parametrize("model_selection", [0, 1], ids=["short range", "full range, sparse"])
def test_every_face_is_mediapipes(root, pictures, mediapipe_python, sparse_model, model_selection):
    theirs_by_name = _theirs(mediapipe_python, model_selection, pictures)
    lines = _ours(root, sparse_model if model_selection else "face-short", pictures)
    assert {Path(line["source"]).name for line in lines} == theirs_by_name.keys()

    ious, score_differences, keypoint_differences = [], [], []
    for line in lines:
        name, size_wh = Path(line["source"]).name, (line["width"], line["height"])
        ours = Faces.of(line["detections"], size_wh)
        theirs = Faces.of(theirs_by_name[name], size_wh)
        pairs = _pairs(ours, theirs)
        missed = {*np.flatnonzero(theirs.score >= 0.6)} - {j for _, j, _ in pairs}
        extra = {*np.flatnonzero(ours.score >= 0.6)} - {i for i, _, _ in pairs}
        assert not missed, f"{name}: MediaPipe alone sees {theirs.xyxy[[*missed]]}"
        assert not extra, f"{name}: only we see {ours.xyxy[[*extra]]}"
        for i, j, iou in pairs:
            if theirs.score[j] < 0.6:
                continue
            ious.append(iou)
            score_differences.append(abs(ours.score[i] - theirs.score[j]))
            apart = np.linalg.norm(ours.keypoints[i] - theirs.keypoints[j], axis=1).max()
            keypoint_differences.append(apart / np.ptp(theirs.xyxy[j].reshape(2, 2), axis=0).max())

    assert len(ious) >= 80
    assert np.mean(ious) >= 0.99
    assert min(ious) >= 0.9
    assert max(score_differences) <= 0.02
    assert max(keypoint_differences) <= 0.02
