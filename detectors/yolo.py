"""People and vehicles: YOLO on OpenVINO, tracked with ByteTrack.

Inference runs in f32 on one thread, so that the same file gives the same observation again (the
CPU plugin would otherwise choose bf16).

Looking is dear, so it is done where something moves and no more often than needed: what rests
where nothing moves is taken to be there still. Now and then, and when nothing is known about what
moves, the whole picture is looked at.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from supervision import Detections
from trackers import ByteTrackTracker
from trackers.utils.iou import BIoU

from detectors import backends, inference
from detectors.detector import (
    Arrays,
    Carried,
    Detector,
    DetectorConfig,
    Moment,
    Tracked,
    Watch,
    source_digest,
)
from detectors.inference import BoxConfig, Boxes, BoxNetwork
from detectors.models import InstalledModel
from enforcement.footage import Label, Track, TrackPoint
from enforcement.geometry import Box, iou
from enforcement.model import Score
from media.footage import FootageInfo, Image

_THIN_S, _THIN_IOU = 0.5, 0.95
"""Of a thing that stands still, one point in this many seconds is kept."""

_BRIDGE_S = 1.0
"""In longer gaps between looks the tracker is told so often that things are where they were."""

_TRACKED_SIDE_PX = 640
"""Longer side of the plane that is tracked in: ByteTrack's motion noise is absolute, so that
footage of any size is tracked alike."""

_GROUPS: tuple[frozenset[Label], ...] = (
    frozenset({Label.PERSON}),
    frozenset({Label.CAR, Label.BUS, Label.TRUCK}),
    frozenset({Label.BICYCLE, Label.MOTORCYCLE}),
)
"""Labels that one thing may flicker between; each group is suppressed and tracked by itself."""

_CROPS_PX = (256, 352)
"""Sides of the square inputs that parts of a picture are looked at in."""


class YoloConfig(DetectorConfig):
    """Parameters of detection and tracking."""

    score_min: Score = 0.15
    """Weaker detections are dropped; those below ``score_start`` only prolong a track."""
    score_start: Score = 0.4
    """A track begins with a detection at least this strong."""
    overlap_max: Score = 0.6
    """Two boxes of a group that overlap more than this (IoU) are one thing."""
    lost_s: Annotated[float, Field(ge=0, le=30)] = 2.0
    """A track outlives this long without a detection."""
    whole_every_s: Annotated[float, Field(gt=0, le=3600)] = 240.0
    """So often the whole picture is looked at, whatever moves."""
    crop_every_s: Annotated[float, Field(ge=0, le=10)] = 0.25
    """A part in which something moves is looked at no more often than this."""
    busy_every_s: Annotated[float, Field(ge=0, le=10)] = 0.35
    """Nor is the whole picture, where so much moves that parts would not do."""
    carried_s: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """How much of its tracks the next capture gets to know."""
    strides: Annotated[float, Field(ge=0, le=2)] = 0.5
    """Boxes are grown by this share on each side before they are matched: between two looks a
    person may walk more than his or her own width."""
    threads: Annotated[int, Field(ge=1, le=64)] = 1


@dataclass
class _Growing:
    """A track while the footage is being watched."""

    points: list[TrackPoint] = field(default_factory=list)
    votes: dict[Label, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def label(self) -> Label:
        """The one that most detections gave."""
        return max(sorted(self.votes), key=lambda label: self.votes[label])


class YoloDetector(Detector):
    """Detects and tracks people and vehicles in one capture file after another."""

    def __init__(self, model: InstalledModel, config: YoloConfig | None = None) -> None:
        self._model = model
        self._config = config or YoloConfig()
        super().__init__(
            self._config, source=source_digest(__file__, inference.__file__, backends.__file__)
        )
        boxes = BoxConfig(
            score_min=self._config.score_min,
            overlap_max=self._config.overlap_max,
            threads=self._config.threads,
        )
        groups = {number: _group_of(label) for number, label in model.entry.labels.items()}
        self._network = BoxNetwork(model, boxes, groups)

    @property
    def model(self) -> str:
        return self._model.name

    @property
    def model_digest(self) -> str:
        return self._model.digest

    def watch(self, info: FootageInfo, carried: Carried | None) -> "_Watch":
        size = (info.width_px, info.height_px)
        look = _Look(self._network, size, self._config)
        return _Watch(look, self._model.entry.labels, self._config, carried)


class _Look:
    """Finds out where to look in one view, looks there, and keeps what is known elsewhere."""

    def __init__(self, network: BoxNetwork, size_px: tuple[int, int], config: YoloConfig) -> None:
        self._network, self._config = network, config
        self.size_px = np.array([*size_px, *size_px], np.float32)
        self._whole = network.input_for(*size_px)
        self._known = Boxes.none()
        self._whole_due_s: float | None = None
        self._due_s = 0.0
        self._moved: list[Box] = []
        """Where something moved since the last look: what was known there may be gone."""

    def knows(self, boxes: Boxes, now_s: float) -> None:
        """What is there already, so that it need not be looked for."""
        self._known = boxes
        self._whole_due_s = now_s + self._config.whole_every_s

    @property
    def known(self) -> Boxes:
        """What was there at the latest look."""
        return self._known

    def see(self, moment: Moment) -> Boxes | None:
        """What is there now, in pixels of the picture; None if it is too early to look again."""
        now_s, moving = moment.t_s, moment.moving
        if moving is None or self._whole_due_s is None or now_s >= self._whole_due_s:
            return self._see_all(moment)
        self._moved += moving
        if not self._moved:
            return self._known
        if now_s < self._due_s - 1e-3:
            return None
        resting, parts = self._parts(self._moved)
        if parts is None:
            return self._see_all(moment)
        found = Boxes.none()
        for part, side in parts:
            found = found.and_also(self._see_part(moment, part, side))
        self._due_s = now_s + self._config.crop_every_s
        self._moved = list(moving)  # once more: it may be gone by then, and nothing moves there
        fresh = _unless_known(found, resting)
        self._known = self._network.suppressed(resting.and_also(fresh))
        return self._known

    def _see_all(self, moment: Moment) -> Boxes:
        with moment.costs.of("detect"):
            self._known = self._network.detect(moment.picture(), self._whole)
        self._whole_due_s = moment.t_s + self._config.whole_every_s
        self._due_s = moment.t_s + self._config.busy_every_s
        self._moved = list(moment.moving or ())
        return self._known

    def _see_part(self, moment: Moment, part: NDArray[np.float32], side_px: int) -> Boxes:
        left, top, right, bottom = (round(float(side)) for side in part)
        image: Image = moment.picture()[top:bottom, left:right]
        with moment.costs.of("detect"):
            found = self._network.detect(image, (side_px, side_px))
        placed = found.xyxy + np.array([left, top, left, top], np.float32)
        return Boxes(placed, found.scores, found.classes)[~_is_cut(placed, part, self.size_px)]

    def _parts(
        self, moving: Sequence[Box]
    ) -> tuple[Boxes, list[tuple[NDArray[np.float32], int]] | None]:
        """What rests meanwhile, and the squares to look into; None if the whole is cheaper."""
        regions = [np.array(box, np.float32) * self.size_px for box in moving]
        resting = np.array(
            [not any(_touch(box, region) for region in regions) for box in self._known.xyxy], bool
        )
        again = [box for box, rests in zip(self._known.xyxy, resting, strict=True) if not rests]
        squares = _joined([_square(region, self.size_px) for region in [*regions, *again]])
        if len(squares) > 2:
            squares = _joined([_square(_around(squares), self.size_px)])
        parts = [(square, self._input_for(square)) for square in squares]
        chosen = [(square, side) for square, side in parts if side is not None]
        inputs = sum(side * side for _, side in chosen)
        if len(chosen) < len(parts) or inputs > 0.8 * self._whole[0] * self._whole[1]:
            return self._known[resting], None
        return self._known[resting], chosen

    def _input_for(self, square: NDArray[np.float32]) -> int | None:
        """The smallest input that shows it no smaller than the whole picture would be shown."""
        scale = max(self._whole) / float(self.size_px.max())
        needed = float(square[2] - square[0]) * min(1.0, scale)
        return next((side for side in _CROPS_PX if needed <= side + 1), None)


class _Watch(Watch):
    """Watches one capture: what is seen at a moment, every group tracked by itself."""

    def __init__(
        self,
        look: _Look,
        labels: dict[int, Label],
        config: YoloConfig,
        carried: Carried | None,
    ) -> None:
        self._look, self._config = look, config
        size = look.size_px
        scale = _TRACKED_SIDE_PX / float(size.max())
        self._tracking = [_GroupTracking(group, labels, size, scale, config) for group in _GROUPS]
        self._before: list[_Growing] = []
        self._last_s = 0.0
        if carried is not None:
            self._before = _remembered(carried)
            at_end = [one for one in self._before if one.points[-1].t_s > -carried.gap_s - 1.0]
            look.knows(_last_boxes(at_end, labels, size), 0.0)

    def see(self, moment: Moment) -> None:
        before = self._look.known
        found = self._look.see(moment)
        with moment.costs.of("track"):
            for group in self._tracking:
                if found is not None:
                    self._bridge(group, before, moment.t_s)
                    group.update(found, moment.t_s)
                moment.tracked += group.current(moment.t_s)
            if found is not None:
                self._last_s = moment.t_s

    def _bridge(self, group: "_GroupTracking", known: Boxes, now_s: float) -> None:
        """While footage was only skimmed nothing moved: what was known was there all the time."""
        for step in range(1, int((now_s - self._last_s - 0.5) / _BRIDGE_S) + 1):
            group.update(known, self._last_s + step * _BRIDGE_S)

    def tracks(self) -> tuple[Track, ...]:
        growing = [one for group in self._tracking for one in group.grown()]
        return _numbered([*self._before, *growing])

    def carried(self, duration_s: float) -> Arrays:
        """The latest points of the latest tracks, times from the end of the capture."""
        since_s = duration_s - self._config.carried_s
        growing = [one for group in self._tracking for one in group.grown()]
        return _memory([*self._before, *growing], since_s, duration_s)


class _GroupTracking:
    """Tracks one group of labels, so that a van called car, truck, car stays one vehicle."""

    def __init__(
        self,
        group: frozenset[Label],
        labels: dict[int, Label],
        size_px: NDArray[np.float32],
        scale: float,
        config: YoloConfig,
    ) -> None:
        self._classes = [number for number, label in labels.items() if label in group]
        self._labels, self.size_px, self._scale = labels, size_px, scale
        self._offset = 100_000 * min(self._classes, default=0)
        self._tracker = ByteTrackTracker(
            lost_track_buffer=round(config.lost_s * 30),  # ByteTrack counts frames of 1/30 s
            frame_rate=5.0,  # only until the second picture: every picture brings its time
            track_activation_threshold=config.score_start,
            high_conf_det_threshold=config.score_start,
            iou=BIoU(config.strides),
        )
        self._growing: dict[int, _Growing] = defaultdict(_Growing)

    def update(self, found: Boxes, t_s: float) -> None:
        """Take in everything that was found at ``t_s``; other groups' things are ignored."""
        mine = found[np.isin(found.classes, self._classes)]
        detections = Detections(
            xyxy=mine.xyxy * self._scale, confidence=mine.scores, class_id=mine.classes
        )
        tracked = self._tracker.update(detections, timestamp=t_s)
        ids = np.asarray(tracked.tracker_id)
        scores, numbers = np.asarray(tracked.confidence), np.asarray(tracked.class_id)
        for row in np.flatnonzero(ids >= 0):  # −1: not confirmed by a second detection yet
            score = round(min(1.0, float(scores[row])), 4)
            box = _fractions(tracked.xyxy[row] / self._scale, self.size_px)
            growing = self._growing[int(ids[row])]
            growing.points += _meanwhile(growing.points, t_s, box)
            growing.points.append(TrackPoint(t_s=round(t_s, 3), box=box, score=score))
            growing.votes[self._labels[int(numbers[row])]] += score

    def current(self, now_s: float) -> list[Tracked]:
        """All that was seen at this moment or the one before."""
        return [
            Tracked(self._offset + number, one.label, one.points[-1].box, one.points[-1].score)
            for number, one in self._growing.items()
            if now_s - one.points[-1].t_s <= 0.5
        ]

    def grown(self) -> Iterable[_Growing]:
        return self._growing.values()


