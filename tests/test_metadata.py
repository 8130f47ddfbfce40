from __future__ import annotations

import io
import struct
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision.errors import ModelError
from vision.models.flatbuffer import Buffer, DamagedError
from vision.models.metadata import parse, read_metadata
from vision.models.operators import BUILTIN_OPERATORS

COCO_SSD = "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
CLASSIFIER = "mobilenet_v1_0.25_128_quant.tflite"


@pytest.fixture(scope="module")
def schema():
    return pytest.importorskip("ai_edge_litert.schema_py_generated")


@pytest.fixture(scope="module")
def classifier(shared_models):
    return (shared_models / CLASSIFIER).read_bytes()


def _operator_name(schema, code):
    names = {value: key for key, value in vars(schema.BuiltinOperator).items()}
    number = max(code.deprecatedBuiltinCode, code.builtinCode)
    return code.customCode.decode() if names[number] == "CUSTOM" else names[number]


def test_agrees_with_the_official_reader(shared_models, schema):
    files = sorted(shared_models.glob("*.tflite"))
    assert files
    for path in files:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
        graph = model.subgraphs[0]
        codes = [_operator_name(schema, code) for code in model.operatorCodes]
        ours = read_metadata(path)
        assert list(ours.operators) == [codes[step.opcodeIndex] for step in graph.operators]
        assert list(ours.tensor_names) == [graph.tensors[i].name.decode() for i in graph.outputs]
        assert list(ours.input_shape) == list(graph.tensors[graph.inputs[0]].shape)


def test_operator_names_are_the_schema_s(schema):
    official = {k: v for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    assert dict(zip(BUILTIN_OPERATORS, range(len(BUILTIN_OPERATORS)), strict=True)) == official


def test_detector_names_its_outputs_and_keeps_the_gaps_in_its_labels(shared_models):
    metadata = read_metadata(shared_models / COCO_SSD)
    assert metadata.output_names == ("locations", "classes", "scores", "number of detections")
    assert metadata.input_mean == metadata.input_std == (127.5,)
    assert len(metadata.operators) == 64
    assert metadata.operators[-1] == "TFLite_Detection_PostProcess"
    assert len(metadata.labels) == 90
    assert {0: "person", 11: "???", 12: "stop sign", 89: "toothbrush"}.items() <= dict(
        enumerate(metadata.labels)
    ).items()


def test_model_without_metadata_has_none(shared_models):
    metadata = read_metadata(shared_models / "mobilefacenet_112_f32.tflite")
    assert metadata.tensor_names == ("embeddings",)
    assert metadata.output_names == metadata.labels == metadata.input_mean == ()


@pytest.mark.parametrize(
    "content", [b"", b"TFL3", b"\0\0\0\0TFL3", b"\x89PNG\r\n\x1a\n" * 9, b"\xff" * 4 + b"TFL3" * 9]
)
def test_no_model_at_all(tmp_path, content):
    path = tmp_path / "picture.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"picture\.tflite: no usable TFLite model: ") as caught:
        read_metadata(path)
    assert "\n" not in str(caught.value)


def test_unreadable_path(tmp_path):
    with pytest.raises(ModelError, match="cannot read the model: Is a directory"):
        read_metadata(tmp_path)


def test_every_truncation_is_noticed_or_harmless(classifier):
    for keep in range(0, len(classifier), 5003):
        with pytest.raises(DamagedError):
            parse(classifier[:keep])


def test_label_file_that_is_gone(classifier):
    without = classifier.replace(b"imagenet_labels.txtPK", b"imagenet_labels.xxxPK")
    assert without != classifier
    with pytest.raises(DamagedError, match=r"label file 'imagenet_labels\.txt' cannot be read"):
        parse(without)


def test_label_file_that_would_not_fit_in_memory(classifier):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("imagenet_labels.txt", b"a\n" * (8 << 20))
    assert len(parse(classifier + packed.getvalue()).labels) == (1 << 20) // 2


def test_forged_file_cannot_say_more_than_it_holds():
    # One operator code, listed half a million times: the vector's entries all lead to it.
    count = 500_000
    code = struct.pack("<HHi", 4, 4, 4)  # an empty vtable, then its table
    buffer = Buffer(
        struct.pack("<I4s", 20, b"TFL3")
        + struct.pack("<HHHHI", 8, 8, 4, 0, 0)  # the root's vtable: field 0 at +4; padding
        + struct.pack("<iII", 12, 4, count)
        + b"".join(struct.pack("<I", 4 * (count - i) + 4) for i in range(count))
        + code,
        b"TFL3",
    )
    tables = buffer.root().tables(0)
    assert all(next(tables).integer(0, "I") == 0 for _ in range(1000))  # well formed so far
    with pytest.raises(DamagedError):
        list(tables)


@st.composite
def _damage(draw):
    """Offsets from either end, where the structure is, and new bytes for them."""
    near = st.integers(0, 40_000)
    place = st.one_of(near, near.map(lambda n: -1 - n))
    return draw(st.lists(st.tuples(place, st.integers(0, 255)), min_size=1, max_size=30))


@given(damage=_damage(), in_metadata=st.booleans())
@settings(max_examples=300, deadline=None)
def test_damaged_bytes_give_an_answer_or_a_reason(classifier, damage, in_metadata):
    data = bytearray(classifier)
    start = data.index(b"M001") if in_metadata else 0
    for place, value in damage:
        data[start + place % 700 if in_metadata else place] = value
    try:
        metadata = parse(bytes(data))
    except DamagedError:
        return  # the one error that a reader of files expects
    assert len(metadata.labels) <= 1 << 20
    assert len(metadata.operators) * 4 <= len(data)


@given(st.binary(max_size=300))
def test_any_bytes_after_the_mark(tail):
    with pytest.raises(DamagedError):
        parse(b"\x10\0\0\0TFL3" + tail)
