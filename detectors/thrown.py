"""Things that fly and land: short ballistic motion of something small, without a trained model.

Every picture is held against a background that follows within seconds. What differs there and is
small is chained from picture to picture; a chain is a flight if its places lie on a parabola that
opens downwards. Under gravity such a parabola tells its own scale: a curvature of so much of the
picture a second² is 9.81 m/s², so the height fallen, the speed and the size come out in metres
whatever the camera, and implausible ones (insects, birds, limbs, rain) can be refused. Then it
must land: where the flight ends something of the same size lies that was not there before it.

Pictures between two looks of the other detectors are needed: a fall from a window takes 0.8 s.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detectors.detector import Carried, Detector, DetectorConfig, Moment, Watch, source_digest
from enforcement.footage import Label, Track, TrackPoint
from enforcement.geometry import Box
from enforcement.model import Score
from media.footage import FootageInfo, Grey

MODEL = "thrown"

_GRAVITY = 9.81
_PAUSE_S = 0.5
"""Across a longer pause between two pictures nothing is followed."""
_CHAINS_MAX = 200
_LONGEST = 40
"""More blobs than a flight has are not looked at."""
_RECENT = 32
"""So many pictures are kept, to see what lay there before a flight."""
_BEGINNINGS_MAX = 3
"""With how many blobs of the picture before a chain to the same blob begins."""
_LEARNS_EVERY_S = 0.19
"""The background is brought up to date no more often."""
_FLIES_ON_S = 0.4
"""For so long before it lands it may have been lost from sight."""
_YOUNG = 6
"""Chains shorter than this may share their blobs."""
_RESTS_PX = 4.0
_MISSED_S = 0.21
"""So long a chain goes on without a blob: the thing may pass before something like it."""

Floats = NDArray[np.float32]
Spot = NDArray[np.float64]
"""x and y in pixels of the small picture."""


class ThrownConfig(DetectorConfig):
    """Parameters; lengths in metres are by the flight's own scale."""

    height_px: Annotated[int, Field(ge=120, le=1080)] = 360
    """Height of the picture that is looked at; footage is never enlarged."""
    warm_up_s: Annotated[float, Field(ge=0, le=60)] = 1.0
    differs_min: Annotated[float, Field(ge=1, le=255)] = 8.0
    """A pixel differs from the background from here on, or from ``differs_noise`` × its noise."""
    differs_noise: Annotated[float, Field(ge=1, le=20)] = 5.0
    """Noise is the median difference from the background."""
    follows_per_s: Annotated[float, Field(gt=0, le=255)] = 10.0
    """Grey levels a second by which the background follows, whatever the difference: what passes
    leaves no trace in it."""
    noise_per_s: Annotated[float, Field(gt=0, le=255)] = 1.5
    """The same for the noise."""
    differs_max: Score = 0.3
    """When more of the picture than this differs, nothing can be said."""
    area_min_px: Annotated[int, Field(ge=1)] = 14
    area_max: Score = 0.006
    """Of a flying thing, as a share of the picture."""
    blobs_max: Annotated[int, Field(ge=1)] = 24
    """With more small blobs than this (rain on the lens), only the largest are followed."""
    speed_max: Annotated[float, Field(gt=0)] = 2.5
    """Picture heights a second."""
    points_min: Annotated[int, Field(ge=3)] = 5
    descent_min_s: Annotated[float, Field(gt=0)] = 0.38
    """From the highest place to the last: 0.38 s are 0.7 m."""
    scale_min: Annotated[float, Field(gt=0)] = 0.012
    scale_max: Annotated[float, Field(gt=0)] = 0.4
    """Picture heights a metre."""
    size_min_m: Annotated[float, Field(gt=0)] = 0.04
    size_max_m: Annotated[float, Field(gt=0)] = 1.6
    across_max_m_s: Annotated[float, Field(gt=0)] = 14.0
    up_max_m_s: Annotated[float, Field(gt=0)] = 5.0
    residual_max: Score = 0.035
    """Root mean square distance from the parabola, as a share of the flight's length."""
    surprise_min: Annotated[float, Field(ge=0)] = 25.0
    """How unlikely such a chain is among so many blobs by chance: −ln of the probability."""
    curved_min: Annotated[float, Field(ge=1)] = 3.0
    """A straight even line must fit worse by this factor."""
    lands_s: Annotated[float, Field(gt=0, le=30)] = 2.0
    """So long after the flight the thing is looked for where that ended."""
    rests_s: Annotated[float, Field(gt=0, le=30)] = 1.0
    """For so long it must lie there."""


