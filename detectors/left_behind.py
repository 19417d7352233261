"""Objects that were not there before and have stopped moving, found without a trained model.

The idea, on a small picture at a few frames a second: learn the settled ground from the first
seconds; keep for every pixel the value it has last come to rest at and since when; where that
value differs from the ground for long enough, something stands there. Each such blob is held by
its own pixels from then on, so that people may walk in front of it.

What keeps false finds away: a view that moves is compensated or given up (`steadiness`), exposure
is followed, a light switch makes it learn anew, pixels that keep returning to the ground (leaves,
water, flags) do not count, nor do blobs whose ground shows through (light, shadow), nor blobs
that are part of something that still moves. A hole that something left behind (a ghost) is
reported with its ``edge_ratio`` below 1: the rule decides.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from math import inf
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detectors import blobs, ground, steadiness
from detectors.blobs import (
    Mask,
    box_px,
    difference,
    grey,
    is_caption,
    moves_still,
    onto_reference,
    rim,
    share_alike,
    shows_through,
    slope,
)
from detectors.crops import BLOB_CLASSES, SMALLEST_PX, CropClassifier
from detectors.detector import Arrays, Carried, Detector, Moment, Watch, source_digest
from detectors.ground import SKIMMED_S, Ground, LeftBehindConfig
from detectors.models import PEOPLE_AND_VEHICLES
from detectors.steadiness import Reference, Steadiness, View
from enforcement.footage import Label, Track, TrackPoint
from enforcement.geometry import Box, covered
from media.footage import FootageInfo, Grey, Image

MODEL = "left-behind"

_QUIET_EVERY_S = 7.9
"""While nothing moves, one picture in this time is enough."""
_COMPARE_EVERY_S = 0.9
"""A view that stands still is held against its reference no more often than this…"""
_STILL_SHIFT = 0.0008
"""…if it was off by no more than this share of the diagonal (half a pixel)…"""
_MUCH = 0.2
"""…and not more than this share of the picture moves."""

_VIEWS_MIN = 10
"""With fewer pictures nothing is said about how a view swings."""

_EDGES_ALIKE = 1.2
"""Edges that differ by less than this factor are the same edges."""

_REMEMBERED_S = 60.0
"""How much of what was seen of a find the next capture gets to know."""

_POINT_EVERY_S = 0.5
"""Spacing of the points of a track; the object stands still."""


_LOOKS_MAX, _LOOK_EVERY_S = 4, 0.7
"""How often the classifier looks at one find, and how soon again."""

_WORTH_A_LOOK, _CONTEXT = 0.15, 0.15
"""Finds of a smaller score are not looked at; the box is grown by this share on every side."""

_FREE = 0.1
"""A find is seen uncovered when no more of it lies within the box of a person or vehicle."""


@dataclass(eq=False)
class _Find:
    """An object held by its own pixels."""

    mask: Mask
    looks: NDArray[np.uint8]
    """Its pixels ``(N, 3)`` when it was found, in the order of the mask."""
    box_px: NDArray[np.float64]
    """Left, top, right, bottom in the ground picture."""
    score: float
    edge_ratio: float
    appeared_s: float
    """Its pixels have differed from the ground ever since (the one who brought it included)."""
    rested_s: float
    """It has lain still ever since."""
    seen_s: list[tuple[float, float]]
    """From when to when every look at it found it there."""
    hidden_s: float = 0.0
    """For how long it has been neither itself nor the ground."""
    shows: list[NDArray[np.float32]] = field(default_factory=list)
    """Probabilities of what it is, one row for each look of the classifier."""
    look_due_s: float = -inf

    def is_there(self, now_s: float) -> None:
        """It was found there once more."""
        if self.hidden_s == 0.0:
            self.seen_s[-1] = (self.seen_s[-1][0], now_s)
        else:
            self.seen_s.append((now_s, now_s))
        self.hidden_s = 0.0


class LeftBehindDetector(Detector):
    """Finds objects that were left in one capture file after another.

    With a classifier of blobs it looks at what it found and says what that resembles.
    """

    after = (PEOPLE_AND_VEHICLES,)

    def __init__(
        self, config: LeftBehindConfig | None = None, classifier: CropClassifier | None = None
    ) -> None:
        self._config = config or LeftBehindConfig()
        self._classifier = classifier
        super().__init__(self._config)

    @property
    def model(self) -> str:
        return MODEL

    @property
    def model_digest(self) -> str:
        """Of the sources and, if there is one, of the classifier."""
        weights = [] if self._classifier is None else [self._classifier.digest]
        sources = (__file__, ground.__file__, blobs.__file__, steadiness.__file__)
        return source_digest(*sources, weights=weights)

    def watch(self, info: FootageInfo, carried: Carried | None) -> "_Watch":
        watch = _Watch(self._config, self._classifier)
        if carried is not None and carried.arrays:
            watch.remember(carried)
        return watch


class _Watch(Watch):
    """Watches one capture from its first to its last picture."""

    def __init__(self, config: LeftBehindConfig, classifier: CropClassifier | None = None) -> None:
        self._config, self._classifier = config, classifier
        self._learned: list[Image] = []
        self._learning_since_s = 0.0
        self._reference: Reference | None = None
        self._ground: Ground | None = None
        self._unsettled_since_s: float | None = None
        self._last_s: float | None = None
        self._open: list[_Find] = []
        self._closed: list[_Find] = []
        self._times_s: list[float] = []
        self._unsteady: list[bool] = []
        """For every picture, whether the view moved or was lost in it."""
        self._latest: Steadiness | None = None
        """How the view stood when it was compared last; None: compare the next picture."""
        self._compared_s = -inf
        self._views: list[tuple[float, NDArray[np.float64]]] = []
        """Where the ground picture lay in each picture, to say where a find was in it."""

    def see(self, moment: Moment) -> None:
        """Take in the next picture."""
        if self._may_skip(moment):
            if self._ground is not None:
                self._ground.is_unchanged(moment.t_s)
            for find in self._open:
                if find.hidden_s == 0.0:
                    find.is_there(moment.t_s)
            return
        image, now_s = moment.picture(self._config.height_px), moment.t_s
        with moment.costs.of("background"):
            much_moves = moment.moving is None or sum(box.area for box in moment.moving) > _MUCH
            self._take(image, now_s, much_moves=much_moves)
        if self._classifier is not None:
            self._look_again(self._classifier, moment)

    def _may_skip(self, moment: Moment) -> bool:
        """Whether nothing has moved and the last picture was just such a one."""
        if self._last_s is None or self._ground is None or moment.moving is None:
            return False
        step_s = moment.t_s - self._last_s
        return not moment.moving and SKIMMED_S <= step_s < _QUIET_EVERY_S

    def _steadiness(self, reference: Reference, plain: Grey, now_s: float) -> Steadiness:
        """Compare the view with its reference, now and then while it stands quite still."""
        latest = self._latest
        if latest is not None and now_s < self._compared_s + _COMPARE_EVERY_S - 1e-3:
            return latest
        seen = reference.compare(plain)
        still = seen.view is View.STEADY and seen.shift < _STILL_SHIFT
        self._latest, self._compared_s = (seen, now_s) if still else (None, -inf)
        return seen

    def _take(self, picture: Image, now_s: float, *, much_moves: bool) -> None:
        step_s = 0.2 if self._last_s is None else now_s - self._last_s
        self._last_s = now_s
        self._times_s.append(now_s)
        self._unsteady.append(False)
        plain = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)
        if self._reference is None:
            self._learn_anew(now_s)
            self._reference = Reference(plain, self._config.moved_share)
        if much_moves:
            self._compared_s = -inf
        seen = self._steadiness(self._reference, plain, now_s)
        if seen.view is not View.STEADY:
            self._unsteady[-1] = True
            self._unsettled(now_s, at_once=self._ground is None)
            return
        smooth = np.asarray(cv2.GaussianBlur(picture, (3, 3), 0), np.uint8)
        upright = onto_reference(smooth, seen.forth)
        if self._ground is None:
            self._learn(upright, now_s)
            return
        self._views.append((now_s, seen.forth))
        plain_image, image = self._ground.level(upright)
        differing = self._ground.differs(image)
        if image is not plain_image:
            differing &= self._ground.differs(plain_image)
        self._unsettled_since_s = None
        self._ground.take_in(image, differing, now_s, step_s)
        self._follow(self._ground, image, now_s, step_s)
        self._look(self._ground, image, plain_image, now_s)

    def _look_again(self, classifier: CropClassifier, moment: Moment) -> None:
        """Ask the classifier about finds that lie uncovered."""
        now_s = moment.t_s
        for find in self._open:
            if (
                len(find.shows) >= _LOOKS_MAX
                or now_s < find.look_due_s
                or find.hidden_s > 0.0
                or find.score < _WORTH_A_LOOK
                or find.edge_ratio < 1.0
            ):
                continue
            box = self._box(find, now_s)
            if any(covered(box, actor.box) > _FREE for actor in moment.tracked):
                continue
            crop = moment.crop(box.grown(_CONTEXT))
            if min(crop.shape[:2]) < SMALLEST_PX:
                continue
            with moment.costs.of("classify"):
                find.shows.append(classifier.classify([crop])[0])
            find.look_due_s = now_s + _LOOK_EVERY_S

    def carried(self, duration_s: float) -> Arrays:
        """The ground and what lies on it; nothing if the view was not at rest at the end."""
        reference, ground = self._reference, self._ground
        if reference is None or ground is None or self._is_unsuitable() or self._unsteady[-1]:
            return {}
        finds = {
            f"find.{number}.{name}": values
            for number, find in enumerate(self._open)
            for name, values in _as_arrays(find, duration_s).items()
        }
        return {"reference": reference.picture, **ground.carried(duration_s), **finds}

    def remember(self, carried: Carried) -> None:
        """Go on where the capture before ended."""
        arrays, gap_s = carried.arrays, carried.gap_s
        self._reference = Reference(np.array(arrays["reference"]), self._config.moved_share)
        self._ground = Ground.remembered(carried, self._config)
        shape = self._ground.noise.shape
        self._views = [(0.0, np.eye(2, 3))]
        numbers = sorted({key.split(".")[1] for key in arrays if key.startswith("find.")})
        self._open = [
            _from_arrays(
                {
                    key.split(".")[2]: values
                    for key, values in arrays.items()
                    if key.startswith(f"find.{number}.")
                },
                shape,
                gap_s,
            )
            for number in numbers
        ]

    def tracks(self) -> tuple[Track, ...]:
        """What was found; nothing if the view was unsteady for too much of the time."""
        if self._is_unsuitable():
            return ()
        finds = sorted(
            self._closed + self._open, key=lambda find: (find.rested_s, *find.box_px.tolist())
        )
        return tuple(self._track(number, find) for number, find in enumerate(finds, start=1))

    def unsteady_s(self, duration_s: float) -> tuple[tuple[float, float], ...]:
        """Spans in which the view moved or was lost; all of it if that was so for too long."""
        if self._is_unsuitable():
            return ((0.0, duration_s),)
        flags = list(self._unsteady)
        begun = len(flags) - len(self._learned)
        if self._learned and begun > 0 and flags[begun - 1]:
            flags[begun:] = [True] * len(self._learned)  # the view had not come to rest again
        spans: list[tuple[float, float]] = []
        ends_s = [*self._times_s[1:], max(duration_s, self._times_s[-1])] if flags else []
        for start_s, end_s, unsteady in zip(self._times_s, ends_s, flags, strict=True):
            if unsteady and spans and spans[-1][1] == start_s:
                spans[-1] = (spans[-1][0], end_s)
            elif unsteady:
                spans.append((start_s, end_s))
        return tuple((round(start_s, 3), round(end_s, 3)) for start_s, end_s in spans)

    def _is_unsuitable(self) -> bool:
        """Unsteady for too long, or swinging all the time as if held by hand.

        By time, not by pictures: few are looked at while nothing moves.
        """
        if self._is_held():
            return True
        spans_s = np.diff(self._times_s, append=self._times_s[-1:])
        unsteady_s = float(spans_s[np.array(self._unsteady, bool)].sum())
        return unsteady_s > self._config.unsteady_max * float(spans_s.sum())

    def _is_held(self) -> bool:
        """Whether the view usually is elsewhere than usual, and moves fast: held by hand.

        One that was knocked once and stays there does not, nor does a mast that sways slowly.
        """
        if len(self._views) < _VIEWS_MIN or self._reference is None:
            return False
        height, width = self._reference.picture.shape
        diagonal_px, middle = float(np.hypot(height, width)), np.array([width / 2, height / 2, 1.0])
        times_s = np.array([at_s for at_s, _ in self._views])
        places = np.array([forth @ middle for _, forth in self._views]) / diagonal_px
        away = np.hypot(*(places - np.median(places, axis=0)).T)
        speeds = np.hypot(*np.diff(places, axis=0).T) / np.maximum(np.diff(times_s), 1e-3)
        swing, fast = self._config.swing_max, self._config.swing_per_s_max
        return bool(np.median(away) > swing and np.median(speeds) > fast)

    def _unsettled(self, now_s: float, *, at_once: bool) -> None:
        """The picture says nothing about the ground; if that lasts, learn the ground anew."""
        if self._unsettled_since_s is None:
            self._unsettled_since_s = now_s
        if at_once or now_s - self._unsettled_since_s >= self._config.unsettled_s:
            for number in range(len(self._learned)):  # learned from a view that did not last
                self._unsteady[-2 - number] = True
            self._reference = None

    def _learn_anew(self, now_s: float) -> None:
        self._closed += self._open
        self._open = []
        self._latest, self._compared_s = None, -inf
        self._learned, self._learning_since_s = [], now_s
        self._ground, self._unsettled_since_s = None, None

    def _learn(self, image: Image, now_s: float) -> None:
        self._learned.append(image)
        if now_s - self._learning_since_s >= self._config.warm_up_s - 1e-3:
            self._ground = Ground(self._learned, now_s, self._config)
            self._learned = []

    def _follow(self, ground: Ground, image: Image, now_s: float, step_s: float) -> None:
        """Say of every find whether it is still there, hidden, or gone."""
        for find in list(self._open):
            looks, limit = image[find.mask], self._config.differs_min
            if share_alike(looks, find.looks, limit) >= 0.5:
                find.is_there(now_s)
                continue
            find.hidden_s += step_s
            like_ground = share_alike(looks, ground.picture[find.mask], limit)
            if like_ground >= 0.6 or find.hidden_s > 10.0:
                self._open.remove(find)
                self._closed.append(find)

    def _look(self, ground: Ground, image: Image, plain: Image, now_s: float) -> None:
        """Find what has newly come to rest."""
        standing = ground.standing(now_s)
        for find in self._open:
            standing &= ~find.mask
        share = float(standing.mean())
        if share > self._config.light_share:
            ground.absorb(standing)
            return
        if share == 0.0:
            return
        square = np.ones((3, 3), np.uint8)
        bits = standing.astype(np.uint8)
        mask = cv2.morphologyEx(bits, cv2.MORPH_CLOSE, square, iterations=2)
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, square)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
        differing = ground.differing.astype(np.uint8)
        whole = cv2.connectedComponents(cv2.morphologyEx(differing, cv2.MORPH_OPEN, square))[1]
        wholes = np.asarray(whole, np.int32)
        for number in range(1, count):
            area = stats[number, cv2.CC_STAT_AREA] / mask.size
            if self._config.area_min <= area <= self._config.area_max:
                blob = labels == number
                if not moves_still(blob, wholes):
                    self._judge(ground, image, plain, blob, now_s)

    def _judge(self, ground: Ground, image: Image, plain: Image, blob: Mask, now_s: float) -> None:
        """Keep a blob as a find, or take it for light or a caption and make it ground."""
        now, before = grey(image), grey(ground.picture)
        if shows_through(grey(plain)[blob], before[blob]) or is_caption(blob, ground.rests_since_s):
            ground.absorb(blob)
            return
        edge = rim(blob)
        edge_ratio = (slope(now)[edge].mean() + 4.0) / (slope(before)[edge].mean() + 4.0)
        excess = (difference(image, ground.picture) / ground.threshold())[blob].mean()
        if excess < 2.0 and 1 / _EDGES_ALIKE < edge_ratio < _EDGES_ALIKE:
            ground.absorb(blob)  # it neither has edges nor hides any: light
            return
        rested_s = _median_s(ground.rests_since_s[blob])
        score = min(1.0, float(excess) / 3) * min(1.0, float(edge_ratio) / 2)
        self._open.append(
            _Find(
                mask=blob,
                looks=image[blob],
                box_px=box_px(blob),
                score=round(score, 4),
                edge_ratio=round(float(edge_ratio), 3),
                appeared_s=min(_median_s(ground.differs_since_s[blob]), rested_s),
                rested_s=rested_s,
                seen_s=[(now_s, now_s)],
            )
        )

    def _track(self, number: int, find: _Find) -> Track:
        """Points from where it came to rest on, spaced; none while the object was hidden."""
        spans = [(find.rested_s, find.seen_s[0][1]), *find.seen_s[1:]]
        moments = [
            float(at_s)
            for first_s, last_s in spans
            for at_s in [*np.arange(first_s, last_s - 1e-3, _POINT_EVERY_S), last_s]
        ]
        points = tuple(
            TrackPoint(t_s=round(at_s, 3), box=self._box(find, at_s), score=find.score)
            for at_s in moments
        )
        traits = {
            "edge_ratio": find.edge_ratio,
            "appeared_s": find.appeared_s,
            "stay_s": round(find.seen_s[-1][1] - find.appeared_s, 3),
        }
        if find.shows:
            shares = np.mean(find.shows, axis=0)
            traits |= {
                name: round(float(share), 4)
                for name, share in zip(BLOB_CLASSES, shares, strict=True)
            }
        return Track(track_id=number, label=Label.STATIC_OBJECT, points=points, traits=traits)

    def _box(self, find: _Find, at_s: float) -> Box:
        """Where the find lay in the picture of that moment, in fractions."""
        later = bisect_left(self._views, at_s - 1e-3, key=lambda view: view[0])
        forth = self._views[min(later, len(self._views) - 1)][1]
        height, width = find.mask.shape
        corners = find.box_px.reshape(2, 2) @ forth[:, :2].T + forth[:, 2]
        sides = (corners / [width, height]).ravel()
        return Box(*(round(min(1.0, max(0.0, float(side))), 4) for side in sides))


def _as_arrays(find: _Find, end_s: float) -> dict[str, NDArray[Any]]:
    """A find for the next capture, times from the end of this one."""
    numbers = [find.score, find.edge_ratio, find.appeared_s - end_s, find.rested_s - end_s]
    spans = [(a - end_s, b - end_s) for a, b in find.seen_s if b >= end_s - _REMEMBERED_S]
    return {
        "mask": np.packbits(find.mask),
        "looks": find.looks,
        "box": find.box_px,
        "numbers": np.array([*numbers, find.hidden_s]),
        "shows": np.array(find.shows, np.float32).reshape(-1, len(BLOB_CLASSES)),
        "seen": np.array(spans or [(find.seen_s[-1][0] - end_s, find.seen_s[-1][1] - end_s)]),
    }


def _from_arrays(arrays: dict[str, NDArray[Any]], shape: tuple[int, ...], gap_s: float) -> _Find:
    bits = np.unpackbits(arrays["mask"], count=int(np.prod(shape)))
    score, edge_ratio, appeared_s, rested_s, hidden_s = arrays["numbers"].tolist()
    return _Find(
        mask=bits.reshape(shape).astype(np.bool_),
        looks=np.array(arrays["looks"], np.uint8),
        box_px=np.array(arrays["box"], np.float64),
        score=score,
        edge_ratio=edge_ratio,
        appeared_s=round(appeared_s - gap_s, 3),
        rested_s=round(rested_s - gap_s, 3),
        seen_s=[(round(a - gap_s, 3), round(b - gap_s, 3)) for a, b in arrays["seen"].tolist()],
        hidden_s=hidden_s,
        shows=list(np.array(arrays["shows"], np.float32)),
    )


def _median_s(since_s: NDArray[np.float32]) -> float:
    return round(float(np.median(since_s)), 3)
