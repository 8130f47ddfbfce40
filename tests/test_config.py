"""Configurations: what is read, what is refused, and in which words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, field_validator

from vision import config_file, registry, yaml_tree
from vision.config import Config
from vision.errors import EXIT_CONFIG, EXIT_USAGE, ConfigError, UsageError
from vision.origins import Origins

SHIPPED = ("default", "demo", "headless")
LEAST = """\
cameras:
  front:
    source: 0
detectors:
  face: {model: face-short}
"""


@pytest.fixture
def write(tmp_path):
    def to_file(text: str | bytes, name: str = "c.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return to_file


@pytest.fixture
def refusal(write):
    def message(text: str | bytes, *overrides: str) -> str:
        path = write(text)
        with pytest.raises(ConfigError) as caught:
            config_file.load(path, overrides)
        assert caught.value.exit_code == EXIT_CONFIG
        assert all(problem.isprintable() for problem in caught.value.problems)
        return str(caught.value).replace(f"{path.parent}/", "")

    return message


@pytest.fixture(scope="session")
def vision(root):
    """Run a command in a process of its own."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(root / "main.py"), *arguments],
            capture_output=True, text=True, timeout=60, check=False, cwd=root,
            env={**os.environ, **environment},
        )  # fmt: skip

    return run


def test_all_that_the_contract_shows_is_read(write):
    loaded = config_file.load(
        write("""\
name: porch
inference: {backend: auto, precision: auto, threads: auto, require_gpu: false}
detectors:
  face: {model: face-short, min_score: 0.5}
cameras:
  front:
    source: 0
    size_wh: [1280, 720]
    fps: 30
    detectors: [face]
    zones: {door: [[0.1, 0.2], [0.4, 0.2], [0.4, 0.9], [0.1, 0.9]]}
outputs:  [{type: window, fullscreen: true}, {type: web, bind: 127.0.0.1, port: 8080}]
publishers: [{type: jsonl, path: events.jsonl}, {type: mqtt, host: broker.local}]
""")
    )
    config = loaded.config
    front = config.cameras["front"]
    assert (config.name, front.source, front.size_wh, front.fps) == ("porch", 0, (1280, 720), 30.0)
    assert front.zones == {"door": ((0.1, 0.2), (0.4, 0.2), (0.4, 0.9), (0.1, 0.9))}
    assert config.detectors["face"].model == "face-short"
    assert config.outputs[1] == {"type": "web", "bind": "127.0.0.1", "port": 8080}
    assert config.publishers[1] == {"type": "mqtt", "host": "broker.local"}
    assert loaded.where("cameras", "front", "zones", "door", 2, 1).endswith("c.yaml:11")
    assert loaded.where("publishers", 0, "no such key").endswith("c.yaml:13")


