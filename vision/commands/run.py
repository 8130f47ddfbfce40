"""`run` and `demo`: the service."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vision import config_file
from vision.app import App, Limits
from vision.building import check
from vision.errors import UsageError
from vision.paths import shipped

if TYPE_CHECKING:
    from vision.config import Config
    from vision.config_file import Loaded

_DEMO_SECONDS = 10.0


def _limits(command: Any) -> Any:
    for option in (
        click.option("--seconds", type=click.FloatRange(min=0), help="Stop after so long."),
        click.option("--frames", type=click.IntRange(min=0), help="Stop after so many frames."),
        click.option(
            "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE",
            help="Change one setting; may be repeated.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.command()
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.option("--source", help="Use this instead of the configured camera.")
@click.option("--live/--no-live", default=None, help="Pace a file like a camera, or never pace.")
@click.option("--headless", is_flag=True, help="Open no window.")
@click.option("--display", is_flag=True, help="Open a window even if none is configured.")
@_limits
def run(
    *,
    config: Path | None,
    source: str | None,
    live: bool | None,
    headless: bool,
    display: bool,
    overrides: tuple[str, ...],
    frames: int | None,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Run the cameras of CONFIG (configs/default.yaml) until they end or Ctrl-C."""
    loaded = config_file.load(config or shipped("configs/default.yaml"), overrides)
    changed = _with_camera(loaded.config, source, live)
    changed = _with_window(changed, headless=headless, display=display)
    _run(dataclasses.replace(loaded, config=changed), frames, seconds, as_json=as_json)


@click.command()
@_limits
def demo(
    *, overrides: tuple[str, ...], frames: int | None, seconds: float | None, as_json: bool
) -> None:
    """Run the whole line for ten seconds without a camera; print what it made."""
    loaded = config_file.load(shipped("configs/demo.yaml"), overrides)
    if frames is None and seconds is None:
        seconds = _DEMO_SECONDS
    _run(loaded, frames, seconds, as_json=as_json)
    for section in (*loaded.config.outputs, *loaded.config.publishers):
        if "path" in section:
            click.echo(section["path"])


def _run(loaded: Loaded, frames: int | None, seconds: float | None, *, as_json: bool) -> None:
    summary = App(check(loaded), Limits(frames, seconds)).run()
    if as_json:
        click.echo(json.dumps(summary))
        return
    for camera, line in summary["cameras"].items():
        age = line["latency_ms"].get("capture_to_result", {})
        click.echo(
            f"{camera}: {line['frames_in']} frames in, {line['frames_out']} out "
            f"({line['fps_out']} fps), {summary['events']} events, "
            f"age p50 {age.get('p50', 0)} ms, p99 {age.get('p99', 0)} ms, "
            f"drops {sum(line['drops'].values())}",
            err=True,
        )


def _with_camera(config: Config, source: str | None, live: bool | None) -> Config:
    if source is None and live is None:
        return config
    if source is not None and len(config.cameras) > 1:
        raise UsageError(
            f"--source: the configuration has {len(config.cameras)} cameras; "
            f"use --set cameras.NAME.source=… instead"
        )
    given = {"source": source, "live": live}
    update = {key: value for key, value in given.items() if value is not None}
    cameras = {name: own.model_copy(update=update) for name, own in config.cameras.items()}
    return config.model_copy(update={"cameras": cameras})


def _with_window(config: Config, *, headless: bool, display: bool) -> Config:
    if headless and display:
        raise UsageError("--headless and --display exclude each other")
    outputs = config.outputs
    if headless:
        outputs = tuple(own for own in outputs if own.get("type") != "window")
    elif display and all(own.get("type") != "window" for own in outputs):
        outputs = (*outputs, {"type": "window"})
    return config.model_copy(update={"outputs": outputs})
