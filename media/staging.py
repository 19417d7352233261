"""Who moves through a demo scene, where each stands at a moment, and the picture of that moment."""

from dataclasses import dataclass
from functools import cache
from math import pi, sin
from typing import Literal, cast

import cv2
import numpy as np

from enforcement.geometry import Box
from media.cutouts import (
    BAG_HEIGHT_M,
    BUS_HEIGHT_M,
    PERSON_HEIGHT_M,
    WALK_PHASES,
    Cutout,
    FloatImage,
    bag,
    bus,
    people,
    walking,
)
from media.footage import Image
from media.scenery import (
    HEIGHT_PX,
    WIDTH_PX,
    Place,
    Tree,
    paste,
    project,
    px_per_m,
    soft_shadow,
)

_STEP_M = 0.75
_STOOP_S = 0.6
_CARRIED_M = 0.17
_BAG_ASIDE_M = 0.36
_BAG_BEFORE_M = 0.2
SWAY_PHASES = 24


@dataclass(frozen=True)
class Pose:
    """One thing in one picture: its pixels, where they go, and its true box in fractions."""

    cutout: Cutout
    left_px: int
    top_px: int
    box: Box
    x_m: float
    z_m: float
    shadow_m: tuple[float, float]

    @property
    def is_visible(self) -> bool:
        return self.box.width > 0 and self.box.height > 0

    @property
    def is_whole(self) -> bool:
        """Whether no edge of the picture cuts it."""
        height, width = self.cutout.alpha.shape[:2]
        inside_x = self.left_px >= 0 and self.left_px + width <= WIDTH_PX
        return inside_x and self.top_px >= 0 and self.top_px + height <= HEIGHT_PX


@dataclass(frozen=True)
class Path:
    """Straight lines through ``(t_s, x_m, z_m)``, with rests where the place stays the same."""

    points: tuple[tuple[float, float, float], ...]

    def at(self, t_s: float) -> tuple[float, float]:
        times = [point[0] for point in self.points]
        x_m = float(np.interp(t_s, times, [point[1] for point in self.points]))
        return x_m, float(np.interp(t_s, times, [point[2] for point in self.points]))

    def present(self, t_s: float) -> bool:
        return self.points[0][0] <= t_s <= self.points[-1][0]

    def heading(self, t_s: float) -> int:
        """+1 to the right, −1 to the left; when resting, as before."""
        heading = 0
        for before, after in zip(self.points, self.points[1:], strict=False):
            if heading and before[0] > t_s:
                break
            if after[1] != before[1]:
                heading = 1 if after[1] > before[1] else -1
        return heading or 1

    def walked_m(self, t_s: float) -> float:
        total = 0.0
        for before, after in zip(self.points, self.points[1:], strict=False):
            share = min(max((t_s - before[0]) / (after[0] - before[0]), 0.0), 1.0)
            total += share * float(np.hypot(after[1] - before[1], after[2] - before[2]))
        return total


@dataclass(frozen=True)
class Walker:
    """A person who goes in straight lines through ``(t_s, x_m, z_m)`` and rests where x stays."""

    figure: int
    waypoints: tuple[tuple[float, float, float], ...]
    stoops_s: tuple[float, ...] = ()

    @property
    def path(self) -> Path:
        return Path(self.waypoints)

    def place(self, t_s: float) -> tuple[float, float] | None:
        """Where the feet are, ``(x_m, z_m)``; None before arrival and after departure."""
        return self.path.at(t_s) if self.path.present(t_s) else None

    def heading(self, t_s: float) -> int:
        """+1 to the right, −1 to the left; when resting, as before."""
        return self.path.heading(t_s)

    def poses(self, t_s: float) -> list[Pose]:
        place = self.place(t_s)
        if place is None:
            return []
        x_m, z_m = place
        walked_m = self.path.walked_m(t_s)
        stoop = max((1 - abs(t_s - s) / _STOOP_S for s in self.stoops_s), default=0.0)
        height_m = PERSON_HEIGHT_M * (1 - 0.12 * max(0.0, stoop))
        height_px = round(height_m * px_per_m(z_m))
        phase = int(walked_m / _STEP_M * WALK_PHASES) % WALK_PHASES
        cutout = _figure(self.figure, height_px, self.heading(t_s) < 0)[phase]
        bob_px = round(0.014 * height_px * abs(sin(pi * walked_m / _STEP_M)))
        return [_standing(cutout, x_m, z_m, lifted_px=bob_px, shadow_m=(0.85, 0.5))]


