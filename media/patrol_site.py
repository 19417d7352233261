"""The site that rendered patrols fly over: its ground, and what stands on it, in metres.

East and north count from the site's south-west corner. Colours are albedos, BGR, 0 to 1. The site
looks the same whatever the seed of a flight; only what a flight puts on it differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

SITE_EAST_M, SITE_NORTH_M = 120.0, 80.0
MARGIN_M = 24.0
"""The ground goes on so far around the site; beyond that it is mirrored."""
PX_PER_M = 14

Albedo = NDArray[np.float32]
Rectangle = tuple[float, float, float, float]
"""Western, eastern, southern and northern edge in metres."""

CAR_PARK: Rectangle = (72.0, 104.0, 57.0, 77.0)
ROAD: Rectangle = (-MARGIN_M, SITE_EAST_M + MARGIN_M, 29.0, 36.0)
YARD: Rectangle = (16.0, 44.0, 50.0, 74.0)
_TRACK: Rectangle = (58.0, 61.0, -MARGIN_M, 29.0)
_SOIL: Rectangle = (84.0, 106.0, 6.0, 24.0)

ThingKind = Literal["house", "shed", "tree", "car", "van", "heap", "rubble", "person"]

_GRASS, _DRY, _ASPHALT = (0.05, 0.14, 0.10), (0.12, 0.22, 0.24), (0.115, 0.115, 0.11)
_CONCRETE, _EARTH, _PAINT = (0.30, 0.33, 0.34), (0.12, 0.19, 0.27), (0.72, 0.74, 0.74)
_WALL, _ROOF, _SHEET = (0.36, 0.44, 0.52), (0.09, 0.12, 0.30), (0.33, 0.31, 0.28)
_LACQUERS = (
    (0.62, 0.62, 0.60), (0.05, 0.05, 0.05), (0.06, 0.06, 0.42), (0.36, 0.16, 0.05),
    (0.30, 0.30, 0.30), (0.72, 0.74, 0.76), (0.10, 0.22, 0.10), (0.05, 0.30, 0.55),
)  # fmt: skip
_RUBBISH = (
    (0.02, 0.02, 0.02), (0.70, 0.70, 0.70), (0.45, 0.18, 0.05), (0.12, 0.22, 0.36),
    (0.06, 0.08, 0.45), (0.28, 0.36, 0.42), (0.08, 0.30, 0.50), (0.20, 0.20, 0.20),
)  # fmt: skip
_RUBBLE = (
    (0.03, 0.03, 0.03), (0.62, 0.62, 0.62), (0.30, 0.30, 0.30), (0.11, 0.11, 0.11),
    (0.45, 0.45, 0.45), (0.06, 0.06, 0.06),
)  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """Something on the ground: where its middle is and, for what is long, where its nose points."""

    kind: ThingKind
    east_m: float
    north_m: float
    bearing_deg: float = 90.0
    size_m: float = 0.0
    """Side of a heap or of rubble, radius of a crown; others have sizes of their own."""
    look: int = 0
    """Picks colour and shape."""


@dataclass(frozen=True)
class Solid:
    """A thing as columns over a square raster whose rows run from its nose to its tail.

    ``lower`` and ``upper``: heights in metres where it begins and ends, ``(H, W)``; nothing is
    where they are equal. ``albedo`` ``(H, W, 3)``: its top; its flanks are somewhat darker.
    """

    lower: NDArray[np.float32]
    upper: NDArray[np.float32]
    albedo: Albedo

    @property
    def height_m(self) -> float:
        return float(self.upper.max())


STANDING: tuple[Thing, ...] = (
    Thing("house", 26.0, 14.0, 0.0),
    Thing("house", 112.0, 42.0, 90.0, look=1),
    Thing("shed", 52.0, 66.0, 0.0),
    Thing("tree", 8.0, 24.0, size_m=3.2, look=1),
    Thing("tree", 47.0, 23.0, size_m=2.6, look=2),
    Thing("tree", 68.0, 12.0, size_m=3.4, look=3),
    Thing("tree", 64.0, 70.0, size_m=2.8, look=4),
    Thing("tree", 9.0, 62.0, size_m=3.0, look=5),
    Thing("tree", 78.0, 42.0, size_m=2.4, look=6),
    Thing("tree", 96.0, 47.0, size_m=2.9, look=7),
    Thing("tree", 110.0, 14.0, size_m=3.3, look=8),
)
"""What stands there at every flight."""


def raster_px(east_m: float, north_m: float) -> tuple[float, float]:
    """Column and row of a place in the ground's raster."""
    return (east_m + MARGIN_M) * PX_PER_M, (SITE_NORTH_M + MARGIN_M - north_m) * PX_PER_M


