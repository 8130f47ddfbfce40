"""The window on a real X server: what is on the screen, keys, and every way to lose it."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import cv2
import numpy as np
import pytest

from vision.detection import Detections
from vision.errors import StageError
from vision.frame import Frame, Result
from vision.outputs import window as window_module
from vision.outputs.shared_picture import SharedPicture
from vision.outputs.window import WindowConfig, WindowOutput
from vision.outputs.window_child import toolkit

SCREEN_WH = (1280, 720)
TOOLS = ("Xvfb", "openbox", "xdotool", "wmctrl", "import")
DEADLINE_S = 20.0
RED, GREEN, BLUE, YELLOW = (20, 30, 220), (40, 190, 30), (210, 60, 20), (30, 220, 230)

MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
needs_windows = pytest.mark.skipif(not toolkit(), reason="this OpenCV is built without windows")
needs_no_windows = pytest.mark.skipif(bool(toolkit()), reason="this OpenCV is built with windows")


def until(condition):
    """Call `condition` until it is true; return what it returned."""
    ends = time.monotonic() + DEADLINE_S
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < ends, "did not come true in time"


@pytest.fixture
def screen(monkeypatch):
    """A fresh X server with a window manager; returns the X server's process."""
    if MISSING:
        pytest.skip(f"not installed: {', '.join(MISSING)}")
    with contextlib.ExitStack() as ends:
        yield start_screen(monkeypatch, ends)


