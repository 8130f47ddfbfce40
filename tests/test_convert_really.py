"""Real conversions, where the converters are.

TensorFlow lives in an environment of its own, since it is heavy and wants other versions
of what the program uses: VISION_CONVERT_PYTHON names its Python (`.ci/run` makes one), and
VISION_CONVERT_ONNX_PYTHON and VISION_CONVERT_TORCH_PYTHON those of the other two extras.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from gpu_support import SWIFTSHADER, needs_gpu

from vision import paths
from vision.geometry import iou_matrix
from vision.models.catalogue import find, resolve
from vision.models.convert.agreement import FLOOR, same_boxes
from vision.models.metadata import read_metadata

pytestmark = pytest.mark.convert
DEADLINE_S = 300
NO_ROOM = 99


def _python(variable: str, module: str) -> str:
    named = os.environ.get(variable)
    if not named and importlib.util.find_spec(module) is None:
        pytest.skip(f"no {module} here, and {variable} names no Python that has it")
    return named or sys.executable


@pytest.fixture(scope="module")
def tensorflow_python():
    return _python("VISION_CONVERT_PYTHON", "tensorflow")


@pytest.fixture(scope="module")
def run(root):
    """Run a script with a Python that has the converters; return the finished process."""

    def call(python, *arguments, code=0, within=(), **environment):
        done = subprocess.run(
            [*within, python, *map(str, arguments)],
            capture_output=True, text=True, timeout=DEADLINE_S, cwd=root, check=False,
            env={**os.environ, "PYTHONPATH": str(root), **environment},
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return call


@pytest.fixture(scope="module")
def lenet(root, run, tensorflow_python, tmp_path_factory):
    """Return a folder in which the LeNet-5 recipe has run, and what it said."""
    folder = tmp_path_factory.mktemp("lenet")
    done = run(tensorflow_python, root / "models" / "recipes" / "lenet5.py", folder)
    run(
        tensorflow_python, root / "tests/converters/make_models.py", folder / "lenet5.keras", folder
    )
    return folder, done.stdout


@pytest.fixture
def convert(root, run, tensorflow_python, tmp_path):
    def call(source, *options, code=0, **more):
        arguments = ["main.py", "models", "convert", source, "-o", tmp_path / "out.tflite"]
        return run(tensorflow_python, *arguments, *options, code=code, **more)

    return call


def described(root, folder, *precisions):
    each = [word for name in precisions for word in ("--quantize", name)]
    description = root / "models" / "recipes" / "lenet5.yaml"
    return ["--describe", description, "--calibrate", folder / "digits", *each]


def error_of(done):
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr
    return line


def read_digits(folder, model, *options):
    pictures = sorted((folder / "digits").iterdir())
    done = subprocess.run(
        [sys.executable, "main.py", "detect", folder / "digits", "--model", model, "--json",
         *options],
        check=False, capture_output=True, text=True, cwd=paths.shipped("."),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(line["source"]).name for line in lines] == [path.name for path in pictures]
    right = [line["classes"][0]["label"] == Path(line["source"]).name[0] for line in lines]
    return sum(right) / len(right), lines[0]["backend"]


def test_lenet_from_training_to_the_command_line(lenet):
    folder, said = lenet
    table = {line.split()[0]: line for line in said.splitlines() if line}
    for precision in ("none", "fp16", "int8"):
        model = folder / f"lenet5_{precision}.tflite"
        assert f"{model.stat().st_size} " in table[precision] or str(model) in said
        spec = resolve(str(model))
        assert (spec.task, spec.decoder, spec.labels[7]) == ("classify", "classes", "7")
        assert read_digits(folder, model)[0] >= 0.95
    sizes = [(folder / f"lenet5_{p}.tflite").stat().st_size for p in ("none", "fp16", "int8")]
    assert sizes[0] > 1.8 * sizes[1] > 1.8 * 1.5 * sizes[2]


@needs_gpu
def test_lenet_runs_whole_on_a_gpu(root, lenet, convert, monkeypatch):
    monkeypatch.setenv("VK_DRIVER_FILES", str(SWIFTSHADER))
    folder, _ = lenet
    table = convert(folder / "lenet5.keras", *described(root, folder, "none")).stdout
    [row] = [line for line in table.splitlines() if line.startswith("none  ")]
    assert float(row.split()[3]) > 0  # milliseconds on the GPU
    right, backend = read_digits(folder, folder / "lenet5_fp16.tflite", "--backend", "gpu")
    assert right >= 0.95
    assert backend["name"] == "gpu"
    assert backend["delegated_ops"] == backend["total_ops"]


@pytest.mark.parametrize("source", ["saved", "lenet5.pb", "lenet5.keras"])
def test_every_format_of_tensorflow_gives_the_same_answers(root, lenet, convert, tmp_path, source):
    folder, _ = lenet
    done = convert(folder / source, *described(root, folder, "none"))
    assert "100.0% alike" in done.stdout
    assert read_digits(folder, tmp_path / "out.tflite")[0] >= 0.95
    sidecar = yaml.safe_load((tmp_path / "out.yaml").read_text())
    model = (tmp_path / "out.tflite").read_bytes()
    assert sidecar["sha256"] == hashlib.sha256(model).hexdigest()
    assert sidecar["provenance"]["tools"]


def test_a_variant_that_disagrees_is_marked_and_not_written(root, lenet, convert, tmp_path):
    folder, _ = lenet
    dark = tmp_path / "dark"
    dark.mkdir()
    cv2.imwrite(str(dark / "black.png"), np.zeros((32, 32, 3), np.uint8))
    options = described(root, folder, "none", "int8")
    options[options.index("--calibrate") + 1] = dark
    done = convert(folder / "lenet5.keras", *options, "--check", folder / "digits", code=1)
    assert "int8: not written" in done.stdout
    assert sorted(path.name for path in tmp_path.glob("out*")) == [
        "out_none.tflite",
        "out_none.yaml",
    ]


@pytest.mark.parametrize(("options", "shown"), [((), True), (("--quiet",), False)])
def test_progress_is_for_terminals(root, lenet, tensorflow_python, tmp_path, options, shown):
    folder, _ = lenet
    command = [tensorflow_python, "main.py", "models", "convert", folder / "lenet5.keras"]
    command += ["-o", tmp_path / "out.tflite", *described(root, folder, "none"), *options]
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 30, 120, 0, 0))
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        with os.fdopen(theirs, "wb") as stderr:
            done = subprocess.run(
                command, stderr=stderr, stdout=subprocess.DEVNULL, check=False, cwd=root,
                env={**os.environ, "PYTHONPATH": str(root)},
            )  # fmt: skip
            stderr.write(b"end")
        assert done.returncode == 0
        said = terminal.read(100_000)
    for step in (b"opening", b"converting the Keras file", b"comparing it with the original"):
        assert (step in said) is shown


def test_names_that_do_not_exist(lenet, convert, tmp_path):
    folder, _ = lenet
    line = error_of(convert(folder / "suppressed.pb", "--outputs", "raw_boxs", code=78))
    assert "no node 'raw_boxs'; nearest are raw_boxes" in line
    line = error_of(convert(folder / "suppressed.pb", "--inputs", "imge", code=78))
    assert "image" in line
    assert not list(tmp_path.iterdir())


def test_suppression_is_cut_off_for_a_gpu(lenet, convert, tmp_path):
    folder, _ = lenet
    convert(folder / "suppressed.pb", "--for", "gpu")
    operators = read_metadata(tmp_path / "out.tflite").operators
    assert not [name for name in operators if "SUPPRESSION" in name]
    assert "CONV_2D" in operators


def test_a_size_that_is_left_open(lenet, convert):
    folder, _ = lenet
    assert "--size" in error_of(convert(folder / "open.pb", code=78))
    convert(folder / "open.pb", "--size", 48, 32)


@pytest.mark.parametrize("name", ["a.pb", "a.keras", "a.h5", "saved"])
def test_damaged_networks(convert, tmp_path, name):
    path = tmp_path / name
    if name == "saved":
        path.mkdir()
        path /= "saved_model.pb"
    path.write_bytes(b"\x0a\xff\xff no network")
    assert str(tmp_path / name) in error_of(convert(tmp_path / name, code=78))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_fills_up_keeps_no_half_file(root, lenet, convert, tmp_path):
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    folder, _ = lenet
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        f'mount -t tmpfs -o size=64k none {disk} || exit {NO_ROOM}; "$@"; code=$?; '
        f"echo left: $(ls -A {disk}); exit $code"
    )
    done = convert(
        folder / "lenet5.keras", *described(root, folder, "none"), "-o", disk / "out.tflite",
        code=78, within=("unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"),
    )  # fmt: skip
    assert "No space left on device" in error_of(done)
    assert done.stdout.splitlines()[-1] == "left:"


@pytest.fixture(scope="module")
def person(root, run, tensorflow_python, shared_data, tmp_path_factory):
    """Return a folder with `person` made anew, and the network that it was made from."""
    folder = tmp_path_factory.mktemp("person")
    people = folder / "people"
    people.mkdir()
    for entry in json.loads((shared_data / "coco128" / "gt.json").read_text())["images"]:
        if any(box["label"] == "person" for box in entry["boxes"]):
            path = shared_data / "coco128" / entry["file"]
            (people / path.name).symlink_to(path)
    recipe = root / "models" / "recipes" / "person.py"
    arguments = (recipe, people, "--output", folder / "person.tflite")
    done = subprocess.run(
        [tensorflow_python, *arguments], check=False, capture_output=True, text=True, cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    if "could not fetch" in done.stderr:
        pytest.skip("pip cannot reach the network that person is made from")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_recipe_makes_the_bytes_that_are_shipped(root, person):
    made = (person / "person_fp16.tflite").read_bytes()
    assert made == (root / "models" / "person_fp16.tflite").read_bytes()


def test_the_recipe_makes_the_int8_that_is_shipped(root, person, one_shot):
    """Its ranges come from sums of floats, whose last bits are the processor's own."""
    images = [cv2.imread(str(path)) for path in sorted((person / "people").iterdir())]
    shipped, made = (
        [one_shot(str(folder / "person_int8.tflite"), image, FLOOR) for image in images]
        for folder in (root / "models", person)
    )
    assert same_boxes(shipped, made) >= 0.98


