"""Small synthetic footage with known truth: a textured ground, a block that walks, a thing."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from detectors.cascade import Cascade, CascadeConfig, Progress
from detectors.detector import Detector
from enforcement.footage import Observation
from media.encoding import write_h264

Image = NDArray[np.uint8]
Painter = Callable[[float], Image]

WIDTH, HEIGHT, FPS = 384, 288, 10
BAG_PX = (200, 180, 224, 200)
"""Left, top, right, bottom."""


def ground(seed: int = 1, width: int = WIDTH, height: int = HEIGHT) -> Image:
    """Soft blotches with corners to track, mid-grey."""
    noise = np.random.default_rng(seed).normal(0, 1, (height // 4, width // 4, 3))
    blotches = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(120 + 14 * blotches, 0, 255).astype(np.uint8)


def block(image: Image, box_px: tuple[int, int, int, int], colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = box_px
    image[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = colour


def bag(image: Image) -> None:
    block(image, BAG_PX, (20, 20, 24))


def walker(image: Image, t_s: float, enters_s: float) -> None:
    """Walks through from the left at 80 px a second, its hands over the place of the bag."""
    left = round((t_s - enters_s) * 80) - 30
    if left < image.shape[1]:
        block(image, (left, 110, left + 30, 210), (200, 90, 60))


def at_the_bag_s(enters_s: float) -> float:
    """When the walker is over the bag."""
    return enters_s + (BAG_PX[0] + 30) / 80


def write(path: Path, paint: Painter, seconds: float, noise: float = 1.5) -> Path:
    """Encode pictures of ``paint(t_s)`` with a little sensor noise, always the same."""
    random = np.random.default_rng(7)

    def pictures() -> Iterator[tuple[float, VideoFrame]]:
        for number in range(round(seconds * FPS)):
            clean = paint(number / FPS).astype(np.float32)
            noisy = np.clip(clean + random.normal(0, noise, clean.shape), 0, 255)
            yield number / FPS, VideoFrame.from_ndarray(noisy.astype(np.uint8), format="bgr24")

    write_h264(path, pictures(), float(Fraction(FPS)), crf=18)
    return path


def observed(
    detector: Detector, path: Path, progress: Progress | None = None, *, exhaustive: bool = False
) -> Observation:
    """What one detector sees in a file that nothing came before."""
    cascade = Cascade([detector], CascadeConfig(exhaustive=exhaustive))
    return cascade.look(path, "c", progress=progress).observations[0]
