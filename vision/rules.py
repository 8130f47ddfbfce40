"""Tracks into events: when one begins, changes and ends.

Every event exactly describes one frame: its `box`, `score`, `zones` and `frame_id` are
those of the newest frame in which a detection matched the track. For `new` and `update`
that is the frame at hand; an `end` is told as soon as the track is given up, and shows
where the object was seen last. `time` is always the frame at which it was told.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vision.event import Event, clock_synced, new_event_id, rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vision.classification import ClassScore
    from vision.config import RulesConfig
    from vision.detection import Track
    from vision.frame import Frame

    Polygon = Sequence[tuple[float, float]]

_NEW, _UPDATE, _END = "vision.object.new", "vision.object.update", "vision.object.end"
_CLASSIFIED = "vision.frame.classified"

# A best score that rose by this much is news.
_CLEARLY = 0.1
# An anchor on the frame's very edge is inside a zone that reaches to that edge.
_EDGE = 1e-6


@dataclass(slots=True)
class _Object:
    """A track as it was seen last, and what has been told of it."""

    start_unix_ns: int
    track: Track
    frame_id: int = 0
    size_wh: tuple[int, int] = (0, 0)
    seen_ns: int = 0
    zones: list[str] = field(default_factory=list)
    top_score: float = 0.0
    told_ns: int | None = None
    told_zones: list[str] = field(default_factory=list)
    told_top_score: float = 0.0
    told_classes: list[str] = field(default_factory=list)
    sightings_in_other_zones: int = 0


class Rules:
    """Decides for one camera what is worth telling.

    - `vision.object.new` when `min_hits` detections have matched a track.
    - `vision.object.update` at every `update_s`; when the zones are others than those last
      told, for `min_hits` detections in a row (a box that trembles on a border is no
      news); when the top score is clearly (0.1) above the one last told; when a classifier
      names another class.
    - `vision.object.end` when the tracker gives a told track up.
    - `vision.frame.classified` when a classifier of the frame names another class.

    All durations are differences of `captured_ns`: a wall clock that is set in mid-track
    changes none of them.

    Args:
        config: Thresholds.
        camera: The camera's name.
        zones: Polygons by name, x and y as fractions of the frame.
    """

    def __init__(self, config: RulesConfig, *, camera: str, zones: Mapping[str, Polygon]) -> None:
        self._config = config
        self._camera = camera
        self._zones = dict(zones)
        self._objects: dict[int, _Object] = {}
        self._told_labels: dict[str, str | None] = {}

    def update(self, frame: Frame, tracks: Sequence[Track]) -> tuple[Event, ...]:
        """Return what is to be told at `frame`: ends first, then by track."""
        alive = {track.track_id for track in tracks}
        gone = [track_id for track_id in self._objects if track_id not in alive]
        return (*self._end(frame, gone), *self._see(frame, tracks))

    def classify(
        self, frame: Frame, classes: Mapping[str, Sequence[ClassScore]]
    ) -> tuple[Event, ...]:
        """Return what is to be told of the frame itself; `classes` by classifier, best first."""
        labels = {name: best[0].label if best else None for name, best in classes.items()}
        news = [name for name in classes if labels[name] != self._told_labels.get(name)]
        self._told_labels.update(labels)
        return tuple(self._classified(frame, name, classes[name]) for name in news)

    def close(self, frame: Frame) -> tuple[Event, ...]:
        """End what is open, after the last `frame` of the stream."""
        return tuple(self._end(frame, list(self._objects)))

    def _end(self, frame: Frame, gone: Sequence[int]) -> Iterator[Event]:
        for track_id in gone:
            known = self._objects.pop(track_id)
            if known.told_ns is not None:
                yield self._event(_END, frame, known)

    def _see(self, frame: Frame, tracks: Sequence[Track]) -> Iterator[Event]:
        for track in tracks:
            if track.frames_since_update:
                continue
            known = self._objects.get(track.track_id)
            if known is None:
                age_ns = frame.captured_ns - track.first_seen_ns
                known = self._objects[track.track_id] = _Object(frame.unix_ns - age_ns, track)
            self._note(known, frame, track)
            if known.told_ns is None:
                if track.hits >= self._config.min_hits:
                    yield self._event(_NEW, frame, known)
            elif self._is_news(known, known.told_ns):
                yield self._event(_UPDATE, frame, known)

    def _note(self, known: _Object, frame: Frame, track: Track) -> None:
        known.track, known.seen_ns = track, frame.captured_ns
        known.frame_id, known.size_wh = frame.frame_id, frame.size_wh
        known.zones = self._zones_of(track, frame.size_wh)
        known.top_score = max(known.top_score, float(track.score))
        known.sightings_in_other_zones += 1
        if known.zones == known.told_zones:
            known.sightings_in_other_zones = 0

    def _is_news(self, known: _Object, told_ns: int) -> bool:
        update_s = self._config.update_s
        return (
            (update_s is not None and known.seen_ns - told_ns >= update_s * 1e9)
            or known.sightings_in_other_zones >= self._config.min_hits
            or known.top_score >= known.told_top_score + _CLEARLY
            or _class_labels(known.track) not in ([], known.told_classes)
        )

    def _event(self, type_: str, frame: Frame, known: _Object) -> Event:
        track = known.track
        width, height = known.size_wh
        end_unix_ns = known.start_unix_ns + known.seen_ns - track.first_seen_ns
        data = {
            "camera": self._camera,
            "track_id": track.track_id,
            "label": track.label,
            "score": round(float(track.score), 4),
            "top_score": round(known.top_score, 4),
            "box": _box_px(track, known.size_wh),
            "frame_width": width,
            "frame_height": height,
            "frame_id": known.frame_id,
            "start_time": rfc3339(known.start_unix_ns),
            "end_time": rfc3339(end_unix_ns) if type_ == _END else None,
            "zones": known.zones,
            "snapshot": None,
            "clock_synced": clock_synced(),
        }
        if track.classes:
            data["classes"] = {
                name: [each._asdict() for each in best] for name, best in track.classes.items()
            }
        known.told_classes = _class_labels(track)
        known.told_ns, known.told_zones = known.seen_ns, known.zones
        known.told_top_score, known.sightings_in_other_zones = known.top_score, 0
        subject = f"{self._camera}/{track.track_id}"
        return Event(
            new_event_id(), type_, self._camera, subject, frame.unix_ns, frame.read_ns, data
        )

    def _classified(self, frame: Frame, name: str, best: Sequence[ClassScore]) -> Event:
        width, height = frame.size_wh
        data = {
            "camera": self._camera,
            "classifier": name,
            "label": best[0].label if best else None,
            "score": best[0].score if best else None,
            "classes": {name: [each._asdict() for each in best]},
            "frame_width": width,
            "frame_height": height,
            "frame_id": frame.frame_id,
            "clock_synced": clock_synced(),
        }
        subject = f"{self._camera}/{name}"
        return Event(
            new_event_id(), _CLASSIFIED, self._camera, subject, frame.unix_ns, frame.read_ns, data
        )

    def _zones_of(self, track: Track, size_wh: tuple[int, int]) -> list[str]:
        """Return the zones in which the middle of the box's lower edge lies."""
        x1, _, x2, y2 = track.xyxy.tolist()
        x = min(max((x1 + x2) / 2 / size_wh[0], _EDGE), 1 - _EDGE)
        y = min(max(y2 / size_wh[1], _EDGE), 1 - _EDGE)
        return [name for name, polygon in self._zones.items() if _inside(x, y, polygon)]


def _class_labels(track: Track) -> list[str]:
    """Return the best class of every classifier; their order alone is no news."""
    return sorted(best[0].label for best in track.classes.values() if best)


def _box_px(track: Track, size_wh: tuple[int, int]) -> list[float]:
    """Return the box to a tenth of a pixel, rounded outward so that it keeps an area."""
    width, height = size_wh
    x1, y1, x2, y2 = track.xyxy.tolist()
    return [
        max(math.floor(x1 * 10) / 10, 0.0),
        max(math.floor(y1 * 10) / 10, 0.0),
        min(math.ceil(x2 * 10) / 10, float(width)),
        min(math.ceil(y2 * 10) / 10, float(height)),
    ]


def _inside(x: float, y: float, polygon: Polygon) -> bool:
    """Return whether a ray from (x, y) crosses the polygon's sides an odd number of times."""
    inside = False
    x1, y1 = polygon[-1]
    for x2, y2 in polygon:
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            inside = not inside
        x1, y1 = x2, y2
    return inside
