"""What is installed, and what a wheel holds."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PIN_FILES = ["requirements.txt", "tests/requirements.txt", "tests/reference/requirements.txt"]


def _pins(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.lstrip().startswith("#")]


def _make(*arguments):
    """Run `make` as a person would, not as a child of the `make` that may run this test."""
    inherited = {"MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL", "CV2", "RUNTIME"}
    return subprocess.run(
        ["make", "--dry-run", "--always-make", *arguments],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in inherited},
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", PIN_FILES)
def test_pins_are_exact_and_name_no_registry(name):
    assert all(re.fullmatch(r"==[^*,]+", str(pin.specifier)) for pin in _pins(name))
    assert not re.search(r"://|--(extra-)?index|--find-links", (ROOT / name).read_text())


@pytest.mark.parametrize(
    ("name", "extras"),
    [("requirements.txt", ["litert", "display"]), ("tests/requirements.txt", ["test"])],
)
def test_pins_satisfy_the_project(name, extras):
    project = PROJECT["project"]
    wanted = project["dependencies"] + [
        line for extra in extras for line in project["optional-dependencies"][extra]
    ]
    for requirement in map(Requirement, wanted):
        versions = [
            next(iter(pin.specifier)).version
            for pin in _pins(name)
            if _normal(pin.name) == _normal(requirement.name)
        ]
        assert versions, f"{requirement.name} is not pinned: make pins"
        assert all(requirement.specifier.contains(Version(version)) for version in versions)


def _normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_both_pin_files_agree():
    product = {str(pin) for pin in _pins("requirements.txt")}
    names = {_normal(Requirement(pin).name) for pin in product}
    tests = {str(pin) for pin in _pins("tests/requirements.txt") if _normal(pin.name) in names}
    assert tests <= product


@pytest.mark.parametrize("target", ["install", "demo", "test", "lint", "bench", "pins", "clean"])
def test_make_knows_what_to_do(target):
    done = _make(target)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("libraries", "build"), [("libc.so.6", "display"), ("libc.so.6 libnone.so.1", "headless")]
)
def test_make_picks_the_opencv_that_can_load(libraries, build):
    assert f"the {build} build" in _make("install", f"GUI_LIBRARIES={libraries}").stdout


@pytest.mark.parametrize(
    ("argument", "text"),
    [("CV2=gtk", "must be display or headless"), ("RUNTIME=onnx", "must be litert or")],
)
def test_make_refuses_what_is_not_there(argument, text):
    done = _make("install", argument)
    assert done.returncode != 0
    assert text in done.stderr


@pytest.fixture(scope="module")
def unpacked_wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT]
    done = subprocess.run(build, check=False, capture_output=True, text=True)
    if "No matching distribution found for hatchling" in done.stderr:
        pytest.skip("pip cannot reach hatchling, which builds the wheel")
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("edge_vision-*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "unpacked")
    return folder / "unpacked"


def test_a_wheel_holds_the_package_and_nothing_else(unpacked_wheel):
    names = {path.name for path in unpacked_wheel.iterdir()}
    assert names == {"vision", f"edge_vision-{PROJECT['project']['version']}.dist-info"}
    data = {path.name for path in (unpacked_wheel / "vision/_data").rglob("*.yaml")}
    assert data == {"catalog.yaml"} | {path.name for path in (ROOT / "configs").glob("*.yaml")}


@pytest.mark.parametrize("command", [["config", "check"], ["models", "list"]])
def test_a_wheel_finds_its_configurations_and_catalogue(unpacked_wheel, tmp_path, command):
    script = "import sys; from vision.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked_wheel)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_wheel_has_the_person_detector_with_it(unpacked_wheel, tmp_path):
    script = "from vision.models.catalogue import resolve; print(resolve('person').path)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked_wheel), "XDG_DATA_HOME": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(unpacked_wheel / "vision/_data/models/person_int8.tflite")
