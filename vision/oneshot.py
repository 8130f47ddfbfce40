"""Detection without the line: one frame after the other, for `detect` and the tests."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from vision import registry
from vision.building import source_section
from vision.classification import top_k
from vision.config import CameraConfig
from vision.detection import Detections
from vision.errors import EndOfStream, SourceError, StageError
from vision.frame import Result
from vision.origins import Origins
from vision.overlay import Overlay
from vision.picture import SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vision.building import Models
    from vision.classify import PictureClassifier
    from vision.frame import Frame
    from vision.interfaces import BackendInfo


def frames(name: str) -> Iterator[tuple[str, Frame]]:
    """Yield each frame with the name of its file: a picture's own, in a folder."""
    path = Path(name)
    if path.is_dir():
        pictures = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        if not pictures:
            raise SourceError(f"{path}: no pictures in this folder")
        for picture in pictures:
            yield from frames(str(picture))
        return
    section = source_section(CameraConfig(source=name, live=False))
    plug_in, own = registry.section("source", registry.SOURCES, section, Origins(), (name,))
    source = plug_in(own, camera="input")
    source.open()
    try:
        while True:
            yield name, source.read()
    except EndOfStream:
        return
    finally:
        source.close()


def detect_frame(models: Models, frame: Frame, min_score: float) -> Result:
    """Run the one model of `models` on `frame`."""
    (lane,) = models.lanes
    times = [time.monotonic_ns()]
    slot = lane.claim()
    written = lane.write(frame.image, slot)
    times.append(time.monotonic_ns())
    outputs, written = lane.collect(written, frame.image)
    times.append(time.monotonic_ns())
    found = lane.decode(outputs, written, frame.size_wh)
    lane.release(slot)
    times.append(time.monotonic_ns())
    stages = zip(("preprocess", "infer", "decode"), times, times[1:], strict=False)
    return Result(
        frame, found.select(found.score >= min_score), (), (),
        {stage: end - start for stage, start, end in stages},
    )  # fmt: skip


def classify_frame(
    classifier: PictureClassifier, frame: Frame, min_score: float, count: int
) -> Result:
    """Say what `frame` shows: at most `count` classes."""
    started_ns = time.monotonic_ns()
    probability = classifier(frame.image)
    timings_ns = {"infer": time.monotonic_ns() - started_ns}
    classes = top_k(probability, classifier.labels, count, min_score)
    return Result(frame, Detections.empty(), (), (), timings_ns, {"classify": classes})


def describe(source: str, result: Result, models: Models) -> dict[str, Any]:
    """Return a line about what was found where, for `--json`."""
    found = result.detections
    detections = []
    for index in range(len(found)):
        entry: dict[str, Any] = {
            "label": models.labels[found.class_id[index]],
            "score": round(float(found.score[index]), 4),
            "box": [round(float(v), 2) for v in found.xyxy[index]],
        }
        if found.keypoints is not None:
            entry["keypoints"] = [
                [round(float(x), 2), round(float(y), 2)] for x, y in found.keypoints[index]
            ]
        detections.append(entry)
    return _line(source, result, {"detections": detections}, models.lanes[0].info)


def describe_classes(source: str, result: Result, info: BackendInfo) -> dict[str, Any]:
    """Return a line about what a whole picture shows, for `--json`."""
    classes = [each._asdict() for best in result.classes.values() for each in best]
    return _line(source, result, {"classes": classes}, info)


def _line(source: str, result: Result, found: dict[str, Any], info: BackendInfo) -> dict[str, Any]:
    width, height = result.frame.size_wh
    return {
        "source": source,
        "frame": result.frame.frame_id,
        "width": width,
        "height": height,
        **found,
        "timings_ms": {stage: round(ns / 1e6, 3) for stage, ns in result.timings_ns.items()},
        "backend": info.as_json(),
    }


def sentence(line: dict[str, Any]) -> str:
    """Return a line for a person."""
    found = [
        f"{entry['label']} {entry['score']:.2f} at {' '.join(f'{v:.0f}' for v in entry['box'])}"
        for entry in line.get("detections", ())
    ]
    found += [f"{entry['label']} {entry['score']:.2f}" for entry in line.get("classes", ())]
    return f"{line['source']} [{line['frame']}]: {', '.join(found) or 'nothing'}"


class Saver:
    """Writes annotated copies: a picture as a picture, a video as a video."""

    def __init__(self, folder: Path, labels: tuple[str, ...]) -> None:
        self._folder = folder
        self._overlay = Overlay(labels)
        self._video: Any = None
        self._video_of: Path | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StageError(f"--save {folder}: {error.strerror}") from error

    def write(self, source: Path, result: Result) -> None:
        """Draw `result` and write it under the source's name."""
        image = self._overlay.draw(result)
        if source.suffix.lower() in SUFFIXES:
            target = self._folder / source.name
            if not cv2.imwrite(str(target), image):
                raise StageError(f"{target} could not be written: is the disk full?")
            return
        if source != self._video_of:
            self.close()
            self._video = _video_output(self._folder / f"{source.stem}.mp4")
            self._video_of = source
        self._video.write(image, result)

    def close(self) -> None:
        """Finish the video that is open."""
        if self._video is not None:
            self._video.close()
            self._video = None


def _video_output(path: Path) -> Any:
    plug_in = registry.load("output", registry.OUTPUTS, "video")
    output = plug_in(plug_in.Config(path=str(path)), camera="input")
    output.open()
    return output
