"""Whether the models are here, and are the right ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision import paths
from vision.doctor.report import Finding, broken
from vision.errors import ModelError
from vision.models.catalogue import find, load_catalogue, resolve

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from vision.model_spec import ModelSpec


def configured(name_or_path: str) -> tuple[Finding, ModelSpec | None]:
    """Check a model that the configuration runs; return it too, where it is right."""
    check = f"model {name_or_path}"
    try:
        spec = resolve(name_or_path)
    except ModelError as error:
        return _refused(check, name_or_path, str(error)), None
    return Finding(check, "ok", f"{spec.path}, SHA-256 {spec.sha256[:12]}"), spec


def _refused(check: str, name: str, message: str) -> Finding:
    if name not in load_catalogue().models:
        return broken(check, message, "give another file, or a name of `models list`")
    pull = f"python main.py models pull {name}"
    return Finding(
        check,
        "bad",
        message.removesuffix(pull).removesuffix(": ").removesuffix("; replace it"),
        pull,
    )


def others(used: Collection[str]) -> Iterator[Finding]:
    """Check what else of the catalogue is on this machine.

    Args:
        used: Names that have been checked already.
    """
    folders = paths.model_folders()
    for name, asset in load_catalogue().files().items():
        if name in used:
            continue
        check = f"model {name}"
        path = find(asset, folders)
        wrong = [folder / asset.file for folder in folders if (folder / asset.file).exists()]
        if path is not None:
            yield Finding(check, "ok", f"{path}, hash right")
        elif wrong:
            pull = f"python main.py models pull {name}"
            yield Finding(check, "warn", f"{wrong[0]} is another file than the catalogue's", pull)
        else:
            yield Finding(check, "skip", "not on this machine, and not in this configuration")
