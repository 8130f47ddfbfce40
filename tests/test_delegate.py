"""External delegates, with a small one that the test compiles."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
from gpu_support import compile_c, face

from vision.backends.delegate import DelegateBackend, DelegateConfig
from vision.config import InferenceConfig
from vision.errors import EXIT_CONFIG, BackendError, ConfigError
from vision.litert import pictures, probe
from vision.litert.choice import choose
from vision.litert.interpreter import Runner, load_delegate
from vision.litert.verdict import Attempt


@pytest.fixture(scope="module")
def library(tmp_path_factory, request):
    source = request.path.parent / "native" / "delegate.c"
    return str(compile_c(source, tmp_path_factory.mktemp("delegate") / "libcopy.so"))


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def _attempt(library, mode):
    options = {"mode": mode}
    return Attempt(accelerator="delegate", precision="fp16", library=library, options=options)


# --- the three ways in which loading fails


def test_a_library_that_is_not_there_or_broken(tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"\x7fELF junk")
    for path in (tmp_path / "none.so", broken):
        with pytest.raises(BackendError, match="the library does not load"):
            load_delegate(str(path), {})


def test_a_library_that_is_no_delegate(tmp_path):
    path = compile_c("int nothing;", tmp_path / "other.so")
    with pytest.raises(BackendError, match="this library is no TFLite delegate"):
        load_delegate(str(path), {})


def test_a_delegate_that_refuses_says_why(library):
    with pytest.raises(BackendError, match=r"refuses to start .* no such device"):
        load_delegate(library, {"mode": "refuse"})


# --- verified like the GPU


def test_a_delegate_that_is_right_is_used(library):
    spec = face("face-short")
    backend = DelegateBackend(DelegateConfig(library=library), spec=spec)
    info = backend.info
    assert (info.name, info.device) == ("delegate", "libcopy.so")
    assert (info.delegated_ops, info.total_ops, info.max_error) == (4, 164, 0)
    cpu = Runner(str(spec.path), 1)
    for values in pictures.inputs(backend.inputs[0], 127.5, 127.5):
        np.copyto(backend.input_view(1), values)
        backend.submit(1)
        expected = cpu.run([values])
        answers = backend.collect(1)
        assert all(np.array_equal(a, b) for a, b in zip(answers, expected, strict=True))
    backend.close()


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("wrong", "wrong answers: output"),
        ("crash", "it crashes while running (SIGABRT)"),
        ("hang", "it hangs while running"),
        ("idle", "none of the model's operations run on it"),
        ("refuse", "no such device"),
    ],
)
def test_a_delegate_that_is_not_right_is_refused(library, mode, why):
    verdict = probe.verify(face("face-short"), _attempt(library, mode), deadline_s=5)
    assert not verdict.ok
    assert why in verdict.why
    assert verdict.cpu_p50_ms
    with pytest.raises(BackendError, match="face-short on delegate"):
        DelegateBackend(
            DelegateConfig(library=library, options={"mode": mode}), spec=face("face-short")
        )


def test_another_library_is_verified_anew(library, tmp_path, monkeypatch):
    spec = face("face-short")
    copy = tmp_path / "copy.so"
    shutil.copy(library, copy)
    assert probe.verify(spec, _attempt(str(copy), "right")).ok
    monkeypatch.setattr(probe, "_run_child", None)  # whoever asks a child now, fails
    assert probe.verify(spec, _attempt(str(copy), "right")).ok
    copy.write_bytes(copy.read_bytes() + b"\0")
    with pytest.raises(TypeError):
        probe.verify(spec, _attempt(str(copy), "right"))


# --- chosen


def test_a_delegate_that_is_asked_for_is_taken(library):
    inference = InferenceConfig(backend="delegate", library=library, precision="fp16")
    decision = choose(face("face-short"), inference)
    assert decision.backend == "delegate"
    backend = DelegateBackend(DelegateConfig(**decision.settings), spec=face("face-short"))
    backend.close()


def test_a_delegate_that_is_asked_for_and_wrong_is_an_error(library):
    inference = InferenceConfig(backend="delegate", library=library, options={"mode": "wrong"})
    with pytest.raises(ConfigError, match="wrong answers") as caught:
        choose(face("face-short"), inference)
    assert caught.value.exit_code == EXIT_CONFIG


# --- closed


def test_it_may_be_closed_twice_and_from_another_thread_during_a_run(library):
    backend = DelegateBackend(DelegateConfig(library=library), spec=face("face-short"))
    running, errors = threading.Event(), []

    def work():
        try:
            while True:
                backend.collect(0)
                running.set()
        except BackendError as error:
            errors.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    assert running.wait(30)
    backend.close()
    backend.close()
    thread.join(30)
    assert errors == ["delegate: the model is closed"]
