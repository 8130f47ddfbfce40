"""The doctor: real checks on this machine, and trees that stand for other machines."""

from __future__ import annotations

import grp
import json
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import DEADLINE_S, models_path
from gpu_support import SWIFTSHADER, compile_c, manifest, needs_gpu

from vision import paths
from vision.doctor import child, devices, gpu, machine, packages, storage
from vision.litert import driver
from vision.models.catalogue import find, load_catalogue

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, or mounts: as root")


@pytest.fixture
def settings(root, picture, tmp_path):
    """Return the command line of a configuration that works here, without the GPU."""
    return (
        "doctor", root / "configs" / "headless.yaml",
        "--set", f"cameras.front.source=still:{picture}",
        "--set", f"publishers.0.path={tmp_path}/out/events.jsonl",
        "--set", "inference.backend=cpu",
    )  # fmt: skip


@pytest.fixture
def examine(vision, settings, tmp_path):
    """Run `doctor --json`; return the findings by check, the last of each name."""

    def call(*more, code=0, **environment):
        environment.setdefault("XDG_CACHE_HOME", str(tmp_path / "cache"))
        done = vision(*settings, *more, "--json", code=code, **environment)
        findings = json.loads(done.stdout)
        for finding in findings:
            assert list(finding) == ["check", "status", "detail", "mend"]
            assert finding["status"] in ("ok", "warn", "bad", "skip")
            assert finding["mend"] or finding["status"] in ("ok", "skip"), finding
        assert any(finding["status"] == "bad" for finding in findings) == bool(code)
        return {finding["check"]: finding for finding in findings}

    return call


# --- the command


def test_all_that_this_configuration_needs_works(examine, tmp_path):
    found = examine()
    for check in ("python", "tflite runtime", "opencv", "camera front", "model face-short"):
        assert found[check]["status"] == "ok", found[check]
    assert found["camera front"]["detail"].endswith("gives 640x480")
    assert str(tmp_path / "out" / "events.jsonl") in found["publishers.0"]["detail"]
    assert not (tmp_path / "out").exists(), "looking makes nothing"
    assert found["backend face-short"]["detail"] == "cpu: the configuration says so"
    assert {"clock", "temperature", "power", "cpu governor", "memory"} <= found.keys()


def test_a_table_for_people(vision, settings, tmp_path):
    out = vision(
        *settings, "--set", "cameras.front.source=/dev/video99", code=1, XDG_CACHE_HOME=tmp_path
    ).stdout
    assert "\x1b" not in out
    *table, empty, summary = out.splitlines()
    assert (empty, summary.split(",")[0]) == ("", "1 bad")
    for line in table:
        assert line[:4].strip() in ("ok", "warn", "bad", "skip", "")
        assert line[4:6] == "  "
        longest = max(map(len, line.split()))
        assert len(line) <= 100 or longest > 100 - 30, "only what cannot be broken is longer"
    [row] = [n for n, line in enumerate(table) if line.startswith("bad")]
    assert table[row][:30] == "bad   camera front            "
    assert "/dev/video99 does not exist" in table[row]
    assert table[row + 1].startswith(" " * 30 + "-> plug it in")


def test_colours_on_a_terminal_only(root, settings, tmp_path):
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb") as terminal:
        done = subprocess.Popen(
            [sys.executable, root / "main.py", *settings], stdout=follower, cwd=tmp_path,
            env={**os.environ, "VISION_MODEL_PATH": models_path(root)},
        )  # fmt: skip
        os.close(follower)
        assert terminal.readline().startswith(b"\x1b[32mok")
        with pytest.raises(OSError, match="Input/output"):  # the end, as a terminal has it
            while terminal.readline():
                pass
    assert done.wait(DEADLINE_S) == 0


def test_a_wrong_configuration_is_the_usual_error(vision, tmp_path):
    done = vision("doctor", tmp_path / "none.yaml", code=78)
    assert "no such file" in done.stderr
    assert done.stdout == ""


def test_an_unknown_plug_in_is_a_finding(examine):
    found = examine("--set", "publishers.0.type=pigeon", code=1)["configuration"]
    assert found["status"] == "bad"
    assert "publishers.0.type" in found["detail"]


# --- what a configuration needs


def test_a_camera_that_is_not_there(examine):
    found = examine("--set", "cameras.front.source=77", code=1)["camera front"]
    assert found["detail"].startswith("/dev/video77 does not exist")
    assert found["mend"] == "plug it in or set cameras.front.source"


