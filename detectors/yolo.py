"""People and vehicles: YOLO on OpenVINO, tracked with ByteTrack.

Inference runs in f32 on one thread, so that the same file gives the same observation again (the
CPU plugin would otherwise choose bf16). The picture is scaled to the network's longer side and
padded to whole strides, as in Ultralytics' rectangular letterbox.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, cast

import cv2
import numpy as np
import openvino  # type: ignore[import-untyped]
from numpy.typing import NDArray
from pydantic import Field
from supervision import Detections
from trackers import ByteTrackTracker

from detectors.detector import Detector, DetectorConfig
from detectors.models import InstalledModel
from enforcement.errors import ModelError
from enforcement.footage import Label, Track, TrackPoint
from enforcement.geometry import Box, iou
from enforcement.model import Score
from media.footage import FootageInfo, Frame, Image, frames

_PAD_GREY = 114
"""Fill of the letterbox, the grey that YOLO models are trained with (Ultralytics)."""

_THIN_S, _THIN_IOU = 0.5, 0.95
"""Of a thing that stands still, one point in this many seconds is kept."""

_GROUPS: tuple[frozenset[Label], ...] = (
    frozenset({Label.PERSON}),
    frozenset({Label.CAR, Label.BUS, Label.TRUCK}),
    frozenset({Label.BICYCLE, Label.MOTORCYCLE}),
)
"""Labels that one thing may flicker between; each group is suppressed and tracked by itself."""


class YoloConfig(DetectorConfig):
    """Parameters of detection and tracking."""

    sample_fps: Annotated[float, Field(gt=0, le=60)] = 5.0
    score_min: Score = 0.15
    """Weaker detections are dropped; those below ``score_start`` only prolong a track."""
    score_start: Score = 0.4
    """A track begins with a detection at least this strong."""
    overlap_max: Score = 0.6
    """Two boxes of a group that overlap more than this (IoU) are one thing."""
    lost_s: Annotated[float, Field(ge=0, le=30)] = 2.0
    """A track outlives this long without a detection."""
    threads: Annotated[int, Field(ge=1, le=64)] = 1


@dataclass(frozen=True)
class _Letterbox:
    """How a picture of ``width_px`` × ``height_px`` lies in the network's input."""

    width_px: int
    height_px: int
    scale: float
    input_width_px: int
    input_height_px: int
    left_px: int
    top_px: int

    @classmethod
    def fitting(cls, width_px: int, height_px: int, longer_px: int, stride_px: int) -> "_Letterbox":
        scale = longer_px / max(width_px, height_px)
        inner_w, inner_h = round(width_px * scale), round(height_px * scale)
        outer_w, outer_h = (-(-side // stride_px) * stride_px for side in (inner_w, inner_h))
        left, top = (outer_w - inner_w) // 2, (outer_h - inner_h) // 2
        return cls(width_px, height_px, scale, outer_w, outer_h, left, top)

    def fill(self, image: Image) -> NDArray[np.float32]:
        """``(H, W, 3)`` uint8 BGR → ``(1, 3, h, w)`` float32 RGB in [0, 1]."""
        inner = (round(self.width_px * self.scale), round(self.height_px * self.scale))
        canvas = np.full((self.input_height_px, self.input_width_px, 3), _PAD_GREY, np.uint8)
        bottom, right = self.top_px + inner[1], self.left_px + inner[0]
        canvas[self.top_px : bottom, self.left_px : right] = cv2.resize(image, inner)
        return np.asarray(cv2.dnn.blobFromImage(canvas, 1 / 255, swapRB=True), np.float32)

    def unfill(self, xyxy: NDArray[np.float32]) -> Box:
        """A box in pixels of the input → in fractions of the picture, clipped to it."""
        left, right = ((float(x) - self.left_px) / self.scale / self.width_px for x in xyxy[0::2])
        top, bottom = ((float(y) - self.top_px) / self.scale / self.height_px for y in xyxy[1::2])
        return Box(*(round(min(1.0, max(0.0, side)), 4) for side in (left, top, right, bottom)))


@dataclass
class _Growing:
    """A track while the footage is being watched."""

    points: list[TrackPoint] = field(default_factory=list)
    votes: dict[Label, float] = field(default_factory=lambda: defaultdict(float))


class YoloDetector(Detector):
    """Detects and tracks people and vehicles in one capture file after another."""

    def __init__(self, model: InstalledModel, config: YoloConfig | None = None) -> None:
        self._model = model
        self._config = config or YoloConfig()
        super().__init__(self._config)
        self._core = openvino.Core()
        self._compiled: dict[tuple[int, int], openvino.CompiledModel] = {}

    @property
    def model(self) -> str:
        return self._model.name

    @property
    def model_digest(self) -> str:
        return self._model.digest

    @property
    def sample_fps(self) -> float:
        return self._config.sample_fps

    def _watch(self, info: FootageInfo) -> "_Watch":
        entry = self._model.entry
        box = _Letterbox.fitting(info.width_px, info.height_px, entry.input_px, entry.stride_px)
        network = self._network(box)
        tracking = [_GroupTracking(group, entry.labels, box, self._config) for group in _GROUPS]
        return _Watch(lambda image: self._detect(network, box, image), tracking)

    def _pictures(self, path: Path) -> Iterator[Frame]:
        return frames(path, sample_fps=self.sample_fps)

    def _network(self, box: _Letterbox) -> openvino.CompiledModel:
        """The network compiled for this input size, once per size."""
        size = (box.input_height_px, box.input_width_px)
        if size not in self._compiled:
            options = {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "f32",
                "INFERENCE_NUM_THREADS": self._config.threads,
                "NUM_STREAMS": 1,
            }
            try:
                network = self._core.read_model(self._model.xml)
                network.reshape([1, 3, *size])
                self._compiled[size] = self._core.compile_model(network, "CPU", options)
            except RuntimeError as error:
                name = self._model.name
                raise ModelError(f"OpenVINO cannot load {name}; pull it anew") from error
        return self._compiled[size]

    def _detect(self, network: openvino.CompiledModel, box: _Letterbox, image: Image) -> Detections:
        """One picture → boxes in pixels of the input, scores, class numbers; doubles suppressed."""
        (raw,) = network([box.fill(image)]).values()
        rows = np.asarray(raw[0], np.float32).T  # (anchors, 4 + classes): centre, size, scores
        classes = rows[:, 4:].argmax(axis=1)
        scores = rows[np.arange(len(rows)), 4 + classes]
        labels = self._model.entry.labels
        wanted = (scores >= self._config.score_min) & np.isin(classes, list(labels))
        rows, classes, scores = rows[wanted, :4], classes[wanted], scores[wanted]
        corners = np.concatenate([rows[:, :2] - rows[:, 2:] / 2, rows[:, :2] + rows[:, 2:] / 2], 1)
        groups = [_group_of(labels[int(number)]) for number in classes]
        kept = self._suppressed(corners, scores, groups)
        return Detections(xyxy=corners[kept], confidence=scores[kept], class_id=classes[kept])

    def _suppressed(
        self, corners: NDArray[np.float32], scores: NDArray[np.float32], groups: Sequence[int]
    ) -> NDArray[np.intp]:
        """Which boxes stay when the weaker of two that overlap within a group goes."""
        if not len(corners):
            return np.empty(0, np.intp)
        sized = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1).tolist()
        least, most = self._config.score_min, self._config.overlap_max
        kept = cv2.dnn.NMSBoxesBatched(sized, scores.tolist(), list(groups), least, most)
        return np.sort(np.asarray(kept, np.intp))


class _Watch:
    """Watches one capture: every picture is detected in by itself, every group tracked."""

    def __init__(
        self, detect: Callable[[Image], Detections], tracking: Sequence["_GroupTracking"]
    ) -> None:
        self._detect, self._tracking = detect, tracking

    def see(self, image: Image, now_s: float) -> None:
        found = self._detect(image)
        for group in self._tracking:
            group.update(found, now_s)

    def tracks(self) -> tuple[Track, ...]:
        return _numbered(growing for group in self._tracking for growing in group.grown())

    def unsteady_s(self, duration_s: float) -> tuple[tuple[float, float], ...]:
        """None: whoever looks at single pictures cannot tell that the view moved."""
        return ()


class _GroupTracking:
    """Tracks one group of labels, so that a van called car, truck, car stays one vehicle.

    Works in pixels of the network's input: ByteTrack's motion noise is absolute, so that footage
    of any size is tracked alike.
    """

    def __init__(
        self,
        group: frozenset[Label],
        labels: dict[int, Label],
        box: _Letterbox,
        config: YoloConfig,
    ) -> None:
        self._classes = [number for number, label in labels.items() if label in group]
        self._labels = labels
        self._box = box
        self._tracker = ByteTrackTracker(
            lost_track_buffer=round(config.lost_s * 30),  # ByteTrack counts frames of 1/30 s
            frame_rate=config.sample_fps,
            track_activation_threshold=config.score_start,
            high_conf_det_threshold=config.score_start,
        )
        self._growing: dict[int, _Growing] = defaultdict(_Growing)

    def update(self, found: Detections, t_s: float) -> None:
        """Take in everything that was found at ``t_s``; other groups' things are ignored."""
        mine = cast(Detections, found[np.isin(np.asarray(found.class_id), self._classes)])
        tracked = self._tracker.update(mine, timestamp=t_s)
        ids = np.asarray(tracked.tracker_id)
        scores, numbers = np.asarray(tracked.confidence), np.asarray(tracked.class_id)
        for row in np.flatnonzero(ids >= 0):  # −1: not confirmed by a second detection yet
            score = round(min(1.0, float(scores[row])), 4)
            box = self._box.unfill(tracked.xyxy[row])
            growing = self._growing[int(ids[row])]
            growing.points.append(TrackPoint(t_s=round(t_s, 3), box=box, score=score))
            growing.votes[self._labels[int(numbers[row])]] += score

    def grown(self) -> Iterable[_Growing]:
        return self._growing.values()


def _group_of(label: Label) -> int:
    return next(number for number, group in enumerate(_GROUPS) if label in group)


def _numbered(growing: Iterable[_Growing]) -> tuple[Track, ...]:
    """Tracks in the order in which they began, each with the label that most detections gave."""
    ordered = sorted(growing, key=lambda track: (track.points[0].t_s, track.points[0].box))
    return tuple(
        Track(
            track_id=number,
            label=max(sorted(track.votes), key=lambda label: track.votes[label]),
            points=_thinned(track.points),
        )
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
