"""Below the GPU backend: the C API as it is, and all that needs no GPU to be tested."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from gpu_support import face, manifest, needs_gpu, run_python, software_gpu
from hypothesis import given
from hypothesis import strategies as st

from vision.errors import BackendError
from vision.interfaces import TensorSpec
from vision.litert import compare, driver, messages, pictures, verdict
from vision.litert.capi import LockMode
from vision.litert.compiled_model import CompiledModel
from vision.litert.interpreter import Runner
from vision.litert.kernel_cache import KernelCache
from vision.litert.mutex import Mutex
from vision.litert.verdict import Verdict

SAID = """\
WARNING: Logging before InitGoogle() is written to STDERR
I0000 00:00:1795442447.139239    8854 environment.cc:532] Selected adapter: SwiftShader Device \
(Subzero), arch=swiftshader, vendor=google, backend=Vulkan, adapterType=CPU / Software
ERROR: Following operations are not supported by GPU delegate:
CUSTOM TFLite_Detection_PostProcess: TFLite_Detection_PostProcess
DENSIFY: Operation is not supported.
DEQUANTIZE: \nDEQUANTIZE: Dequantize for Densify is not supported
159 operations will run on the GPU, and the remaining 229 operations will run on the CPU.
I0000 00:00:1795442470.935076    8884 delegate_kernel.cc:984] Initializing WebGPU-based API
"""


@pytest.fixture(scope="module", autouse=True)
def _gpu(tmp_path_factory):
    with software_gpu(tmp_path_factory.mktemp("cache")):
        yield


# --- what LiteRT says


def test_the_adapter_and_the_split_are_read_from_what_litert_says():
    said = messages.read(SAID)
    assert (said.device, said.vendor) == ("SwiftShader Device (Subzero)", "google")
    assert said.software
    assert not said.no_adapter
    assert said.split == (159, 229)
    assert said.unsupported == ("TFLite_Detection_PostProcess", "DENSIFY", "DEQUANTIZE")


def test_a_hardware_adapter_is_told_from_a_software_one():
    line = "Selected adapter: NVIDIA H200, arch=hopper, vendor=nvidia, backend=Vulkan, adapterType="
    assert not messages.read(line + "discrete GPU").software
    assert messages.read(line.replace("NVIDIA H200", "llvmpipe (LLVM 15)") + "unknown").software


def test_why_there_is_no_adapter_is_told():
    said = messages.read("Warning: Insufficient limits\nERROR: x: INTERNAL: No adapters found\n")
    assert said.no_adapter
    assert said.warning == "Insufficient limits"


@given(st.text(max_size=400), st.integers(0, len(SAID)), st.integers(0, len(SAID)))
def test_any_text_is_read_without_an_error(noise, start, stop):
    messages.read(SAID[:start] + noise + SAID[stop:])


# --- which drivers there are


@pytest.fixture
def no_drivers(monkeypatch, tmp_path):
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES"):
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_DATA_HOME", "XDG_DATA_DIRS"):
        monkeypatch.setenv(name, str(tmp_path / "empty"))


def test_the_key_changes_with_the_driver_file_and_with_its_library(
    no_drivers, monkeypatch, tmp_path
):
    library = tmp_path / "libgpu.so"
    library.write_bytes(b"one")
    monkeypatch.setenv("VK_DRIVER_FILES", str(manifest(tmp_path, "./libgpu.so")))
    first = driver.look()
    assert first == driver.look()
    library.write_bytes(b"another")
    second = driver.look()
    library.unlink()
    third = driver.look()
    manifest(tmp_path, "./libother.so")
    assert len({first.key, second.key, third.key, driver.look().key}) == 4
    assert "libgpu.so" in first.words


def test_drivers_are_found_where_the_loader_looks(no_drivers, monkeypatch, tmp_path):
    folder = tmp_path / "share/vulkan/icd.d"
    folder.mkdir(parents=True)
    manifest(folder, "libsomewhere.so")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert "libsomewhere.so" in driver.look().words
    assert not driver.named()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"ICD": []}', '{"ICD": {}}', "\x00\x01", '{"ICD": {"library_path":'],
)  # fmt: skip
@needs_gpu
def test_a_broken_driver_file_is_named(no_drivers, monkeypatch, tmp_path, text):
    path = tmp_path / "broken.json"
    path.write_text(text)
    monkeypatch.setenv("VK_DRIVER_FILES", str(path))
    assert str(path) in driver.look().problem


# --- what is remembered


def _verdict(**own):
    return Verdict(ok=False, why="wrong", max_error={"a": float("inf")}, cpu_p50_ms={2: 1.5}, **own)


def test_a_verdict_survives_the_disk(tmp_path):
    path = tmp_path / "v" / "x.json"
    assert verdict.recall(path) is None
    verdict.remember(path, _verdict(p50_ms=1.25))
    assert verdict.recall(path) == _verdict(p50_ms=1.25)


@given(st.data())
def test_a_damaged_verdict_is_no_verdict(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("v") / "x.json"
    verdict.remember(path, _verdict())
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        whole[place] ^= data.draw(st.integers(1, 255))
    else:
        del whole[place:]
    path.write_bytes(whole)
    assert verdict.recall(path) is None


# --- how answers are compared


def _dense(values):
    return [np.asarray(values, np.float32)]


def _difference(want, have, scale=0.0):
    spec = TensorSpec("x", (len(want[0]),), np.dtype(np.float32), scale=scale)
    pairs = [[_dense(values) for values in side] for side in (want, have)]
    (found,) = compare.compare([spec], *pairs).differences
    return found


def test_differences_are_relative_to_what_the_output_spans_on_that_picture():
    found = _difference([[0, 100], [0, 20]], [[0, 104], [0, 22]])
    assert (found.max_error, found.relative) == (4.0, pytest.approx(0.1))


def test_one_step_of_a_quantised_output_is_no_difference():
    found = _difference([[0, 100], [50, 60]], [[0, 100], [50, 61]], scale=0.5)
    assert (found.max_error, found.relative) == (0.5, 0)
    assert _difference([[50, 60]], [[50, 63]], scale=0.5).relative == pytest.approx(0.2)


def test_an_output_that_is_constant_on_one_picture_is_measured_against_the_others():
    assert _difference([[0, 100], [7, 7]], [[0, 100], [7, 7.5]]).relative == pytest.approx(0.1)
    assert _difference([[7, 7]], [[7, 7]]).relative == 0
    assert _difference([[7, 7]], [[7, 7.1]]).relative == float("inf")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_infinitely_wrong(bad):
    spec = TensorSpec("x", (2,), np.dtype(np.float32))
    (found,) = compare.compare([spec], [_dense([1, 2])], [_dense([1, bad])]).differences
    assert found.relative == float("inf")


LIST = [
    TensorSpec("classes", (1, 3), np.dtype(np.float32)),
    TensorSpec("boxes", (1, 3, 4), np.dtype(np.float32)),
    TensorSpec("scores", (1, 3), np.dtype(np.float32)),
    TensorSpec("count", (1,), np.dtype(np.float32)),
]


def _list(order=(0, 1, 2), classes=(1, 2, 3), scores=(0.9, 0.6, 0.35), shift=0.0):
    boxes = np.array([[0, 0, 1, 1], [2, 2, 4, 4], [5, 5, 9, 9]], np.float32) + shift
    order = list(order)
    return [
        np.array([classes], np.float32)[:, order],
        boxes[None, order],
        np.array([scores], np.float32)[:, order],
        np.array([3], np.float32),
    ]


def test_a_list_of_boxes_may_come_in_another_order():
    found = compare.compare(LIST, [_list()], [_list(order=(2, 0, 1))])
    assert found.unmatched == 0
    assert {item.name: item.max_error for item in found.differences} == {"boxes": 0, "scores": 0}


@pytest.mark.parametrize(
    "other",
    [{"classes": (1, 2, 9)}, {"scores": (0.9, 0.6, 0.1)}, {"shift": 3.0},
     {"scores": (float("nan"),) * 3}],
)  # fmt: skip
def test_a_list_that_differs_is_noticed(other):
    found = compare.compare(LIST, [_list()], [_list(**other)])
    assert found.unmatched >= 1 / 3 - 1e-9


def test_the_pictures_are_the_same_every_time_and_fill_the_range():
    spec = TensorSpec("in", (1, 24, 32, 3), np.dtype(np.float32))
    first, again = pictures.inputs(spec, 127.5, 127.5), pictures.inputs(spec, 127.5, 127.5)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(a.shape == spec.shape and np.abs(a).max() <= 1.01 for a in first)
    other = TensorSpec("in", (2, 5), np.dtype(np.float32))
    assert len(pictures.inputs(other, 0, 1)) == len(first)


# --- the kernel cache


def _filled(folder, name="key", content=b"programs"):
    cache = KernelCache.open(folder, name)
    data = folder / f"{name}_mldrift_compiled_cache.bin"
    data.write_bytes(content)
    cache.confirm()
    return data


def test_a_cache_that_went_well_is_used_again(tmp_path):
    data = _filled(tmp_path)
    KernelCache.open(tmp_path, "key").close()
    assert data.read_bytes() == b"programs"


@pytest.mark.parametrize("damage", [b"", b"progr", b"\0" * 8, b"programX", b"programs and more"])
def test_a_damaged_cache_is_dropped(tmp_path, damage):
    data = _filled(tmp_path)
    data.write_bytes(damage)
    KernelCache.open(tmp_path, "key").close()
    assert not data.exists()


def test_a_cache_of_another_key_is_dropped(tmp_path):
    data = _filled(tmp_path)
    (tmp_path / "other_mldrift_compiled_cache.bin").write_bytes(data.read_bytes())
    (tmp_path / "other.sha256").write_bytes((tmp_path / "key.sha256").read_bytes())
    KernelCache.open(tmp_path, "other").close()
    assert not (tmp_path / "other_mldrift_compiled_cache.bin").exists()
    assert data.exists()


def test_a_cache_is_dropped_after_a_crash(tmp_path):
    data = _filled(tmp_path)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from vision.litert.kernel_cache import KernelCache\n"
        "KernelCache.open(Path(sys.argv[1]), 'key'); os.abort()"
    )
    assert run_python(code, str(tmp_path)).returncode < 0
    assert data.exists()
    KernelCache.open(tmp_path, "key").close()
    assert not data.exists()


def test_a_cache_in_use_is_nobody_elses(tmp_path):
    data = _filled(tmp_path)
    first = KernelCache.open(tmp_path, "key")
    assert KernelCache.open(tmp_path, "key") is None
    assert data.exists(), "the second has dropped what the first one uses"
    first.close()
    first.close()
    KernelCache.open(tmp_path, "key").close()


def test_no_cache_where_the_folder_cannot_be(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert KernelCache.open(tmp_path / "file" / "cache", "key") is None


# --- the mutex


def test_a_mutex_lets_one_in_at_a_time():
    mutex, inside, most = Mutex(), [], []

    def work():
        for _ in range(300):
            with mutex:
                inside.append(1)
                most.append(len(inside))
                os.sched_yield()
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 1200
    assert max(most) == 1


def test_a_mutex_gives_up_at_its_deadline_and_is_had_later():
    mutex = Mutex()
    with mutex:
        assert not mutex.acquire(0.01)
    assert mutex.acquire(0)
    mutex.release()


# --- the C API itself


def test_another_release_of_the_wheel_is_refused(tmp_path):
    """A wheel of another release, as Python sees it: its metadata comes first on the path."""
    info = tmp_path / "ai_edge_litert-2.9.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ai-edge-litert\nVersion: 2.9.0\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from vision.errors import BackendError\n"
        "from vision.litert import capi\n"
        "try: capi.load()\n"
        "except BackendError as error: print(error)"
    )
    done = run_python(code, str(tmp_path))
    assert done.stdout.strip().startswith("the GPU path knows ai-edge-litert 2.3, here is 2.9.0")
    assert "pip install" in done.stdout


@needs_gpu
def test_a_status_is_an_error_in_words(tmp_path):
    with pytest.raises(BackendError, match=r"LiteRtCreateModelFromFile: .* \(LiteRT status \d+\)"):
        CompiledModel(tmp_path / "none.tflite", "fp32")
    junk = tmp_path / "junk.tflite"
    junk.write_bytes(b"\0" * 4096)
    with pytest.raises(BackendError, match="LiteRT status"):
        CompiledModel(junk, "fp32")


@needs_gpu
@pytest.mark.parametrize(
    "name",
    [
        "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite",
        "mobilefacenet_112_f32.tflite",
        "mobilenet_v1_0.25_128_quant.tflite",
        "mobilenet_v1_0.25_224_float.tflite",
    ],
)
def test_tensors_are_described_as_the_interpreter_describes_them(shared_models, name):
    model = CompiledModel(shared_models / name, "fp32")
    other = Runner(str(shared_models / name), 1)
    try:
        assert model.inputs == other.inputs
        assert model.outputs == other.outputs
        assert model.total_ops == other.split[1]
    finally:
        model.close()
        model.close()


def _run(model, buffers, values):
    buffers.inputs[0].lock(LockMode.WRITE)[...] = values
    buffers.inputs[0].unlock()
    model.run(buffers)
    answers = []
    for buffer in buffers.outputs:
        answers.append(buffer.lock(LockMode.READ).copy())
        buffer.unlock()
    return answers


@needs_gpu
def test_the_precision_is_heard():
    """LiteRT ignores option names that it does not know; so the effect is what counts."""
    spec = face("face-short")
    values = pictures.inputs(Runner(str(spec.path), 1).inputs[0], 127.5, 127.5)[0]
    answers = {}
    for precision in ("fp32", "fp16"):
        model = CompiledModel(spec.path, precision)
        buffers = model.new_buffers()
        answers[precision] = _run(model, buffers, values)[0]
        buffers.destroy()
        model.close()
    right = Runner(str(spec.path), 1).run([values])[0]
    errors = {name: np.abs(answer - right).max() for name, answer in answers.items()}
    assert errors["fp32"] < 1e-3 < 1e-2 < errors["fp16"] < 1


@needs_gpu
def test_the_write_view_is_aligned_and_stays_where_it_is():
    model = CompiledModel(face("face-short").path, "fp32")
    buffers = model.new_buffers()
    addresses = set()
    for i in range(4):
        view = buffers.inputs[0].lock(LockMode.WRITE)
        addresses.add(view.ctypes.data)
        view.fill(i)
        buffers.inputs[0].unlock()
        model.run(buffers)
        buffers.outputs[0].lock(LockMode.READ)
        buffers.outputs[0].unlock()
    buffers.destroy()
    model.close()
    assert len(addresses) == 1
    assert addresses.pop() % 64 == 0


@needs_gpu
def test_other_threads_run_while_the_gpu_does(shared_models):
    """A binding that keeps the GIL lets another thread do nothing at all inside a call."""
    model = CompiledModel(shared_models / "mobilefacenet_112_f32.tflite", "fp32")
    buffers = model.new_buffers()
    buffers.inputs[0].lock(LockMode.WRITE).fill(0.5)
    buffers.inputs[0].unlock()
    ticks, stop = [0], threading.Event()

    def tick():
        while not stop.is_set():
            ticks[0] += 1

    thread = threading.Thread(target=tick)
    thread.start()
    model.run(buffers)
    before = ticks[0]
    buffers.outputs[0].lock(LockMode.READ)  # this is where the GPU is waited for
    during = ticks[0] - before
    buffers.outputs[0].unlock()
    stop.set()
    thread.join(5)
    buffers.destroy()
    model.close()
    assert during > 1000


@needs_gpu
def test_models_may_be_closed_in_any_order():
    """Destroying the environment before its models would crash."""
    path = face("face-short").path
    first, second = CompiledModel(path, "fp32"), CompiledModel(path, "fp32")
    first.close()
    buffers = second.new_buffers()
    assert np.isfinite(_run(second, buffers, 0.5)[0]).all()
    buffers.destroy()
    second.close()
    third = CompiledModel(path, "fp32")
    third.close()
