"""Bare heads, fire and smoke: one row for each condition that must hold."""

from collections.abc import Sequence
from typing import Any

import pytest

from enforcement.errors import ConfigurationError
from enforcement.footage import Label, Observation, Track, TrackPoint
from enforcement.geometry import WHOLE_FRAME, Box, Point, Polygon
from enforcement.places import Zone
from enforcement.rules import Finding, RuleKind, find
from tests.enforcement.test_rules import PURPOSES, observation, rule

YOLO, HELMETS, FLAMES, SMOKE = "yolov8n-coco", "helmets", "yolov8-flames", "smoke"
WORKER = Box(0.40, 0.30, 0.50, 0.70)
FLAME = Box(0.60, 0.50, 0.70, 0.70)
ELSEWHERE = Box(0.10, 0.20, 0.20, 0.50)
UPPER_HALF: Polygon = (Point(0, 0), Point(1, 0), Point(1, 0.55), Point(0, 0.55))
LOWER_EDGE_AT_FEET: Polygon = (Point(0, 0), Point(1, 0), Point(1, 0.7), Point(0, 0.7))


def looks(
    scores: Sequence[float],
    *,
    box: Box = WORKER,
    first_s: float = 1.0,
    step_s: float = 0.5,
    label: Label = Label.PERSON,
    track_id: int = 1,
    **traits: float,
) -> Track:
    points = tuple(
        TrackPoint(t_s=round(first_s + number * step_s, 3), box=box, score=score)
        for number, score in enumerate(scores)
    )
    return Track(track_id=track_id, label=label, points=points, traits=traits)


def findings(
    kind: RuleKind, seen: Sequence[Observation], polygon: Polygon, **params: Any
) -> tuple[Finding, ...]:
    models = tuple(one.model for one in seen)
    zone = Zone(zone_id="z", purpose=PURPOSES[kind], polygon=polygon)
    return find(rule(kind, models=models, params=params), (zone,), seen)


# A bare head


def bareheaded(
    *people: Track, polygon: Polygon = WHOLE_FRAME, **params: Any
) -> tuple[Finding, ...]:
    return findings(RuleKind.NO_HELMET, [observation(HELMETS, *people)], polygon, **params)


def test_somebody_whose_head_looks_bare_time_and_again_is_one_finding() -> None:
    (finding,) = bareheaded(looks([0.9] * 10))
    assert (finding.onset_s, finding.alarm_at_s) == (1.0, 3.0)
    assert finding.score == pytest.approx(0.9)
    assert finding.subjects == {HELMETS: (1,)}
    assert finding.box == WORKER
    assert finding.end_s == 5.5
    assert "head bare in 5 of 5 looks" in finding.reasons


@pytest.mark.parametrize(
    ("condition", "person"),
    [
        ("a helmet", looks([0.1] * 10)),
        ("a single odd look", looks([0.1, 0.1, 0.95, 0.1, 0.1, 0.1])),
        ("four odd looks in a row", looks([0.1, 0.1, 0.95, 0.95, 0.95, 0.95, 0.1, 0.1])),
        ("neither surely bare nor surely not", looks([0.6] * 20)),
        ("too few looks", looks([0.95] * 4, step_s=1.0)),
        ("looks too close together", looks([0.95] * 9, step_s=0.2)),
        ("looks too far apart", looks([0.95] * 6, step_s=3.0)),
        ("as many looks with a helmet", looks([0.95, 0.1] * 10)),
        ("feet outside", looks([0.95] * 10, box=Box(0.4, 0.3, 0.5, 0.71))),
        ("something else than a person", looks([0.95] * 10, label=Label.STATIC_OBJECT)),
    ],
)
def test_without_this_condition_nobody_is_bareheaded(condition: str, person: Track) -> None:
    assert bareheaded(person, polygon=LOWER_EDGE_AT_FEET) == (), condition


def test_feet_on_the_edge_of_the_zone_are_inside() -> None:
    assert bareheaded(looks([0.95] * 10), polygon=LOWER_EDGE_AT_FEET)