def test_person_finds_what_its_own_graph_finds(
    root, run, tensorflow_python, person, shared_data, one_shot, tmp_path
):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in sorted((shared_data / "coco128" / "images").iterdir()):
        cv2.imwrite(str(pictures / f"{path.stem}.png"), cv2.imread(str(path)))
    clip = cv2.VideoCapture(str(shared_data / "pets09" / "vtest.avi"))
    for frame_id in range(700):
        clip.grab()
        if frame_id % 7 == 0:
            cv2.imwrite(str(pictures / f"vtest-{frame_id:03}.png"), clip.retrieve()[1])
    clip.release()
    graph = find(_graph_asset(root), [paths.models_dir()])
    target = tmp_path / "answers.json"
    run(tensorflow_python, root / "tests/converters/person_answers.py", graph, pictures, target)
    answers = json.loads(target.read_text())
    ious, differences, missed, extra, total = [], [], 0, 0, 0
    for name, answer in answers.items():
        image = cv2.imread(str(pictures / name))
        own = one_shot("person-fp16", image, min_score=0.25)
        score = np.array(answer["score"], np.float32)
        matrix = iou_matrix(np.array(answer["xyxy"], np.float32), own.xyxy)
        for row in np.flatnonzero(score >= 0.3):
            total += 1
            partner = matrix[row].argmax() if len(own) else None
            if partner is None or matrix[row, partner] < 0.5:
                missed += 1
                continue
            ious.append(matrix[row, partner])
            differences.append(abs(own.score[partner] - score[row]))
        strong = own.score >= 0.35
        extra += int((strong & ~(matrix[score >= 0.25] >= 0.5).any(axis=0)).sum())
    assert total > 500
    assert np.mean(ious) >= 0.98
    assert np.mean(differences) <= 0.02
    assert missed <= 0.01 * total
    assert extra <= 0.01 * total


