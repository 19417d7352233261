"""Fusion: which camera saw what a sensor tells, and which leads are one incident.

Leads of one matter, place and time are one incident, whatever rules and feeds they come from.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from math import hypot
from typing import NamedTuple

from enforcement.cases import Lead
from enforcement.changes import Fix, lies_within, metres_apart
from enforcement.flights import GroundPoint, GroundPolygon, ground_contains, turned
from enforcement.geometry import intersection
from enforcement.incidents import NEARBY
from enforcement.places import Device, Feed, FolderSource, RtspSource, Site

BEFORE = timedelta(seconds=6)
AFTER = timedelta(seconds=6)
"""So much is shown from before the onset and after the alarm."""
SENSOR_REACH_M = 50.0
"""A sensor tells what reaches it, not where it comes from: sound and smell carry so far that what
they come from lies across a works yard, and beyond it other sources are as likely."""
LONGEST_CLIP = timedelta(minutes=5)
"""Of a longer time its end is shown, with the alarm."""


class CameraInView(NamedTuple):
    """A camera that has a place in view."""

    feed: Feed
    device: Device | None
    distance_m: float | None
    """From its mast; None if the catalog does not say where that stands."""


def sensor_place(device: Device | None, site: Site) -> GroundPoint | None:
    """Where a sensor stands: by itself, else by its site; None if neither says so."""
    if device is not None and device.place is not None:
        return device.place
    if site.latitude_deg is None or site.longitude_deg is None:
        return None
    return GroundPoint(site.latitude_deg, site.longitude_deg)


def cameras_seeing(
    place: GroundPoint, feeds: Iterable[Feed], devices: Iterable[Device]
) -> list[CameraInView]:
    """The cameras that are watched and have this place in view, the nearest first.

    Those of which nobody knows where they stand come last.
    """
    known = {device.device_id: device for device in devices}
    found: list[CameraInView] = []
    for feed in feeds:
        is_camera = isinstance(feed.source, FolderSource | RtspSource)
        if not feed.enabled or not is_camera or feed.in_view is None:
            continue
        if ground_contains(feed.in_view, place):
            device = known.get(feed.device_id or "")
            mast = None if device is None else device.place
            apart = None if mast is None else metres_apart(mast, place)
            found.append(CameraInView(feed, device, apart))
    return sorted(
        found, key=lambda one: (one.distance_m is None, one.distance_m or 0.0, one.feed.feed_id)
    )


def clip_span(onset_at: datetime, alarm_at: datetime) -> tuple[datetime, datetime]:
    """Which time of a camera belongs to a lead of a sensor."""
    end = alarm_at + AFTER
    return max(onset_at - BEFORE, end - LONGEST_CLIP), end


Span = tuple[datetime, datetime]


class Sighting(NamedTuple):
    """What is known of where and when that was which a lead is about."""

    lead: Lead
    span: Span
    fix: Fix | None = None
    in_view: GroundPolygon | None = None
    """The ground that its camera sees, where its place is not known more exactly."""


def lead_span(lead: Lead) -> Span:
    """From the onset to the end or the alarm, in true UTC."""

    def at(seconds: float) -> datetime:
        return lead.alarm_at + timedelta(seconds=seconds - lead.alarm_at_s)

    return at(lead.onset_s), max(lead.alarm_at, at(lead.end_s or lead.alarm_at_s))


def is_one_incident(a: Sighting, b: Sighting, apart_s: float) -> bool:
    """Whether two leads of one matter are about the same, if no more than this lies between them.

    Leads of one rule and one feed never are: there, it was told already that they differ.
    """
    if (a.lead.rule_id, a.lead.feed_id) == (b.lead.rule_id, b.lead.feed_id):
        return False
    if a.lead.seeded or b.lead.seeded:
        return False
    between = max(a.span[0], b.span[0]) - min(a.span[1], b.span[1])
    return between <= timedelta(seconds=apart_s) and _at_one_place(a, b)


def _at_one_place(a: Sighting, b: Sighting) -> bool:
    if a.fix is not None and b.fix is not None:
        return metres_apart(a.fix[0], b.fix[0]) <= hypot(a.fix[1], b.fix[1])
    if a.fix is None and b.fix is None and a.lead.feed_id == b.lead.feed_id:
        return intersection(a.lead.box.grown(NEARBY), b.lead.box.grown(NEARBY)) > 0
    for one, other in ((a, b), (b, a)):
        if one.fix is not None and other.in_view is not None:
            return lies_within(other.in_view, *one.fix)
    if a.in_view is not None and b.in_view is not None:
        return _overlap(a.in_view, b.in_view)
    return a.lead.site_id == b.lead.site_id


def _overlap(a: GroundPolygon, b: GroundPolygon) -> bool:
    """Whether two polygons have ground in common or touch."""
    if any(ground_contains(a, corner) for corner in b):
        return True
    if any(ground_contains(b, corner) for corner in a):
        return True
    return any(_cross(*side, *other) for side in _sides(a) for other in _sides(b))


def _sides(polygon: GroundPolygon) -> list[tuple[GroundPoint, GroundPoint]]:
    return list(zip(polygon, (*polygon[1:], polygon[0]), strict=True))


def _cross(a: GroundPoint, b: GroundPoint, c: GroundPoint, d: GroundPoint) -> bool:
    """Whether two lines that share no end cross, straight in degrees."""
    return _turn(a, b, c) * _turn(a, b, d) < 0 and _turn(c, d, a) * _turn(c, d, b) < 0


def _turn(a: GroundPoint, b: GroundPoint, c: GroundPoint) -> float:
    """Above 0 if c lies to the left of the way from a to b."""
    east = [turned(one.longitude_deg - a.longitude_deg) for one in (b, c)]
    north = [one.latitude_deg - a.latitude_deg for one in (b, c)]
    return east[0] * north[1] - north[0] * east[1]