def test_what_is_left_out_has_a_default(write):
    config = config_file.load(write(LEAST)).config
    assert config.name == "vision"
    assert config.inference.backend == "auto"
    assert config.tracker == {"type": "kalman"}
    assert (config.rules.min_hits, config.rules.max_age_s, config.rules.update_s) == (3, 1.0, 5.0)
    assert (config.outputs, config.publishers) == ((), ())
    assert config.cameras["front"].detectors is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("source: 0", "source: 0\n    sizewh: [1, 2]"),
         "c.yaml:4: cameras.front.sizewh: unknown key; did you mean 'size_wh'?"),
        (("face-short}", "face-short, colour: red}"),
         ("c.yaml:5: detectors.face.colour: unknown key; "
         "allowed: labels, max_detections, min_score, model")),
        (("model:", "modle:"),
         ("c.yaml:5: detectors.face.modle: unknown key; did you mean 'model'? "
         "(and 1 more; `config check` shows all)")),
        (("{model: face-short}", "{}"), "c.yaml:5: detectors.face.model: is missing"),
        (("source: 0", "source: -1"),
         "c.yaml:3: cameras.front.source: must be greater than or equal to 0, not -1"),
        (("source: 0", "source: true"),
         "c.yaml:3: cameras.front.source: must be a whole number or text, not true"),
        (("source: 0", "source: ''"),
         "c.yaml:3: cameras.front.source: must have at least 1 character"),
        (("source: 0", "source: 0\n    live: yes"),
         "c.yaml:4: cameras.front.live: must be true or false, not 'yes'"),
        (("source: 0", "source: 0\n    size_wh: [640]"),
         "c.yaml:4: cameras.front.size_wh.1: is missing"),
        (("source: 0", "source: 0\n    size_wh: [1, 2, 3]"),
         "c.yaml:4: cameras.front.size_wh: needs 2 or fewer items, has 3"),
        (("source: 0", "source: 0\n    size_wh: 640x480"),
         "c.yaml:4: cameras.front.size_wh: must be a list, not '640x480'"),
        (("source: 0", "source: 0\n    zones: {a: [[0, 0], [1, 1]]}"),
         "c.yaml:4: cameras.front.zones.a: needs 3 or more items, has 2"),
        (("source: 0", ("source: 0\n    zones:\n      a:\n        - [0, 0]\n        - [1, 0]\n"
          "        - [1, 1.5]")),
         "c.yaml:8: cameras.front.zones.a.2.1: must be less than or equal to 1, not 1.5"),
        (("source: 0", "source: 0\n    detectors: [fase]"),
         ("c.yaml:4: cameras.front.detectors.0: no detector is called 'fase'; "
         "did you mean 'face'?")),
        (("front:", "fro nt:"),
         "c.yaml:2: cameras.fro nt: a name is not empty and has no '/', '#', '+' or white space"),
        (("  front:\n    source: 0", "  {}"), "c.yaml:1: cameras: needs 1 or more items, has 0"),
        (("  front:\n    source: 0\n", ""), "c.yaml:1: cameras: must be a mapping, not null"),
        (("cameras:\n  front:\n    source: 0\n", ""), "c.yaml:1: cameras: is missing"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_line_key_and_mending(refusal, change, says):
    assert refusal(LEAST.replace(*change)) == says


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("inferense: {}", "inferense: unknown key; did you mean 'inference'?"),
        ("name: a/b", "name: a name is not empty and has no '/', '#', '+' or white space"),
        ("name: 7", "name: must be text, not 7"),
        ("inference: {threads: many}",
         "inference.threads: must be 'auto' or a whole number, not 'many'"),
        ("inference: {threads: 1.5}",
         "inference.threads: must be 'auto' or a whole number, not 1.5"),
        ("inference: {threads: 0}",
         "inference.threads: must be greater than or equal to 1, not 0"),
        ("inference: {backend: gpuu}",
         "inference.backend: must be 'auto', 'gpu', 'cpu' or 'delegate', not 'gpuu'"),
        ("inference: {backend: delegate}",
         "inference: backend 'delegate' needs 'library', the delegate's .so"),
        ("inference: {backend: cpu, require_gpu: true}",
         "inference: backend 'cpu' and 'require_gpu' exclude each other"),
        ("outputs: window", "outputs: must be a list, not 'window'"),
        ("outputs: [window]", "outputs.0: must be a mapping, not 'window'"),
        ("rules: {min_hits: 3.0}", "rules.min_hits: must be a whole number, not 3.0"),
        ("stats_interval_s: 12:30", "stats_interval_s: must be a number, not '12:30'"),
        ("stats_interval_s: .inf", "stats_interval_s: must be a number, not '.inf'"),
        ("stats_interval_s: 1e999", "stats_interval_s: the number is too large"),
        ("stats_interval_s: " + "9" * 5000, "stats_interval_s: the number is too large"),
        ("name: !!timestamp 2024-01-01",
         "name: tag 'tag:yaml.org,2002:timestamp' is not known; allowed: !secret"),
        ("name: !!int x", "name: 'x' is not what its tag says, int"),
        ('name: "\\ud800"', "name: contains a control character"),
        ("? [a]\n: b", "a key is plain text"),
        ("name: ${NO_SUCH_VARIABLE}", "name: environment variable NO_SUCH_VARIABLE is not set"),
        ("name: ${name", "name: write ${NAME}, ${NAME:-default}, or $${ for '${'"),
        ("name: !secret no-such-file", "name: secret file no-such-file: No such file or directory"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_told(refusal, line, says):
    assert refusal(LEAST + line) == f"c.yaml:6: {says}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "c.yaml: is empty; a configuration needs 'cameras' and 'detectors'"),
        ("# nothing\n", "c.yaml: is empty; a configuration needs 'cameras' and 'detectors'"),
        ("- a\n", "c.yaml:1: the top is no mapping of 'cameras', 'detectors' and so on"),
        (b"\x7fELF\0\0", "c.yaml: is a binary file, not a YAML configuration"),
        (b"name: a\nb: \xff", "c.yaml:2: byte 0xff is not UTF-8"),
        ("name: a\nb: \x07", "c.yaml:2: not YAML: control character 0x07"),
        ("# " + "x" * 300_000, "c.yaml: is larger than 256 KiB: no configuration"),
        ("a:\n\tb: 1", ("c.yaml:2: not YAML: while scanning for the next token, "
         "found character '\\t' that cannot start any token")),
        ('a: "\\UFFFFFFFF"', "c.yaml:1: not YAML: a character or number out of range"),
        ("name: a\nname: b", "c.yaml:2: name: is given twice, first at c.yaml:1"),
        ("a: {b: 1, b: 2}", "c.yaml:1: a.b: is given twice, first at c.yaml:1"),
        ("--- {}\n--- {}", ("c.yaml:2: not YAML: expected a single document in the stream, "
         "but found another document")),
        ("a: " + "[" * 60 + "]" * 60, "c.yaml:1: a: more than 50 levels or 20000 values"),
        ("[" * 3000, "c.yaml:1: more than 50 levels deep"),
        ("a: &a [*a]", "c.yaml:1: a: more than 50 levels or 20000 values"),
        ("a: {b: ${C}}", ("c.yaml:1: not YAML: while parsing a flow mapping, expected ',' or '}', "
         "but got '{'; inside { } and [ ] write \"${...}\" in quotes")),
    ],
)  # fmt: skip
def test_what_is_no_configuration_is_told(refusal, text, says):
    assert refusal(text) == says


