"""Recordings and pictures: what is in the files, and what is said when they cannot be written."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import textwrap

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from vision.detection import Detections
from vision.errors import StageError
from vision.frame import Frame, Result, frozen_view
from vision.outputs.fit import fit_on_black
from vision.outputs.folder import FolderConfig, FolderOutput
from vision.outputs.video import VideoConfig, VideoOutput


def result_of(image, frame_id=0):
    return Result(Frame(image, frame_id, 0, 0, "front", 0), Detections.empty(), (), ())


def plain(width, height, color):
    image = np.empty((height, width, 3), np.uint8)
    image[:] = color
    return frozen_view(image)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def frames_of(path):
    video = cv2.VideoCapture(str(path))
    frames = []
    while True:
        more, frame = video.read()
        if not more:
            video.release()
            return frames
        frames.append(frame)


def record(output, images):
    output.open()
    for n, image in enumerate(images):
        assert output.write(image, result_of(image, n)) is True
    output.close()


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mp4v"), ("a.avi", "MJPG")])
def test_a_recording_has_every_picture_in_order(tmp_path, name, codec):
    path = tmp_path / "new" / "folders" / name
    levels = [20, 90, 160, 230, 60]
    output = VideoOutput(VideoConfig(path=str(path), codec=codec, fps=10), camera="front")
    record(output, [plain(320, 240, level) for level in levels])
    frames = frames_of(path)
    assert [frame.shape for frame in frames] == [(240, 320, 3)] * 5
    assert [frame.mean() for frame in frames] == pytest.approx(levels, abs=4)
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    video.release()
    assert names_in(path.parent) == [name]


def test_a_recording_of_real_video_is_that_video(tmp_path, shared_data):
    source = cv2.VideoCapture(str(shared_data / "pets09" / "vtest.avi"))
    images = [source.read()[1] for _ in range(20)]
    source.release()
    path = tmp_path / "v.mp4"
    record(VideoOutput(VideoConfig(path=str(path)), camera="front"), images)
    frames = frames_of(path)
    assert len(frames) == 20
    for frame, image in zip(frames, images, strict=True):
        assert np.abs(frame.astype(int) - image).mean() < 8


def test_each_camera_has_its_own_recording(tmp_path):
    config = VideoConfig(path=str(tmp_path / "{camera}.mp4"))
    for camera in ("door", "yard"):
        record(VideoOutput(config, camera=camera), [plain(64, 64, 100)])
    assert names_in(tmp_path) == ["door.mp4", "yard.mp4"]


def test_pictures_of_another_size_are_fitted_on_black(tmp_path):
    path = tmp_path / "a.avi"
    output = VideoOutput(VideoConfig(path=str(path), codec="MJPG"), camera="front")
    record(output, [plain(320, 240, 200), plain(100, 200, 200), plain(640, 480, 200)])
    first, tall, large = frames_of(path)
    assert first.shape == tall.shape == large.shape
    assert tall[:, 100:220].mean() == pytest.approx(200, abs=4)
    assert tall[:, :96].mean() == pytest.approx(0, abs=4)
    assert large.mean() == pytest.approx(200, abs=4)


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 90), (641, 481)])
def test_odd_and_tiny_pictures_can_be_recorded(tmp_path, size_wh):
    path = tmp_path / "a.mp4"
    record(VideoOutput(VideoConfig(path=str(path)), camera="front"), [plain(*size_wh, 120)] * 3)
    assert len(frames_of(path)) == 3


def test_a_recording_has_its_name_only_when_it_is_whole(tmp_path):
    output = VideoOutput(VideoConfig(path=str(tmp_path / "a.mp4")), camera="front")
    output.open()
    output.write(plain(64, 64, 100), result_of(plain(64, 64, 100)))
    assert names_in(tmp_path) == ["a.part.mp4"]
    output.close()
    output.close()
    assert names_in(tmp_path) == ["a.mp4"]


def test_a_recording_whose_folder_is_taken_away(tmp_path):
    folder = tmp_path / "gone"
    output = VideoOutput(VideoConfig(path=str(folder / "a.mp4")), camera="front")
    output.open()
    image = plain(64, 64, 100)
    output.write(image, result_of(image))
    shutil.rmtree(folder)
    with pytest.raises(StageError, match=r"recording .*: No such file or directory"):
        output.write(image, result_of(image))
    output.close()


def test_a_recording_whose_name_is_a_folder_keeps_what_it_has(tmp_path, caplog):
    (tmp_path / "a.mp4").mkdir()
    output = VideoOutput(VideoConfig(path=str(tmp_path / "a.mp4")), camera="front")
    record(output, [plain(64, 64, 100)])
    assert "stays" in caplog.text
    assert len(frames_of(tmp_path / "a.part.mp4")) == 1


def test_no_picture_leaves_no_file(tmp_path):
    output = VideoOutput(VideoConfig(path=str(tmp_path / "a.mp4")), camera="front")
    output.open()
    output.close()
    assert names_in(tmp_path) == []


def test_the_folder_of_a_recording_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    output = VideoOutput(VideoConfig(path=str(tmp_path / "file" / "a.mp4")), camera="front")
    with pytest.raises(
        StageError, match=r"recording .*/file/a\.mp4: (Not a directory|File exists)"
    ):
        output.open()
    output.close()


@pytest.mark.parametrize(("name", "codec"), [("a.xyz", "mp4v"), ("a.avi", "ZZZZ")])
def test_a_container_or_codec_that_is_not_known(tmp_path, name, codec):
    output = VideoOutput(VideoConfig(path=str(tmp_path / name), codec=codec), camera="front")
    output.open()
    with pytest.raises(StageError, match=rf"{name}: cannot write codec '{codec}' at 64x64"):
        output.write(plain(64, 64, 1), result_of(plain(64, 64, 1)))
    output.close()
    assert names_in(tmp_path) == []


def test_pictures_are_named_by_camera_and_frame(tmp_path):
    folder = tmp_path / "deep" / "down"
    output = FolderOutput(FolderConfig(path=str(folder), format="png"), camera="front")
    image = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    output.open()
    for frame_id in (0, 41):
        assert output.write(image, result_of(image, frame_id)) is True
    output.close()
    assert names_in(folder) == ["front-00000000.png", "front-00000041.png"]
    assert np.array_equal(cv2.imread(str(folder / "front-00000041.png")), image)


def test_quality_is_jpeg_s(tmp_path):
    image = np.random.default_rng(1).integers(0, 255, (480, 640, 3), np.uint8)
    sizes = []
    for quality in (20, 95):
        output = FolderOutput(FolderConfig(path=str(tmp_path), quality=quality), camera="front")
        record(output, [image])
        sizes.append((tmp_path / "front-00000000.jpg").stat().st_size)
    assert sizes[1] > 2 * sizes[0]


def test_a_picture_too_large_for_its_format(tmp_path):
    image = plain(70_000, 1, 9)
    output = FolderOutput(FolderConfig(path=str(tmp_path)), camera="front")
    output.open()
    with pytest.raises(StageError, match="jpg cannot hold 70000x1 pixels"):
        output.write(image, result_of(image))
    assert names_in(tmp_path) == []


def test_the_pictures_folder_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StageError, match=r"pictures folder .*/file: File exists"):
        FolderOutput(FolderConfig(path=str(tmp_path / "file")), camera="front").open()


@pytest.mark.parametrize(
    ("config", "section"),
    [
        (VideoConfig, {"path": "a.mp4", "fps": 0}),
        (VideoConfig, {"path": "a.mp4", "codec": "toolong"}),
        (VideoConfig, {}),
        (FolderConfig, {"path": "a", "format": "bmp"}),
        (FolderConfig, {"path": "a", "quality": 101}),
        (FolderConfig, {"path": "a", "colour": 1}),
    ],
)
def test_sections_that_make_no_sense(config, section):
    with pytest.raises(ValidationError):
        config(**section)


@pytest.mark.parametrize(
    ("image_wh", "canvas_wh", "inner"),
    [
        ((40, 20), (80, 80), (slice(20, 60), slice(0, 80))),
        ((20, 40), (80, 80), (slice(0, 80), slice(20, 60))),
        ((400, 300), (40, 30), (slice(0, 30), slice(0, 40))),
        ((5000, 1), (50, 50), (slice(24, 25), slice(0, 50))),
    ],
)
def test_fitting_keeps_the_ratio_and_blackens_the_rest(image_wh, canvas_wh, inner):
    canvas = np.full((canvas_wh[1], canvas_wh[0], 3), 77, np.uint8)
    fit_on_black(plain(*image_wh, 200), canvas)
    assert np.all(canvas[inner] == 200)
    canvas[inner] = 0
    assert not canvas.any()


# A small disk of its own: needs root and a kernel that lets it mount.
ON_A_SMALL_DISK = ["unshare", "-m", "--propagation", "private", "sh", "-c"]
WRITE_UNTIL_FULL = textwrap.dedent("""
    import sys
    import numpy as np
    from vision.detection import Detections
    from vision.errors import StageError
    from vision.frame import Frame, Result
    from vision.outputs.folder import FolderConfig, FolderOutput
    from vision.outputs.video import VideoConfig, VideoOutput

    kind, path = sys.argv[1:]
    output = (
        VideoOutput(VideoConfig(path=path), camera="front") if kind == "video"
        else FolderOutput(FolderConfig(path=path, format="png"), camera="front")
    )
    noise = np.random.default_rng(1)
    output.open()
    try:
        for n in range(300):
            image = noise.integers(0, 255, (480, 640, 3), np.uint8)
            frame = Frame(image, n, 0, 0, "front", 0)
            output.write(image, Result(frame, Detections.empty(), (), ()))
    except StageError as error:
        print(error)
    output.close()
