"""Rendered drone patrols: two flights over one site, of which everything is known.

A flight gives a video and the subtitle file that a current DJI aircraft writes beside it. Between
the two flights things come and go, the sun moves, the camera exposes otherwise and the satellite
fix is off by another metre or two. The truth follows from what is drawn.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import atan2, cos, degrees, hypot, pi, radians, sin, tan
from pathlib import Path
from typing import Literal, cast
from zoneinfo import ZoneInfo

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from enforcement.errors import StoreUnavailable
from enforcement.flights import AircraftPose, GroundPoint, GroundPolygon
from enforcement.model import Record, Utc
from media.encoding import write_h264
from media.footage import Image
from media.patrol_site import (
    CAR_PARK,
    SITE_EAST_M,
    SITE_NORTH_M,
    STANDING,
    Thing,
    ThingKind,
)
from media.patrol_telemetry import ORIGIN, TIME_ZONE, ground_point, polygon, subtitles
from media.patrol_views import HEIGHT_PX, WIDTH_PX, Camera, LitSite, Sun

TAKE_OFF_ALTITUDE_M = 12.0

_FOCAL_35MM_MM = 24.0
_FILM_DIAGONAL_MM = hypot(36.0, 24.0)
_SENSOR_ASPECT = 4 / 3
_SPEED_M_S = 5.0
_CRF, _PRESET = 23, "superfast"

Pass = Literal["before", "after"]
PASSES: tuple[Pass, Pass] = ("before", "after")


@dataclass(frozen=True)
class Walk:
    """Somebody or a vehicle that goes straight on, to and fro, while the aircraft passes."""

    thing: Thing
    to_east_m: float
    to_north_m: float
    speed_m_s: float = 1.3

    def at(self, t_s: float) -> Thing:
        east_m, north_m = self.to_east_m - self.thing.east_m, self.to_north_m - self.thing.north_m
        length_m = hypot(east_m, north_m)
        way_m = (t_s * self.speed_m_s) % (2 * length_m)
        there = way_m < length_m
        share = (way_m if there else 2 * length_m - way_m) / length_m
        bearing_deg = degrees(atan2(east_m, north_m)) + (0 if there else 180)
        return Thing(
            self.thing.kind,
            self.thing.east_m + share * east_m,
            self.thing.north_m + share * north_m,
            round(bearing_deg),
            look=self.thing.look,
        )


@dataclass(frozen=True)
class Flight:
    """One pass: when, in which light, and what is there besides what always stands there."""

    started_at: datetime
    sun: Sun
    things: tuple[Thing, ...] = ()
    walks: tuple[Walk, ...] = ()
    bias_east_m: float = 0.0
    """By how much the stated positions lie too far east, and north, all through the flight."""
    bias_north_m: float = 0.0
    seed: int = 1
    """Of the wind, the noise of the sensor and the errors of the stated pose."""


@dataclass(frozen=True)
class Patrol:
    """Two flights along one route over the middle of the site."""

    before: Flight
    after: Flight
    pitch_deg: float = -90.0
    height_m: float = 60.0
    fps: float = 2.0
    route_north_m: float = SITE_NORTH_M / 2
    from_east_m: float = 0.0
    to_east_m: float = SITE_EAST_M

    @property
    def duration_s(self) -> float:
        return (self.to_east_m - self.from_east_m) / _SPEED_M_S


class ThingTruth(Record):
    """Something that is there at one of the two flights only."""

    kind: ThingKind
    change: Literal["appeared", "disappeared"]
    place: GroundPoint
    east_m: float
    north_m: float


class FlightTruth(Record):
    """One flight's files, by their names in the folder, and the errors of what they state."""

    video: str
    telemetry: str
    started_at: Utc
    frames: int
    bias_east_m: float
    bias_north_m: float


class PatrolTruth(Record):
    """All that a rendered pair of flights shows; metres from ``origin``."""

    origin: GroundPoint
    before: FlightTruth
    after: FlightTruth
    changes: tuple[ThingTruth, ...]
    """Resting things alone, without people and vehicles that move through the pictures."""
    watched: GroundPolygon
    car_park: GroundPolygon
    time_zone: str


