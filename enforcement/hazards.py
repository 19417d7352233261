"""Hazards: bare heads where helmets are required, open fire, smoke.

What a network says of one picture is an opinion. Each kind here asks for several of them that agree
over a stretch of time, so that a single odd look raises nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import Field

from enforcement.footage import Label, TrackPoint
from enforcement.geometry import contains, covered
from enforcement.model import Record, Score
from enforcement.places import Zone
from enforcement.scene import Incident, Scene, Seconds, Seen

Looks = Annotated[int, Field(ge=1, le=1000)]


class NoHelmet(Record):
    """Somebody in the zone wears no helmet.

    It looks at the tracks of persons whose points are looks at a head that could be read: the
    score of a point is the model's confidence that the head is bare. Heads that could not be read
    (too small, cut off, hidden) have no points: unclear is not bare.
    """

    kind: Literal["no_helmet"] = "no_helmet"
    bare_min: Score = 0.7
    """A look at least this sure says: bare."""
    looks_min: Looks = 5
    """So many looks must say so."""
    over_s: Seconds = 2.0
    """The first and the last of them must lie this far apart."""
    within_s: Seconds = 6.0
    """Looks older than this count no more."""
    share_min: Score = 0.75
    """So large a share of the person's looks within that time must say so."""


class OpenFire(Record):
    """Something burns in the zone."""

    kind: Literal["open_fire"] = "open_fire"
    score_min: Score = 0.6
    """The mean over the looks that saw it must be at least this."""
    looks_min: Looks = 5
    """So many looks must have seen it."""
    over_s: Seconds = 1.5
    """The first and the last of them must lie this far apart."""
    within_s: Seconds = 3.0
    """Looks older than this count no more."""
    flicker_min: Score = 0.15
    """By how much its bright shape must differ from one picture to the next: a lamp's does not."""
    worn_max: Score = 0.6
    """Looks at which a person's box covers more of it than this don't count: vests and helmets."""


class Smoke(Record):
    """Something smokes in the zone. Experimental: see the model card."""

    kind: Literal["smoke"] = "smoke"
    score_min: Score = 0.6
    """The mean over the looks that saw it must be at least this."""
    looks_min: Looks = 10
    over_s: Seconds = 6.0
    within_s: Seconds = 10.0
    change_min: Score = 0.15
    """How much its inside must change within a second, in units of its own contrast: that of
    asphalt, fog or a white wall does not."""


def no_helmet(params: NoHelmet, zone: Zone, scene: Scene) -> Iterable[Incident]:
    for person in scene.seen:
        if person.track.label is not Label.PERSON:
            continue
        looks = [one for one in person.track.points if contains(zone.polygon, one.box.foot)]
        for number in range(len(looks)):
            recent = _recent(looks[: number + 1], params.within_s)
            bare = [look for look in recent if look.score >= params.bare_min]
            agree = len(bare) >= params.share_min * len(recent) - 1e-9
            if agree and _is_enough(bare, params.looks_min, params.over_s):
                yield _bare(person, bare, len(recent), looks, scene)
                break


def _bare(
    person: Seen,
    bare: Sequence[TrackPoint],
    readable: int,
    looks: Sequence[TrackPoint],
    scene: Scene,
) -> Incident:
    reasons = (
        f"head bare in {len(bare)} of {readable} looks",
        f"looked at from {bare[0].t_s:.1f} s to {bare[-1].t_s:.1f} s, feet in the zone",
    )
    return Incident(
        alarm_at_s=bare[-1].t_s,
        onset_s=bare[0].t_s,
        end_s=scene.end(looks[-1].t_s),
        box=bare[-1].box,
        score=_mean_score(bare),
        subjects=(person,),
        reasons=reasons,
    )


def open_fire(params: OpenFire, zone: Zone, scene: Scene) -> Iterable[Incident]:
    people = [one for one in scene.seen if one.track.label is Label.PERSON]
    for fire in scene.seen:
        flicker = fire.track.traits.get("flicker", 0.0)
        if fire.track.label is not Label.FIRE or flicker < params.flicker_min:
            continue
        mine = (look for look in _inside(fire, zone) if not _is_worn(params, look, people))
        if looks := _agreeing(params, tuple(mine)):
            reasons = (
                f"fire in {len(looks)} looks from {looks[0].t_s:.1f} s to {looks[-1].t_s:.1f} s",
                f"its bright shape changes by {flicker:.0%} from picture to picture",
            )
            yield _hazard(fire, looks, scene, reasons)


def smoke(params: Smoke, zone: Zone, scene: Scene) -> Iterable[Incident]:
    for cloud in scene.seen:
        change = cloud.track.traits.get("change", 0.0)
        if cloud.track.label is not Label.SMOKE or change < params.change_min:
            continue
        if looks := _agreeing(params, _inside(cloud, zone)):
            reasons = (
                f"smoke in {len(looks)} looks from {looks[0].t_s:.1f} s to {looks[-1].t_s:.1f} s",
                f"its inside changes by {change:.0%} of its contrast within a second",
            )
            yield _hazard(cloud, looks, scene, reasons)


def _inside(thing: Seen, zone: Zone) -> tuple[TrackPoint, ...]:
    """Looks at which its centre lay in the zone: flames and smoke stand on no foot."""
    points = thing.track.points
    return tuple(point for point in points if contains(zone.polygon, point.box.centre))


def _is_worn(params: OpenFire, look: TrackPoint, people: Iterable[Seen]) -> bool:
    """Whether it lies on a person, as a vest or a helmet does."""
    boxes = (person.box_at(look.t_s) for person in people)
    return any(box is not None and covered(look.box, box) > params.worn_max for box in boxes)


def _agreeing(params: OpenFire | Smoke, looks: Sequence[TrackPoint]) -> Sequence[TrackPoint]:
    """The looks on which the first alarm rests; none if there is no alarm."""
    for number in range(len(looks)):
        recent = _recent(looks[: number + 1], params.within_s)
        if (
            _is_enough(recent, params.looks_min, params.over_s)
            and _mean_score(recent) >= params.score_min - 1e-9
        ):
            return recent
    return ()


def _hazard(
    thing: Seen, looks: Sequence[TrackPoint], scene: Scene, reasons: tuple[str, ...]
) -> Incident:
    return Incident(
        alarm_at_s=looks[-1].t_s,
        onset_s=looks[0].t_s,
        end_s=scene.end(thing.track.last_s),
        box=looks[-1].box,
        score=_mean_score(looks),
        subjects=(thing,),
        reasons=reasons,
    )


def _recent(looks: Sequence[TrackPoint], within_s: float) -> Sequence[TrackPoint]:
    """Those of the last ``within_s`` seconds before the latest one."""
    return [look for look in looks if looks[-1].t_s - look.t_s <= within_s + 1e-6]


def _is_enough(looks: Sequence[TrackPoint], looks_min: int, over_s: float) -> bool:
    return len(looks) >= looks_min and looks[-1].t_s - looks[0].t_s >= over_s - 1e-6


def _mean_score(looks: Sequence[TrackPoint]) -> float:
    return sum(look.score for look in looks) / len(looks)
