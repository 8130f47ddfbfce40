"""From configuration to parts: every plug-in is checked here before any device opens."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from vision import agreement, registry
from vision.cascade import Cascade
from vision.classify import PictureClassifier
from vision.config import FRAME, ClassifierConfig
from vision.errors import BackendError, ConfigError, ModelError
from vision.failover import Below, Engine, Failover
from vision.lane import Lane
from vision.litert.choice import choose
from vision.models.catalogue import resolve
from vision.naming import nearest
from vision.native_log import without_chatter
from vision.origins import Origins
from vision.picture import SUFFIXES as PICTURE_SUFFIXES
from vision.preprocess import Preprocessor
from vision.resources import load_measured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vision.config import CameraConfig, Config, DetectorConfig, InferenceConfig
    from vision.config_file import Loaded
    from vision.interfaces import Backend, Output, Publisher, Source
    from vision.model_spec import ModelSpec

_log = logging.getLogger(__name__)

_LOW_SCORE = 0.1  # what the tracker's second pass may still use

Part = tuple[Any, Any]
"""A plug-in class and its checked configuration: everything but the opening."""

_OwnModel = Union["DetectorConfig", ClassifierConfig]


@dataclass(frozen=True, slots=True)
class Checked:
    """All plug-ins of a configuration, checked; nothing is open yet."""

    config: Config
    sources: dict[str, Part]
    tracker: Part
    outputs: tuple[Part, ...]
    publishers: tuple[tuple[str, Part], ...]

    def source(self, camera: str) -> Source:
        """Build a camera's source."""
        plug_in, own = self.sources[camera]
        source: Source = plug_in(own, camera=camera)
        return source

    def camera_outputs(self, camera: str) -> tuple[Output, ...]:
        """Build a camera's outputs."""
        return tuple(plug_in(own, camera=camera) for plug_in, own in self.outputs)

    def named_publishers(self) -> list[tuple[str, Publisher]]:
        """Build the publishers."""
        return [
            (name, plug_in(own, node=self.config.name)) for name, (plug_in, own) in self.publishers
        ]


def check(loaded: Loaded) -> Checked:
    """Check every section against its plug-in; raises ConfigError."""
    config = loaded.config
    sources = {}
    for name, camera in config.cameras.items():
        sources[name] = registry.section(
            "source", registry.SOURCES, source_section(camera), loaded.where, ("cameras", name)
        )
    tracker = registry.section(
        "tracker", registry.TRACKERS, config.tracker, loaded.where, ("tracker",)
    )
    outputs = tuple(
        registry.section("output", registry.OUTPUTS, section, loaded.where, ("outputs", index))
        for index, section in enumerate(config.outputs)
    )
    publishers = tuple(
        (
            f"publishers.{index}",
            registry.section(
                "publisher", registry.PUBLISHERS, section, loaded.where, ("publishers", index)
            ),
        )
        for index, section in enumerate(config.publishers)
    )
    return Checked(config, sources, tracker, outputs, publishers)


def source_section(camera: CameraConfig) -> dict[str, Any]:
    """Return the section of the plug-in that reads `camera.source`."""
    address = str(camera.source)
    kind, key, value = _source_kind(address)
    section: dict[str, Any] = {"type": kind, key: value}
    if camera.fps is not None:
        section["fps"] = camera.fps
    if camera.size_wh is not None and kind in ("v4l2", "still"):
        section["size_wh"] = camera.size_wh
    if camera.loop and kind == "video":
        section["loop"] = True
    if camera.live is not None and kind != "v4l2":
        section["live"] = camera.live
    return section


def _source_kind(address: str) -> tuple[str, str, str]:
    if address.isdigit():
        return "v4l2", "device", f"/dev/video{address}"
    if address.startswith("/dev/"):
        return "v4l2", "device", address
    scheme, colon, rest = address.partition(":")
    if scheme == "still" and colon:
        return "still", "path", rest
    if "://" in address:
        raise ConfigError(
            f"source {scheme}:// is not known; give a camera index, /dev/video*, a video file, "
            f"a folder of pictures or still:PICTURE"
        )
    path = Path(address)
    if path.is_dir() or path.suffix.lower() in PICTURE_SUFFIXES:
        return "folder", "path", address
    return "video", "path", address


@dataclass(frozen=True, slots=True)
class Models:
    """A camera's models, side by side, and their common classes."""

    lanes: tuple[Lane, ...]
    labels: tuple[str, ...]
    min_score: NDArray[np.float32]


def build_models(config: Config, names: Sequence[str]) -> Models:
    """Load the detectors called `names`; raises ModelError, ConfigError or BackendError."""
    runners = {name: load_runner(name, config.detectors[name], config.inference) for name in names}
    labels = tuple(dict.fromkeys(label for r in runners.values() for label in r.labels))
    min_score = np.ones(len(labels), np.float32)
    lanes = []
    for name, runner in runners.items():
        own = config.detectors[name]
        class_ids = _class_ids(name, own, runner.labels, labels)
        kept = class_ids[class_ids >= 0]
        min_score[kept] = np.minimum(min_score[kept], own.min_score)
        lanes.append(
            Lane(
                name, runner, labels=[labels[class_id] for class_id in kept],
                class_ids=class_ids, max_detections=own.max_detections,
            )
        )  # fmt: skip
    return Models(tuple(lanes), labels, min_score)