def patrol(seed: int, *, pitch_deg: float = -90.0, heap: bool = True) -> Patrol:
    """The usual case: a heap of waste of 3 m × 3 m appears, a car has moved along the road, cars
    come and go in the car park, somebody walks, somebody drives."""
    chance = np.random.default_rng(seed)
    spots = ((90.0, 15.0), (38.0, 42.0), (56.0, 47.0), (34.0, 60.0), (70.0, 24.0), (97.0, 52.0),
             (18.0, 42.0), (46.0, 12.0))  # fmt: skip
    east_m, north_m = spots[seed % len(spots)]
    heaps = (Thing("heap", east_m, north_m, size_m=3.0, look=seed),) if heap else ()
    kerb_m = 30.3 if seed % 2 else 34.7
    look = int(chance.integers(8))
    stops = (Thing("car", 30.0, kerb_m, look=look), Thing("car", 82.0, kerb_m, look=look))
    suns = (
        Sun(float(chance.uniform(95, 140)), float(chance.uniform(38, 55))),
        Sun(
            float(chance.uniform(205, 255)),
            float(chance.uniform(30, 48)),
            exposure=float(chance.uniform(0.8, 1.2)),
            gain_bgr=(float(chance.uniform(0.9, 1.0)), 1.0, float(chance.uniform(1.0, 1.1))),
        ),
    )
    flights = []
    for number, things in enumerate(((stops[0],), (stops[1], *heaps))):
        bearing, length_m = chance.uniform(0, 2 * pi), chance.uniform(1, 2)
        flights.append(
            Flight(
                started_at=datetime(2026, 5, 12 + number, (1, 6)[number], 30, tzinfo=UTC),
                sun=suns[number],
                things=(*things, *_parked(chance)),
                walks=_passers_by(chance, lane_m=33.9 if kerb_m < 32.5 else 31.0),
                bias_east_m=float(length_m * sin(bearing)),
                bias_north_m=float(length_m * cos(bearing)),
                seed=int(chance.integers(1 << 30)),
            )
        )
    return along_route(Patrol(flights[0], flights[1]), pitch_deg)


def along_route(plan: Patrol, pitch_deg: float) -> Patrol:
    """The same flights, so far looking straight down, with the camera at another pitch; begun so
    that it sees the same ground."""
    ahead_m = plan.height_m / tan(radians(-pitch_deg))
    return replace(
        plan,
        pitch_deg=pitch_deg,
        from_east_m=plan.from_east_m - ahead_m,
        to_east_m=plan.to_east_m - ahead_m,
    )


def _parked(chance: np.random.Generator) -> tuple[Thing, ...]:
    """Cars in the bays of the car park, about half of them taken."""
    cars = []
    for bay in range(11):
        for north_m, bearing_deg in ((CAR_PARK[2] + 3.1, 0.0), (CAR_PARK[3] - 3.1, 180.0)):
            if chance.random() < 0.5:
                east_m = CAR_PARK[0] + 2.37 + 2.6 * bay
                kind: Literal["car", "van"] = "van" if chance.random() < 0.2 else "car"
                look = int(chance.integers(8))
                cars.append(Thing(kind, east_m, north_m, bearing_deg, look=look))
    return tuple(cars)


def _passers_by(chance: np.random.Generator, lane_m: float) -> tuple[Walk, ...]:
    look = int(chance.integers(8))
    east_m = float(chance.uniform(20, 70))
    return (
        Walk(Thing("person", east_m, 40.0, look=look), east_m + 30, 46.0),
        Walk(Thing("person", 40.0, 26.5, look=look + 1), 90.0, 26.5),
        Walk(Thing("car", -60.0, lane_m, look=look + 2), 180.0, lane_m, speed_m_s=9.0),
    )


def render_patrol(plan: Patrol, folder: Path) -> PatrolTruth:
    """Write both flights as DJI names them, ``.MP4`` and ``.SRT``, into the folder.

    Files appear under their names only when complete; the same plan gives the same bytes.

    Raises StoreUnavailable if they can't be written.
    """
    truths = [_write(plan, which, folder) for which in PASSES]
    return PatrolTruth(
        origin=ORIGIN,
        before=truths[0],
        after=truths[1],
        changes=changes_of(plan),
        watched=polygon((0.0, SITE_EAST_M, 0.0, SITE_NORTH_M)),
        car_park=polygon(CAR_PARK),
        time_zone=TIME_ZONE,
    )


def flight_pictures(plan: Patrol, which: Pass) -> Iterator[tuple[AircraftPose, Image]]:
    """A flight picture by picture before it is coded, with the pose that its telemetry states."""
    flight = plan.before if which == "before" else plan.after
    site = LitSite((*STANDING, *flight.things), flight.sun)
    chance = np.random.default_rng(flight.seed)
    grain = _grain(chance)
    for number, (camera, pose) in enumerate(_poses(plan, flight)):
        walking = [walk.at(number / plan.fps) for walk in flight.walks]
        picture = site.picture(camera, walking)
        yield pose, _exposed(picture, grain, chance)


def changes_of(plan: Patrol) -> tuple[ThingTruth, ...]:
    """Which resting things are there at one flight only."""
    before, after = plan.before.things, plan.after.things
    return (
        *(_told(thing, "disappeared") for thing in before if thing not in after),
        *(_told(thing, "appeared") for thing in after if thing not in before),
    )


def _told(thing: Thing, change: Literal["appeared", "disappeared"]) -> ThingTruth:
    return ThingTruth(
        kind=thing.kind,
        change=change,
        place=ground_point(thing.east_m, thing.north_m),
        east_m=thing.east_m,
        north_m=thing.north_m,
    )


@dataclass
class _Drift:
    """An error that changes slowly: each value keeps most of the one before."""

    chance: np.random.Generator
    spread: float
    keep: float = 0.9
    value: float = field(init=False)

    def __post_init__(self) -> None:
        self.value = float(self.chance.normal(0, self.spread))

    def next(self) -> float:
        self.value = self.keep * self.value + float(
            self.chance.normal(0, self.spread * (1 - self.keep**2) ** 0.5)
        )
        return float(np.clip(self.value, -2 * self.spread, 2 * self.spread))


