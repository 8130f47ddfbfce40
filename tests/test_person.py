"""The person detector that the project ships, against people's own annotations."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
import yaml

from vision.errors import ModelError
from vision.geometry import iou_matrix
from vision.models.catalogue import load_catalogue, resolve

NAMES = ("person", "person-fp16")
FLOOR = 0.05
PETS_STEP = 5  # every fifth frame
# What the fp32 network reaches on the same pictures, decoded by its own graph's rules.
FP32_AP50 = {"coco128": 0.347, "pets09": 0.614}


def coco128(folder):
    for entry in json.loads((folder / "gt.json").read_text())["images"]:
        people = [box["bbox"] for box in entry["boxes"] if box["label"] == "person"]
        yield cv2.imread(str(folder / entry["file"])), _corners(people)


def pets09(folder):
    truth: dict[int, list[list[float]]] = {}
    for line in (folder / "gt.txt").read_text().splitlines():
        fields = [float(field) for field in line.split(",")]
        truth.setdefault(int(fields[0]) - 1, []).append(fields[2:6])
    clip = cv2.VideoCapture(str(folder / "vtest.avi"))
    frame_id = 0
    while clip.grab():
        if frame_id % PETS_STEP == 0:
            yield clip.retrieve()[1], _corners(truth.get(frame_id, []))
        frame_id += 1
    clip.release()


def _corners(xywh):
    boxes = np.array(xywh, np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def ap50(answers, truths):
    """Average precision at IoU 0.5, the area under the whole curve."""
    hits = []
    for found, truth in zip(answers, truths, strict=True):
        free = np.ones(len(truth), bool)
        matrix = iou_matrix(found.xyxy, truth)
        for row in np.argsort(-found.score, kind="stable"):
            overlaps = np.where(free, matrix[row], 0)
            hit = bool((overlaps >= 0.5).any())
            if hit:
                free[overlaps.argmax()] = False
            hits.append((found.score[row], hit))
    hits.sort(key=lambda pair: -pair[0])
    right = np.cumsum([hit for _, hit in hits])
    precision = right / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    recall = np.concatenate([[0], right / sum(map(len, truths))])
    return float((np.diff(recall) * envelope).sum())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", [coco128, pets09])
def test_people_are_found_as_well_as_by_the_network_in_fp32(shared_data, one_shot, name, data):
    pictures = list(data(shared_data / data.__name__))
    found = [one_shot(name, image, FLOOR) for image, _ in pictures]
    truths = [truth for _, truth in pictures]
    assert ap50(found, truths) >= FP32_AP50[data.__name__] - 0.02


@pytest.mark.parametrize("name", NAMES)
def test_person_lies_in_the_repository_with_its_origin(root, name):
    entry = load_catalogue().models[name]
    spec = resolve(name)
    assert spec.path == root / "models" / entry.file
    sidecar = yaml.safe_load(spec.path.with_suffix(".yaml").read_text())
    assert sidecar["sha256"] == entry.sha256
    assert sidecar["licence"] == entry.licence == "MIT"
    assert sidecar["provenance"]["source_sha256"].startswith("7a23982e")
    assert (sidecar["decoder"], sidecar["options"]) == (entry.decoder, entry.options)
    assert "cftang" in (root / "models" / "person.LICENSE").read_text()


def test_a_sidecar_of_another_file_is_refused(root, tmp_path):
    shutil.copy(root / "models" / "person_int8.tflite", tmp_path / "a.tflite")
    data = bytearray((tmp_path / "a.tflite").read_bytes())
    data[-1000] ^= 1
    (tmp_path / "a.tflite").write_bytes(data)
    shutil.copy(root / "models" / "person_int8.yaml", tmp_path / "a.yaml")
    with pytest.raises(ModelError, match="another file than its sidecar was written for"):
        resolve(str(tmp_path / "a.tflite"))
