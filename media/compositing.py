"""Makes the pictures of a rendered scene: place, light, actors, weather, view and recorder."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import pi, sin
from typing import cast

import cv2
import numpy as np
from av.video.frame import VideoFrame

from media.actors import Actor, Appearance, BoxPx, Car
from media.cutouts import Cutout
from media.footage import Image
from media.localities import Locality, Prop, painted
from media.scenery import HEIGHT_PX, WIDTH_PX, Camera, Tree
from media.sprites import Sprite
from media.staging import SWAY_PHASES, swaying
from media.weather import Conditions, LumaLayers, add_pool, cloth, light_map

_COVER_S = 0.6
_TURN_S = 0.8
_HOURS = {"day": 9, "dusk": 19, "night": 22}
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class View:
    """The part of the 1280×720 picture that the clip shows, and the clip's size in pixels."""

    width_px: int = 1280
    height_px: int = 720
    left_px: int = 0
    top_px: int = 0
    span_px: int = WIDTH_PX
    """Width of the part; its height follows."""

    @property
    def scale(self) -> float:
        return self.width_px / self.span_px

    def box(self, box_px: BoxPx) -> tuple[float, float, float, float]:
        """The box in the clip's pixels, clipped to it."""
        left, top, right, bottom = box_px
        return (
            min(max((left - self.left_px) * self.scale, 0.0), float(self.width_px)),
            min(max((top - self.top_px) * self.scale, 0.0), float(self.height_px)),
            min(max((right - self.left_px) * self.scale, 0.0), float(self.width_px)),
            min(max((bottom - self.top_px) * self.scale, 0.0), float(self.height_px)),
        )


@dataclass(frozen=True)
class _Standing:
    """Part of the place that hides what is farther away: its rectangle and, of a crown, shape."""

    z_m: float
    left: int
    top: int
    right: int
    bottom: int
    sprite: Sprite | None = None

    @classmethod
    def upright(cls, prop: Prop, camera: Camera) -> "Iterator[_Standing]":
        """Piece by piece, because uprights lean towards the edges of the picture."""
        pieces = max(1, round(prop.height_m))
        for number in range(pieces):
            low_m, high_m = (prop.height_m * (number + step) / pieces for step in (0, 1))
            half_m = prop.width_m / 2
            left, bottom = camera.project(prop.x_m - half_m, low_m, prop.z_m)
            right, top = camera.project(prop.x_m + half_m, high_m, prop.z_m)
            left, right = (min(max(x, 0), WIDTH_PX) for x in (left, right))
            top, bottom = (min(max(y, 0), HEIGHT_PX) for y in (top, bottom))
            yield cls(prop.z_m, round(left), round(top), round(right), round(bottom))

    @classmethod
    def crown(cls, tree: Tree, z_m: float) -> "_Standing":
        left, top = max(0, tree.left_px), max(0, tree.top_px)
        alpha = tree.crown.alpha[top - tree.top_px :, left - tree.left_px :]
        alpha = np.ascontiguousarray(alpha[: HEIGHT_PX - top, : WIDTH_PX - left])
        shape = Sprite.of(Cutout(np.zeros((*alpha.shape[:2], 3), np.float32), alpha))
        return cls(z_m, left, top, left + alpha.shape[1], top + alpha.shape[0], shape)

    def restore(self, picture: Image, clean: Image, behind: list[Appearance]) -> None:
        """Bring it back to the front where something behind it was drawn, in place."""
        boxes = [look.box_px for look in behind if look.z_m > self.z_m]
        if not any(
            box[0] < self.right and box[2] > self.left
            and box[1] < self.bottom and box[3] > self.top
            for box in boxes
        ):  # fmt: skip
            return
        window = np.s_[self.top : self.bottom, self.left : self.right]
        if self.sprite is None:
            picture[window] = clean[window]
            return
        kept = cv2.multiply(picture[window], self.sprite.keep, scale=1 / 255)
        share = cv2.subtract(np.full_like(self.sprite.keep, 255), self.sprite.keep)
        picture[window] = cv2.add(kept, cv2.multiply(clean[window], share, scale=1 / 255))


