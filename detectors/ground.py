"""What is known of every pixel of a view that stands still: its ground, and what rests on that.

Pictures are ``(H, W, 3)`` uint8 BGR of one size.
"""

from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detectors.blobs import Mask, difference, local_gain
from detectors.detector import Carried, DetectorConfig
from enforcement.model import Score
from media.footage import Image

_GROUND_MEMORY_S = 10.0
"""How slowly the ground follows what is seen of it."""

SKIMMED_S = 0.8
"""Looks farther apart than this tell nothing about how restless a pixel is."""


class LeftBehindConfig(DetectorConfig):
    """Parameters. Differences are grey levels of the colour channel that differs most."""

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
    swing_max: Annotated[float, Field(gt=0, le=0.1)] = 0.006
    swing_per_s_max: Annotated[float, Field(gt=0, le=1)] = 0.018
    """So does a view that usually is farther than this share of the diagonal from its usual place
    and moves this fast: held by hand 0.0098 and 0.028 were measured, on masts in the wind up to
    0.0014 and 0.013, on a propped telephone 0.0042 and 0.003."""


class Ground:
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
        self._off_rest = np.zeros(self.noise.shape, np.bool_)
        """Where the latest picture, and it alone, differed from what rests there."""
        self.differing = np.zeros(self.noise.shape, np.bool_)
        self.returns = np.zeros(self.noise.shape, np.float32)
        self.known_s = 0.0
        self.picture = self.settled.astype(np.uint8)

    def carried(self, end_s: float) -> dict[str, NDArray[Any]]:
        """All that is known, times from the end."""
        return {
            "settled": self.settled,
            "noise": self.noise.astype(np.float16),
            "rest": self.rest,
            "rests_since_s": (self.rests_since_s - end_s).astype(np.float32),
            "differs_since_s": (self.differs_since_s - end_s).astype(np.float32),
            "returns": self.returns.astype(np.float16),
            "known_s": np.array(self.known_s),
        }

    @classmethod
    def remembered(cls, carried: Carried, config: LeftBehindConfig) -> "Ground":
        """The same ground at the start of the next capture."""
        arrays, gap_s = carried.arrays, np.float32(carried.gap_s)
        ground = cls([np.asarray(arrays["rest"], np.uint8)], 0.0, config)
        ground.settled = np.array(arrays["settled"], np.float32)
        ground.picture = cv2.convertScaleAbs(ground.settled)
        ground.noise = np.array(arrays["noise"], np.float32)
        ground.rests_since_s = np.array(arrays["rests_since_s"], np.float32) - gap_s
        ground.differs_since_s = np.array(arrays["differs_since_s"], np.float32) - gap_s
        ground.returns = np.array(arrays["returns"], np.float32)
        ground.known_s = float(np.asarray(arrays["known_s"]).item())
        ground.differing = ground.differs(ground.rest)
        return ground

    def level(self, image: Image) -> tuple[Image, Image]:
        """The picture with the exposure and colours of the ground, and in its light as well: also
        without what a cloud or a headlight does to a part of it."""
        seen = np.maximum(image[::8, ::8].reshape(-1, 3).astype(np.float32), 1.0)
        known = np.maximum(self.settled[::8, ::8].reshape(-1, 3), 1.0)
        gain = np.clip(np.median(known / seen, axis=0), 0.6, 1.7)
        if np.abs(gain - 1.0).max() >= 0.01:
            image = _brighter(image, gain.astype(np.float32))
        local = local_gain(image, self.picture)
        if local is None:
            return image, image
        return image, _brighter(image, local[..., None])

    def threshold(self) -> NDArray[np.float32]:
        noise = self._config.differs_noise * self.noise
        return np.asarray(np.maximum(self._config.differs_min, noise), np.float32)

    def differs(self, image: Image) -> Mask:
        """Where a picture (already levelled) differs from the ground."""
        return difference(image, self.picture) > self.threshold()

    def take_in(self, image: Image, differing: Mask, now_s: float, step_s: float) -> None:
        """Move on by one picture."""
        config = self._config
        if step_s < SKIMMED_S:
            self.known_s += step_s
            self.returns *= 1.0 - min(1.0, step_s / config.restless_memory_s)
            self.returns += self.differing & ~differing
        self.differing = differing
        self.differs_since_s[~differing] = now_s
        moved = difference(image, self.rest) > config.rests_max
        anew = moved & self._off_rest  # one odd picture is forgiven
        self._off_rest = moved & ~anew
        np.copyto(self.rest, image, where=anew[..., None])
        self.rests_since_s[anew] = now_s - step_s
        rate = min(1.0, step_s / _GROUND_MEMORY_S)
        calm = (~differing).astype(np.uint8)
        cv2.accumulateWeighted(difference(image, self.picture), self.noise, rate, calm)
        cv2.accumulateWeighted(image, self.settled, rate, calm)
        self.picture = cv2.convertScaleAbs(self.settled)

    def is_unchanged(self, now_s: float) -> None:
        """Nothing has moved since the last picture: what was ground then is ground now."""
        self.differs_since_s[~self.differing] = now_s

    def standing(self, now_s: float) -> Mask:
        """Where something rests that is not the ground."""
        long_enough = now_s - self.rests_since_s >= self._config.still_s - 1e-3
        other = difference(self.rest, self.picture) > self.threshold()
        remembered_s = min(self._config.restless_memory_s, max(self.known_s, 5.0))
        calm = self.returns / remembered_s < self._config.restless_per_s
        still = long_enough & other & calm & ~self._off_rest
        return np.asarray(still & self.differing, np.bool_)

    def absorb(self, mask: Mask) -> None:
        """What rests here now is the ground from now on."""
        self.settled[mask] = self.rest[mask]
        self.picture[mask] = self.rest[mask]
        self.differing[mask] = False


def _brighter(image: Image, gain: NDArray[np.float32]) -> Image:
    """Times ``gain``, one a channel or a pixel; what is too bright stays white."""
    product = np.multiply(image, gain, dtype=np.float32)
    return np.minimum(product, np.float32(255), out=product).astype(np.uint8)
