"""What a camera above the site sees under a sun: light, shadows, perspective of all that stands up.

Things are cut into level slices. Each slice is laid into the picture through the plane at its
height, from the ground upwards, which hides what a camera above would not see.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import cos, radians, sin, tan

import cv2
import numpy as np
from numpy.typing import NDArray

from media.footage import Image
from media.patrol_site import (
    MARGIN_M,
    PX_PER_M,
    SITE_NORTH_M,
    Albedo,
    Solid,
    Thing,
    ground,
    raster_px,
    solid,
)

WIDTH_PX, HEIGHT_PX = 1280, 720
_GAMMA = 1 / 2.2
_SUN_BGR, _SKY_BGR = (0.86, 0.97, 1.0), (0.46, 0.40, 0.34)
"""Light of the sun on what faces it and of the sky: shade is bluish and a good third as bright."""
_FLANK = 0.62
"""How bright the flanks of a thing are against its top."""
_SLICE_M, _SHADOW_SLICE_M = 0.22, 0.2
_EXPOSURE = 1.5

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Sun:
    """Where it stands, what it does to the picture, and what the camera makes of it."""

    azimuth_deg: float
    elevation_deg: float
    exposure: float = 1.0
    gain_bgr: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """White balance."""
    strength: float = 1.0
    """Of the direct light: 0 is a closed cloud cover without shadows."""


@dataclass(frozen=True)
class Camera:
    """The true place and direction of the camera; angles as in `enforcement.flights`."""

    east_m: float
    north_m: float
    height_m: float
    yaw_deg: float
    pitch_deg: float
    half_width: float
    """Half the picture's width at distance 1."""

    def plane(self, height_m: float) -> Matrix:
        """3 × 3: east and north in metres on the level plane at this height → pixels."""
        yaw, pitch = radians(self.yaw_deg), radians(self.pitch_deg)
        right = (cos(yaw), -sin(yaw), 0.0)
        down = (sin(yaw) * sin(pitch), cos(yaw) * sin(pitch), -cos(pitch))
        forward = (sin(yaw) * cos(pitch), cos(yaw) * cos(pitch), sin(pitch))
        turn = np.array([right, down, forward])
        focal = WIDTH_PX / 2 / self.half_width
        lens = np.array([[focal, 0, (WIDTH_PX - 1) / 2], [0, focal, (HEIGHT_PX - 1) / 2],
                         [0, 0, 1]])  # fmt: skip
        place = np.array([[1, 0, -self.east_m], [0, 1, -self.north_m],
                          [0, 0, height_m - self.height_m]])  # fmt: skip
        return np.asarray(lens @ turn @ place, np.float64)


@dataclass(frozen=True)
class _Slice:
    """One level cut, ready to be laid into pictures: premultiplied colours and opacity."""

    height_m: float
    picture: NDArray[np.uint8]
    """``(H, W, 4)``."""
    to_ground: Matrix
    """3 × 3: its pixels → east and north in metres, from the middle of the thing."""


