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

import hashlib
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detectors import blobs, steadiness
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
from detectors.detector import Detector, DetectorConfig
from detectors.steadiness import Reference, View
from enforcement.footage import Label, Track, TrackPoint
from enforcement.geometry import Box
from enforcement.model import Score
from media.footage import FootageInfo, Frame, Image, frames

MODEL = "left-behind"

_EDGES_ALIKE = 1.2
"""Edges that differ by less than this factor are the same edges."""

_GROUND_MEMORY_S = 10.0
"""How slowly the ground follows what is seen of it."""

_POINT_EVERY_S = 0.5
"""Spacing of the points of a track; the object stands still."""


def model_digest() -> str:
    """SHA-256 over the source of this module, `blobs` and `steadiness`: it has no weights."""
    digest = hashlib.sha256()
    for source in (__file__, blobs.__file__, steadiness.__file__):
        digest.update(Path(source).read_bytes())
    return digest.hexdigest()


class LeftBehindConfig(DetectorConfig):
    """Parameters. Differences are grey levels of the colour channel that differs most."""

    sample_fps: Annotated[float, Field(gt=0, le=30)] = 5.0
    height_px: Annotated[int, Field(ge=120, le=1080)] = 288
    """Height of the picture that is looked at; footage is never enlarged."""
    warm_up_s: Annotated[float, Field(ge=0.5, le=60)] = 2.0
    """How long the ground is learned, without finds."""
    differs_min: Annotated[float, Field(ge=1, le=255)] = 20.0
    """A pixel differs from the ground from here on, or from ``differs_noise`` × its own noise."""
    differs_noise: Annotated[float, Field(ge=1, le=20)] = 5.0
    rests_max: Annotated[float, Field(ge=1, le=255)] = 14.0
    """A pixel rests while it stays this close to the value at which it came to rest."""
    still_s: Annotated[float, Field(ge=0.2, le=600)] = 1.0
    """A blob is a find after its pixels rested this long."""
    area_min: Score = 0.0002
    area_max: Score = 0.15
    """Size of a find, as a share of the picture."""
    restless_per_s: Annotated[float, Field(gt=0)] = 0.3
    """A pixel that returns to the ground more often than this is restless and never a find."""
    restless_memory_s: Annotated[float, Field(gt=0)] = 20.0
    light_share: Score = 0.25
    """When more of the picture than this comes to rest at once, the light has changed."""
    moved_share: Score = 0.03
    """When the view is off by more than this share of the diagonal, the camera has moved."""
    unsettled_s: Annotated[float, Field(ge=0.2, le=60)] = 1.0
    """After so long of a moved or lost view the ground is learned anew."""
    unsteady_max: Score = 0.25
    """Footage of which a larger share is unsteady gives no finds at all: unsuitable view."""


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
    seen_s: list[float] = field(default_factory=list)
    hidden_s: float = 0.0
    """For how long it has been neither itself nor the ground."""


