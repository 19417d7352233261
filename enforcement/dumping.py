"""Something was left behind: who was there, who left, and what lies there now."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated, Literal

from pydantic import Field

from enforcement.footage import Label, Track
from enforcement.geometry import Box, contains, covered
from enforcement.model import Record, Score
from enforcement.places import Zone
from enforcement.scene import UNSEEN_S, Incident, Scene, Seconds, Seen, last_box, moments

_SWAPPED_S = 0.2
"""Where two people pass each other a tracker may begin a new track before it ends the old one."""

_AT_DOOR = 0.3
"""So near to a vehicle, as a share of their own size, people get in."""

_GRAIN_S = 0.2
"""Moments of one scene lie no farther apart."""

_EDGE = 0.02
"""A box this close to the border of the picture is leaving it."""


class LeftBehind(Record):
    """Something lies in the zone that somebody brought, who has gone."""

    kind: Literal["left_behind"] = "left_behind"
    stay_s: Annotated[float, Field(ge=0.5, le=3600)] = 2.0
    """For how long it must have been there."""
    uncovered_s: Seconds = 2.0
    """For how long no person or vehicle must have covered it: else it may be part of them."""
    score_min: Score = 0.35
    score_sure: Score = 0.5
    """What is found with less than this must also look like something…"""
    other_max: Score = 0.9
    """…and not like ground or wall with more than this."""
    edge_ratio_min: Annotated[float, Field(ge=0, le=10)] = 1.2
    """Its edges against those of the ground it hides: less is a ghost or a patch of light."""
    covered_max: Score = 0.5
    """It counts as covered when more of it than this lies within a person's or vehicle's box."""
    before_s: Seconds = 2.0
    """Who was at the spot from so long before it appeared may have brought it."""
    reach: Annotated[float, Field(ge=0, le=5)] = 0.25
    """At the spot: nearer than this share of the actor's own size."""
    away: Annotated[float, Field(ge=0, le=10)] = 0.85
    """Away: farther than this share of the actor's own size."""
    away_s: Seconds = 0.4
    """For how long the actor must have been away."""
    aside: Annotated[float, Field(ge=0, le=10)] = 0.5
    """A step or two aside: farther than this share of the actor's own size."""
    aside_s: Seconds = 7.0
    """Whoever stays aside for so long has left it, too."""
    waste_sure: Score = 0.8
    """Whoever puts down two things that look like waste with this much does not wait for them."""
    flung_score: Score = 0.7
    """Where nobody was at the spot, only what is found with this much may have been flung there…"""
    flung_edges: Annotated[float, Field(ge=0, le=10)] = 2.0
    """…with edges of its own…"""
    flung_waste: Score = 0.4
    """…that looks like waste with this much…"""
    flung_other: Score = 0.15
    """…and no more than this like ground or wall…"""
    flung_at_once_s: Seconds = 0.6
    """…that lay still so soon after it appeared…"""
    flung_stay_s: Annotated[float, Field(ge=0.5, le=3600)] = 4.0
    """…and has stayed for so long."""
    person_max: Score = 0.6
    """It is no object when the second look takes it for a person with more than this…"""
    vehicle_max: Score = 0.6
    """…or for a vehicle."""


def left_behind(params: LeftBehind, zone: Zone, scene: Scene) -> Iterable[Incident]:
    for thing in scene.seen:
        track = thing.track
        if (
            track.label is Label.STATIC_OBJECT
            and _is_object(params, track)
            and contains(zone.polygon, track.points[-1].box.foot)
        ):
            incident = _left_by_somebody(params, thing, scene)
            if incident is None and _may_have_been_flung(params, track):
                incident = _flung(params, thing, scene)
            if incident is not None:
                yield incident


def _is_object(params: LeftBehind, track: Track) -> bool:
    """Whether it is neither a ghost nor a patch of light, and nobody who stands there."""
    shows = track.traits
    looks_like_something = shows.get("other", 1.0) <= params.other_max
    return (
        track.score >= params.score_min
        and (track.score >= params.score_sure or looks_like_something)
        and shows.get("edge_ratio", 0.0) >= params.edge_ratio_min
        and shows.get("person", 0.0) <= params.person_max
        and shows.get("vehicle", 0.0) <= params.vehicle_max
    )


def _may_have_been_flung(params: LeftBehind, track: Track) -> bool:
    """Whether it is surely waste, and lay still as soon as it appeared."""
    shows = track.traits
    return (
        track.score >= params.flung_score
        and shows["edge_ratio"] >= params.flung_edges
        and shows.get("waste", 0.0) >= params.flung_waste
        and shows.get("other", 1.0) <= params.flung_other
        and track.first_s - shows.get("appeared_s", track.first_s) <= params.flung_at_once_s
    )