@cache
def ground() -> Albedo:
    """Meadow with a road, a track, a yard, bare soil and a car park, from above, north up."""
    chance = np.random.default_rng(4001)
    height = int((SITE_NORTH_M + 2 * MARGIN_M) * PX_PER_M)
    width = int((SITE_EAST_M + 2 * MARGIN_M) * PX_PER_M)
    shape = (height, width)
    dry = np.clip(0.4 + 0.9 * _noise(chance, shape, 24, 4), 0, 1)[..., None]
    picture = np.array(_GRASS, np.float32) * (1 - dry) + np.array(_DRY, np.float32) * dry
    picture *= 1 + 0.32 * _noise(chance, shape, 3, 4)[..., None]
    _lay(picture, _SOIL, _EARTH, 0.34, chance)
    _lay(picture, _TRACK, _EARTH, 0.26, chance)
    _lay(picture, YARD, _CONCRETE, 0.12, chance)
    _lay(picture, ROAD, _ASPHALT, 0.16, chance)
    _lay(picture, CAR_PARK, _ASPHALT, 0.14, chance)
    _joints(picture)
    _markings(picture)
    _scatter(picture, chance)
    return np.asarray(np.clip(picture, 0.01, 0.95), np.float32)


def _noise(chance: np.random.Generator, shape: tuple[int, int], finest: int, octaves: int
           ) -> Albedo:  # fmt: skip
    """Fractal noise, mean 0, about −1 to 1."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        cell = finest * 2**octave
        small = chance.normal(0, 1, (shape[0] // cell + 2, shape[1] // cell + 2))
        layer = cv2.resize(small.astype(np.float32), (shape[1], shape[0]),
                           interpolation=cv2.INTER_CUBIC)  # fmt: skip
        total += np.asarray(layer, np.float32) * 0.75 ** (octaves - 1 - octave)
    return np.asarray(total / 2, np.float32)


def _window(area: Rectangle) -> tuple[slice, slice]:
    left, top = raster_px(area[0], area[3])
    right, bottom = raster_px(area[1], area[2])
    return slice(round(top), round(bottom)), slice(round(left), round(right))


def _lay(picture: Albedo, area: Rectangle, colour: tuple[float, float, float], rough: float,
         chance: np.random.Generator) -> None:  # fmt: skip
    """A surface with stains of its own and worn edges."""
    part = picture[_window(area)]
    shape = (part.shape[0], part.shape[1])
    tone = 1 + rough * _noise(chance, shape, 2, 6)
    edge = np.zeros(shape, np.float32)
    cv2.rectangle(edge, (3, 3), (shape[1] - 4, shape[0] - 4), (1.0,), -1)
    edge = np.clip(cv2.GaussianBlur(edge, (0, 0), 2.5) + 0.3 * _noise(chance, shape, 4, 2), 0, 1)
    worn = edge[..., None]
    part[:] = part * (1 - worn) + np.array(colour, np.float32) * tone[..., None] * worn


def _joints(picture: Albedo) -> None:
    """Slabs of the yard."""
    part = picture[_window(YARD)]
    step = round(3.5 * PX_PER_M)
    for start in range(step, part.shape[1], step):
        part[:, start : start + 2] *= 0.6
    for start in range(step, part.shape[0], step):
        part[start : start + 2] *= 0.6


def _markings(picture: Albedo) -> None:
    """The road's middle line and the bays of the car park."""
    paint = np.array(_PAINT, np.float32)
    for east_m in np.arange(ROAD[0], ROAD[1], 6.0):
        part = picture[_window((float(east_m), float(east_m) + 3.0, 32.42, 32.58))]
        part[:] = 0.25 * part + 0.75 * paint
    for east_m in np.arange(CAR_PARK[0] + 1.0, CAR_PARK[1], 2.6):
        for south_m in (CAR_PARK[2] + 0.6, CAR_PARK[3] - 5.6):
            line = (float(east_m), float(east_m) + 0.14, south_m, south_m + 5.0)
            part = picture[_window(line)]
            part[:] = 0.3 * part + 0.7 * paint


