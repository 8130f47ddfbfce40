"""`models inspect`: what is inside a model, and what the GPU can run of it."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vision.errors import ModelError, UsageError
from vision.model_spec import InputSpec, ModelSpec
from vision.models.catalogue import load_catalogue, resolve, sha256_of
from vision.models.entries import Sidecar, load
from vision.models.inspect.advice import advise
from vision.models.inspect.picture import draw
from vision.models.inspect.report import Report, inspect
from vision.models.recognise import draft, recognise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vision.models.graph import Tensor

_LABELS_SHOWN = 5


@click.command(name="inspect")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a file.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw the graph as this .svg.")
@click.option("--no-try", is_flag=True, help="Judge the GPU by its rules, without trying it.")
def inspect_models(
    files: tuple[str, ...], as_json: bool, picture: Path | None, no_try: bool
) -> None:
    """Show what is inside model files (or models of the catalogue)."""
    if picture is not None and len(files) > 1:
        raise UsageError("--picture draws one model: give one FILE")
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        logging.disable(logging.INFO)
    failures = []
    for name in files:
        try:
            report = inspect(_path(name))
            found = _found(report, tried=None if no_try else _try(report))
            click.echo(json.dumps(found) if as_json else "\n".join(_lines(found)) + "\n")
            if picture is not None:
                _save(picture, draw(report))
        except ModelError as error:  # the others may do
            failures.append(str(error))
    if failures:
        raise ModelError("\n".join(failures))


def _path(name: str) -> Path:
    return resolve(name).path if name in load_catalogue().models else Path(name).expanduser()


def _save(path: Path, svg: str) -> None:
    try:
        path.write_text(svg, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--picture {path}: {error.strerror}") from error


def _known(report: Report) -> Sidecar | None:
    """Return how the outputs are read: by the sidecar, or by what is certain."""
    sidecar = report.path.with_suffix(".yaml")
    return load(sidecar, Sidecar) if sidecar.is_file() else recognise(report.metadata)


def _try(report: Report) -> dict[str, Any]:
    """Return what the GPU really takes and gives, as a child process finds it."""
    from vision.litert import probe  # noqa: PLC0415  (takes its time)
    from vision.litert.verdict import Attempt  # noqa: PLC0415

    known = _known(report)
    spec = ModelSpec(
        name=report.path.stem,
        path=report.path,
        sha256=sha256_of(report.path),
        decoder="",
        input=known.input if known else InputSpec(),
        total_ops=len(report.steps),
    )
    verdict = probe.verify(spec, Attempt(precision="fp32"))
    shown = {"ok", "why", "device", "unsupported", "max_error", "p50_ms"}
    return verdict.model_dump(include=shown | {"delegated_ops", "total_ops"})


def _found(report: Report, tried: dict[str, Any] | None) -> dict[str, Any]:
    metadata, known = report.metadata, _known(report)
    catalogued = {entry.sha256: name for name, entry in load_catalogue().models.items()}
    sha256 = sha256_of(report.path)
    return {
        "path": str(report.path),
        "size_bytes": report.size_bytes,
        "sha256": sha256,
        "catalogue": catalogued.get(sha256),
        "inputs": [_tensor(tensor) for tensor in metadata.inputs],
        "outputs": [_tensor(tensor) for tensor in metadata.outputs],
        "metadata": {
            "output_names": metadata.output_names,
            "mean": metadata.input_mean,
            "std": metadata.input_std,
            "labels": metadata.labels,
        },
        "task": known.task if known else None,
        "decoder": known.decoder if known else None,
        "sidecar_draft": None if known else draft(metadata),
        "kinds": [asdict(kind) for kind in report.kinds],
        "gpu": {
            "operations": [asdict(step) for step in report.steps],
            "on_gpu": report.on_gpu,
            "total": len(report.steps),
            "parts": [asdict(part) for part in report.parts],
            "tried": tried,
        },
        "advice": advise(report),
    }


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name, "shape": tensor.shape, "dtype": tensor.dtype, "scale": tensor.scale,
        "zero_point": tensor.zero_point, "dynamic": tensor.dynamic,
    }  # fmt: skip


def _lines(found: dict[str, Any]) -> Iterator[str]:
    known_as = f", {found['catalogue']} of the catalogue" if found["catalogue"] else ""
    yield f"{found['path']}: {_size(found['size_bytes'])}, SHA-256 {found['sha256'][:12]}{known_as}"
    for side in ("inputs", "outputs"):
        for tensor in found[side]:
            scale = f", {tensor['scale']:.6g} (q - {tensor['zero_point']})"
            yield (
                f"  {side[:-1]:9}{tensor['name']}: {tuple(tensor['shape'])} {tensor['dtype']}"
                f"{scale if tensor['scale'] else ''}{', open' if tensor['dynamic'] else ''}"
            )
    yield from _metadata_lines(found["metadata"])
    read = f"task {found['task']}, decoder {found['decoder']}"
    yield f"  read as  {read if found['decoder'] else 'nothing certain: a sidecar is needed'}"
    yield from _operator_lines(found)
    yield from _gpu_lines(found["gpu"])
    for sentence in found["advice"]:
        yield f"  change   {sentence}"
    if found["sidecar_draft"]:
        yield f"  {Path(found['path']).with_suffix('.yaml').name} to start from, `?` to be checked:"
        yield from (f"    {line}" for line in found["sidecar_draft"].splitlines())


def _metadata_lines(metadata: dict[str, Any]) -> Iterator[str]:
    labels = metadata["labels"]
    if labels:
        more = ", …" if len(labels) > _LABELS_SHOWN else ""
        yield f"  labels   {len(labels)}: {', '.join(labels[:_LABELS_SHOWN])}{more}"
    if metadata["mean"]:
        yield f"  trained  with mean {metadata['mean'][0]:g}, std {metadata['std'][0]:g}"
    if not labels and not metadata["mean"]:
        yield "  metadata none"


def _operator_lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"  {'operator':32}{'count':>6}{'weights':>10}  GPU"
    for kind in found["kinds"]:
        verdict = "yes" if kind["on_gpu"] == kind["count"] else "; ".join(kind["refusals"])
        some = (
            f"{kind['on_gpu']} of {kind['count']}: " if 0 < kind["on_gpu"] < kind["count"] else ""
        )
        weights = _size(kind["weight_bytes"]) if kind["weight_bytes"] else "-"
        yield f"  {kind['name']:32}{kind['count']:>6}{weights:>10}  {some}{verdict}"


def _gpu_lines(gpu: dict[str, Any]) -> Iterator[str]:
    parts = [
        f"{'GPU' if part['on_gpu'] else 'CPU'} {part['last'] - part['first'] + 1}"
        for part in gpu["parts"]
    ]
    shown = ", ".join(parts[:6]) + (", …" if len(parts) > 6 else "")  # noqa: PLR2004
    split = "whole" if len(parts) == 1 else f"{len(parts)} parts: {shown}"
    yield f"  by rule  {gpu['on_gpu']} of {gpu['total']} operations for the GPU, {split}"
    tried = gpu["tried"]
    if tried is None:
        yield "  tried    no (--no-try)"
    else:
        device = f"{tried['device']}: " if tried["device"] else ""
        yield f"  tried    {'right' if tried['ok'] else 'not usable'}: {device}{tried['why']}"


def _size(count: int) -> str:
    for unit, least in (("MB", 1_000_000), ("kB", 1_000)):
        if count >= least:
            return f"{count / least:.1f} {unit}"
    return f"{count} B"