class Compositor:
    """Draws the moments of a scene, to be asked in order of time."""

    def __init__(self, place: Locality, actors: tuple[Actor, ...], conditions: Conditions,
                 view: View, seed: int) -> None:  # fmt: skip
        self._place, self._actors, self._is, self._view = place, actors, conditions, view
        scenery = painted(place)
        background = scenery.background.copy()
        chance = np.random.default_rng([seed, 7])
        for _ in range(conditions.puddles):
            _puddle(background, place, chance)
        self._background = np.clip(background, 0, 255).astype(np.uint8)
        self._trees = [(tree, swaying(background, tree, conditions.wind_px))
                       for tree in scenery.trees]  # fmt: skip
        crowns = zip(scenery.trees, place.trees_m, strict=True)
        self._props = sorted(
            [piece for prop in place.props() for piece in _Standing.upright(prop, place.camera)]
            + [_Standing.crown(tree, z_m) for tree, (_, z_m, _) in crowns],
            key=lambda prop: -prop.z_m,
        )
        self._light = light_map(conditions.daytime, place.lamps_m, place.camera, place.back_z_m)
        self._layers = LumaLayers(conditions, (view.width_px, view.height_px), seed)
        self._chance = np.random.default_rng([seed, 13])
        self._wobble = chance.uniform(0, 2 * pi, 8)
        covers = conditions.covered_s is not None
        self._cloth = cloth((view.width_px, view.height_px), seed) if covers else None

    def planes(self, t_s: float) -> Image:
        """The moment as ``(H × 3/2, W)`` uint8 planes of 4:2:0."""
        seen = self._seen(self._lit(self._scene(t_s), t_s), t_s)
        if self._is.caption is not None:
            _write_caption(seen, self._is, t_s)
        planes = cast(Image, np.asarray(cv2.cvtColor(seen, cv2.COLOR_BGR2YUV_I420)))
        self._layers.lay_on(planes, t_s)
        return planes

    def _scene(self, t_s: float) -> Image:
        """Place and actors in even light."""
        picture = self._background.copy()
        for number, (tree, phases) in enumerate(self._trees):
            part = phases[int((t_s / 2.9 + 0.37 * number) * SWAY_PHASES) % SWAY_PHASES]
            top, left = max(0, tree.top_px), max(0, tree.left_px)
            picture[top : top + part.shape[0], left : left + part.shape[1]] = part
        seen = [
            look for actor in self._actors for look in actor.appearances(t_s, self._place.camera)
        ]
        clean = picture.copy() if seen else picture
        seen.sort(key=lambda look: -look.z_m)
        for number, look in enumerate(seen):
            self._cast_shadow(picture, look)
            if self._is.wet and look.foot_px is not None:
                _mirrored(look).paste(picture, look.left_px, look.foot_px)
            look.sprite.paste(picture, look.left_px, look.top_px)
            nearer_m = seen[number + 1].z_m if number + 1 < len(seen) else 0.0
            for prop in self._props:
                if nearer_m <= prop.z_m < look.z_m:
                    prop.restore(picture, clean, seen[: number + 1])
        return picture

    def _cast_shadow(self, picture: Image, look: Appearance) -> None:
        shadow, camera = look.shadow, self._place.camera
        if shadow is None:
            return
        x_px, y_px = camera.project(shadow.x_m, 0.0, shadow.z_m)
        wide = max(2, round(shadow.width_m / 2 * camera.px_per_m(shadow.z_m)))
        near = camera.project(shadow.x_m, 0.0, shadow.z_m - shadow.depth_m / 2)[1]
        sprite = _shade(wide, max(2, round(near - y_px)), round(16 * shadow.dark))
        height, width = sprite.keep.shape[:2]
        sprite.paste(picture, round(x_px - width / 2), round(y_px - height / 2))

    def _lit(self, picture: Image, t_s: float) -> Image:
        gain = self._is.gain(t_s)
        if self._light is not None:
            light, camera = self._light, self._place.camera
            pools = [*self._pools(t_s)]
            if pools:
                light = light.copy()
                for x_m, z_m in pools:
                    scale = camera.px_per_m(z_m)
                    high = camera.project(0, 0, z_m - 1.6)[1] - camera.project(0, 0, z_m + 1.6)[1]
                    size = (round(7.0 * scale), round(2.2 * high))
                    add_pool(light, *camera.project(x_m, 0.3, z_m), size)
            return cast(Image, cv2.multiply(picture, light, scale=gain / 255))
        if abs(gain - 1) > 0.002:
            return cast(Image, cv2.convertScaleAbs(picture, alpha=gain))
        return picture

    def _pools(self, t_s: float) -> Iterator[tuple[float, float]]:
        """Where headlights shine onto the ground."""
        for sweep in self._is.headlights:
            if sweep.start_s <= t_s <= sweep.end_s:
                share = (t_s - sweep.start_s) / (sweep.end_s - sweep.start_s)
                yield sweep.from_x_m + share * (sweep.to_x_m - sweep.from_x_m), sweep.z_m
        for car in self._actors:
            if isinstance(car, Car):
                x_m = car.x_m(t_s)
                if x_m is not None and car.lights:
                    yield x_m + car.facing * (car.model.length_m / 2 + 2.4), car.z_m

    def _seen(self, picture: Image, t_s: float) -> Image:
        """As the camera frames it: part, size, shake, turn, focus, cover."""
        view, now = self._view, self._is
        span_y = round(view.span_px * view.height_px / view.width_px)
        dx, dy, angle = self._motion(t_s)
        if dx or dy or angle:
            centre = (view.left_px + view.span_px / 2, view.top_px + span_y / 2)
            matrix = cv2.getRotationMatrix2D(centre, angle, view.scale)
            matrix[0, 2] += view.width_px / 2 - centre[0] + dx
            matrix[1, 2] += view.height_px / 2 - centre[1] + dy
            seen = cv2.warpAffine(picture, matrix, (view.width_px, view.height_px),
                                  borderMode=cv2.BORDER_REFLECT)  # fmt: skip
        elif (view.width_px, view.height_px) == (WIDTH_PX, HEIGHT_PX):
            seen = picture
        else:
            part = picture[view.top_px : view.top_px + span_y,
                           view.left_px : view.left_px + view.span_px]  # fmt: skip
            even = view.span_px % view.width_px == 0
            way = cv2.INTER_AREA if even else cv2.INTER_LINEAR
            seen = cv2.resize(part, (view.width_px, view.height_px), interpolation=way)
        if now.defocused_s is not None and t_s >= now.defocused_s:
            blur = min(1.0, (t_s - now.defocused_s) / 1.5) * view.width_px / 130 + 0.3
            small = cv2.resize(seen, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
            soft = cv2.GaussianBlur(small, (0, 0), blur / 4 + 0.3)
            seen = cv2.resize(soft, (view.width_px, view.height_px))
        return self._veiled(cast(Image, seen), t_s)

    def _veiled(self, seen: Image, t_s: float) -> Image:
        now = self._is
        if now.black_s is not None and t_s >= now.black_s:
            return np.full_like(seen, 6)
        if now.covered_s is None or self._cloth is None or t_s < now.covered_s:
            return seen
        # The cloth comes down from above with a soft edge.
        edge = min(1.0, (t_s - now.covered_s) / _COVER_S) * 1.3 * seen.shape[0]
        rows = np.arange(seen.shape[0], dtype=np.float32)[:, None, None]
        veil = np.clip((edge - rows) / (0.15 * seen.shape[0]), 0, 1)
        light = 1 + 0.03 * sin(2 * pi * t_s / 5.3)
        mixed = seen * (1 - veil) + self._cloth.astype(np.float32) * light * veil
        return np.asarray(np.clip(mixed, 0, 255), np.uint8)

    def _motion(self, t_s: float) -> tuple[float, float, float]:
        """Shift in clip pixels and turn in degrees."""
        now, w = self._is, self._wobble
        dx = dy = angle = 0.0
        if now.shake_px:
            jitter = self._chance.normal(0, 0.35, 2) * now.shake_px
            dx += now.shake_px * sin(2 * pi * t_s * 1.7 + w[0]) * 0.6 + float(jitter[0])
            dy += now.shake_px * sin(2 * pi * t_s * 2.3 + w[1]) * 0.6 + float(jitter[1])
        if now.pan_px:
            dx += now.pan_px * sin(2 * pi * t_s / 11 + w[2])
        if now.handheld_px:
            h = now.handheld_px
            dx += h * (0.6 * sin(2 * pi * t_s / 4.3 + w[3]) + 0.3 * sin(2 * pi * t_s / 1.3 + w[4]))
            dy += h * (0.4 * sin(2 * pi * t_s / 3.1 + w[5]) + 0.2 * sin(2 * pi * t_s / 0.9 + w[6]))
            angle += 1.2 * sin(2 * pi * t_s / 5.1 + w[7])
        if now.turned_s is not None and t_s >= now.turned_s:
            share = min(1.0, (t_s - now.turned_s) / _TURN_S)
            dx -= share * 0.24 * self._view.width_px
            dy += share * 0.12 * self._view.height_px
            angle += share * 7.0
        return dx, dy, angle


def video_frames(place: Locality, actors: tuple[Actor, ...], conditions: Conditions, view: View,
                 *, seed: int, fps: float, duration_s: float
                 ) -> Iterator[tuple[float, VideoFrame]]:  # fmt: skip
    """The scene's pictures with their times, without those that the recorder dropped."""
    compositor = Compositor(place, actors, conditions, view, seed)
    frozen: Image | None = None
    for number in range(round(duration_s * fps)):
        t_s = number / fps
        if any(start_s <= t_s < end_s for start_s, end_s in conditions.dropped_s):
            continue
        planes = frozen if frozen is not None else compositor.planes(t_s)
        if conditions.frozen_s is not None and t_s >= conditions.frozen_s:
            frozen = planes
        yield t_s, VideoFrame.from_ndarray(planes, format="yuv420p")


@lru_cache(maxsize=300)
def _shade(wide_px: int, high_px: int, dark_16: int) -> Sprite:
    """A soft dark ellipse with these half axes."""
    ys, xs = np.mgrid[-1.6:1.6:complex(0, 2 * int(1.6 * high_px) + 1),
                      -1.6:1.6:complex(0, 2 * int(1.6 * wide_px) + 1)]  # fmt: skip
    distance = xs**2 + ys**2
    keep = 255 * (1 - dark_16 / 16 * np.exp(-1.6 * distance**1.5))
    full = np.repeat(keep[..., None], 3, axis=2).round().astype(np.uint8)
    return Sprite(np.zeros_like(full), full)


def _mirrored(look: Appearance) -> Sprite:
    """A faint image upside down, as wet asphalt gives it."""
    sprite = look.sprite
    pixels = cv2.flip(sprite.pixels, 0)
    gone = cv2.flip(cv2.subtract(np.full_like(sprite.keep, 255), sprite.keep), 0)
    height = gone.shape[0]
    fade = np.linspace(0.34, 0.0, height, dtype=np.float32)[:, None, None]
    return Sprite((pixels * fade).astype(np.uint8), (255 - gone * fade).astype(np.uint8))


def _puddle(background: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]", place: Locality,
            chance: np.random.Generator) -> None:  # fmt: skip
    """Water that mirrors a grey sky, on the ground, in place."""
    near, far = place.walk_z_m
    z_m = float(chance.uniform(near - 0.5, far + 1.0))
    x_m = float(chance.uniform(-0.7, 0.7) * place.half_width_m(z_m))
    x, y = place.camera.project(x_m, 0.0, z_m)
    wide = float(chance.uniform(0.5, 1.1)) * place.camera.px_per_m(z_m)
    mask = np.zeros(background.shape[:2], np.float32)
    angles = np.linspace(0, 2 * pi, 40, endpoint=False)
    radius = 1 + 0.25 * np.sin(2 * angles + chance.uniform(0, 6)) + 0.1 * np.sin(5 * angles)
    outline = [(x + wide * r * np.cos(a), y + 0.2 * wide * r * np.sin(a))
               for r, a in zip(radius, angles, strict=True)]  # fmt: skip
    cv2.fillPoly(mask, [np.array(outline, np.int32)], 0.7)
    soft = cv2.GaussianBlur(mask, (0, 0), 2.0)[..., None]
    sky = np.array((186, 178, 170), np.float32)
    background[:] = background * (1 - soft) + sky * soft


def _write_caption(picture: Image, conditions: Conditions, t_s: float) -> None:
    """The text of a recorder with its clock, white with a dark rim."""
    seconds = _HOURS[conditions.daytime] * 3600 + 14 * 60 + 37 + int(t_s)
    camera_name = conditions.caption or ""
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    scale = picture.shape[1] / 1600
    for text, place in (
        (f"2024-05-18 {clock}", (round(0.02 * picture.shape[1]), round(0.06 * picture.shape[0]))),
        (camera_name, (round(0.8 * picture.shape[1]), round(0.96 * picture.shape[0]))),
    ):
        for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1), (1, 1)):
            # Not one thick stroke: OpenCV 5 sets bold letters wider.
            rim = (place[0] + dx, place[1] + dy)
            cv2.putText(picture, text, rim, _FONT, scale, (20, 20, 20), 1, cv2.LINE_AA)
        cv2.putText(picture, text, place, _FONT, scale, (240, 240, 240), 1, cv2.LINE_AA)
