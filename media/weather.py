"""Under what conditions rendered footage is seen: light, weather, sensor, mast and recorder.

`Conditions` says what disturbs a view; the layers here are computed once a clip and laid on each
picture at little cost. Most work on luma alone, where light and noise act.
"""

from dataclasses import dataclass, fields
from typing import Literal

import cv2
import numpy as np

from media.cutouts import FloatImage
from media.footage import Image
from media.scenery import HEIGHT_PX, WIDTH_PX, Camera

DayTime = Literal["day", "dusk", "night"]

_AMBIENT_BGR = {"day": (1.0, 1.0, 1.0), "dusk": (0.62, 0.5, 0.45), "night": (0.34, 0.29, 0.27)}
_LAMP_BGR = (0.42, 0.66, 0.8)
_LAMP_REACH_M = 5.5
_LAMP_UP_M = 4.6
_MARGIN_PX = 96
_BELOW_SKY = np.clip(np.linspace(-0.6, 2.2, 45, dtype=np.float32), 0, 1)[:, None]
"""How much of a cloud's shadow falls on each of 45 rows of the picture: none on the sky."""


@dataclass(frozen=True)
class Sweep:
    """Headlights of a car outside the picture that wander over the ground."""

    start_s: float
    end_s: float
    from_x_m: float
    to_x_m: float
    z_m: float


@dataclass(frozen=True)
class Conditions:
    """What lies over a view. Times are seconds from the first picture."""

    daytime: DayTime = "day"
    wind_px: float = 1.6
    """How far the crowns of trees sway; above 4 it counts as moving foliage."""
    drift: float = 0.015
    """Share by which the light goes up and down slowly."""
    noise: float = 2.0
    """Standard deviation of the sensor's noise in grey levels; above 4 it counts."""
    rain: float = 0.0
    """0 to 1."""
    wet: bool = False
    """The ground mirrors what stands on it."""
    puddles: int = 0
    clouds: float = 0.0
    """Share of light that the shadow of a cloud takes."""
    leaf_shade: float = 0.0
    """Share of light that the moving shadows of leaves take."""
    headlights: tuple[Sweep, ...] = ()
    light_steps: tuple[tuple[float, float], ...] = ()
    """``(from_s, gain)``: a lamp or the exposure is switched."""
    shake_px: float = 0.0
    insects: int = 0
    web: bool = False
    caption: str | None = None
    """A recorder's text with a running clock."""
    dropped_s: tuple[tuple[float, float], ...] = ()
    blocky: bool = False
    """Compressed too strongly."""
    covered_s: float | None = None
    black_s: float | None = None
    frozen_s: float | None = None
    defocused_s: float | None = None
    turned_s: float | None = None
    pan_px: float = 0.0
    """The camera pans to and fro by so much."""
    handheld_px: float = 0.0

    @property
    def disturbances(self) -> tuple[str, ...]:
        """Names of all that is out of the ordinary."""
        plain = Conditions()
        named: list[str] = [] if self.daytime == "day" else [self.daytime]
        for field in fields(self):
            value = getattr(self, field.name)
            ordinary = {"wind_px": self.wind_px < 4, "noise": self.noise < 4,
                        "drift": self.drift < 0.05, "daytime": True}  # fmt: skip
            if value != getattr(plain, field.name) and not ordinary.get(field.name, False):
                named.append(field.name.removesuffix("_s").removesuffix("_px"))
        return tuple(named)

    def gain(self, t_s: float) -> float:
        """The light's slow drift and its switches, as a factor."""
        wave = 0.6 * np.sin(2 * np.pi * t_s / 23) + 0.4 * np.sin(2 * np.pi * t_s / 9.1 + 1)
        gain = 1 + self.drift * float(wave)
        for from_s, factor in self.light_steps:
            if t_s >= from_s:
                gain = (1 + self.drift * float(wave)) * factor
        return gain


