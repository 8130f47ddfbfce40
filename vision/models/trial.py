"""Try a model file that nobody vouches for in a child process.

Some damaged files kill the interpreter natively, and with it whoever loads them. So the
child loads, allocates and runs one first; what it survived is remembered.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from vision import paths
from vision.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

_DEADLINE_S = 20
_MEMORY_LIMIT_BYTES = 2 << 30
_RUNTIMES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}


def try_model(path: Path, sha256: str) -> None:
    """Load and run the model once, elsewhere.

    Args:
        path: The file.
        sha256: Its hash: with the runtime's version it is the key of what is remembered.

    Raises:
        ModelError: If the child dies, refuses the file, or is not done in 20 s.
    """
    memory = paths.cache_dir() / "trials" / f"{sha256}-{_runtime()}"
    if memory.exists():
        return
    _run_child(path)
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.touch()


def _runtime() -> str:
    """Return the name and version of the TFLite runtime that is installed."""
    for name in _RUNTIMES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"{name}-{importlib.metadata.version(name)}"
    raise ModelError(f"no TFLite runtime is installed: pip install {next(iter(_RUNTIMES))}")


def _run_child(path: Path) -> None:
    try:
        child = subprocess.run(
            [sys.executable, "-m", __name__, str(path.absolute())],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_DEADLINE_S,
            check=False,
            env=paths.child_environment(),
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"{path}: the model does not run through in {_DEADLINE_S} s: it is damaged or too large"
        ) from error
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise ModelError(
            f"{path}: the model kills the interpreter ({name}): the file is damaged; get it again"
        )
    if child.returncode:
        said = (child.stdout or child.stderr).strip().splitlines()
        raise ModelError(
            f"{path}: the interpreter refuses the model: {said[-1] if said else 'no reason given'}"
        )


def _load(path: str) -> Any:
    for module in _RUNTIMES.values():
        with contextlib.suppress(ModuleNotFoundError):
            return importlib.import_module(module).Interpreter(model_path=path, num_threads=1)
    raise RuntimeError("no TFLite runtime")


def _child(path: str) -> int:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_LIMIT_BYTES, resource.RLIM_INFINITY))
    try:
        interpreter = _load(path)
        interpreter.allocate_tensors()
        for tensor in interpreter.get_input_details():
            interpreter.tensor(tensor["index"])()[...] = 0
        interpreter.invoke()
    except (RuntimeError, ValueError, TypeError) as error:
        sys.stdout.write(" ".join(str(error).split()))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_child(sys.argv[1]))
