"""What light does to the colours of the ground, and what it can't have done.

Light and shade move colours along one direction of the logarithms of blue, green and red, the same
all over the ground, and leave the texture of what they fall on. So another surface shows by its
colour; grey on grey, by its texture.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from detectors.blobs import Mask
from media.footage import Image

Light = NDArray[np.float32]
"""``(H, W, 3)``: logarithms of blue, green and red."""

_FLOOR = 8.0
"""Added to grey levels before their logarithm, so that noise in the dark stays small."""
_BURNT, _GLARE = 5.55, 0.3
"""The logarithm of a channel that is nearly full (250 grey levels) tells its light no more; how far
from that the other picture must be."""
_DAYLIGHT = (0.50, 0.58, 0.64)
"""Which way shade moves the logarithms of blue, green and red: towards blue, for the sky lights
it. Measured anew in every comparison that has enough shade."""
_SHADE_FROM, _SHADE_ENOUGH, _SHADE_TURN_MAX = 0.5, 400, 0.985
_DEPTH_SHARE = 0.25
"""Shade is no more than so much deeper or fainter than it usually is in these passes."""
_FADE_MAX = 1.9
"""No shade and no sun changes the length of the three logarithms by more (a factor of 3 each)."""
_COLOUR_BLUR = 1.5
"""Cells: colours are compared this smoothly."""
_TEXTURE_M = 1.05
"""Texture is what is finer than this; about as wide is the neighbourhood in which it is compared,
so that the outline of a shadow, which a median follows, is none."""
_TEXTURE_DIFFERS, _TEXTURE_DENSE = 0.08, 0.4
"""A cell's texture differs from this on; so large a share of its neighbourhood must."""
_TEXTURE_NEW = 0.65
"""Texture that differs this much, as a share of all texture of both, is not the same in new light:
that of a thing that stays agrees at least in part."""
_GREEN_MIN = 0.035
"""Plants are greener than blue and red together by this (logarithms): their texture is shade."""
_TEXTURE_WEIGHT = 0.9
"""Colour logarithms that a texture logarithm is worth; made so that both just differ alike."""


def light_of(picture: Image) -> Light:
    """Of a picture ``(H, W, 3)``, slightly smoothed."""
    smooth = cv2.GaussianBlur(picture, (0, 0), 0.7).astype(np.float32)
    return np.asarray(np.log(smooth + _FLOOR), np.float32)


def is_burnt(light: Light) -> Mask:
    """Where a channel is full."""
    return np.asarray(_largest(light) >= _BURNT)


def is_glaring(first: Light, later: Light) -> Mask:
    """Where only one of two is burnt out by far: another surface, of whatever colour."""
    far = _largest(np.abs(later - first)) > _GLARE
    return np.asarray((is_burnt(first) ^ is_burnt(later)) & far)


def levelled(first: Light, later: Light, where: Mask) -> Light:
    """The later light with exposure and colours as in the earlier one."""
    if not where.any():
        return later
    return np.asarray(later - np.median((later - first)[where], axis=0), np.float32)


def _largest(values: Light) -> NDArray[np.float32]:
    blue, green, red = cv2.split(values)
    return np.asarray(cv2.max(cv2.max(blue, green), red), np.float32)