def test_a_source_that_is_no_camera(examine, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    found = examine("--set", "cameras.front.source=a.mp4", code=1)["camera front"]
    assert found["status"] == "bad"
    assert "a.mp4 is no video" in found["detail"]
    examine("--set", "cameras.front.source=/dev/null", code=1)


def test_a_model_that_is_not_there(examine):
    found = examine("--set", "detectors.face.model=/nowhere/x.tflite", code=1)
    assert found["model /nowhere/x.tflite"]["status"] == "bad"
    assert "backend x" not in found


def test_a_model_of_another_hash(examine, tmp_path):
    entry = load_catalogue().models["efficientdet-lite0"]
    if find(entry, paths.model_folders()):
        pytest.skip("the right one is here as well")
    (tmp_path / entry.file).write_bytes(b"something else")
    pull = "python main.py models pull efficientdet-lite0"
    found = examine(VISION_MODEL_PATH=f"{models_path(paths.shipped('.'))}:{tmp_path}")
    assert found["model efficientdet-lite0"]["status"] == "warn"
    found = examine(
        "--set", "detectors.face.model=efficientdet-lite0", code=1, VISION_MODEL_PATH=str(tmp_path)
    )["model efficientdet-lite0"]
    assert str(tmp_path / entry.file) in found["detail"]
    assert found["mend"] == pull


def test_a_window_without_a_display_is_no_fault(examine):
    found = examine("--set", "outputs=[{type: window}]", DISPLAY="", WAYLAND_DISPLAY="")
    assert found["display"]["status"] == "warn"
    assert examine(DISPLAY="")["display"]["status"] == "skip"


def test_a_display_that_does_not_answer(examine):
    """No X server is called :99999 (its port would be past all ports)."""
    found = examine("--set", "outputs=[{type: window}]", DISPLAY=":99999")["display"]
    assert found["status"] == "warn"


# --- packages


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        ("raise ImportError('libGL.so.1: cannot open shared object file')", "libGL.so.1"),
        ("import os; os.abort()", "it crashes (SIGABRT)"),
    ],
)
def test_an_opencv_that_does_not_load(examine, tmp_path, fault, detail):
    (tmp_path / "cv2.py").write_text(fault)
    found = examine(code=1, PYTHONPATH=str(tmp_path))
    assert found["opencv"]["status"] == "bad"
    assert detail in found["opencv"]["detail"]
    assert ("apt install libgl1" in found["opencv"]["mend"]) == ("libGL" in detail)
    assert found["configuration"]["status"] == "skip"
    assert "camera front" not in found
    assert found["model face-short"]["status"] == "ok"


def test_two_builds_of_opencv():
    found = packages.opencv({"opencv-python": "4.13.0", "opencv-python-headless": "4.13.0"})
    assert found.status == "warn"
    assert found.mend == (
        "pip uninstall -y opencv-python opencv-python-headless && pip install opencv-python"
    )
    assert packages.opencv({}).status == "ok", "the system's own"


@pytest.mark.parametrize(
    ("versions", "detail", "mend"),
    [
        ({}, "none is installed", "pip install 'ai-edge-litert==2.3.*'"),
        ({"tflite-runtime": "2.14.0", "numpy": "2.1.0"}, "needs numpy 1", "pip install 'numpy<2'"),
    ],
)
def test_a_runtime_that_cannot_work(versions, detail, mend):
    found = packages.tflite(versions)
    assert found.status == "bad"
    assert detail in found.detail
    assert found.mend.startswith(mend)


def test_a_runtime_that_does_not_load(examine, tmp_path):
    name = "ai_edge_litert" if "ai-edge-litert" in packages.installed() else "tflite_runtime"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "interpreter.py").write_text("raise ImportError('GLIBC_2.99 not found')")
    found = examine(code=1, PYTHONPATH=str(tmp_path))["tflite runtime"]
    assert found["status"] == "bad"
    assert "GLIBC_2.99" in found["detail"]


@pytest.mark.parametrize(
    ("version", "status"), [((3, 9), "bad"), ((3, 10), "ok"), ((3, 13), "ok"), ((3, 14), "bad")]
)
def test_versions_of_python(version, status):
    assert packages.python_version(version).status == status


# --- children