def _flung(params: LeftBehind, thing: Seen, scene: Scene) -> Incident | None:
    """Once it has stayed and lies uncovered, if nobody was at the spot when it appeared."""
    track = thing.track
    appeared_s = min(track.traits.get("appeared_s", track.first_s), track.first_s)
    actors = scene.actors()
    if any(_was_at_the_spot(params, actor, thing, appeared_s) for actor in actors):
        return None
    uncovered_since_s = appeared_s
    for now_s in moments(appeared_s, track.last_s):
        if _is_covered(params, thing.box_at(now_s) or track.points[0].box, actors, now_s):
            uncovered_since_s = now_s
        stays = now_s - appeared_s >= params.flung_stay_s - 1e-6
        if stays and now_s - uncovered_since_s >= params.uncovered_s - 1e-6:
            times_s = (appeared_s, now_s, uncovered_since_s)
            return _left(thing, (), scene, times_s, "lay still at once, as if flung there")
    return None


def _left_by_somebody(params: LeftBehind, thing: Seen, scene: Scene) -> Incident | None:
    """The first moment at which it has stayed, lies uncovered, and who brought it is away."""
    track = thing.track
    appeared_s = min(track.traits.get("appeared_s", track.first_s), track.first_s)
    actors = scene.actors()
    brought = [actor for actor in actors if _was_at_the_spot(params, actor, thing, appeared_s)]
    if not brought or (track.score < params.score_sure and _only_vehicles(brought)):
        return None  # what drives away changes the light and bares the ground
    suspects = _with_successors(brought, actors)
    vehicles = [actor for actor in actors if actor.track.label.is_vehicle]
    uncovered_since_s = appeared_s
    departures = [_Departure(params, suspect, vehicles) for suspect in suspects]
    more_s = _puts_down_more_s(params, thing, brought, scene)
    for now_s in moments(appeared_s, track.last_s):
        box = thing.box_at(now_s) or track.points[0].box
        if _is_covered(params, box, actors, now_s):
            uncovered_since_s = now_s
        known = [one for one in departures if one.suspect.is_known_at(now_s)]
        for one in known:
            one.follow(box, now_s)
        gone = [one for one in known if one.is_gone(now_s)]
        stays = any(
            one.suspect.seen.track.label is Label.PERSON for one in known if one not in gone
        )
        if (
            ((gone and not stays) or now_s >= more_s)
            and now_s - appeared_s >= params.stay_s - 1e-6
            and now_s - uncovered_since_s >= params.uncovered_s - 1e-6
        ):
            if gone and not stays:
                leavers = tuple(one.suspect.seen for one in gone)
                left_s = max(one.left_s for one in gone)
                why = f"{_names(leavers)} away since {left_s:.1f} s"
            else:
                leavers, why = tuple(brought), f"more was put down there by {more_s:.1f} s"
            return _left(thing, leavers, scene, (appeared_s, now_s, uncovered_since_s), why)
    return None


def _puts_down_more_s(
    params: LeftBehind, thing: Seen, brought: Sequence[Seen], scene: Scene
) -> float:
    """When a second thing that looks like waste has lain there for long enough, put down later by
    the same person; infinite if none has."""
    people = [actor for actor in brought if actor.track.label is Label.PERSON]
    if thing.track.traits.get("waste", 0.0) < params.waste_sure:
        return inf
    moments_s = [
        other.track.traits["appeared_s"] + params.stay_s
        for other in scene.seen
        if other.track.label is Label.STATIC_OBJECT
        and other.track.traits.get("waste", 0.0) >= params.waste_sure
        and other.track.traits["edge_ratio"] >= params.edge_ratio_min
        and other.track.traits["appeared_s"] >= thing.track.first_s + params.away_s
        and any(
            _was_at_the_spot(params, actor, other, other.track.traits["appeared_s"])
            for actor in people
        )
    ]
    return min(moments_s, default=inf)


def _left(
    thing: Seen,
    leavers: tuple[Seen, ...],
    scene: Scene,
    times_s: tuple[float, float, float],
    why: str,
) -> Incident:
    appeared_s, now_s, uncovered_s = times_s
    track = thing.track
    box = last_box(track.points, now_s)
    reasons = (
        f"not there before {appeared_s:.1f} s, its edges are "
        f"{track.traits['edge_ratio']:.1f} times those of the ground",
        f"{_names(leavers) or 'nobody'} at the spot when it appeared",
        why,
        f"lies uncovered since {uncovered_s:.1f} s",
    )
    return Incident(
        alarm_at_s=now_s,
        onset_s=appeared_s,
        end_s=scene.end(track.last_s),
        box=box,
        score=track.score * max((actor.track.score for actor in leavers), default=1.0),
        subjects=(thing, *leavers),
        reasons=reasons,
    )


def _only_vehicles(actors: Iterable[Seen]) -> bool:
    return all(actor.track.label.is_vehicle for actor in actors)


def _names(actors: Iterable[Seen]) -> str:
    return " and ".join(sorted({actor.track.label.value for actor in actors}))


