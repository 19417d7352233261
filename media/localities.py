"""Parametric places for rendered evaluation footage: a view is described, then painted.

A `Locality` says where people walk and vehicles drive in it, so that scenes can be laid into it
without looking.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from media.backdrops import (
    bollard,
    bricks,
    container,
    dashes,
    guard_rail,
    hedge,
    house_front,
    litter_bin,
    tiles,
    tree,
)
from media.scenery import WALL_PX_PER_M, WIDTH_PX, Camera, Colour, Painter, Place

Back = Literal["houses", "bricks", "containers", "fence", "hedge", "rendered wall"]

ASPHALT: Colour = (92, 90, 88)
GRASS: Colour = (58, 106, 88)
PAVING: Colour = (140, 152, 160)
CONCRETE: Colour = (146, 152, 154)
EARTH: Colour = (92, 116, 136)


@dataclass(frozen=True)
class Strip:
    """A surface between two distances over the whole width."""

    near_m: float
    far_m: float
    colour: Colour
    grain: float = 0.1
    tile_m: float | None = None


@dataclass(frozen=True)
class Prop:
    """An upright piece of street furniture, which hides what passes behind it."""

    x_m: float
    z_m: float
    width_m: float
    height_m: float


@dataclass(frozen=True)
class Locality:
    """A view without anybody in it."""

    name: str
    seed: int
    camera: Camera
    ground: Colour
    strips: tuple[Strip, ...]
    back: Back
    back_z_m: float
    back_height_m: float
    walk_z_m: tuple[float, float]
    """Nearest and farthest line on which people walk and things are left."""
    road_z_m: float
    """Middle of the lane in which vehicles drive."""
    trees_m: tuple[tuple[float, float, float], ...] = ()
    """x, z and height."""
    bollards_m: tuple[tuple[float, float], ...] = ()
    bin_m: tuple[float, float] | None = None
    lamps_m: tuple[tuple[float, float], ...] = ()
    """Lamp posts, lit by night."""
    markings_m: tuple[float, ...] = ()
    """Distances of broken lines on the road."""
    ledge_m: tuple[float, float, float] | None = None
    """x, height and z of a window sill or roof edge from which things may fall."""
    tint: Colour = (1.0, 1.0, 1.0)
    """Factors on the back's colours."""

    def half_width_m(self, z_m: float) -> float:
        """How far to the side a place on the ground may lie to be in the picture."""
        return WIDTH_PX / 2 / self.camera.px_per_m(z_m)

    def props(self) -> tuple[Prop, ...]:
        """Posts, trunks, bollards and the bin."""
        found = [Prop(x_m, z_m, 0.1, 5.2) for x_m, z_m in self.lamps_m]
        found += [Prop(x_m, z_m, 0.2, 0.85) for x_m, z_m in self.bollards_m]
        found += [Prop(x_m, z_m, 0.28, 0.55 * high_m) for x_m, z_m, high_m in self.trees_m]
        if self.bin_m is not None:
            found.append(Prop(*self.bin_m, 0.56, 0.95))
        return tuple(found)

    def hides(self, x_m: float, z_m: float, width_m: float = 0.8) -> bool:
        """Whether a prop stands between the camera and a thing of this width on the ground."""
        for prop in self.props():
            if prop.z_m < z_m:
                gap_m = abs(prop.x_m * z_m / prop.z_m - x_m)
                if gap_m < (width_m + prop.width_m * z_m / prop.z_m) / 2:
                    return True
        return False


@lru_cache(maxsize=6)
def painted(locality: Locality) -> Place:
    """The empty view, ``(720, 1280, 3)``, and the trees that move in it."""
    painter = Painter(locality.seed, locality.camera)
    painter.sky((206, 168, 128), (238, 228, 214))
    horizon_px = int(locality.camera.project(0.0, locality.camera.height_m, 400.0)[1])
    painter.hills(max(20, horizon_px + 24), 80, (124, 132, 108))
    ground = painter.ground_texture(locality.ground, 0.22)
    for strip in locality.strips:
        painter.strip(ground, strip.near_m, strip.far_m, strip.colour, strip.grain)
        if strip.tile_m is not None:
            tiles(ground, strip.near_m, strip.far_m, strip.tile_m)
    for line_m in locality.markings_m:
        dashes(ground, line_m, line_m + 0.14, 2.2, 2.4)
    painter.lay(ground)
    _back(painter, locality)
    for x_m, z_m in locality.lamps_m:
        _lamp_post(painter, x_m, z_m)
    for x_m, z_m in locality.bollards_m:
        bollard(painter, x_m, z_m)
    if locality.bin_m is not None:
        litter_bin(painter, *locality.bin_m)
    trees = tuple(tree(painter, *place) for place in locality.trees_m)
    return Place(painter.finish(), trees)


