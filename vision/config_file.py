"""A configuration file and `--set` overrides as a checked `Config`, every error with its line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from vision import yaml_tree
from vision.config import Config
from vision.errors import ConfigError, UsageError
from vision.explain import problems
from vision.naming import nearest
from vision.origins import Origins

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from vision.origins import Keys

_Model = TypeVar("_Model", bound=BaseModel)
_MAX_BYTES = 256 * 1024
_INDEX_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and `where(*keys)` each of its values was written."""

    config: Config
    where: Origins


def load(path: Path, overrides: Sequence[str] = ()) -> Loaded:
    """Read and check a configuration; opens no device and imports no plug-in.

    Args:
        path: A YAML file. Paths in it are relative to the current directory, those of
            `!secret` to the file.
        overrides: `key.path=value` each, applied in order.

    Raises:
        ConfigError: With file, line and key.
        UsageError: If an override is no `key.path=value`.
    """
    where = Origins()
    tree = yaml_tree.parse(
        _text(path), where, place=lambda line: f"{path}:{line}", folder=path.parent
    )
    if tree is None:
        raise ConfigError(f"{path}: is empty; a configuration needs 'cameras' and 'detectors'")
    if not isinstance(tree, dict):
        raise where.error((), "the top is no mapping of 'cameras', 'detectors' and so on")
    for override in overrides:
        _override(tree, override, where, path.parent)
    return Loaded(checked(Config, tree, where), where)


def checked(
    model: type[_Model], section: Mapping[str, Any], where: Origins, prefix: Keys = ()
) -> _Model:
    """Return `section` as a `model`, without any conversion of types.

    Args:
        model: A plug-in's `Config`, or the whole.
        section: Plain values, as YAML gave them.
        where: As in `Loaded`.
        prefix: The keys of `section` itself.

    Raises:
        ConfigError: With every problem in it.
    """
    try:
        # As JSON, since there a list is a strict tuple too, and text a strict path.
        return model.model_validate_json(json.dumps(section), strict=True)
    except ValidationError as error:
        lines = problems(error, model, section, where, prefix)
    raise ConfigError(*lines)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        others = [str(other) for other in path.parent.glob("*.yaml")]
        hint = nearest(str(path), others) if others else ""
        raise ConfigError(f"{path}: no such file{hint}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if b"\0" in data:
        raise ConfigError(f"{path}: is a binary file, not a YAML configuration")
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {_MAX_BYTES // 1024} KiB: no configuration")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: byte {data[error.start]:#04x} is not UTF-8") from None


def _override(tree: dict[str, Any], override: str, where: Origins, folder: Path) -> None:
    dotted, equals, text = override.partition("=")
    *parents, last = dotted.split(".")
    if not equals or not all((*parents, last)) or not dotted.isprintable():
        raise UsageError(f"--set {dotted!r}: write --set key.path=value")
    # The value may be a secret, and is no part of the place.
    place = f"--set {dotted}=…"
    here: Any = tree
    keys: Keys = ()
    for part in parents:
        keys = (*keys, _step(here, part, place))
        if not _has(here, keys[-1]):
            _put(here, keys[-1], {})
            where.places[keys] = place
        here = here[keys[-1]]
    keys = (*keys, _step(here, last, place))
    where.forget(keys)
    value = yaml_tree.parse(text, where, place=lambda _: place, folder=folder, at=keys)
    _put(here, keys[-1], value)


def _step(container: Any, part: str, place: str) -> str | int:
    """Return `part` as a key of `container`: a list takes its numbers and the next one."""
    if isinstance(container, dict):
        return part
    if not isinstance(container, list):
        raise ConfigError(f"{place}: {part!r} is below a value that is no mapping and no list")
    index = int(part) if part.isascii() and part.isdecimal() and len(part) <= _INDEX_DIGITS else -1
    if not 0 <= index <= len(container):
        raise ConfigError(
            f"{place}: {part!r} is no item of the list; allowed: 0 to {len(container)}"
        )
    return index


def _has(container: Any, key: str | int) -> bool:
    inside = key in container if isinstance(key, str) else key < len(container)
    return inside and container[key] is not None


def _put(container: Any, key: str | int, value: Any) -> None:
    if isinstance(container, list) and key == len(container):
        container.append(value)
    else:
        container[key] = value
