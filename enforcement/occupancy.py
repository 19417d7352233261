"""Who is where they must not be: persons in a zone, vehicles that stand in one."""

from collections.abc import Iterable, Sequence
from math import hypot
from typing import Annotated, Literal

from pydantic import Field

from enforcement.footage import Label, TrackPoint
from enforcement.geometry import contains, iou
from enforcement.model import Record, Score
from enforcement.places import Zone
from enforcement.scene import UNSEEN_S, Incident, Scene, Seconds, Seen, last_box

SAME_VEHICLE = 0.5
"""Boxes that overlap by so much (IoU) are the same standing vehicle."""


class ZoneIntrusion(Record):
    """A person stands or walks in the zone."""

    kind: Literal["zone_intrusion"] = "zone_intrusion"
    dwell_s: Seconds = 1.5
    score_min: Score = 0.4


class StoppedVehicle(Record):
    """A vehicle stands in the zone."""

    kind: Literal["stopped_vehicle"] = "stopped_vehicle"
    stay_s: Annotated[float, Field(ge=0.5, le=86400)] = 5.0
    score_min: Score = 0.4
    drift_max: Annotated[float, Field(gt=0, le=1)] = 0.15
    """It stands while its centre moves by less than this share of its own size."""


def zone_intrusion(params: ZoneIntrusion, zone: Zone, scene: Scene) -> Iterable[Incident]:
    for person in scene.seen:
        if person.track.label is not Label.PERSON:
            continue
        for stay in _stays(person.track.points, zone):
            score = sum(point.score for point in stay) / len(stay)
            alarm_s = stay[0].t_s + params.dwell_s
            if score < params.score_min or stay[-1].t_s < alarm_s - 1e-6:
                continue
            yield Incident(
                alarm_at_s=alarm_s,
                onset_s=stay[0].t_s,
                end_s=scene.end(stay[-1].t_s),
                box=last_box(stay, alarm_s),
                score=score,
                subjects=(person,),
                reasons=(
                    f"person's feet in the zone from {stay[0].t_s:.1f} s to {stay[-1].t_s:.1f} s",
                ),
            )


def _stays(points: Iterable[TrackPoint], zone: Zone) -> list[tuple[TrackPoint, ...]]:
    """Stretches with the feet in the zone; one step outside or out of sight is bridged."""
    stays: list[list[TrackPoint]] = []
    for point in points:
        if not contains(zone.polygon, point.box.foot):
            continue
        if stays and point.t_s - stays[-1][-1].t_s <= UNSEEN_S:
            stays[-1].append(point)
        else:
            stays.append([point])
    return [tuple(stay) for stay in stays]


def stopped_vehicle(params: StoppedVehicle, zone: Zone, scene: Scene) -> Iterable[Incident]:
    vehicles = [seen for seen in scene.seen if seen.track.label.is_vehicle]
    for chain in _rejoined(vehicles):
        points = tuple(point for vehicle in chain for point in vehicle.track.points)
        for halt in _halts(params, points, chain[0]):
            score = sum(point.score for point in halt) / len(halt)
            box = halt[len(halt) // 2].box
            if score < params.score_min or not contains(zone.polygon, box.foot):
                continue
            arrived = halt[0].t_s - points[0].t_s > UNSEEN_S
            yield Incident(
                alarm_at_s=halt[0].t_s + params.stay_s,
                onset_s=halt[0].t_s,
                end_s=scene.end(halt[-1].t_s),
                box=box,
                score=score,
                subjects=tuple(chain),
                reasons=(
                    f"{chain[0].track.label.value} stands from {halt[0].t_s:.1f} s "
                    f"to {halt[-1].t_s:.1f} s",
                    "was seen to arrive" if arrived else "stood there when first seen",
                ),
            )


def _rejoined(vehicles: Iterable[Seen]) -> list[list[Seen]]:
    """Tracks of one vehicle that the tracker lost and found at the same place, in one chain."""
    chains: list[list[Seen]] = []
    for vehicle in sorted(vehicles, key=lambda seen: (seen.track.first_s, seen.track.track_id)):
        first = vehicle.track.points[0]
        for chain in chains:
            last = chain[-1].track.points[-1]
            pause_s = first.t_s - last.t_s
            if 0 < pause_s <= 5 * UNSEEN_S and iou(last.box, first.box) > SAME_VEHICLE:
                chain.append(vehicle)
                break
        else:
            chains.append([vehicle])
    return chains


def _halts(
    params: StoppedVehicle, points: Sequence[TrackPoint], vehicle: Seen
) -> list[tuple[TrackPoint, ...]]:
    """Longest stretches in which the centre stays near where the stretch began."""
    halts: list[tuple[TrackPoint, ...]] = []
    start = 0
    while start < len(points):
        last = _stands_until(params, points, start, vehicle)
        if points[last].t_s - points[start].t_s >= params.stay_s - 1e-6:
            halts.append(tuple(points[start : last + 1]))
            start = last
        start += 1
    return halts


def _stands_until(
    params: StoppedVehicle, points: Sequence[TrackPoint], start: int, vehicle: Seen
) -> int:
    """Index of the last point near that of ``start``; one odd box in between is forgiven."""
    here = points[start].box
    limit = params.drift_max * vehicle.size(here)
    last, astray = start, 0
    for number in range(start + 1, len(points)):
        there = points[number].box.centre
        across = (there.x - here.centre.x) * vehicle.aspect
        astray = astray + 1 if hypot(across, there.y - here.centre.y) > limit else 0
        if astray == 2:
            break
        if astray == 0:
            last = number
    return last
