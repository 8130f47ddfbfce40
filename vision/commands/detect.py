"""`detect`: pictures, videos or folders, one shot."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vision.building import build_classifier, build_models
from vision.config import ClassifierConfig, Config, InferenceConfig
from vision.errors import EXIT_OK, SourceError
from vision.models.catalogue import resolve
from vision.oneshot import (
    Saver,
    classify_frame,
    describe,
    describe_classes,
    detect_frame,
    frames,
    sentence,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from vision.frame import Frame, Result

    _Look = Callable[[str, Frame], tuple[Result, dict[str, Any]]]


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT…")
@click.option("--model", default="face-short", show_default=True, help="Name or .tflite file.")
@click.option(
    "--backend", default="auto", show_default=True, type=click.Choice(["auto", "gpu", "cpu"])
)
@click.option("--min-score", type=click.FloatRange(0, 1), help="0.5; of classes, 0.")
@click.option("--top-k", default=5, show_default=True, type=click.IntRange(min=1), help="Classes.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a frame, nothing else.")
@click.option("--save", type=click.Path(path_type=Path), help="Write annotated copies here.")
def detect(
    *,
    inputs: tuple[str, ...],
    model: str,
    backend: str,
    min_score: float | None,
    top_k: int,
    as_json: bool,
    save: Path | None,
) -> int:
    """Find what a model knows in pictures, videos and folders."""
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        logging.disable(logging.INFO)  # one shot: the answer, and what went wrong
    inference = InferenceConfig.model_validate({"backend": backend})
    if resolve(model).task == "classify":
        look, labels = _classify(model, inference, min_score or 0.0, top_k)
    else:
        look, labels = _detect(model, inference, 0.5 if min_score is None else min_score)
    saver = Saver(save, labels) if save is not None else None
    exit_code = EXIT_OK
    for name in inputs:
        try:
            for source, frame in frames(name):
                result, line = look(source, frame)
                click.echo(json.dumps(line) if as_json else sentence(line))
                if saver is not None:
                    saver.write(Path(source), result)
        except SourceError as error:
            click.echo(f"error: {error}", err=True)
            exit_code = error.exit_code
    if saver is not None:
        saver.close()
    return exit_code


def _detect(
    model: str, inference: InferenceConfig, min_score: float
) -> tuple[_Look, tuple[str, ...]]:
    config = Config.model_validate(
        {
            "detectors": {"detect": {"model": model, "min_score": min_score}},
            "cameras": {"input": {"source": "-"}},
        }
    ).model_copy(update={"inference": inference})
    models = build_models(config, ["detect"])

    def look(source: str, frame: Frame) -> tuple[Result, dict[str, Any]]:
        result = detect_frame(models, frame, min_score)
        return result, describe(source, result, models)

    return look, models.labels


def _classify(
    model: str, inference: InferenceConfig, min_score: float, top_k: int
) -> tuple[_Look, tuple[str, ...]]:
    classifier = build_classifier("classify", ClassifierConfig(model=model), inference)

    def look(source: str, frame: Frame) -> tuple[Result, dict[str, Any]]:
        result = classify_frame(classifier, frame, min_score, top_k)
        return result, describe_classes(source, result, classifier.info)

    return look, ()
