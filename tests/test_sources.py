"""Frames out of files, folders and pictures: complete, repeatable, refused with a reason."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.clock import FrameClock, Pacer
from vision.errors import EndOfStream, SourceError
from vision.frame import FramePool
from vision.picture import read_picture
from vision.sources.folder import FolderConfig, FolderSource
from vision.sources.still import StillConfig, StillSource
from vision.sources.v4l2 import V4l2Config, V4l2Source
from vision.sources.video import VideoConfig, VideoSource


def read_all(source, limit=10_000):
    source.open()
    frames = []
    try:
        while len(frames) < limit:
            frames.append(source.read())
    except EndOfStream:
        pass
    finally:
        source.close()
        source.close()
    return frames


@pytest.fixture
def picture(tmp_path):
    image = np.random.default_rng(3).integers(0, 255, (240, 320, 3), np.uint8)
    path = tmp_path / "picture.png"
    assert cv2.imwrite(str(path), cv2.GaussianBlur(image, (9, 9), 3))
    return path


@pytest.fixture
def clip(tmp_path):
    """A video of 40 frames; frame n is grey n * 6."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(40):
        writer.write(np.full((48, 64, 3), number * 6, np.uint8))
    writer.release()
    return path


def test_a_video_gives_every_frame_in_order_and_again_the_same(clip):
    first = read_all(VideoSource(VideoConfig(path=str(clip)), camera="c"))
    second = read_all(VideoSource(VideoConfig(path=str(clip)), camera="c"))
    assert [round(float(f.image.mean()) / 6) for f in first] == list(range(40))
    assert [f.frame_id for f in first] == list(range(40))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, second, strict=True))
    assert [f.unix_ns for f in first] == [f.unix_ns for f in second]
    gaps = np.diff([f.captured_ns for f in first])
    assert (gaps == 100_000_000).all()  # the file's 10 fps, however fast it was read


def test_a_looping_video_goes_on_with_its_ids_and_times(clip):
    frames = read_all(VideoSource(VideoConfig(path=str(clip), loop=True), camera="c"), limit=100)
    assert [f.frame_id for f in frames] == list(range(100))
    assert np.array_equal(frames[0].image, frames[80].image)
    assert (np.diff([f.captured_ns for f in frames]) == 100_000_000).all()


def test_a_live_video_is_stamped_when_its_turn_has_come(clip):
    frames = read_all(VideoSource(VideoConfig(path=str(clip), fps=500, live=True), camera="c"))
    gaps_ns = np.diff([f.captured_ns for f in frames])
    assert len(frames) == 40
    assert gaps_ns.mean() >= 0.9 * 2e6
    assert all(f.captured_ns == f.read_ns for f in frames)


def test_frames_are_read_only_and_not_written_over_while_held(clip):
    frames = read_all(VideoSource(VideoConfig(path=str(clip)), camera="c"))
    with pytest.raises(ValueError, match="read-only"):
        frames[0].image[0, 0] = 1
    assert len({f.image.__array_interface__["data"][0] for f in frames}) == 40


def test_a_pool_uses_a_buffer_again_once_nobody_looks_at_it():
    pool = FramePool()
    for _ in range(100):
        buffer = pool.acquire((8, 4))
        assert buffer.shape == (4, 8, 3)
        corner = buffer[1:, 1:]
        del buffer
        another = pool.acquire((8, 4))
        assert not np.shares_memory(another, corner)
        del another, corner
    assert len(pool) == 2


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=30))
def test_a_pool_never_hands_out_what_is_held(sizes):
    pool, held = FramePool(), []
    for number, size_wh in enumerate(sizes):
        buffer = pool.acquire(size_wh)
        assert not any(np.shares_memory(buffer, other) for other in held)
        held.append(buffer[:1] if number % 2 else buffer)
        if number % 3 == 2:
            held.pop(0)


@pytest.mark.parametrize("content", [b"", b"no video at all" * 50])
def test_what_is_no_video_is_refused(tmp_path, content):
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    source = VideoSource(VideoConfig(path=str(path)), camera="c")
    with pytest.raises(SourceError, match=r"x\.mp4 is (empty|no video); give a video file"):
        source.open()
    source.close()


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(SourceError, match="No such file"):
        VideoSource(VideoConfig(path=str(tmp_path / "no.mp4")), camera="c").open()


