"""The empty places of the demo scenes: a lay-by, a street, a yard."""

from functools import cache

import cv2
import numpy as np

from media.cutouts import Cutout, FloatImage, facade, foliage
from media.scenery import (
    GROUND_PX_PER_M,
    WALL_PX_PER_M,
    WIDTH_PX,
    Colour,
    Painter,
    Place,
    Tree,
    column_of,
    paste,
    row_of,
)

_ASPHALT: Colour = (92, 90, 88)
_WORN_ASPHALT: Colour = (122, 122, 120)
_PAVING: Colour = (140, 152, 160)
_CONCRETE: Colour = (146, 152, 154)
_KERB: Colour = (176, 182, 184)
_GRASS: Colour = (58, 106, 88)
_PAINT: Colour = (214, 220, 220)
_YELLOW: Colour = (48, 176, 224)
_RED: Colour = (58, 58, 188)
_LEAF_GREEN = np.array((92, 166, 146), np.float32)


@cache
def layby() -> Place:
    """A country road with a lay-by in front, a guard rail, a hedge, hills and sky."""
    painter = Painter(11)
    painter.sky((206, 164, 120), (236, 226, 214))
    painter.hills(212, 92, (150, 138, 112))
    painter.hills(236, 66, (92, 116, 88))
    ground = painter.ground_texture(_GRASS, 0.3)
    painter.strip(ground, 6.0, 15.4, _WORN_ASPHALT, 0.13)
    painter.strip(ground, 15.4, 21.6, _ASPHALT, 0.11)
    painter.strip(ground, 9.1, 9.35, _KERB, 0.05)
    painter.strip(ground, 6.0, 9.1, _GRASS, 0.3)
    painter.strip(ground, 21.4, 21.55, _PAINT, 0.08)
    dashes(ground, 15.3, 15.45, 1.2, 0.9)
    dashes(ground, 18.4, 18.55, 2.4, 2.4)
    for left_m in (-9.0, -3.2, 2.6, 8.4):
        patch(ground, (left_m, left_m + 0.09), (9.5, 15.0), _PAINT)
    painter.lay(ground)
    hedge(painter, 23.6, 1.7)
    guard_rail(painter, 22.3)
    litter_bin(painter, 5.4, 14.2)
    trees = (tree(painter, -7.4, 23.0, 5.6), tree(painter, 8.1, 23.4, 4.9))
    return Place(painter.finish(), trees)


@cache
def street(fire_lane: bool) -> Place:
    """A house front, the road before it and a pavement in front; with a marked fire lane or not."""
    painter = Painter(23 if fire_lane else 29)
    painter.sky((214, 180, 140), (238, 228, 214))
    ground = painter.ground_texture(_PAVING, 0.08)
    painter.strip(ground, 13.6, 20.6, _ASPHALT, 0.11)
    tiles(ground, 6.0, 13.4, 0.6)
    tiles(ground, 20.8, 30.0, 0.5)
    for near_m in (13.4, 20.6):
        painter.strip(ground, near_m, near_m + 0.2, _KERB, 0.05)
    if fire_lane:
        hatched(ground, (-5.2, 3.2), (14.0, 17.3), _RED)
    else:
        dashes(ground, 17.1, 17.25, 2.0, 2.0)
    painter.lay(ground)
    painter.wall(house_front(painter, 24.0, 8.2), (-12.0, 12.0), 22.6, 8.2)
    painter.shade(0.0, 22.4, 30.0, 1.2, 0.35)
    for x_m in (-6.2, -2.6, 2.8, 6.4):
        bollard(painter, x_m, 21.0)
    trees = () if fire_lane else (tree(painter, -5.6, 21.6, 4.6), tree(painter, 6.6, 21.6, 4.9))
    return Place(painter.finish(), trees)


@cache
def yard(closed_area: bool) -> Place:
    """A works yard with containers and a brick wall; with a marked closed area or not."""
    painter = Painter(37 if closed_area else 41)
    painter.sky((216, 186, 150), (236, 228, 218))
    painter.hills(190, 60, (120, 130, 108))
    ground = painter.ground_texture(_CONCRETE, 0.09)
    tiles(ground, 6.0, 30.0, 2.4)
    if closed_area:
        hatched(ground, (0.2, 5.6), (11.6, 17.2), _YELLOW)
    painter.lay(ground)
    painter.wall(bricks(painter, 32.0, 3.0), (-16.0, 16.0), 24.5, 3.0)
    painter.shade(0.0, 24.3, 34.0, 1.2, 0.35)
    containers = (
        ((-8.4, -2.3), 22.0, (116, 92, 40)),
        ((-1.4, 4.7), 22.4, (52, 70, 150)),
        ((5.4, 11.5), 22.0, (104, 118, 74)),
    )
    for span_m, z_m, colour in containers[: 3 if closed_area else 2]:
        painter.wall(container(painter, 6.1, 2.6, colour), span_m, z_m, 2.6)
        painter.shade(sum(span_m) / 2, z_m - 0.1, 6.8, 0.9, 0.4)
    if closed_area:
        for x_m in (0.2, 2.9, 5.6):
            bollard(painter, x_m, 17.3)
        return Place(painter.finish())
    trees = (tree(painter, -8.2, 23.2, 4.4), tree(painter, 5.9, 19.0, 5.0))
    return Place(painter.finish(), trees)


