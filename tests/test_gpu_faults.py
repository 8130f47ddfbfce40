"""Drivers that are missing, broken, crash or hang; caches that are damaged; models in parts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from gpu_support import SWIFTSHADER, compile_c, face, manifest, needs_gpu, run_python, spec_of

from vision.backends.gpu import GpuBackend, GpuConfig
from vision.config import InferenceConfig
from vision.errors import BackendError
from vision.litert import probe
from vision.litert.choice import choose
from vision.litert.verdict import Attempt

DEADLINE_S = 5
WORKS = """
import sys
import numpy as np
from gpu_support import face
from vision.backends.gpu import GpuBackend, GpuConfig
from vision.litert.interpreter import Runner

backend = GpuBackend(GpuConfig(), spec=face('face-short'))
for n in range(int(sys.argv[1])):
    backend.input_view(0).fill(0.25)
    backend.submit(0)
    answers = [a.copy() for a in backend.collect(0)]
right = Runner(str(face('face-short').path), 1).run([np.full(backend.inputs[0].shape, 0.25, 'f')])
assert all(np.abs(a - b).max() < 2e-3 for a, b in zip(answers, right))
if len(sys.argv) > 2:
    import os
    os.kill(os.getpid(), int(sys.argv[2]))
backend.close()
print('right')
"""


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("VK_DRIVER_FILES", str(SWIFTSHADER))


def _refused(monkeypatch, driver_file) -> str:
    """Return why face-short is refused; the CPU must be the choice then."""
    monkeypatch.setenv("VK_DRIVER_FILES", str(driver_file))
    spec = face("face-short")
    verdict = probe.verify(spec, Attempt(), deadline_s=DEADLINE_S)
    assert not verdict.ok
    assert "\n" not in verdict.why
    with pytest.raises(BackendError, match="gpu: face-short: "):
        GpuBackend(GpuConfig(), spec=spec)
    assert choose(spec, InferenceConfig(precision="fp32")).backend == "cpu"
    return verdict.why


# --- drivers


@needs_gpu
def test_no_driver(monkeypatch):
    assert (
        _refused(monkeypatch, "/nonexistent") == "VK_DRIVER_FILES=/nonexistent names no driver file"
    )


@needs_gpu
def test_a_driver_file_that_is_no_json(monkeypatch, tmp_path):
    path = tmp_path / "broken.json"
    path.write_text('{"ICD": ')
    assert str(path) in _refused(monkeypatch, path)


@needs_gpu
def test_a_driver_whose_library_is_missing(monkeypatch, tmp_path):
    said = _refused(monkeypatch, manifest(tmp_path, "./gone.so"))
    assert "no Vulkan driver here gives an adapter" in said
    assert "gone.so" in said


@needs_gpu
def test_a_driver_library_that_is_no_library(monkeypatch, tmp_path):
    (tmp_path / "junk.so").write_bytes(b"\x7fELF" + bytes(4000))
    assert "junk.so" in _refused(monkeypatch, manifest(tmp_path, "./junk.so"))


@needs_gpu
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("abort();", "it crashes while compiling (SIGABRT)"),
        ("raise(SIGSEGV);", "it crashes while compiling (SIGSEGV)"),
        ("for (;;) sleep(1);", "it hangs while compiling"),
        ("_exit(3);", "it ends while compiling"),
    ],
)
def test_a_driver_that_takes_the_process_with_it(monkeypatch, tmp_path, body, said):
    code = (
        "#include <signal.h>\n#include <stdlib.h>\n#include <unistd.h>\n"
        f"__attribute__((constructor)) static void go(void) {{ {body} }}"
    )
    compile_c(code, tmp_path / "driver.so")
    assert said in _refused(monkeypatch, manifest(tmp_path, "./driver.so"))


@needs_gpu
def test_a_driver_that_is_mended_is_tried_again(monkeypatch, tmp_path):
    broken = manifest(tmp_path, "./gone.so")
    _refused(monkeypatch, broken)
    broken.write_text(SWIFTSHADER.read_text().replace("./", f"{SWIFTSHADER.parent}/"))
    assert probe.verify(face("face-short"), Attempt()).ok


@needs_gpu
@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="hides a file: as root"
)
def test_no_vulkan_loader():
    """The loader is hidden in a mount namespace of the child's own."""
    loader = next(Path("/usr/lib").glob("*-linux-gnu/libvulkan.so.1")).resolve()
    hide = f'mount --bind /dev/null {loader} && exec "$@"'
    code = (
        "from gpu_support import face\n"
        "from vision.litert import probe\n"
        "from vision.litert.verdict import Attempt\n"
        "print(probe.verify(face('face-short'), Attempt()).why)"
    )
    prefix = ("unshare", "-m", "--propagation", "private", "sh", "-c", hide, "sh")
    done = run_python(code, prefix=prefix)
    if done.stderr.startswith(("unshare:", "mount:")):
        pytest.skip("no mount namespaces here")
    assert done.stdout.strip() == (
        "there is no Vulkan loader (libvulkan.so.1): apt install libvulkan1"
    )