def _poses(plan: Patrol, flight: Flight) -> Iterator[tuple[Camera, AircraftPose]]:
    """The true camera and the stated pose of each frame: a bias and jitter of position, 1° of yaw,
    1 m of height and half a degree of pitch at most."""
    chance = np.random.default_rng(flight.seed + 1)
    names = ("east", "north", "yaw", "height", "pitch", "sway", "swerve")
    spreads = (0.15, 0.15, 0.5, 0.1, 0.25, 1.0, 0.4)
    drifts = {name: _Drift(chance, spread) for name, spread in zip(names, spreads, strict=True)}
    height_bias_m = float(chance.uniform(-0.8, 0.8))
    for number in range(round(plan.duration_s * plan.fps)):
        t_s = number / plan.fps
        off = {name: drift.next() for name, drift in drifts.items()}
        camera = Camera(
            east_m=plan.from_east_m + _SPEED_M_S * t_s - flight.bias_east_m,
            north_m=plan.route_north_m - flight.bias_north_m + off["swerve"],
            height_m=plan.height_m + 0.5 * off["sway"],
            yaw_deg=90.0 + off["sway"],
            pitch_deg=plan.pitch_deg + off["pitch"],
            half_width=_half_width(),
        )
        place = ground_point(
            camera.east_m + flight.bias_east_m + off["east"],
            camera.north_m + flight.bias_north_m + off["north"],
        )
        height_m = camera.height_m + height_bias_m + off["height"]
        yield (
            camera,
            AircraftPose(
                t_s=round(t_s, 3),
                moment=flight.started_at + timedelta(seconds=t_s),
                latitude_deg=round(place.latitude_deg, 6),
                longitude_deg=round(place.longitude_deg, 6),
                position_step_deg=1e-6,
                height_m=round(height_m, 3),
                altitude_m=round(height_m + TAKE_OFF_ALTITUDE_M, 3),
                gimbal_yaw_deg=round(camera.yaw_deg + off["yaw"], 1),
                gimbal_pitch_deg=round(plan.pitch_deg, 1),
                gimbal_roll_deg=0.0,
                focal_length_35mm_mm=_FOCAL_35MM_MM,
            ),
        )


def _half_width() -> float:
    """Of the picture at distance 1: equivalent focal lengths compare diagonals, and the picture is
    cut from the sensor at full width."""
    half_diagonal = _FILM_DIAGONAL_MM / 2 / _FOCAL_35MM_MM
    return half_diagonal / hypot(1.0, _SENSOR_ASPECT) * _SENSOR_ASPECT


def _grain(chance: np.random.Generator) -> NDArray[np.int8]:
    size = (HEIGHT_PX + 64, WIDTH_PX + 64, 3)
    return np.clip(chance.normal(0, 2.2, size), -40, 40).astype(np.int8)


def _exposed(picture: Image, grain: NDArray[np.int8], chance: np.random.Generator) -> Image:
    """With the noise of the sensor, and the exposure hunting a little."""
    top, left = (int(number) for number in chance.integers(64, size=2))
    part = grain[top : top + HEIGHT_PX, left : left + WIDTH_PX]
    gain = 1 + float(np.clip(chance.normal(0, 0.01), -0.03, 0.03))
    return np.asarray(
        cv2.addWeighted(picture, gain, np.ascontiguousarray(part), 1.0, 0.0, dtype=cv2.CV_8U),
        np.uint8,
    )


def _write(plan: Patrol, which: Pass, folder: Path) -> FlightTruth:
    flight = plan.before if which == "before" else plan.after
    local = flight.started_at.astimezone(ZoneInfo(TIME_ZONE))
    name = f"DJI_{local:%Y%m%d%H%M%S}_0001_W"
    video, telemetry = folder / f"{name}.MP4", folder / f"{name}.SRT"
    parts = [path.with_name(f".{path.name}.part") for path in (video, telemetry)]
    poses: list[AircraftPose] = []

    def frames() -> Iterator[tuple[float, VideoFrame]]:
        for pose, picture in flight_pictures(plan, which):
            poses.append(pose)
            planes = cast(Image, np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)))
            yield pose.t_s or 0.0, VideoFrame.from_ndarray(planes, format="yuv420p")

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_h264(parts[0], frames(), plan.fps, preset=_PRESET, crf=_CRF)
        parts[1].write_text(subtitles(poses, plan.fps), "utf-8")
        for part, target in zip(parts, (video, telemetry), strict=True):
            os.replace(part, target)
    except (OSError, av.FFmpegError) as error:
        raise StoreUnavailable(f"The patrol cannot be written: {error}.") from error
    finally:
        for part in parts:
            with suppress(OSError):
                part.unlink(missing_ok=True)
    return FlightTruth(
        video=video.name,
        telemetry=telemetry.name,
        started_at=flight.started_at,
        frames=len(poses),
        bias_east_m=flight.bias_east_m,
        bias_north_m=flight.bias_north_m,
    )
