"""Follows boxes: two-pass association on a constant-velocity Kalman filter.

The association is ByteTrack's (Zhang et al., "ByteTrack: Multi-Object Tracking by
Associating Every Detection Box", ECCV 2022): good boxes look for a track first, and
what is left of the tracks may then keep itself alive on boxes too weak to start one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vision.detection import Track
from vision.geometry import iou_matrix
from vision.trackers.assignment import assign

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vision.detection import Detections

# Noise of the filter, in mean sides of the box (and seconds): a detector's boxes jitter
# and an object moves in proportion to its size in the picture, far or near.
_JITTER = 0.07
_FIRST_SPEED = 1.0
_ACCELERATION = 0.3

# No camera's frame is wider; a box out there is a broken output, not an object.
_FARTHEST_PX = 1e6
_CONFIRMED_HITS = 2

# One row a track. `at` and `speed` are the filter's mean: centre x, centre y, width,
# height, in pixels and pixels a second. Noise is taken as independent between the four,
# so of the covariance three numbers are left for each: two variances and what couples
# position and speed.
_TRACKS = np.dtype(
    [
        ("track_id", np.int64),
        ("class_id", np.int32),
        ("score", np.float32),
        ("xyxy", np.float32, 4),
        ("hits", np.int64),
        ("missed", np.int64),
        ("unseen_s", np.float64),
        ("first_seen_ns", np.int64),
        ("at", np.float64, 4),
        ("speed", np.float64, 4),
        ("at_variance", np.float64, 4),
        ("covariance", np.float64, 4),
        ("speed_variance", np.float64, 4),
    ]
)


class KalmanConfig(BaseModel):
    """How boxes are joined to tracks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low_score: float = Field(0.1, ge=0, le=1)
    """Weaker boxes than this are not looked at."""
    min_iou: float = Field(0.1, gt=0, lt=1)
    """Least overlap of a good box with where a track should be."""
    min_iou_low: float = Field(0.3, gt=0, lt=1)
    """The same for a weak box, which needs a better reason."""
    max_start_iou: float = Field(0.3, ge=0, le=1)
    """A box that lies over another one of its class by more starts no track."""