def _meanwhile(points: Sequence[TrackPoint], now_s: float, box: Box) -> list[TrackPoint]:
    """Points for the time between two looks through which something rested, unwatched."""
    if not points or iou(points[-1].box, box) < _THIN_IOU:
        return []
    last = points[-1]
    number = int((now_s - last.t_s - 1e-3) / _THIN_S)
    moments = (round(last.t_s + step * _THIN_S, 3) for step in range(1, number + 1))
    return [last.model_copy(update={"t_s": t_s}) for t_s in moments]


def _group_of(label: Label) -> int:
    return next(number for number, group in enumerate(_GROUPS) if label in group)


def _fractions(xyxy: NDArray[np.float32], size_px: NDArray[np.float32]) -> Box:
    return Box(*(round(min(1.0, max(0.0, float(side))), 4) for side in xyxy / size_px))


def _touch(box: NDArray[np.float32], region: NDArray[np.float32]) -> bool:
    across = min(box[2], region[2]) - max(box[0], region[0])
    down = min(box[3], region[3]) - max(box[1], region[1])
    return bool(across > 0 and down > 0)


def _square(region: NDArray[np.float32], size_px: NDArray[np.float32]) -> NDArray[np.float32]:
    """A square around a region with room for what sticks out of it; it may exceed the picture."""
    width, height = size_px[:2]
    longer = max(region[2] - region[0], region[3] - region[1])
    side = max(1.6 * longer, 0.2 * max(width, height))
    x, y = (region[0] + region[2]) / 2, (region[1] + region[3]) / 2
    left = max(0.0, min(x - side / 2, width - side))
    top = max(0.0, min(y - side / 2, height - side))
    return np.array([left, top, left + side, top + side], np.float32)