def patch(
    ground: FloatImage, span_m: tuple[float, float], reach_m: tuple[float, float], colour: Colour
) -> None:
    """A worn rectangle of paint."""
    part = ground[
        row_of(reach_m[1]) : row_of(reach_m[0]), column_of(span_m[0]) : column_of(span_m[1])
    ]
    part[:] = part * 0.22 + np.array(colour, np.float32) * 0.78


def dashes(ground: FloatImage, near_m: float, far_m: float, length_m: float, gap_m: float) -> None:
    left_m = -16.0
    while left_m + length_m < 16.0:
        patch(ground, (left_m, left_m + length_m), (near_m, far_m), _PAINT)
        left_m += length_m + gap_m


def hatched(
    ground: FloatImage, span_m: tuple[float, float], reach_m: tuple[float, float], colour: Colour
) -> None:
    """An area with a painted border and diagonal stripes."""
    rows, columns = slice(row_of(reach_m[1]), row_of(reach_m[0])), slice(
        column_of(span_m[0]), column_of(span_m[1])
    )  # fmt: skip
    part = ground[rows, columns]
    height, width = part.shape[:2]
    paint = np.zeros((height, width), np.float32)
    step, line = round(1.15 * GROUND_PX_PER_M), round(0.15 * GROUND_PX_PER_M)
    for offset in range(-height, width, step):
        cv2.line(paint, (offset, height), (offset + height, 0), 0.62, line, cv2.LINE_AA)
    cv2.rectangle(paint, (0, 0), (width - 1, height - 1), 0.82, 2 * line)
    part[:] = part * (1 - paint[..., None]) + np.array(colour, np.float32) * paint[..., None]


