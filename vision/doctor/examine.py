"""All checks, in the order in which one builds on another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vision import event, paths
from vision.doctor import devices, machine, models, packages, screen, storage
from vision.doctor.report import Finding, broken
from vision.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vision.config import Config
    from vision.config_file import Loaded


def examine(loaded: Loaded, *, redo: bool = False) -> Iterator[Finding]:
    """Yield what is found, as it is found.

    Args:
        loaded: The configuration: what it needs and does not work is `bad`.
        redo: Try again what was tried on an accelerator before.
    """
    config = loaded.config
    versions = packages.installed()
    yield packages.python_version()
    yield packages.tflite(versions)
    opencv = packages.opencv(versions)
    yield opencv
    yield screen.display(needed=any(own.get("type") == "window" for own in config.outputs))
    yield from devices.video_nodes()
    if opencv.status == "bad":
        yield Finding("configuration", "skip", "its plug-ins need OpenCV: mend that first")
    else:
        yield from _plug_ins(loaded)
    yield storage.place("cache", paths.cache_dir(), folder=True, needed=False)
    yield from _inference(config, redo=redo)
    yield machine.clock(synced=event.clock_synced())
    yield machine.temperature()
    yield machine.power()
    yield machine.governor()
    yield machine.memory()


def _plug_ins(loaded: Loaded) -> Iterator[Finding]:
    """Check what the configuration's cameras, outputs and publishers need."""
    from vision import building  # noqa: PLC0415  (imports OpenCV, which may not load)

    try:
        checked = building.check(loaded)
    except ConfigError as error:
        for problem in error.problems:
            yield broken("configuration", problem, "change that line")
        return
    for name, camera in loaded.config.cameras.items():
        yield devices.source(name, building.source_section(camera))
    written = {f"outputs.{index}": own for index, (_, own) in enumerate(checked.outputs)}
    written |= {name: own for name, (_, own) in checked.publishers}
    sections = (*loaded.config.outputs, *loaded.config.publishers)
    for (name, own), section in zip(written.items(), sections, strict=True):
        path = getattr(own, "path", None)
        if path is not None:
            folder = section["type"] == "folder"
            yield storage.place(name, Path(path), folder=folder, needed=True)


def _inference(config: Config, *, redo: bool) -> Iterator[Finding]:
    from vision.doctor import gpu  # noqa: PLC0415  (numpy takes time; other lines are out by now)
    from vision.litert import driver  # noqa: PLC0415  (the same)

    specs = []
    names = list(dict.fromkeys(own.model for own in config.detectors.values()))
    for name in names:
        finding, spec = models.configured(name)
        yield finding
        if spec is not None:
            specs.append(spec)
    yield from models.others(names)
    wanted = config.inference.backend in ("auto", "gpu")
    yield from devices.render_nodes()
    yield gpu.accelerator(wanted=wanted)
    yield gpu.vulkan_loader(wanted=wanted)
    yield from gpu.vulkan_drivers(driver.manifests(), wanted=wanted)
    yield from gpu.backends(specs, config.inference, redo=redo)