@dataclass(frozen=True)
class _Blob:
    """Something small that differs, in one picture."""

    t_s: float
    spot: Spot
    """Its middle."""
    area: float
    box_px: tuple[int, int, int, int]
    """Left, top, right, bottom."""
    contrast: float
    """How much it differs from the background at most."""
    crowd: int
    """Number of blobs of about its size in that picture."""

    @property
    def size(self) -> float:
        return float(np.sqrt(self.area))


@dataclass(eq=False)
class _Chain:
    """Blobs that may be one flying thing."""

    blobs: list[_Blob]
    missed: int = 0
    """Pictures since the last blob."""

    def is_over(self, now_s: float) -> bool:
        """Whether it has been lost from sight; a young one may miss one picture."""
        if len(self.blobs) < _YOUNG - 2:
            return self.missed > 1
        return self.missed > 1 and now_s - self.blobs[-1].t_s > _MISSED_S

    @property
    def rests(self) -> bool:
        """Whether it has stayed where it was: what flies may begin with that, no more."""
        recent = np.array([blob.spot for blob in self.blobs[-_YOUNG:]])
        return len(recent) == _YOUNG and bool(np.ptp(recent, axis=0).max() < _RESTS_PX)

    @property
    def area(self) -> float:
        """Its usual size."""
        return median(blob.area for blob in self.blobs[-_YOUNG:])

    @property
    def reach(self) -> float:
        """How far from where it should be it may be, in pixels; a fall that is known, less so."""
        a, b = self.blobs[-2:]
        step = float(np.hypot(*(b.spot - a.spot)))
        return 3.0 + 0.4 * b.size + (0.6 if len(self.blobs) < 4 else 0.35) * step

    def expected(self, t_s: float) -> Spot:
        """Where it should be: it goes on as before, falling faster if its fall is known."""
        recent = self.blobs[-_YOUNG:]
        ago_s = np.array([blob.t_s - t_s for blob in recent])
        spots = np.array([blob.spot for blob in recent])
        if len(recent) < _YOUNG - 1:
            velocity = (spots[1:] - spots[:-1]) / (ago_s[1:] - ago_s[:-1])[:, None]
            falling = spots[-1] - velocity[-1] * ago_s[-1]
            if len(recent) > 2:
                gain = (velocity[-1, 1] - velocity[0, 1]) / (0.5 * (ago_s[-1] + ago_s[-2])
                        - 0.5 * (ago_s[0] + ago_s[1]))  # fmt: skip
                falling[1] += gain * ago_s[-1] * 0.5 * ago_s[-2]
            return np.asarray(falling)
        powers = np.stack([ago_s**2, ago_s, np.ones_like(ago_s)], axis=1)
        x = np.linalg.lstsq(powers[:, 1:], spots[:, 0], rcond=None)[0][-1]
        y = np.linalg.lstsq(powers, spots[:, 1], rcond=None)[0][-1]
        return np.array([x, y])


@dataclass(frozen=True)
class _Flight:
    """A chain, or the part of one, that follows a parabola; lengths in picture heights."""

    blobs: tuple[_Blob, ...]
    gain: float
    """Downward acceleration, picture heights a second²."""
    residual: float
    drop: float
    """From its highest to its last place."""
    descent_s: float

    def onwards(self, height: int) -> Spot:
        """Places ``(N, 2)`` in pixels from its last one on, as if it flew a little longer."""
        t = np.array([blob.t_s for blob in self.blobs])
        spots = np.array([blob.spot for blob in self.blobs])
        later = np.arange(0.0, _FLIES_ON_S + 1e-6, 0.03)
        x = np.polyval(np.polyfit(t - t[-1], spots[:, 0], 1), later)
        y = np.polyval(np.polyfit(t - t[-1], spots[:, 1], 2), later)
        path = np.concatenate([spots[-1:], np.stack([x, y], axis=1)])
        return np.asarray(path[path[:, 1] < height])

    @property
    def metre(self) -> float:
        return self.gain / _GRAVITY