""")


def write_until_full(kind, disk, name, keep):
    """Fill a disk of 6 MiB at `disk`, copy what is there to `keep`; return what was said."""
    script = f"""
        mount -t tmpfs -o size=6m none {disk} &&
        {sys.executable} -c "$CODE" {kind} {disk}/{name} && cp -r {disk}/. {keep}/
    """
    return subprocess.run(
        [*ON_A_SMALL_DISK, script], env=os.environ | {"CODE": WRITE_UNTIL_FULL}, check=True,
        capture_output=True, text=True, timeout=60,
    ).stdout.splitlines()  # fmt: skip


@pytest.fixture
def small_disk(tmp_path, monkeypatch, root):
    disk, keep = tmp_path / "disk", tmp_path / "keep"
    disk.mkdir()
    keep.mkdir()
    try_mount = [*ON_A_SMALL_DISK, f"mount -t tmpfs none {disk}"]
    if (
        shutil.which("unshare") is None
        or subprocess.run(try_mount, check=False, capture_output=True).returncode
    ):
        pytest.skip("cannot mount a small disk: needs root")
    monkeypatch.setenv("PYTHONPATH", str(root))
    return disk, keep


def test_a_full_disk_ends_a_recording_that_still_plays(small_disk):
    disk, keep = small_disk
    (line,) = write_until_full("video", disk, "a.mp4", keep)
    assert line.startswith(f"recording {disk}/a.mp4: the disk is full after ")
    assert names_in(keep) == ["a.mp4"]
    assert len(frames_of(keep / "a.mp4")) == int(line.split()[-2]) > 0


def test_a_full_disk_keeps_only_whole_pictures(small_disk):
    disk, keep = small_disk
    (line,) = write_until_full("folder", disk, "shots", keep)
    assert "No space left on device" in line
    assert f"{disk}/shots/front-" in line
    saved = sorted((keep / "shots").iterdir())
    assert saved
    assert all(cv2.imread(str(path)).shape == (480, 640, 3) for path in saved)


def test_a_recording_that_came_out_damaged_says_so(tmp_path, root):
    """A limit that statvfs does not know: FFmpeg loses the end without an error."""
    code = WRITE_UNTIL_FULL.replace("range(300)", "range(60)")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    child = subprocess.run(
        [sys.executable, "-c", code, "video", str(tmp_path / "a.mp4")], cwd=root, check=True,
        capture_output=True, text=True, timeout=60, preexec_fn=limit,
    )  # fmt: skip
    path = tmp_path / "a.mp4"
    said = f"recording {path} is damaged and does not play: see {tmp_path}/a.part.mp4"
    assert said in child.stderr
    assert not path.exists()
