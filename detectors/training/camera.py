"""Makes a clean crop look as a surveillance camera would have shown it.

Far (few pixels), out of focus, moving, at night, in infrared, underexposed, noisy, hard compressed,
and cut by a detector that is off by a little. Every number is drawn from the generator given.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from media.footage import Image


@dataclass(frozen=True)
class Camera:
    """How often what happens to a crop, and how strongly."""

    far: float = 0.45
    far_px: tuple[int, int] = (10, 32)
    """Longer side of the crop as the camera had it, if it is far."""
    grey: float = 0.2
    dark: float = 0.15
    blur: float = 0.25
    noise: float = 0.35
    jpeg: float = 0.5
    hue: float = 10.0
    """Largest turn of hue, of OpenCV's 180."""
    shift: float = 0.1
    scale: tuple[float, float] = (0.75, 1.2)
    turn_deg: float = 10.0

    def shoot(self, image: Image, rng: np.random.Generator, side_px: int) -> Image:
        """One crop, ``(H, W, 3)`` uint8 BGR of any size → the same thing seen anew, square."""
        square = self._frame(image, rng, side_px)
        square = self._light(square, rng)
        if rng.random() < self.blur:
            square = _blurred(square, rng)
        if rng.random() < self.far:
            square = self._far(square, rng)
        if rng.random() < self.noise:
            spread = rng.uniform(2, 14)
            noisy = square + rng.normal(0, spread, square.shape)
            square = np.clip(noisy, 0, 255).astype(np.uint8)
        if rng.random() < self.jpeg:
            square = _compressed(square, int(rng.integers(15, 75)))
        return square

    def _frame(self, image: Image, rng: np.random.Generator, side_px: int) -> Image:
        """Shift, scale, stretch, turn and mirror: the box is never where the label's was."""
        height, width = image.shape[:2]
        zoom = rng.uniform(*self.scale)
        stretch = np.exp(rng.uniform(-0.12, 0.12, 2))
        angle = np.deg2rad(rng.normal(0, self.turn_deg / 2))
        mirror = -1 if rng.random() < 0.5 else 1
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        side = side_px / np.array([width, height])
        linear = np.diag(side * stretch / zoom) @ turn @ np.diag([mirror, 1])
        centre = side_px * (0.5 + rng.uniform(-self.shift, self.shift, 2))
        offset = centre - linear @ np.array([(width - 1) / 2, (height - 1) / 2])
        moved = cv2.warpAffine(
            image,
            np.column_stack([linear, offset]),
            (side_px, side_px),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(moved, np.uint8)

    def _light(self, image: Image, rng: np.random.Generator) -> Image:
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV).astype(np.float32)
        hsv[..., 0] = (hsv[..., 0] + rng.uniform(-self.hue, self.hue)) % 180
        hsv[..., 1] *= rng.uniform(0.5, 1.4)
        whole = np.clip(hsv, 0, 255).astype(np.uint8)
        shown = cv2.cvtColor(whole, cv2.COLOR_HSV2BGR).astype(np.float32) / 255
        if rng.random() < self.grey:
            shown = np.repeat(shown @ rng.dirichlet([2, 2, 2])[:, None], 3, axis=2)
        shown = np.clip(shown, 0, 1) ** np.exp(rng.normal(0, 0.3))
        contrast, middle = np.exp(rng.normal(0, 0.2)), shown.mean()
        shown = (shown - middle) * contrast + middle + rng.normal(0, 0.06)
        if rng.random() < self.dark:
            shown = shown * rng.uniform(0.25, 0.6) + rng.normal(0, 0.015, shown.shape)
        return np.asarray(np.clip(shown * 255, 0, 255), np.uint8)

    def _far(self, image: Image, rng: np.random.Generator) -> Image:
        few = int(rng.integers(*self.far_px, endpoint=True))
        small = cv2.resize(image, (few, few), interpolation=cv2.INTER_AREA)
        if rng.random() < self.jpeg:
            small = np.asarray(_compressed(np.asarray(small, np.uint8), int(rng.integers(40, 90))))
        how = cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(small, image.shape[1::-1], interpolation=how), np.uint8)


def _blurred(image: Image, rng: np.random.Generator) -> Image:
    """Out of focus, or moving sideways."""
    if rng.random() < 0.6:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.0)), np.uint8)
    length = int(rng.integers(3, 9))
    return np.asarray(cv2.blur(image, (length, 1)), np.uint8)


def _compressed(image: Image, quality: int) -> Image:
    _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)