def _back(painter: Painter, place: Locality) -> None:
    """What closes the view: house fronts, walls, a fence or a hedge."""
    z_m, high_m, tint = place.back_z_m, place.back_height_m, np.array(place.tint, np.float32)
    match place.back:
        case "houses":
            front = house_front(painter, 28.0, high_m) * tint
            painter.wall(front, (-14.0, 14.0), z_m, high_m)
        case "bricks":
            painter.wall(bricks(painter, 32.0, high_m) * tint, (-16.0, 16.0), z_m, high_m)
        case "rendered wall":
            rows, columns = int(high_m * WALL_PX_PER_M), 32 * WALL_PX_PER_M
            plain = np.full((rows, columns, 3), (150, 166, 176), np.float32) * tint
            plain *= 1 + 0.1 * painter.noise(rows, columns, 6, 6)
            plain[:12] *= 0.72
            plain[-40:] *= 0.68
            painter.wall(plain.astype(np.float32), (-16.0, 16.0), z_m, high_m)
        case "containers":
            for number, colour in enumerate(((116, 92, 40), (52, 70, 150), (104, 118, 74),
                                             (70, 130, 160), (120, 60, 60))):  # fmt: skip
                left_m = -15.4 + 6.25 * number
                side = container(painter, 6.1, high_m, colour) * tint
                painter.wall(side.astype(np.float32), (left_m, left_m + 6.1), z_m, high_m)
        case "fence":
            hedge(painter, z_m + 1.6, high_m * 1.5)
            _fence(painter, z_m, high_m)
        case "hedge":
            hedge(painter, z_m, high_m)
            guard_rail(painter, z_m - 1.0)
    painter.shade(0.0, z_m - 0.2, 34.0, 1.2, 0.35)


def _fence(painter: Painter, z_m: float, height_m: float) -> None:
    """Steel palings with two rails."""
    rows, columns = int(height_m * WALL_PX_PER_M), 32 * WALL_PX_PER_M
    texture = np.full((rows, columns, 3), (96, 112, 84), np.float32)
    cover = np.zeros((rows, columns), np.float32)
    for left in range(0, columns, 12):
        cover[:, left : left + 4] = 1
    for rail in (int(0.12 * rows), int(0.85 * rows)):
        cover[rail : rail + 6] = 1
        texture[rail : rail + 6] *= 1.2
    painter.wall(texture, (-16.0, 16.0), z_m, height_m, cover)


def _lamp_post(painter: Painter, x_m: float, z_m: float) -> None:
    painter.shade(x_m + 0.1, z_m, 0.5, 0.4, 0.4)
    texture = np.full((260, 40, 3), (84, 84, 82), np.float32)
    cover = np.zeros((260, 40), np.float32)
    cover[8:, 18:22] = 1
    cover[:8, 14:40] = 1
    texture[4:8, 26:40] = (214, 232, 240)
    painter.wall(texture, (x_m - 0.5, x_m + 0.5), z_m, 5.2, cover)


