"""What an evaluation index says of its clips, and the events and zones that follow from it.

An index is a JSON list with an entry for each file (`IndexEntry`); places in it are pixels, and
become image fractions here. Times are seconds from the first frame.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from enforcement.geometry import Box, Point, Polygon
from enforcement.model import Name, Record, Sha256
from enforcement.places import Zone, ZonePurpose

DUMPING, ZONE_INTRUSION, STOPPED_VEHICLE = "dumping", "zone_intrusion", "stopped_vehicle"
NO_HELMET, FIRE = "no_helmet", "fire"
FAMILIES = (DUMPING, ZONE_INTRUSION, STOPPED_VEHICLE, NO_HELMET, FIRE)
NEEDS_FIXED_VIEW = frozenset({DUMPING, ZONE_INTRUSION, STOPPED_VEHICLE})
NEEDS_ZONE = {ZONE_INTRUSION: ZonePurpose.FORBIDDEN, STOPPED_VEHICLE: ZonePurpose.NO_STOPPING}
"""Families that are looked for only in zones that the index names, and the zones' purpose."""
JUDGED_BY_CLIP = frozenset({NO_HELMET, FIRE})
"""Families for which only counts whether they were raised, not when."""

Pixels = Annotated[float, Field(ge=0)]
BoxPx = tuple[Pixels, Pixels, Pixels, Pixels]
"""x_min, y_min, x_max, y_max."""


class ExpectedAlarm(Record):
    """One event of a clip that must be raised."""

    family: Name
    onset_s: float
    end_s: float | None = None
    box_px: BoxPx | None = None
    manner: Name | None = None
    """For dumping: ``left_behind``, ``load_from_vehicle``, ``throw``, ``throw_from_height``."""


class ZoneCheck(Record):
    """A zone in pixels and when somebody or something is in it."""

    family: Name
    zone_px: Annotated[tuple[tuple[float, float], ...], Field(min_length=3)]
    occupied_s: tuple[tuple[float, float], ...] = ()


class HealthCheck(Record):
    """Something that is wrong with the view from a moment on."""

    finding: Name
    onset_s: float


class Expected(Record):
    """All that an evaluation wants of a clip."""

    view: Literal["suitable", "unsuitable"] = "suitable"
    alarms: tuple[ExpectedAlarm, ...] = ()
    difficult: bool = False
    view_health: tuple[HealthCheck, ...] = ()
    zone_checks: tuple[ZoneCheck, ...] = ()


class IndexEntry(BaseModel):
    """One file of an index. Origin, licence and notes beside these fields are nobody's matter here.

    ``expect`` stands at footage only; what stands in it is scored, so a typo there is an error.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    file: str
    sha256: Sha256 | None = None
    expect: Expected | None = None


class Event(Record):
    """Something true in a clip, in image fractions."""

    family: Name
    onset_s: float
    end_s: float | None = None
    box: Box | None = None
    manner: Name | None = None


def zones_of(expected: Expected, width_px: int, height_px: int) -> tuple[Zone, ...]:
    """The whole frame against dumping, and what the index names for other families.

    A family with an expected event but without a zone is looked for in the whole frame.
    """
    zones = [Zone(zone_id="whole-frame", purpose=ZonePurpose.NO_DUMPING)]
    for number, check in enumerate(expected.zone_checks, start=1):
        purpose = NEEDS_ZONE.get(check.family, ZonePurpose.NO_DUMPING)
        outline: Polygon = tuple(
            Point(_share(x, width_px), _share(y, height_px)) for x, y in check.zone_px
        )
        if purpose is ZonePurpose.NO_DUMPING:
            zones = [zone for zone in zones if zone.zone_id != "whole-frame"]
        zones.append(Zone(zone_id=f"check-{number}", purpose=purpose, polygon=outline))
    zoned = {check.family for check in expected.zone_checks}
    for family in sorted({alarm.family for alarm in expected.alarms} - zoned):
        if family in NEEDS_ZONE:
            whole = family.replace("_", "-")
            zones.append(Zone(zone_id=f"whole-frame-{whole}", purpose=NEEDS_ZONE[family]))
    return tuple(zones)


def events_of(expected: Expected, width_px: int, height_px: int) -> tuple[Event, ...]:
    """What is true in the clip, zone checks included, in the order of the onsets."""
    events = [
        Event(
            family=alarm.family,
            onset_s=alarm.onset_s,
            end_s=alarm.end_s,
            box=None if alarm.box_px is None else _fractions(alarm.box_px, width_px, height_px),
            manner=alarm.manner,
        )
        for alarm in expected.alarms
    ]
    events += [
        Event(family=check.family, onset_s=start_s, end_s=end_s)
        for check in expected.zone_checks
        for start_s, end_s in check.occupied_s
    ]
    return tuple(sorted(events, key=lambda event: (event.onset_s, event.family)))


def _fractions(box_px: BoxPx, width_px: int, height_px: int) -> Box:
    left, top, right, bottom = box_px
    return Box(
        _share(left, width_px), _share(top, height_px),
        _share(right, width_px), _share(bottom, height_px),
    )  # fmt: skip


def _share(at_px: float, side_px: int) -> float:
    return min(1.0, max(0.0, at_px / side_px))