@pytest.mark.parametrize(("score", "found"), [(0.7, True), (0.699, False)])
def test_a_look_counts_as_bare_from_the_limit_on(score: float, found: bool) -> None:
    assert bool(bareheaded(looks([score] * 10))) is found


@pytest.mark.parametrize(("step_s", "found"), [(0.5, True), (0.49, False)])
def test_five_looks_must_lie_far_enough_apart(step_s: float, found: bool) -> None:
    assert bool(bareheaded(looks([0.9] * 5, step_s=step_s))) is found


@pytest.mark.parametrize(("helmet_looks", "found"), [(2, True), (3, False)])
def test_three_quarters_of_the_looks_must_agree(helmet_looks: int, found: bool) -> None:
    person = looks([0.1] * helmet_looks + [0.9] * 6, step_s=0.4)
    assert bool(bareheaded(person)) is found


def test_who_takes_the_helmet_off_is_found_after_a_while() -> None:
    (finding,) = bareheaded(looks([0.05] * 20 + [0.95] * 20))
    assert finding.onset_s > 10.9
    assert 14.0 < finding.alarm_at_s < 17.0


def test_two_bare_heads_at_once_are_one_incident() -> None:
    other = looks([0.9] * 10, box=ELSEWHERE, track_id=2, first_s=2.0)
    (finding,) = bareheaded(looks([0.9] * 10), other)
    assert finding.subjects == {HELMETS: (1, 2)}


def test_people_whose_heads_nobody_looked_at_are_not_bareheaded() -> None:
    zone = Zone(zone_id="z", purpose=PURPOSES[RuleKind.NO_HELMET])
    wanted = rule(RuleKind.NO_HELMET, models=(HELMETS,))
    seen = [observation(YOLO, looks([0.9] * 10))]
    with pytest.raises(ConfigurationError, match="helmets"):
        find(wanted, (zone,), seen)


# Fire


def flame(scores: Sequence[float] = (0.8,) * 20, flicker: float = 0.4, **changes: Any) -> Track:
    given: dict[str, Any] = {"box": FLAME, "step_s": 0.2, "label": Label.FIRE, "flicker": flicker}
    return looks(scores, **{**given, **changes})


def burning(
    *fires: Track, people: Sequence[Track] = (), polygon: Polygon = WHOLE_FRAME, **params: Any
) -> tuple[Finding, ...]:
    seen = [observation(FLAMES, *fires), observation(YOLO, *people)]
    return findings(RuleKind.OPEN_FIRE, seen, polygon, **params)


def test_a_flickering_flame_that_lasts_is_one_finding() -> None:
    (finding,) = burning(flame())
    assert (finding.onset_s, finding.alarm_at_s) == (1.0, 2.6)
    assert finding.box == FLAME
    assert finding.subjects == {FLAMES: (1,)}
    assert "its bright shape changes by 40% from picture to picture" in finding.reasons


def on_a_person(step_s: float = 0.2) -> Track:
    """Somebody whose box holds the flame's."""
    return looks([0.9] * 40, box=Box(0.58, 0.4, 0.72, 0.9), step_s=step_s)


@pytest.mark.parametrize(
    ("condition", "fire", "people"),
    [
        ("steady as a lamp", flame(flicker=0.1), ()),
        ("never measured", looks([0.8] * 20, label=Label.FIRE, box=FLAME, step_s=0.2), ()),
        ("too weak", flame([0.5] * 40), ()),
        ("strong only now and then", flame([0.9, 0.3, 0.3] * 10), ()),
        ("too short", flame([0.8] * 7), ()),
        ("too few looks", flame([0.8] * 4, step_s=0.7), ()),
        ("flashes far apart", flame([0.9] * 10, step_s=2.0), ()),
        ("smoke", flame(label=Label.SMOKE), ()),
        ("outside", flame(), ()),
        ("a vest", flame(), (on_a_person(),)),
    ],
)
def test_without_this_condition_nothing_burns(
    condition: str, fire: Track, people: Sequence[Track]
) -> None:
    polygon = UPPER_HALF if condition == "outside" else WHOLE_FRAME
    assert burning(fire, people=people, polygon=polygon) == (), condition


