"""README and CONTRIBUTING say what is so: every command, example, key and module in them.

The lines of ```sh blocks run as they stand, in a copy of the checkout. A comment at the end
of a line names what it needs that a test has not: `# camera` gets a picture that plays one;
`# gpu` a GPU in software where there is one; of `# root`, `# network` and `# convert` only the
words are checked. `make` only says what it would do, and what would run for ever ends after a
few frames.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import socketserver
import subprocess
import sys
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
import yaml
from conftest import DEADLINE_S, ROOT, events_of, models_path
from gpu_support import SWIFTSHADER, WHY_NOT

from vision import agreement, cli, config_file, errors, event, failover, registry
from vision.commands.config import _schema
from vision.config import DetectorConfig, InferenceConfig, RulesConfig
from vision.litert import choice, judge
from vision.model_spec import InputSpec
from vision.models.catalogue import load_catalogue
from vision.models.convert.agreement import LIMITS
from vision.models.entries import Sidecar

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = (ROOT / "models/recipes/README.md").read_text(encoding="utf-8")
CHECKOUT = ["main.py", "Makefile", "pyproject.toml", "requirements.txt", "configs", "vision"]
ONLY_WORDS = {"root", "network", "convert", "gpu"}
_OWN = ("MAKE", "MFLAGS", "VK_")  # of whoever runs the tests
CLIP = "clips/head-pose-face-detection-female-and-male.gif"
YOLOX, CLASSIFIER = "yolox_nano_float16.tflite", "mobilenet_v1_0.25_128_quant.tflite"


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def needs(line):
    """Return the word after the line's `#`, empty where there is none."""
    return line.partition("  # ")[2]


def commands(*texts):
    """Return the lines of all ```sh blocks."""
    return [line for text in texts for block in blocks(text, "sh") for line in block.splitlines()]