class LitSite:
    """The site and what stands on it in the light of one sun, to be seen by many cameras."""

    def __init__(self, standing: Iterable[Thing], sun: Sun) -> None:
        self._sun = sun
        self._standing = tuple(standing)
        shade = np.zeros(ground().shape[:2], np.float32)
        for thing in self._standing:
            _cast(shade, thing, sun)
        shade = np.asarray(cv2.GaussianBlur(shade, (0, 0), 1.4), np.float32)
        upright = sin(radians(sun.elevation_deg))
        direct = np.asarray(upright * (1 - np.minimum(shade, 1)), np.float32)
        self._ground = self._seen(ground(), direct)
        self._slices = sorted(
            ((piece, thing) for thing in self._standing for piece in self._cut(thing)),
            key=lambda pair: pair[0].height_m,
        )
        self._moving: dict[tuple[str, int, float], list[_Slice]] = {}

    def picture(self, camera: Camera, moving: Iterable[Thing] = ()) -> Image:
        """``(720, 1280, 3)`` uint8 BGR, without the sensor's noise."""
        onto = camera.plane(0.0) @ _raster_to_ground()
        picture = np.asarray(
            cv2.warpPerspective(self._ground, onto, (WIDTH_PX, HEIGHT_PX), flags=cv2.INTER_LINEAR,
                                borderMode=cv2.BORDER_REFLECT_101),
            np.uint8,
        )  # fmt: skip
        pieces = self._slices
        if walking := [(piece, thing) for thing in moving for piece in self._pieces_of(thing)]:
            pieces = sorted([*pieces, *walking], key=lambda pair: pair[0].height_m)
        for piece, thing in pieces:
            _lay(picture, piece, thing, camera)
        return picture

    def _pieces_of(self, thing: Thing) -> list[_Slice]:
        key = (thing.kind, thing.look, thing.bearing_deg)
        if key not in self._moving:
            self._moving[key] = [self._shadow_of(thing), *self._cut(thing)]
        return self._moving[key]

    def _seen(self, albedo: Albedo, direct: NDArray[np.float32] | float) -> Image:
        """The albedo under this much direct light (1: the sun straight on), as the camera has it;
        ``(H, W, 3)`` uint8."""
        sun = self._sun
        light = np.asarray(direct, np.float32)[..., None] * np.array(_SUN_BGR, np.float32)
        light = sun.strength * light + (1.6 - 0.6 * sun.strength) * np.array(_SKY_BGR, np.float32)
        seen = albedo * light * (_EXPOSURE * sun.exposure * np.array(sun.gain_bgr, np.float32))
        return np.asarray(255 * np.clip(seen, 0, 1) ** _GAMMA, np.uint8)

    def _cut(self, thing: Thing) -> list[_Slice]:
        shape = solid(thing.kind, thing.size_m, thing.look)
        upright = sin(radians(self._sun.elevation_deg))
        top = self._seen(shape.albedo, self._facing(shape, thing))
        flank = self._seen(shape.albedo, _FLANK * upright)
        to_ground = _to_ground(shape, thing.bearing_deg)
        pieces = []
        for height_m in np.arange(_SLICE_M / 2, shape.height_m + _SLICE_M / 2, _SLICE_M):
            there = (shape.lower <= height_m) & (shape.upper > height_m - _SLICE_M / 2)
            if not there.any():
                continue
            is_top = shape.upper < height_m + _SLICE_M / 2
            colour = np.where(is_top[..., None], top, flank)
            opacity = np.where(there, 255, 0).astype(np.uint8)
            layers = np.dstack([np.where(there[..., None], colour, 0), opacity])
            pieces.append(_Slice(float(height_m), layers.astype(np.uint8), to_ground))
        return pieces

    def _facing(self, shape: Solid, thing: Thing) -> NDArray[np.float32]:
        """How squarely each place of its top faces the sun, 0 to 1."""
        smooth = cv2.GaussianBlur(shape.upper, (0, 0), 1.0)
        tail = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=PX_PER_M / 8)
        right = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=PX_PER_M / 8)
        elevation = radians(self._sun.elevation_deg)
        turn = radians(self._sun.azimuth_deg - thing.bearing_deg)
        to_sun = (cos(elevation) * cos(turn), cos(elevation) * sin(turn), sin(elevation))
        steep = np.sqrt(1 + np.clip(tail, -1.5, 1.5) ** 2 + np.clip(right, -1.5, 1.5) ** 2)
        facing = to_sun[0] * np.clip(tail, -1.5, 1.5) - to_sun[1] * np.clip(right, -1.5, 1.5)
        return np.asarray(np.clip((facing + to_sun[2]) / steep, 0.05, 1), np.float32)

    def _shadow_of(self, thing: Thing) -> _Slice:
        """The shadow of something that moves, as a dark slice on the ground."""
        shape = solid(thing.kind, thing.size_m, thing.look)
        reach = int(shape.height_m / tan(radians(self._sun.elevation_deg)) * PX_PER_M) + 4
        side = 2 * reach + max(shape.upper.shape)
        shade = np.zeros((side, side), np.float32)
        to_canvas = np.array([[PX_PER_M, 0, side / 2], [0, -PX_PER_M, side / 2], [0, 0, 1]])
        _shade(shade, shape, to_canvas @ _to_ground(shape, thing.bearing_deg), self._sun)
        opacity = 0.45 * self._sun.strength * np.asarray(cv2.GaussianBlur(shade, (0, 0), 1.4))
        layers = np.dstack([opacity * c for c in (18.0, 8.0, 4.0)] + [opacity * 255])
        return _Slice(0.0, layers.astype(np.uint8), np.linalg.inv(to_canvas))


