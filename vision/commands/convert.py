"""`models convert`: a trained network becomes a `.tflite`, checked against the original."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from vision.errors import EXIT_FOUND, EXIT_OK, UsageError

if TYPE_CHECKING:
    from vision.conversion.job import Order, Variant
    from vision.models.convert.quantize import Precision

_FILE = click.Path(path_type=Path)
_STEPS_FIRST, _STEPS_EACH = 3, 3


@click.command()
@click.argument("source", type=_FILE)
@click.option("-o", "--output", type=_FILE, required=True, help="The .tflite to write.")
@click.option("--describe", type=_FILE, help="YAML: task, decoder, input, labels, options.")
@click.option("--inputs", default="", help="Tensor to begin with, by name.")
@click.option("--outputs", default="", help="Tensors to end with, by name, with commas.")
@click.option("--size", type=(int, int), metavar="W H", help="Of the input, where it is open.")
@click.option("--for", "target", type=click.Choice(["gpu"]), help="Cut off what it cannot do.")
@click.option(
    "--quantize", "precisions", multiple=True, default=("none",), show_default=True,
    type=click.Choice(["none", "fp16", "dynamic", "int8"]), help="Repeat it for several files.",
)  # fmt: skip
@click.option("--calibrate", type=_FILE, help="Folder of pictures like those in use, for int8.")
@click.option("--check", type=_FILE, help="Folder of pictures to compare on; else --calibrate's.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def convert(
    *,
    source: Path,
    output: Path,
    describe: Path | None,
    inputs: str,
    outputs: str,
    size: tuple[int, int] | None,
    target: str | None,
    precisions: tuple[Precision, ...],
    calibrate: Path | None,
    check: Path | None,
    quiet: bool,
) -> int:
    """Convert SOURCE: a SavedModel, frozen graph, Keras file, ONNX model or exported program.

    Each variant is compared with the original on pictures. One that disagrees is not
    written, and the exit code is then 1.
    """
    from vision.conversion.job import Order  # noqa: PLC0415  (heavy)
    from vision.models.convert.original import Cut  # noqa: PLC0415

    if output.suffix != ".tflite":
        raise UsageError(f"--output {output}: the name must end in .tflite")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it cleans up, too
    cut = Cut(_names(inputs), _names(outputs), for_gpu=target == "gpu", size_wh=size)
    precisions = tuple(dict.fromkeys(precisions))
    order = Order(source, output, cut, precisions, describe, calibrate, check)
    variants = _run(order, quiet=quiet)
    _print_table(variants)
    if describe is None:
        print("No sidecar was written: --describe says how the model's outputs are to be read.")
    return EXIT_FOUND if any(variant.problem for variant in variants) else EXIT_OK


def _run(order: Order, *, quiet: bool) -> list[Variant]:
    """Convert under a progress bar on stderr (none where that is no terminal)."""
    from vision.conversion.convert import convert as work  # noqa: PLC0415  (heavy)

    with tqdm(
        total=_STEPS_FIRST + _STEPS_EACH * len(order.precisions),
        bar_format="{l_bar}{bar}| {elapsed}", disable=True if quiet else None, file=sys.stderr,
    ) as bar:  # fmt: skip

        def say(step: str) -> None:
            bar.set_description(step)
            bar.update()

        return work(order, say)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _print_table(variants: list[Variant]) -> None:
    print(f"{'VARIANT':8} {'BYTES':>10} {'CPU ms':>7} {'GPU ms':>7}  AGREEMENT")
    for each in variants:
        gpu = "-" if each.gpu_ms is None else f"{each.gpu_ms:.2f}"
        found = each.agreement
        alike = "" if found.alike is None else f", {found.alike:.1%} alike"
        print(
            f"{each.precision:8} {each.size:10} {each.cpu_ms:7.2f} {gpu:>7}  "
            f"largest error {found.max_error:.2%}, mean {found.mean_error:.3%}{alike}"
        )
    for each in variants:
        offered = f"not written: {each.problem}" if each.problem else str(each.path)
        print(f"{each.precision}: {offered}")