COMMANDS = commands(README, CONTRIBUTING)
PROGRAM = [line for line in (*COMMANDS, *commands(RECIPES)) if "main.py " in line]
CONFIGURATION, SIDECAR, CLASSIFIERS = (
    next(block for block in blocks(README, "yaml") if block.startswith(start))
    for start in ("# porch.yaml", "task:", "classifiers:")
)
DETECT_LINE, EVENT_LINE, CLASSES, FRAME_CLASSES = (
    next(json.loads(block) for block in blocks(README, "json") if key in block)
    for key in ('"timings_ms"', '"specversion"', '"kind"', '"classifier"')
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, shared_data, shared_models):
    """Return a copy of the checkout with the files that README's commands name."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in CHECKOUT:
        take = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        take(ROOT / name, copy / name)
    for folder in ("models", "tests", "pictures", ".venv/bin"):
        (copy / folder).mkdir(parents=True)
    for name in ("models/catalog.yaml", "tests/requirements.txt"):
        shutil.copy(ROOT / name, copy / name)
    (copy / ".venv/bin/activate").touch()
    (copy / "porch.yaml").write_text(CONFIGURATION)
    faces = sorted((shared_data / "faces").glob("*.jpg"))
    for picture in (copy / "photo.jpg", copy / "models/astronaut.png", *_two(copy / "pictures")):
        cv2.imwrite(str(picture), cv2.imread(str(faces[0])))
    _clip(shared_data / CLIP, copy / "clip.mp4")
    shutil.copy(shared_models / YOLOX, copy / "my.tflite")
    shutil.copy(shared_models / CLASSIFIER, copy / "classifier.tflite")
    (copy / "my.yaml").write_text(SIDECAR)
    _programs(copy / "bin")
    return copy


def _two(folder):
    return folder / "a.jpg", folder / "b.jpg"


def _clip(source, target, frames=40):
    video = cv2.VideoCapture(str(source))
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (480, 270))
    for _ in range(frames):
        writer.write(video.read()[1])
    writer.release()
    video.release()


def _programs(folder):
    """Put this Python in place of any other, and words in place of what changes a machine."""
    make = f"{shutil.which('make')} --dry-run --always-make"
    programs = {"python": sys.executable, "make": make, "sudo": "true", "pip": "true"}
    folder.mkdir()
    for name, program in programs.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {program} "$@"\n')
        (folder / name).chmod(0o755)


def shell(checkout, line, **environment):
    return subprocess.run(
        ["bash", "-c", line], cwd=checkout, capture_output=True, text=True,
        timeout=DEADLINE_S, check=False,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(_OWN)},
            "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}",
            "VISION_MODEL_PATH": f"{ROOT / 'models'}:{models_path(ROOT)}",
            "XDG_CACHE_HOME": str(checkout / "cache"),
            **environment,
        },
    )  # fmt: skip


def shortened(line):
    """Return a command that does the same for a moment, with a picture for a camera."""
    if needs(line) == "camera":
        line = line.partition("  # ")[0].replace(" --source /dev/video0", "")
        line += " --set cameras.front.source=still:photo.jpg"
    line = re.sub(r"main\.py (run|demo)\b", r"\g<0> --frames 6", line)
    # tflite-runtime takes 0.1 s for a frame of coco-ssd.
    brief = "--frames 40 --fps 15" if "coco-ssd" in line else "--frames 60 --fps 100"
    return re.sub(r"main\.py bench\b", rf"\g<0> {brief} --rounds 1", line)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_runs(checkout, line):
    gpu = {"VK_DRIVER_FILES": str(SWIFTSHADER)} if needs(line) == "gpu" and not WHY_NOT else {}
    if needs(line) in ONLY_WORDS and not gpu:
        assert subprocess.run(["bash", "-n", "-c", line], check=False).returncode == 0
        return
    done = shell(checkout, shortened(line), **gpu)
    found = {errors.EXIT_FOUND} if "main.py doctor" in line else set()
    assert done.returncode in {errors.EXIT_OK, *found}, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("line", PROGRAM)
def test_every_command_line_parses(line):
    """Without files and devices: the commands and options are there."""
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {line.split('main.py')[1]}"],
        capture_output=True, text=True, check=True,
    ).stdout.split("\n")[:-1]  # fmt: skip
    command = cli.cli
    while isinstance(command, click.Group):
        name, command, words = command.resolve_command(click.Context(command), words)
    command.make_context(name, words)


def _leaves(command, name=""):
    if not isinstance(command, click.Group):
        return {name: command}
    context = click.Context(command)
    found = {}
    for each in command.list_commands(context):
        found |= _leaves(command.get_command(context, each), f"{name} {each}".strip())
    return found


def _rows(heading):
    """Return the rows of the table under a heading cell, as lists of cells."""
    lines = README.split(f"| {heading} |")[1].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_table_of_commands_is_whole():
    table = {
        re.match(r"`([a-z ]*[a-z])", row[0])[1]: set(re.findall(r"--?[a-z][a-z-]*", row[2]))
        for row in _rows("command")
    }
    assert table == {
        name: {
            option
            for parameter in command.params if isinstance(parameter, click.Option)
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        for name, command in _leaves(cli.cli).items()
    }  # fmt: skip


def test_the_table_of_exit_codes_is_whole():
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {int(row[0]) for row in _rows("exit code")} == codes | {cli._INTERRUPTED}


def test_the_tolerances_are_those_of_the_judge():
    [told] = re.findall(r"^- Right means: (.*?)\. ", README, re.MULTILINE | re.DOTALL)
    percent = [float(number) for number in re.findall(r"([\d.]+) %", told)]
    assert percent == [100 * judge.TOLERANCE[kind] for kind in ("fp32", "fp16", "int8")]


def test_the_second_look_is_as_strict_as_it_says():
    [told] = re.findall(r"drawn scenes:(.*?)\.\n", README, re.DOTALL)
    numbers = [float(number) for number in re.findall(r"0\.\d+", told)]
    assert numbers == [*agreement._LIMITS["fp32"], *agreement._LIMITS["fp16"]]
    assert agreement._LIMITS["int8"] == agreement._LIMITS["fp16"]


def test_fp16_is_taken_when_it_says():
    [told] = re.findall(r"unless fp16 saves more than (\d+) %", " ".join(README.split()))
    assert float(told) == round(100 * (1 - choice._CLEARLY), 6)


def test_conversion_is_as_strict_as_it_says():
    rows = re.findall(r"^\| (.*) \| ([\d.]+) % \| (\d+) % \|$", RECIPES, re.MULTILINE)
    assert {
        name: (float(mean), float(alike))
        for names, mean, alike in rows for name in re.findall(r"`(\w+)`", names)
    } == {
        name: (round(100 * limit.mean_error, 6), round(100 * limit.alike, 6))
        for name, limit in LIMITS.items()
    }  # fmt: skip


def test_a_gpu_is_tried_again_when_it_says():
    [told] = re.findall(r"verified again after (\d+) s, then .*? up to\s+(\d+) minutes", README)
    assert [float(told[0]), 60 * float(told[1])] == [
        failover._FIRST_RETRY_S, failover._LONGEST_RETRY_S
    ]  # fmt: skip


def test_the_tables_of_models_and_extras_are_whole():
    assert {row[0].strip("`") for row in _rows("name")} == set(load_catalogue().models)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = project.split("[project.optional-dependencies]\n")[1].split("\n\n")[0]
    extras = set(re.findall(r"^([a-z-]+) =", section, re.MULTILINE))
    assert {row[0].strip("`") for row in _rows("extra")} == extras
    assert {
        name for line in COMMANDS for group in re.findall(r"'\.\[(.*?)\]'", line)
        for name in group.split(",")
    } <= extras  # fmt: skip


# Loading the configuration


@pytest.fixture
def porch(tmp_path):
    path = tmp_path / "porch.yaml"
    path.write_text(CONFIGURATION)
    return config_file.load(path).config


def _keys(value, path=()):
    if isinstance(value, dict):
        return {path, *(key for name in value for key in _keys(value[name], (*path, name)))}
    return {path}


def test_the_example_has_every_key(porch):
    schema = _schema()["$defs"]
    written = yaml.safe_load(CONFIGURATION)
    classifiers = yaml.safe_load(CLASSIFIERS)["classifiers"]
    parts = {
        "Config": [written], "InferenceConfig": [written["inference"]],
        "RulesConfig": [written["rules"]], "DetectorConfig": written["detectors"].values(),
        "CameraConfig": written["cameras"].values(), "ClassifierConfig": classifiers.values(),
    }  # fmt: skip
    for table in (registry.OUTPUTS, registry.PUBLISHERS, registry.TRACKERS):
        sections = [*written["outputs"], *written["publishers"], written["tracker"]]
        for name, target in table.items():
            parts[target.partition(":")[2]] = [own for own in sections if own["type"] == name]
    assert set(parts) == set(schema)
    for name, found in parts.items():
        assert found, name
        for section in found:
            assert set(section) == set(schema[name]["properties"]), name


def test_the_example_shows_the_defaults(porch):
    assert porch.inference == InferenceConfig()
    assert porch.rules == RulesConfig()
    assert porch.detectors["face"] == DetectorConfig(model="face-short")
    shown = [*porch.outputs, *porch.publishers, porch.tracker]
    for table in (registry.OUTPUTS, registry.PUBLISHERS, registry.TRACKERS):
        for name in table:
            [own] = [dict(section) for section in shown if section["type"] == name]
            plug_in = registry.load("plug-in", table, own.pop("type"))
            fields = plug_in.Config.model_fields
            required = {key: own[key] for key in own if fields[key].is_required()}
            assert plug_in.Config(**own) == plug_in.Config(**required)


def test_the_sidecar_has_every_key():
    """That it is right is shown by the command below it, which runs."""
    sidecar = yaml.safe_load(SIDECAR)
    assert set(sidecar) == set(Sidecar.model_fields)
    assert set(sidecar["input"]) == set(InputSpec.model_fields)


def test_the_table_of_decoders_is_whole():
    options = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[2])) for row in _rows("`decoder`")}
    decoders = registry.DETECTORS | registry.CLASSIFIERS
    assert options == {
        name: set(registry.load("decoder", decoders, name).Config.model_fields) for name in decoders
    }


# What comes out


def _shape(value):
    """Return the keys of a JSON value, all the way down."""
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    return [_shape(value[0])] if isinstance(value, list) and value else None


def test_detect_prints_what_readme_shows(checkout):
    done = shell(checkout, "python main.py detect photo.jpg --json --min-score 0.3")
    assert _shape(json.loads(done.stdout)) == _shape(DETECT_LINE)


def test_events_are_what_readme_shows(checkout):
    (checkout / "events.jsonl").unlink(missing_ok=True)
    done = shell(
        checkout,
        "python main.py run configs/headless.yaml --source clip.mp4 "
        "--set publishers.0.path=events.jsonl "
        "--set 'cameras.front.zones={door: [[0, 0], [1, 0], [1, 1], [0, 1]]}'",
    )
    assert done.returncode == 0, done.stderr
    *_, end = events_of(checkout / "events.jsonl")
    assert _shape(end) == {**_shape(EVENT_LINE)}
    assert end["type"] == EVENT_LINE["type"]
    assert EVENT_LINE["data"]["schema_version"] == event.SCHEMA_VERSION
    assert _event_types() == {row[0].strip("`") for row in _rows("`type`")}


def test_events_have_classes_as_readme_shows(checkout):
    *_, end = _classified(checkout, CLASSIFIERS)
    assert _shape(end["data"]["classes"]) == _shape(CLASSES)


def test_a_frame_is_classified_as_readme_shows(checkout):
    told = _classified(checkout, CLASSIFIERS.replace("of: face ", "of: frame"))
    named = [event for event in told if event["type"] == "vision.frame.classified"]
    assert _shape(named[0]["data"]) == _shape(FRAME_CLASSES)
    assert named[0]["subject"] == "front/kind"


def _classified(checkout, classifiers):
    """Return the events of README's configuration with these classifiers."""
    whole = re.sub("^classifiers: .*\n", classifiers, CONFIGURATION, flags=re.MULTILINE)
    (checkout / "classes.yaml").write_text(whole)
    (checkout / "classes.jsonl").unlink(missing_ok=True)
    done = shell(
        checkout,
        "python main.py run classes.yaml --source clip.mp4 --set classifiers.kind.min_score=0 "
        "--set outputs=[] --set 'publishers=[{type: jsonl, path: classes.jsonl}]'",
    )
    assert done.returncode == 0, done.stderr
    return events_of(checkout / "classes.jsonl")