class _Landing:
    """A flight that has ended, while it is being found out whether anything lies there."""

    def __init__(self, flight: _Flight, background: Grey, earlier: Grey, noise: float) -> None:
        self.flight = flight
        self._noise = noise
        height, width = background.shape
        self._path = flight.onwards(height)
        self._size = float(np.median([blob.size for blob in flight.blobs]))
        steps = [b.spot - a.spot for a, b in zip(flight.blobs, flight.blobs[1:], strict=False)]
        self._reach = 1.5 * self._size + 0.8 * float(np.hypot(*steps[-1])) + 4.0
        pad = self._reach + self._size
        left, top = (max(0, int(v)) for v in self._path.min(axis=0) - pad)
        right, bottom = (int(v) + 2 for v in self._path.max(axis=0) + pad)
        self._window = np.s_[top : min(height, bottom), left : min(width, right)]
        self._corner = np.array([left, top])
        self._before = background[self._window].copy(), earlier[self._window].copy()
        self._contrast = float(np.median([blob.contrast for blob in flight.blobs]))
        self._seen: list[tuple[float, Grey]] = []
        self.found_s: float | None = None
        self.box_px: tuple[int, int, int, int] | None = None

    def look(self, picture: Grey, now_s: float, rests_s: float) -> bool:
        """Whether by now something of its size has lain there for long enough."""
        self._seen.append((now_s, np.asarray(cv2.blur(picture[self._window], (3, 3)), np.uint8)))
        self._seen = [one for one in self._seen if one[0] >= now_s - rests_s - 1e-3]
        first_s = self._seen[0][0]
        if len(self._seen) < 4 or now_s - first_s < 0.8 * rests_s or self._before[0].size == 0:
            return False
        half = len(self._seen) // 2
        first, second = self._usual(self._seen[:half]), self._usual(self._seen[half:])
        if first is None or second is None:
            return False
        off = max(abs(a - b) for a, b in zip(first, second, strict=True))
        if off > 0.35 * self._size + 2:
            return False  # something that passes
        self.box_px, self.found_s = second, first_s
        return True

    def _usual(self, seen: Sequence[tuple[float, Grey]]) -> tuple[int, int, int, int] | None:
        """Box of what lies there in most of the pictures."""
        now = np.median([picture for _, picture in seen], axis=0).astype(np.uint8)
        return self._lies(np.minimum(*(cv2.absdiff(now, then) for then in self._before)))

    def _lies(self, off: NDArray[Any]) -> tuple[int, int, int, int] | None:
        """Box of what lies near the flight's path; None if nothing of its size does.

        What else differs there (shade, wet ground) mostly differs less than the thing does.
        """
        for share in (0.5, 0.3):
            limit = max(6.0, share * self._contrast, min(5.0 * self._noise, 0.6 * self._contrast))
            if (box := self._alike(off, limit)) is not None:
                return box
        return None

    def _alike(self, off: NDArray[Any], limit: float) -> tuple[int, int, int, int] | None:
        """The box of the patch above the limit that has its size and is nearest to its end."""
        bits = cv2.dilate((off > limit).astype(np.uint8), np.ones((3, 3), np.uint8))
        count, _, stats, middles = cv2.connectedComponentsWithStats(bits)
        height, width = off.shape
        best: tuple[float, tuple[int, int, int, int]] | None = None
        for number in range(1, count):
            left, top, across, down, area = (int(value) for value in stats[number])
            cut = left == 0 or top == 0 or left + across == width or top + down == height
            faint = off[top : top + down, left : left + across].max() < 0.4 * self._contrast
            if (
                cut
                or faint
                or min(across, down) < 4
                or not 0.25 * self._size**2 - 2 <= area <= 3.0 * self._size**2 + 20
            ):
                continue
            off_path = np.hypot(*(self._path - middles[number] - self._corner).T)
            ahead = float(off_path[0])  # from where it was last seen in flight
            if off_path.min() <= self._reach and (best is None or ahead < best[0]):
                x, y = left + int(self._corner[0]), top + int(self._corner[1])
                best = ahead, (x + 1, y + 1, x + across - 1, y + down - 1)  # undo the dilation
        return None if best is None else best[1]