@pytest.mark.parametrize(("flicker", "found"), [(0.15, True), (0.149, False)])
def test_it_must_flicker_at_least_so_much(flicker: float, found: bool) -> None:
    assert bool(burning(flame(flicker=flicker))) is found


@pytest.mark.parametrize(("score", "found"), [(0.6, True), (0.599, False)])
def test_the_looks_must_be_sure_on_the_whole(score: float, found: bool) -> None:
    assert bool(burning(flame([score] * 20))) is found


@pytest.mark.parametrize(("number", "found"), [(9, True), (8, False)])
def test_it_must_have_burnt_for_long_enough(number: int, found: bool) -> None:
    assert bool(burning(flame([0.8] * number))) is found


@pytest.mark.parametrize(
    ("what", "person"),
    [
        ("beside it", looks([0.9] * 40, box=Box(0.71, 0.4, 0.8, 0.9), step_s=0.2)),
        ("covering half of it", looks([0.9] * 40, box=Box(0.65, 0.4, 0.8, 0.9), step_s=0.2)),
        ("long gone", looks([0.9] * 3, box=Box(0.58, 0.4, 0.72, 0.9), first_s=0.0, step_s=0.2)),
    ],
)
def test_a_person_near_a_fire_does_not_hide_it(what: str, person: Track) -> None:
    assert burning(flame(), people=(person,)), what


def test_fires_at_once_are_one_incident_wherever_in_the_zone() -> None:
    other = flame(box=ELSEWHERE, track_id=2, first_s=3.0)
    (finding,) = burning(flame(), other)
    assert finding.subjects == {FLAMES: (1, 2)}


# Smoke


def cloud(scores: Sequence[float] = (0.8,) * 30, change: float = 0.3, **changes: Any) -> Track:
    given: dict[str, Any] = {"box": FLAME, "step_s": 0.5, "label": Label.SMOKE, "change": change}
    return looks(scores, **{**given, **changes})


def smoking(*clouds: Track, polygon: Polygon = WHOLE_FRAME, **params: Any) -> tuple[Finding, ...]:
    return findings(RuleKind.SMOKE, [observation(SMOKE, *clouds)], polygon, **params)


def test_smoke_that_lasts_and_drifts_is_one_finding() -> None:
    (finding,) = smoking(cloud())
    assert (finding.onset_s, finding.alarm_at_s) == (1.0, 7.0)
    assert finding.subjects == {SMOKE: (1,)}
    assert "its inside changes by 30% of its contrast within a second" in finding.reasons


@pytest.mark.parametrize(
    ("condition", "seen"),
    [
        ("still as asphalt", cloud(change=0.1)),
        ("too weak", cloud([0.5] * 60)),
        ("too short", cloud([0.8] * 12)),
        ("too few looks", cloud([0.8] * 9, step_s=0.9)),
        ("puffs far apart", cloud([0.9] * 12, step_s=3.0)),
        ("fire", cloud(label=Label.FIRE)),
        ("outside", cloud()),
    ],
)
def test_without_this_condition_nothing_smokes(condition: str, seen: Track) -> None:
    polygon = UPPER_HALF if condition == "outside" else WHOLE_FRAME
    assert smoking(seen, polygon=polygon) == (), condition


@pytest.mark.parametrize(("change", "found"), [(0.15, True), (0.149, False)])
def test_it_must_drift_at_least_so_much(change: float, found: bool) -> None:
    assert bool(smoking(cloud(change=change))) is found


# A moving view


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        (RuleKind.NO_HELMET, observation(HELMETS, looks([0.9] * 10))),
        (RuleKind.OPEN_FIRE, observation(FLAMES, flame())),
        (RuleKind.SMOKE, observation(SMOKE, cloud())),
    ],
)
def test_a_moving_view_silences_no_hazard(kind: RuleKind, seen: Observation) -> None:
    moved = seen.model_copy(update={"unsteady_s": ((0.0, 30.0),)})
    assert findings(kind, [moved], WHOLE_FRAME) == findings(kind, [seen], WHOLE_FRAME) != ()


def test_flames_and_smoke_are_nobody_who_could_leave_something_behind() -> None:
    assert not Label.FIRE.is_actor
    assert not Label.SMOKE.is_actor
    assert Label.PERSON.is_actor
