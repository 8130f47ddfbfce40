"""YAML text as plain values, with the place of each.

Scalars follow the core schema of YAML 1.2, whose values are those of JSON: only true and
false are booleans, 12:30 and 2024-01-31 are text, 1e3 is a number. Infinity and NaN are text.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from vision.errors import ConfigError
from vision.origins import Keys, Origins, Written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_TAG = "tag:yaml.org,2002:"
_SECRET = "!secret"  # noqa: S105  (a tag)
_CORE = {
    f"{_TAG}null": re.compile(r"(?:~|null|Null|NULL|)\Z"),
    f"{_TAG}bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    f"{_TAG}int": re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
    f"{_TAG}float": re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"),
    f"{_TAG}str": re.compile(""),
}
_IMPLICIT: dict[Any, Any] = {None: list(_CORE.items())}
_VARIABLE = re.compile(r"\$\$\{|\$\{(?:(\w+)(?::-([^}]*))?\})?", re.ASCII)
_CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_MAX_DEPTH = 50
_MAX_VALUES = 20_000
_MAX_DIGITS = 40
_MAX_INTEGER = 2**63 - 1
_MAX_SECRET_CHARACTERS = 4096


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = _IMPLICIT


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = _IMPLICIT

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _represent_written(dumper: yaml.SafeDumper, value: Written) -> yaml.ScalarNode:
    return dumper.represent_scalar(value.tag, value.text)


_Dumper.add_representer(Written, _represent_written)


def parse(
    text: str, origins: Origins, *, place: Callable[[int], str], folder: Path, at: Keys = ()
) -> Any:
    """Return the plain values of one YAML document.

    Args:
        text: YAML; an empty one is None.
        origins: Learns the place of every value.
        place: Turns a line number, from 1, into a place.
        folder: `!secret` files are relative to it.
        at: Where in the configuration the document belongs.

    Raises:
        ConfigError: If it is not YAML, or a variable or secret file is missing.
    """
    origins.places[at] = place(1)
    node = _compose(text, place)
    return None if node is None else _Builder(origins, place, folder).value(node, at)


def dump(values: Any, written: Mapping[Keys, Written]) -> str:
    """Return YAML that `parse` reads back; `written` stands in for the values it has."""
    return yaml.dump(
        _replaced(values, written, ()),
        Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100,
    )  # fmt: skip


def _replaced(value: Any, written: Mapping[Keys, Written], keys: Keys) -> Any:
    if keys in written:
        return written[keys]
    if isinstance(value, dict):
        return {key: _replaced(item, written, (*keys, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, written, (*keys, index)) for index, item in enumerate(value)]
    return value


def _compose(text: str, place: Callable[[int], str]) -> yaml.Node | None:
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{place(line)}: not YAML: control character {error.character:#04x}"
        ) from None
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax_error(error, text, place)) from None
    except RecursionError:
        raise ConfigError(f"{place(1)}: more than {_MAX_DEPTH} levels deep") from None
    except (ValueError, OverflowError):  # PyYAML's own conversions, as of \UFFFFFFFF
        line = loader.line + 1
        raise ConfigError(f"{place(line)}: not YAML: a character or number out of range") from None


def _syntax_error(error: yaml.MarkedYAMLError, text: str, place: Callable[[int], str]) -> str:
    mark = error.problem_mark or error.context_mark
    number = mark.line if mark else 0
    lines = text.splitlines()
    hint = ""
    if number < len(lines) and "${" in lines[number]:
        hint = '; inside { } and [ ] write "${...}" in quotes'
    reason = ", ".join(part for part in (error.context, error.problem) if part)
    return f"{place(number + 1)}: not YAML: {reason}{hint}"


@dataclass(slots=True)
class _Builder:
    origins: Origins
    place: Callable[[int], str]
    folder: Path
    count: int = 0

    def value(self, node: yaml.Node, keys: Keys) -> Any:
        self.origins.places.setdefault(keys, self._place(node))
        self.count += 1  # Aliases make much of little.
        if len(keys) > _MAX_DEPTH or self.count > _MAX_VALUES:
            limits = f"{_MAX_DEPTH} levels or {_MAX_VALUES} values"
            raise self.origins.error(keys[:1], f"more than {limits}")
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, keys)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.value(item, (*keys, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag == _SECRET:
            return self._secret(node, keys)
        if isinstance(node, yaml.ScalarNode) and node.tag in _CORE:
            return self._scalar(node, keys)
        raise self.origins.error(keys, f"tag {node.tag!r} is not known; allowed: {_SECRET}")

    def _place(self, node: yaml.Node) -> str:
        return self.place(node.start_mark.line + 1)

    def _mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, item in node.value:
            place = self._place(key)
            if not isinstance(key, yaml.ScalarNode) or _CONTROL.search(key.value):
                raise ConfigError(f"{place}: a key is plain text")
            below = (*keys, key.value)
            first = self.origins.places.get(below)
            self.origins.places[below] = place
            if key.value in values:
                raise self.origins.error(below, f"is given twice, first at {first}")
            values[key.value] = self.value(item, below)
        return values

    def _scalar(self, node: yaml.ScalarNode, keys: Keys) -> Any:
        text, kind = str(node.value), node.tag.removeprefix(_TAG)
        if not _CORE[node.tag].match(text):
            raise self.origins.error(keys, f"{text!r} is not what its tag says, {kind}")
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "str":
            return self._text(text, keys)
        return self._number(text, keys, is_float=kind == "float")

    def _number(self, text: str, keys: Keys, *, is_float: bool) -> float:
        if len(text) <= _MAX_DIGITS:
            number = float(text) if is_float else int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
            if abs(number) < math.inf if is_float else abs(number) <= _MAX_INTEGER:
                return number
        raise self.origins.error(keys, "the number is too large")

    def _text(self, text: str, keys: Keys) -> str:
        value = self._substituted(text, keys)
        if value != text:
            self.origins.hide(keys, Written(f"{_TAG}str", text), value)
        return value

    def _secret(self, node: yaml.ScalarNode, keys: Keys) -> str:
        path = self.folder / self._substituted(node.value, keys)
        try:
            with path.open(encoding="utf-8") as file:
                value = file.readline(_MAX_SECRET_CHARACTERS).strip()
        except OSError as error:
            raise self.origins.error(keys, f"secret file {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise self.origins.error(keys, f"secret file {path}: not UTF-8 text") from None
        if not value:
            raise self.origins.error(keys, f"secret file {path}: the first line is empty")
        self.origins.hide(keys, Written(_SECRET, node.value), value)
        return self._clean(value, keys)

    def _substituted(self, text: str, keys: Keys) -> str:
        def value(match: re.Match[str]) -> str:
            name, default = match.groups()
            if match[0] == "$${":
                return "${"
            if name is None:
                raise self.origins.error(keys, "write ${NAME}, ${NAME:-default}, or $${ for '${'")
            found = os.environ.get(name)
            if default is not None:
                return found or str(default)
            if found is None:
                raise self.origins.error(keys, f"environment variable {name} is not set")
            return found

        return self._clean(_VARIABLE.sub(value, text), keys)

    def _clean(self, text: str, keys: Keys) -> str:
        if _CONTROL.search(text):
            raise self.origins.error(keys, "contains a control character")
        return text