def test_children_that_hang_crash_fail_or_do_not_start():
    hung = child.python("-c", "import signal; signal.pause()", deadline_s=0.2)
    assert hung.problem == "no answer within 0.2 s"
    crashed = child.python("-c", "import os; os.kill(os.getpid(), 11)")
    assert crashed.problem == "it crashes (SIGSEGV)"
    assert child.python("-c", "raise SystemExit('no, thanks')").problem == "no, thanks"
    assert child.python("-c", "raise SystemExit(3)").problem == "exit status 3"
    assert child.run("/nowhere/tool").problem == "/nowhere/tool does not start: " + os.strerror(2)
    assert child.python("-c", "import vision; print(1)") == child.Answer("1\n")


# --- devices


def test_no_devices(tmp_path):
    [cameras] = devices.video_nodes(tmp_path)
    [cards] = devices.render_nodes(tmp_path, tmp_path)
    assert (cameras.status, cards.status) == ("skip", "skip")


def test_video_nodes_that_are_no_cameras(tmp_path):
    (tmp_path / "video10").write_bytes(b"")
    (tmp_path / "video2").symlink_to("/dev/null")
    found = list(devices.video_nodes(tmp_path))
    assert [Path(finding.check).name for finding in found] == ["video2", "video10"]
    assert {finding.status for finding in found} == {"warn"}
    assert all("no camera answers" in finding.detail for finding in found)


def test_render_nodes_and_their_drivers(tmp_path):
    (tmp_path / "dev/dri").mkdir(parents=True)
    for node in ("renderD128", "renderD129", "card0"):
        (tmp_path / "dev/dri" / node).write_bytes(b"")
    (tmp_path / "sys/bus/drivers/v3d").mkdir(parents=True)
    device = tmp_path / "sys/class/drm/renderD128/device"
    device.mkdir(parents=True)
    (device / "driver").symlink_to(tmp_path / "sys/bus/drivers/v3d")
    first, second = devices.render_nodes(tmp_path / "dev", tmp_path / "sys")
    assert (first.status, first.detail) == ("ok", "driver v3d")
    assert (second.status, second.detail) == ("ok", "driver unknown")


_AS_NOBODY = """
import json, os, sys
from dataclasses import asdict
from pathlib import Path
from vision.doctor import devices, storage
dev = Path(sys.argv[1])
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))  # now, since that user may not be able to read this Python
found = [*devices.video_nodes(dev), *devices.render_nodes(dev, dev)]
found.append(devices.source("front", {"type": "v4l2", "device": str(dev / "video0")}))
found.append(storage.place("events", dev / "deep/er/e.jsonl", folder=False, needed=True))
print(json.dumps([asdict(finding) for finding in found]))
"""


@as_root
def test_what_another_user_may_not_do(root):
    group = grp.getgrnam("video").gr_gid
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        dev = Path(folder)
        (dev / "dri").mkdir()
        for name, gid, mode in (("video0", group, 0o660), ("video1", 0, 0o600)):
            (dev / name).touch()
            os.chown(dev / name, 0, gid)
            (dev / name).chmod(mode)
        (dev / "dri/renderD128").touch(0o600)
        dev.chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, folder, str(NOBODY)],
            cwd="/", env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True, text=True, timeout=DEADLINE_S, check=True,
        )  # fmt: skip
    video0, video1, card, front, events = json.loads(done.stdout)
    join = "sudo usermod -aG video $USER, then log in again"
    assert (video0["status"], video0["mend"]) == ("warn", join)
    assert video1["mend"].startswith(f"sudo chgrp video {dev}/video1 && sudo chmod g+rw")
    assert card["mend"].startswith("sudo chgrp render ")
    assert (front["status"], front["mend"]) == ("bad", join)
    assert events["status"] == "bad"
    assert os.strerror(13) in events["detail"]


# --- storage