class _Ground:
    """What is known of every pixel of a view that stands still."""

    def __init__(self, learned: list[Image], now_s: float, config: LeftBehindConfig) -> None:
        stack = np.stack(learned)
        self._config = config
        self.settled = np.median(stack, axis=0).astype(np.float32)
        spread = np.abs(stack.astype(np.float32) - self.settled).max(axis=3)
        self.noise = np.median(spread, axis=0).astype(np.float32)
        self.rest = learned[-1].copy()
        self.rests_since_s = np.full(self.noise.shape, now_s, np.float32)
        self.differs_since_s = np.full(self.noise.shape, now_s, np.float32)
        self._off_rest = np.zeros(self.noise.shape, np.uint8)
        self.differing = np.zeros(self.noise.shape, np.bool_)
        self.returns = np.zeros(self.noise.shape, np.float32)
        self.known_s = 0.0
        self.picture = self.settled.astype(np.uint8)

    def level(self, image: Image) -> Image:
        """The picture with the exposure of the ground: one gain for each channel."""
        seen = np.maximum(image[::4, ::4].reshape(-1, 3).astype(np.float32), 1.0)
        known = np.maximum(self.settled[::4, ::4].reshape(-1, 3), 1.0)
        gain = np.clip(np.median(known / seen, axis=0), 0.6, 1.7)
        if np.abs(gain - 1.0).max() < 0.01:
            return image
        return np.asarray(np.clip(image * gain.astype(np.float32), 0, 255), np.uint8)

    def threshold(self) -> NDArray[np.float32]:
        noise = self._config.differs_noise * self.noise
        return np.asarray(np.maximum(self._config.differs_min, noise), np.float32)

    def differs(self, image: Image) -> Mask:
        """Where a picture (already levelled) differs from the ground."""
        return difference(image, self.picture) > self.threshold()

    def take_in(self, image: Image, differing: Mask, now_s: float, step_s: float) -> None:
        """Move on by one picture."""
        config = self._config
        returned = self.differing & ~differing
        self.known_s += step_s
        self.returns *= 1.0 - min(1.0, step_s / config.restless_memory_s)
        self.returns += returned
        self.differing = differing
        self.differs_since_s[~differing] = now_s
        moved = difference(image, self.rest) > config.rests_max
        self._off_rest = np.where(moved, self._off_rest + 1, 0).astype(np.uint8)
        anew = self._off_rest >= 2  # one odd picture is forgiven
        self.rest[anew] = image[anew]
        self.rests_since_s[anew] = now_s - step_s
        self._off_rest[anew] = 0
        rate = min(1.0, step_s / _GROUND_MEMORY_S)
        calm = (~differing).astype(np.uint8)
        off = difference(image, self.picture).astype(np.float32)
        cv2.accumulateWeighted(off, self.noise, rate, calm)
        cv2.accumulateWeighted(image, self.settled, rate, calm)
        self.picture = cv2.convertScaleAbs(self.settled)

    def standing(self, now_s: float) -> Mask:
        """Where something rests that is not the ground."""
        long_enough = now_s - self.rests_since_s >= self._config.still_s - 1e-3
        other = difference(self.rest, self.picture) > self.threshold()
        remembered_s = min(self._config.restless_memory_s, max(self.known_s, 5.0))
        calm = self.returns / remembered_s < self._config.restless_per_s
        return np.asarray(long_enough & other & calm & (self._off_rest == 0), np.bool_)

    def absorb(self, mask: Mask) -> None:
        """What rests here now is the ground from now on."""
        self.settled[mask] = self.rest[mask]
        self.picture[mask] = self.rest[mask]
        self.differing[mask] = False


class LeftBehindDetector(Detector):
    """Finds objects that were left in one capture file after another."""

    def __init__(self, config: LeftBehindConfig | None = None) -> None:
        self._config = config or LeftBehindConfig()
        super().__init__(self._config)

    @property
    def model(self) -> str:
        return MODEL

    @property
    def model_digest(self) -> str:
        return model_digest()

    @property
    def sample_fps(self) -> float:
        return self._config.sample_fps

    def _watch(self, info: FootageInfo) -> "_Watch":
        return _Watch(self._config)

    def _pictures(self, path: Path) -> Iterator[Frame]:
        return frames(path, sample_fps=self.sample_fps, height_px=self._config.height_px)


