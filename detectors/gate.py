"""The motion gate: on a small grey picture, where does something move?

It looks at every picture that is decoded and so decides what the dear detectors look at. What
differs from the background and from a moment ago moves. The background follows the picture within
seconds, its noise map learns which pixels are restless (leaves, water, rain), and a change of
exposure is taken out first.
"""

from collections import deque
from dataclasses import dataclass
from math import exp
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from enforcement.geometry import Box
from enforcement.model import Record, Score
from media.footage import Grey

Floats = NDArray[np.float32]


class GateConfig(Record):
    """Parameters; differences are grey levels of the small picture."""

    height_px: Annotated[int, Field(ge=48, le=480)] = 144
    differs_min: Annotated[float, Field(ge=1, le=255)] = 10.0
    differs_noise: Annotated[float, Field(ge=1, le=20)] = 4.0
    """A pixel differs from ``differs_min`` on, or from so many times its own noise."""
    noise_max: Annotated[float, Field(ge=0, le=64)] = 9.0
    """However restless a place, a stronger difference than this allows for still counts."""
    moves_s: Annotated[float, Field(gt=0, le=10)] = 0.6
    """Something moves if it looks different from this long ago."""
    settles_s: Annotated[float, Field(gt=0, le=600)] = 6.0
    """How fast what rests becomes background."""
    noise_s: Annotated[float, Field(gt=0, le=600)] = 20.0
    """How fast a pixel's noise is learned."""
    area_min: Score = 0.00025
    """Smaller patches of difference are noise; share of the picture."""
    everywhere: Score = 0.5
    """When more of the picture than this differs, no place is left out."""


@dataclass(frozen=True)
class Settled:
    """What a gate carries from one capture to the next."""

    ground: Floats
    noise: Floats


class Gate:
    """Watches one view picture by picture, in the order of time."""

    def __init__(self, config: GateConfig, settled: Settled | None = None) -> None:
        self._config = config
        self._ground = None if settled is None else settled.ground.copy()
        self._noise = None if settled is None else settled.noise.copy()
        self._last_s: float | None = None
        self._lately: deque[tuple[float, Floats]] = deque()
        """Pictures of the last moments, to tell what moves from what has come to rest."""

    @property
    def settled(self) -> Settled | None:
        """What the next capture may begin with."""
        if self._ground is None or self._noise is None:
            return None
        return Settled(self._ground, self._noise)

    def moving(self, grey: Grey) -> tuple[Box, ...]:
        """Where something moves in this picture; nothing is learned from it."""
        if self._ground is None or self._ground.shape != grey.shape:
            return ()
        level = self._level(grey)
        return self._boxes(self._mask(level), self._changed(level))

    def see(self, grey: Grey, now_s: float) -> tuple[Box, ...]:
        """Where something moves, in image fractions; then follow the picture."""
        if self._ground is None or self._noise is None or self._ground.shape != grey.shape:
            self._ground = grey.astype(np.float32)
            self._noise = np.full(grey.shape, 2.0, np.float32)
            self._last_s = now_s
            self._lately.clear()
            return ()
        step_s = 0.2 if self._last_s is None else max(1e-3, now_s - self._last_s)
        self._last_s = now_s
        level = self._level(grey)
        boxes = self._boxes(self._mask(level), self._changed(level))
        self._remember(level, now_s)
        off = cv2.absdiff(level, self._ground)
        rate = 1 - exp(-step_s / self._config.noise_s)
        cv2.accumulateWeighted(np.minimum(off, 2 * self._config.noise_max), self._noise, rate)
        np.minimum(self._noise, self._config.noise_max, out=self._noise)
        cv2.accumulateWeighted(level, self._ground, 1 - exp(-step_s / self._config.settles_s))
        return boxes

    def _remember(self, level: Floats, now_s: float) -> None:
        self._lately.append((now_s, level))
        while len(self._lately) > 1 and self._lately[1][0] <= now_s - self._config.moves_s:
            self._lately.popleft()

    def _changed(self, level: Floats) -> NDArray[np.uint8] | None:
        """Where it differs from a moment ago; None if there was none."""
        if not self._lately:
            return None
        return self._beyond(level, self._lately[0][1])

    def _level(self, grey: Grey) -> Floats:
        """The picture with the brightness of the background."""
        picture = np.asarray(cv2.GaussianBlur(grey, (3, 3), 0), np.float32)
        ground = self._ground
        if ground is None:
            return picture
        seen, known = picture[::4, ::4], ground[::4, ::4]
        gain = float(np.median((known + 1.0) / (seen + 1.0)))
        if 0.5 < gain < 2.0 and abs(gain - 1.0) > 0.005:
            picture *= np.float32(gain)
        return picture

    def _mask(self, level: Floats) -> NDArray[np.uint8]:
        """Where the picture differs from the background."""
        if self._ground is None:
            return np.zeros(level.shape, np.uint8)
        return self._beyond(level, self._ground)

    def _beyond(self, level: Floats, other: Floats) -> NDArray[np.uint8]:
        """Where two pictures differ by more than noise does."""
        config = self._config
        noise = np.zeros_like(level) if self._noise is None else self._noise
        limit = np.maximum(noise * config.differs_noise, np.float32(config.differs_min))
        return np.asarray(cv2.compare(cv2.absdiff(level, other), limit, cv2.CMP_GT), np.uint8)

    def _boxes(self, mask: NDArray[np.uint8], changed: NDArray[np.uint8] | None) -> tuple[Box, ...]:
        """Patches that are no background as boxes; near ones joined, small ones left out.

        So is what has come to rest: nothing has changed in it lately.
        """
        if not mask.any() or (changed is not None and not changed.any()):
            return ()
        height, width = mask.shape
        if cv2.countNonZero(mask) > self._config.everywhere * mask.size:
            return (Box(0.0, 0.0, 1.0, 1.0),)
        joined = cv2.dilate(mask, np.ones((5, 5), np.uint8))
        _, labels, stats, _ = cv2.connectedComponentsWithStats(joined)
        least = self._config.area_min * mask.size
        filled = np.bincount(labels.ravel(), (mask > 0).ravel(), len(stats))
        moves = (
            filled
            if changed is None
            else (np.bincount(labels.ravel(), (changed > 0).ravel(), len(stats)))
        )
        boxes = []
        for number in range(1, len(stats)):
            if filled[number] >= least and moves[number] >= 0.5 * least:
                left, top, across, down = (int(value) for value in stats[number, :4])
                boxes.append(
                    Box(left / width, top / height, (left + across) / width, (top + down) / height)
                )
        return tuple(boxes)