def test_a_truncated_video_gives_what_it_has_and_then_says_so(shared_data, tmp_path):
    whole = (shared_data / "pets09" / "vtest.avi").read_bytes()
    path = tmp_path / "cut.avi"
    path.write_bytes(whole[: len(whole) // 3])
    source = VideoSource(VideoConfig(path=str(path)), camera="c")
    source.open()
    frames = 0
    with pytest.raises(SourceError, match=r"cut\.avi ended after \d+ of 795 frames: it is cut"):
        while True:
            source.read()
            frames += 1
    source.close()
    assert 100 < frames < 500


def test_a_folder_gives_its_pictures_by_name_each_in_its_size(tmp_path, picture):
    small = cv2.resize(cv2.imread(str(picture)), (20, 10))
    assert cv2.imwrite(str(tmp_path / "a.jpg"), small)
    (tmp_path / "notes.txt").write_text("not a picture")
    frames = read_all(FolderSource(FolderConfig(path=str(tmp_path)), camera="c"))
    assert [f.size_wh for f in frames] == [(20, 10), (320, 240)]


def test_an_empty_folder_and_a_damaged_picture_are_named(tmp_path):
    with pytest.raises(SourceError, match="no pictures in"):
        FolderSource(FolderConfig(path=str(tmp_path)), camera="c").open()
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    source = FolderSource(FolderConfig(path=str(tmp_path)), camera="c")
    source.open()
    with pytest.raises(SourceError, match=r"broken\.jpg is not a picture"):
        source.read()


@pytest.mark.parametrize("size_wh", [(1, 1), (8000, 6000)])
def test_tiny_and_huge_pictures_are_read(tmp_path, size_wh):
    path = tmp_path / "p.png"
    assert cv2.imwrite(str(path), np.zeros((size_wh[1], size_wh[0], 3), np.uint8))
    assert read_picture(path).shape == (size_wh[1], size_wh[0], 3)


def test_a_picture_is_turned_as_its_exif_says(tmp_path):
    path = tmp_path / "turned.jpg"
    ok, data = cv2.imencode(".jpg", np.zeros((10, 30, 3), np.uint8))
    assert ok
    # APP1: big-endian TIFF, one entry: orientation (0x0112) = 6, a quarter turn.
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    jpeg = data.tobytes()
    path.write_bytes(jpeg[:2] + segment + jpeg[2:])
    assert read_picture(path).shape == (30, 10, 3)


def test_a_still_pans_and_zooms_and_frame_n_is_always_the_same(picture):
    config = StillConfig(path=str(picture), size_wh=(80, 60), fps=30, live=False)
    first = read_all(StillSource(config, camera="c"), limit=60)
    second = read_all(StillSource(config, camera="c"), limit=60)
    assert all(f.size_wh == (80, 60) for f in first)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0].image, first[30].image)


def test_a_still_shows_only_the_picture(tmp_path):
    path = tmp_path / "white.png"
    assert cv2.imwrite(str(path), np.full((90, 160, 3), 255, np.uint8))
    config = StillConfig(path=str(path), size_wh=(64, 64), fps=10, live=False)
    for frame in read_all(StillSource(config, camera="c"), limit=160):
        assert frame.image.min() == 255


def test_a_camera_that_is_not_there_is_told_with_those_that_are():
    source = V4l2Source(V4l2Config(device="/dev/video73"), camera="porch")
    with pytest.raises(SourceError, match=r"porch: /dev/video73 does not exist \(cameras here: "):
        source.open()
    source.close()


def test_a_device_that_is_no_camera_is_refused():
    source = V4l2Source(V4l2Config(device="/dev/null"), camera="porch")
    with pytest.raises(SourceError, match="does not open as a camera"):
        source.open()
    source.close()


def test_a_pacer_that_comes_late_does_not_hurry_after_it():
    pacer = Pacer(1000)
    first = pacer.wait()
    while pacer.wait() < first + 20_000_000:
        pass
    late = Pacer(100)
    stamps = [late.wait() for _ in range(4)]
    assert (np.diff(stamps) >= 9_900_000).all()


def test_the_clock_of_a_file_is_its_position():
    clock = FrameClock(20, live=False, file_unix_ns=7)
    stamps = [clock.stamp(n) for n in (0, 1, 10)]
    assert [captured - stamps[0][0] for captured, _, _ in stamps] == [0, 50_000_000, 500_000_000]
    assert [unix for _, unix, _ in stamps] == [7, 50_000_007, 500_000_007]
