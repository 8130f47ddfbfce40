"""What every test can ask for, and what none may leave behind."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DEADLINE_S = 60.0

# The models for tests, where they lie beside the checkout, for this process and its children.
os.environ["VISION_MODEL_PATH"] = os.pathsep.join(
    filter(None, (os.environ.get("VISION_MODEL_PATH"), str(ROOT.parent / "shared" / "models")))
)


def _shared(name: str) -> Path:
    folder = ROOT.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(f"no {folder.parent.name}/{name} beside the checkout: real data needed")
    return folder


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    return _shared("data")


@pytest.fixture(scope="session")
def shared_models() -> Path:
    return _shared("models")


@pytest.fixture
def vision(root, tmp_path):
    """Run `python main.py …` in an empty folder; return the finished process."""

    def call(*arguments, code=0, **environment):
        done = subprocess.run(
            [sys.executable, str(root / "main.py"), *map(str, arguments)],
            capture_output=True, text=True, timeout=DEADLINE_S, cwd=tmp_path, check=False,
            env={**os.environ, **environment},
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return call


def models_path(root):
    beside = os.environ.get("VISION_MODEL_PATH", "")
    return os.pathsep.join(
        part for part in (beside, str(root.parent / "shared" / "models")) if part
    )


@pytest.fixture
def picture(shared_data):
    return shared_data / "faces" / "2008_002506.jpg"


def events_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def one_shot():
    """Run a catalogue model on a picture: `one_shot("face-short", image)` gives Detections."""
    loaded = {}

    def detect(name, image, min_score=0.5):
        from vision.building import load_engine
        from vision.config import DetectorConfig, InferenceConfig

        if name not in loaded:
            own = DetectorConfig(model=name, min_score=min_score)
            loaded[name] = load_engine(own, InferenceConfig(backend="cpu", threads=1))
        engine = loaded[name]
        letterbox = engine.preprocess(image, engine.backend.input_view(0))
        engine.backend.submit(0)
        height, width = image.shape[:2]
        return engine.detector.decode(engine.backend.collect(0), letterbox, (width, height))

    yield detect
    for engine in loaded.values():
        engine.backend.close()


@pytest.fixture(autouse=True)
def _leaves_nothing_behind():
    """Fail a test that leaks a thread or an open file."""
    threads, files = set(threading.enumerate()), _open_files()
    yield
    for thread in set(threading.enumerate()) - threads:
        thread.join(2.0)
    leaked = [t.name for t in set(threading.enumerate()) - threads]
    assert not leaked, f"threads left running: {leaked}"
    if _open_files() - files:
        gc.collect()
    assert not _open_files() - files, "files left open"


def _open_files() -> set[str]:
    """Return what this process holds open: descriptor and target, devices aside."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue  # the descriptor of the listing itself
        if not target.startswith(("/dev/", "/proc/")):
            found.add(f"{entry.name} {target}")
    return found
