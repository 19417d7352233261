"""Where the demo scenes play: a small camera model and places painted through it.

Places are built in metres (X to the right, Y up, Z away from the camera, origin on the ground
below it) and projected by a pinhole camera, so that the size of a figure, the zone polygons and
the truth boxes agree. All chance is seeded: the same name gives the same pixels.
"""

from dataclasses import dataclass
from math import cos, radians, sin

import cv2
import numpy as np

from enforcement.geometry import Point, Polygon
from media.cutouts import Cutout, FloatImage
from media.footage import Image

WIDTH_PX, HEIGHT_PX = 1280, 720
GROUND_PX_PER_M = 64
_NEAR_M, _FAR_M, _HALF_WIDTH_M = 6.0, 30.0, 16.0
WALL_PX_PER_M = 70

Colour = tuple[float, float, float]
Picture = FloatImage | Image


@dataclass(frozen=True)
class Camera:
    """A pinhole camera above the origin that looks along Z and somewhat down."""

    focal_px: float = 1400.0
    height_m: float = 3.8
    pitch_deg: float = 9.0

    def project(self, x_m: float, y_m: float, z_m: float) -> tuple[float, float]:
        """Pixel position of a place."""
        pitch = radians(self.pitch_deg)
        dy = y_m - self.height_m
        depth = z_m * cos(pitch) - dy * sin(pitch)
        rise = dy * cos(pitch) + z_m * sin(pitch)
        x_px = WIDTH_PX / 2 + self.focal_px * x_m / depth
        return x_px, HEIGHT_PX / 2 - self.focal_px * rise / depth

    def px_per_m(self, z_m: float) -> float:
        """Scale of an upright figure that stands on the ground at this distance."""
        pitch = radians(self.pitch_deg)
        return self.focal_px / (z_m * cos(pitch) + self.height_m * sin(pitch))


DEMO_CAMERA = Camera()


def project(x_m: float, y_m: float, z_m: float) -> tuple[float, float]:
    """Pixel position of a place, in the demo scenes."""
    return DEMO_CAMERA.project(x_m, y_m, z_m)


def px_per_m(z_m: float) -> float:
    """Scale of an upright figure at this distance, in the demo scenes."""
    return DEMO_CAMERA.px_per_m(z_m)


def ground_polygon(left_m: float, right_m: float, near_m: float, far_m: float) -> Polygon:
    """A rectangle on the ground as it appears in the picture, in image fractions."""
    corners = ((left_m, near_m), (left_m, far_m), (right_m, far_m), (right_m, near_m))
    places = (project(x, 0.0, z) for x, z in corners)
    return tuple(
        Point(round(min(max(x / WIDTH_PX, 0.0), 1.0), 4), round(min(max(y / HEIGHT_PX, 0), 1), 4))
        for x, y in places
    )


@dataclass(frozen=True)
class Tree:
    """A crown that sways: its pixels and where its upper left corner lies."""

    crown: Cutout
    left_px: int
    top_px: int


@dataclass(frozen=True)
class Place:
    """The empty scene ``(720, 1280, 3)`` float32 BGR 0–255, and the trees that move in it."""

    background: FloatImage
    trees: tuple[Tree, ...] = ()


