"""`models inspect`: the graph against the official reader, the rules, and the command."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from gpu_support import SWIFTSHADER, needs_gpu, sparse_face
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vision.errors import ModelError
from vision.models.flatbuffer import DamagedError
from vision.models.graph import Graph, Operator, Tensor, parse_graph, read_graph
from vision.models.inspect.advice import advise
from vision.models.inspect.gpu_rules import refusal
from vision.models.inspect.picture import draw
from vision.models.inspect.report import Part, inspect, weight_bytes

SSD = "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
YOLOX = "yolox_nano_float16.tflite"
FLOAT = "mobilenet_v1_0.25_224_float.tflite"
QUANTISED = "mobilenet_v1_0.25_128_quant.tflite"


# --- the graph -------------------------------------------------------------------------


def test_the_graph_agrees_with_the_official_reader(shared_models):
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    types = {v: k.lower() for k, v in vars(schema.TensorType).items() if isinstance(v, int)}
    for path in sorted(shared_models.glob("*.tflite")):
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
        main = model.subgraphs[0]
        ours = read_graph(path)
        assert len(ours.tensors) == len(main.tensors)
        for tensor, official in zip(ours.tensors, main.tensors, strict=True):
            assert tensor.name == official.name.decode()
            assert list(tensor.shape) == list(official.shape if official.shape is not None else [])
            assert (tensor.dtype, tensor.buffer) == (types[official.type], official.buffer)
            scale = official.quantization.scale if official.quantization else None
            assert tensor.scale == (scale[0] if scale is not None and len(scale) else 0)
            assert tensor.sparse == (official.sparsity is not None)
        for operator, official in zip(ours.operators, main.operators, strict=True):
            assert list(operator.inputs) == list(official.inputs)
            assert list(operator.outputs) == list(official.outputs)
        lengths = [0 if b.data is None else len(b.data) for b in model.buffers]
        assert list(ours.buffer_bytes) == lengths


def test_every_weight_is_counted_once(shared_models):
    for path in sorted(shared_models.glob("*.tflite")):
        graph = read_graph(path)
        used = {
            number for op in graph.operators for number in op.inputs if graph.constant_bytes(number)
        }
        assert sum(weight_bytes(graph)) == sum(graph.constant_bytes(number) for number in used)


def test_fp16_weights_belong_to_what_computes_with_them(shared_models):
    kinds = {kind.name: kind for kind in inspect(shared_models / YOLOX).kinds}
    assert kinds["DEQUANTIZE"].weight_bytes == 0
    assert kinds["CONV_2D"].weight_bytes > 1_500_000


@pytest.fixture(scope="module")
def small_model(shared_models):
    return (shared_models / QUANTISED).read_bytes()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_damaged_bytes_are_damage_and_nothing_else(small_model, seed):
    rng = np.random.default_rng(seed)
    data = bytearray(small_model)
    positions = np.concatenate(
        [rng.integers(0, 64, 2), len(data) - 1 - rng.integers(0, 20_000, 20)]
    )
    for position in positions:
        data[position] = rng.integers(0, 256)
    try:
        graph = parse_graph(bytes(data))
    except DamagedError:
        return
    assert len(weight_bytes(graph)) == len(graph.operators)
    for operator in graph.operators:
        assert refusal(graph, operator) != ""


# --- the rules -------------------------------------------------------------------------


def tensor(dtype="float32", shape=(1, 8, 8, 4), *, dynamic=False, buffer=0):
    return Tensor(f"a {dtype}", shape, dtype, 0.0, 0, dynamic, sparse=False, buffer=buffer)


def graph_of(name, *inputs, output=None):
    tensors = (*inputs, output or tensor())
    operator = Operator(name, tuple(range(len(inputs))), (len(inputs),))
    return Graph(tensors, (operator,), (0,), (len(inputs),), (0, 16))


CONSTANT = tensor("int32", (1,), buffer=1)


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (graph_of("CONV_2D", tensor(), tensor(buffer=1)), None),
        (graph_of("SQUEEZE", tensor()), "no GPU kernel"),
        (graph_of("NON_MAX_SUPPRESSION_V4", tensor()), "suppression of boxes has no GPU kernel"),
        (graph_of("DENSIFY", tensor(buffer=1)), "sparse weights are unpacked on the CPU"),
        (graph_of("ADD", tensor("int64"), tensor("int64")), "int64 tensor 'a int64'"),
        (graph_of("ADD", tensor(dynamic=True)), "shape of 'a float32' is known only at run time"),
        (graph_of("ADD", tensor(), output=tensor("string")), "string tensor 'a string'"),
        (graph_of("SLICE", tensor(shape=(8, 8)), CONSTANT, CONSTANT), "its slices have neither"),
        (graph_of("SLICE", tensor(), CONSTANT, CONSTANT), None),
        (graph_of("GATHER", tensor(), tensor("int32", (2, 2))), "its indices are not one row"),
        (graph_of("GATHER", tensor(), CONSTANT), None),
        (graph_of("MEAN", tensor(), tensor("int32", (1,))), "its axes are computed"),
        (graph_of("MEAN", tensor(), CONSTANT), None),
        (graph_of("MUL", tensor(shape=(1, 9, 1)), tensor(shape=(1, 1, 9))), "both factors are"),
        (graph_of("MUL", tensor(), tensor(shape=(1, 1, 1, 4))), None),
        (graph_of("DEQUANTIZE", tensor("int16")), "16-bit integers"),
        (graph_of("FULLY_CONNECTED", tensor(buffer=1), tensor()), "its input is constant"),
        (graph_of("ResizeSomething", tensor()), "no GPU kernel"),
        (graph_of("GATHER", tensor()), "an input is missing"),
    ],
)
def test_a_refusal_has_its_reason(graph, reason):
    said = refusal(graph, graph.operators[0])
    assert said == reason if reason is None else said.startswith(reason)


def test_post_processing_is_what_a_gpu_leaves(shared_models):
    report = inspect(shared_models / SSD)
    assert report.on_gpu == len(report.steps) - 1 == 63
    assert report.parts == (Part(True, 0, 62), Part(False, 63, 63))
    advice = advise(report)
    assert advice[0].startswith(
        "cut before TFLite_Detection_PostProcess (operation 63), at Squeeze, convert_scores:"
    )
    assert any(sentence.startswith("8-bit: made for the CPU") for sentence in advice)


def test_a_model_that_suits_the_gpu_needs_no_change():
    from vision.models.catalogue import resolve

    report = inspect(resolve("face-short").path)
    assert report.on_gpu == len(report.steps) == 164
    assert len(report.parts) == 1
    assert advise(report) == []


def test_int64_indices_are_named(shared_models):
    report = inspect(shared_models / FLOAT)
    graph = graph_of("GATHER", tensor(), tensor("int64", (4,)))
    changed = type(report)(report.path, 1, graph, report.metadata, report.steps)
    assert any(s.startswith("int64 indices at a int64: export") for s in advise(changed))


# --- the command -----------------------------------------------------------------------


def test_every_model_is_shown(vision, shared_models):
    files = sorted(shared_models.glob("*.tflite"))
    text = vision("models", "inspect", *files, "--no-try").stdout
    for path in files:
        assert f"{path}: " in text
    assert "read as  task classify, decoder classes" in text
    assert "63 of 64 operations for the GPU, 2 parts: GPU 63, CPU 1" in text
    assert "labels   90: person, bicycle, car" in text
    assert "yolox_nano_float16.yaml to start from" in text
    assert "    decoder: yolox" in text
    assert "replace SQUEEZE (by RESHAPE)" in text
    assert max(map(len, text.splitlines())) < 260


def test_json_says_it_all(vision, shared_models):
    done = vision("models", "inspect", shared_models / SSD, "coco-ssd", "--json", "--no-try")
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == second  # a name of the catalogue is its file
    assert first["catalogue"] == "coco-ssd"
    assert first["inputs"][0]["shape"] == [1, 300, 300, 3]
    assert (first["gpu"]["on_gpu"], first["gpu"]["total"]) == (63, 64)
    assert first["gpu"]["operations"][-1]["refusal"] == "suppression of boxes has no GPU kernel"
    assert first["gpu"]["tried"] is None
    assert sum(kind["count"] for kind in first["kinds"]) == 64
    assert first["metadata"]["labels"][0] == "person"


def test_without_a_driver_the_reason_is_told(vision, shared_models, tmp_path):
    done = vision(
        "models", "inspect", shared_models / FLOAT, "--json",
        VK_DRIVER_FILES=str(tmp_path / "none.json"), XDG_CACHE_HOME=str(tmp_path),
    )  # fmt: skip
    tried = json.loads(done.stdout)["gpu"]["tried"]
    assert tried["ok"] is False
    assert tried["why"]
    assert tried["delegated_ops"] == 0


@needs_gpu
def test_what_the_gpu_really_takes_is_what_the_rules_say(vision, shared_models, tmp_path):
    done = vision(
        "models", "inspect", shared_models / SSD, shared_models / FLOAT, "--json",
        VK_DRIVER_FILES=str(SWIFTSHADER), XDG_CACHE_HOME=str(tmp_path),
    )  # fmt: skip
    ssd, mobilenet = (json.loads(line)["gpu"] for line in done.stdout.splitlines())
    assert ssd["tried"]["delegated_ops"] == ssd["on_gpu"] == 63
    assert mobilenet["tried"]["unsupported"] == ["SQUEEZE"]
    refused = [op["name"] for op in mobilenet["operations"] if op["refusal"]]
    assert refused == ["SQUEEZE"]


@needs_gpu
def test_sparse_weights_are_warned_of_before_and_caught_by_trying(vision, tmp_path):
    done = vision(
        "models", "inspect", sparse_face().path, "--json",
        VK_DRIVER_FILES=str(SWIFTSHADER), XDG_CACHE_HOME=str(tmp_path),
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["advice"][0].startswith("sparse weights: use the dense file")
    assert "DENSIFY" in found["gpu"]["tried"]["unsupported"]
    assert found["gpu"]["tried"]["ok"] is False


def test_a_picture_has_a_box_for_every_operation(vision, shared_models, tmp_path):
    target = tmp_path / "graph.svg"
    vision("models", "inspect", shared_models / SSD, "--no-try", "--picture", target)
    boxes = ET.parse(target).getroot().findall("{http://www.w3.org/2000/svg}rect")
    fills = [box.get("fill") for box in boxes[1:]]
    assert len(fills) == 64
    assert fills.count(fills[0]) == 63
    assert fills[-1] != fills[0]


def test_a_picture_escapes_what_a_model_calls_itself(shared_models):
    report = inspect(shared_models / FLOAT)
    step = report.steps[0]
    named = type(step)(0, "<script>", (1,), 0, "a & b")
    changed = type(report)(report.path, 1, report.graph, report.metadata, (named,))
    svg = draw(changed)
    assert "<script>" not in svg
    assert "a &amp; b" in svg


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read the model"), (b"", "no usable TFLite model"), (b"x" * 99, "no usable")],
)
def test_what_is_no_model_is_told_in_one_line_and_the_others_are_shown(
    vision, shared_models, tmp_path, content, message
):
    path = tmp_path / "bad.tflite"
    if content is not None:
        path.write_bytes(content)
    done = vision("models", "inspect", path, shared_models / FLOAT, "--no-try", code=78)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "MobilenetV1/Predictions" in done.stdout


def test_usage_errors(vision, shared_models, tmp_path):
    path = shared_models / FLOAT
    error = vision("models", "inspect", path, path, "--picture", "x.svg", code=2).stderr
    assert "give one FILE" in error
    nowhere = tmp_path / "none" / "x.svg"
    error = vision("models", "inspect", path, "--no-try", "--picture", nowhere, code=2).stderr
    assert "No such file" in error


def test_a_directory_is_no_model(tmp_path):
    with pytest.raises(ModelError, match="cannot read the model"):
        inspect(tmp_path)
