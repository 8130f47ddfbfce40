"""`bench`: throughput and latency by stage, against the bare read + invoke."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from vision import config_file
from vision.bench.report import Plan, measure
from vision.paths import models_dir, shipped

if TYPE_CHECKING:
    from vision.config_file import Loaded


@click.command()
@click.option("--source", help="A video file or still:PICTURE; the demo picture without it.")
@click.option("--model", default="face-short", show_default=True)
@click.option(
    "--backend", default="cpu", show_default=True, type=click.Choice(["auto", "gpu", "cpu"])
)
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--frames", default=600, show_default=True, type=click.IntRange(min=1))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--fps", default=30.0, show_default=True, help="Of the paced part.")
@click.option("--gil", is_flag=True, help="Also: what the model leaves to other threads.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def bench(
    *,
    source: str | None,
    model: str,
    backend: str,
    threads: int,
    frames: int,
    rounds: int,
    fps: float,
    gil: bool,
    as_json: bool,
) -> None:
    """Measure the line against its limit, on this machine."""
    loaded = _loaded(source or f"still:{models_dir() / 'astronaut.png'}", model, backend, threads)
    report = measure(
        Plan(loaded, frames, rounds, fps, gil), lambda text: click.echo(f"bench: {text}", err=True)
    )
    click.echo(json.dumps(report) if as_json else _table(report))


def _loaded(source: str, model: str, backend: str, threads: int) -> Loaded:
    return config_file.load(
        shipped("configs/headless.yaml"),
        [
            f"cameras.front.source={json.dumps(source)}",
            f"detectors.face.model={json.dumps(model)}",
            f"inference.backend={backend}",
            f"inference.threads={threads}",
            "rules.update_s=1",
        ],
    )


def _table(report: dict[str, Any]) -> str:
    cpu, paced, overload = report["cpu_ms_per_frame"], report["paced"], report["overload"]
    rows = [
        f"limit        {report['limit_fps']} fps, {cpu['limit']} ms of CPU a frame",
        f"line         {report['pipeline_fps']} fps, {cpu['pipeline']} ms of CPU a frame",
        f"ratio        {report['ratio_to_limit']} of the limit's frames a second",
        f"page faults  {report['page_faults_per_frame']} a frame",
        f"at {paced['fps']:g} fps    {paced['cpu_ratio']} of its CPU, {paced['drops']} drops",
        f"at {overload['fps']:g} fps  shown {overload['age_to_service']} service times old",
        f"start        first result after {report['first_result_s']} s",
        f"memory       {report['rss_mb']} MB resident",
        "in flight    "
        + ", ".join(f"{n}: {fps} fps" for n, fps in report["in_flight_fps"].items()),
        f"{'':20}{'p50':>9}{'p95':>9}{'p99':>9}  ms",
    ]
    for stage, latency in report["latency_ms"].items():
        rows.append(f"{stage:20}" + "".join(f"{latency[p]:9.3f}" for p in ("p50", "p95", "p99")))
    return "\n".join(rows)