def light_map(daytime: DayTime, lamps_m: tuple[tuple[float, float], ...], camera: Camera,
              back_z_m: float) -> Image | None:  # fmt: skip
    """Share of light on each pixel ``(720, 1280, 3)``, 255 for all of it; None in full daylight."""
    if daytime == "day":
        return None
    rows, columns = HEIGHT_PX // 8, WIDTH_PX // 8
    v, u = np.mgrid[0:rows, 0:columns].astype(np.float32) * 8 + 4
    pitch = np.radians(camera.pitch_deg)
    down = (v - HEIGHT_PX / 2) / camera.focal_px
    fall = np.sin(pitch) + down * np.cos(pitch)
    ahead = np.cos(pitch) - down * np.sin(pitch)
    z_m = np.where(fall > 1e-3, camera.height_m * ahead / np.maximum(fall, 1e-3), 1e3)
    wall = z_m > back_z_m
    reach = np.where(wall, back_z_m / ahead, camera.height_m / np.maximum(fall, 1e-3))
    z_m = np.minimum(z_m, back_z_m)
    x_m = (u - WIDTH_PX / 2) / camera.focal_px * reach
    y_m = np.where(wall, camera.height_m - reach * fall, 0.0)
    light = np.ones((rows, columns, 3), np.float32) * np.array(_AMBIENT_BGR[daytime], np.float32)
    strength = 0.85 if daytime == "night" else 0.35
    for lamp_x, lamp_z in lamps_m:
        away2 = (x_m - lamp_x) ** 2 + (z_m - lamp_z) ** 2 + np.clip(y_m - _LAMP_UP_M, 0, None) ** 2
        pool = strength / (1 + away2 / _LAMP_REACH_M**2) ** 1.6
        light += pool[..., None] * np.array(_LAMP_BGR, np.float32)
    big = cv2.resize(light, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
    return np.clip(255 * big, 0, 255).astype(np.uint8)


def add_pool(light: Image, x_px: float, y_px: float, size_px: tuple[int, int]) -> None:
    """Lay the light of two headlamps onto the light map, in place."""
    pool = _pool(*size_px)
    height, width = pool.shape[:2]
    left, top = round(x_px - width / 2), round(y_px - height / 2)
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(light.shape[1], left + width), min(light.shape[0], top + height)
    if x0 < x1 and y0 < y1:
        part = light[y0:y1, x0:x1]
        part[:] = cv2.add(part, pool[y0 - top : y1 - top, x0 - left : x1 - left])


_POOLS: dict[tuple[int, int], Image] = {}


def _pool(width: int, height: int) -> Image:
    key = (max(8, width), max(8, height))
    if key not in _POOLS:
        y = np.linspace(-1, 1, key[1], dtype=np.float32)[:, None]
        x = np.linspace(-1, 1, key[0], dtype=np.float32)[None]
        bright = np.exp(-2.6 * ((x / 0.75) ** 2 + (y / 0.7) ** 2)) * np.clip(
            4 * (1 - np.hypot(x, y)), 0, 1
        )
        warm = np.array((150, 180, 190), np.float32)
        _POOLS[key] = np.ascontiguousarray((bright[..., None] * warm).astype(np.uint8))
    return _POOLS[key]


class LumaLayers:
    """Rain, noise, clouds, insects… over the luma of pictures of one size, in order of time."""

    def __init__(self, conditions: Conditions, size_px: tuple[int, int], seed: int) -> None:
        self._is = conditions
        self._width, self._height = size_px
        self._chance = np.random.default_rng([seed, 5])
        chance = np.random.default_rng([seed, 3])
        shape = (self._height + _MARGIN_PX, self._width + _MARGIN_PX)
        self._noise = _grain(chance, shape, conditions.noise)
        half = (shape[0] // 2, shape[1] // 2)
        self._chroma = _grain(chance, half, conditions.noise * 0.6)
        self._rain = [_streaks(chance, shape, conditions.rain) for _ in range(4)]
        self._clouds = _cloud_field(chance, conditions.clouds)
        self._leaves = _leaf_field(chance, shape, conditions.leaf_shade)
        self._web = _threads(chance, shape) if conditions.web else None
        self._insects = chance.uniform(0.4, 1.6, (conditions.insects, 8))

    def lay_on(self, planes: Image, t_s: float) -> None:
        """Change ``(H × 3/2, W)`` uint8 planes of 4:2:0 in place."""
        luma = planes[: self._height]
        if self._clouds is not None:
            self._shade_clouds(luma, self._clouds, t_s)
        if self._leaves is not None:
            self._shade_leaves(luma, self._leaves, t_s)
        if self._web is not None:
            cv2.add(luma, self._window(self._web, *_sway(t_s)), dst=luma)
        self._fly_insects(luma, t_s)
        contrast, lift = 1.0, -128.0
        if self._is.rain > 0:
            layer = self._rain[int(self._chance.integers(4))]
            cv2.add(luma, self._window(layer, *self._offsets()), dst=luma)
            contrast, lift = 1 - 0.14 * self._is.rain, -128 + 20 * self._is.rain
        grain = self._window(self._noise, *self._offsets())
        cv2.addWeighted(luma, contrast, grain, 1.0, lift, dst=luma)
        if self._is.noise > 4:
            self._colour_noise(planes)

    def _offsets(self) -> tuple[int, int]:
        y, x = self._chance.integers(0, _MARGIN_PX, 2)
        return int(y), int(x)

    def _window(self, layer: Image, y: int, x: int) -> Image:
        return layer[y : y + self._height, x : x + self._width]

    def _colour_noise(self, planes: Image) -> None:
        quarter = self._height // 4
        for number in range(2):
            start = self._height + number * quarter
            plane = planes[start : start + quarter].reshape(self._height // 2, self._width // 2)
            y, x = (int(v) for v in self._chance.integers(0, _MARGIN_PX // 2 - 2, 2))
            grain = self._chroma[y : y + plane.shape[0], x : x + plane.shape[1]]
            cv2.addWeighted(plane, 1.0, grain, 1.0, -128.0, dst=plane)

    def _shade_clouds(self, luma: Image, field: Image, t_s: float) -> None:
        at = 40 + (2.2 * t_s) % (field.shape[1] - 84), field.shape[0] / 2
        part = 255 - _BELOW_SKY * (255.0 - cv2.getRectSubPix(field, (80, 45), at))
        part = part.astype(np.uint8)
        big = cv2.resize(part, (self._width, self._height), interpolation=cv2.INTER_LINEAR)
        cv2.multiply(luma, big, dst=luma, scale=1 / 255)

    def _shade_leaves(self, luma: Image, field: Image, t_s: float) -> None:
        top = int(0.42 * self._height)
        # Two shadows of branches that sway at different paces.
        for pace, reach in ((2.3, 9.0), (3.7, 14.0)):
            x = int(_MARGIN_PX / 2 + reach * np.sin(2 * np.pi * t_s / pace))
            y = int(_MARGIN_PX / 2 + 0.5 * reach * np.sin(2 * np.pi * t_s / (1.6 * pace) + pace))
            part = self._window(field, y, x)[top:]
            cv2.multiply(luma[top:], part, dst=luma[top:], scale=1 / 255)

    def _fly_insects(self, luma: Image, t_s: float) -> None:
        for number, a in enumerate(self._insects):
            if np.sin(2 * np.pi * t_s * a[0] / 7 + 9 * a[1]) < 0.2:
                continue
            x = 0.5 + 0.6 * np.sin(2.1 * a[2] * t_s + 7 * a[3]) + 0.05 * np.sin(19 * t_s * a[4])
            y = 0.5 + 0.6 * np.sin(1.7 * a[5] * t_s + 5 * a[6]) + 0.05 * np.sin(23 * t_s * a[7])
            radius = int((0.012 + 0.014 * (number % 3)) * self._width)
            _add_blob(luma, int(x * self._width), int(y * self._height), radius)


def _sway(t_s: float) -> tuple[int, int]:
    y = _MARGIN_PX / 2 + 3 * np.sin(2 * np.pi * t_s / 3.1)
    return int(y), int(_MARGIN_PX / 2 + 5 * np.sin(2 * np.pi * t_s / 4.3 + 1))


def _grain(chance: np.random.Generator, shape: tuple[int, int], sigma: float) -> Image:
    fine = chance.normal(0, 0.8 * sigma, shape).astype(np.float32)
    coarse = cv2.GaussianBlur(chance.normal(0, 1.6 * sigma, shape).astype(np.float32), (0, 0), 1.2)
    return np.asarray(np.clip(128 + fine + coarse, 0, 255).round(), np.uint8)


def _streaks(chance: np.random.Generator, shape: tuple[int, int], strength: float) -> Image:
    layer = np.zeros(shape, np.uint8)
    if strength <= 0:
        return layer
    slant = 0.16
    for _ in range(int(620 * strength * shape[0] * shape[1] / 400_000)):
        x, y = int(chance.uniform(0, shape[1])), int(chance.uniform(0, shape[0]))
        length = int(chance.uniform(8, 30) * (0.5 + strength) * shape[0] / 500)
        end = (int(x - slant * length), y + length)
        cv2.line(layer, (x, y), end, (int(chance.uniform(18, 66)),), 1, cv2.LINE_AA)
    return layer


def _cloud_field(chance: np.random.Generator, depth: float) -> Image | None:
    if depth <= 0:
        return None
    total = np.zeros((60, 2000), np.float32)
    for cell, weight in ((30, 1.0), (14, 0.5), (6, 0.25)):
        small = chance.normal(0, 1, (60 // cell + 2, 2000 // cell + 2)).astype(np.float32)
        total += weight * cv2.resize(small, (2000, 60), interpolation=cv2.INTER_CUBIC)
    share = 1 - depth / (1 + np.exp(-4 * total))
    return np.asarray(np.clip(255 * share, 0, 255), np.uint8)


def _leaf_field(chance: np.random.Generator, shape: tuple[int, int], depth: float) -> Image | None:
    """Dappled shade, thinner towards the sides."""
    if depth <= 0:
        return None
    field = np.zeros(shape, np.float32)
    for cell, weight in ((5, 0.6), (13, 1.0)):
        small = chance.normal(0, weight, (shape[0] // cell, shape[1] // (2 * cell)))
        size = (shape[1], shape[0])
        field += cv2.resize(small.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    x = np.linspace(0, 1, shape[1], dtype=np.float32)[None]
    centre = float(chance.uniform(0.25, 0.75))
    y = (np.arange(shape[0], dtype=np.float32)[:, None] - _MARGIN_PX / 2) / (shape[0] - _MARGIN_PX)
    # Nearer than the walls, and softly so.
    under = np.exp(-(((x - centre) / 0.3) ** 4)) * np.clip((y - 0.5) / 0.16, 0, 1)
    shade = depth * under / (1 + np.exp(-4 * (field - 0.2)))
    return np.asarray(np.clip(255 * (1 - 0.55 * shade), 0, 255), np.uint8)


def _threads(chance: np.random.Generator, shape: tuple[int, int]) -> Image:
    """A spider's web before the lens: bright, unsharp threads from a corner."""
    layer = np.zeros(shape, np.uint8)
    hub = np.array((chance.uniform(0.0, 0.2) * shape[1], chance.uniform(0.0, 0.25) * shape[0]))
    rays = [(angle, chance.uniform(0.45, 0.8) * shape[1]) for angle in np.linspace(-0.2, 1.7, 9)]
    for angle, length in rays:
        tip = hub + length * np.array((np.cos(angle), np.sin(angle)))
        cv2.line(layer, tuple(map(int, hub)), tuple(map(int, tip)), (90,), 2, cv2.LINE_AA)
    for share in (0.15, 0.28, 0.42, 0.58):
        ring = [hub + share * 0.6 * shape[1] * np.array((np.cos(a), np.sin(a))) for a, _ in rays]
        cv2.polylines(layer, [np.array(ring, np.int32)], False, (80,), 2, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(layer, (0, 0), 1.6), np.uint8)


def _add_blob(luma: Image, x: int, y: int, radius: int) -> None:
    left, top = x - radius, y - radius
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(luma.shape[1], x + radius), min(luma.shape[0], y + radius)
    if x0 >= x1 or y0 >= y1:
        return
    grid = np.linspace(-1, 1, 2 * radius, dtype=np.float32)
    blob = 150 * np.exp(
        -3.2 * (grid[:, None] ** 2 + (0.55 * grid[None] + 0.3 * grid[:, None]) ** 2)
    )
    blob = (blob * np.clip(3 * (1 - np.hypot(grid[:, None], grid[None])), 0, 1)).astype(np.uint8)
    part = luma[y0:y1, x0:x1]
    part[:] = cv2.add(part, blob[y0 - top : y1 - top, x0 - left : x1 - left])


def cloth(size_px: tuple[int, int], seed: int) -> Image:
    """What a lens sees that is covered: unsharp dark folds, ``(H, W, 3)``."""
    chance = np.random.default_rng([seed, 11])
    small = chance.normal(0, 1, (6, 9)).astype(np.float32)
    field = cv2.resize(small, size_px, interpolation=cv2.INTER_CUBIC)
    colour = np.array(chance.uniform(24, 60, 3), np.float32)
    folds: FloatImage = (colour * (1 + 0.22 * field[..., None])).astype(np.float32)
    return np.clip(folds, 0, 255).astype(np.uint8)