def _around(squares: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    corners = np.stack(squares)
    return np.concatenate([corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)])


def _joined(squares: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Squares of which none touches another: those that do are replaced by one around both."""
    done: list[NDArray[np.float32]] = []
    for square in squares:
        new = square
        while (
            near := next((n for n, one in enumerate(done) if _touch(one, new)), None)
        ) is not None:
            both = _around([done.pop(near), new])
            side = max(both[2] - both[0], both[3] - both[1])
            new = np.array([both[0], both[1], both[0] + side, both[1] + side], np.float32)
        done.append(new)
    return done


def _is_cut(
    boxes: NDArray[np.float32], part: NDArray[np.float32], size_px: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Which boxes end at an edge of the part that is no edge of the picture: mere pieces."""
    inner = np.array([part[0] > 0, part[1] > 0, part[2] < size_px[0], part[3] < size_px[1]])
    at_edge = np.abs(boxes - part) < 2.0
    return np.asarray((at_edge & inner).any(axis=1), np.bool_)


def _unless_known(found: Boxes, resting: Boxes) -> Boxes:
    """What was found beside what is known to rest (a part may show some of it again)."""
    if not len(found) or not len(resting):
        return found
    new = [not any(_share_within(box, other) > 0.7 for other in resting.xyxy) for box in found.xyxy]
    return found[np.array(new, bool)]


def _share_within(box: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    across = min(box[2], other[2]) - max(box[0], other[0])
    down = min(box[3], other[3]) - max(box[1], other[1])
    area = (box[2] - box[0]) * (box[3] - box[1])
    return float(max(0.0, across) * max(0.0, down) / area) if area > 0 else 0.0


def _numbered(growing: Iterable[_Growing]) -> tuple[Track, ...]:
    """Tracks in the order in which they began."""
    ordered = sorted(growing, key=lambda track: (track.points[0].t_s, track.points[0].box))
    return tuple(
        Track(track_id=number, label=track.label, points=_thinned(track.points))
        for number, track in enumerate(ordered, start=1)
    )


def _thinned(points: Sequence[TrackPoint]) -> tuple[TrackPoint, ...]:
    """Leave out points where nothing moved, but never leave a gap longer than ``_THIN_S``."""
    kept = [points[0]]
    for point, following in pairwise(points[1:]):
        moved = iou(kept[-1].box, point.box) < _THIN_IOU
        if moved or following.t_s - kept[-1].t_s > _THIN_S:
            kept.append(point)
    return (*kept, *points[1:][-1:])


def _memory(growing: Iterable[_Growing], since_s: float, end_s: float) -> Arrays:
    """Tracks as rows of ``track, label, time before the end, box, score``."""
    labels = list(Label)
    rows = [
        (number, labels.index(one.label), point.t_s - end_s, *point.box, point.score)
        for number, one in enumerate(growing)
        for point in _thinned(one.points)
        if point.t_s >= since_s
    ]
    return {"points": np.array(rows, np.float64).reshape(-1, 8)}


def _remembered(carried: Carried) -> list[_Growing]:
    labels = list(Label)
    tracks: dict[int, _Growing] = defaultdict(_Growing)
    for number, label, t_s, left, top, right, bottom, score in carried.arrays["points"].tolist():
        growing = tracks[int(number)]
        box = Box(left, top, right, bottom)
        at_s = round(t_s - carried.gap_s, 3)
        growing.points.append(TrackPoint(t_s=at_s, box=box, score=score))
        growing.votes[labels[int(label)]] += score
    return list(tracks.values())


def _last_boxes(
    last: Sequence[_Growing], labels: dict[int, Label], size_px: NDArray[np.float32]
) -> Boxes:
    """Where these were last seen, in pixels."""
    if not last:
        return Boxes.none()
    numbers = {label: number for number, label in labels.items()}
    return Boxes(
        np.array([one.points[-1].box for one in last], np.float32) * size_px,
        np.array([one.points[-1].score for one in last], np.float32),
        np.array([numbers[one.label] for one in last], np.intp),
    )
