"""Something was left behind: who was there, who left, and what lies there now."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated, Literal

from pydantic import Field

from enforcement.footage import Label
from enforcement.geometry import Box, contains, covered
from enforcement.model import Record, Score
from enforcement.places import Zone
from enforcement.scene import UNSEEN_S, Incident, Scene, Seconds, Seen, last_box, moments

_EDGE = 0.02
"""A box this close to the border of the picture is leaving it."""


class LeftBehind(Record):
    """Something lies in the zone that somebody brought, who has gone."""

    kind: Literal["left_behind"] = "left_behind"
    stay_s: Annotated[float, Field(ge=0.5, le=3600)] = 2.0
    """For how long it must have been there."""
    uncovered_s: Seconds = 2.0
    """For how long no person or vehicle must have covered it: else it may be part of them."""
    score_min: Score = 0.5
    edge_ratio_min: Annotated[float, Field(ge=0, le=10)] = 1.2
    """Its edges against those of the ground it hides: less is a ghost or a patch of light."""
    covered_max: Score = 0.5
    """It counts as covered when more of it than this lies within a person's or vehicle's box."""
    before_s: Seconds = 2.0
    """Who was at the spot from so long before it appeared may have brought it."""
    reach: Annotated[float, Field(ge=0, le=5)] = 0.25
    """At the spot: nearer than this share of the actor's own size."""
    away: Annotated[float, Field(ge=0, le=10)] = 0.5
    """Away: farther than this share of the actor's own size."""
    away_s: Seconds = 0.5
    """For how long the actor must have been away."""


def left_behind(params: LeftBehind, zone: Zone, scene: Scene) -> Iterable[Incident]:
    for thing in scene.seen:
        track = thing.track
        if (
            track.label is Label.STATIC_OBJECT
            and track.score >= params.score_min
            and track.traits.get("edge_ratio", 0.0) >= params.edge_ratio_min
            and contains(zone.polygon, track.points[-1].box.foot)
        ):
            incident = _left_by_somebody(params, thing, scene)
            if incident is not None:
                yield incident


def _left_by_somebody(params: LeftBehind, thing: Seen, scene: Scene) -> Incident | None:
    """The first moment at which it has stayed, lies uncovered, and who brought it is away."""
    track = thing.track
    appeared_s = min(track.traits.get("appeared_s", track.first_s), track.first_s)
    actors = scene.actors()
    brought = [actor for actor in actors if _was_at_the_spot(params, actor, thing, appeared_s)]
    if not brought:
        return None
    suspects = _with_successors(brought, actors)
    uncovered_since_s = appeared_s
    away_since_s: dict[int, float] = {}
    for now_s in moments(appeared_s, track.last_s):
        box = thing.box_at(now_s) or track.points[0].box
        if _is_covered(params, box, actors, now_s):
            uncovered_since_s = now_s
        known = [n for n, suspect in enumerate(suspects) if suspect.is_known_at(now_s)]
        for number in known:
            if _is_away(params, suspects[number].seen, box, now_s):
                away_since_s.setdefault(number, now_s)
            else:
                away_since_s.pop(number, None)
        gone = [n for n in known if now_s - away_since_s.get(n, inf) >= params.away_s - 1e-6]
        stays = any(suspects[n].seen.track.label is Label.PERSON for n in known if n not in gone)
        if (
            gone
            and not stays
            and now_s - appeared_s >= params.stay_s - 1e-6
            and now_s - uncovered_since_s >= params.uncovered_s - 1e-6
        ):
            leavers = tuple(suspects[n].seen for n in gone)
            away_s = max(away_since_s[n] for n in gone)
            return _left(thing, leavers, scene, (appeared_s, now_s, away_s, uncovered_since_s))
    return None


def _left(
    thing: Seen,
    leavers: tuple[Seen, ...],
    scene: Scene,
    times_s: tuple[float, float, float, float],
) -> Incident:
    appeared_s, now_s, away_s, uncovered_s = times_s
    track = thing.track
    who = " and ".join(sorted({actor.track.label.value for actor in leavers}))
    box = last_box(track.points, now_s)
    reasons = (
        f"not there before {appeared_s:.1f} s, its edges are "
        f"{track.traits['edge_ratio']:.1f} times those of the ground",
        f"{who} at the spot when it appeared",
        f"{who} away since {away_s:.1f} s",
        f"lies uncovered since {uncovered_s:.1f} s",
    )
    return Incident(
        alarm_at_s=now_s,
        onset_s=appeared_s,
        end_s=scene.end(track.last_s),
        box=box,
        score=track.score * max(actor.track.score for actor in leavers),
        subjects=(thing, *leavers),
        reasons=reasons,
    )


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

    def is_known_at(self, now_s: float) -> bool:
        return self.seen.track.first_s <= now_s < self.until_s


def _with_successors(first: Sequence[Seen], actors: Sequence[Seen]) -> list[_Suspect]:
    """The actors and the tracks that continue theirs after the tracker had lost them."""
    chain = list(first)
    suspects: list[_Suspect] = []
    for actor in chain:
        heirs = [other for other in actors if _continues(other, actor)]
        suspects.append(_Suspect(actor, min((h.track.first_s for h in heirs), default=inf)))
        chain += [heir for heir in heirs if heir not in chain]
    return suspects


def _continues(later: Seen, earlier: Seen) -> bool:
    pause_s = later.track.first_s - earlier.track.last_s
    if later.track.label.is_vehicle != earlier.track.label.is_vehicle:
        return False
    last, first = earlier.track.points[-1].box, later.track.points[0].box
    near = earlier.gap(last, first) <= 0.5 * earlier.size(last)
    return 0 < pause_s <= 2 * UNSEEN_S and near


def _is_covered(params: LeftBehind, box: Box, actors: Iterable[Seen], now_s: float) -> bool:
    over = (actor.box_at(now_s) for actor in actors)
    return any(other is not None and covered(box, other) > params.covered_max for other in over)


def _is_away(params: LeftBehind, actor: Seen, spot: Box, now_s: float) -> bool:
    """Far enough from it, or seen to leave the picture; losing sight of someone is not enough."""
    points = actor.track.points
    if now_s <= points[-1].t_s:
        box = actor.box_at(now_s)
        return box is not None and actor.gap(box, spot) > params.away * actor.size(box)
    last = points[-1].box
    left_picture = (
        min(last.left, last.top) <= _EDGE or max(last.right, last.bottom) >= 1 - _EDGE
    ) and now_s - points[-1].t_s >= UNSEEN_S
    return left_picture or actor.gap(last, spot) > params.away * actor.size(last)
