"""Things that people leave, drop, throw or carry in rendered footage, drawn without a model.

Each is drawn once a process at a few hundred pixels and scaled where it is used. Light falls from
the upper left, as on the real people of `media.cutouts`.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import cv2
import numpy as np

from media.cutouts import Cutout, FloatImage
from media.footage import Image

ThingKind = Literal[
    "black bag", "white bag", "blue bag", "box", "mattress", "board", "bucket", "tyre", "heap",
    "sack", "bottle", "can", "small bag", "crate", "broom", "bicycle",
]  # fmt: skip
Colour = tuple[float, float, float]
Point = tuple[float, float]

_SIDE_PX = 240


@dataclass(frozen=True)
class Thing:
    """A kind of thing and how high it stands or lies."""

    kind: ThingKind
    height_m: float
    variant: int = 0
    """Chooses creases, stones, prints and tone."""

    def cutout(self) -> Cutout:
        return _drawn(self.kind, self.variant)

    @property
    def width_m(self) -> float:
        height, width = self.cutout().alpha.shape[:2]
        return float(self.height_m * width / height)


_SACKS: dict[str, tuple[Colour, float]] = {
    "black bag": ((38, 36, 34), 95),
    "white bag": ((186, 190, 190), 50),
    "blue bag": ((150, 96, 44), 80),
    "sack": ((104, 140, 166), 22),
    "small bag": ((196, 190, 160), 60),
}
"""Colour, and how much the film shines."""
_CARTONS: dict[str, Colour] = {"box": (92, 132, 168), "crate": (62, 92, 54)}
_SLABS: dict[str, tuple[Colour, float]] = {
    "mattress": ((176, 186, 196), 4.6),
    "board": ((88, 126, 164), 5.7),
}
"""Colour, and length over height."""
_TWO_TONES: dict[str, tuple[Colour, Colour]] = {
    "bucket": ((60, 70, 190), (170, 150, 60)),
    "bottle": ((196, 190, 170), (70, 140, 60)),
    "can": ((190, 140, 50), (50, 50, 196)),
}
"""Colours of even and odd variants."""


@cache
def _drawn(kind: ThingKind, variant: int) -> Cutout:
    chance = np.random.default_rng([sum(kind.encode()), variant])
    tone = float(chance.uniform(0.85, 1.15))
    if kind in _SACKS:
        colour, shine = _SACKS[kind]
        return _sack(chance, _toned(colour, tone), shine)
    if kind in _CARTONS:
        return _box(chance, _toned(_CARTONS[kind], tone))
    if kind in _SLABS:
        colour, ratio = _SLABS[kind]
        return _slab(chance, _toned(colour, tone), ratio)
    if kind in _TWO_TONES:
        draw = {"bucket": _bucket, "bottle": _lying_bottle, "can": _lying_can}[kind]
        return draw(_toned(_TWO_TONES[kind][variant % 2], tone))
    if kind == "heap":
        return _heap(chance)
    return {"tyre": _tyre, "broom": _broom, "bicycle": _bicycle}[kind]()


def _toned(colour: Colour, tone: float) -> Colour:
    blue, green, red = colour
    return blue * tone, green * tone, red * tone


def _fractal(chance: np.random.Generator, height: int, width: int, cells: tuple[int, int]
             ) -> FloatImage:  # fmt: skip
    """Smooth noise ``(height, width)`` of about ±1; ``cells`` are its finest bumps, y and x."""
    total: FloatImage = np.zeros((height, width), np.float32)
    for octave in range(4):
        rows, columns = max(2, cells[0] >> octave), max(2, cells[1] >> octave)
        small = chance.normal(0, 1, (rows, columns)).astype(np.float32)
        layer = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        total = (total + layer * 0.5 ** (3 - octave) * 0.6).astype(np.float32)
    return total


def _cut(image: FloatImage, mask: Image, soft: float = 1.0) -> Cutout:
    """Cropped to the smallest rectangle around the mask (0–255)."""
    alpha = cv2.GaussianBlur(mask, (0, 0), soft).astype(np.float32)[..., None] / 255
    ys, xs = np.nonzero(alpha[..., 0] > 0.5)
    window = slice(int(ys.min()), int(ys.max()) + 1), slice(int(xs.min()), int(xs.max()) + 1)
    return Cutout(
        np.ascontiguousarray(np.clip(image[window], 0, 255).astype(np.float32)),
        np.ascontiguousarray(alpha[window]),
    )


def _polygon(shape: tuple[int, int], corners: list[Point], value: int = 255) -> Image:
    """A mask with one polygon; corners are fractions of width and height."""
    mask = np.zeros(shape, np.uint8)
    height, width = shape
    points = np.array([(x * width * 16, y * height * 16) for x, y in corners], np.int32)
    cv2.fillPoly(mask, [points], (value,), cv2.LINE_AA, 4)
    return mask


def _sack(chance: np.random.Generator, colour: Colour, shine: float) -> Cutout:
    """A tied refuse sack of thin film: a slumped body, a knot with ears, creases that gleam."""
    size = _SIDE_PX
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    radius = np.full(angles.shape, 0.37)
    for k in (2, 3, 5, 7):
        radius *= 1 + chance.uniform(-0.05, 0.05) * np.sin(k * angles + chance.uniform(0, 6.3))
    body = [
        (0.5 + 1.12 * r * np.cos(a), min(0.985, 0.63 + 0.98 * r * np.sin(a)))
        for a, r in zip(angles, radius, strict=True)
    ]
    knot_x = 0.5 + float(chance.uniform(-0.09, 0.09))
    neck = [(knot_x - 0.2, 0.38), (knot_x - 0.05, 0.19), (knot_x - 0.12, 0.03),
            (knot_x - 0.02, 0.1), (knot_x + 0.05, 0.01), (knot_x + 0.07, 0.1),
            (knot_x + 0.16, 0.06), (knot_x + 0.06, 0.2), (knot_x + 0.21, 0.4)]  # fmt: skip
    shape = cv2.max(_polygon((size, size), body), _polygon((size, size), neck))
    mask = np.where(cv2.GaussianBlur(shape, (0, 0), 3) > 127, 255, 0).astype(np.uint8)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    bulk = 1.12 - 0.75 * np.clip((y - 0.45) * 1.1, 0, 1) - 0.35 * np.clip(x - 0.55, 0, 1)
    folds = _fractal(chance, size, size, (20, 34))
    ridges = np.exp(-((folds / 0.13) ** 2)) * np.exp(-(((x - 0.38) / 0.34) ** 2))
    light = np.clip(bulk * (1 + 0.16 * folds), 0.25, 1.5)[..., None]
    image = np.array(colour, np.float32) * light + (shine * ridges * (1.15 - y))[..., None]
    return _cut(image.astype(np.float32), mask)


def _box(chance: np.random.Generator, colour: Colour) -> Cutout:
    """A carton seen from its front and a little from the side and above."""
    height, width = _SIDE_PX, int(_SIDE_PX * 1.35)
    top, side = 0.2, 0.78
    faces = (
        ([(0.02, top), (side, top + 0.02), (side, 0.98), (0.02, 0.97)], 1.0),
        ([(side, top + 0.02), (0.98, 0.12), (0.98, 0.84), (side, 0.98)], 0.66),
        ([(0.02, top), (0.24, 0.04), (0.98, 0.12), (side, top + 0.02)], 1.22),
    )
    image = np.zeros((height, width, 3), np.float32)
    mask = np.zeros((height, width), np.uint8)
    grain = 1 + 0.05 * _fractal(chance, height, width, (30, 40))[..., None]
    for corners, light in faces:
        face = _polygon((height, width), corners)
        image[face > 127] = np.array(colour, np.float32) * light
        mask |= face
    image *= grain
    tape = [(0.33, top + 0.004), (0.42, top + 0.006), (0.42, 0.42), (0.33, 0.42)]
    image[_polygon((height, width), tape) > 127] *= (0.86, 0.92, 1.06)
    label = [(0.5, 0.6), (0.7, 0.6), (0.7, 0.8), (0.5, 0.8)]
    image[_polygon((height, width), label) > 127] *= (1.5, 1.28, 1.12)
    return _cut(cv2.GaussianBlur(image, (0, 0), 0.8).astype(np.float32), mask)


def _slab(chance: np.random.Generator, colour: Colour, ratio: float) -> Cutout:
    """Something long and flat that lies on the ground: its upper side and its near edge."""
    rows, columns = 150, int(150 * ratio)
    image = np.zeros((rows, columns, 3), np.float32)
    upper = _polygon((rows, columns), [(0.1, 0.02), (0.99, 0.05), (0.9, 0.55), (0.01, 0.52)])
    edge = _polygon((rows, columns), [(0.01, 0.52), (0.9, 0.55), (0.9, 0.98), (0.01, 0.95)])
    end = _polygon((rows, columns), [(0.9, 0.55), (0.99, 0.05), (0.99, 0.45), (0.9, 0.98)])
    for face, light in ((upper, 1.12), (edge, 0.8), (end, 0.6)):
        image[face > 127] = np.array(colour, np.float32) * light
    stripes = 1 + 0.05 * np.sign(np.sin(np.arange(columns) / columns * 70))[None, :, None]
    image *= stripes * (1 + 0.09 * _fractal(chance, rows, columns, (10, 60))[..., None])
    mask: Image = upper | edge | end
    return _cut(cv2.GaussianBlur(image, (0, 0), 0.8).astype(np.float32), mask)


def _bucket(colour: Colour) -> Cutout:
    size = _SIDE_PX
    mask = _polygon((size, size), [(0.08, 0.12), (0.92, 0.12), (0.76, 0.95), (0.24, 0.95)])
    cv2.ellipse(mask, (size // 2, int(0.95 * size)), (int(0.26 * size), 9), 0, 0, 360, 255, -1)
    cv2.ellipse(mask, (size // 2, int(0.12 * size)), (int(0.42 * size), 22), 0, 0, 360, 255, -1)
    x = np.linspace(-1, 1, size, dtype=np.float32)
    light = np.clip(1.2 - 0.7 * (x + 0.3) ** 2, 0.3, 1.3)[None, :, None]
    image = (np.array(colour, np.float32) * np.repeat(light, size, 0)).astype(np.float32)
    centre, axes = (size // 2, int(0.12 * size)), (int(0.38 * size), 17)
    dark = tuple(0.35 * c for c in colour)
    cv2.ellipse(image, centre, axes, 0, 0, 360, dark, -1, cv2.LINE_AA)
    cv2.ellipse(image, centre, (int(0.42 * size), 22), 0, 0, 360,
                tuple(1.3 * c for c in colour), 4, cv2.LINE_AA)  # fmt: skip
    cv2.ellipse(image, (size // 2, int(0.3 * size)), (int(0.38 * size), int(0.36 * size)), 0, 10,
                170, (150, 150, 150), 4, cv2.LINE_AA)  # fmt: skip
    return _cut(image, mask)


def _tyre() -> Cutout:
    """A tyre that lies on its side."""
    height, width = 110, 260
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (130, 66), (126, 40), 0, 0, 360, 255, -1, cv2.LINE_AA)
    cv2.ellipse(mask, (130, 44), (126, 40), 0, 0, 360, 255, -1, cv2.LINE_AA)
    mask[44:66, 4:256] = 255
    image = np.full((height, width, 3), (44, 44, 46), np.float32)
    image[:, :90] *= 1.2
    for x in range(8, 256, 9):
        image[60:, x : x + 3] *= 0.6
    cv2.ellipse(image, (130, 44), (124, 38), 0, 0, 360, (74, 74, 76), -1, cv2.LINE_AA)
    cv2.ellipse(image, (130, 46), (74, 21), 0, 0, 360, (20, 20, 20), -1, cv2.LINE_AA)
    return _cut(image, mask)


def _heap(chance: np.random.Generator) -> Cutout:
    """Building rubble: stones, bricks and planks on a low pile of earth."""
    height, width = 200, 480
    xs = np.linspace(0.01, 0.99, 40)
    tops = 0.95 - 0.78 * np.sin(np.pi * xs) ** 1.2 * (1 + chance.normal(0, 0.07, 40))
    outline = [*zip(xs.tolist(), np.clip(tops, 0.03, 0.95).tolist(), strict=True),
               (0.99, 0.97), (0.01, 0.97)]  # fmt: skip
    mask = _polygon((height, width), outline)
    earth = 1 + 0.3 * _fractal(chance, height, width, (60, 140))[..., None]
    image = (np.array((84, 104, 122), np.float32) * earth).astype(np.float32)
    colours = ((150, 156, 160), (76, 92, 150), (120, 126, 130), (96, 140, 172), (60, 64, 66))
    for _ in range(150):
        x, y = float(chance.uniform(0, width)), float(chance.uniform(0, height))
        size = (float(chance.uniform(8, 34)), float(chance.uniform(6, 15)))
        corners = cv2.boxPoints(((x, y), size, float(chance.uniform(-50, 50))))
        shade = float(chance.uniform(0.65, 1.15)) * (1.2 - 0.5 * y / height)
        colour = tuple(shade * c for c in colours[int(chance.integers(len(colours)))])
        dark = tuple(0.4 * c for c in colour)
        cv2.fillPoly(image, [(corners + np.array((2, 3))).astype(np.int32)], dark)
        cv2.fillPoly(image, [corners.astype(np.int32)], colour, cv2.LINE_AA)
    return _cut(cv2.GaussianBlur(image, (0, 0), 0.9).astype(np.float32), mask, 1.4)


def _lying_bottle(colour: Colour) -> Cutout:
    height, width = 76, 250
    body = [(0.02, 0.1), (0.66, 0.04), (0.8, 0.34), (0.98, 0.36), (0.98, 0.66), (0.8, 0.68),
            (0.66, 0.97), (0.02, 0.92)]  # fmt: skip
    mask = _polygon((height, width), body)
    y = np.linspace(-1, 1, height, dtype=np.float32)
    light = np.clip(1.25 - 0.8 * (y + 0.35) ** 2, 0.3, 1.4)[:, None, None]
    image = (np.array(colour, np.float32) * np.repeat(light, width, 1)).astype(np.float32)
    image[:, 60:120] = image[:, 60:120] * 0.4 + 110
    image[:, -26:] = (60, 60, 170)
    return _cut(image, mask)


def _lying_can(colour: Colour) -> Cutout:
    height, width = 100, 175
    mask = _polygon((height, width), [(0.04, 0.04), (0.96, 0.04), (0.96, 0.96), (0.04, 0.96)])
    y = np.linspace(-1, 1, height, dtype=np.float32)
    light = np.clip(1.3 - 0.9 * (y + 0.4) ** 2, 0.3, 1.5)[:, None, None]
    image = (np.array(colour, np.float32) * np.repeat(light, width, 1)).astype(np.float32)
    image[:, 70:110] = image[:, 70:110] * 0.3 + 150
    image[:, :18] = image[:, -18:] = (172, 172, 172)
    return _cut(image, mask)


def _broom() -> Cutout:
    """A broom held aslant, its bristles on the ground to the right."""
    height, width = 300, 150
    mask = np.zeros((height, width), np.uint8)
    image = np.full((height, width, 3), (96, 140, 176), np.float32)
    cv2.line(mask, (14, 8), (116, 262), 255, 8, cv2.LINE_AA)
    bristles = np.array([(96, 254), (128, 244), (146, 292), (100, 296)], np.int32)
    cv2.fillPoly(mask, [bristles], (255,), cv2.LINE_AA)
    cv2.fillPoly(image, [bristles], (44, 120, 60))
    return _cut(image, mask)


def _bicycle() -> Cutout:
    """A bicycle from the side, front wheel to the right."""
    height, width = 220, 370
    mask = np.zeros((height, width), np.uint8)
    image = np.full((height, width, 3), (52, 50, 48), np.float32)
    back, front, pedal, seat, bar = (70, 146), (300, 146), (168, 150), (140, 40), (270, 28)
    for wheel in (back, front):
        cv2.circle(mask, wheel, 66, (255,), 6, cv2.LINE_AA)
        cv2.circle(mask, wheel, 9, (255,), -1, cv2.LINE_AA)
        for spoke in range(9):
            angle = 2 * np.pi * spoke / 9
            rim = (int(wheel[0] + 66 * np.cos(angle)), int(wheel[1] + 66 * np.sin(angle)))
            cv2.line(mask, wheel, rim, (110,), 1, cv2.LINE_AA)
    for one, other in ((back, pedal), (back, (146, 62)), (seat, pedal), ((146, 62), (262, 60)),
                       (pedal, (264, 66)), (bar, front)):  # fmt: skip
        cv2.line(mask, one, other, (255,), 8, cv2.LINE_AA)
        cv2.line(image, one, other, (60, 60, 170), 10)
    cv2.line(mask, (118, 36), (166, 40), (255,), 11, cv2.LINE_AA)
    cv2.line(mask, (246, 22), (288, 26), (255,), 8, cv2.LINE_AA)
    return _cut(image, mask)
