"""`config`: check, print and describe configurations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from pydantic import BaseModel, create_model
from pydantic.json_schema import models_json_schema

from vision import building, config_file, registry, yaml_tree
from vision.config import DEFAULT_TRACKER, Config
from vision.errors import ConfigError
from vision.paths import shipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vision.config_file import Loaded
    from vision.origins import Keys


@click.group()
def config() -> None:
    """Check, print and describe configurations."""


def _configuration(command: Any) -> Any:
    for option in (
        click.option(
            "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE",
            help="Change one setting; may be repeated.",
        ),
        click.argument("path", metavar="[CONFIG]", type=click.Path(path_type=Path), required=False),
    ):  # fmt: skip
        command = option(command)
    return command


@config.command()
@_configuration
def check(*, path: Path | None, overrides: tuple[str, ...]) -> None:
    """Say `ok`, or all that is wrong with CONFIG (configs/default.yaml)."""
    try:
        loaded = _load(path, overrides)
        _check_sections(loaded)
        building.check(loaded)
    except ConfigError as error:
        raise ConfigError("\n".join(error.problems)) from error
    click.echo("ok")


@config.command()
@_configuration
def show(*, path: Path | None, overrides: tuple[str, ...]) -> None:
    """Print CONFIG (configs/default.yaml) with every default filled in, secrets hidden."""
    loaded = _load(path, overrides)
    values = loaded.config.model_dump(mode="json")
    for family, table, keys, section in _sections(loaded.config):
        _, own = registry.section(family, table, section, loaded.where, keys)
        holder: Any = values
        for key in keys[:-1]:
            holder = holder[key]
        holder[keys[-1]] = {"type": section["type"], **own.model_dump(mode="json")}
    click.echo(yaml_tree.dump(values, loaded.where.written), nl=False)


@config.command()
def schema() -> None:
    """Print the JSON Schema of a configuration, plug-ins included."""
    click.echo(json.dumps(_schema(), indent=2))


def _load(path: Path | None, overrides: tuple[str, ...]) -> Loaded:
    return config_file.load(path or shipped("configs/default.yaml"), overrides)


def _sections(config: Config) -> Iterator[tuple[str, Mapping[str, str], Keys, dict[str, Any]]]:
    """Yield the plug-ins' sections: family, its table, the section's keys, the section."""
    yield "tracker", registry.TRACKERS, ("tracker",), config.tracker
    for index, section in enumerate(config.outputs):
        yield "output", registry.OUTPUTS, ("outputs", index), section
    for index, section in enumerate(config.publishers):
        yield "publisher", registry.PUBLISHERS, ("publishers", index), section


def _check_sections(loaded: Loaded) -> None:
    problems: list[str] = []
    for family, table, keys, section in _sections(loaded.config):
        try:
            registry.section(family, table, section, loaded.where, keys)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)


def _schema() -> dict[str, Any]:
    sections = {
        "tracker": _typed(registry.TRACKERS, "tracker"),
        "outputs": _typed(registry.OUTPUTS, "output"),
        "publishers": _typed(registry.PUBLISHERS, "publisher"),
    }
    models: list[type[BaseModel]] = [Config]
    models += (model for members in sections.values() for model in members)
    references, schema = models_json_schema([(model, "validation") for model in models])
    properties = schema["$defs"]["Config"]["properties"]
    for key, members in sections.items():
        choice = {"oneOf": [references[model, "validation"] for model in members]}
        properties[key] |= {"items": choice} if properties[key]["type"] == "array" else choice
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **references[Config, "validation"],
        **schema,
    }


def _typed(table: Mapping[str, str], family: str) -> list[type[BaseModel]]:
    """Return the sections of a family's plug-ins, each with the `type` that chooses it."""
    models = []
    for name in table:
        plug_in = registry.load(family, table, name)
        kind: Any = (Literal[name], name if name == DEFAULT_TRACKER else ...)
        own = plug_in.Config
        models.append(create_model(plug_in.__name__, __base__=own, __doc__=own.__doc__, type=kind))
    return models