class _Watch:
    """Watches one capture from its first to its last picture."""

    def __init__(self, config: LeftBehindConfig) -> None:
        self._config = config
        self._learned: list[Image] = []
        self._learning_since_s = 0.0
        self._reference: Reference | None = None
        self._ground: _Ground | None = None
        self._unsettled_since_s: float | None = None
        self._last_s: float | None = None
        self._open: list[_Find] = []
        self._closed: list[_Find] = []
        self._times_s: list[float] = []
        self._unsteady: list[bool] = []
        """For every picture, whether the view moved or was lost in it."""
        self._views: list[tuple[float, NDArray[np.float64]]] = []
        """Where the ground picture lay in each picture, to say where a find was in it."""

    def see(self, image: Image, now_s: float) -> None:
        """Take in the next picture."""
        step_s = 1 / self._config.sample_fps if self._last_s is None else now_s - self._last_s
        self._last_s = now_s
        self._times_s.append(now_s)
        self._unsteady.append(False)
        plain = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
        if self._reference is None:
            self._learn_anew(now_s)
            self._reference = Reference(plain, self._config.moved_share)
        seen = self._reference.compare(plain)
        if seen.view is not View.STEADY:
            self._unsteady[-1] = True
            self._unsettled(now_s, at_once=self._ground is None)
            return
        smooth = np.asarray(cv2.GaussianBlur(image, (3, 3), 0), np.uint8)
        upright = onto_reference(smooth, seen.forth)
        if self._ground is None:
            self._learn(upright, now_s)
            return
        self._views.append((now_s, seen.forth))
        image = self._ground.level(upright)
        differing = self._ground.differs(image)
        self._unsettled_since_s = None
        self._ground.take_in(image, differing, now_s, step_s)
        self._follow(self._ground, image, now_s, step_s)
        self._look(self._ground, image, now_s)

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
        return sum(self._unsteady) > self._config.unsteady_max * len(self._unsteady)

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
        self._learned, self._learning_since_s = [], now_s
        self._ground, self._unsettled_since_s = None, None

    def _learn(self, image: Image, now_s: float) -> None:
        self._learned.append(image)
        if now_s - self._learning_since_s >= self._config.warm_up_s - 1e-3:
            self._ground = _Ground(self._learned, now_s, self._config)
            self._learned = []

    def _follow(self, ground: _Ground, image: Image, now_s: float, step_s: float) -> None:
        """Say of every find whether it is still there, hidden, or gone."""
        for find in list(self._open):
            looks, limit = image[find.mask], self._config.differs_min
            if share_alike(looks, find.looks, limit) >= 0.5:
                find.seen_s.append(now_s)
                find.hidden_s = 0.0
                continue
            find.hidden_s += step_s
            like_ground = share_alike(looks, ground.picture[find.mask], limit)
            if like_ground >= 0.6 or find.hidden_s > 10.0:
                self._open.remove(find)
                self._closed.append(find)

    def _look(self, ground: _Ground, image: Image, now_s: float) -> None:
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
                    self._judge(ground, image, blob, now_s)

    def _judge(self, ground: _Ground, image: Image, blob: Mask, now_s: float) -> None:
        """Keep a blob as a find, or take it for light or a caption and make it ground."""
        now, before = grey(image), grey(ground.picture)
        if shows_through(now[blob], before[blob]) or is_caption(blob, ground.rests_since_s):
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
                seen_s=[now_s],
            )
        )

    def _track(self, number: int, find: _Find) -> Track:
        """Points from where it came to rest on, spaced; none while the object was hidden."""
        before_s = np.arange(find.rested_s, find.seen_s[0], _POINT_EVERY_S).tolist()
        moments = [*before_s, find.seen_s[0]]
        for moment_s, following_s in pairwise([*find.seen_s[1:], np.inf]):
            if following_s - moments[-1] > _POINT_EVERY_S:
                moments.append(moment_s)
        points = tuple(
            TrackPoint(t_s=round(at_s, 3), box=self._box(find, at_s), score=find.score)
            for at_s in moments
        )
        traits = {
            "edge_ratio": find.edge_ratio,
            "appeared_s": find.appeared_s,
            "stay_s": round(find.seen_s[-1] - find.appeared_s, 3),
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


def _median_s(since_s: NDArray[np.float32]) -> float:
    return round(max(0.0, float(np.median(since_s))), 3)
