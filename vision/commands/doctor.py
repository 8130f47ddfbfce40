"""`doctor`: what on this machine works, what does not, and the line that mends it."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vision import config_file
from vision.doctor.examine import examine
from vision.errors import EXIT_FOUND, EXIT_OK
from vision.paths import shipped

if TYPE_CHECKING:
    from vision.doctor.report import Finding

_COLOURS = {"ok": "green", "warn": "yellow", "bad": "red", "skip": "bright_black"}
_WIDTH = 100
_STATUS_WIDTH = 6
_INDENT = 30


@click.command()
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE",
    help="Change one setting; may be repeated.",
)  # fmt: skip
@click.option("--redo", is_flag=True, help="Try the GPU again, whatever is remembered of it.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(*, config: Path | None, overrides: tuple[str, ...], redo: bool, as_json: bool) -> int:
    """Say what works here, what does not, and how to mend it.

    Exits with 1 where CONFIG (configs/default.yaml) needs something that is broken.
    """
    loaded = config_file.load(config or shipped("configs/default.yaml"), overrides)
    findings = []
    for finding in examine(loaded, redo=redo):
        findings.append(finding)
        if not as_json:
            click.echo(_lines(finding))
    counts = Counter(finding.status for finding in findings)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        click.echo(f"\n{counts['bad']} bad, {counts['warn']} to look at, {counts['ok']} ok")
    return EXIT_FOUND if counts["bad"] else EXIT_OK


def _lines(finding: Finding) -> str:
    status = click.style(finding.status.ljust(_STATUS_WIDTH), fg=_COLOURS[finding.status])
    check = finding.check.ljust(_INDENT - _STATUS_WIDTH)
    texts = [finding.detail, f"-> {finding.mend}"] if finding.mend else [finding.detail]
    wrapped = [
        line
        for text in texts
        # Commands and paths stay whole, to be copied.
        for line in textwrap.wrap(
            text, _WIDTH - _INDENT, break_long_words=False, break_on_hyphens=False
        )
    ]
    if len(finding.check) >= _INDENT - _STATUS_WIDTH:
        wrapped.insert(0, "")
    return status + f"\n{' ' * _INDENT}".join([check + wrapped[0], *wrapped[1:]]).rstrip()
