"""Fire and smoke: a cheap gate finds what might burn, a network says whether it does.

Fire glows: warm, bright pixels that change from picture to picture. The gate looks for those on a
small picture; only there is the network asked, with what glows enlarged, and less and less often
while it says no, so that red cars and vests cost little. Smoke does not glow; whoever watches for
it asks the network at a steady beat while something moves. Neither needs a fixed view.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detectors.detector import (
    Arrays,
    Carried,
    Detector,
    DetectorConfig,
    Moment,
    Watch,
    source_digest,
)
from detectors.inference import BoxConfig, BoxNetwork
from detectors.models import InstalledModel
from enforcement.footage import Label, Track, TrackPoint
from enforcement.geometry import Box, intersection, iou
from enforcement.model import Score
from media.footage import FootageInfo, Image

MODEL = "yolov8-flames"
"""Name of the network in the catalog and of the detector of fire in the rules."""

SMOKE_MODEL = "smoke"
"""Name of the detector of smoke, which uses the same network."""

_EACH = 9
"""Latest pairs of pictures over which a trait is the median."""

_PART_PX = 320
"""Longer side of the input in which a part of the picture is looked at."""

_ROOM = 2.5
"""Side of that part, in sides of what glows in it. Of 150 pictures of fire the network is sure
(0.6) of 0.52 when they fill 0.4 of the input, of 0.75 when 0.6, of 0.20 when 0.2."""

_PLACES = 2
"""At one moment so many places are looked at: what is followed and what flickers elsewhere."""

_SAME = 0.4
"""Boxes of two looks that overlap more than this (IoU) are one."""

_KEPT = 6
"""Of the places that flicker, the largest ones are kept."""

Mask = NDArray[np.bool_]


class GlowConfig(DetectorConfig):
    """How fire is looked for; brightness in levels of 8 bits."""

    height_px: Annotated[int, Field(ge=48, le=720)] = 216
    """Lines of the small picture."""
    red_min: Annotated[int, Field(ge=0, le=255)] = 200
    warmth_min: Annotated[int, Field(ge=0, le=255)] = 40
    """Glowing: red at least so bright and so far above blue, green in between. Of 300 pictures of
    fire 0.95 hold such pixels on a twentieth of their area, of 84 of sky 0.04."""
    changes_min: Annotated[int, Field(ge=1, le=255)] = 24
    """A glowing pixel flickers if its green or blue differs by so much from the picture before:
    in red flames are at the upper limit."""
    flickering_min: Annotated[int, Field(ge=1, le=10000)] = 4
    """So many flickering pixels are worth a look of the network."""
    lasts: Annotated[int, Field(ge=1, le=20)] = 3
    lasts_s: Annotated[float, Field(gt=0, le=10)] = 1.5
    """Before the network is asked something must have flickered at the place in so many pictures
    of so long a time: what passes, such as a red car, does not."""
    every_s: Annotated[float, Field(ge=0, le=60)] = 0.15
    """Looks follow each other no faster while there is fire."""
    idle_s: Annotated[float, Field(gt=0, le=600)] = 4.0
    """After each look without fire the wait doubles, up to this."""
    score_min: Score = 0.3
    """Weaker detections are dropped."""
    overlap_max: Score = 0.5
    lost_s: Annotated[float, Field(ge=0, le=30)] = 1.5
    """A track outlives this long without a detection."""
    threads: Annotated[int, Field(ge=1, le=64)] = 1


class SmokeConfig(DetectorConfig):
    """How smoke is looked for."""

    height_px: Annotated[int, Field(ge=48, le=720)] = 216
    every_s: Annotated[float, Field(ge=0, le=60)] = 0.5
    """Looks follow each other no faster while there is smoke."""
    idle_s: Annotated[float, Field(gt=0, le=600)] = 2.0
    """Nor than this while there is none."""
    score_min: Score = 0.3
    overlap_max: Score = 0.5
    lost_s: Annotated[float, Field(ge=0, le=30)] = 3.0
    threads: Annotated[int, Field(ge=1, le=64)] = 1


@dataclass
class _Growing:
    """A track while the footage is being watched, and a measurement for each look."""

    points: list[TrackPoint] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)


class _Tracking:
    """Follows things whose outline changes all the time: what overlaps at all is the same."""

    def __init__(self, label: Label, lost_s: float) -> None:
        self._label, self._lost_s = label, lost_s
        self._growing: list[_Growing] = []

    def open_at(self, now_s: float) -> list[Box]:
        """Where what is still followed was last, the surest first."""
        latest = [one.points[-1] for one in self._growing if self._is_open(one, now_s)]
        return [point.box for point in sorted(latest, key=lambda point: -point.score)]

    def update(self, box: Box, score: float, now_s: float, measured: float | None) -> None:
        mine = self._nearest(box, now_s)
        if mine is None:
            mine = _Growing()
            self._growing.append(mine)
        mine.points.append(TrackPoint(t_s=round(now_s, 3), box=box, score=round(score, 4)))
        if measured is not None:
            mine.measured.append(measured)

    def tracks(self, trait: str) -> tuple[Track, ...]:
        return tuple(
            Track(
                track_id=number,
                label=self._label,
                points=tuple(one.points),
                traits={trait: round(median(one.measured), 4) if one.measured else 0.0},
            )
            for number, one in enumerate(self._growing, start=1)
        )

    def _is_open(self, one: _Growing, now_s: float) -> bool:
        return now_s - one.points[-1].t_s <= self._lost_s

    def _nearest(self, box: Box, now_s: float) -> _Growing | None:
        """The open track without a point yet at this moment whose last box overlaps most."""
        candidates = [
            (intersection(one.points[-1].box.grown(0.25), box.grown(0.25)), number)
            for number, one in enumerate(self._growing)
            if self._is_open(one, now_s) and one.points[-1].t_s < round(now_s, 3)
        ]
        overlap, number = max(candidates, default=(0.0, 0))
        return self._growing[number] if overlap > 0 else None


class _Look:
    """Asks the network for one label, in whole pictures or parts of them."""

    def __init__(self, model: InstalledModel, label: Label, boxes: BoxConfig) -> None:
        mine = {number: 0 for number, one in model.entry.labels.items() if one is label}
        self._network = BoxNetwork(model, boxes, mine)

    def whole(self, moment: Moment) -> list[tuple[Box, float]]:
        height, width = moment.picture().shape[:2]
        return self._see(moment, (0, 0, width, height), self._network.input_for(width, height))

    def around(self, moment: Moment, place: Box) -> list[tuple[Box, float]]:
        """A square `_ROOM` times as large as the place, or what of it lies in the picture."""
        height, width = moment.picture().shape[:2]
        longer = max(place.width * width, place.height * height)
        side = round(max(_ROOM * longer, _PART_PX / 2))
        across, down = min(side, width), min(side, height)
        x, y = place.centre.x * width - across / 2, place.centre.y * height - down / 2
        left = round(min(max(0.0, x), width - across))
        top = round(min(max(0.0, y), height - down))
        part = (left, top, left + across, top + down)
        return self._see(moment, part, self._network.input_for(across, down, _PART_PX))

    def _see(
        self, moment: Moment, part: tuple[int, int, int, int], input_px: tuple[int, int]
    ) -> list[tuple[Box, float]]:
        """Boxes and scores in a part of the picture, given as left, top, right, bottom."""
        image, (left, top, right, bottom) = moment.picture(), part
        height, width = image.shape[:2]
        with moment.costs.of("hazards"):
            found = self._network.detect(image[top:bottom, left:right], input_px)
        corner = np.array([left, top, left, top], np.float32)
        sides = np.array([width, height, width, height], np.float32)
        return [
            (_box((corner + xyxy) / sides), min(1.0, float(score)))
            for xyxy, score in zip(found.xyxy, found.scores, strict=True)
        ]


class FlameDetector(Detector):
    """Looks for open fire."""

    def __init__(self, model: InstalledModel, config: GlowConfig | None = None) -> None:
        self._model, self._config = model, config or GlowConfig()
        super().__init__(self._config)
        self._look = _Look(model, Label.FIRE, _boxes(self._config))

    @property
    def model(self) -> str:
        return self._model.name

    @property
    def model_digest(self) -> str:
        """Over the network and this module: the gate decides what the network sees."""
        return source_digest(__file__, weights=[self._model.digest])

    def watch(self, info: FootageInfo, carried: Carried | None) -> "_FlameWatch":
        return _FlameWatch(self._look, self._config, carried)


class _FlameWatch(Watch):
    """Watches one capture for fire."""

    def __init__(self, look: _Look, config: GlowConfig, carried: Carried | None) -> None:
        self._look, self._config = look, config
        self._tracking = _Tracking(Label.FIRE, config.lost_s)
        self._before: Image | None = None
        self._lately: deque[tuple[float, list[Box]]] = deque()
        """Where it flickered in the pictures of the last moments."""
        self._due_s, self._wait_s = 0.0, config.every_s
        if carried is not None and "wait_s" in carried.arrays:
            self._wait_s, left_s = (float(value) for value in carried.arrays["wait_s"])
            self._due_s = left_s - carried.gap_s

    def see(self, moment: Moment) -> None:
        picture = moment.picture(self._config.height_px)
        before, self._before = self._before, picture
        now_s = moment.t_s
        if now_s < self._due_s - self._config.lasts_s:
            return
        with moment.costs.of("gate"):
            followed = self._tracking.open_at(now_s)
            flickering = self._lasting(self._flickering(before, picture), now_s)
            if now_s < self._due_s - 1e-3:
                return
            places = _apart([*followed[:1], *flickering, *followed[1:]])
        if not places:
            return
        looks = (self._look.around(moment, place) for place in places[:_PLACES])
        found = _once(one for look in looks for one in look)
        for box, score in found:
            measured = None if before is None else flicker(_cut(before, box), _cut(picture, box))
            self._tracking.update(box, score, now_s, measured)
        waits_s = self._config.every_s if found else 2 * self._wait_s
        self._wait_s = min(self._config.idle_s, waits_s)
        self._due_s = now_s + self._wait_s

    def _lasting(self, flickering: list[Box], now_s: float) -> list[Box]:
        """Those places at which it has flickered for a while."""
        while self._lately and self._lately[0][0] < now_s - self._config.lasts_s - 1e-3:
            self._lately.popleft()
        self._lately.append((now_s, flickering))
        return [
            place
            for place in flickering
            if sum(
                any(intersection(place, other) > 0 for other in others)
                for _, others in self._lately
            )
            >= self._config.lasts
        ]

    def _flickering(self, before: Image | None, picture: Image) -> list[Box]:
        """Where something glows that did not look like this a picture ago, largest first."""
        config = self._config
        mask = glowing(picture, config.red_min, config.warmth_min)
        if before is not None:
            mask |= glowing(before, config.red_min, config.warmth_min)
            if not mask.any():
                return []
            change = cv2.absdiff(before, picture)[..., :2].max(axis=2)
            mask &= change >= config.changes_min
        joined = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8))
        _, labels, stats, _ = cv2.connectedComponentsWithStats(joined)
        filled = np.bincount(labels.ravel(), mask.ravel(), len(stats))
        filled[0] = 0
        enough = np.flatnonzero(filled >= config.flickering_min)
        largest_first = enough[np.argsort(-filled[enough], kind="stable")]
        patches = (stats[number, :4].tolist() for number in largest_first[:_KEPT])
        return [_within(patch, mask.shape) for patch in patches]

    def tracks(self) -> tuple[Track, ...]:
        return self._tracking.tracks("flicker")

    def carried(self, duration_s: float) -> Arrays:
        """The wait after the latest look and what is left of it; a fire is found anew."""
        return {"wait_s": np.array([self._wait_s, self._due_s - duration_s])}


class SmokeDetector(Detector):
    """Looks for smoke. Experimental: see the model card."""

    def __init__(self, model: InstalledModel, config: SmokeConfig | None = None) -> None:
        self._model, self._config = model, config or SmokeConfig()
        super().__init__(self._config)
        self._look = _Look(model, Label.SMOKE, _boxes(self._config))

    @property
    def model(self) -> str:
        return SMOKE_MODEL

    @property
    def model_digest(self) -> str:
        return source_digest(__file__, weights=[self._model.digest])

    def watch(self, info: FootageInfo, carried: Carried | None) -> "_SmokeWatch":
        return _SmokeWatch(self._look, self._config)


class _SmokeWatch(Watch):
    """Watches one capture for smoke."""

    def __init__(self, look: _Look, config: SmokeConfig) -> None:
        self._look, self._config = look, config
        self._tracking = _Tracking(Label.SMOKE, config.lost_s)
        self._second: list[tuple[float, Image]] = []
        """Small pictures of the last second."""
        self._due_s = 0.0

    def see(self, moment: Moment) -> None:
        now_s, picture = moment.t_s, moment.picture(self._config.height_px)
        before = self._a_second_ago(now_s)
        self._second.append((now_s, picture))
        smokes = bool(self._tracking.open_at(now_s))
        if now_s < self._due_s - 1e-3 or (moment.moving == () and not smokes):
            return
        found = self._look.whole(moment)
        for box, score in found:
            measured = None if before is None else change(_cut(before, box), _cut(picture, box))
            self._tracking.update(box, score, now_s, measured)
        self._due_s = now_s + (self._config.every_s if found else self._config.idle_s)

    def _a_second_ago(self, now_s: float) -> Image | None:
        self._second = [(t_s, one) for t_s, one in self._second if now_s - t_s <= 1.05]
        return self._second[0][1] if self._second else None

    def tracks(self) -> tuple[Track, ...]:
        return self._tracking.tracks("change")


def _apart(places: Sequence[Box]) -> list[Box]:
    """Places that are looked at by themselves: those near each other become one around both.

    It stands where the first of them stood. Near: with the room of `_ROOM` they would overlap.
    """
    room = (_ROOM - 1) / 2
    done: list[Box] = []
    for place in places:
        new, at = place, len(done)
        while near := [
            number
            for number, one in enumerate(done)
            if intersection(one.grown(room), new.grown(room)) > 0
        ]:
            at, other = near[0], done.pop(near[0])
            new = Box(
                min(other.left, new.left), min(other.top, new.top),
                max(other.right, new.right), max(other.bottom, new.bottom),
            )  # fmt: skip
        done.insert(at, new)
    return done


def _once(found: Iterable[tuple[Box, float]]) -> list[tuple[Box, float]]:
    """What was seen in two looks that overlap is one thing: the surer one stays."""
    kept: list[tuple[Box, float]] = []
    for box, score in sorted(found, key=lambda one: -one[1]):
        if all(iou(box, other) < _SAME for other, _ in kept):
            kept.append((box, score))
    return kept


def _within(patch: Sequence[int], shape: tuple[int, ...]) -> Box:
    """A patch given by left, top, width and height in pixels, as fractions of the picture."""
    left, top, across, down = patch
    height, width = shape[:2]
    return Box(left / width, top / height, (left + across) / width, (top + down) / height)


def glowing(image: Image, red_min: int, warmth_min: int) -> Mask:
    """Pixels of ``(H, W, 3)`` uint8 BGR that are bright and warm → ``(H, W)`` bool."""
    blue, green, red = cv2.split(image)
    warm = cv2.subtract(red, blue) >= warmth_min
    return np.asarray((red >= red_min) & warm & (green >= blue) & (red >= green), np.bool_)


def flicker(before: Image, now: Image) -> float:
    """How much the bright shape differs between two pictures of one place, 0 to 1.

    Both are cut into bright and dark at one level (Otsu) in green, which tells a flame's hot parts
    from its cooler ones (red is at its upper limit in all of them). The shapes are laid on each
    other by their centres, so that a lamp that moves still has its shape. 1 − intersection over
    union.
    """
    both = np.stack([before[..., 1], now[..., 1]])
    level, _ = cv2.threshold(both.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    first, second = (side > level for side in both)
    if not first.any() or not second.any():
        return 0.0
    shift = np.rint(_centre(second) - _centre(first)).astype(int)
    moved = np.zeros_like(first)
    height, width = first.shape
    down, right = int(shift[0]), int(shift[1])
    moved[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = first[
        max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)
    ]
    union = int((moved | second).sum())
    return 1.0 - int((moved & second).sum()) / union


def change(before: Image, now: Image) -> float:
    """Mean difference of brightness between two pictures of one place, in units of its contrast."""
    first, second = (cv2.cvtColor(one, cv2.COLOR_BGR2GRAY).astype(np.float32) for one in (
        cv2.GaussianBlur(before, (3, 3), 0), cv2.GaussianBlur(now, (3, 3), 0)
    ))  # fmt: skip
    contrast = max(float(second.std()), 8.0)
    return min(1.0, float(np.abs(second - first).mean()) / contrast)


def _centre(mask: Mask) -> NDArray[np.float64]:
    return np.asarray(np.argwhere(mask).mean(axis=0), np.float64)


def _cut(image: Image, box: Box) -> Image:
    """The part of a small picture within the box, at least 2 × 2 pixels."""
    height, width = image.shape[:2]
    left, top = min(int(box.left * width), width - 2), min(int(box.top * height), height - 2)
    right, bottom = (
        max(left + 2, round(box.right * width)),
        max(top + 2, round(box.bottom * height)),
    )
    return image[top:bottom, left:right]


def _box(sides: Sequence[np.float32] | NDArray[np.float32]) -> Box:
    return Box(*(round(min(1.0, max(0.0, float(side))), 4) for side in sides))


def _boxes(config: GlowConfig | SmokeConfig) -> BoxConfig:
    return BoxConfig(
        score_min=config.score_min, overlap_max=config.overlap_max, threads=config.threads
    )