@dataclass(frozen=True)
class Bag:
    """A sack that its owner carries in, puts down and perhaps takes away again."""

    owner: Walker
    put_down_s: float
    """When it touches the ground."""
    picked_up_s: float | None = None

    def rests(self, t_s: float) -> bool:
        until = self.picked_up_s if self.picked_up_s is not None else float("inf")
        return self.put_down_s <= t_s < until

    def poses(self, t_s: float) -> list[Pose]:
        anchor_s = self._anchor_s(t_s)
        place = self.owner.place(anchor_s)
        if place is None:
            return []
        x_m = place[0] + _BAG_ASIDE_M * self.owner.heading(self.put_down_s)
        z_m = place[1] - _BAG_BEFORE_M
        lifted_px = round(self._height_m(t_s) * px_per_m(z_m))
        cutout = _sack(round(BAG_HEIGHT_M * px_per_m(z_m)))
        return [_standing(cutout, x_m, z_m, lifted_px=lifted_px, shadow_m=(0.8, 0.5))]

    def _anchor_s(self, t_s: float) -> float:
        """The moment of the owner's walk that says where the bag is."""
        if t_s < self.put_down_s:
            return t_s
        if self.picked_up_s is None:
            return self.put_down_s
        return max(self.put_down_s, t_s) if t_s >= self.picked_up_s else self.put_down_s

    def _height_m(self, t_s: float) -> float:
        if self.rests(t_s):
            return 0.0
        away_s = self.put_down_s - t_s if t_s < self.put_down_s else t_s - (self.picked_up_s or t_s)
        return _CARRIED_M * min(1.0, away_s / _STOOP_S)


@dataclass(frozen=True)
class Leg:
    """A stretch of driving from one place to another."""

    start_s: float
    end_s: float
    from_x_m: float
    to_x_m: float
    manner: Literal["steady", "braking", "starting"] = "steady"

    def x_m(self, t_s: float) -> float:
        share = (t_s - self.start_s) / (self.end_s - self.start_s)
        if self.manner == "braking":
            share = 1 - (1 - share) ** 2
        elif self.manner == "starting":
            share = share**2
        return self.from_x_m + (self.to_x_m - self.from_x_m) * share


@dataclass(frozen=True)
class Vehicle:
    """A small bus that drives along the road and stands between its legs."""

    z_m: float
    legs: tuple[Leg, ...]

    def standing_s(self) -> list[tuple[float, float]]:
        """Intervals in which it does not move."""
        pairs = zip(self.legs, self.legs[1:], strict=False)
        return [(before.end_s, after.start_s) for before, after in pairs]

    def poses(self, t_s: float) -> list[Pose]:
        begun = [leg for leg in self.legs if leg.start_s <= t_s]
        if not begun or t_s > self.legs[-1].end_s:
            return []
        x_m = begun[-1].x_m(min(t_s, begun[-1].end_s))
        cutout = _bus(round(BUS_HEIGHT_M * px_per_m(self.z_m)))
        return [_standing(cutout, x_m, self.z_m, lifted_px=0, shadow_m=(5.6, 1.5))]


Actor = Walker | Bag | Vehicle


