"""`detect`: pictures, videos or folders, one shot."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import click

from vision.building import build_models
from vision.config import Config
from vision.errors import EXIT_OK, SourceError
from vision.oneshot import Saver, describe, detect_frame, frames, sentence


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT…")
@click.option("--model", default="face-short", show_default=True, help="Name or .tflite file.")
@click.option(
    "--backend", default="auto", show_default=True, type=click.Choice(["auto", "gpu", "cpu"])
)
@click.option("--min-score", default=0.5, show_default=True, type=click.FloatRange(0, 1))
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a frame, nothing else.")
@click.option("--save", type=click.Path(path_type=Path), help="Write annotated copies here.")
def detect(
    *,
    inputs: tuple[str, ...],
    model: str,
    backend: str,
    min_score: float,
    as_json: bool,
    save: Path | None,
) -> int:
    """Find what a model knows in pictures, videos and folders."""
    config = Config.model_validate(
        {
            "inference": {"backend": backend},
            "detectors": {"detect": {"model": model, "min_score": min_score}},
            "cameras": {"input": {"source": inputs[0]}},
        }
    )
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        logging.disable(logging.INFO)  # one shot: the answer, and what went wrong
    models = build_models(config, ["detect"])
    saver = Saver(save, models.labels) if save is not None else None
    exit_code = EXIT_OK
    for name in inputs:
        try:
            for source, frame in frames(name):
                result = detect_frame(models, frame, min_score)
                line = describe(source, result, models)
                click.echo(json.dumps(line) if as_json else sentence(line))
                if saver is not None:
                    saver.write(Path(source), result)
        except SourceError as error:
            click.echo(f"error: {error}", err=True)
            exit_code = error.exit_code
    if saver is not None:
        saver.close()
    return exit_code