def test_places_that_cannot_be_written(examine, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    found = examine("--set", "publishers.0.path=file/e.jsonl", code=1)["publishers.0"]
    assert os.strerror(20) in found["detail"]
    found = examine("--set", f"publishers.0.path={tmp_path}", code=1)["publishers.0"]
    assert os.strerror(21) in found["detail"]
    found = examine("--set", "outputs=[{type: folder, path: file}]", code=1)["outputs.0"]
    assert os.strerror(20) in found["detail"]


def test_a_cache_that_cannot_be_written_is_no_fault(examine, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert examine(XDG_CACHE_HOME=str(tmp_path / "file"))["cache"]["status"] == "warn"


def test_a_pipe_that_nobody_reads(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    found = storage.place("events", tmp_path / "pipe", folder=False, needed=True)
    assert found.status == "bad"


@as_root
@pytest.mark.parametrize(
    ("options", "status", "detail"),
    [
        ("size=20m", "bad", "the disk is full"),
        ("size=200m", "warn", "the disk is filling up"),
        ("size=600m", "ok", "MB free"),
        ("size=600m,ro", "bad", os.strerror(30)),
    ],
)
def test_disks(tmp_path, root, options, status, detail):
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    script = (
        "from pathlib import Path; from vision.doctor.storage import place; "
        f"found = place('x', Path('{tmp_path}/a/b'), folder=False, needed=True); "
        "print(found.status, found.detail)"
    )
    mount = f'mount -t tmpfs -o {options} none {tmp_path} && exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", mount, sys.executable, script],
        capture_output=True, text=True, timeout=DEADLINE_S, check=False, cwd="/",
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    if done.stderr.startswith(("unshare:", "mount:")):
        pytest.skip("mounting is not allowed here")
    assert done.stdout.startswith(status), done
    assert detail in done.stdout


# --- the GPU


def test_no_loader():
    for wanted, status in ((True, "warn"), (False, "skip")):
        found = gpu.vulkan_loader(wanted=wanted, library="libnothing.so.1")
        assert (found.status, found.mend) == (status, "apt install libvulkan1")


def test_driver_files_that_lead_nowhere(tmp_path):
    (tmp_path / "torn.json").write_text('{"ICD": ')
    (tmp_path / "text.json").write_bytes(b"\xff\xfe")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "empty.json").write_text("{}")
    files = sorted(tmp_path.iterdir())
    missing = manifest(tmp_path, "./libmissing.so")
    *unread, last = gpu.vulkan_drivers([*files, missing, tmp_path], wanted=True)
    assert len(unread) == len(files) + 1
    for path, found in zip([*files, missing], unread, strict=True):
        assert found.status == "warn"
        assert str(path) in found.detail
        assert str(path) in found.mend
    assert "does not load" in unread[-1].detail
    assert os.strerror(21) in last.detail
    [none] = gpu.vulkan_drivers([], wanted=True)
    assert "mesa-vulkan-drivers" in none.mend


def test_a_driver_that_crashes_when_it_loads(tmp_path):
    crash = "#include <stdlib.h>\n__attribute__((constructor)) static void start(void) { abort(); }"
    library = compile_c(crash, tmp_path / "libcrash.so")
    [found] = gpu.vulkan_drivers([manifest(tmp_path, str(library))], wanted=True)
    assert found.status == "warn"
    assert found.detail.endswith("does not load: it crashes (SIGABRT)")


def test_a_driver_for_other_programs_is_no_fault(tmp_path):
    library = bytearray(compile_c("int x;", tmp_path / "lib32.so").read_bytes())
    library[4] = 1 if sys.maxsize > 1 << 32 else 2  # the ELF header's class
    (tmp_path / "lib32.so").write_bytes(library)
    [found] = gpu.vulkan_drivers([manifest(tmp_path, "./lib32.so")], wanted=True)
    assert (found.status, found.mend) == ("skip", "")


def test_a_gpu_that_is_required_and_not_there(examine):
    none = {"VK_DRIVER_FILES": "/nonexistent"}
    found = examine("--set", "inference.backend=auto", **none)
    assert found["vulkan driver"]["status"] == "warn"
    assert found["gpu face-short"]["status"] == "skip"
    assert found["backend face-short"]["detail"] == "cpu"
    required = ("--set", "inference={require_gpu: true}")
    found = examine(*required, code=1, **none)["backend face-short"]
    assert found["status"] == "bad"
    assert "the configuration requires a GPU" in found["detail"]


@needs_gpu
def test_a_verified_gpu_and_what_is_remembered_of_it(examine, tmp_path):
    def verdicts():
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("verdicts/*.json")}

    gpu_only = ("--set", "inference={backend: gpu, precision: fp32}")
    environment = {"VK_DRIVER_FILES": str(SWIFTSHADER)}
    found = examine(*gpu_only, **environment)
    assert found["gpu runtime"]["status"] == "ok"
    assert found["vulkan driver"]["detail"].startswith("libvk_swiftshader.so loads")
    assert "SwiftShader" in found["adapter"]["detail"]
    assert "the CPU in software" in found["adapter"]["detail"]
    assert found["gpu face-short"]["status"] == "ok"
    assert "fp32: verified, 164 of 164 operations" in found["gpu face-short"]["detail"]
    assert " ms, outputs off by 0.000" in found["gpu face-short"]["detail"]
    assert found["backend face-short"]["detail"].startswith("gpu: SwiftShader")
    first = verdicts()
    assert len(first) == 1
    examine(*gpu_only, **environment)
    assert verdicts() == first
    examine(*gpu_only, "--redo", **environment)
    again = verdicts()
    assert again.keys() == first.keys()
    assert again != first


@needs_gpu
def test_driver_files_are_found_where_the_loader_finds_them(monkeypatch):
    monkeypatch.setenv("VK_DRIVER_FILES", str(SWIFTSHADER))
    [found] = gpu.vulkan_drivers(driver.manifests(), wanted=True)
    assert found.status == "ok"


# --- the board


def _write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(("synced", "status"), [(True, "ok"), (False, "warn"), (None, "skip")])
def test_clocks(synced, status):
    assert machine.clock(synced=synced).status == status


@pytest.mark.parametrize(
    ("millidegrees", "status", "detail"),
    [("80000", "ok", "cpu 80 °C"), ("80001", "warn", "cpu 80 °C"), ("-5000", "ok", "gpu 41 °C")],
)
def test_temperatures(tmp_path, millidegrees, status, detail):
    assert machine.temperature(tmp_path).status == "skip"
    _write(tmp_path, {
        "class/thermal/thermal_zone0/temp": millidegrees + "\n",
        "class/thermal/thermal_zone0/type": "cpu\n",
        "class/thermal/thermal_zone1/temp": "41000\n",
        "class/thermal/thermal_zone1/type": "gpu\n",
        "class/thermal/thermal_zone2/temp": "not yet\n",
    })  # fmt: skip
    (tmp_path / "class/thermal/thermal_zone3/temp").mkdir(parents=True)  # cannot be read
    found = machine.temperature(tmp_path)
    assert (found.status, found.detail) == (status, detail)


@pytest.mark.parametrize(
    "file",
    ["class/hwmon/hwmon0/in0_lcrit_alarm", "devices/platform/soc/fw/hwmon/hwmon1/in0_lcrit_alarm"],
)
def test_under_voltage_by_the_kernel(tmp_path, file):
    no_tool = str(tmp_path / "vcgencmd")
    assert machine.power(tmp_path, no_tool).status == "skip"
    _write(tmp_path, {file: "0\n"})
    assert machine.power(tmp_path, no_tool).status == "ok"
    _write(tmp_path, {file: "1\n"})
    found = machine.power(tmp_path, no_tool)
    assert (found.status, found.detail) == ("warn", "under-voltage")
    assert "power supply" in found.mend


@pytest.mark.parametrize(
    ("says", "status", "detail"),
    [
        ("throttled=0x0", "ok", "no under-voltage"),
        ("throttled=0x10001", "warn", "under-voltage now, under-voltage since the start"),
        ("throttled=0x4", "warn", "throttled now"),
        ("VCHI initialization failed", "skip", "this board does not tell under-voltage"),
    ],
)  # fmt: skip
def test_under_voltage_by_the_boards_own_tool(tmp_path, says, status, detail):
    tool = tmp_path / "vcgencmd"
    tool.write_text(f'#!/bin/sh\n[ "$1" = get_throttled ] && echo "{says}"\n')
    tool.chmod(0o755)
    found = machine.power(tmp_path, str(tool))
    assert (found.status, found.detail) == (status, detail)


@pytest.mark.parametrize(
    ("governor", "by", "status"),
    [
        ("ondemand", "cpufreq-dt", "ok"),
        ("powersave", "cpufreq-dt", "warn"),
        ("powersave", "intel_pstate", "ok"),
    ],
)
def test_governors(tmp_path, governor, by, status):
    assert machine.governor(tmp_path).status == "skip"
    folder = "devices/system/cpu/cpu1/cpufreq"
    _write(tmp_path, {f"{folder}/scaling_governor": governor, f"{folder}/scaling_driver": by})
    found = machine.governor(tmp_path)
    assert found.status == status
    assert governor in found.detail


def test_memory(tmp_path):
    meminfo = tmp_path / "meminfo"
    assert machine.memory(meminfo).status == "skip"
    meminfo.write_text("MemTotal: 976562 kB\nMemAvailable: 488281 kB\nOdd\nHugePages_Total: 0\n")
    found = machine.memory(meminfo)
    assert (found.status, found.detail) == ("ok", "499 of 999 MB available")
    meminfo.write_text("MemTotal: 976562 kB\nMemAvailable: 97656 kB\n")
    assert machine.memory(meminfo).status == "warn"