class Painter:
    """Paints one place from back to front, then finishes it as a camera would."""

    def __init__(self, seed: int, camera: Camera = DEMO_CAMERA) -> None:
        self.chance, self.camera = np.random.default_rng(seed), camera
        self.picture: FloatImage = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.float32)

    def noise(self, height: int, width: int, finest: int = 4, octaves: int = 5) -> FloatImage:
        """Fractal noise ``(height, width, 1)``, mean 0, about −1 to 1."""
        total: FloatImage = np.zeros((height, width), np.float32)
        for octave in range(octaves):
            cell = finest * 2**octave
            small = self.chance.normal(0, 1, (height // cell + 2, width // cell + 2))
            layer = cv2.resize(
                small.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
            )
            total = (total + layer * 0.5 ** (octaves - octave)).astype(np.float32)
        return total[..., None]

    def sky(self, zenith: Colour, horizon: Colour) -> None:
        """A gradient with thin clouds over the whole picture."""
        rows = np.linspace(0, 1, HEIGHT_PX, dtype=np.float32)[:, None, None] ** 0.7
        base = np.array(zenith, np.float32) * (1 - rows) + np.array(horizon, np.float32) * rows
        clouds = np.clip(self.noise(HEIGHT_PX, WIDTH_PX, 16, 5) * 0.9 + 0.1, 0, 1)
        self.picture[:] = base * (1 - 0.55 * clouds) + 246 * 0.55 * clouds

    def hills(self, base_y_px: int, height_px: int, colour: Colour) -> None:
        """A soft ridge with woods in the distance."""
        x = np.arange(WIDTH_PX)
        ridge = self.noise(1, WIDTH_PX, 12, 6)[0, :, 0] * 0.35 + 0.5
        tops = base_y_px - height_px * np.clip(ridge, 0.1, 1.0)
        rows = np.arange(HEIGHT_PX)[:, None]
        mask = np.clip(rows - tops[None, x], 0, 1)[..., None].astype(np.float32)
        woods = np.array(colour, np.float32) * (1 + 0.13 * self.noise(HEIGHT_PX, WIDTH_PX, 2, 4))
        self.picture[:] = self.picture * (1 - mask) + woods * mask

    def ground_texture(self, colour: Colour, grain: float) -> FloatImage:
        """Plain ground seen from above: rows run away from the camera, near rows last."""
        height = int((_FAR_M - _NEAR_M) * GROUND_PX_PER_M)
        width = int(2 * _HALF_WIDTH_M * GROUND_PX_PER_M)
        speckle = self.chance.normal(0, 1, (height, width, 1)).astype(np.float32)
        light = 1 + grain * (0.5 * self.noise(height, width, 24, 4) + 0.55 * speckle)
        texture: FloatImage = (np.array(colour, np.float32) * light).astype(np.float32)
        return texture

    def strip(
        self, texture: FloatImage, near_m: float, far_m: float, colour: Colour, grain: float
    ) -> None:
        """Another surface between two distances, over the whole width."""
        top, bottom = row_of(far_m), row_of(near_m)
        shape = (bottom - top, texture.shape[1])
        speckle = self.chance.normal(0, 1, (*shape, 1)).astype(np.float32)
        light = 1 + grain * (0.5 * self.noise(*shape, 24, 4) + 0.55 * speckle)
        texture[top:bottom] = np.array(colour, np.float32) * light

    def lay(self, texture: FloatImage) -> None:
        """Project the ground into the picture, below the line where it ends."""
        height, width = texture.shape[:2]
        source = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
        half = _HALF_WIDTH_M
        corners = [(-half, _FAR_M), (half, _FAR_M), (half, _NEAR_M), (-half, _NEAR_M)]
        self._warp(texture, source, [self.camera.project(x, 0.0, z) for x, z in corners])

    def wall(
        self,
        texture: FloatImage,
        span_m: tuple[float, float],
        z_m: float,
        height_m: float,
        cover: FloatImage | None = None,
    ) -> None:
        """Project an upright surface that faces the camera; ``cover`` makes holes in it."""
        height, width = texture.shape[:2]
        source = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
        left_m, right_m = span_m
        corners = [(left_m, height_m), (right_m, height_m), (right_m, 0.0), (left_m, 0.0)]
        self._warp(texture, source, [self.camera.project(x, y, z_m) for x, y in corners], cover)

    def shade(self, x_m: float, z_m: float, width_m: float, depth_m: float, dark: float) -> None:
        """A soft shadow on the ground."""
        soft_shadow(self.picture, x_m, z_m, width_m, depth_m, dark, self.camera)

    def finish(self) -> FloatImage:
        """Vignette, slight softness and a warm grade, as of a decent surveillance camera."""
        y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float32)
        radius = np.hypot((x / WIDTH_PX - 0.5) * 1.1, y / HEIGHT_PX - 0.5)
        vignette = (1 - 0.3 * np.clip(radius - 0.25, 0, 1))[..., None]
        soft = cv2.GaussianBlur(self.picture, (0, 0), 0.7)
        finished: FloatImage = np.clip(soft * vignette, 4, 250).astype(np.float32)
        return finished

    def _warp(
        self,
        texture: FloatImage,
        source: FloatImage,
        corners: list[tuple[float, float]],
        cover: FloatImage | None = None,
    ) -> None:
        matrix = cv2.getPerspectiveTransform(source, np.array(corners, np.float32))
        # Painted at twice the size and averaged down, or far lines alias.
        double = np.diag([2.0, 2.0, 1.0]) @ matrix
        size = (WIDTH_PX * 2, HEIGHT_PX * 2)
        opacity = np.ones(texture.shape[:2], np.float32) if cover is None else cover
        layers = np.dstack([texture * opacity[..., None], opacity])
        big = cv2.warpPerspective(layers, double, size, flags=cv2.INTER_LINEAR)
        small = cv2.resize(big, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_AREA)
        self.picture[:] = self.picture * (1 - small[..., 3:]) + small[..., :3]


def row_of(z_m: float) -> int:
    """Row of the ground texture for a distance from the camera."""
    return round((_FAR_M - z_m) * GROUND_PX_PER_M)


def column_of(x_m: float) -> int:
    """Column of the ground texture for a place to the left (−) or right of the axis."""
    return round((x_m + _HALF_WIDTH_M) * GROUND_PX_PER_M)


def soft_shadow(
    picture: Picture,
    x_m: float,
    z_m: float,
    width_m: float,
    depth_m: float,
    dark: float,
    camera: Camera = DEMO_CAMERA,
) -> None:
    """Darken an ellipse on the ground, softly, in place."""
    (x, y), scale = camera.project(x_m, 0.0, z_m), camera.px_per_m(z_m)
    wide = max(2.0, width_m / 2 * scale)
    high = max(2.0, abs(camera.project(x_m, 0.0, z_m - depth_m / 2)[1] - y))
    left, right = max(0, int(x - 1.6 * wide)), min(WIDTH_PX, int(x + 1.6 * wide) + 1)
    top, bottom = max(0, int(y - 1.6 * high)), min(HEIGHT_PX, int(y + 1.6 * high) + 1)
    if left >= right or top >= bottom:
        return
    ys, xs = np.mgrid[top:bottom, left:right].astype(np.float32)
    distance = ((xs - x) / wide) ** 2 + ((ys - y) / high) ** 2
    light = 1 - dark * np.exp(-1.6 * distance**1.5)
    part = picture[top:bottom, left:right]
    part[:] = part * light[..., None]


def paste(picture: Picture, cutout: Cutout, left_px: int, top_px: int) -> None:
    """Lay a cut-out over the picture, in place; what lies outside is cut off."""
    height, width = cutout.alpha.shape[:2]
    left, top = max(0, left_px), max(0, top_px)
    right = min(picture.shape[1], left_px + width)
    bottom = min(picture.shape[0], top_px + height)
    if left >= right or top >= bottom:
        return
    window = np.s_[top - top_px : bottom - top_px, left - left_px : right - left_px]
    alpha, under = cutout.alpha[window], picture[top:bottom, left:right]
    under[:] = np.clip(under + (cutout.image[window] - under) * alpha, 0, 255)
