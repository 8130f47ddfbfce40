"""`models list` and `models pull`."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import click

from vision import paths
from vision.commands.convert import convert
from vision.commands.inspect import inspect_models
from vision.errors import ModelError, UsageError
from vision.models.catalogue import find, load_catalogue
from vision.models.entries import Asset, ModelEntry
from vision.models.metadata import read_metadata
from vision.naming import nearest
from vision.resources import known

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.group()
def models() -> None:
    """Models: which there are, and getting them."""


models.add_command(convert)
models.add_command(inspect_models)


@models.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
def list_models(as_json: bool) -> None:
    """Show what the catalogue has and what is on this machine."""
    rows = [_row(name, asset) for name, asset in load_catalogue().files().items()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    header = ("NAME", "TASK", "INPUT", "LICENCE", "LOADS IN", "WHERE")
    _print_table([header, *(_cells(row) for row in rows)])


@models.command()
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "everything", is_flag=True, help="Everything in the catalogue.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def pull(names: Sequence[str], everything: bool, quiet: bool) -> None:
    """Download models, check them, and put them into the models folder."""
    files = load_catalogue().files()
    if everything == bool(names):
        raise UsageError("models pull wants names, or --all; `models list` shows the names")
    for name in names:
        if name not in files:
            raise UsageError(f"nothing is called {name!r}{nearest(name, files)}")
    from vision.models import pull as puller  # noqa: PLC0415  (only this command needs it)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it cleans up, too
    failures = []
    for name in names or files:
        try:
            print(f"{name}: {puller.pull(name, files[name], quiet=quiet)}")
        except ModelError as error:  # the others may do
            failures.append(str(error))
    if failures:
        raise ModelError("\n".join(failures))


def _row(name: str, asset: Asset) -> dict[str, Any]:
    path = find(asset, paths.model_folders())
    is_model = isinstance(asset, ModelEntry)
    return {
        "name": name,
        "task": asset.task if isinstance(asset, ModelEntry) else "picture",
        "description": asset.description,
        "input_shape": read_metadata(path).input_shape if path and is_model else None,
        "licence": asset.licence,
        "sha256": asset.sha256,
        "resources": {name: cost.model_dump() for name, cost in known(asset.sha256).items()},
        "path": str(path) if path else None,
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    shape = row["input_shape"]
    size = f"{shape[2]}x{shape[1]}" if shape else "-"
    costs = [
        f"{cost['load_ms']:.0f} ms, {cost['rss_mb']:.0f} MB ({name})"
        for name, cost in row["resources"].items()
    ]
    where = row["path"] or "not pulled"
    return row["name"], row["task"], size, row["licence"], "; ".join(costs) or "-", where


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
