"""Where things lie on this machine: shipped files, models, caches."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent
_PACKAGED = Path(__file__).resolve().parent / "_data"


def shipped(relative: str) -> Path:
    """Return a file that the project ships, from the checkout or from the wheel."""
    for root in (_CHECKOUT, _PACKAGED):
        if (root / relative).exists():
            return root / relative
    return _CHECKOUT / relative


def models_dir() -> Path:
    """Return the folder that `models pull` fills: the checkout's, else the user's own."""
    if (_CHECKOUT / "models" / "catalog.yaml").is_file():
        return _CHECKOUT / "models"
    return _xdg("XDG_DATA_HOME", ".local/share") / "models"


def model_folders() -> list[Path]:
    """Return where models are looked for: `models_dir`, `VISION_MODEL_PATH`, the wheel's own."""
    extra = os.environ.get("VISION_MODEL_PATH", "")
    named = (Path(part).expanduser() for part in extra.split(os.pathsep) if part)
    return [models_dir(), *named, _PACKAGED / "models"]


def cache_dir() -> Path:
    """Return the folder for what can be made again (may not exist yet)."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def child_environment(**more: str) -> dict[str, str]:
    """Return an environment in which a child Python finds this package wherever it lies."""
    search = filter(None, (str(_CHECKOUT), os.environ.get("PYTHONPATH")))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(search), **more}


def _xdg(variable: str, default: str) -> Path:
    base = os.environ.get(variable)
    if base:
        return Path(base) / "vision"
    try:
        return Path.home() / default / "vision"
    except RuntimeError:  # a service user without a home
        return Path(tempfile.gettempdir()) / f"vision-{os.getuid()}"
