"""Every plug-in by name. A new one is its own file and one line here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vision.config_file import checked
from vision.errors import ConfigError
from vision.naming import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vision.origins import Keys, Origins

SOURCES = {
    "v4l2": "vision.sources.v4l2:V4l2Source",
    "video": "vision.sources.video:VideoSource",
    "folder": "vision.sources.folder:FolderSource",
    "still": "vision.sources.still:StillSource",
}
BACKENDS = {
    "cpu": "vision.backends.cpu:CpuBackend",
    "gpu": "vision.backends.gpu:GpuBackend",
    "delegate": "vision.backends.delegate:DelegateBackend",
}
DETECTORS = {
    "blazeface": "vision.detectors.blazeface:BlazeFace",
    "ssd-postprocess": "vision.detectors.ssd_postprocess:SsdPostprocess",
    "ssd-anchors": "vision.detectors.ssd_anchors:SsdAnchors",
    "yolox": "vision.detectors.yolox:Yolox",
    "yolo-rows": "vision.detectors.yolo_rows:YoloRows",
}
CLASSIFIERS = {
    "classes": "vision.classifiers.classes:Classes",
}
TRACKERS = {
    "kalman": "vision.trackers.kalman:KalmanTracker",
}
OUTPUTS = {
    "window": "vision.outputs.window:WindowOutput",
    "video": "vision.outputs.video:VideoOutput",
    "folder": "vision.outputs.folder:FolderOutput",
}
PUBLISHERS = {
    "jsonl": "vision.publishers.jsonl:JsonlPublisher",
    "stdout": "vision.publishers.stdout:StdoutPublisher",
}


def load(kind: str, table: Mapping[str, str], name: str) -> Any:
    """Return the plug-in class called `name`.

    Args:
        kind: The family in words, for the error.
        table: One of this module's tables.
        name: The key that a configuration gave.

    Raises:
        ConfigError: If there is no such plug-in, or a package that it needs is missing.
    """
    target = table.get(name)
    if target is None:
        raise ConfigError(f"no {kind} is called {name!r}{nearest(name, table)}")
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        missing = error.name or ""
        if missing == "vision" or missing.startswith("vision."):
            raise
        raise ConfigError(
            f"{kind} {name!r} needs the Python package {missing!r}, which is not installed "
            f"(README, section Install, says which extra has it)"
        ) from error
    return getattr(module, attribute)


def section(
    kind: str, table: Mapping[str, str], data: Mapping[str, Any], where: Origins, prefix: Keys
) -> tuple[Any, Any]:
    """Return the plug-in class that a section names, and the section as its `Config`.

    Args:
        kind: The family in words, for the error.
        table: One of this module's tables.
        data: The section: `type`, and the plug-in's own keys.
        where: Where the section's values were written.
        prefix: The keys of the section itself.

    Raises:
        ConfigError: With file, line and key.
    """
    keys = (*prefix, "type")
    name = data.get("type")
    if not isinstance(name, str):
        raise where.error(keys, f"is missing; allowed: {', '.join(sorted(table))}")
    try:
        factory = load(kind, table, name)
    except ConfigError as error:
        raise where.error(keys, str(error)) from error
    own = {key: value for key, value in data.items() if key != "type"}
    return factory, checked(factory.Config, own, where, prefix)