def test_aliases_that_multiply_end_early(refusal):
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert refusal("\n".join(lines)).endswith("more than 50 levels or 20000 values")


def test_a_file_that_cannot_be_read_is_told(write, tmp_path):
    near = write(LEAST, "front.yaml")
    for path, says in (
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "frnt.yaml", f"no such file; did you mean '{near}'?"),
        (tmp_path / "no" / "a.yaml", "no such file"),
        # Nobody may read here, not even root.
        (Path("/proc/self/mem"), "cannot be read: Input/output error"),
    ):
        with pytest.raises(ConfigError) as caught:
            config_file.load(path)
        assert str(caught.value) == f"{path}: {says}"


def test_all_problems_are_kept(write):
    path = write(LEAST.replace("model:", "modle:") + "name: 7\nrules: {min_hits: 0}\n")
    with pytest.raises(ConfigError) as caught:
        config_file.load(path)
    assert [problem.removeprefix(f"{path}:") for problem in caught.value.problems] == [
        "5: detectors.face.modle: unknown key; did you mean 'model'?",
        "6: name: must be text, not 7",
        "5: detectors.face.model: is missing",
        "7: rules.min_hits: must be greater than or equal to 1, not 0",
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("y", "y"), ("true", True), ("False", False),
        ("12:30:00", "12:30:00"), ("2024-13-45", "2024-13-45"), ("2024-01-31", "2024-01-31"),
        ("1e3", 1000.0), ("-.5", -0.5), ("5.", 5.0), ("1_000", "1_000"), ("010", 10),
        ("0o17", 15), ("0x1F", 31), ("-7", -7), ("+7", 7), ("~", None), ("", None),
        (".nan", ".nan"), ("'1'", "1"), ("!!str 1", "1"), ("<<", "<<"), ("=", "="),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text, value, tmp_path):
    found = yaml_tree.parse(f"a: {text}", Origins(), place=str, folder=tmp_path)["a"]
    assert found == value
    assert type(found) is type(value)


_texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20).filter(
    lambda text: "${" not in text
)
_scalars = st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | _texts
_numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.recursive(
        _scalars | _numbers,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
        max_leaves=12,
    )
)
@settings(deadline=None)
@example("1e3")
@example({"": "no", "12:30": "=", "a": "0x1F"})
def test_what_is_printed_is_read_back(values):
    text = yaml_tree.dump(values, {})
    assert yaml_tree.parse(text, Origins(), place=str, folder=Path()) == values


def test_overrides_reach_every_place(write):
    path = write(LEAST + "publishers: [{type: jsonl, path: a}]\n")
    loaded = config_file.load(
        path,
        [
            "publishers.0.path=/tmp/e.jsonl",
            "publishers.1={type: stdout}",
            "outputs=[{type: web}]",
            "cameras.front.fps=12",
            "cameras.back.source=rtsp://u:p@host/stream?a=b",
            "rules.update_s=",
            "tracker.min_iou=.2",
            "cameras.front.fps=15",
        ],
    )
    config, where = loaded.config, loaded.where
    assert config.publishers == ({"type": "jsonl", "path": "/tmp/e.jsonl"}, {"type": "stdout"})
    assert config.outputs == ({"type": "web"},)
    assert config.cameras["front"].fps == 15
    assert config.cameras["back"].source == "rtsp://u:p@host/stream?a=b"
    assert config.rules.update_s is None
    assert config.tracker == {"type": "kalman", "min_iou": 0.2}
    assert where("publishers", 0, "path") == "--set publishers.0.path=…"
    assert where("publishers", 0, "type") == f"{path}:6"
    assert where("outputs", 0, "type") == "--set outputs=…"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("cameras.front.fps=abc", "cameras.front.fps: must be a number, not 'abc'"),
        ("cameras.front.fbs=3", "cameras.front.fbs: unknown key; did you mean 'fps'?"),
        ("publishers.2.path=x", "'2' is no item of the list; allowed: 0 to 1"),
        ("publishers.-1.path=x", "'-1' is no item of the list; allowed: 0 to 1"),
        ("publishers.path=x", "'path' is no item of the list; allowed: 0 to 1"),
        ("publishers.0.path.x=y", "'x' is below a value that is no mapping and no list"),
        ("outputs=[{", ("not YAML: while parsing a flow node, "
         "expected the node content, but found '<stream end>'")),
        ("name=a\nname", "name: a name is not empty and has no '/', '#', '+' or white space"),
        ("rules={min_hits: 1, min_hits: 2}",
         "rules.min_hits: is given twice, first at --set rules=…"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_told(refusal, override, says):
    text = LEAST + "publishers: [{type: jsonl, path: a}]\n"
    assert refusal(text, override) == f"--set {override.partition('=')[0]}=…: {says}"


@pytest.mark.parametrize("override", ["name", "=x", "a..b=1", ".a=1", "a\nb=1", ""])
def test_an_override_without_a_key_is_wrong_usage(write, override):
    with pytest.raises(UsageError, match=r"write --set key\.path=value") as caught:
        config_file.load(write(LEAST), [override])
    assert caught.value.exit_code == EXIT_USAGE


def test_variables_and_secrets_are_put_in(write, monkeypatch):
    monkeypatch.setenv("CAMERA_PASSWORD", "s3cret")
    monkeypatch.setenv("EMPTY", "")
    write("broker-word  \nsecond line\n", "word")
    monkeypatch.setenv("FOLDER", ".")
    config = config_file.load(
        write(
            LEAST.replace("source: 0", "source: rtsp://me:${CAMERA_PASSWORD}@10.0.0.7/h264")
            + "name: ${EMPTY:-porch}\n"
            + "publishers: [{type: mqtt, password: !secret word}]\n"
            + "outputs:\n  - {type: a, b: !secret '${FOLDER}/word', c: '$${x}', d: '${EMPTY}'}\n"
        )
    ).config
    assert config.cameras["front"].source == "rtsp://me:s3cret@10.0.0.7/h264"
    assert config.name == "porch"
    assert config.publishers[0]["password"] == "broker-word"
    assert config.outputs[0] == {"type": "a", "b": "broker-word", "c": "${x}", "d": ""}


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"\nsecond", "the first line is empty"), (b"\xff", "not UTF-8 text"),
     (None, "Is a directory")],
)  # fmt: skip
def test_a_useless_secret_is_told(refusal, write, tmp_path, content, says):
    if content is None:
        (tmp_path / "word").mkdir()
    else:
        write(content, "word")
    assert refusal(LEAST + "name: !secret word") == f"c.yaml:6: name: secret file word: {says}"