# fmt: off
TUNING_PLACES: tuple[Locality, ...] = (
    Locality(
        "market street", 211, Camera(1350, 4.2, 9.5), PAVING,
        (Strip(6, 13.2, PAVING, 0.06, 0.6), Strip(13.2, 13.4, (176, 182, 184), 0.05),
         Strip(13.4, 20.0, ASPHALT), Strip(20.0, 30, (150, 158, 164), 0.06, 0.5)),
        "houses", 22.4, 8.4, (10.6, 12.6), 16.0,
        trees_m=((-6.2, 21.0, 4.4),), bollards_m=((-1.8, 20.6), (2.4, 20.6), (6.0, 20.6)),
        lamps_m=((4.4, 20.4),), markings_m=(16.9,), ledge_m=(-3.6, 5.17, 22.3)),
    Locality(
        "country lay-by", 223, Camera(1250, 5.0, 13.0), GRASS,
        (Strip(6, 8.6, GRASS, 0.3), Strip(8.6, 14.2, (122, 122, 120), 0.12),
         Strip(14.2, 20.4, ASPHALT), Strip(20.4, 20.56, (214, 220, 220), 0.06)),
        "hedge", 23.4, 1.8, (9.6, 13.4), 16.0,
        trees_m=((-6.8, 22.6, 5.2), (7.2, 22.8, 5.6)), bin_m=(4.6, 13.6), markings_m=(17.2,),
        lamps_m=((-1.6, 14.0),)),
    Locality(
        "works yard", 227, Camera(1200, 4.6, 12.0), CONCRETE,
        (Strip(6, 30, CONCRETE, 0.08, 2.4),),
        "containers", 23.0, 2.6, (10.2, 18.0), 16.5,
        trees_m=((-9.0, 22.0, 4.6),), lamps_m=((-3.2, 21.4),)),
    Locality(
        "park path", 229, Camera(1500, 3.6, 8.0), GRASS,
        (Strip(11.0, 14.4, (132, 150, 160), 0.1), Strip(18.2, 21.6, ASPHALT)),
        "fence", 23.6, 1.5, (11.4, 17.4), 19.6,
        trees_m=((-4.6, 16.6, 4.8), (5.4, 17.2, 5.2)), bin_m=(-2.2, 15.2), lamps_m=((1.8, 15.0),)),
    Locality(
        "court", 233, Camera(1150, 4.0, 7.0), (128, 136, 140),
        (Strip(6, 30, (134, 142, 148), 0.08, 1.2),),
        "houses", 19.6, 8.6, (11.0, 17.6), 14.6,
        bollards_m=((-5.6, 18.8), (5.6, 18.8)), lamps_m=((-4.0, 18.9),),
        ledge_m=(-2.6, 5.45, 19.5), tint=(0.9, 0.92, 0.84)),
)
HELD_BACK_PLACES: tuple[Locality, ...] = (
    Locality(
        "station road", 307, Camera(1280, 4.8, 11.0), (132, 140, 150),
        (Strip(6, 12.2, (126, 138, 148), 0.07, 0.9), Strip(12.2, 12.45, (186, 188, 188), 0.05),
         Strip(12.45, 19.2, (80, 80, 80)), Strip(19.2, 30, (140, 148, 160), 0.08, 0.7)),
        "rendered wall", 21.4, 3.4, (9.8, 11.8), 15.4,
        trees_m=((3.6, 20.4, 4.8), (-8.0, 20.6, 4.2)), bollards_m=((-2.0, 20.0), (0.6, 20.0)),
        lamps_m=((-4.8, 20.0),), markings_m=(15.9,), tint=(0.86, 0.96, 1.1)),
    Locality(
        "river bank", 311, Camera(1420, 4.4, 10.0), (66, 118, 96),
        (Strip(6, 10.0, (70, 112, 92), 0.3), Strip(10.0, 13.2, EARTH, 0.16),
         Strip(15.6, 20.8, (98, 98, 96), 0.12)),
        "hedge", 24.6, 2.3, (10.4, 14.8), 18.0,
        trees_m=((-7.6, 22.0, 5.8), (2.2, 23.0, 4.6), (8.4, 22.0, 5.0)),
        lamps_m=((-2.4, 15.4),)),
    Locality(
        "back lane", 313, Camera(1180, 5.4, 15.0), (116, 122, 126),
        (Strip(6, 9.8, (136, 142, 146), 0.07, 0.5), Strip(9.8, 16.4, (104, 104, 106), 0.13),
         Strip(16.4, 18.8, (130, 136, 140), 0.07, 0.5)),
        "bricks", 19.0, 3.0, (9.9, 12.6), 13.8,
        bollards_m=((-6.0, 17.0),), bin_m=(6.2, 17.4), lamps_m=((1.2, 18.2),)),
    Locality(
        "car park", 317, Camera(1320, 5.6, 14.0), ASPHALT,
        (Strip(6, 30, (98, 97, 95), 0.12),),
        "fence", 25.0, 1.9, (10.4, 18.4), 17.0,
        trees_m=((-8.8, 24.0, 5.4), (9.0, 24.0, 5.0)), lamps_m=((5.2, 23.0),),
        markings_m=(13.6, 20.6), bin_m=(-6.6, 22.6)),
    Locality(
        "tenement", 331, Camera(1080, 3.4, 5.0), (120, 132, 138),
        (Strip(6, 12.6, (150, 152, 150), 0.06, 1.6), Strip(12.6, 17.4, (100, 100, 100)),
         Strip(17.4, 30, (140, 146, 150), 0.06, 0.8)),
        "houses", 19.2, 9.0, (10.2, 12.2), 14.9,
        trees_m=((6.8, 18.4, 4.4),), bollards_m=((-6.4, 18.0), (-4.6, 18.0)),
        lamps_m=((0.6, 18.2),), ledge_m=(-2.2, 5.4, 19.1), tint=(1.12, 0.98, 0.86)),
)
# fmt: on