# --- the kernel cache


def _kernels(tmp_path):
    return sorted((tmp_path / "cache/vision/gpu/kernels").glob("*.bin"))


@pytest.fixture
def filled(tmp_path):
    assert run_python(WORKS, "8").stdout == "right\n"
    (path,) = _kernels(tmp_path)
    return path


@needs_gpu
def test_a_cache_is_filled_and_used(filled):
    before = filled.stat()
    done = run_python(WORKS, "8")
    assert done.stdout == "right\n"
    assert "Loaded cache file" in done.stderr
    assert filled.stat().st_mtime_ns == before.st_mtime_ns


@needs_gpu
@pytest.mark.parametrize("damage", ["truncated", "zeroed", "random"])
def test_a_damaged_cache_does_no_harm(filled, damage):
    size = filled.stat().st_size
    content = {
        "truncated": filled.read_bytes()[: size // 3],
        "zeroed": bytes(size),
        "random": os.urandom(size),
    }
    filled.write_bytes(content[damage])
    done = run_python(WORKS, "8")
    assert done.stdout == "right\n", done.stderr[-2000:]
    assert "Loaded cache file" not in done.stderr
    assert filled.stat().st_size == size, "a new one was written"


@needs_gpu
def test_a_cache_is_not_trusted_after_a_kill_in_the_first_runs(filled, tmp_path):
    assert run_python(WORKS, "2", "9").returncode == -9
    assert filled.exists()
    done = run_python(WORKS, "2")
    assert done.stdout == "right\n"
    assert "Loaded cache file" not in done.stderr


@needs_gpu
def test_a_start_too_short_to_confirm_the_cache_leaves_no_mark_of_a_crash(tmp_path):
    assert run_python(WORKS, "2").stdout == "right\n"
    assert not list((tmp_path / "cache/vision/gpu/kernels").glob("*.in-use"))


@needs_gpu
def test_each_model_has_a_cache_of_its_own(filled, tmp_path):
    assert run_python(WORKS.replace("face-short", "face-full"), "8").stdout == "right\n"
    assert len(_kernels(tmp_path)) == 2


# --- models


@needs_gpu
def test_a_model_with_its_own_suppression_is_verified_in_two_parts(shared_models):
    spec = spec_of(shared_models / "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite")
    verdict = probe.verify(spec, Attempt(precision="fp32"))
    assert verdict.ok, verdict.why
    assert (verdict.delegated_ops, verdict.total_ops) == (63, 64)
    assert verdict.unsupported == ("TFLite_Detection_PostProcess",)
    assert set(verdict.max_error) == {
        "TFLite_Detection_PostProcess", "TFLite_Detection_PostProcess:2",
    }  # fmt: skip


@needs_gpu
def test_a_file_that_is_no_model_is_refused_in_the_child(tmp_path):
    path = tmp_path / "junk.tflite"
    path.write_bytes(b"\0\0\0\0TFL3" + os.urandom(5000))
    verdict = probe.verify(spec_of(path), Attempt())
    assert not verdict.ok
    assert "\n" not in verdict.why


@needs_gpu
def test_a_cache_folder_that_cannot_be_written_costs_only_time(monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert run_python(WORKS, "8").stdout == "right\n"