def _along(values: Light, way: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(H, W)``: scalar product with a vector ``(3,)``."""
    return np.asarray(cv2.transform(values, way.reshape(1, 3)), np.float32)


@dataclass(frozen=True)
class Shade:
    """Which way shade moves the logarithms (unit vector), and how far; 0 if there is too little
    shade to tell."""

    way: NDArray[np.float32]
    depth: float

    @classmethod
    def measured(cls, ratios: Iterable[NDArray[np.float32]]) -> "Shade":
        """From changes of light ``(N, 3)`` that are mostly of shade where they are strong."""
        usual = np.array(_DAYLIGHT, np.float32)
        usual /= np.linalg.norm(usual)
        ways, depths = [np.empty((0, 3), np.float32)], [np.empty(0, np.float32)]
        for ratio in ratios:
            length = np.linalg.norm(ratio, axis=1)
            strong = (length > _SHADE_FROM) & (length < _FADE_MAX)
            way = ratio[strong] / length[strong][:, None]
            way *= np.sign(way @ usual)[:, None]
            alike = way @ usual > _SHADE_TURN_MAX
            ways.append(way[alike])
            depths.append(length[strong][alike])
        found = np.concatenate(ways)
        if len(found) < _SHADE_ENOUGH:
            return cls(usual, 0.0)
        middle = np.median(found, axis=0)
        middle /= np.linalg.norm(middle)
        return cls(np.asarray(middle, np.float32), float(np.median(np.concatenate(depths))))

    def level(self, ratio: Light) -> NDArray[np.float32]:
        """``(H, W)``: how far light has changed along the way of shade."""
        return _along(ratio, self.way)

    def is_cast(self, ratio: Light, cell_m: float) -> Mask:
        """Where, over more than a cell or two, the light has changed by just what shade does."""
        off = np.abs(np.abs(self.level(ratio)) - self.depth)
        alike = (off < _DEPTH_SHARE * self.depth).astype(np.uint8)
        square = np.ones((2 * round(0.3 / cell_m) + 1,) * 2, np.uint8)
        return np.asarray(cv2.morphologyEx(alike, cv2.MORPH_OPEN, square) > 0)

    def busy(self, ratio: Light, cell_m: float) -> NDArray[np.float32]:
        """``(H, W)``: spread of the change of light within about a metre."""
        light = self.level(ratio)
        mean, square = (_around(values, 0.9, cell_m) for values in (light, light * light))
        return np.asarray(np.sqrt(np.maximum(square - mean**2, 0)), np.float32)

    def other_surface(self, first: Light, later: Light, slack: int) -> NDArray[np.float32]:
        """``(H, W)``: how far colours left what light alone can do, for the best shift of the
        earlier picture by up to so many cells."""
        axes = np.vstack([self.way, self._across])
        turned = [
            [np.asarray(axis, np.float32) for axis in cv2.split(cv2.transform(light, axes))]
            for light in (first, later)
        ]
        least = np.full(first.shape[:2], np.inf, np.float32)
        for shifts in zip(*(_shifted(values, slack) for values in turned[0]), strict=True):
            level, one, other = (b - a for a, b in zip(shifts, turned[1], strict=True))
            beyond = np.maximum(np.abs(level) - _FADE_MAX, 0)
            length = np.sqrt(beyond * beyond + one * one + other * other)
            np.minimum(least, cv2.GaussianBlur(length, (0, 0), _COLOUR_BLUR), out=least)
        least[is_burnt(first) | is_burnt(later)] = 0
        return least

    def marks(self, picture: Image, cell_m: float) -> NDArray[np.float32]:
        """``(H, W, 3)``: what of a picture light and shade don't change: two colours, and how
        strong its texture is."""
        light = light_of(picture)
        fine = _texture(light, cell_m)
        strength = np.sqrt(np.abs(_around(fine * fine, _TEXTURE_M, cell_m)))
        colours = (_along(light, across) for across in self._across)
        return np.dstack([*colours, _TEXTURE_WEIGHT * strength])

    @property
    def _across(self) -> NDArray[np.float32]:
        """``(2, 3)``: unit vectors at right angles to the way of shade and to each other."""
        return np.asarray(np.linalg.svd(self.way[None].astype(np.float64))[2][1:], np.float32)


def other_texture(first: Light, later: Light, cell_m: float, slack: int) -> NDArray[np.float32]:
    """``(H, W)``: how far textures differ where they are not the same in new light, as a distance
    of colours; 0 on plants, whose texture is their own shade."""
    a, b = _texture(first, cell_m), _texture(later, cell_m)
    of_later = _around(b * b, _TEXTURE_M, cell_m)
    least = np.full(a.shape, np.inf, np.float32)
    for shifted in _shifted(a, slack):
        apart = (b - shifted) ** 2
        unlike = _around(apart, _TEXTURE_M, cell_m)
        both = _around(shifted * shifted, _TEXTURE_M, cell_m) + of_later
        far = (apart > _TEXTURE_DIFFERS**2).astype(np.float32)
        dense = _around(far, _TEXTURE_M, cell_m) >= _TEXTURE_DENSE
        new = dense & (unlike > _TEXTURE_NEW * both)
        np.minimum(least, np.where(new, _TEXTURE_WEIGHT * np.sqrt(np.abs(unlike)), 0), out=least)
    least[_is_green(first) | _is_green(later)] = 0
    return least


def _is_green(light: Light) -> Mask:
    smooth = cv2.GaussianBlur(light, (0, 0), 2.0)
    return np.asarray(smooth[..., 1] - (smooth[..., 0] + smooth[..., 2]) / 2 > _GREEN_MIN)


def _texture(light: Light, cell_m: float) -> NDArray[np.float32]:
    """``(H, W)``: brightness without what a median of the neighbourhood keeps."""
    grey = _along(light, np.full(3, 1 / 3, np.float32))
    side = max(3, round(_TEXTURE_M / cell_m) | 1)
    lowest, steps = np.log(_FLOOR), 255 / (np.log(255 + _FLOOR) - np.log(_FLOOR))
    coded = np.clip((grey - lowest) * steps, 0, 255).round().astype(np.uint8)
    coarse = cv2.medianBlur(coded, side).astype(np.float32) / steps + lowest
    return np.asarray(grey - coarse, np.float32)


def _around(values: NDArray[np.float32], side_m: float, cell_m: float) -> NDArray[np.float32]:
    """Mean over a square neighbourhood."""
    side = max(3, round(side_m / cell_m) | 1)
    return np.asarray(cv2.blur(values, (side, side)), np.float32)


def _shifted(values: NDArray[np.float32], slack: int) -> Iterator[NDArray[np.float32]]:
    """Moved by nothing or by so many cells, in every direction."""
    size = (values.shape[1], values.shape[0])
    for down in (-slack, 0, slack) if slack else (0,):
        for right in (-slack, 0, slack) if slack else (0,):
            move = np.array([[1, 0, right], [0, 1, down]], np.float64)
            yield np.asarray(
                cv2.warpAffine(values, move, size, flags=cv2.INTER_NEAREST,
                               borderMode=cv2.BORDER_REPLICATE),
                np.float32,
            )  # fmt: skip