def start_screen(monkeypatch, ends):
    ours, its = os.pipe()
    size = "x".join(map(str, (*SCREEN_WH, 24)))
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(its), "-screen", "0", size, "-nolisten", "tcp", "-noreset"],
        pass_fds=(its,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    ends.callback(server.wait, 10)
    ends.callback(server.terminate)
    os.close(its)
    with os.fdopen(ours) as number:
        monkeypatch.setenv("DISPLAY", f":{number.readline().strip()}")
    manager = subprocess.Popen(["openbox"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ends.callback(manager.wait, 10)
    ends.callback(manager.terminate)
    until(lambda: run("wmctrl", "-m").returncode == 0)
    return server


@pytest.fixture
def opened(screen):
    """Opens windows and closes them; none may leave its process behind."""
    windows = []

    def open_window(**section):
        window = WindowOutput(WindowConfig(**section), camera="front")
        windows.append(window)
        window.open()
        return window

    yield open_window
    for window in windows:
        child = window._child
        window.close()
        assert child is None or child.process.returncode is not None


def run(*command):
    return subprocess.run(command, check=False, capture_output=True)


def quarters(width, height):
    """A picture of four colours, so that turning, mirroring or cutting it shows."""
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = RED, GREEN
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = BLUE, YELLOW
    return image


def result_of(image):
    return Result(Frame(image, 0, 0, 0, "front", 0), Detections.empty(), (), ())


def write(window, image):
    return window.write(image, result_of(image))


def on_screen():
    """Return width and height of what is shown of `quarters`, or None where that is not whole."""
    bmp = run("import", "-window", "root", "bmp:-").stdout
    shot = cv2.imdecode(np.frombuffer(bmp, np.uint8), cv2.IMREAD_COLOR).astype(np.int16)
    boxes = []
    for color in (RED, GREEN, BLUE, YELLOW):
        same = (np.abs(shot - color).max(axis=2) < 12).astype(np.uint8)
        boxes.append(cv2.boundingRect(same))
        if same.sum() <= 0.9 * boxes[-1][2] * boxes[-1][3]:
            return None
    (x, y, w, h), green, blue, yellow = boxes
    places = [*green[:2], *blue[:2], *yellow[:2]]
    whole = np.allclose(places, [x + w, y, x, y + h, x + w, y + h], atol=4)
    return (w + green[2], h + blue[3]) if whole else None


def shows(window, image, size_wh):
    """Write until the screen shows `image` at `size_wh`."""

    def shown():
        assert write(window, image)
        found = on_screen()
        return found is not None and np.allclose(found, size_wh, atol=4)

    return until(shown)


def press(key, title="vision - front"):
    assert run("xdotool", "search", "--name", title, "windowfocus", "--sync").returncode == 0
    assert run("xdotool", "key", key).returncode == 0


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@needs_windows
def test_the_picture_is_on_the_screen(opened, caplog):
    window = opened()
    shows(window, quarters(640, 480), (640, 480))
    window.close()
    until(lambda: on_screen() is None)
    assert not warnings_of(caplog)


@needs_windows
def test_title_and_size_are_the_configuration_s(opened):
    window = opened(title="the yard", size_wh=(400, 400))
    shows(window, quarters(640, 480), (400, 300))
    assert b"the yard" in run("wmctrl", "-l").stdout


@needs_windows
def test_a_picture_larger_than_a_monitor_is_shown_whole(opened):
    image = quarters(3840, 2160)
    shows(opened(size_wh=(960, 540)), image, (960, 540))


@needs_windows
def test_pictures_may_change_their_size(opened):
    window = opened()
    shows(window, quarters(320, 240), (320, 240))
    shows(window, quarters(1600, 600), (320, 120))
    shows(window, quarters(64, 64), (240, 240))


@needs_windows
def test_f_fills_the_screen_and_f_again_does_not(opened):
    window, image = opened(), quarters(640, 480)
    shows(window, image, (640, 480))
    press("f")
    shows(window, image, (960, 720))
    shot = run("import", "-window", "root", "-crop", "150x720+0+0", "bmp:-").stdout
    assert not cv2.imdecode(np.frombuffer(shot, np.uint8), cv2.IMREAD_COLOR).any(), "not black"
    press("f")
    shows(window, image, (640, 480))


@needs_windows
def test_full_screen_from_the_start(opened):
    shows(opened(fullscreen=True), quarters(1280, 720), SCREEN_WH)


@needs_windows
@pytest.mark.parametrize("key", ["q", "Escape"])
def test_a_key_asks_the_program_to_stop(opened, caplog, key):
    window, image = opened(), quarters(320, 240)
    shows(window, image, (320, 240))
    press(key)
    until(lambda: not write(window, image))
    assert not write(window, image)
    assert not warnings_of(caplog)


@needs_windows
def test_closing_the_window_asks_the_program_to_stop(opened):
    window, image = opened(), quarters(320, 240)
    shows(window, image, (320, 240))
    assert run("wmctrl", "-c", "vision - front").returncode == 0
    until(lambda: not write(window, image))


@needs_windows
def test_a_minimised_window_is_not_a_closed_one(opened):
    window, image = opened(), quarters(320, 240)
    shows(window, image, (320, 240))
    (number,) = run("xdotool", "search", "--name", "vision - front").stdout.split()
    run("xdotool", "windowminimize", number)
    until(lambda: write(window, image) and on_screen() is None)
    run("xdotool", "windowmap", number)
    shows(window, image, (320, 240))


@needs_windows
@pytest.mark.parametrize(
    ("display", "said"),
    [
        (None, "DISPLAY is not set: run it on the desktop, or set DISPLAY=:0"),
        (":98765", "no X server answers at DISPLAY=:98765, or it does not let this user in"),
    ],
)
def test_without_a_display_one_line_and_vision_goes_on(monkeypatch, caplog, display, said):
    monkeypatch.delenv("DISPLAY", raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    assert_lost(caplog, said)


@needs_no_windows
def test_an_opencv_without_windows_says_which_extra_has_them(caplog):
    assert_lost(
        caplog,
        "this OpenCV is built without windows: install the extra `display` (opencv-python) "
        "in place of `headless`",
    )


def assert_lost(caplog, said):
    window, image = WindowOutput(WindowConfig(), camera="front"), quarters(64, 48)
    window.open()
    until(lambda: write(window, image) and warnings_of(caplog))
    assert write(window, image)
    window.close()
    assert warnings_of(caplog) == [f"no window for camera 'front', vision goes on: {said}"]


@needs_windows
def test_the_x_server_goes_and_vision_goes_on(screen, opened, caplog):
    window, image = opened(), quarters(320, 240)
    shows(window, image, (320, 240))
    screen.kill()
    screen.wait()
    until(lambda: write(window, image) and warnings_of(caplog))
    assert write(window, image)
    (line,) = warnings_of(caplog)
    assert line.startswith("no window for camera 'front', vision goes on: ")


@needs_windows
def test_the_window_s_process_is_killed_and_vision_goes_on(opened, caplog):
    window, image = opened(), quarters(320, 240)
    shows(window, image, (320, 240))
    window._child.process.kill()
    until(lambda: write(window, image) and warnings_of(caplog))
    assert write(window, image)
    assert warnings_of(caplog) == [
        "no window for camera 'front', vision goes on: killed by SIGKILL"
    ]


@needs_windows
def test_a_window_that_hangs_is_named_once_and_ended(opened, caplog, monkeypatch):
    window, image = opened(), quarters(320, 240)
    shows(window, image, (320, 240))
    monkeypatch.setattr(window_module, "_HUNG_S", 0.2)
    child = window._child.process
    child.send_signal(signal.SIGSTOP)
    until(lambda: write(window, image) and warnings_of(caplog))
    for _ in range(50):
        assert write(window, quarters(640, 480))
    window.close()
    assert child.returncode == -signal.SIGKILL
    assert warnings_of(caplog) == ["the window of camera 'front' does not answer; vision goes on"]


@needs_windows
def test_ctrl_c_and_a_service_manager_s_stop_are_the_parent_s_to_handle(opened):
    window = opened()
    shows(window, quarters(320, 240), (320, 240))
    for number in (signal.SIGINT, signal.SIGTERM):
        window._child.process.send_signal(number)
    shows(window, quarters(200, 200), (240, 240))
    child = window._child.process
    window.close()
    assert child.returncode == 0


@needs_windows
def test_the_window_goes_when_its_program_is_killed(screen, root):
    code = textwrap.dedent("""
        import sys, time
        import numpy as np
        from vision.outputs.window import WindowConfig, WindowOutput
        window = WindowOutput(WindowConfig(), camera="front")
        window.open()
        print(window._child.process.pid, flush=True)
        while True:
            window.write(np.full((240, 320, 3), 200, np.uint8), None)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True
    ) as parent:
        child = os.pidfd_open(int(parent.stdout.readline()))
        until(lambda: b"vision - front" in run("wmctrl", "-l").stdout)
        parent.kill()
    try:
        ended, _, _ = select.select([child], [], [], DEADLINE_S)
        assert ended
    finally:
        os.close(child)


def test_closing_at_once_and_twice(caplog):
    window = WindowOutput(WindowConfig(), camera="front")
    window.close()
    window.open()
    child = window._child.process
    window.close()
    window.close()
    assert child.returncode is not None


def test_a_process_that_cannot_start(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    window = WindowOutput(WindowConfig(), camera="front")
    with pytest.raises(StageError, match=r"camera 'front': cannot start a process: No such file"):
        window.open()
    window.close()


READER = textwrap.dedent("""
    import sys
    from vision.outputs.shared_picture import SharedPicture
    picture = SharedPicture(tuple(map(int, sys.argv[1:])))
""")


def reader(picture, code, root):
    return subprocess.Popen(
        [sys.executable, "-c", READER + textwrap.dedent(code), *map(str, picture.fds)],
        pass_fds=picture.fds, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root,
    )  # fmt: skip


@pytest.fixture
def picture():
    shared = SharedPicture()
    yield shared
    shared.close()
    shared.close()


def test_no_shared_picture_is_torn_or_older_than_the_last(picture, root):
    """Each picture is of one level and of a size that goes with it; sizes grow and shrink."""
    code = """
        print("ready", flush=True)
        seen, last = set(), 0
        while last < 3000:
            with picture.newest() as image:
                if image is None:
                    continue
                number = int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])
                assert image.shape == (100 + number % 64, 100 + number % 77, 3), image.shape
                assert (image == image[0, 0]).all(), "torn"
            assert number >= last, "older"
            seen.add(number)
            last = number
        print(len(seen))
    """
    with reader(picture, code, root) as process:
        assert process.stdout.readline() == "ready\n"
        for n in range(1, 3001):
            picture.put(np.full((100 + n % 64, 100 + n % 77, 3), (n % 256, n // 256, 7), np.uint8))
        assert int(process.stdout.readline()) > 10
    assert process.returncode == 0


def test_a_slow_reader_keeps_its_picture_and_never_stops_the_writer(picture, root):
    code = """
        with picture.newest() as image:
            print(image[0, 0, 0], flush=True)
            sys.stdin.readline()
            print(image.min(), image.max(), flush=True)
        with picture.newest() as image:
            print(image.shape, image[0, 0, 0], flush=True)
    """
    picture.put(np.full((48, 64, 3), 1, np.uint8))
    with reader(picture, code, root) as process:
        assert process.stdout.readline() == "1\n"
        for n in range(2, 30):
            picture.put(np.full((48 * n, 64, 3), n, np.uint8))
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "1 1\n"
        assert process.stdout.readline() == f"({48 * 29}, 64, 3) 29\n"
    assert process.returncode == 0


def test_a_reader_that_dies_gives_its_slot_back(picture, root):
    code = """
        with picture.newest() as image:
            print("reading", flush=True)
            sys.stdin.readline()
    """
    picture.put(np.full((48, 64, 3), 1, np.uint8))
    with reader(picture, code, root) as process:
        assert process.stdout.readline() == "reading\n"
        process.kill()
    for n in (2, 3):
        picture.put(np.full((48, 64, 3), n, np.uint8))
    assert sorted(slot.written for slot in picture._slots) == [2, 3]
