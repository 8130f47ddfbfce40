"""The command line: finds the command, and says an error in one line."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from typing import Any

import click

from vision import __version__
from vision.errors import EXIT_OK, EXIT_USAGE, VisionError

# Imported when called, so that `vision models list` does not wait for OpenCV.
_COMMANDS = {
    "run": "vision.commands.run:run",
    "demo": "vision.commands.run:demo",
    "detect": "vision.commands.detect:detect",
    "models": "vision.commands.models:models",
    "bench": "vision.commands.bench:bench",
    "doctor": "vision.commands.doctor:doctor",
    "config": "vision.commands.config:config",
}
_INTERRUPTED = 130


class _LazyGroup(click.Group):
    """A group whose commands are modules, imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        target = _COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vision")
@click.option("--debug", is_flag=True, help="Log more, and show where an error came from.")
def cli(*, debug: bool) -> None:
    """Watch cameras, find faces and objects, show them, and tell other systems."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if debug else logging.INFO,
        format="%(levelname)s %(message)s",
    )


def main(argv: list[str] | None = None) -> int:
    """Run a command; return its exit code (see `vision.errors`)."""
    # Looking for pydantic's plug-ins, of which we have none, costs 40 ms at every start.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    # The matrices here are tiny: OpenBLAS's own threads would only wait for them, awake.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # OpenCV's decoders write to stderr by themselves; what matters we say ourselves.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        code: Any = cli.main(argv, prog_name="vision", standalone_mode=False)
    except click.ClickException as error:
        hint = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        _say(error.format_message() + (f" (see {hint} --help)" if hint else ""))
        return EXIT_USAGE
    except VisionError as error:
        if "--debug" in (argv if argv is not None else sys.argv):
            raise
        _say(str(error))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone, as in `vision … | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    return code if isinstance(code, int) else EXIT_OK


def _say(text: str) -> None:
    print(f"error: {text}", file=sys.stderr)