class _View:
    """The background of one view, learned picture by picture."""

    def __init__(self, config: ThrownConfig) -> None:
        self._config = config
        self._ground: Floats | None = None
        self._noise = np.empty((0, 0), np.float32)
        self._limit: Grey = np.empty((0, 0), np.uint8)
        self._gain = 1.0
        self._since_s = self._learned_s = 0.0
        self.picture: Grey = np.empty((0, 0), np.uint8)
        """The background as a picture."""
        self.off: Grey = np.empty((0, 0), np.uint8)
        """By how much the latest picture differs from it."""
        self._recent: deque[tuple[float, Grey]] = deque(maxlen=_RECENT)
        self.last_s = 0.0

    def before(self, t_s: float) -> Grey:
        """The picture a moment before, or the earliest that is kept."""
        earlier = [picture for at_s, picture in self._recent if at_s < t_s - 0.1]
        return earlier[-1] if earlier else self._recent[0][1]

    def mask(self, grey: Grey, now_s: float) -> NDArray[np.uint8] | None:
        """Where the picture differs; None while nothing can be said."""
        config = self._config
        picture = np.asarray(cv2.blur(grey, (3, 3)), np.uint8)
        self.last_s = now_s
        if self._ground is None or self._ground.shape != picture.shape:
            self._ground = picture.astype(np.float32)
            self._noise = np.full(picture.shape, 2.5, np.float32)
            self._since_s = now_s
            self._learn(picture, now_s, 0.0)
            return None
        picture = self.levelled(picture)
        self.off = np.asarray(cv2.absdiff(picture, self.picture), np.uint8)
        mask = np.asarray(cv2.compare(self.off, self._limit, cv2.CMP_GT))
        self._recent.append((now_s, picture))
        if now_s - self._learned_s >= _LEARNS_EVERY_S - 1e-3:
            self._learn(picture, now_s, now_s - self._learned_s)
        if now_s - self._since_s < config.warm_up_s:
            return None
        if cv2.countNonZero(mask) > config.differs_max * mask.size:
            return None
        return np.asarray(cv2.dilate(mask, np.ones((3, 3), np.uint8)))

    def levelled(self, picture: Grey) -> Grey:
        """The picture with the exposure of the background."""
        if abs(self._gain - 1.0) <= 0.005:
            return picture
        return np.asarray(cv2.convertScaleAbs(picture, alpha=self._gain), np.uint8)

    def _learn(self, picture: Grey, now_s: float, step_s: float) -> None:
        """Let ground, noise and exposure follow."""
        if self._ground is None:
            return
        config = self._config
        off = picture - self._ground
        stride = config.follows_per_s * step_s
        noisy = np.abs(off) - self._noise
        self._ground += np.clip(off, -stride, stride)
        stride = config.noise_per_s * step_s
        self._noise += np.clip(noisy, -stride, stride)
        self.picture = np.asarray(cv2.convertScaleAbs(self._ground), np.uint8)
        limit = np.maximum(self._noise * np.float32(config.differs_noise), config.differs_min)
        self._limit = np.asarray(cv2.convertScaleAbs(limit), np.uint8)
        seen, known = picture[::8, ::8] / self._gain, self._ground[::8, ::8]
        gain = float(np.median((known + 1) / (seen + 1)))
        self._gain = gain if 0.5 < gain < 2.0 else 1.0
        self._learned_s = now_s

    def noise_at(self, flight: "_Flight") -> float:
        """The noise where it ended."""
        x, y = (round(float(value)) for value in flight.blobs[-1].spot)
        reach = max(3, round(flight.blobs[-1].size))
        near = self._noise[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach]
        return float(np.median(near)) if near.size else 0.0


