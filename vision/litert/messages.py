"""What LiteRT says on stderr and nowhere else: the adapter, and what runs on it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ADAPTER = re.compile(
    r"Selected adapter: (?P<name>.*?), arch=(?P<arch>.*?), vendor=(?P<vendor>.*?), "
    r"backend=(?P<backend>.*?), adapterType=(?P<type>.*)"
)
_SPLIT = re.compile(r"(\d+) operations will run on the GPU, and the remaining (\d+) operations")
_WARNING = re.compile(r"^Warning: (.*)", re.MULTILINE)
_UNSUPPORTED = re.compile(r"^([A-Z][A-Z0-9_]+)(?: (\w+))?: ")
_SOFTWARE = re.compile(r"swiftshader|llvmpipe|lavapipe|softpipe|software rasterizer", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Said:
    """LiteRT's words, understood.

    Attributes:
        device: The adapter's own name, empty where none was chosen.
        vendor: Of the adapter.
        software: The adapter is the CPU in disguise.
        no_adapter: There is a loader, but no driver that LiteRT takes.
        warning: The first of the loader or of Dawn, which often says why.
        split: Operations on the accelerator and operations on the CPU; None where
            nothing was said, which it is of a model that runs whole.
        unsupported: The operations that the GPU cannot do, by name.
    """

    device: str
    vendor: str
    software: bool
    no_adapter: bool
    warning: str
    split: tuple[int, int] | None
    unsupported: tuple[str, ...]


def read(text: str) -> Said:
    """Understand what a process that compiled a model has written to stderr."""
    adapter = _ADAPTER.search(text)
    device = adapter["name"] if adapter else ""
    kind = adapter["type"] if adapter else ""
    split = _SPLIT.search(text)
    warning = _WARNING.search(text)
    names = dict.fromkeys(
        match[2] or match[1] for line in _refusals(text) if (match := _UNSUPPORTED.match(line))
    )
    return Said(
        device=device,
        vendor=adapter["vendor"] if adapter else "",
        software="CPU" in kind or bool(_SOFTWARE.search(device)),
        no_adapter="No adapters found" in text or "No supported adapters" in text,
        warning=warning[1].strip() if warning else "",
        split=(int(split[1]), int(split[2])) if split else None,
        unsupported=tuple(names),
    )


def _refusals(text: str) -> list[str]:
    """Return the lines between the heading about unsupported operations and the sum."""
    _, found, rest = text.partition("Following operations are not supported by GPU delegate:")
    return rest.partition("operations will run on the GPU")[0].splitlines() if found else []