class KalmanTracker:
    """Follows the boxes of one camera.

    Args:
        config: How boxes are joined to tracks.
        labels: Names of the classes, by `class_id`.
        start_score: A box as good as this starts a track where it fits none; one number,
            or one for each class.
        max_age_s: A track unseen for longer is gone. Where frames come slower, two
            intervals of theirs count instead, else nothing could ever be followed.
    """

    Config = KalmanConfig

    def __init__(
        self,
        config: KalmanConfig,
        *,
        labels: tuple[str, ...],
        start_score: float | NDArray[np.float32] = 0.5,
        max_age_s: float = 1.0,
    ) -> None:
        self._config = config
        self._labels = labels
        self._start_score = np.broadcast_to(start_score, len(labels))
        self._max_age_s = max_age_s
        self._tracks = np.empty(0, _TRACKS)
        self._started = 0
        self._captured_ns: int | None = None
        self._interval_s = 0.0

    def update(self, detections: Detections, captured_ns: int) -> Sequence[Track]:
        """Take one frame's boxes; return the tracks that are alive after it, oldest first.

        A track that a box of this frame matched is at that box; another one is where
        the filter expects it. Boxes that are no boxes (not finite, inside out) are
        passed over, and a `captured_ns` that stands still or goes back is no time.
        """
        self._advance(captured_ns)
        boxes = _usable(detections, self._config.low_score)
        if not len(boxes):
            self._forget_unconfirmed()
            return self._alive()
        overlap = _overlap(
            _to_xyxy(self._tracks["at"]), self._tracks["class_id"], boxes.xyxy, boxes.class_id
        )
        good = boxes.score >= self._start_score[boxes.class_id]
        weak = ~good
        waiting = np.ones(len(self._tracks), bool)
        rows, found = _match(overlap, waiting, good, self._config.min_iou)
        good[found] = False
        if weak.any():
            waiting = self._tracks["hits"] >= _CONFIRMED_HITS
            waiting[rows] = False
            more_rows, more_found = _match(overlap, waiting, weak, self._config.min_iou_low)
            rows, found = np.append(rows, more_rows), np.append(found, more_found)
        self._correct(rows, boxes, found)
        self._start(boxes, self._singles(boxes, np.flatnonzero(good)), captured_ns)
        return self._alive()

    def _advance(self, captured_ns: int) -> None:
        """Move every track to where it should be now; drop those unseen for too long.

        The noise is white acceleration in continuous time (Bar-Shalom et al.,
        "Estimation with Applications to Tracking and Navigation", 2001, section 6.2.2),
        so two steps of a half come to the same as one.
        """
        before_ns = captured_ns if self._captured_ns is None else self._captured_ns
        dt_s = max(captured_ns - before_ns, 0) / 1e9
        longest_s = max(self._max_age_s, 2 * self._interval_s)
        self._captured_ns, self._interval_s = captured_ns, dt_s
        if not len(self._tracks):
            return
        tracks = self._tracks
        tracks["missed"] += 1
        tracks["unseen_s"] += dt_s
        kept = tracks["unseen_s"] <= longest_s
        if not kept.all():
            self._tracks = tracks = tracks[kept]
        at, variance = tracks["at"], tracks["at_variance"]
        covariance, speed_variance = tracks["covariance"], tracks["speed_variance"]
        at += dt_s * tracks["speed"]
        np.maximum(at[:, 2:], 1, out=at[:, 2:])
        noise = dt_s * (_ACCELERATION * _side_px(at)) ** 2
        variance += dt_s * (2 * covariance + dt_s * (speed_variance + noise / 3))
        covariance += dt_s * (speed_variance + noise / 2)
        speed_variance += noise

    def _correct(self, rows: NDArray[np.intp], boxes: Detections, found: NDArray[np.intp]) -> None:
        """Take the measured boxes `found` into the tracks `rows`."""
        tracks = self._tracks[rows]
        measured = _to_cxcywh(boxes.xyxy[found])
        variance, covariance = tracks["at_variance"], tracks["covariance"]
        total = variance + (_JITTER * _side_px(measured)) ** 2
        gain, speed_gain = variance / total, covariance / total
        surprise = measured - tracks["at"]
        tracks["at"] += gain * surprise
        tracks["speed"] += speed_gain * surprise
        tracks["speed_variance"] -= speed_gain * covariance
        covariance *= 1 - gain
        variance *= 1 - gain
        tracks["xyxy"], tracks["score"] = boxes.xyxy[found], boxes.score[found]
        tracks["hits"] += 1
        tracks["missed"], tracks["unseen_s"] = 0, 0
        self._tracks[rows] = tracks

    def _singles(self, boxes: Detections, new: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return `new` without the second boxes that detectors give to one object.

        That is a box lying over one that a track has, or over a better new one.
        """
        if not len(new):
            return new
        seen = self._tracks[self._tracks["missed"] == 0]
        xyxy, class_id = boxes.xyxy[new], boxes.class_id[new]
        by_track = _overlap(xyxy, class_id, seen["xyxy"], seen["class_id"])
        by_better = np.tril(_overlap(xyxy, class_id, xyxy, class_id), -1)
        doubled = np.hstack((by_track, by_better)) > self._config.max_start_iou
        singles: NDArray[np.intp] = new[~doubled.any(axis=1)]
        return singles

    def _start(self, boxes: Detections, found: NDArray[np.intp], captured_ns: int) -> None:
        """Make tracks of the boxes `found`; forget the beginnings that were not seen again."""
        self._forget_unconfirmed()
        if not len(found):
            return
        new = np.zeros(len(found), _TRACKS)
        new["track_id"] = self._started + 1 + np.arange(len(found))
        new["class_id"], new["score"] = boxes.class_id[found], boxes.score[found]
        new["xyxy"], new["at"] = boxes.xyxy[found], _to_cxcywh(boxes.xyxy[found])
        new["hits"], new["first_seen_ns"] = 1, captured_ns
        new["at_variance"] = (_JITTER * _side_px(new["at"])) ** 2
        new["speed_variance"] = (_FIRST_SPEED * _side_px(new["at"])) ** 2
        self._started += len(found)
        self._tracks = np.concatenate((self._tracks, new))

    def _forget_unconfirmed(self) -> None:
        old = self._tracks
        kept = (old["missed"] == 0) | (old["hits"] >= _CONFIRMED_HITS)
        if not kept.all():
            self._tracks = old[kept]

    def _alive(self) -> tuple[Track, ...]:
        tracks = self._tracks
        if not len(tracks):
            return ()
        missed = tracks["missed"]
        here = np.where((missed == 0)[:, None], tracks["xyxy"], _to_xyxy(tracks["at"]))
        columns = zip(
            tracks["track_id"].tolist(), here, tracks["score"].tolist(),
            tracks["class_id"].tolist(), tracks["hits"].tolist(), missed.tolist(),
            tracks["first_seen_ns"].tolist(), strict=True,
        )  # fmt: skip
        return tuple(
            Track(track_id, xyxy, score, class_id, self._labels[class_id], hits, unseen, first_ns)
            for track_id, xyxy, score, class_id, hits, unseen, first_ns in columns
        )


def _match(
    overlap: NDArray[np.float32],
    rows: NDArray[np.bool_],
    columns: NDArray[np.bool_],
    min_iou: float,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which of the tracks `rows` go with which of the boxes `columns`."""
    row, column = rows.nonzero()[0], columns.nonzero()[0]
    gain = overlap[row][:, column]
    matched, found = assign(np.where(gain >= min_iou, gain, 0))
    return row[matched], column[found]


def _usable(detections: Detections, low_score: float) -> Detections:
    """Return the boxes worth looking at, in an order that is theirs and not the caller's."""
    if not len(detections):
        return detections
    xyxy, score = detections.xyxy, detections.score
    fine = (np.abs(xyxy) <= _FARTHEST_PX).all(axis=1) & (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
    kept = np.flatnonzero(fine & (score >= low_score))
    by_score = np.lexsort((detections.class_id[kept], *xyxy[kept].T, -score[kept]))
    return detections.select(kept[by_score])


def _overlap(
    a_xyxy: NDArray[np.float32],
    a_class: NDArray[np.int32],
    b_xyxy: NDArray[np.float32],
    b_class: NDArray[np.int32],
) -> NDArray[np.float32]:
    """Return the (N, M) IoU; 0 for boxes of two classes."""
    same = a_class[:, None] == b_class
    iou: NDArray[np.float32] = np.where(same, iou_matrix(a_xyxy, b_xyxy), 0)
    return iou


def _to_cxcywh(xyxy: NDArray[np.float32]) -> NDArray[np.float64]:
    corners = xyxy.astype(np.float64)
    first, second = corners[:, :2], corners[:, 2:]
    boxes: NDArray[np.float64] = np.hstack(((first + second) / 2, second - first))
    return boxes


def _to_xyxy(cxcywh: NDArray[np.float64]) -> NDArray[np.float32]:
    half = cxcywh[:, 2:] / 2
    return np.hstack((cxcywh[:, :2] - half, cxcywh[:, :2] + half)).astype(np.float32)


def _side_px(cxcywh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (N, 1) mean sides."""
    sides: NDArray[np.float64] = (cxcywh[:, 2:3] + cxcywh[:, 3:]) / 2
    return sides