class ThrownDetector(Detector):
    """Finds things that were thrown or fell, in one capture file after another."""

    fast = True

    def __init__(self, config: ThrownConfig | None = None) -> None:
        self._config = config or ThrownConfig()
        super().__init__(self._config)

    @property
    def model(self) -> str:
        return MODEL

    @property
    def model_digest(self) -> str:
        return source_digest(__file__)

    def watch(self, info: FootageInfo, carried: Carried | None) -> "_Watch":
        """Nothing is carried over: a flight across the border of two captures is not found."""
        return _Watch(self._config)


class _Watch(Watch):
    """Watches one capture from its first to its last picture."""

    def __init__(self, config: ThrownConfig) -> None:
        self._config = config
        self._view = _View(config)
        self._chains: list[_Chain] = []
        self._before: list[_Blob] = []
        self._landings: list[_Landing] = []
        self._landed: list[_Landing] = []
        self._shape = (1, 1)

    def see(self, moment: Moment) -> None:
        grey = moment.grey(self._config.height_px)
        with moment.costs.of("flight"):
            self._see(grey, moment.t_s)

    def tracks(self) -> tuple[Track, ...]:
        every = sorted([*self._landed, *self._landings], key=lambda one: one.flight.blobs[0].t_s)
        return tuple(self._track(number, one) for number, one in enumerate(every, start=1))

    def _see(self, grey: Grey, now_s: float) -> None:
        self._shape = grey.shape
        if now_s - self._view.last_s > _PAUSE_S:
            self._end_all()
        mask = self._view.mask(grey, now_s)
        if mask is None:
            self._end_all()
            return
        blobs = self._blobs(mask, self._view.off, now_s)
        self._extend(blobs, now_s)
        for landing in list(self._landings):
            self._look_for(landing, grey, now_s)

    def _end_all(self) -> None:
        for chain in self._chains:
            self._end(chain)
        self._chains, self._before = [], []

    def _blobs(self, mask: NDArray[np.uint8], off: Grey, now_s: float) -> list[_Blob]:
        x_px, y_px, across_px, down_px = cv2.boundingRect(mask)
        if across_px == 0:
            return []
        part = mask[y_px : y_px + down_px, x_px : x_px + across_px]
        count, _, stats, middles = cv2.connectedComponentsWithStats(part)
        stats[:, :2] += np.array([x_px, y_px])
        middles += np.array([x_px, y_px])
        limit = self._config.area_max * mask.size
        areas = stats[1:count, cv2.CC_STAT_AREA]
        fitting = np.flatnonzero((areas >= self._config.area_min_px) & (areas <= limit)) + 1
        if len(fitting) > self._config.blobs_max:
            order = np.argsort(-stats[fitting, cv2.CC_STAT_AREA], kind="stable")
            fitting = np.sort(fitting[order[: self._config.blobs_max]])
        blobs = []
        for number in fitting:
            left, top, across, down, area = (int(value) for value in stats[number])
            box = (left + 1, top + 1, left + across - 1, top + down - 1)  # undo the dilation
            window = np.s_[top : top + down, left : left + across]
            contrast = float(off[window].max())
            spot = np.array(middles[number])
            sizes = stats[fitting, cv2.CC_STAT_AREA]
            crowd = int(np.count_nonzero((sizes <= 2 * area) & (area <= 2 * sizes)))
            blobs.append(_Blob(now_s, spot, float(area), box, contrast, crowd))
        return blobs

    def _extend(self, blobs: Sequence[_Blob], now_s: float) -> None:
        """Let every chain go on with the blob that fits best, and begin new ones."""
        taken: set[int] = set()
        going: list[_Chain] = []
        fitting = _fitting(self._chains, blobs, now_s)
        for chain, number in zip(self._chains, fitting, strict=True):
            if number is not None and (number not in taken or len(chain.blobs) < _YOUNG):
                chain.blobs.append(blobs[number])
                chain.missed = 0
                if len(chain.blobs) >= _YOUNG and not chain.rests:
                    taken.add(number)
            else:
                chain.missed += 1
            if chain.rests:
                continue
            if chain.is_over(now_s):
                self._end(chain)
            else:
                going.append(chain)
        moving = [blob for n, blob in enumerate(blobs) if n not in taken]
        speed = self._config.speed_max * self._shape[0]
        going += [_Chain([*pair]) for pair in _beginnings(moving, self._before, speed)]
        self._chains = sorted(going, key=lambda one: -len(one.blobs))[:_CHAINS_MAX]
        self._before = moving

    def _end(self, chain: _Chain) -> None:
        flight = self._flight_of(chain)
        if flight is None:
            return
        known = [*self._landings, *self._landed]
        if any(set(map(id, flight.blobs)) & set(map(id, one.flight.blobs)) for one in known):
            return
        view = self._view
        earlier = view.before(flight.blobs[0].t_s)
        self._landings.append(_Landing(flight, view.picture, earlier, view.noise_at(flight)))

    def _flight_of(self, chain: _Chain) -> _Flight | None:
        """The longest part of a chain that is a flight; the ends may be hand and bounce."""
        blobs, fewest = chain.blobs[-_LONGEST:], self._config.points_min
        if len(blobs) < fewest or blobs[-1].t_s - blobs[0].t_s < self._config.descent_min_s:
            return None
        cuts = sorted(
            ((head, tail) for head in range(len(blobs) - fewest + 1) for tail in range(4)),
            key=sum,
        )
        for head, tail in cuts:
            part = blobs[head : len(blobs) - tail]
            if len(part) >= fewest and (flight := self._flight(part)) is not None:
                return flight
        return None

    def _flight(self, blobs: Sequence[_Blob]) -> _Flight | None:
        """The blobs as a flight, if they can be one."""
        config, height = self._config, float(self._shape[0])
        t = np.array([blob.t_s for blob in blobs]) - blobs[0].t_s
        if t[-1] < config.descent_min_s:
            return None
        places = np.array([blob.spot for blob in blobs]) / height
        level, falling = np.polyfit(t, places[:, 0], 1), np.polyfit(t, places[:, 1], 2)
        straight = np.polyfit(t, places[:, 1], 1)
        off = np.hypot(np.polyval(level, t) - places[:, 0], np.polyval(falling, t) - places[:, 1])
        off_straight = np.polyval(straight, t) - places[:, 1]
        length = float(np.hypot(*np.diff(places, axis=0).T).sum())
        gain, metre = 2 * float(falling[0]), 2 * float(falling[0]) / _GRAVITY
        if not config.scale_min <= metre <= config.scale_max:
            return None
        residual = float(np.sqrt((off**2).mean()))
        curved = float(np.sqrt((off_straight**2).mean()))
        top_s = min(max(0.0, -float(falling[1]) / gain), float(t[-1]))
        descent_s = float(t[-1]) - top_s
        drop = float(np.polyval(falling, t[-1]) - np.polyval(falling, top_s))
        size = float(np.median([blob.size for blob in blobs])) / height
        plausible = (
            residual <= max(config.residual_max * length, 0.4 / height)
            and curved >= config.curved_min * residual
            and descent_s >= config.descent_min_s
            and abs(float(level[0])) <= config.across_max_m_s * metre
            and -float(falling[1]) <= config.up_max_m_s * metre
            and config.size_min_m <= size / metre <= config.size_max_m
            and drop >= 1.5 * size
            and _surprise(blobs, residual * height, self._shape) >= config.surprise_min
        )
        if not plausible:
            return None
        return _Flight(tuple(blobs), gain, residual / max(length, 1e-6), drop, descent_s)

    def _look_for(self, landing: _Landing, grey: Grey, now_s: float) -> None:
        """Whether something of its size lies where the flight ended."""
        lies = landing.look(self._view.levelled(grey), now_s, self._config.rests_s)
        if lies or now_s - landing.flight.blobs[-1].t_s > self._config.lands_s:
            self._landings.remove(landing)
            self._landed.append(landing)

    def _track(self, number: int, landing: _Landing) -> Track:
        flight = landing.flight
        score = round(max(0.0, 1.0 - flight.residual / (2 * self._config.residual_max)), 4)
        points = [
            TrackPoint(t_s=round(blob.t_s, 3), box=self._box(blob.box_px), score=score)
            for blob in flight.blobs
        ]
        landed = landing.found_s is not None and landing.box_px is not None
        traits = {
            "metre": round(flight.metre, 5),
            "drop_m": round(flight.drop / flight.metre, 3),
            "descent_s": round(flight.descent_s, 3),
            "residual": round(flight.residual, 4),
            "landed": float(landed),
            "ended_s": round(flight.blobs[-1].t_s, 3),
        }
        if landing.found_s is not None and landing.box_px is not None:
            box = self._box(landing.box_px)
            highest = min(blob.spot[1] for blob in flight.blobs) / self._shape[0]
            traits["drop_m"] = round((box.centre.y - float(highest)) / flight.metre, 3)
            for at_s in (landing.found_s, landing.found_s + self._config.rests_s):
                if at_s > points[-1].t_s:
                    points.append(TrackPoint(t_s=round(at_s, 3), box=box, score=score))
        label = Label.THROWN_OBJECT
        return Track(track_id=number, label=label, points=tuple(points), traits=traits)

    def _box(self, box_px: tuple[int, int, int, int]) -> Box:
        height, width = self._shape
        left, top, right, bottom = box_px
        sides = (left / width, top / height, right / width, bottom / height)
        return Box(*(round(min(1.0, max(0.0, side)), 4) for side in sides))


