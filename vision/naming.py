"""Names: which are allowed, and which one was meant."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_TOPIC_SYNTAX = frozenset("/#+")


def topic_name(name: str) -> str:
    """Return `name` if it can be one level of an MQTT topic, else raise ValueError."""
    spaced = any(character.isspace() for character in name)
    if not name or spaced or not name.isprintable() or not _TOPIC_SYNTAX.isdisjoint(name):
        raise ValueError("a name is not empty and has no '/', '#', '+' or white space")
    return name


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean …?` or `; allowed: …` for an error about `name`."""
    names = sorted(allowed)
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; allowed: {', '.join(names)}"