def _graph_asset(root):
    spec = importlib.util.spec_from_file_location("person", root / "models/recipes/person.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.NETWORK


ONNX_NETWORK = """
import sys, numpy as np, onnx
from onnx import TensorProto, helper, numpy_helper
rng = np.random.default_rng(0)
kernel = numpy_helper.from_array(rng.normal(0, 0.3, (8, 3, 3, 3)).astype("f"), "kernel")
dense = numpy_helper.from_array(rng.normal(0, 1, (8, 10)).astype("f"), "dense")
graph = helper.make_graph(
    [helper.make_node("Conv", ["image", "kernel"], ["conv"], strides=[2, 2], pads=[1, 1, 1, 1]),
     helper.make_node("Relu", ["conv"], ["relu"]),
     helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
     helper.make_node("Flatten", ["pool"], ["flat"]),
     helper.make_node("Gemm", ["flat", "dense"], ["classes"])],
    "network", [helper.make_tensor_value_info("image", 1, ["n", 3, 32, 32])],
    [helper.make_tensor_value_info("classes", 1, ["n", 10])], [kernel, dense])
opset = [helper.make_opsetid("", 17)]
onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), sys.argv[1])
"""
TORCH_NETWORK = """
import sys, torch
torch.manual_seed(0)
nn = torch.nn
network = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                        nn.Linear(8, 10)).eval()
torch.export.save(torch.export.export(network, (torch.rand(1, 3, 32, 32),)), sys.argv[1])
"""


@pytest.mark.parametrize(
    ("variable", "module", "suffix", "network"),
    [
        ("VISION_CONVERT_ONNX_PYTHON", "onnx2tf", ".onnx", ONNX_NETWORK),
        ("VISION_CONVERT_TORCH_PYTHON", "litert_torch", ".pt2", TORCH_NETWORK),
    ],
)
def test_other_frameworks(root, run, shared_data, tmp_path, variable, module, suffix, network):
    python = _python(variable, module)
    source, target = tmp_path / f"network{suffix}", tmp_path / "out.tflite"
    run(python, "-c", network, source)
    description = root / "models" / "recipes" / "lenet5.yaml"
    arguments = ["main.py", "models", "convert", source, "-o", target]
    arguments += ["--describe", description, "--calibrate", shared_data / "faces"]
    done = run(python, *arguments, "--quantize", "none", "--quantize", "int8")
    assert "100.0% alike" in done.stdout
    assert resolve(str(tmp_path / "out_int8.tflite")).decoder == "classes"
    source.write_bytes(b"PK\x03\x04 damaged")
    assert str(source) in error_of(run(python, *arguments, code=78))