def _event_types():
    code = "".join(path.read_text() for path in (ROOT / "vision").rglob("*.py"))
    return set(re.findall(r'"(vision\.[a-z]+\.[a-z]+)"', code))


def test_the_picture_is_the_programs_own(tmp_path, vision):
    photo = ROOT / "models/astronaut.png"
    if not photo.is_file():
        pytest.skip("no demo picture here: python main.py models pull demo-picture")
    vision(
        "run", ROOT / "configs/headless.yaml", "--source", f"still:{photo}", "--no-live",
        "--frames", 301, "--set", "cameras.front.size_wh=[640, 480]",
        "--set", f"outputs=[{{type: folder, path: {tmp_path}, quality: 85}}]",
    )  # fmt: skip
    drawn = cv2.imread(str(tmp_path / "front-00000300.jpg")).astype(np.int16)
    shown = cv2.imread(str(ROOT / "tests/pictures/overlay.jpg"))
    difference = np.abs(drawn - shown)
    difference[:30, :160] = 0  # the corner's figures are of another run
    assert difference.mean() < 1
    assert (difference.max(axis=2) > 60).sum() < 100, "another box, label or keypoint"
    assert (ROOT / "tests/pictures/overlay.jpg").stat().st_size < 200_000


# The house


def test_the_tree_is_true():
    """Every module has its line in CONTRIBUTING, under its folder, and every line its module."""
    [tree] = (block for block in blocks(CONTRIBUTING, "text") if "\nvision/\n" in block)
    listed, folder = set(), Path()
    for line in tree.partition("vision/\n")[2].splitlines():
        indent, name = re.match(r"( +)(\S+) ", line).groups()
        folder = Path(name) if name.endswith("/") else folder if len(indent) == 4 else Path()
        listed.add(folder if name.endswith("/") else folder / name)
    modules = {path.relative_to(ROOT / "vision") for path in (ROOT / "vision").rglob("*.py")}
    plain = {path for path in modules if path.name != "__init__.py"}
    assert listed == plain | {path.parent for path in modules if path.parent != Path()}


