"""Something was thrown or fell: it flew as gravity has it, from somebody or from high up, and lies.

The detector of flights says how long a metre is where the thing flew, so that sizes and distances
are asked in metres here: of persons, too, who must fit that scale.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from enforcement.footage import Label
from enforcement.geometry import Box, at_one_place, contains, covered
from enforcement.model import Record, Score
from enforcement.places import Zone
from enforcement.scene import Incident, Scene, Seconds, Seen, moments

_HEIGHTS_M = {Label.PERSON: 1.7, Label.BICYCLE: 1.5, Label.CAR: 1.5, Label.MOTORCYCLE: 1.5,
              Label.TRUCK: 2.8, Label.BUS: 3.0}  # fmt: skip
"""How tall people and vehicles usually are."""

_COMES_TO_REST_S = 0.5
"""What rolls or is found a little early."""


class Thrown(Record):
    """Something flew into the zone and lies there: thrown by somebody, or out of a window."""

    kind: Literal["thrown"] = "thrown"
    score_min: Score = 0.3
    reach_m: Annotated[float, Field(ge=0, le=20)] = 1.0
    """The flight begins no farther than this from the person or vehicle that it leaves."""
    scale_max: Annotated[float, Field(gt=1, le=10)] = 1.75
    """The thrower's height and the flight may disagree on how long a metre is by this factor."""
    drop_min_m: Annotated[float, Field(ge=0, le=100)] = 0.7
    """So far it must fall."""
    flat_max: Annotated[float, Field(gt=0, le=100)] = 3.0
    """It flies no farther across than so many times its fall: else it is part of what passes."""
    away_m: Annotated[float, Field(ge=0, le=20)] = 0.5
    """It lands at least so far from whoever threw it: else it was put down."""
    free_min: Score = 0.4
    """Share of the flight outside of the boxes of persons and vehicles: else it is part of one."""
    fall_min_m: Annotated[float, Field(ge=0, le=200)] = 3.0
    """What falls at least so far needs nobody near: it came out of a window."""
    steep_min: Annotated[float, Field(ge=0, le=100)] = 2.0
    """Such a fall is so much longer than wide."""
    found_score: Score = 0.35
    """What the look for things left behind finds with this much where the flight ended confirms
    it…"""
    found_edges: Annotated[float, Field(ge=0, le=10)] = 1.2
    """…if it has edges of its own."""
    alone_drop_m: Annotated[float, Field(ge=0, le=100)] = 1.5
    """Unconfirmed it must fall so far…"""
    alone_s: Seconds = 30.0
    """…and no other flight have landed for so long: leaves and crowds make swarms of them."""
    before_s: Seconds = 0.6
    """Who was there so long before the flight began may have thrown it."""


@dataclass(frozen=True)
class _Flight:
    """A track of something that flew, in the units of the scene."""

    seen: Seen
    metre: float
    ended_s: float

    @property
    def start(self) -> Box:
        return self.seen.track.points[0].box

    @property
    def end(self) -> Box:
        """Where it lies."""
        return self.seen.track.points[-1].box


def thrown(params: Thrown, zone: Zone, scene: Scene) -> Iterable[Incident]:
    for thing in scene.seen:
        track = thing.track
        traits = track.traits
        if (
            track.label is not Label.THROWN_OBJECT
            or track.score < params.score_min
            or traits.get("landed", 0.0) < 0.5
            or traits["drop_m"] < params.drop_min_m
            or not contains(zone.polygon, track.points[-1].box.foot)
            or _across(thing) > params.flat_max * traits["drop_m"] * traits["metre"]
            or _free(thing, traits["ended_s"], scene) < params.free_min
            or not (_is_confirmed(params, thing, scene) or _is_alone(params, thing, scene))
        ):
            continue
        flight = _Flight(thing, traits["metre"], traits["ended_s"])
        incident = _by_somebody(params, flight, scene) or _from_high_up(params, flight, scene)
        if incident is not None:
            yield incident


def _is_confirmed(params: Thrown, thing: Seen, scene: Scene) -> bool:
    """Whether something was found to have come to rest where it came down, and when it did."""
    end, ended_s = thing.track.points[-1].box, thing.track.traits["ended_s"]
    return any(
        one.track.label is Label.STATIC_OBJECT
        and one.track.score >= params.found_score
        and one.track.traits.get("edge_ratio", 0.0) >= params.found_edges
        and ended_s - _COMES_TO_REST_S <= one.track.first_s <= thing.track.last_s
        and at_one_place(one.track.points[0].box, end)
        for one in scene.seen
    )


