"""Drone flights: what an approval allows, where the aircraft was, and whether the one kept to the
other."""

from bisect import bisect_left
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from enforcement.geometry import Point, contains
from enforcement.model import Record, Utc

Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
Metres = Annotated[float, Field(ge=-1_000, le=40_000, allow_inf_nan=False)]
"""A height or an altitude: from below the Dead Sea to the end of ST 0601's extended range."""
Degrees = Annotated[float, Field(ge=-360, le=360, allow_inf_nan=False)]


class GroundPoint(NamedTuple):
    """A place on the ground, WGS84 degrees."""

    latitude_deg: Latitude
    longitude_deg: Longitude


GroundPolygon = tuple[GroundPoint, ...]
"""Corners in order, either way round; smaller than half the globe and without a pole inside."""


class AircraftPose(Record):
    """Where an aircraft was and where its camera looked, at one moment.

    What the source does not state is None; nothing is filled in.
    """

    t_s: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """In the footage, from its first frame, where the source gives such times."""
    moment: Utc | None = None
    """None as well where the source gives local time and nobody configured its zone."""
    latitude_deg: Latitude
    longitude_deg: Longitude
    position_step_deg: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The last decimal that the source wrote: four decimals are steps of 11 m. 0: no such limit."""
    altitude_m: Metres | None = None
    """Above sea level."""
    height_m: Metres | None = None
    """Above the place of take-off."""
    ellipsoid_height_m: Metres | None = None
    """Above the WGS84 ellipsoid."""
    unnamed_altitude_m: Metres | None = None
    """An altitude of which the source does not say above what; fit for no calculation."""
    heading_deg: Degrees | None = None
    """Of the aircraft's nose, clockwise from true north."""
    gimbal_yaw_deg: Degrees | None = None
    """Of the camera, clockwise from true north, whatever the source counts from."""
    gimbal_pitch_deg: Degrees | None = None
    """Of the camera, above the horizon; -90 looks straight down."""
    gimbal_roll_deg: Degrees | None = None
    """Of the camera about its axis, right side down."""
    focal_length_35mm_mm: Annotated[float, Field(gt=0, le=10_000)] | None = None
    """Equivalent for 35 mm film, digital zoom included."""
    horizontal_fov_deg: Annotated[float, Field(gt=0, lt=180)] | None = None

    @property
    def position(self) -> GroundPoint:
        """The place straight below."""
        return GroundPoint(self.latitude_deg, self.longitude_deg)


def _known_zone(key: str) -> str:
    try:
        ZoneInfo(key)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"there is no time zone {key!r}; wanted is a name such as UTC or "
                         "Asia/Shanghai") from error  # fmt: skip
    return key


class TelemetryConventions(Record):
    """What an aircraft's files leave open. Each default is what the file itself says, or nothing;
    a person who knows the aircraft states the rest."""

    time_zone: Annotated[str, AfterValidator(_known_zone)] | None = None
    """IANA name of the zone of local times. DJI's files name none."""
    gps_order: Literal["by_dialect", "lon_lat", "lat_lon"] = "by_dialect"
    """Of the two numbers in ``GPS(…)``."""
    gimbal_yaw: Literal["from_north", "from_nose"] = "from_north"
    """What the aircraft counts its gimbal's yaw from."""
    unnamed_altitude: Literal["unknown", "above_sea", "above_take_off"] = "unknown"
    """What a bare ``altitude`` means."""


class FlightApproval(Record):
    """The permission to fly: by number, for a time, over an area."""

    approval_id: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    valid_from: Utc
    valid_until: Utc
    area: Annotated[GroundPolygon, Field(min_length=3)]
    max_height_m: Annotated[float, Field(gt=0, le=10_000)] | None = None
    """Above the place of take-off."""

    @model_validator(mode="after")
    def _interval_runs_forwards(self) -> Self:
        if self.valid_from >= self.valid_until:
            raise ValueError("valid_until must lie after valid_from")
        return self