def _fitting(chains: Sequence[_Chain], blobs: Sequence[_Blob], now_s: float) -> list[int | None]:
    """For every chain the blob that goes on with it best."""
    if not chains or not blobs:
        return [None] * len(chains)
    places = np.array([blob.spot for blob in blobs])
    areas = np.array([blob.area for blob in blobs])
    expected = np.array([chain.expected(now_s) for chain in chains])
    lasts = np.array([chain.area for chain in chains])
    reaches = np.array([chain.reach for chain in chains])
    off = np.hypot(*(expected[:, None] - places[None]).transpose(2, 0, 1))
    off[(off > reaches[:, None]) | ~_alike(areas[None], lasts[:, None])] = np.inf
    best = off.argmin(axis=1)
    fits = np.isfinite(off[np.arange(len(chains)), best])
    return [int(number) if fit else None for number, fit in zip(best, fits, strict=True)]


def _alike(a: Spot, b: Spot) -> NDArray[np.bool_]:
    """Whether areas may be those of one thing that turns as it flies."""
    return np.asarray(np.maximum(a, b) <= 4.0 * np.minimum(a, b) + 30)


def _beginnings(
    blobs: Sequence[_Blob], before: Sequence[_Blob], speed: float
) -> list[tuple[_Blob, _Blob]]:
    """Pairs that a chain may begin with: near enough, alike, and moving; speed in pixels a s."""
    if not blobs or not before:
        return []
    step_s = blobs[0].t_s - before[0].t_s
    now, then = (np.array([blob.spot for blob in some]) for some in (blobs, before))
    areas, earlier = (np.array([blob.area for blob in some]) for some in (blobs, before))
    way = np.hypot(*(now[:, None] - then[None]).transpose(2, 0, 1))
    way[(way < 1.0) | (way > speed * step_s) | ~_alike(areas[:, None], earlier[None])] = np.inf
    nearest = np.argsort(way, axis=1, kind="stable")[:, :_BEGINNINGS_MAX]
    return [
        (before[n], blobs[m])
        for m, row in enumerate(nearest)
        for n in row
        if np.isfinite(way[m, n])
    ]


def _surprise(blobs: Sequence[_Blob], residual_px: float, shape: tuple[int, ...]) -> float:
    """−ln of the probability that blobs strewn by chance would lie so near to a parabola.

    Three of them may lie anywhere: they fix it.
    """
    crowd = float(np.mean([blob.crowd for blob in blobs]))
    share = crowd * np.pi * max(1.0, residual_px) ** 2 / (shape[0] * shape[1])
    return (len(blobs) - 3) * -float(np.log(min(1.0, share)))
