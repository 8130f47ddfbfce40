"""What a person reads when a section breaks its schema: pydantic's errors in our words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vision.naming import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

    from vision.origins import Keys, Origins

_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
_LONG = 60


def problems(
    error: ValidationError,
    model: type[BaseModel],
    section: Mapping[str, Any],
    where: Origins,
    prefix: Keys,
) -> list[str]:
    """Return a line for each value that is wrong, unknown keys first.

    Args:
        error: What `model` said about `section`.
        model: The schema.
        section: Plain values.
        where: Knows the places, and what must stay hidden.
        prefix: The keys of `section` itself.
    """
    by_keys: dict[Keys, list[ErrorDetails]] = {}
    for each in error.errors(include_url=False):
        # pydantic counts only the items that are right.
        if each["type"] == "too_short" and len(each["input"]) >= each["ctx"]["min_length"]:
            continue
        by_keys.setdefault(_keys(each, section), []).append(each)
    # A misspelt key is often a missing one too, and the misspelling says more.
    ordered = sorted(by_keys.items(), key=lambda item: item[1][0]["type"] != "extra_forbidden")
    return [
        where.line((*prefix, *keys), _explanation(errors, keys, model)) for keys, errors in ordered
    ]


def _keys(error: ErrorDetails, section: Mapping[str, Any]) -> Keys:
    """Return the way to the value, without the names that pydantic gives to union members."""
    here: Any = section
    keys: list[str | int] = []
    for key in error["loc"]:
        in_list = isinstance(here, list | tuple) and isinstance(key, int) and key < len(here)
        if in_list or (isinstance(here, dict) and key in here):
            here = here[key]
            keys.append(key)
    return (*keys, error["loc"][-1]) if error["type"] == "missing" else tuple(keys)


def _explanation(errors: Sequence[ErrorDetails], keys: Keys, model: type[BaseModel]) -> str:
    first = errors[0]
    if first["type"] == "extra_forbidden":
        return f"unknown key{nearest(str(keys[-1]), _known_keys(model, keys[:-1]))}"
    if first["type"] == "missing":
        return "is missing"
    # Each member of a union errs; one that dislikes only the value has accepted its type.
    accepted = [each for each in errors if each["type"] not in {*_WANTED, "literal_error"}]
    said = accepted or errors
    wanted = [_wanted(each) for each in said]
    if None in wanted:
        return _other(said[0])
    return f"must be {' or '.join(map(str, wanted))}, not {_shown(first['input'])}"


def _wanted(error: ErrorDetails) -> str | None:
    if error["type"] in _WANTED:
        return _WANTED[error["type"]]
    _, is_about_input, wanted = error["msg"].partition("Input should be ")
    return wanted if is_about_input else None


def _other(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        return str(context["error"])
    if error["type"] in {"too_short", "too_long"}:
        fewest, most = context.get("min_length"), context.get("max_length")
        wanted = f"{fewest} or more" if error["type"] == "too_short" else f"{most} or fewer"
        return f"needs {wanted} items, has {context['actual_length']}"
    return error["msg"].replace("String should have", "must have")


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list | dict):
        return _WANTED[f"{type(value).__name__}_type"]
    # A long text is not cut, since a cut secret could not be recognised and hidden.
    return repr(value) if len(str(value)) <= _LONG else "a long text"


def _known_keys(model: type[BaseModel], keys: Keys) -> set[str]:
    """Return the keys that `model` allows in the mapping at `keys`."""
    root = model.model_json_schema()
    here = [root]
    for key in keys:
        here = [child for part in here for child in _children(part, key, root)]
    return {name for part in here for each in _variants(part, root) for name in each["properties"]}


def _children(part: Mapping[str, Any], key: str | int, root: Mapping[str, Any]) -> Iterator[Any]:
    for each in _variants(part, root):
        if isinstance(key, int):
            yield each.get("items", {})
        else:
            yield each.get("properties", {}).get(key) or each.get("additionalProperties") or {}


def _variants(part: Any, root: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a JSON schema's alternatives, with references followed."""
    part = part if isinstance(part, dict) else {}
    if "$ref" in part:
        part = root["$defs"][part["$ref"].rpartition("/")[2]]
    options = [*part.get("anyOf", ()), *part.get("oneOf", ()), *part.get("allOf", ())]
    for option in options:
        yield from _variants(option, root)
    if not options:
        yield {"properties": {}, **part}
