"""Classifiers behind detectors: what a frame, a region of it or every track shows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vision.classification import ClassScore, top_k
from vision.classify import crop
from vision.config import FRAME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from vision.classify import PictureClassifier
    from vision.config import ClassifierConfig
    from vision.detection import Track
    from vision.frame import Frame
    from vision.interfaces import BackendInfo

_WHOLE = 0  # the frame's number; tracks count from 1
# The weight of the newest look: after five, nine tenths of what is said is from them.
_NEWEST = 0.4

Named = dict[str, tuple[ClassScore, ...]]
"""What classifiers say of one thing, by their names."""


@dataclass(slots=True)
class _Seen:
    """What one classifier has seen of one thing."""

    probability: NDArray[np.float32]
    """Smoothed over all looks."""
    looked_ns: int
    named: tuple[ClassScore, ...]


@dataclass(slots=True)
class _Look:
    """One classifier, and its memory by track (or for the frame)."""

    name: str
    config: ClassifierConfig
    classifier: PictureClassifier
    labels: frozenset[str]
    """Of the tracks that it looks at."""
    seen: dict[int, _Seen] = field(default_factory=dict)


class Cascade:
    """Runs classifiers on what the detectors have found, one look a frame each.

    Each looks at the thing whose last look is the oldest, so ten people cost a frame no
    more than one does; what it says is smoothed over all looks at that thing.
    """

    def __init__(self) -> None:
        self._looks: list[_Look] = []

    def __len__(self) -> int:
        return len(self._looks)

    def add(
        self, name: str, config: ClassifierConfig, classifier: PictureClassifier,
        labels: frozenset[str],
    ) -> None:  # fmt: skip
        """Take a classifier in.

        Args:
            name: In the configuration.
            config: Where and how often it looks.
            classifier: To be closed by `close`.
            labels: Of the tracks that it looks at; of no meaning for a frame's.
        """
        self._looks.append(_Look(name, config, classifier, labels))

    def update(
        self, frame: Frame, tracks: Sequence[Track]
    ) -> tuple[tuple[Track, ...], Mapping[str, tuple[ClassScore, ...]]]:
        """Return the tracks with what is known of each, and what is known of the frame."""
        width, height = frame.size_wh
        by_track: dict[int, Named] = {}
        for look in self._looks:
            if look.config.of == FRAME:
                boxes: dict[int, Sequence[float]] = {_WHOLE: (0, 0, width, height)}
            else:
                boxes = {t.track_id: t.xyxy.tolist() for t in tracks if t.label in look.labels}
            _forget(look, boxes)
            _look(look, frame, boxes, fresh=_fresh(tracks))
            for number, seen in look.seen.items():
                by_track.setdefault(number, {})[look.name] = seen.named
        named = tuple(
            replace(track, classes=by_track[track.track_id])
            if track.track_id in by_track
            else track
            for track in tracks
        )
        return named, by_track.get(_WHOLE, {})

    def info(self, name: str) -> BackendInfo:
        """Return what computes the classifier called `name`."""
        return next(look.classifier.info for look in self._looks if look.name == name)

    def close(self) -> None:
        """Free the classifiers."""
        for look in self._looks:
            look.classifier.close()


def _fresh(tracks: Sequence[Track]) -> set[int]:
    """Return what is in this very frame: where a track is only expected, nothing is seen."""
    return {_WHOLE, *(track.track_id for track in tracks if not track.frames_since_update)}


def _forget(look: _Look, boxes: Mapping[int, Sequence[float]]) -> None:
    for number in look.seen.keys() - boxes.keys():
        del look.seen[number]


def _look(
    look: _Look, frame: Frame, boxes: Mapping[int, Sequence[float]], *, fresh: set[int]
) -> None:
    """Look at the thing that has waited longest, if any is due."""
    every_ns = look.config.every_s * 1e9
    due = {
        number: seen.looked_ns if (seen := look.seen.get(number)) else -1
        for number in boxes
        if number in fresh
    }
    number = min(due, key=lambda each: due[each], default=None)
    if number is None:
        return
    seen = look.seen.get(number)
    if seen is not None and frame.captured_ns - seen.looked_ns < every_ns:
        return
    probability = look.classifier(crop(frame.image, boxes[number], look.config.region))
    if seen is not None:
        probability = seen.probability + _NEWEST * (probability - seen.probability)
    config = look.config
    named = top_k(probability, look.classifier.labels, config.top_k, config.min_score)
    look.seen[number] = _Seen(probability, frame.captured_ns, named)