class Trespass(StrEnum):
    """Why a pose is not covered by a flight approval."""

    OUTSIDE_AREA = "outside_area"
    BEFORE_APPROVAL = "before_approval"
    AFTER_APPROVAL = "after_approval"
    TIME_UNKNOWN = "time_unknown"
    """Nobody can show that the approval covered it: it counts as not covered."""
    TOO_HIGH = "too_high"


def trespasses(pose: AircraftPose, approval: FlightApproval) -> tuple[Trespass, ...]:
    """Every reason why this pose lies outside what was approved; empty if it lies inside.

    The approval holds in ``[valid_from, valid_until)``; the edge of its area belongs to it. An
    unknown height is no reason.
    """
    found = []
    if not ground_contains(approval.area, pose.position):
        found.append(Trespass.OUTSIDE_AREA)
    if pose.moment is None:
        found.append(Trespass.TIME_UNKNOWN)
    elif pose.moment < approval.valid_from:
        found.append(Trespass.BEFORE_APPROVAL)
    elif pose.moment >= approval.valid_until:
        found.append(Trespass.AFTER_APPROVAL)
    limit = approval.max_height_m
    if limit is not None and pose.height_m is not None and pose.height_m > limit:
        found.append(Trespass.TOO_HIGH)
    return tuple(found)


def ground_contains(polygon: GroundPolygon, point: GroundPoint) -> bool:
    """Whether the point lies inside or on the edge, edges being straight in degrees.

    Right across the 180th meridian; not around a pole.
    """
    # Longitudes count from a corner, so that no edge jumps from +180 to -180.
    start_deg = polygon[0].longitude_deg
    corners = tuple(
        Point(turned(corner.longitude_deg - start_deg), corner.latitude_deg) for corner in polygon
    )
    return contains(corners, Point(turned(point.longitude_deg - start_deg), point.latitude_deg))


def pose_at(poses: Sequence[AircraftPose], t_s: float, max_gap_s: float) -> AircraftPose | None:
    """The pose at a time of the footage, straight between the poses before and after.

    Angles and longitudes take the shorter way round; what either of the two lacks is None. None
    if ``t_s`` lies between poses more than ``max_gap_s`` apart, or further than that outside all
    of them. ``poses`` in order of their ``t_s``, which each must have.
    """
    after = bisect_left(poses, t_s, key=lambda pose: pose.t_s or 0.0)
    here = [pose for pose in poses[max(0, after - 1) : after + 1] if pose.t_s is not None]
    if after < len(poses) and poses[after].t_s == t_s:
        return poses[after]
    if len(here) == 2 and after:
        first, second = here
        span_s = (second.t_s or 0.0) - (first.t_s or 0.0)
        return _between(first, second, t_s, span_s) if span_s <= max_gap_s else None
    near = [pose for pose in here if abs((pose.t_s or 0.0) - t_s) <= max_gap_s]
    return near[0] if near else None


_STRAIGHT = ("latitude_deg", "altitude_m", "height_m", "ellipsoid_height_m", "unnamed_altitude_m",
             "focal_length_35mm_mm", "horizontal_fov_deg", "gimbal_pitch_deg")  # fmt: skip
_AROUND = ("longitude_deg", "heading_deg", "gimbal_yaw_deg", "gimbal_roll_deg")


def _between(first: AircraftPose, second: AircraftPose, t_s: float, span_s: float) -> AircraftPose:
    share = (t_s - (first.t_s or 0.0)) / span_s
    mixed: dict[str, Any] = {
        "t_s": t_s,
        "position_step_deg": max(first.position_step_deg, second.position_step_deg),
    }
    for name in (*_STRAIGHT, *_AROUND):
        a, b = getattr(first, name), getattr(second, name)
        if a is None or b is None:
            continue
        if name in _STRAIGHT:
            mixed[name] = a + share * (b - a)
        else:
            mixed[name] = turned(a + share * turned(b - a))
    if first.moment is not None and second.moment is not None:
        mixed["moment"] = first.moment + share * (second.moment - first.moment)
    return AircraftPose(**mixed)


def turned(angle_deg: float) -> float:
    """The same direction in [-180, 180]; an angle in there already stays as it is."""
    if -180.0 <= angle_deg <= 180.0:
        return angle_deg
    return (angle_deg + 180.0) % 360.0 - 180.0