class _Talkative(BaseModel):
    """A plug-in whose error quotes what it was given."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    password: str
    port: int = 1

    @field_validator("password")
    @classmethod
    def _refuse(cls, value: str) -> str:
        raise ValueError(f"{value} is {value!r}")


@pytest.mark.parametrize("secret", ["hunter2", 'it\'s \\ "it"', "x" * 500])
def test_a_secret_is_in_no_error(write, secret):
    write(secret, "word")
    path = write(LEAST + "publishers: [{type: mqtt, password: !secret word, port: 1}]")
    loaded = config_file.load(path)
    section = {"password": loaded.config.publishers[0]["password"], "port": 2}
    with pytest.raises(ConfigError) as caught:
        config_file.checked(_Talkative, section, loaded.where, ("publishers", 0))
    assert secret not in str(caught.value)
    assert str(caught.value).startswith(f"{path}:6: publishers.0.password: ***")
    # Where it lands in a field of another type, it is not shown either.
    with pytest.raises(ConfigError) as caught:
        config_file.load(path, ["stats_interval_s=!secret word"])
    assert secret not in str(caught.value)


def test_a_plug_in_is_checked_against_its_own_schema(write):
    path = write(
        LEAST + "outputs:\n- {type: windwo}\n- {type: window, fullscren: true}\n"
        "- {fullscreen: true}\n- {type: window, size_wh: [640, 480]}\n"
    )
    loaded = config_file.load(path)

    def section(index: int):
        keys = ("outputs", index)
        data = loaded.config.outputs[index]
        return registry.section("output", registry.OUTPUTS, data, loaded.where, keys)

    for index, says in enumerate(
        (
            "7: outputs.0.type: no output is called 'windwo'; did you mean 'window'?",
            "8: outputs.1.fullscren: unknown key; did you mean 'fullscreen'?",
            "9: outputs.2.type: is missing; allowed: folder, video, window",
        )
    ):
        with pytest.raises(ConfigError) as caught:
            section(index)
        assert str(caught.value) == f"{path}:{says}"
    plug_in, own = section(3)
    assert isinstance(own, plug_in.Config)
    assert own.size_wh == (640, 480)


def test_reading_imports_nothing_heavy(root):
    script = (
        "import sys; from pathlib import Path; from vision import config_file\n"
        "config_file.load(Path('configs/headless.yaml'))\n"
        "print(*sorted({'cv2', 'numpy', 'click', 'vision.registry'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout.strip() == ""


def test_headless_is_as_promised(root):
    config = config_file.load(root / "configs/headless.yaml").config
    assert list(config.cameras) == ["front"]
    assert list(config.detectors) == ["face"]
    assert config.outputs == ()
    assert config.publishers[0]["type"] == "jsonl"


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configurations_are_right_and_shown_whole(vision, root, write, name):
    path = f"configs/{name}.yaml"
    done = vision("config", "check", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
    done = vision("config", "show", path)
    assert (done.returncode, done.stderr) == (0, "")
    shown = config_file.load(write(done.stdout)).config
    given = config_file.load(root / path).config
    plug_ins = {"tracker", "outputs", "publishers"}
    assert shown.model_dump(exclude=plug_ins) == given.model_dump(exclude=plug_ins)
    for own, short in zip(shown.publishers, given.publishers, strict=True):
        assert short.items() <= own.items()
        assert (
            own.keys() - {"type"}
            == registry.load(
                "publisher", registry.PUBLISHERS, own["type"]
            ).Config.model_fields.keys()
        )
    assert vision("config", "show", str(write(done.stdout))).stdout == done.stdout


def test_show_keeps_secrets(vision, write):
    write("hunter2", "word")
    path = write(
        LEAST.replace("source: 0", "source: rtsp://me:${WORD}@host/")
        + "publishers: [{type: jsonl, path: !secret word}]"
    )
    done = vision("config", "show", str(path), "--set", "name=${WORD}", WORD="swordfish")
    assert done.returncode == 0, done.stderr
    assert "hunter2" not in done.stdout
    assert "swordfish" not in done.stdout
    shown = write(done.stdout)
    again = vision("config", "show", str(shown), WORD="swordfish")
    assert again.stdout == done.stdout
    assert "path: !secret" in done.stdout.replace("'", "")


def test_check_prints_every_problem(vision, write):
    path = write(
        LEAST.replace("detectors:\n", "tracker: {min_iuo: 1}\ndetectors:\n")
        + "outputs: [{type: windwo}]\npublishers: [{type: jsonl, pth: a}]\n"
    )
    done = vision("config", "check", str(path))
    assert done.returncode == EXIT_CONFIG
    assert done.stdout == ""
    assert done.stderr.replace("error: ", "").replace(str(path), "c.yaml").splitlines() == [
        "c.yaml:4: tracker.min_iuo: unknown key; did you mean 'min_iou'?",
        "c.yaml:7: outputs.0.type: no output is called 'windwo'; did you mean 'window'?",
        "c.yaml:8: publishers.0.pth: unknown key; did you mean 'path'?",
        "c.yaml:8: publishers.0.path: is missing",
    ]


def test_schema_describes_every_plug_in(vision):
    done = vision("config", "schema")
    assert done.returncode == 0, done.stderr
    schema = json.loads(done.stdout)
    definitions = schema["$defs"]

    def follow(part):
        return definitions[part["$ref"].removeprefix("#/$defs/")]

    top = follow(schema)["properties"]
    assert top.keys() == Config.model_fields.keys()
    for table, choice in (
        (registry.TRACKERS, top["tracker"]),
        (registry.OUTPUTS, top["outputs"]["items"]),
        (registry.PUBLISHERS, top["publishers"]["items"]),
    ):
        sections = [follow(option) for option in choice["oneOf"]]
        assert [each["properties"]["type"]["const"] for each in sections] == list(table)
        for each, name in zip(sections, table, strict=True):
            own = registry.load("plug-in", table, name).Config.model_fields
            assert each["properties"].keys() == own.keys() | {"type"}
            assert each["additionalProperties"] is False


_PIECES = (
    ":", ": ", "- ", "\n", "\n  ", "\t", "[", "]", "{", "}", "&a ", "*a", "!", "!secret ", "!!int ",
    "|", ">", "'", '"', "#", "?", "%", "@", "`", "---", "...", "~", "<<", "${", "${HOME}", "$${",
    "\\", '"\\x"', "\0", "\x85", "\ufeff", "\U0001f600", "9" * 50, "1e999", ".nan", "cameras",
)  # fmt: skip
_edits = st.lists(
    st.tuples(
        st.integers(0, 1200), st.integers(0, 12), st.sampled_from(_PIECES) | st.text(max_size=4)
    ),
    min_size=1,
    max_size=6,
)


def _problems(path: Path, *overrides: str) -> tuple[str, ...]:
    try:
        loaded = config_file.load(path, overrides)
        for index, section in enumerate(loaded.config.publishers):
            keys = ("publishers", index)
            registry.section("publisher", registry.PUBLISHERS, section, loaded.where, keys)
    except ConfigError as error:
        return error.problems
    return ()


@given(st.sampled_from(SHIPPED), _edits)
@settings(max_examples=300, deadline=None)
def test_a_damaged_configuration_is_refused_in_words(tmp_path_factory, root, name, edits):
    text = (root / f"configs/{name}.yaml").read_text()
    for start, length, piece in edits:
        text = text[:start] + piece + text[start + length :]
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    assert all(line.isprintable() for line in _problems(path))


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_bytes_are_refused_in_words(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        config_file.load(path)
    assert str(caught.value).isprintable()


@given(st.text(st.characters(exclude_characters="=."), min_size=1), st.text())
@settings(deadline=None)
def test_any_override_is_taken_or_refused_in_words(root, key, value):
    path = root / "configs/headless.yaml"
    if key.isprintable():
        problems = _problems(path, f"{key}={value}")
        assert all(line.isprintable() for line in problems)
    else:
        with pytest.raises(UsageError):
            config_file.load(path, [f"{key}={value}"])
