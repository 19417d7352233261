"""Figures, vehicles and things as sprites: scaled, posed and ready to be laid over a picture."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from media.cutouts import WALK_PHASES, Cutout, dressed
from media.footage import Image
from media.objects import Thing
from media.vehicles import VehicleModel

BEND_STEPS = 8
"""Steps between standing upright and bending down deeply."""
_BEND = 0.95
"""Radians by which a body turns forward about its hip at most."""


@dataclass(frozen=True)
class Sprite:
    """Pixels times opacity, and what they leave of the picture under them; ``(H, W, 3)`` uint8."""

    pixels: Image
    keep: Image

    @classmethod
    def of(cls, cutout: Cutout) -> "Sprite":
        pixels = np.clip(cutout.image * cutout.alpha, 0, 255).astype(np.uint8)
        keep = (255 * (1 - cutout.alpha)).round().astype(np.uint8)
        return cls(np.ascontiguousarray(pixels), np.ascontiguousarray(np.repeat(keep, 3, axis=2)))

    def paste(self, picture: Image, left_px: int, top_px: int) -> None:
        """Lay it over the picture, in place; what lies outside is cut off."""
        height, width = self.keep.shape[:2]
        left, top = max(0, left_px), max(0, top_px)
        right = min(picture.shape[1], left_px + width)
        bottom = min(picture.shape[0], top_px + height)
        if left < right and top < bottom:
            window = np.s_[top - top_px : bottom - top_px, left - left_px : right - left_px]
            under = picture[top:bottom, left:right]
            kept = cv2.multiply(under, self.keep[window], scale=1 / 255)
            under[:] = cv2.add(kept, self.pixels[window])


@dataclass(frozen=True)
class Look:
    """One of the figures of `media.cutouts` in other clothes (factors on blue, green, red)."""

    figure: int
    coat_bgr: tuple[float, float, float] = (1.0, 1.0, 1.0)
    trousers_bgr: tuple[float, float, float] = (1.0, 1.0, 1.0)
    height_m: float = 1.76


@lru_cache(maxsize=400)
def thing_sprite(thing: Thing, height_px: int, angle_deg: int, mirrored: bool) -> Sprite:
    cutout = thing.cutout().sized(height_px, mirrored=mirrored)
    if angle_deg % 360 == 0:
        return Sprite.of(cutout)
    height, width = cutout.alpha.shape[:2]
    side = int(np.hypot(height, width)) + 2
    layers = np.concatenate([cutout.image * cutout.alpha, cutout.alpha], axis=2)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle_deg, 1.0)
    matrix[:, 2] += (side - width) / 2, (side - height) / 2
    turned = cv2.warpAffine(layers, matrix, (side, side))
    colours = turned[..., :3] / np.maximum(turned[..., 3:], 1e-3)
    return Sprite.of(Cutout(colours.astype(np.float32), turned[..., 3:].astype(np.float32)))


@lru_cache(maxsize=60)
def vehicle_sprite(model: VehicleModel, height_px: int, mirrored: bool) -> Sprite:
    return Sprite.of(model.cutout().sized(height_px, mirrored=mirrored))


@lru_cache(maxsize=24)
def _clothed(look: Look) -> Cutout:
    return dressed(look.figure, look.coat_bgr, look.trousers_bgr)


@lru_cache(maxsize=160)
def _sized(look: Look, height_px: int, mirrored: bool) -> Cutout:
    return _clothed(look).sized(height_px, mirrored=mirrored)


@lru_cache(maxsize=600)
def figure_sprite(
    look: Look, height_px: int, mirrored: bool, phase: int, bend: int, sits: bool, upper_only: bool
) -> tuple[Sprite, float]:
    """The figure in a phase of its step and a bend, and the column of its feet."""
    figure = _sized(look, height_px, mirrored)
    height, width = figure.alpha.shape[:2]
    side, hip = -1 if mirrored else 1, 0.5 * height
    pad = int(0.5 * height * abs(bend) / BEND_STEPS) + 2
    y, x = np.mgrid[0:height, 0 : width + 2 * pad].astype(np.float32)
    middle = (0.53 if mirrored else 0.47) * width
    aside, above = x - pad - middle, np.clip(hip - y, 0, None)
    below = np.clip((y - hip) / (height - hip), 0, 1)
    # Above the hip the figure turns about it, less so near it, or the coat would tear.
    turn = side * _BEND * bend / BEND_STEPS * np.clip(above / (0.16 * height), 0, 1)
    source_y = np.where(y < hip, hip - above * np.cos(turn) - aside * np.sin(turn), y)
    closing = 0.5 - 0.5 * np.cos(2 * np.pi * phase / WALK_PHASES)
    source_x = middle + np.where(
        y < hip, aside * np.cos(turn) - above * np.sin(turn), aside / (1 - 0.48 * closing * below)
    )
    if sits:
        # Thighs point towards the camera: half of the legs' length is left.
        source_y = np.where(y < hip, source_y, hip + (y - hip) / 0.52)
    layers = np.concatenate([figure.image * figure.alpha, figure.alpha], axis=2)
    moved = cv2.remap(layers, source_x.astype(np.float32), source_y.astype(np.float32),
                      cv2.INTER_LINEAR)  # fmt: skip
    if upper_only:
        moved = moved[: int(hip)]
    rows = np.nonzero((moved[..., 3] > 0.5).any(axis=1))[0]
    columns = np.nonzero((moved[..., 3] > 0.5).any(axis=0))[0]
    bottom = int(rows[-1]) if sits or upper_only else moved.shape[0] - 1
    moved = moved[int(rows[0]) : bottom + 1, int(columns[0]) : int(columns[-1]) + 1]
    alpha = np.clip(moved[..., 3:], 0, 1).astype(np.float32)
    cutout = Cutout((moved[..., :3] / np.maximum(alpha, 1e-3)).astype(np.float32), alpha)
    return Sprite.of(cutout), middle + pad - float(columns[0])