def _scatter(picture: Albedo, chance: np.random.Generator) -> None:
    """Tufts, stones, repaired asphalt and covers: what a registration can hold on to."""
    height, width = picture.shape[:2]
    for _ in range(900):
        centre = (int(chance.integers(width)), int(chance.integers(height)))
        axes = (int(chance.integers(2, 9)), int(chance.integers(2, 9)))
        x, y = centre
        tone = float(chance.choice([0.45, 0.6, 1.5, 1.8]))
        colour = np.clip(picture[y, x] * tone, 0, 0.8)
        cv2.ellipse(picture, centre, axes, float(chance.integers(180)), 0, 360,
                    tuple(float(c) for c in colour), -1, cv2.LINE_AA)  # fmt: skip
    for area in (ROAD, CAR_PARK, YARD):
        for _ in range(14):
            east = chance.uniform(max(area[0], 0), min(area[1], SITE_EAST_M) - 3)
            north = chance.uniform(area[2] + 0.2, area[3] - 2)
            size = chance.uniform(0.5, 2.4, 2)
            picture[_window((east, east + size[0], north, north + size[1]))] *= chance.choice(
                [0.72, 0.8, 1.25]
            )


@cache
def solid(kind: ThingKind, size_m: float = 0.0, look: int = 0) -> Solid:
    """The shape of a thing; rows run from nose to tail, so a bearing of 0 points north."""
    match kind:
        case "house":
            return _house(look)
        case "shed":
            return _block(7.0, 5.0, 2.8, _SHEET, look, ribs=0.5)
        case "tree":
            return _tree(size_m, look)
        case "car":
            return _car(4.4, 1.8, 1.45, look)
        case "van":
            return _car(5.4, 2.0, 2.3, look)
        case "heap":
            return _heap(size_m, look, _RUBBISH)
        case "rubble":
            return _heap(size_m, look, _RUBBLE)
        case "person":
            return _person(look)


def _raster(length_m: float, width_m: float) -> tuple[int, int]:
    return ceil(length_m * PX_PER_M) + 2, ceil(width_m * PX_PER_M) + 2


def _block(length_m: float, width_m: float, height_m: float, colour: tuple[float, float, float],
           look: int, ribs: float = 0.0) -> Solid:  # fmt: skip
    shape = _raster(length_m, width_m)
    chance = np.random.default_rng(100 + look)
    upper = np.zeros(shape, np.float32)
    upper[1:-1, 1:-1] = height_m
    albedo = np.array(colour, np.float32) * (1 + 0.12 * _noise(chance, shape, 3, 3)[..., None])
    if ribs:
        albedo[:: round(ribs * PX_PER_M)] *= 0.7
    return Solid(np.zeros(shape, np.float32), upper, albedo.astype(np.float32))


def _house(look: int) -> Solid:
    """A ridged roof over walls."""
    house = _block(13.0, 9.0, 4.2, _ROOF if look == 0 else _WALL, 20 + look, ribs=0.6)
    width = house.upper.shape[1]
    slope = 1 - np.abs(np.linspace(-1, 1, width, dtype=np.float32))
    upper = np.where(house.upper > 0, house.upper + 1.6 * slope, 0)
    return Solid(house.lower, upper.astype(np.float32), house.albedo)


def _tree(radius_m: float, look: int) -> Solid:
    """A crown with gaps, above the ground."""
    shape = _raster(2 * radius_m, 2 * radius_m)
    chance = np.random.default_rng(200 + look)
    rows, columns = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j].astype(np.float32)
    lumps = _noise(chance, shape, 5, 3)
    radius = np.hypot(rows, columns) + 0.18 * lumps
    dome = np.sqrt(np.clip(1 - radius**2, 0, 1))
    filled = (dome > 0) & (_noise(chance, shape, 3, 2) > -0.75)
    upper = np.where(filled, 1.3 * radius_m + radius_m * dome * (1 + 0.25 * lumps), 0)
    lower = np.where(filled, 1.3 * radius_m - 0.5 * radius_m * dome, 0)
    leaf = np.array((0.03, 0.11, 0.07), np.float32) * (1 + 0.5 * lumps[..., None])
    return Solid(np.minimum(lower, upper).astype(np.float32), upper.astype(np.float32),
                 np.clip(leaf, 0.01, 0.6).astype(np.float32))  # fmt: skip


