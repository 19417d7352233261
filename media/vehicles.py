"""Road vehicles for rendered footage: drawn from the side, and the real bus in other colours.

All face to the left. Drawn at `_PX_PER_M`, once a process; the detector in use takes the drawn
ones for cars and trucks, too.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import cv2
import numpy as np

from media.cutouts import BUS_HEIGHT_M, Cutout, FloatImage, bus
from media.footage import Image

VehicleKind = Literal["hatchback", "saloon", "van", "flatbed", "refuse truck", "minibus"]
Colour = tuple[float, float, float]
Corners = list[tuple[float, float]]

_PX_PER_M = 130
_LACQUER = (
    (0.0, 0.12, 0.2, 0.36, 0.44, 0.5, 0.75, 1.0),
    (1.3, 1.2, 1.14, 1.02, 1.14, 0.9, 0.8, 0.5),
    (34, 20, 6, 8, 26, 2, 1, 0),
)
"""From roof to sill: place, factor on the colour, light added to it."""
_GLASS: Colour = (66, 58, 50)


@dataclass(frozen=True)
class _Body:
    """An outline and what is on it, in metres from the front (x) and from the ground (y)."""

    length_m: float
    height_m: float
    outline: tuple[tuple[float, float], ...]
    windows: tuple[tuple[tuple[float, float], ...], ...]
    wheels_m: tuple[float, ...]
    wheel_radius_m: float
    doors_m: tuple[float, ...] = ()
    sill_m: float = 0.2
    box: tuple[float, float, float, float] | None = None
    """Left, right, lower and upper edge of a body of other colour behind the cab."""


_BODIES: dict[str, _Body] = {
    "hatchback": _Body(
        4.1, 1.5,
        ((0.02, 0.42), (0.06, 0.66), (0.22, 0.78), (0.95, 0.92), (1.2, 0.98), (1.75, 1.4),
         (2.1, 1.49), (3.1, 1.48), (3.6, 1.38), (3.95, 0.98), (4.07, 0.86), (4.08, 0.42),
         (3.95, 0.24), (0.2, 0.22)),
        (((1.42, 1.0), (1.86, 1.36), (2.32, 1.41), (2.36, 0.99)),
         ((2.46, 0.99), (2.44, 1.41), (3.05, 1.39), (3.12, 0.99)),
         ((3.22, 1.0), (3.16, 1.38), (3.42, 1.34), (3.68, 1.0))),
        (0.78, 3.32), 0.32, (1.36, 2.41, 3.17),
    ),
    "saloon": _Body(
        4.7, 1.46,
        ((0.02, 0.42), (0.05, 0.62), (0.2, 0.76), (1.15, 0.9), (1.4, 0.95), (2.0, 1.36),
         (2.35, 1.45), (3.2, 1.43), (3.55, 1.33), (4.05, 1.0), (4.55, 0.95), (4.67, 0.82),
         (4.68, 0.42), (4.55, 0.24), (0.2, 0.22)),
        (((1.62, 0.97), (2.12, 1.32), (2.58, 1.37), (2.62, 0.96)),
         ((2.72, 0.96), (2.7, 1.37), (3.2, 1.34), (3.46, 1.22), (3.72, 0.98))),
        (0.86, 3.78), 0.33, (1.55, 2.67, 3.55),
    ),
    "van": _Body(
        5.2, 2.35,
        ((0.02, 0.4), (0.05, 0.95), (0.3, 1.15), (0.62, 1.22), (1.15, 1.95), (1.45, 2.26),
         (1.9, 2.34), (5.0, 2.34), (5.14, 2.24), (5.18, 0.5), (5.1, 0.3), (0.15, 0.26)),
        (((0.86, 1.24), (1.28, 1.84), (1.9, 1.86), (1.9, 1.22)),),
        (0.9, 4.2), 0.35, (0.82, 2.0, 3.35),
    ),
    "flatbed": _Body(
        5.6, 2.2,
        ((0.02, 0.45), (0.04, 1.15), (0.2, 1.35), (0.42, 2.05), (0.6, 2.18), (1.75, 2.18),
         (1.82, 1.15), (5.55, 1.15), (5.57, 0.72), (5.4, 0.6), (0.15, 0.36)),
        (((0.36, 1.36), (0.56, 1.98), (1.5, 1.98), (1.5, 1.34)),),
        (0.95, 4.3), 0.4, (0.3, 1.62), 0.35, (1.9, 5.56, 0.72, 1.16),
    ),
    "refuse truck": _Body(
        7.4, 3.2,
        ((0.02, 0.5), (0.03, 1.3), (0.14, 1.5), (0.22, 2.5), (0.4, 2.62), (1.7, 2.62), (1.8, 1.0),
         (2.0, 1.0), (2.0, 3.1), (2.3, 3.19), (6.3, 3.19), (7.1, 2.6), (7.36, 1.2), (7.2, 0.8),
         (6.5, 0.7), (0.15, 0.42)),
        (((0.28, 1.5), (0.34, 2.38), (1.4, 2.38), (1.4, 1.48)),),
        (1.1, 4.6, 5.75), 0.48, (0.26, 1.54), 0.5, (2.0, 7.36, 0.95, 3.2),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class VehicleModel:
    """A kind of vehicle in a colour (BGR 0–255; a van's body and a truck's load box alike)."""

    kind: VehicleKind
    colour: Colour
    box_colour: Colour = (150, 152, 150)

    @property
    def height_m(self) -> float:
        return BUS_HEIGHT_M if self.kind == "minibus" else _BODIES[self.kind].height_m

    @property
    def length_m(self) -> float:
        return 4.4 if self.kind == "minibus" else _BODIES[self.kind].length_m

    def cutout(self) -> Cutout:
        if self.kind == "minibus":
            return _repainted_bus(self.colour)
        return _drawn(self.kind, self.colour, self.box_colour)


@cache
def _repainted_bus(colour: Colour) -> Cutout:
    """The real bus with its blue paint in another colour."""
    vehicle = bus()
    image = np.clip(vehicle.image, 0, 255).astype(np.uint8)
    hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2HSV))
    blue = ((hue > 95) & (hue < 125) & (saturation > 90) & (value > 105)).astype(np.float32)
    weight = cv2.GaussianBlur(blue, (0, 0), 1.0)[..., None]
    level = value.astype(np.float32)[..., None] / 190
    painted = vehicle.image * (1 - weight) + np.array(colour, np.float32) * level * weight
    return Cutout(np.clip(painted, 0, 255).astype(np.float32), vehicle.alpha)


@cache
def _drawn(kind: str, colour: Colour, box_colour: Colour) -> Cutout:
    body = _BODIES[kind]
    scale = 2 * _PX_PER_M
    height, width = int(body.height_m * scale) + 8, int(body.length_m * scale) + 8
    mask = _mask((height, width), body.outline, scale)
    mask = np.where(cv2.GaussianBlur(mask, (0, 0), 0.035 * scale) > 127, 255, 0).astype(np.uint8)
    image = _paint((height, width), colour)
    if body.box is not None:
        _box(image, body.box, box_colour, scale)
    for x_m in body.doors_m:
        lower = height - int((body.sill_m + 0.12) * scale)
        upper = height - int(min(body.height_m - 0.12, 1.75) * scale)
        x = int(x_m * scale)
        cv2.line(image, (x, lower), (x, upper), tuple(0.55 * c for c in colour), 3, cv2.LINE_AA)
        handle = height - int(0.86 * scale)
        cv2.line(image, (x + 30, handle), (x + 62, handle), (40, 40, 40), 6, cv2.LINE_AA)
    for window in body.windows:
        _glaze(image, _mask((height, width), window, scale))
    _lights(image, body, scale)
    rows = np.arange(height, dtype=np.float32)[:, None, None]
    image[height - int(body.sill_m * 1.7 * scale) :] *= 0.42
    image *= np.clip(1.0 - 0.12 * rows / height, 0, 1)
    for x_m in body.wheels_m:
        _wheel(image, mask, (int(x_m * scale), height - 4), body.wheel_radius_m * scale)
    return _on_its_shade(image, mask)


def _mask(shape: tuple[int, int], outline: tuple[tuple[float, float], ...], scale: int) -> Image:
    mask = np.zeros(shape, np.uint8)
    points = np.array([(4 + x * scale, shape[0] - 4 - y * scale) for x, y in outline], np.int32)
    cv2.fillPoly(mask, [points], (255,), cv2.LINE_AA)
    return mask


def _paint(shape: tuple[int, int], colour: Colour) -> FloatImage:
    """Lacquer: bright where it mirrors the sky, dark where it mirrors the road."""
    rows = np.linspace(0, 1, shape[0], dtype=np.float32)
    sky = np.interp(
        rows, [0, 0.12, 0.36, 0.44, 0.5, 0.75, 1], [1.3, 1.2, 1.02, 1.14, 0.9, 0.8, 0.5]
    )
    gloss = np.interp(rows, [0, 0.1, 0.2, 0.4, 0.44, 0.5, 1], [34, 22, 6, 8, 26, 2, 0])
    image = np.array(colour, np.float32) * sky[:, None, None] + gloss[:, None, None]
    columns = 1 + 0.06 * np.sin(np.linspace(0, 7, shape[1]))[None, :, None]
    return np.ascontiguousarray(np.broadcast_to(image, (*shape, 3)) * columns).astype(np.float32)


def _box(image: FloatImage, box: tuple[float, float, float, float], colour: Colour, scale: int
         ) -> None:  # fmt: skip
    left_m, right_m, low_m, high_m = box
    height = image.shape[0]
    top, bottom = max(0, height - 4 - int(high_m * scale)), height - 4 - int(low_m * scale)
    left, right = int(left_m * scale), int(right_m * scale) + 4
    part = image[top:bottom, left:right]
    rows = np.linspace(1.15, 0.8, part.shape[0], dtype=np.float32)[:, None, None]
    part[:] = np.array(colour, np.float32) * rows
    for x in range(0, part.shape[1], int(0.62 * scale)):
        part[:, x : x + 7] *= 0.7
        part[:, x + 7 : x + 12] *= 1.2
    part[: int(0.05 * scale)] *= 0.75
    part[-int(0.05 * scale) :] *= 0.6


def _glaze(image: FloatImage, mask: Image) -> None:
    """Dark glass with a slanting gleam."""
    rows, columns = np.mgrid[0 : mask.shape[0], 0 : mask.shape[1]].astype(np.float32)
    gleam = np.exp(-((((columns + 0.7 * rows) % 420) - 150) ** 2) / 2600)
    glass = np.array(_GLASS, np.float32) + 70 * gleam[..., None]
    cover = cv2.GaussianBlur(mask, (0, 0), 1.2).astype(np.float32)[..., None] / 255
    rim = cv2.dilate(mask, np.ones((9, 9), np.uint8)).astype(np.float32)[..., None] / 255
    image *= 1 - 0.6 * rim * (1 - cover)
    image[:] = image * (1 - cover) + glass * cover


def _lights(image: FloatImage, body: _Body, scale: int) -> None:
    height = image.shape[0]
    level = height - int((0.62 if body.height_m < 2 else 0.8) * scale)
    front = np.array([(6, level + 14), (6, level - 20), (int(0.3 * scale), level - 26),
                      (int(0.24 * scale), level + 10)], np.int32)  # fmt: skip
    cv2.fillPoly(image, [front], (226, 232, 236), cv2.LINE_AA)
    back = int(body.length_m * scale)
    rear = np.array([(back, level + 22), (back, level - 44), (back - int(0.13 * scale), level - 40),
                     (back - int(0.1 * scale), level + 18)], np.int32)  # fmt: skip
    cv2.fillPoly(image, [rear], (36, 30, 176), cv2.LINE_AA)


def _wheel(image: FloatImage, mask: Image, ground: tuple[int, int], radius: float) -> None:
    centre = (ground[0], int(ground[1] - radius))
    cv2.circle(image, centre, int(1.17 * radius), (20, 20, 20), -1, cv2.LINE_AA)
    cv2.circle(image, centre, int(radius), (38, 38, 40), -1, cv2.LINE_AA)
    cv2.circle(image, centre, int(0.66 * radius), (166, 168, 170), -1, cv2.LINE_AA)
    for spoke in range(5):
        angle = 2 * np.pi * (spoke + 0.25) / 5
        tip = (0.56 * radius * np.cos(angle), 0.56 * radius * np.sin(angle))
        place = (int(centre[0] + tip[0] * 0.75), int(centre[1] + tip[1] * 0.75))
        cv2.circle(image, place, int(0.14 * radius), (60, 60, 62), -1, cv2.LINE_AA)
    cv2.circle(image, centre, int(0.14 * radius), (110, 112, 114), -1, cv2.LINE_AA)
    cv2.circle(mask, centre, int(radius), (255,), -1, cv2.LINE_AA)


def _on_its_shade(image: FloatImage, mask: Image) -> Cutout:
    """Halved in size, with a strip of shade between the wheels."""
    height, width = mask.shape
    shade = np.zeros(mask.shape, np.uint8)
    corners = [(0.04 * width, height - 30), (0.97 * width, height - 30),
               (0.93 * width, height - 1), (0.07 * width, height - 1)]  # fmt: skip
    cv2.fillPoly(shade, [np.array(corners, np.int32)], (200,))
    solid = mask.astype(np.float32)[..., None] / 255
    dark = cv2.GaussianBlur(shade, (0, 0), 6).astype(np.float32)[..., None] / 255
    alpha = np.maximum(solid, dark)
    layers = np.concatenate([image * solid, alpha], axis=2)
    small = cv2.resize(layers, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 0.7).astype(np.float32)
    opacity = np.clip(small[..., 3:], 0, 1)
    colours = np.clip(small[..., :3] / np.maximum(opacity, 1e-3), 0, 255)
    return Cutout(colours.astype(np.float32), opacity.astype(np.float32))
