"""What an evaluation index says of its clips, and the events and zones that follow from it.

An index is a JSON list with an entry for each file (`IndexEntry`); places in it are pixels, and
become image fractions here. Times are seconds from the first frame.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from enforcement.geometry import Box, Point
from enforcement.model import Name, Record, Sha256
from enforcement.places import Zone, ZonePurpose

DUMPING, ZONE_INTRUSION, STOPPED_VEHICLE = "dumping", "zone_intrusion", "stopped_vehicle"
NO_HELMET, FIRE, SMOKE = "no_helmet", "fire", "smoke"
FAMILIES = (DUMPING, ZONE_INTRUSION, STOPPED_VEHICLE, NO_HELMET, FIRE, SMOKE)
NEEDS_FIXED_VIEW = frozenset({DUMPING, ZONE_INTRUSION, STOPPED_VEHICLE})
PURPOSES = {
    DUMPING: ZonePurpose.NO_DUMPING,
    ZONE_INTRUSION: ZonePurpose.FORBIDDEN,
    STOPPED_VEHICLE: ZonePurpose.NO_STOPPING,
    NO_HELMET: ZonePurpose.HELMETS_REQUIRED,
    FIRE: ZonePurpose.NO_FIRE,
    SMOKE: ZonePurpose.SMOKE_WATCH,
}
"""In zones of which purpose a family is looked for."""
NEEDS_ZONE = frozenset({ZONE_INTRUSION, STOPPED_VEHICLE, NO_HELMET, SMOKE})
"""Families that are looked for only where the index declares it: that nobody may enter or stop
here, or that helmets must be worn, is a fact about the place which no picture tells."""
JUDGED_BY_CLIP = frozenset({NO_HELMET, FIRE, SMOKE})
"""Families for which only counts whether they were raised, not when."""

Pixels = Annotated[float, Field(ge=0)]
_SITE = re.compile(r"\b(ppe|helmets?(?! camera)|sites?)\b", re.IGNORECASE)
"""Kinds of clips that show a place where helmets must be worn; a helmet camera shows any place."""

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
    helmets_required: bool = False
    """The whole frame shows a place where helmets must be worn."""


class IndexEntry(BaseModel):
    """One file of an index. Origin, licence and notes beside these fields are nobody's matter here.

    A ``kind`` that speaks of protective equipment, helmets or a building site declares a place
    where helmets must be worn, unless ``expect`` says otherwise. ``expect`` stands at footage only;
    what stands in it is scored, so a typo there is an error.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    file: str
    sha256: Sha256 | None = None
    kind: str = ""
    """What the clip shows, in a few words."""
    expect: Expected | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_site_requires_helmets(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not isinstance(given.get("expect"), dict):
            return given
        shows_site = bool(_SITE.search(str(given.get("kind", ""))))
        return {**given, "expect": {"helmets_required": shows_site, **given["expect"]}}


class Event(Record):
    """Something true in a clip, in image fractions."""

    family: Name
    onset_s: float
    end_s: float | None = None
    box: Box | None = None
    manner: Name | None = None


def zones_of(expected: Expected, width_px: int, height_px: int) -> tuple[Zone, ...]:
    """The zones that the index names, and the whole frame for every other family looked for.

    Dumping and fire are looked for in every clip; the families of `NEEDS_ZONE` only where the index
    names a zone, expects an event of theirs or says that helmets are required.
    """
    zones = [
        Zone(
            zone_id=f"check-{number}",
            purpose=PURPOSES.get(check.family, ZonePurpose.NO_DUMPING),
            polygon=tuple(
                Point(_share(x, width_px), _share(y, height_px)) for x, y in check.zone_px
            ),
        )
        for number, check in enumerate(expected.zone_checks, start=1)
    ]
    drawn = {zone.purpose for zone in zones}
    wanted = [family for family in FAMILIES if family in families_looked_for(expected)]
    zones += [
        Zone(zone_id=f"whole-frame-{family.replace('_', '-')}", purpose=PURPOSES[family])
        for family in wanted
        if PURPOSES[family] not in drawn
    ]
    return tuple(zones)


def families_looked_for(expected: Expected) -> frozenset[str]:
    """The families for which there is a zone in this clip."""
    declared = {alarm.family for alarm in expected.alarms}
    declared |= {check.family for check in expected.zone_checks}
    if expected.helmets_required:
        declared.add(NO_HELMET)
    return frozenset({*FAMILIES} - NEEDS_ZONE | declared)


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