def _raster_to_ground() -> Matrix:
    return np.array([[1 / PX_PER_M, 0, -MARGIN_M], [0, -1 / PX_PER_M, SITE_NORTH_M + MARGIN_M],
                     [0, 0, 1]])  # fmt: skip


def _to_ground(shape: Solid, bearing_deg: float) -> Matrix:
    """Pixels of the solid → metres east and north of its middle; row 0 is its nose."""
    height, width = shape.upper.shape
    bearing = radians(bearing_deg)
    c, s = cos(bearing) / PX_PER_M, sin(bearing) / PX_PER_M
    middle = np.array([[1, 0, -(width - 1) / 2], [0, 1, -(height - 1) / 2], [0, 0, 1]])
    turn = np.array([[c, -s, 0], [-s, -c, 0], [0, 0, 1]])
    return np.asarray(turn @ middle, np.float64)


def _moved(thing: Thing) -> Matrix:
    return np.array([[1, 0, thing.east_m], [0, 1, thing.north_m], [0, 0, 1]])


def _cast(shade: NDArray[np.float32], thing: Thing, sun: Sun) -> None:
    """Adds the thing's shadow to that of the whole ground."""
    shape = solid(thing.kind, thing.size_m, thing.look)
    reach_m = shape.height_m / tan(radians(sun.elevation_deg)) + max(shape.upper.shape) / PX_PER_M
    left, top = raster_px(thing.east_m - reach_m, thing.north_m + reach_m)
    right, bottom = raster_px(thing.east_m + reach_m, thing.north_m - reach_m)
    rows = slice(max(0, int(top)), max(0, int(bottom)))
    columns = slice(max(0, int(left)), max(0, int(right)))
    place = np.linalg.inv(_raster_to_ground()) @ _moved(thing)
    window = np.array([[1, 0, -columns.start], [0, 1, -rows.start], [0, 0, 1]])
    part = np.ascontiguousarray(shade[rows, columns])
    _shade(part, shape, window @ place @ _to_ground(shape, thing.bearing_deg), sun)
    shade[rows, columns] = part


def _shade(shade: NDArray[np.float32], shape: Solid, onto: Matrix, sun: Sun) -> None:
    """``onto``: pixels of the solid → pixels of ``shade``, north up, `PX_PER_M`."""
    azimuth = radians(sun.azimuth_deg)
    away_px = PX_PER_M / tan(radians(sun.elevation_deg))
    size = (shade.shape[1], shade.shape[0])
    for height_m in np.arange(0.0, shape.height_m, _SHADOW_SLICE_M):
        there = ((shape.lower <= height_m) & (shape.upper > height_m)).astype(np.float32)
        shift = height_m * away_px
        moved = np.array([[1, 0, -shift * sin(azimuth)], [0, 1, shift * cos(azimuth)], [0, 0, 1]])
        np.maximum(shade, cv2.warpAffine(there, (moved @ onto)[:2], size), out=shade)


def _lay(picture: Image, piece: _Slice, thing: Thing, camera: Camera) -> None:
    onto = camera.plane(piece.height_m) @ _moved(thing) @ piece.to_ground
    height, width = piece.picture.shape[:2]
    corners = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], np.float64)
    depth = onto[2] @ np.array([width / 2, height / 2, 1.0])
    if depth <= 0:
        return
    outline = cv2.perspectiveTransform(corners, onto)[0]
    left, top = np.floor(outline.min(axis=0)).astype(int) - 1
    right, bottom = np.ceil(outline.max(axis=0)).astype(int) + 2
    left, top = max(0, left), max(0, top)
    right, bottom = min(WIDTH_PX, right), min(HEIGHT_PX, bottom)
    if left >= right or top >= bottom:
        return
    window = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]])
    layers = cv2.warpPerspective(piece.picture, window @ onto, (int(right - left),
                                 int(bottom - top)))  # fmt: skip
    part = picture[top:bottom, left:right]
    clear = 255 - layers[..., 3:].astype(np.uint16)
    part[:] = (part * clear // 255 + layers[..., :3]).clip(0, 255).astype(np.uint8)
