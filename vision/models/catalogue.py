"""The only door from a name or a path to a model."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from vision import paths
from vision.errors import ModelError
from vision.model_spec import ModelSpec
from vision.models.entries import Asset, Catalogue, Description, Sidecar, load
from vision.models.metadata import Metadata, read_metadata
from vision.models.recognise import recognise
from vision.naming import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK_BYTES = 1 << 20


@functools.cache
def load_catalogue() -> Catalogue:
    """Return the catalogue that the project ships."""
    return load(paths.shipped("models/catalog.yaml"), Catalogue)


def resolve(name_or_path: str) -> ModelSpec:
    """Return the model that a configuration means, its file checked.

    Args:
        name_or_path: A name of the catalogue, or a path: with a `/` or ending `.tflite`.

    Raises:
        ModelError: If it is not known, not here, another file than the catalogue says,
            damaged, or not described well enough to be used.
    """
    if "/" in name_or_path or name_or_path.endswith(".tflite"):
        return _resolve_path(Path(name_or_path).expanduser())
    models = load_catalogue().models
    entry = models.get(name_or_path)
    if entry is None:
        raise ModelError(
            f"no model is called {name_or_path!r} (nor is that a path to a .tflite file)"
            f"{nearest(name_or_path, models)}"
        )
    path = find(entry, paths.model_folders())
    if path is None:
        raise _missing(name_or_path, entry)
    return _spec(name_or_path, path, entry.sha256, entry, read_metadata(path))


def find(asset: Asset, folders: list[Path]) -> Path | None:
    """Return the file whose SHA-256 is the catalogue's, None where there is none.

    It is looked for by its name, then, whatever its name, by its size.
    """
    return next((path for path in _candidates(asset, folders) if _is(path, asset)), None)


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits; raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _candidates(asset: Asset, folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        yield folder / asset.file
    for folder in folders:
        for path in sorted(folder.glob("*" + Path(asset.file).suffix)):
            if path.is_file() and asset.size in (None, path.stat().st_size):
                yield path


def _is(path: Path, asset: Asset) -> bool:
    try:
        return path.is_file() and sha256_of(path) == asset.sha256
    except OSError:
        return False  # not ours to read; `_missing` says so if no other file is found


def _missing(name: str, asset: Asset) -> ModelError:
    advice = f"python main.py models pull {name}"
    for folder in paths.model_folders():
        path = folder / asset.file
        try:
            found = sha256_of(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return ModelError(f"{path}: cannot read the model: {error.strerror}")
        return ModelError(
            f"{path}: not the model {name!r}: its SHA-256 begins {found[:12]}, "
            f"not {asset.sha256[:12]}; replace it: {advice}"
        )
    return ModelError(f"model {name!r} is not on this machine: {advice}")


def _resolve_path(path: Path) -> ModelSpec:
    try:
        if not path.is_file():
            raise ModelError(f"{path}: no such model file")
        sha256 = sha256_of(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot read the model: {error.strerror}") from error
    metadata = read_metadata(path)
    for name, entry in load_catalogue().models.items():
        if entry.sha256 == sha256:
            return _spec(name, path, sha256, entry, metadata)
    known = _described(path, metadata)
    if known.sha256 not in (None, sha256):
        raise ModelError(
            f"{path}: another file than its sidecar was written for (SHA-256 begins {sha256[:12]}, "
            f"not {str(known.sha256)[:12]}); get both again, or take `sha256` out of the sidecar"
        )
    from vision.models.trial import try_model  # noqa: PLC0415  (most starts do without)

    try_model(path, sha256)
    return _spec(path.stem, path, sha256, known, metadata)


def _described(path: Path, metadata: Metadata) -> Sidecar:
    """Return what the sidecar says, or what is certain without one."""
    sidecar_path = path.with_suffix(".yaml")
    known = load(sidecar_path, Sidecar) if sidecar_path.is_file() else recognise(metadata)
    if known is None:
        shapes = ", ".join(str(tensor.shape) for tensor in metadata.outputs)
        raise ModelError(
            f"{path}: nothing says how to read this model's outputs, {shapes}; write "
            f"{sidecar_path.name} beside it: `python main.py models inspect {path}` prints one "
            f"to start from"
        )
    return known


def _spec(name: str, path: Path, sha256: str, known: Description, metadata: Metadata) -> ModelSpec:
    return ModelSpec(
        name=name,
        path=path,
        sha256=sha256,
        task=known.task,
        decoder=known.decoder,
        input=known.input,
        labels=known.labels or metadata.labels,
        output_names=metadata.output_names,
        total_ops=len(metadata.operators),
        options=known.options,
    )