def _is_alone(params: Thrown, thing: Seen, scene: Scene) -> bool:
    """Whether it falls far and no other flight landed lately."""
    if thing.track.traits["drop_m"] < params.alone_drop_m:
        return False
    landed_s = (
        other.track.traits["ended_s"]
        for other in scene.seen
        if other.track.label is Label.THROWN_OBJECT
        and other.track.traits.get("landed", 0.0) >= 0.5
        and other.track is not thing.track
    )
    since_s, until_s = thing.track.first_s - params.alone_s, thing.track.last_s
    return not any(since_s <= at_s < until_s for at_s in landed_s)


def _across(thing: Seen) -> float:
    """How far it flew to a side, in picture heights."""
    first, last = thing.track.points[0].box.centre, thing.track.points[-1].box.centre
    return abs(last.x - first.x) * thing.aspect


def _free(thing: Seen, ended_s: float, scene: Scene) -> float:
    """Share of its points in flight that lie in nobody's box."""
    flying = [point for point in thing.track.points if point.t_s <= ended_s]
    actors = scene.actors()
    free = [
        all(
            box is None or covered(point.box, box) < 0.5
            for box in (actor.near(point.t_s) for actor in actors)
        )
        for point in flying
    ]
    return sum(free) / len(free)


def _by_somebody(params: Thrown, flight: _Flight, scene: Scene) -> Incident | None:
    """It left a person or a vehicle and came down away from them."""
    track = flight.seen.track
    throwers = [
        actor
        for actor in scene.actors()
        if _fits(params, actor, flight)
        and any(_gap_m(actor, at_s, flight.start, flight) <= params.reach_m
                for at_s in moments(track.first_s - params.before_s, track.first_s))
        and _gap_m(actor, flight.ended_s, flight.end, flight) >= params.away_m
    ]  # fmt: skip
    if not throwers:
        return None
    first = min(throwers, key=lambda actor: _gap_m(actor, track.first_s, flight.start, flight))
    who = first.track.label.value
    first_s, ended_s, drop_m = track.first_s, flight.ended_s, track.traits["drop_m"]
    reasons = (
        f"flew and fell from {first_s:.1f} s to {ended_s:.1f} s, {drop_m:.1f} m down",
        f"{who} where the flight began",
        f"lies where it came down since {_rests_since_s(flight):.1f} s",
    )
    return _incident(flight, (flight.seen, first), reasons, scene)


def _from_high_up(params: Thrown, flight: _Flight, scene: Scene) -> Incident | None:
    """It fell farther than anybody throws, and nearly straight down."""
    track = flight.seen.track
    start, last = flight.start.centre, track.points[-1].box.centre
    wide = abs(last.x - start.x) * flight.seen.aspect
    if track.traits["drop_m"] < params.fall_min_m:
        return None
    if last.y - start.y < params.steep_min * wide:
        return None
    first_s, ended_s, drop_m = track.first_s, flight.ended_s, track.traits["drop_m"]
    reasons = (
        f"fell from high up from {first_s:.1f} s to {ended_s:.1f} s, {drop_m:.1f} m down",
        f"lies where it came down since {_rests_since_s(flight):.1f} s",
    )
    return _incident(flight, (flight.seen,), reasons, scene)


def _rests_since_s(flight: _Flight) -> float:
    """The first look at which it lay there."""
    return next(p.t_s for p in flight.seen.track.points if p.t_s > flight.ended_s)


def _incident(
    flight: _Flight, subjects: tuple[Seen, ...], reasons: tuple[str, ...], scene: Scene
) -> Incident:
    track = flight.seen.track
    return Incident(
        alarm_at_s=track.last_s,
        onset_s=track.first_s,
        end_s=scene.end(track.last_s),
        box=flight.end,
        score=track.score,
        subjects=subjects,
        reasons=reasons,
    )


def _fits(params: Thrown, actor: Seen, flight: _Flight) -> bool:
    """Whether somebody is as tall as people, or a vehicle as vehicles, by the flight's scale."""
    box = actor.near(flight.seen.track.first_s)
    if box is None:
        return False
    ratio = box.height / (_HEIGHTS_M[actor.track.label] * flight.metre)
    return 1 / params.scale_max <= ratio <= params.scale_max


def _gap_m(actor: Seen, at_s: float, spot: Box, flight: _Flight) -> float:
    box = actor.near(at_s)
    return float("inf") if box is None else actor.gap(box, spot) / flight.metre