def _car(length_m: float, width_m: float, height_m: float, look: int) -> Solid:
    shape = _raster(length_m, width_m)
    length, width = shape
    body = np.zeros(shape, np.uint8)
    corner = round(0.35 * PX_PER_M)
    cv2.rectangle(body, (1 + corner, 1), (width - 2 - corner, length - 2), (1,), -1)
    cv2.rectangle(body, (1, 1 + corner), (width - 2, length - 2 - corner), (1,), -1)
    upper = body.astype(np.float32) * (0.85 if height_m < 2 else 1.1)
    along = np.linspace(0, 1, length)[:, None]
    front, back = (0.30, 0.88) if height_m < 2 else (0.16, 0.98)
    rise = np.clip(np.minimum((along - front) / 0.1, (back - along) / 0.08), 0, 1)
    inner = cv2.erode(body, np.ones((3, 5), np.uint8)).astype(np.float32)
    upper = np.where(inner > 0, upper + (height_m - 0.85) * rise.astype(np.float32), upper)
    albedo = np.empty((*shape, 3), np.float32)
    albedo[:] = _LACQUERS[look % len(_LACQUERS)]
    glass = (rise > 0) & (rise < 0.95) & (inner > 0)
    albedo[glass] = (0.04, 0.035, 0.03)
    albedo[np.broadcast_to(along < 0.025, shape) & (body > 0)] = (0.6, 0.6, 0.6)
    return Solid(np.zeros(shape, np.float32), upper.astype(np.float32), albedo)


def _heap(side_m: float, look: int, pieces_bgr: Sequence[tuple[float, float, float]]) -> Solid:
    """Bags, boards or rubble thrown on one heap, about a third as high as it is wide."""
    shape = _raster(side_m, side_m)
    chance = np.random.default_rng(300 + look)
    rows, columns = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j].astype(np.float32)
    lumps = _noise(chance, shape, 4, 3)
    radius = (rows**4 + columns**4) ** 0.25 + 0.1 * lumps
    mound = np.clip(1.35 * (1 - radius**2), 0, 1)
    albedo = np.empty((*shape, 3), np.float32)
    albedo[:] = (0.14, 0.18, 0.22)
    pieces = np.zeros(shape, np.float32)
    for _ in range(round(7 * side_m * side_m)):
        place = (int(chance.integers(shape[1])), int(chance.integers(shape[0])))
        tone = chance.uniform(0.7, 1.3)
        colour = tuple(tone * c for c in pieces_bgr[int(chance.integers(len(pieces_bgr)))])
        size = (float(chance.uniform(3, 13)), float(chance.uniform(3, 9)))
        outline = cv2.boxPoints((place, size, float(chance.uniform(0, 180)))).astype(np.int32)
        cv2.fillPoly(albedo, [outline], colour, cv2.LINE_AA)
        cv2.fillPoly(pieces, [outline], (float(chance.uniform(-0.15, 0.2)),))
    upper = np.where(mound > 0.06, side_m / 3 * mound * (1 + pieces + 0.12 * lumps), 0)
    return Solid(np.zeros(shape, np.float32), np.clip(upper, 0, None).astype(np.float32),
                 np.clip(albedo, 0.01, 0.9).astype(np.float32))  # fmt: skip


def _person(look: int) -> Solid:
    shape = _raster(0.6, 0.6)
    rows, columns = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j].astype(np.float32)
    shoulders = 1.0 - np.hypot(rows * 1.7, columns)
    head = 0.4 - np.hypot(rows, columns)
    upper = np.where(head > 0, 1.75, np.where(shoulders > 0, 1.45, 0)).astype(np.float32)
    albedo = np.empty((*shape, 3), np.float32)
    albedo[:] = _LACQUERS[look % len(_LACQUERS)]
    albedo[head > 0] = (0.03, 0.04, 0.06)
    return Solid(np.zeros(shape, np.float32), upper, albedo)
