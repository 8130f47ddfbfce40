"""The configuration's schema. It knows no plug-in: the registry checks their sections."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (pydantic resolves it at run time)
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from vision.naming import nearest, topic_name

if TYPE_CHECKING:
    from collections.abc import Iterable

Name = Annotated[str, AfterValidator(topic_name)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Pixels = Annotated[int, Field(ge=1)]
Point = tuple[Fraction, Fraction]
Section = dict[str, Any]
"""A plug-in's `type` and its own keys; `registry.section` checks both."""

DEFAULT_TRACKER = "kalman"
FRAME = "frame"
"""What a classifier looks at that looks at no detector's tracks."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InferenceConfig(_Model):
    """What computes, and how."""

    backend: Literal["auto", "gpu", "cpu", "delegate"] = "auto"
    precision: Literal["auto", "fp16", "fp32"] = "auto"
    threads: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    require_gpu: bool = False
    """Do not start where `auto` would fall back to the CPU."""
    library: Path | None = None
    """The shared library of backend `delegate`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Handed to the delegate as they are."""

    @model_validator(mode="after")
    def _consistent(self) -> InferenceConfig:
        if self.backend == "delegate" and self.library is None:
            raise ValueError("backend 'delegate' needs 'library', the delegate's .so")
        if self.require_gpu and self.backend == "cpu":
            raise ValueError("backend 'cpu' and 'require_gpu' exclude each other")
        return self


class DetectorConfig(_Model):
    """A model and what counts as found."""

    model: Annotated[str, Field(min_length=1)]
    """A catalogue name, or the path of a `.tflite`."""
    min_score: Fraction = 0.5
    labels: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Keep only these; None keeps all."""
    max_detections: Annotated[int, Field(ge=1)] | None = None


class ClassifierConfig(_Model):
    """A model that names what is in a picture, and where it looks."""

    model: Annotated[str, Field(min_length=1)]
    """A catalogue name, or the path of a `.tflite`."""
    of: Annotated[str, Field(min_length=1)] = FRAME
    """`frame`, or the detector whose tracks it looks at."""
    region: tuple[Fraction, Fraction, Fraction, Fraction] = (0, 0, 1, 1)
    """x1, y1, x2, y2 as fractions: of the frame, or of a track's box."""
    top_k: Annotated[int, Field(ge=1)] = 1
    min_score: Fraction = 0.5
    every_s: Annotated[float, Field(ge=0)] = 1.0
    """Between two looks at the same thing."""

    @model_validator(mode="after")
    def _has_area(self) -> ClassifierConfig:
        x1, y1, x2, y2 = self.region
        if x1 >= x2 or y1 >= y2:
            raise ValueError("'region' is x1, y1, x2, y2 with x1 < x2 and y1 < y2")
        return self


class CameraConfig(_Model):
    """Where frames come from."""

    source: Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)]
    """Index, /dev/video*, URL, file, folder, or `still:PICTURE`."""
    size_wh: tuple[Pixels, Pixels] | None = None
    fps: Positive | None = None
    live: bool | None = None
    """Paced and latest-wins (true), every frame (false), or what the source is (None)."""
    loop: bool = False
    """Start a video file again at its end, for ever."""
    detectors: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Names of `detectors`; None runs all."""
    zones: dict[Name, Annotated[tuple[Point, ...], Field(min_length=3)]] = Field(
        default_factory=dict
    )
    """Polygons, x and y as fractions of the frame."""


class RulesConfig(_Model):
    """When a track becomes news."""

    min_hits: Annotated[int, Field(ge=1)] = 3
    """Detections before `new`."""
    max_age_s: Positive = 1.0
    """Without a detection before `end`."""
    update_s: Positive | None = 5.0
    """Between two `update` of a track; None sends none at an interval."""


class Config(_Model):
    """The whole configuration."""

    name: Name = "vision"
    """This node's, in topics and events."""
    inference: InferenceConfig = InferenceConfig()
    detectors: Annotated[dict[Name, DetectorConfig], Field(min_length=1)]
    classifiers: dict[Name, ClassifierConfig] = Field(default_factory=dict)
    cameras: Annotated[dict[Name, CameraConfig], Field(min_length=1)]
    tracker: Annotated[Section, AfterValidator(lambda own: {"type": DEFAULT_TRACKER, **own})] = (
        Field(default={}, validate_default=True)
    )
    rules: RulesConfig = RulesConfig()
    outputs: tuple[Section, ...] = ()
    publishers: tuple[Section, ...] = ()
    stats_interval_s: Positive = 10.0
    """Between two lines of statistics in the log."""

    @model_validator(mode="after")
    def _detectors_exist(self) -> Config:
        unknown = [
            _unknown_detector(name, self.detectors, ("cameras", camera, "detectors", index))
            for camera, config in self.cameras.items()
            for index, name in enumerate(config.detectors or ())
            if name not in self.detectors
        ]
        known = {FRAME, *self.detectors}
        unknown += [
            _unknown_detector(own.of, known, ("classifiers", name, "of"))
            for name, own in self.classifiers.items()
            if own.of not in known
        ]
        if unknown:
            raise ValidationError.from_exception_data("Config", unknown)
        return self


def _unknown_detector(
    name: str, known: Iterable[str], keys: tuple[str | int, ...]
) -> InitErrorDetails:
    text = f"no detector is called {name!r}{nearest(name, known)}"
    # The text is an argument, since braces in a template are pydantic's own.
    error = PydanticCustomError("unknown_detector", "{text}", {"text": text})
    return InitErrorDetails(type=error, loc=keys, input=name)