@pytest.fixture
def contributed(checkout, tmp_path):
    """Return a checkout with both examples of CONTRIBUTING in it, as it says."""
    copy = shutil.copytree(checkout, tmp_path / "contributed")
    publisher, in_publishers, source, in_sources, in_source_kind = blocks(CONTRIBUTING, "python")
    for code, line in ((publisher, in_publishers), (source, in_sources)):
        module = re.search(r"vision\.[a-z.]+", line)[0]
        (copy / module.replace(".", "/")).with_suffix(".py").write_text(code)
    registry_py, building_py = copy / "vision/registry.py", copy / "vision/building.py"
    for heading, line in (("PUBLISHERS = {\n", in_publishers), ("SOURCES = {\n", in_sources)):
        _insert(registry_py, heading, heading + line)
    last = '    if "://" in address:\n'
    _insert(building_py, last, in_source_kind + last)
    return copy


def _insert(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_the_examples_of_plug_ins_work(contributed):
    video = cv2.VideoCapture(str(contributed / "clip.mp4"))
    frames = [video.read()[1] for _ in range(20)]
    video.release()
    np.save(contributed / "frames.npy", frames)
    with _Receiver(("127.0.0.1", 0), None) as receiver:
        receiver.socket.settimeout(5)
        done = shell(
            contributed,
            "python main.py run configs/headless.yaml --source npy:frames.npy --json "
            f"--set 'publishers=[{{type: tcp, host: 127.0.0.1, port: {receiver.port}}}]'",
        )
        assert done.returncode == 0, done.stderr
        received = receiver.lines()
    summary = json.loads(done.stdout)
    assert summary["cameras"]["front"]["frames_out"] == len(frames)
    assert summary["events"] == len(received) > 0
    assert {line["source"] for line in received} == {"vision/vision/front"}


class _Receiver(socketserver.TCPServer):
    """Takes lines from one connection."""

    @property
    def port(self):
        return self.server_address[1]

    def lines(self):
        """Accept the connection that has been made and return all that it sent."""
        connection, _ = self.get_request()
        with connection, connection.makefile("rb") as file:
            return [json.loads(line) for line in file]


def test_the_examples_of_plug_ins_keep_the_rules(contributed):
    for tool in (["check"], ["format", "--check"]):
        files = ["vision/publishers/tcp.py", "vision/sources/npy.py"]
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *tool, *files, "vision/registry.py"],
            cwd=contributed, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def test_troubleshooting_quotes_what_the_program_says():
    said = _messages() + (ROOT / "Makefile").read_text(encoding="utf-8")
    quoted = [quote for row in _rows("you see") for quote in re.findall(r"`(.*?)`", row[0])]
    assert len(quoted) > 10
    for quote in quoted:
        fragments = [part.strip() for part in re.split(r"…|/dev/video0", quote)]
        assert not [part for part in fragments if part not in said], quote


def _messages():
    """Return all text in the code, with the variable parts of it left out."""
    texts = []
    for path in (ROOT / "vision").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part for part in node.values if isinstance(part, ast.Constant)]
                texts.append("".join(part.value for part in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_links_lead_somewhere():
    for text, folder in ((README, ROOT), (CONTRIBUTING, ROOT), (RECIPES, ROOT / "models/recipes")):
        targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
        assert not [target for target in targets if not (folder / target).exists()]
