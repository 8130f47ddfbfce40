"""Where each value of the configuration was written, and which ones stay hidden."""

from __future__ import annotations

from dataclasses import dataclass, field

from vision.errors import ConfigError

Keys = tuple[str | int, ...]
"""The way to a value: names in mappings, numbers in lists."""


@dataclass(frozen=True, slots=True)
class Written:
    """A YAML scalar as the file has it, in place of the secret that it stands for."""

    tag: str
    text: str


@dataclass(slots=True)
class Origins:
    """What is known of every value besides the value itself.

    Attributes:
        places: `x.yaml:12` or `--set …`, by keys.
        written: What came from a variable or a secret file, as the file has it.
    """

    places: dict[Keys, str] = field(default_factory=dict)
    written: dict[Keys, Written] = field(default_factory=dict)
    _secrets: dict[Keys, str] = field(default_factory=dict)

    def __call__(self, *keys: str | int) -> str:
        """Return the place of a value, or of the nearest one around it."""
        while keys and keys not in self.places:
            keys = keys[:-1]
        return self.places.get(keys, "configuration")

    def line(self, keys: Keys, text: str) -> str:
        """Return `place: dotted.key: text`, without the secrets at `keys` and below."""
        for value in self._secrets_below(keys):
            text = text.replace(value, "***")
        dotted = ".".join(map(_printable, keys))
        return ": ".join(part for part in (self(*keys), dotted, text) if part)

    def error(self, keys: Keys, text: str) -> ConfigError:
        """Return an error about the value at `keys`, in one line."""
        return ConfigError(self.line(keys, text))

    def hide(self, keys: Keys, written: Written, value: str) -> None:
        """Print `written` where `value` would be printed."""
        self.written[keys] = written
        self._secrets[keys] = value

    def forget(self, keys: Keys) -> None:
        """Drop what is known of the value at `keys` and of everything in it."""
        for known in (self.places, self.written, self._secrets):
            for each in [each for each in known if each[: len(keys)] == keys]:
                del known[each]

    def _secrets_below(self, keys: Keys) -> list[str]:
        values = [value for at, value in self._secrets.items() if at[: len(keys)] == keys]
        # An error may quote a value, and then with escapes.
        forms = {*values, *(repr(value)[1:-1] for value in values)} - {""}
        return sorted(forms, key=len, reverse=True)


def _printable(key: str | int) -> str:
    text = str(key)
    return text if text.isprintable() else repr(text)[1:-1]