def _was_at_the_spot(params: LeftBehind, actor: Seen, thing: Seen, appeared_s: float) -> bool:
    """Whether the actor came within reach of it while it appeared."""
    spot = thing.track.points[0].box
    for now_s in moments(appeared_s - params.before_s, thing.track.first_s):
        box = actor.box_at(now_s)
        if box is not None and actor.gap(box, spot) <= params.reach * actor.size(box):
            return True
    return False


@dataclass(frozen=True)
class _Suspect:
    """A track of somebody who may have brought it."""

    seen: Seen
    until_s: float
    """From here on another track goes on with this one."""
    goes_on: bool
    """It goes on with another one itself."""

    def is_known_at(self, now_s: float) -> bool:
        return self.seen.track.first_s <= now_s < self.until_s


def _with_successors(first: Sequence[Seen], actors: Sequence[Seen]) -> list[_Suspect]:
    """The actors and the tracks that continue theirs after the tracker had lost them."""
    chain = list(first)
    suspects: list[_Suspect] = []
    for actor in chain:
        heirs = [other for other in actors if _continues(other, actor)]
        until_s = min((heir.track.first_s for heir in heirs), default=inf)
        suspects.append(_Suspect(actor, until_s, actor not in first))
        chain += [heir for heir in heirs if heir not in chain]
    return suspects


def _continues(later: Seen, earlier: Seen) -> bool:
    pause_s = later.track.first_s - earlier.track.last_s
    if later.track.label.is_vehicle != earlier.track.label.is_vehicle:
        return False
    last, first = earlier.track.points[-1].box, later.track.points[0].box
    near = earlier.gap(last, first) <= 0.5 * earlier.size(last)
    return -_SWAPPED_S <= pause_s <= 2 * UNSEEN_S and near


def _is_covered(params: LeftBehind, box: Box, actors: Iterable[Seen], now_s: float) -> bool:
    over = (actor.box_at(now_s) for actor in actors)
    return any(other is not None and covered(box, other) > params.covered_max for other in over)


@dataclass(eq=False)
class _Departure:
    """How somebody who may have brought it goes away from it, moment by moment."""

    params: LeftBehind
    suspect: _Suspect
    vehicles: Sequence[Seen]
    away_since_s: float = inf
    aside_since_s: float = inf

    @property
    def left_s(self) -> float:
        return min(self.away_since_s, self.aside_since_s)

    def follow(self, spot: Box, now_s: float) -> None:
        """Note whether they are away from it, or aside, at this moment."""
        away = _is_away(self.params, self.suspect.seen, spot, now_s) or (self._has_boarded(now_s))
        aside = away or _gap(self.suspect.seen, spot, now_s) > self.params.aside
        if away and self.suspect.goes_on and now_s <= self.suspect.seen.track.first_s + _GRAIN_S:
            self.away_since_s = now_s - self.params.away_s  # it was away before it was seen again
        self.away_since_s = min(self.away_since_s, now_s) if away else inf
        self.aside_since_s = min(self.aside_since_s, now_s) if aside else inf

    def is_gone(self, now_s: float) -> bool:
        away_s, aside_s = now_s - self.away_since_s, now_s - self.aside_since_s
        return away_s >= self.params.away_s - 1e-6 or aside_s >= self.params.aside_s - 1e-6

    def _has_boarded(self, now_s: float) -> bool:
        """Whether a person was last seen at a vehicle that has driven on by now."""
        seen = self.suspect.seen
        last = seen.track.points[-1]
        if seen.track.label is not Label.PERSON or now_s < last.t_s + UNSEEN_S:
            return False
        for vehicle in self.vehicles:
            then, now = vehicle.near(last.t_s), _seen_last(vehicle, now_s)
            at_door = _AT_DOOR * seen.size(last.box)
            if then is None or now is None or seen.gap(last.box, then) > at_door:
                continue
            if seen.gap(last.box, now) > at_door or vehicle.track.last_s + UNSEEN_S < now_s:
                return True
        return False


def _seen_last(actor: Seen, now_s: float) -> Box | None:
    """Where it is or, after its track has ended, was last seen; None in a pause."""
    points = actor.track.points
    return actor.box_at(now_s) if now_s <= points[-1].t_s else points[-1].box


def _gap(actor: Seen, spot: Box, now_s: float) -> float:
    """Distance as a share of the actor's own size, by where it was last seen; 0 in a pause."""
    box = _seen_last(actor, now_s)
    return 0.0 if box is None else actor.gap(box, spot) / actor.size(box)


def _is_away(params: LeftBehind, actor: Seen, spot: Box, now_s: float) -> bool:
    """Far enough from it, seen to leave the picture, or lost from sight aside; to lose sight of
    somebody right beside it is not enough."""
    last = actor.track.points[-1]
    is_lost = now_s - last.t_s >= UNSEEN_S
    near = params.aside if is_lost or actor.track.label.is_vehicle else params.away
    if _gap(actor, spot, now_s) > near:
        return True
    sides = (last.box.left, last.box.top, 1 - last.box.right, 1 - last.box.bottom)
    return is_lost and min(sides) <= _EDGE