def build_cascade(config: Config, lanes: Sequence[Lane]) -> Cascade:
    """Load the classifiers that have something to look at behind these detectors."""
    labels = {lane.name: lane.labels for lane in lanes} | {FRAME: frozenset[str]()}
    cascade = Cascade()
    for name, own in config.classifiers.items():
        if own.of in labels:
            classifier = build_classifier(name, own, config.inference)
            cascade.add(name, own, classifier, labels[own.of])
    return cascade


def build_classifier(
    name: str, own: ClassifierConfig, inference: InferenceConfig
) -> PictureClassifier:
    """Load one classifier; raises ModelError, ConfigError or BackendError."""
    return PictureClassifier(load_runner(name, own, inference))


def load_runner(name: str, own: _OwnModel, inference: InferenceConfig) -> Failover:
    """Load one model, with the CPU behind it where it runs on an accelerator."""
    engine = load_engine(own, inference)
    if engine.backend.info.name == "cpu":
        return Failover(name, engine)
    on_cpu = inference.model_copy(update={"backend": "cpu", "require_gpu": False})
    spare = load_engine(own, on_cpu)
    try:
        _agree(own, engine, spare)
    except BackendError as error:
        if inference.require_gpu or inference.backend != "auto":
            spare.backend.close()
            raise ConfigError(f"{name}: {engine.backend.info.name}: {error}") from error
        _log.warning("%s stays on the CPU: %s", name, error)
        return Failover(name, spare)

    def revive() -> Engine:
        again = load_engine(own, inference, redo=True)
        _agree(own, again, spare)
        return again

    return Failover(name, engine, Below(lambda: spare, revive))


def _agree(own: _OwnModel, accelerated: Engine, spare: Engine) -> None:
    """Check that both find the same; closes the accelerated engine where they do not."""
    if isinstance(own, ClassifierConfig):
        return  # its outputs are its classes, and those are compared when it is verified
    try:
        agreement.check(accelerated, spare, own.min_score)
    except BackendError:
        accelerated.backend.close()
        raise


def load_engine(own: _OwnModel, inference: InferenceConfig, *, redo: bool = False) -> Engine:
    """Load one model with its decoder and its preprocessing.

    Args:
        own: The detector's or classifier's section.
        inference: What shall compute.
        redo: Verify an accelerator anew, whatever is remembered of it.
    """
    spec = resolve(own.model)
    task = "classify" if isinstance(own, ClassifierConfig) else "detect"
    if spec.task != task:
        raise ModelError(f"{spec.path}: this model's task is {spec.task!r}, not {task!r}")
    backend = build_backend(spec, inference, redo=redo)
    decoder = (_classifier if task == "classify" else _detector)(spec, backend, own.min_score)
    return Engine(backend, Preprocessor(spec.input, backend.inputs[0]), decoder)


def _detector(spec: ModelSpec, backend: Backend, min_score: float) -> Any:
    plug_in, options = _decoder("decoder", registry.DETECTORS, spec)
    return plug_in(
        options, spec=spec, inputs=backend.inputs, outputs=backend.outputs,
        min_score=min(_LOW_SCORE, min_score),
    )  # fmt: skip


def _classifier(spec: ModelSpec, backend: Backend, _min_score: float) -> Any:
    plug_in, options = _decoder("decoder of classes", registry.CLASSIFIERS, spec)
    return plug_in(options, spec=spec, outputs=backend.outputs)


def _decoder(kind: str, table: dict[str, str], spec: ModelSpec) -> Part:
    return registry.section(
        kind, table, {"type": spec.decoder, **spec.options}, Origins({(): str(spec.path)}),
        ("options",),
    )  # fmt: skip


def build_backend(spec: ModelSpec, inference: InferenceConfig, *, redo: bool = False) -> Backend:
    """Load `spec` on what was asked for and proved to be right and fastest."""
    decision = choose(spec, inference, redo=redo)
    plug_in = registry.load("backend", registry.BACKENDS, decision.backend)
    with without_chatter():
        backend = load_measured(
            spec.sha256, decision.backend,
            lambda: plug_in(plug_in.Config(**decision.settings), spec=spec),
        )  # fmt: skip
    _log.info("%s runs on %s: %s", spec.name, backend.info.words(), decision.why)
    return backend


def _class_ids(
    name: str, own: DetectorConfig, labels: Sequence[str], table: Sequence[str]
) -> NDArray[np.int32]:
    unknown = sorted(set(own.labels or ()) - set(labels))
    if unknown:
        raise ConfigError(
            f"detectors.{name}.labels: {own.model} has no label {unknown[0]!r}"
            f"{nearest(unknown[0], labels)}"
        )
    keep = set(own.labels or labels)
    return np.array([table.index(label) if label in keep else -1 for label in labels], np.int32)
