"""Pure questions about pictures and blobs of pixels: what differs, what is an outline, what text.

Pictures are ``(H, W, 3)`` uint8 BGR, grey ones ``(H, W)`` float32.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from media.footage import Image

_STEPS_PER_E, _STEPS_MAX, _STEPS_LEVEL = 150.0, 90, 4
"""Ratios of light as whole steps: so many for a factor of e, at most so many either way (1.8), and
so few (3 %) are none."""

Mask = NDArray[np.bool_]
"""``(H, W)``: the pixels that belong to something."""


def difference(a: Image, b: Image) -> NDArray[np.uint8]:
    """``(H, W)``: by how much the channel that differs most differs."""
    blue, green, red = cv2.split(cv2.absdiff(a, b))
    return np.asarray(cv2.max(cv2.max(blue, green), red), np.uint8)


def local_gain(image: Image, ground: Image) -> NDArray[np.float32] | None:
    """``(H, W)``: by what the picture must be multiplied to have the light of the ground.

    The usual ratio in a neighbourhood of a third of the height: what covers less than half of
    that does not count, so that light is levelled and things are not. None if there is nothing to
    level.
    """
    small = (image.shape[1] // 4, image.shape[0] // 4)
    now, before = (
        cv2.GaussianBlur(cv2.cvtColor(cv2.resize(one, small, interpolation=cv2.INTER_AREA),
                                      cv2.COLOR_BGR2GRAY), (3, 3), 0)
        for one in (image, ground)
    )  # fmt: skip
    ratio = (before.astype(np.float32) + 4.0) / (now.astype(np.float32) + 4.0)
    steps = np.clip(128 + _STEPS_PER_E * np.log(ratio), 128 - _STEPS_MAX, 128 + _STEPS_MAX)
    window = min(255, max(5, image.shape[0] // 12 | 1))
    usual = cv2.medianBlur(np.round(steps).astype(np.uint8), window)
    if np.abs(usual.astype(np.int16) - 128).max() <= _STEPS_LEVEL:
        return None
    smooth = cv2.resize(cv2.GaussianBlur(usual, (5, 5), 0).astype(np.float32),
                        (image.shape[1], image.shape[0]))  # fmt: skip
    return np.asarray(np.exp((smooth - 128) / _STEPS_PER_E), np.float32)


def share_alike(a: NDArray[np.uint8], b: NDArray[np.uint8], limit: float) -> float:
    """Share of the pixels ``(N, 3)`` that differ by no more than ``limit``."""
    return float((np.abs(a.astype(np.int16) - b).max(axis=1) <= limit).mean())


def grey(image: Image) -> NDArray[np.float32]:
    """Brightness, ``(H, W)``."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.float32)


def slope(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Strength of edges, in grey levels a pixel."""
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8)
    return np.asarray(cv2.magnitude(across, down), np.float32)


def rim(blob: Mask) -> Mask:
    """The outline, one pixel to either side."""
    bits, square = blob.astype(np.uint8), np.ones((3, 3), np.uint8)
    return (cv2.dilate(bits, square) - cv2.erode(bits, square)).astype(np.bool_)


def shows_through(now: NDArray[np.float32], before: NDArray[np.float32]) -> bool:
    """Whether the texture of the ground is still seen: only the light on it has changed."""
    if before.std() < 6.0 or now.std() < 3.0:
        return False  # a ground without texture can't show through
    return bool(np.corrcoef(now, before)[0, 1] > 0.85)


def is_caption(blob: Mask, rests_since_s: NDArray[np.float32]) -> bool:
    """Whether it is a line of text that the recorder wrote: long, level, and there all at once.

    What people put down covers its place bit by bit, and seldom lies so level.
    """
    left, top, right, bottom = box_px(blob)
    if right - left < 4 * (bottom - top):
        return False
    columns = blob[:, blob.any(axis=0)]
    sides = columns.argmax(axis=0), columns[::-1].argmax(axis=0)
    level = min(_share_near_median(side, 1.0) for side in sides)
    at_once = _share_near_median(rests_since_s[blob], 0.25)
    return level > 0.8 and at_once > 0.8


def _share_near_median(values: NDArray[Any], limit: float) -> float:
    return float((np.abs(values - np.median(values)) <= limit).mean())


def moves_still(blob: Mask, wholes: NDArray[np.int32]) -> bool:
    """Whether the blob is a resting part of something larger that does not rest."""
    touched = np.unique(wholes[blob])
    whole = np.isin(wholes, touched[touched > 0])
    return bool(blob.sum() < 0.5 * whole.sum())


def onto_reference(image: Image, forth: NDArray[np.float64]) -> Image:
    """The picture laid onto the reference; what lies outside repeats its edge."""
    size = (image.shape[1], image.shape[0])
    corners = np.array([[0, 0], [size[0], size[1]]], np.float64)
    if np.abs(corners @ forth[:, :2].T + forth[:, 2] - corners).max() < 0.25:
        return image
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(image, forth, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def box_px(blob: Mask) -> NDArray[np.float64]:
    """Left, top, right, bottom; right and bottom are the first pixels beyond."""
    rows, columns = np.flatnonzero(blob.any(axis=1)), np.flatnonzero(blob.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
