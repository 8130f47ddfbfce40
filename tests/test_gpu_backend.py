"""The GPU backend on a software GPU: right, in two threads, closed in every way."""

from __future__ import annotations

import queue
import threading

import cv2
import numpy as np
import pytest
from gpu_support import (
    WHY_NOT,
    face,
    manifest,
    needs_gpu,
    run_python,
    software_gpu,
    sparse_face,
    spec_of,
)

from vision import registry
from vision.backends.gpu import GpuBackend, GpuConfig, _finite
from vision.config import InferenceConfig
from vision.errors import EXIT_CONFIG, BackendError, ConfigError
from vision.litert import choice, pictures, probe
from vision.litert.choice import choose
from vision.litert.interpreter import Runner
from vision.litert.verdict import Attempt
from vision.preprocess import Preprocessor

FRAMES = 240


@pytest.fixture(scope="module", autouse=True)
def _gpu(tmp_path_factory):
    with software_gpu(tmp_path_factory.mktemp("cache")):
        yield


@pytest.fixture
def backend():
    made = GpuBackend(GpuConfig(), spec=face("face-short"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def known():
    """Inputs for face-short, and what the CPU answers to each."""
    runner = Runner(str(face("face-short").path), 1)
    rng = np.random.default_rng(1)
    shape = runner.inputs[0].shape
    inputs = [rng.uniform(-1, 1, shape).astype(np.float32) for _ in range(8)]
    inputs += pictures.inputs(runner.inputs[0], 127.5, 127.5)
    return inputs, [[a.copy() for a in runner.run([values])] for values in inputs]


def _same(outputs, expected):
    return all(np.abs(a - b).max() < 2e-3 for a, b in zip(outputs, expected, strict=True))


def _alone(backend, slot, values):
    np.copyto(backend.input_view(slot), values)
    backend.submit(slot)
    return backend.collect(slot)


# --- what it says and what it answers


@needs_gpu
def test_it_says_what_really_computes(backend):
    info = backend.info
    assert (info.name, info.precision, info.threads) == ("gpu", "fp32", 0)
    assert info.device == "SwiftShader Device (Subzero), in software"
    assert info.delegated_ops == info.total_ops == 164
    assert 0 < info.max_error < 1e-2


@needs_gpu
def test_the_views_are_aligned_memory_of_their_own(backend):
    views = [backend.input_view(slot) for slot in range(backend.slots)]
    assert len({view.ctypes.data for view in views}) == backend.slots == 2
    for view in views:
        assert view.ctypes.data % 64 == 0
        assert view.flags.writeable
        assert (view.shape, view.dtype) == (backend.inputs[0].shape, backend.inputs[0].dtype)


@needs_gpu
def test_every_answer_equals_the_cpus(backend, known):
    for i, (values, expected) in enumerate(zip(*known, strict=True)):
        assert _same(_alone(backend, i % 2, values), expected)


@needs_gpu
@pytest.mark.parametrize("name", ["face-short", "face-full"])
def test_faces_are_those_that_the_cpu_finds(one_shot, shared_data, name):
    spec = face(name)
    backend = GpuBackend(GpuConfig(), spec=spec)
    plug_in = registry.load("detector", registry.DETECTORS, spec.decoder)
    detector = plug_in(
        plug_in.Config(**spec.options), spec=spec, inputs=backend.inputs, outputs=backend.outputs,
        min_score=0.5,
    )  # fmt: skip
    preprocess = Preprocessor(spec.input, backend.inputs[0])
    found = 0
    for path in sorted((shared_data / "faces").glob("*.jpg"))[:12]:
        image = cv2.imread(str(path))
        letterbox = preprocess(image, backend.input_view(0))
        backend.submit(0)
        ours = detector.decode(backend.collect(0), letterbox, image.shape[1::-1])
        cpus = one_shot(name, image)
        assert np.allclose(ours.xyxy, cpus.xyxy, atol=0.05)
        assert np.allclose(ours.score, cpus.score, atol=1e-3)
        found += len(ours)
    backend.close()
    assert found >= 5


# --- two threads


def _line(backend, known, frames):
    """Write and submit in one thread, collect in this one, as the pipeline does."""
    inputs, answers = known
    free, full = queue.Queue(), queue.Queue()
    for slot in range(backend.slots):
        free.put(slot)

    def feed():
        for n in range(frames):
            slot = free.get(timeout=60)
            np.copyto(backend.input_view(slot), inputs[n % len(inputs)])
            backend.submit(slot)
            full.put((slot, n))

    feeder = threading.Thread(target=feed)
    feeder.start()
    wrong = []
    for _ in range(frames):
        slot, n = full.get(timeout=60)
        if not _same(backend.collect(slot), answers[n % len(inputs)]):
            wrong.append(n)
        free.put(slot)
    feeder.join(60)
    return wrong


@needs_gpu
def test_two_frames_in_flight_get_their_own_answers(backend, known):
    assert _line(backend, known, FRAMES) == []


@needs_gpu
def test_two_models_in_two_threads_do_not_meet(backend, known):
    other = GpuBackend(GpuConfig(), spec=face("face-short"))
    wrong = []
    threads = [
        threading.Thread(target=lambda made=made: wrong.extend(_line(made, known, 60)))
        for made in (backend, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    other.close()
    assert wrong == []


@needs_gpu
def test_two_threads_may_run_one_model(backend, known):
    """LiteRT aborts the process if both are inside at once."""
    inputs, answers = known
    wrong = []

    def work(slot):
        for n in range(40):
            i = n % len(inputs)
            wrong.extend([] if _same(_alone(backend, slot, inputs[i]), answers[i]) else [(slot, n)])

    threads = [threading.Thread(target=work, args=(slot,)) for slot in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert wrong == []


# --- used in the wrong order


@needs_gpu
def test_the_wrong_order_is_an_error_and_no_crash(backend, known):
    with pytest.raises(BackendError, match="slot 0 is free, not in flight"):
        backend.collect(0)
    backend.submit(0)
    with pytest.raises(BackendError, match="slot 0 is in flight, not free"):
        backend.submit(0)
    with pytest.raises(BackendError, match="slot 0 is in flight, not free"):
        backend.input_view(0)
    backend.collect(0)
    assert _same(_alone(backend, 0, known[0][0]), known[1][0])


@needs_gpu
def test_a_closed_backend_refuses_everything(backend):
    backend.submit(1)  # in flight, and never collected
    backend.close()
    backend.close()
    for call in (backend.input_view, backend.submit, backend.collect):
        for slot in range(2):
            with pytest.raises(BackendError, match="closed"):
                call(slot)


@needs_gpu
def test_it_may_be_closed_from_another_thread_during_a_run(known):
    for _ in range(5):
        backend = GpuBackend(GpuConfig(), spec=face("face-short"))
        running, errors = threading.Event(), []

        def work(backend=backend, running=running, errors=errors):
            try:
                while True:
                    _alone(backend, 0, 0.5)
                    running.set()
            except BackendError as error:
                errors.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        assert running.wait(60)
        backend.close()
        thread.join(60)
        assert not thread.is_alive()
        assert "closed" in errors[0]


@needs_gpu
def test_the_other_backend_lives_on_when_one_is_closed(known):
    first = GpuBackend(GpuConfig(), spec=face("face-short"))
    second = GpuBackend(GpuConfig(), spec=face("face-short"))
    first.close()
    assert _same(_alone(second, 0, known[0][0]), known[1][0])
    second.close()


@needs_gpu
def test_fifty_times_open_and_closed_leaves_nothing():
    """In a process of its own: the environment comes and goes with each."""
    code = """
import os, sys
from gpu_support import face
from vision.backends.gpu import GpuBackend, GpuConfig

def state():
    pages = int(open('/proc/self/statm').read().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') >> 20, len(os.listdir('/proc/self/fd'))

for n in range(50):
    backend = GpuBackend(GpuConfig(), spec=face('face-short'))
    backend.input_view(0).fill(n / 50)
    backend.submit(0)
    backend.collect(0)
    backend.close()
    if n == 9:
        before = state()
print(*before, *state())
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr[-2000:]
    megabytes, files, megabytes_after, files_after = map(int, done.stdout.split())
    assert files_after == files
    assert megabytes_after - megabytes < 20


def test_one_that_is_not_finite_is_noticed():
    values = np.zeros(5000, np.float32)
    assert _finite(values)
    for bad in (np.nan, np.inf, -np.inf):
        values[4321] = bad
        assert not _finite(values)
    assert _finite(np.zeros(3, np.uint8))


# --- verified or refused


@needs_gpu
def test_the_sparse_model_is_refused_with_the_reason():
    with pytest.raises(BackendError) as caught:
        GpuBackend(GpuConfig(), spec=sparse_face())
    said = str(caught.value)
    assert "wrong answers" in said
    assert "159 of 388 operations" in said
    assert "DENSIFY" in said


@needs_gpu
def test_a_model_in_parts_is_used_where_it_is_verified(shared_models):
    """The squeeze is not the GPU's to do."""
    path = shared_models / "mobilenet_v1_0.25_224_float.tflite"
    backend = GpuBackend(GpuConfig(), spec=spec_of(path))
    assert (backend.info.delegated_ops, backend.info.total_ops) == (29, 31)
    runner = Runner(str(path), 1)
    for values in pictures.inputs(backend.inputs[0], 127.5, 127.5):
        assert np.abs(_alone(backend, 1, values)[0] - runner.run([values])[0]).max() < 1e-4
    backend.close()


@needs_gpu
def test_a_precision_that_is_too_coarse_is_refused(shared_models):
    spec = spec_of(shared_models / "mobilenet_v1_0.25_224_float.tflite")
    assert probe.verify(spec, Attempt(precision="fp32")).ok
    coarse = probe.verify(spec, Attempt(precision="fp16"))
    assert not coarse.ok
    assert "wrong answers" in coarse.why


@needs_gpu
def test_a_verdict_is_remembered_and_made_anew_for_another_driver(monkeypatch, tmp_path):
    spec, attempt = face("face-short"), Attempt()
    probe.verify(spec, attempt)
    monkeypatch.setattr(probe, "_run_child", None)  # whoever asks a child now, fails
    assert probe.verify(spec, attempt).ok
    with pytest.raises(TypeError):
        probe.verify(spec, attempt, redo=True)
    with pytest.raises(TypeError):
        probe.verify(spec, Attempt(precision="fp16", options={"other": 1}))
    with pytest.raises(TypeError):
        probe.verify(spec.model_copy(update={"sha256": "0" * 64}), attempt)


@needs_gpu
def test_a_software_gpu_that_nobody_named_is_the_cpu(monkeypatch, tmp_path):
    folder = tmp_path / "vulkan/icd.d"
    folder.mkdir(parents=True)
    manifest(folder, "/usr/lib/chromium/libvk_swiftshader.so")
    monkeypatch.delenv("VK_DRIVER_FILES")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    verdict = probe.verify(face("face-short"), Attempt())
    assert not verdict.ok
    assert verdict.software
    assert "is the CPU in software" in verdict.why
    decision = choose(face("face-short"), InferenceConfig())
    assert decision.backend == "cpu"


# --- the choice


@needs_gpu
def test_auto_takes_the_faster_and_says_why():
    decision = choose(face("face-full"), InferenceConfig())
    verdicts = decision.verdicts.values()
    gpu = min(v.p50_ms for v in verdicts)
    cpu = min(ms for v in verdicts for ms in v.cpu_p50_ms.values())
    assert set(decision.verdicts) == {"fp16", "fp32"}
    assert decision.backend == ("gpu" if gpu < cpu else "cpu")
    assert "ms" in decision.why
    assert registry.load("backend", registry.BACKENDS, decision.backend).Config(**decision.settings)


@needs_gpu
@pytest.mark.parametrize("inference", [{"backend": "gpu"}, {"require_gpu": True}])
def test_a_gpu_that_is_asked_for_is_taken_where_it_is_right(inference):
    decision = choose(face("face-short"), InferenceConfig(precision="fp32", **inference))
    assert (decision.backend, decision.settings) == ("gpu", {"precision": "fp32"})


@pytest.mark.parametrize("inference", [{"backend": "gpu"}, {"require_gpu": True}])
def test_a_gpu_that_is_asked_for_and_not_there_is_an_error_with_the_reason(monkeypatch, inference):
    monkeypatch.setenv("VK_DRIVER_FILES", "/nonexistent")
    with pytest.raises(ConfigError) as caught:
        choose(face("face-short"), InferenceConfig(**inference))
    assert caught.value.exit_code == EXIT_CONFIG
    assert WHY_NOT or "/nonexistent names no driver file" in str(caught.value)


def test_without_a_gpu_auto_is_the_cpu_with_the_reason_and_at_once(monkeypatch):
    monkeypatch.setenv("VK_DRIVER_FILES", "/nonexistent")
    monkeypatch.setattr(probe, "_run_child", None)
    decision = choose(face("face-short"), InferenceConfig(threads=2))
    assert (decision.backend, decision.settings) == ("cpu", {"threads": 2})
    assert decision.why.startswith("no GPU: ")


def test_the_cpu_is_taken_where_the_configuration_says_so(monkeypatch):
    monkeypatch.setattr(probe, "_run_child", None)
    assert choose(face("face-short"), InferenceConfig(backend="cpu")).backend == "cpu"


@pytest.mark.parametrize(
    ("p50_ms", "taken"),
    [
        ({"fp16": 1.0, "fp32": 1.05}, "fp32"),  # no gain to speak of
        ({"fp16": 1.0, "fp32": 2.0}, "fp16"),
        ({"fp16": 2.0, "fp32": 1.0}, "fp32"),
        ({"fp16": 1.0}, "fp16"),
        ({"fp32": 9.0}, "fp32"),
    ],
)
def test_the_coarse_precision_has_to_be_clearly_faster(p50_ms, taken):
    assert choice._best(p50_ms) == taken
