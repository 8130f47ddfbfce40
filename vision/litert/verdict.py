"""What trying a model on an accelerator has shown, and where that is remembered."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vision import paths
from vision.litert.files import write_atomically
from vision.litert.options import Precision  # noqa: TC001  (pydantic resolves it at run time)

if TYPE_CHECKING:
    from pathlib import Path


class Attempt(BaseModel):
    """What to try."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accelerator: Literal["gpu", "delegate"] = "gpu"
    precision: Precision = "fp32"
    library: str = ""
    """The delegate's."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The delegate's."""


class Verdict(BaseModel):
    """What it gave."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    ok: bool
    why: str
    """In words: why not, or how well."""
    device: str = ""
    """The adapter's own name."""
    vendor: str = ""
    driver: str = ""
    software: bool = False
    """The adapter is the CPU in disguise."""
    delegated_ops: int = 0
    total_ops: int = 0
    unsupported: tuple[str, ...] = ()
    """Operations that the accelerator cannot do, by name."""
    max_error: dict[str, float] = Field(default_factory=dict)
    """By output, in real units, on pictures; empty where it did not get so far."""
    p50_ms: float | None = None
    """Write, run, read."""
    cpu_p50_ms: dict[int, float] = Field(default_factory=dict)
    """The CPU's, by threads."""

    @property
    def worst_error(self) -> float | None:
        """Of all outputs."""
        return max(self.max_error.values(), default=None)


def path_for(key: dict[str, Any]) -> Path:
    """Return where the verdict about `key` is kept."""
    name = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
    return paths.cache_dir() / "gpu" / "verdicts" / f"{name}.json"


def recall(path: Path) -> Verdict | None:
    """Return the verdict kept at `path`; None where there is none or it is damaged."""
    try:
        checksum, _, body = path.read_text(encoding="utf-8").partition("\n")
        if checksum != hashlib.sha256(body.encode()).hexdigest():
            return None
        return Verdict.model_validate_json(body)
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def remember(path: Path, verdict: Verdict) -> None:
    """Keep `verdict` at `path`.

    Raises:
        OSError: If it cannot be written; an older verdict stays.
    """
    body = verdict.model_dump_json(indent=1)
    checksum = hashlib.sha256(body.encode()).hexdigest()
    write_atomically(path, f"{checksum}\n{body}".encode())
