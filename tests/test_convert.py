"""`models convert` without a converter: what it refuses, how it writes, how it judges."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.detection import Detections
from vision.errors import ModelError
from vision.models.convert.agreement import LIMITS, Agreement, raw_errors, same_boxes
from vision.models.convert.files import write_together

NO_ROOM = 99


def one_line(done):
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def convert(vision, source, *more, code=78):
    return one_line(vision("models", "convert", source, "-o", "out.tflite", *more, code=code))


def test_what_is_no_model(vision, tmp_path):
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "folder").mkdir()
    assert "no such model" in convert(vision, "nothing.pb")
    assert "not a model that can be converted" in convert(vision, "notes.txt")
    assert "saved_model.pb" in convert(vision, "folder")
    assert not list(tmp_path.glob("*.tflite"))


def test_a_calibration_folder_without_pictures(vision, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no picture")
    (tmp_path / "graph.pb").write_bytes(b"")
    for folder in ("empty", "texts"):
        options = ("--quantize", "int8", "--calibrate", folder)
        assert f"{folder}: no pictures" in convert(vision, "graph.pb", *options)
    options = ("--quantize", "int8", "--calibrate", "nowhere")
    assert "nowhere: cannot look for pictures" in convert(vision, "graph.pb", *options)


def test_a_contradictory_command_line(vision, tmp_path):
    (tmp_path / "graph.pb").write_bytes(b"")
    assert "--calibrate" in convert(vision, "graph.pb", "--quantize", "int8", code=2)
    done = vision("models", "convert", "graph.pb", "-o", "out.bin", code=2)
    assert ".tflite" in one_line(done)


def test_a_description_is_checked_before_the_work(vision, tmp_path):
    (tmp_path / "graph.pb").write_bytes(b"")
    (tmp_path / "a.yaml").write_text("decoder: ssd-anchor\n")
    assert "did you mean 'ssd-anchors'" in convert(vision, "graph.pb", "--describe", "a.yaml")
    (tmp_path / "b.yaml").write_text("decoder: ssd-anchors\noptions: {anchor: {kind: ssd}}\n")
    line = convert(vision, "graph.pb", "--describe", "b.yaml")
    assert "b.yaml" in line
    assert "'anchors'" in line


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("graph.pb", "tensorflow", "convert"),
        ("network.keras", "tensorflow", "convert"),
        ("network.onnx", "onnx", "convert-onnx"),
        ("network.pt2", "torch", "convert-torch"),
    ],
)
def test_a_missing_converter_names_its_extra(vision, tmp_path, name, module, extra):
    if importlib.util.find_spec(module):
        pytest.skip(f"{module} is installed here")
    (tmp_path / name).write_bytes(b"anything")
    line = convert(vision, name)
    assert module in line
    assert f"edge-vision[{extra}]" in line


def test_files_appear_together_or_not_at_all(tmp_path):
    model, sidecar = tmp_path / "new" / "a.tflite", tmp_path / "new" / "a.yaml"
    write_together({model: b"model", sidecar: b"sidecar"})
    assert model.read_bytes() == b"model"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelError, match="cannot write"):
        write_together({model: b"other", tmp_path / "file" / "b.yaml": b"sidecar"})
    assert model.read_bytes() == b"model"
    assert sorted(path.name for path in model.parent.iterdir()) == ["a.tflite", "a.yaml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_keeps_no_half_file(root, tmp_path):
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    program = (
        "import sys, pathlib; from vision.errors import ModelError\n"
        "from vision.models.convert.files import write_together\n"
        f"disk = pathlib.Path({str(tmp_path)!r})\n"
        "try: write_together({disk / 'a.yaml': b'1', disk / 'a.tflite': bytes(1 << 20)})\n"
        "except ModelError as error: print(error)\n"
        "print(list(disk.iterdir()))"
    )
    script = f'mount -t tmpfs -o size=64k none {tmp_path} || exit {NO_ROOM}; exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh",
         sys.executable, "-c", program],
        cwd=root, check=False, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode == NO_ROOM or done.stderr.startswith("unshare:"):
        pytest.skip("mounting is not allowed here")
    said, left = done.stdout.splitlines()
    assert "a.tflite: No space left on device" in said
    assert left == "[]"


def boxes(*rows):
    values = np.array(rows, np.float32).reshape(-1, 5)
    class_id = np.zeros(len(values), np.int32)
    return Detections(np.ascontiguousarray(values[:, :4]), values[:, 4].copy(), class_id)


def test_strong_boxes_are_looked_for_on_both_sides():
    a, b, weak = (0, 0, 10, 10, 0.9), (50, 50, 60, 60, 0.8), (20, 0, 30, 10, 0.4)
    assert same_boxes([boxes(a, b)], [boxes(b, a)]) == 1
    assert same_boxes([boxes(a, b)], [boxes(a)]) == pytest.approx(2 / 3)
    assert same_boxes([boxes(a)], [boxes(a, b)]) == pytest.approx(2 / 3)
    assert same_boxes([boxes(a, weak)], [boxes(a)]) == 1
    assert same_boxes([boxes(weak)], [boxes()]) is None


@given(st.floats(0.01, 100), st.floats(-10, 10), st.floats(0, 0.5))
def test_errors_are_parts_of_the_range(scale, shift, error):
    want = np.linspace(0, 1, 5, dtype=np.float32) * np.float32(scale) + np.float32(shift)
    have = want.copy()
    have[2] += np.float32(error * scale)
    largest, mean = raw_errors([{"y": want}], [{"y": have}])
    slack = 1e-5 * (1 + abs(shift) / scale)
    assert largest == pytest.approx(error, abs=slack)
    assert mean == pytest.approx(error / 5, abs=slack)


@pytest.mark.parametrize("wrong", [np.full(3, np.nan), np.zeros(4)])
@pytest.mark.parametrize("precision", LIMITS)
def test_nonsense_is_never_offered(precision, wrong):
    errors = raw_errors([{"y": np.arange(3.0)}], [{"y": wrong}])
    assert Agreement(*errors, None).problem(precision)
    assert not Agreement(0, 0, None).problem(precision)
    assert "alike" in Agreement(0, 0, 0.5).problem(precision)