def tiles(ground: FloatImage, near_m: float, far_m: float, tile_m: float) -> None:
    """Slabs of slightly different tone with dark joints."""
    part = ground[row_of(far_m) : row_of(near_m)]
    height, width = part.shape[:2]
    size = round(tile_m * GROUND_PX_PER_M)
    tones = np.random.default_rng(size).normal(1, 0.035, (height // size + 1, width // size + 1))
    light = np.repeat(np.repeat(tones, size, 0), size, 1)[:height, :width].astype(np.float32)
    light[::size] *= 0.72
    light[1::size] *= 0.86
    light[:, ::size] *= 0.72
    light[:, 1::size] *= 0.86
    part *= light[..., None]


def house_front(painter: Painter, width_m: float, height_m: float) -> FloatImage:
    """Upper storeys with real balconies over a rendered ground floor with shutters and doors."""
    width, height = int(width_m * WALL_PX_PER_M), int(height_m * WALL_PX_PER_M)
    floor = int(3.9 * WALL_PX_PER_M)
    upper = facade()
    scale = (height - floor) / upper.shape[0]
    size = (round(upper.shape[1] * scale), height - floor)
    upper = cv2.resize(upper, size, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    pair = np.concatenate([upper, upper[:, ::-1]], axis=1)
    texture = np.tile(pair, (1, width // pair.shape[1] + 1, 1))[:, :width]
    stone = np.full((floor, width, 3), (134, 172, 196), np.float32)
    stone *= 1 + 0.06 * painter.noise(floor, width, 3, 6)
    stone[-int(0.7 * WALL_PX_PER_M) :] *= 0.7
    front = np.concatenate([texture, stone], axis=0).astype(np.float32)
    front[height - floor : height - floor + 10] *= 1.12
    front[height - floor + 10 : height - floor + 16] *= 0.6
    for number, left_m in enumerate(np.arange(0.9, width_m - 2.2, 3.3)):
        _opening(front, float(left_m), number % 3 == 1)
    return front


def _opening(front: FloatImage, left_m: float, is_door: bool) -> None:
    """A dark green door or a shop window with a frame and a reflection."""
    height = front.shape[0]
    left, right = (
        int(left_m * WALL_PX_PER_M),
        int((left_m + (1.3 if is_door else 2.1)) * WALL_PX_PER_M),
    )
    top = height - int(2.75 * WALL_PX_PER_M)
    bottom = height - (0 if is_door else int(0.75 * WALL_PX_PER_M))
    front[top - 7 : bottom, left - 7 : right + 7] = (152, 176, 188)
    front[top:bottom, left:right] = (52, 74, 40) if is_door else (58, 54, 50)
    shape = (bottom - top, right - left)
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    if is_door:
        for x in (0.08, 0.55):
            for y in (0.06, 0.4, 0.72):
                a, b = top + int(y * shape[0]), left + int(x * shape[1])
                front[a : a + int(0.24 * shape[0]), b : b + int(0.36 * shape[1])] *= 0.72
    else:
        gleam = np.exp(-(((columns + rows * 0.6) / shape[1] - 0.75) ** 2) / 0.02)
        front[top:bottom, left:right] += 46 * gleam[..., None].astype(np.float32)
        front[top:bottom, (left + right) // 2 - 2 : (left + right) // 2 + 2] = (70, 86, 60)


def bricks(painter: Painter, width_m: float, height_m: float) -> FloatImage:
    width, height = int(width_m * WALL_PX_PER_M), int(height_m * WALL_PX_PER_M)
    brick_h, brick_w = 7, 18
    rows, columns = np.mgrid[0:height, 0:width]
    course = rows // brick_h
    shifted = columns + (course % 2) * (brick_w // 2)
    tones = painter.chance.normal(1, 0.09, (height // brick_h + 1, width // brick_w + 2))
    tone = tones[course, shifted // brick_w]
    joint = (rows % brick_h == 0) | (shifted % brick_w == 0)
    texture = np.array((84, 104, 152), np.float32) * tone[..., None].astype(np.float32)
    texture[joint] = (150, 160, 166)
    texture *= 1 + 0.05 * painter.noise(height, width, 8, 5)
    texture[:14] = (152, 158, 162)
    return np.asarray(texture, np.float32)


def container(painter: Painter, width_m: float, height_m: float, colour: Colour) -> FloatImage:
    """The corrugated side of a shipping container with rust along the sill."""
    width, height = int(width_m * WALL_PX_PER_M), int(height_m * WALL_PX_PER_M)
    x = np.arange(width, dtype=np.float32)
    folds = 1 + 0.17 * np.tanh(3 * np.sin(2 * np.pi * x / (0.28 * WALL_PX_PER_M)))
    texture = np.array(colour, np.float32) * folds[None, :, None] * np.ones((height, 1, 1))
    texture *= 1 + 0.05 * painter.noise(height, width, 4, 5)
    rows = np.arange(height, dtype=np.float32)[:, None, None] / height
    rust = np.clip(painter.noise(height, width, 3, 5) - 0.75 + rows**6, 0, 0.7)
    texture = texture * (1 - rust) + np.array((44, 70, 112), np.float32) * rust
    for frame in (np.s_[:9], np.s_[-11:], np.s_[:, :10], np.s_[:, -10:]):
        texture[frame] = np.array(colour, np.float32) * 0.72
    return np.asarray(texture, np.float32)


def hedge(painter: Painter, z_m: float, height_m: float) -> None:
    """Bushes in a row, made of real leaves."""
    base = painter.camera.project(0.0, 0.0, z_m)[1]
    high = height_m * painter.camera.px_per_m(z_m)
    for x in range(-20, WIDTH_PX + 40, 26):
        size = float(painter.chance.uniform(0.7, 1.1)) * high
        crown = _crown(painter, int(size * 1.3), int(size), 34, 0.62)
        paste(painter.picture, crown, x - int(size * 0.65), int(base - size * 0.96))


def guard_rail(painter: Painter, z_m: float) -> None:
    width, height = 32 * WALL_PX_PER_M, int(0.8 * WALL_PX_PER_M)
    texture = np.full((height, width, 3), (172, 176, 176), np.float32)
    cover = np.zeros((height, width), np.float32)
    cover[4:24] = 1
    for shine, row in ((1.12, 6), (0.78, 13), (1.1, 19)):
        texture[row : row + 4] *= shine
    for left in range(0, width, 2 * WALL_PX_PER_M):
        cover[4:, left : left + 8] = 1
        texture[24:, left : left + 8] *= 0.66
    painter.wall(texture, (-16.0, 16.0), z_m, 0.8, cover)


def litter_bin(painter: Painter, x_m: float, z_m: float) -> None:
    painter.shade(x_m + 0.15, z_m, 1.0, 0.7, 0.45)
    x = np.linspace(-1, 1, 44, dtype=np.float32)
    texture = np.array((62, 92, 58), np.float32) * (1.1 - 0.5 * x**2)[None, :, None]
    texture = np.repeat(texture, 72, axis=0).astype(np.float32)
    texture[:8] *= 0.6
    texture[14:22, 8:36] = (24, 26, 24)
    painter.wall(texture, (x_m - 0.28, x_m + 0.28), z_m, 0.95)


def bollard(painter: Painter, x_m: float, z_m: float) -> None:
    painter.shade(x_m + 0.1, z_m, 0.5, 0.4, 0.4)
    x = np.linspace(-1, 1, 16, dtype=np.float32)
    texture = np.repeat(
        np.array((70, 72, 74), np.float32) * (1.25 - 0.7 * (x + 0.25) ** 2)[None, :, None], 60, 0
    ).astype(np.float32)
    texture[8:16] = (200, 206, 206)
    painter.wall(texture, (x_m - 0.1, x_m + 0.1), z_m, 0.85)


def tree(painter: Painter, x_m: float, z_m: float, height_m: float) -> Tree:
    """Paint trunk and shadow into the picture; the crown is left to move."""
    scale = painter.camera.px_per_m(z_m)
    (x, base), high = painter.camera.project(x_m, 0.0, z_m), height_m * scale
    painter.shade(x_m + 0.5, z_m, 3.2, 1.6, 0.4)
    columns = np.linspace(-1, 1, 20, dtype=np.float32)
    bark = np.array((58, 74, 86), np.float32) * (1 - 0.45 * (columns + 0.3) ** 2)[None, :, None]
    trunk = np.repeat(bark, 80, axis=0).astype(np.float32)
    trunk *= 1 + 0.12 * painter.noise(80, 20, 2, 4)
    painter.wall(trunk, (x_m - 0.14, x_m + 0.14), z_m, height_m * 0.55)
    crown = _crown(painter, int(high * 0.72), int(high * 0.72), 210, 0.9)
    return Tree(crown, int(x - high * 0.36), int(base - high))


def _crown(painter: Painter, width: int, height: int, leaves: int, light: float) -> Cutout:
    """A heap of tufts of real leaves in a few lobes, darker below."""
    source, chance = cv2.GaussianBlur(foliage(), (0, 0), 0.8), painter.chance
    image = np.zeros((height, width, 3), np.float32)
    alpha = np.zeros((height, width, 1), np.float32)
    lobes = [(0.5, 0.3), (0.3, 0.48), (0.7, 0.45), (0.4, 0.66), (0.62, 0.66), (0.5, 0.42)]
    for number in range(leaves):
        lobe_x, lobe_y = lobes[number % len(lobes)]
        angle, reach = chance.uniform(0, 2 * np.pi), np.sqrt(chance.uniform(0, 1)) * 0.24
        size = int(min(width, height) * chance.uniform(0.12, 0.22))
        size = max(6, min(size, source.shape[1] - 2))
        x = int((lobe_x + np.cos(angle) * reach) * width - size / 2)
        y = int((lobe_y + np.sin(angle) * reach) * height - size / 2)
        x, y = max(0, min(x, width - size)), max(0, min(y, height - size))
        row = int(chance.integers(0, source.shape[0] - size))
        column = int(chance.integers(0, source.shape[1] - size))
        # Bright bits of the wall behind the real leaves are pulled towards leaf green.
        leaf = np.minimum(source[row : row + size, column : column + size], _LEAF_GREEN)
        shade = light * (1.16 - 0.66 * (y + size / 2) / height) * chance.uniform(0.82, 1.12)
        mask = _tuft(painter, size)
        part, cover = image[y : y + size, x : x + size], alpha[y : y + size, x : x + size]
        part[:] = part * (1 - mask) + leaf * shade * mask
        cover[:] = np.maximum(cover, mask)
    colours = image / np.maximum(alpha, 0.05)
    return Cutout(colours.astype(np.float32), alpha)


def _tuft(painter: Painter, size: int) -> FloatImage:
    """Opacity of a round tuft with a ragged rim, ``(size, size, 1)``."""
    grid = np.linspace(-1, 1, size, dtype=np.float32)
    coarse = painter.chance.normal(0, 0.3, (size // 4 + 2, size // 4 + 2)).astype(np.float32)
    ragged = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    radius = np.hypot(grid[:, None], grid[None])
    return np.clip((0.72 - radius + ragged) * 3, 0, 1).astype(np.float32)[..., None]
