"""Who and what acts in rendered footage: people, vehicles and the things they handle.

An actor says how it looks at a moment through a camera (`Appearance`); places are metres, as in
`media.scenery`. A thing's life is a row of phases (held, flying, resting…), and what footage is
true of follows from them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import pi, sin
from typing import Literal

import numpy as np

from media.cutouts import WALK_PHASES
from media.objects import Thing
from media.scenery import Camera
from media.sprites import (
    BEND_STEPS,
    Look,
    Sprite,
    figure_sprite,
    thing_sprite,
    vehicle_sprite,
)
from media.staging import Leg, Path
from media.vehicles import VehicleModel

Manner = Literal["left_behind", "load_from_vehicle", "throw", "throw_from_height"]
BoxPx = tuple[int, int, int, int]
Spot = tuple[float, float, float]
"""x, y, z in metres."""

_STEP_M = 0.75
_GRAVITY = 9.81
_SWING_S, _SWING = (-0.7, -0.3, 0.0, 0.2, 0.7), (0.0, -0.3, 0.35, 0.4, 0.0)
"""Of a throw: seconds from the release, and how far the body is bent."""
_LIFT_S = 0.7
_THROW_M = 1.5
"""Height at which a thing leaves a throwing hand."""


@dataclass(frozen=True)
class Shadow:
    """A soft ellipse on the ground."""

    x_m: float
    z_m: float
    width_m: float
    depth_m: float
    dark: float = 0.5


@dataclass(frozen=True)
class Appearance:
    """One actor in one picture."""

    role: Literal["person", "vehicle", "thing"]
    sprite: Sprite
    left_px: int
    top_px: int
    z_m: float
    shadow: Shadow | None = None
    foot_px: int | None = None
    """Row at which it touches the ground, where wet ground may mirror it."""

    @property
    def box_px(self) -> BoxPx:
        height, width = self.sprite.keep.shape[:2]
        return self.left_px, self.top_px, self.left_px + width, self.top_px + height


@dataclass(frozen=True)
class Act:
    """A movement on the spot around a moment: ``throw`` releases, ``stoop`` is lowest, at it."""

    kind: Literal["stoop", "throw", "sit", "sweep"]
    at_s: float
    until_s: float = 0.0
    """End of sitting or sweeping."""


@dataclass(frozen=True)
class Person:
    """Somebody who walks along a path and acts on the way."""

    look: Look
    path: Path
    acts: tuple[Act, ...] = ()
    rides: bool = False
    """On a bicycle."""
    sill_m: float | None = None
    """Stands in a window with its sill at this height: only the upper half shows."""

    def appearances(self, t_s: float, camera: Camera) -> Iterator[Appearance]:
        if not self.path.present(t_s):
            return
        x_m, z_m = self.path.at(t_s)
        x_m += self._swing_m(t_s)
        walked_m = self.path.walked_m(t_s)
        height_px = max(8, 2 * round(self.look.height_m * camera.px_per_m(z_m) / 2))
        phase = int(walked_m / _STEP_M * WALK_PHASES) % WALK_PHASES
        mirrored = self.path.heading(t_s) < 0
        key = (self.look, height_px, mirrored, phase)
        sprite, anchor = figure_sprite(
            *key, self._bend(t_s), self._sits(t_s), self.sill_m is not None
        )
        lifted_m = self.sill_m or (0.3 if self.rides else 0.0)
        x_px, y_px = camera.project(x_m, lifted_m, z_m)
        bob_px = 0 if self.rides else round(0.014 * height_px * abs(sin(pi * walked_m / _STEP_M)))
        top = round(y_px) - sprite.keep.shape[0] - bob_px
        shadow = None if self.sill_m else Shadow(x_m + 0.13, z_m, 0.85, 0.5)
        left = round(x_px - anchor)
        foot = None if lifted_m else round(y_px)
        yield Appearance("person", sprite, left, top, z_m, shadow, foot)
        if self.rides:
            yield _standing(Thing("bicycle", 1.02), (x_m, 0.0, z_m - 0.05), camera,
                            mirrored=mirrored)  # fmt: skip

    def hand(self, t_s: float) -> tuple[float, float]:
        """Where it holds things, ``(x_m, z_m)``."""
        x_m, z_m = self.path.at(t_s)
        return x_m + 0.34 * self.path.heading(t_s), z_m - 0.16

    def _bend(self, t_s: float) -> int:
        """−8 leans back to +8 bends down deeply."""
        bend = 0.0
        for act in self.acts:
            before_s = act.at_s - t_s
            if act.kind == "stoop":
                bend = max(bend, 1 - max(0.0, abs(before_s) - 0.15) / 0.55)
            elif act.kind == "throw":
                bend += float(
                    np.interp(-before_s, [-0.7, -0.3, 0.0, 0.2, 0.7], [0, -0.3, 0.35, 0.4, 0])
                )
            elif act.kind == "sweep" and act.at_s <= t_s <= act.until_s:
                bend = 0.3 + 0.12 * sin(2 * pi * t_s / 1.3)
        return round(BEND_STEPS * max(-1.0, min(1.0, bend)))

    def _sits(self, t_s: float) -> bool:
        return any(act.kind == "sit" and act.at_s <= t_s < act.until_s for act in self.acts)

    def _swing_m(self, t_s: float) -> float:
        sweeps = any(act.kind == "sweep" and act.at_s <= t_s <= act.until_s for act in self.acts)
        return 0.1 * sin(2 * pi * t_s / 1.3) if sweeps else 0.0


@dataclass(frozen=True)
class Car:
    """A vehicle that drives along the road and stands between its legs."""

    model: VehicleModel
    z_m: float
    legs: tuple[Leg, ...]
    facing: Literal[-1, 1] = -1
    lights: bool = True
    """Whether its headlights are on where it is dark."""

    def x_m(self, t_s: float) -> float | None:
        """Its middle; None while it is away."""
        begun = [leg for leg in self.legs if leg.start_s <= t_s]
        if not begun or t_s > self.legs[-1].end_s:
            return None
        return begun[-1].x_m(min(t_s, begun[-1].end_s))

    def appearances(self, t_s: float, camera: Camera) -> Iterator[Appearance]:
        x_m = self.x_m(t_s)
        if x_m is None:
            return
        height_px = round(self.model.height_m * camera.px_per_m(self.z_m))
        sprite = vehicle_sprite(self.model, height_px, self.facing > 0)
        x_px, y_px = camera.project(x_m, 0.0, self.z_m)
        height, width = sprite.keep.shape[:2]
        shadow = Shadow(x_m + 0.3, self.z_m, 1.12 * self.model.length_m, 1.5)
        left, foot = round(x_px - width / 2), round(y_px)
        if left < 1280 and left + width > 0:
            yield Appearance("vehicle", sprite, left, foot - height, self.z_m, shadow, foot)


@dataclass(frozen=True)
class Held:
    """Carried by somebody; ``lifts`` from and ``lowers`` to the ground at start and end."""

    by: Person
    start_s: float
    end_s: float
    carry_m: float
    lifts: bool = False
    lowers: bool = False
    raises: bool = False
    """Swung up to be thrown at the end."""

    def spot(self, t_s: float) -> Spot:
        x_m, z_m = self.by.hand(t_s)
        share = 1.0
        if self.lifts:
            share = min(share, (t_s - self.start_s) / _LIFT_S)
        if self.lowers:
            share = min(share, (self.end_s - t_s) / _LIFT_S)
        y_m = self.carry_m * max(0.0, share)
        if self.raises:
            y_m += (_THROW_M - self.carry_m) * max(0.0, 1 - (self.end_s - t_s) / 0.5)
        return x_m, y_m, z_m

    def angle_deg(self, t_s: float) -> float:
        return 3.0 * sin(4.2 * t_s)


@dataclass(frozen=True)
class Flight:
    """A free throw or fall from one spot to another."""

    start_s: float
    end_s: float
    start: Spot
    end: Spot
    spin_deg_s: float = 0.0

    def spot(self, t_s: float) -> Spot:
        span_s, gone_s = self.end_s - self.start_s, t_s - self.start_s
        share = gone_s / span_s
        rise = (self.end[1] - self.start[1]) / span_s + _GRAVITY * span_s / 2
        y_m = self.start[1] + rise * gone_s - _GRAVITY * gone_s**2 / 2
        x_m = self.start[0] + share * (self.end[0] - self.start[0])
        return x_m, max(0.0, y_m), self.start[2] + share * (self.end[2] - self.start[2])

    def angle_deg(self, t_s: float) -> float:
        return self.spin_deg_s * (self.end_s - t_s)


@dataclass(frozen=True)
class Glide:
    """Moved evenly from one spot to another: slides off a load bed, is pushed over an edge."""

    start_s: float
    end_s: float
    start: Spot
    end: Spot

    def spot(self, t_s: float) -> Spot:
        share = (t_s - self.start_s) / (self.end_s - self.start_s)
        x_m, y_m, z_m = (a + share * (b - a) for a, b in zip(self.start, self.end, strict=True))
        return x_m, y_m, z_m

    def angle_deg(self, t_s: float) -> float:
        return 0.0


@dataclass(frozen=True)
class Riding:
    """On a vehicle, at a place relative to its middle."""

    on: Car
    start_s: float
    end_s: float
    offset: Spot

    def spot(self, t_s: float) -> Spot:
        x_m = self.on.x_m(t_s)
        return (
            (99.0 if x_m is None else x_m) + self.offset[0],
            self.offset[1],
            (self.on.z_m + self.offset[2]),
        )

    def angle_deg(self, t_s: float) -> float:
        return 0.0


@dataclass(frozen=True)
class Rest:
    """Lies where it is."""

    start_s: float
    end_s: float
    at: Spot

    def spot(self, t_s: float) -> Spot:
        return self.at

    def angle_deg(self, t_s: float) -> float:
        return 0.0


Phase = Held | Flight | Glide | Riding | Rest


@dataclass(frozen=True)
class Item:
    """A thing and its life. With a ``manner`` it is dumped: what follows is true of the footage."""

    thing: Thing
    phases: tuple[Phase, ...]
    manner: Manner | None = None

    @property
    def onset_s(self) -> float:
        """Thrown or fallen: leaves the hand or edge. Else: lies still where it stays."""
        if self.manner in ("throw", "throw_from_height"):
            return next(phase.start_s for phase in self.phases if isinstance(phase, Flight))
        return self.phases[-1].start_s

    def rest_box_px(self, camera: Camera) -> BoxPx:
        """Where it lies at last."""
        (seen,) = self.appearances(self.phases[-1].start_s, camera)
        return seen.box_px

    def appearances(self, t_s: float, camera: Camera) -> Iterator[Appearance]:
        phase = next((p for p in reversed(self.phases) if p.start_s <= t_s), None)
        if phase is None or t_s >= self.phases[-1].end_s:
            return
        if isinstance(phase, Held) and not phase.by.path.present(t_s):
            return
        yield _standing(self.thing, phase.spot(t_s), camera, angle_deg=phase.angle_deg(t_s))


Actor = Person | Car | Item


def _standing(
    thing: Thing, spot: Spot, camera: Camera, *, angle_deg: float = 0.0, mirrored: bool = False
) -> Appearance:
    x_m, y_m, z_m = spot
    height_px = max(2, round(thing.height_m * camera.px_per_m(z_m)))
    sprite = thing_sprite(thing, height_px, 15 * round(angle_deg % 360 / 15), mirrored)
    x_px, y_px = camera.project(x_m, y_m, z_m)
    height, width = sprite.keep.shape[:2]
    turned = height - height_px  # grows when turned: it turns about its middle
    left, top = round(x_px - width / 2), round(y_px) - height + turned // 2
    # High above the ground the shadow has faded.
    dark = 0.5 * max(0.0, 1 - y_m / 2.5)
    wide = max(0.15, 1.15 * thing.width_m)
    shadow = Shadow(x_m + 0.1 * wide, z_m, wide, max(0.12, min(0.7, 0.5 * wide)), dark)
    foot = round(y_px) if y_m < 0.02 else None
    return Appearance("thing", sprite, left, top, z_m, shadow if dark > 0.05 else None, foot)