class Stage:
    """Draws the moments of a scene: place, light, wind, actors, noise, mark."""

    def __init__(
        self, place: Place, actors: tuple[Actor, ...], *, wind_px: float, drift: float, seed: int
    ) -> None:
        self._actors, self._drift = actors, drift
        self._background = np.clip(place.background, 0, 255).astype(np.uint8)
        self._trees = [(tree, swaying(place.background, tree, wind_px)) for tree in place.trees]
        self._chance = np.random.default_rng(seed)
        grain = self._chance.normal(128, 1.7, (HEIGHT_PX + 96, WIDTH_PX + 96))
        blotch = cv2.GaussianBlur(self._chance.normal(0, 2.2, grain.shape), (0, 0), 1.4)
        self._noise: Image = np.repeat((grain + blotch)[..., None], 3, 2).round().astype(np.uint8)

    def picture(self, t_s: float) -> Image:
        """The moment ``t_s`` as ``(720, 1280, 3)`` uint8 BGR. To be asked in order of time."""
        base = self._background.copy()
        for number, (tree, phases) in enumerate(self._trees):
            part = phases[int((t_s / 2.9 + 0.37 * number) * SWAY_PHASES) % SWAY_PHASES]
            top, left = max(0, tree.top_px), max(0, tree.left_px)
            base[top : top + part.shape[0], left : left + part.shape[1]] = part
        gain = 1 + self._drift * (0.6 * sin(2 * pi * t_s / 23) + 0.4 * sin(2 * pi * t_s / 9.1 + 1))
        poses = [pose for actor in self._actors for pose in actor.poses(t_s) if pose.is_visible]
        for pose in sorted(poses, key=lambda pose: -pose.z_m):
            aside = 0.16 * pose.shadow_m[0]
            soft_shadow(base, pose.x_m + aside, pose.z_m, *pose.shadow_m, 0.5)
            paste(base, pose.cutout, pose.left_px, pose.top_px)
        lit = cv2.convertScaleAbs(base, alpha=gain)
        y, x = (int(offset) for offset in self._chance.integers(0, 96, 2))
        noise = self._noise[y : y + HEIGHT_PX, x : x + WIDTH_PX]
        seen = cv2.addWeighted(lit, 1.0, noise, 1.0, -128.0)
        return _marked(cast(Image, seen), t_s)


def _standing(
    cutout: Cutout, x_m: float, z_m: float, *, lifted_px: int, shadow_m: tuple[float, float]
) -> Pose:
    x_px, y_px = project(x_m, 0.0, z_m)
    height, width = cutout.alpha.shape[:2]
    left, top = round(x_px - width / 2), round(y_px) - height - lifted_px
    box = Box(
        min(max(left / WIDTH_PX, 0.0), 1.0),
        min(max(top / HEIGHT_PX, 0.0), 1.0),
        min(max((left + width) / WIDTH_PX, 0.0), 1.0),
        min(max((top + height) / HEIGHT_PX, 0.0), 1.0),
    )
    return Pose(cutout, left, top, box, x_m, z_m, shadow_m)


@cache
def _figure(figure: int, height_px: int, mirrored: bool) -> list[Cutout]:
    phases = walking(people()[figure], height_px, mirrored=mirrored)
    return [_tight(phase) for phase in phases]


@cache
def _sack(height_px: int) -> Cutout:
    return bag().sized(height_px)


@cache
def _bus(height_px: int) -> Cutout:
    return bus().sized(height_px)


def _tight(cutout: Cutout) -> Cutout:
    """Without the empty columns that closed legs leave, so that the rectangle is the true box."""
    columns = np.nonzero((cutout.alpha[..., 0] > 0.5).any(axis=0))[0]
    window = np.s_[:, int(columns[0]) : int(columns[-1]) + 1]
    return Cutout(cutout.image[window], cutout.alpha[window])


def swaying(background: FloatImage, tree: Tree, wind_px: float) -> list[Image]:
    """The part of the picture around a tree for each phase of its sway."""
    height, width = tree.crown.alpha.shape[:2]
    top, left = max(0, tree.top_px), max(0, tree.left_px)
    bottom, right = min(HEIGHT_PX, tree.top_px + height), min(WIDTH_PX, tree.left_px + width)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    layers = np.concatenate([tree.crown.image, tree.crown.alpha], axis=2)
    phases = []
    for phase in range(SWAY_PHASES):
        angle = 2 * pi * phase / SWAY_PHASES
        bend = wind_px * (1 - y / height) * np.sin(angle)
        flutter = 0.35 * wind_px * np.sin(2 * angle + x / 17 + y / 23)
        moved = cv2.remap(
            layers, (x + bend + flutter).astype(np.float32), y, cv2.INTER_LINEAR
        ).astype(np.float32)
        part = background[top:bottom, left:right].copy()
        crown = Cutout(moved[..., :3], moved[..., 3:])
        paste(part, crown, tree.left_px - left, tree.top_px - top)
        phases.append(np.clip(part, 0, 255).astype(np.uint8))
    return phases


def _marked(picture: Image, t_s: float) -> Image:
    """With a small mark in the corner that says that nobody filmed this."""
    text = f"DEMO - rendered  {int(t_s) // 60:02d}:{int(t_s) % 60:02d}"
    for offset, colour in ((1, (30, 30, 30)), (0, (238, 238, 238))):
        place = (18 + offset, HEIGHT_PX - 18 + offset)
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
    return picture
