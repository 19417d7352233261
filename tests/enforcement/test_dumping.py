"""When an object was dumped: who is away, who only steps aside, what flew and from where."""

from collections.abc import Callable
from math import ceil
from typing import Any

import pytest

from enforcement.footage import Label, Observation, Track, TrackPoint
from enforcement.geometry import WHOLE_FRAME, Box
from enforcement.places import Zone, ZonePurpose
from enforcement.rules import Finding, Rule, RuleKind, Wording, find

YOLO, LEFT, FLIGHTS = "yolov8n-coco", "left-behind", "thrown"
BAG = Box(0.50, 0.60, 0.54, 0.66)
METRE = 0.30 / 1.7
"""Picture heights, where persons are 0.30 tall."""


def found(
    kind: RuleKind,
    things: tuple[Track, ...],
    actors: tuple[Track, ...],
    flights: tuple[Track, ...] = (),
    **params: Any,
) -> tuple[Finding, ...]:
    text = Wording(en="…", zh="…")
    rule = Rule(
        rule_id="r", version=1, kind=kind, title=text, matter="m", text=text, legal_basis=text,
        purpose=ZonePurpose.NO_DUMPING, models=(YOLO, LEFT, FLIGHTS),
        params={"kind": kind, **params},  # type: ignore[arg-type]
    )  # fmt: skip
    zone = Zone(zone_id="z", purpose=ZonePurpose.NO_DUMPING, polygon=WHOLE_FRAME)
    looks = (looked(LEFT, things), looked(FLIGHTS, flights), looked(YOLO, actors))
    return find(rule, (zone,), looks)


def looked(model: str, tracks: tuple[Track, ...]) -> Observation:
    return Observation(
        capture_id="c", model=model, model_digest="0" * 64, config_digest="1" * 64, config={},
        width_px=1000, height_px=1000, duration_s=40.0, frames_seen=200, sample_fps=5.0,
        tracks=tracks,
    )  # fmt: skip


def moving(
    label: Label, place: Callable[[float], Box], first_s: float, last_s: float, number: int = 1
) -> Track:
    """Points every 0.2 s."""
    times = [round(first_s + n * 0.2, 3) for n in range(ceil((last_s - first_s) / 0.2) + 1)]
    points = tuple(TrackPoint(t_s=t_s, box=place(t_s), score=0.8) for t_s in times)
    return Track(track_id=number, label=label, points=points)


def bag(until_s: float = 40.0, **shows: float) -> Track:
    lies = moving(Label.STATIC_OBJECT, lambda _: BAG, 11.0, until_s)
    traits = {"edge_ratio": 2.0, "appeared_s": 10.0, **shows}
    return lies.model_copy(update={"traits": traits})


def person(left: float) -> Box:
    """0.30 tall and 0.10 wide, feet level with the bag."""
    return Box(left, 0.36, left + 0.10, 0.66)


def steps_to(gap: float, from_s: float, back_s: float = 99.0) -> Track:
    """At the bag from 6 s on; from ``from_s`` to ``back_s`` a gap of so many heights aside."""

    def place(t_s: float) -> Box:
        return person(0.40 - 0.30 * gap if from_s <= t_s < back_s else 0.40)

    return moving(Label.PERSON, place, 6.0, 40.0)


def left_behind(thing: Track, *actors: Track, **params: Any) -> tuple[Finding, ...]:
    return found(RuleKind.LEFT_BEHIND, (thing,), actors, **params)


def test_who_goes_far_is_gone_at_once() -> None:
    (finding,) = left_behind(bag(), steps_to(1.0, 14.0))
    assert finding.alarm_at_s == pytest.approx(14.4, abs=0.21)
    assert finding.onset_s == 10.0


def test_an_owner_who_steps_two_metres_aside_and_comes_back_has_not_left_it() -> None:
    aside = 0.82  # of their height: 2 m from middle to middle, for somebody 1.7 m tall
    assert left_behind(bag(until_s=22.0), steps_to(aside, 13.0, back_s=19.8)) == ()


def test_who_stays_aside_for_long_has_left_it() -> None:
    (finding,) = left_behind(bag(), steps_to(0.82, 13.0))
    assert finding.alarm_at_s == pytest.approx(20.0, abs=0.21)


def test_who_takes_it_again_right_away_has_not_left_it() -> None:
    assert left_behind(bag(until_s=11.4), steps_to(1.2, 10.6)) == ()


@pytest.mark.parametrize(
    ("shows", "counts"),
    [
        ({}, True),
        ({"waste": 0.9, "person": 0.05, "vehicle": 0.05, "other": 0.0}, True),
        ({"waste": 0.2, "person": 0.1, "vehicle": 0.1, "other": 0.6}, True),
        ({"waste": 0.1, "person": 0.9, "vehicle": 0.0, "other": 0.0}, False),
        ({"waste": 0.1, "person": 0.0, "vehicle": 0.9, "other": 0.0}, False),
    ],
)
def test_a_second_look_that_shows_somebody_or_a_vehicle_speaks_against_it(
    shows: dict[str, float], counts: bool
) -> None:
    assert bool(left_behind(bag(**shows), steps_to(1.2, 14.0))) is counts


@pytest.mark.parametrize(
    ("score", "shows", "counts"),
    [
        (0.6, {"other": 0.97}, True),
        (0.4, {"other": 0.97}, False),
        (0.4, {"other": 0.8, "waste": 0.2}, True),
        (0.4, {}, False),
        (0.3, {"other": 0.1, "waste": 0.9}, False),
    ],
)
def test_what_is_found_faintly_must_look_like_something(
    score: float, shows: dict[str, float], counts: bool
) -> None:
    thing = bag(**shows)
    points = tuple(point.model_copy(update={"score": score}) for point in thing.points)
    faint = thing.model_copy(update={"points": points})
    assert bool(left_behind(faint, steps_to(1.2, 14.0))) is counts


def second_bag(**shows: float) -> Track:
    """Beside the first one, from 14 s on."""
    place = Box(0.44, 0.60, 0.48, 0.66)
    lies = moving(Label.STATIC_OBJECT, lambda _: place, 15.0, 40.0, number=2)
    return lies.model_copy(update={"traits": {"edge_ratio": 2.0, "appeared_s": 14.0, **shows}})


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [(0.95, 0.95, True), (0.95, 0.5, False), (0.5, 0.95, False)],
)
def test_who_unloads_one_bag_of_waste_after_the_other_does_not_wait_for_them(
    first: float, second: float, counts: bool
) -> None:
    near = moving(Label.PERSON, lambda t: person(0.40 if t < 13.0 else 0.33), 6.0, 40.0)
    things = (bag(waste=first), second_bag(waste=second))
    findings = found(RuleKind.LEFT_BEHIND, things, (near,))
    assert bool(findings) is counts
    if counts:
        assert findings[0].alarm_at_s == pytest.approx(16.0, abs=0.21)
        assert "more was put down there by 16.0 s" in findings[0].reasons


def van(t_s: float) -> Box:
    """Stands beside the bag, drives off to the left from 16 s on."""
    away = max(0.0, t_s - 16.0) * 0.1
    return Box(max(0.0, 0.10 - away), 0.40, max(0.01, 0.44 - away), 0.62)


def test_a_driver_who_gets_in_leaves_when_the_vehicle_does() -> None:
    driver = moving(Label.PERSON, lambda t: person(0.43 if t < 11.0 else 0.35), 8.0, 13.0)
    vehicle = moving(Label.TRUCK, van, 4.0, 22.0, number=2)
    (finding,) = left_behind(bag(), driver, vehicle)
    assert 16.5 < finding.alarm_at_s < 22.0
    parked = moving(Label.TRUCK, lambda _: van(0.0), 4.0, 40.0, number=2)
    assert left_behind(bag(), driver, parked) == ()


def test_an_object_that_the_vehicle_stood_over_counts_once_that_has_gone() -> None:
    over = moving(
        Label.TRUCK,
        lambda t: Box(max(0.0, 0.35 - max(0.0, t - 16.0) * 0.2), 0.3,
                      max(0.01, 0.75 - max(0.0, t - 16.0) * 0.2), 0.7),
        4.0, 19.0,
    )  # fmt: skip
    (finding,) = left_behind(bag(), over)
    assert finding.alarm_at_s > 18.0


def flung(
    score: float = 0.9, at_once_s: float = 0.2, stay_s: float = 10.0, **shows: float
) -> Track:
    """A bag that is there at once at 11 s."""
    looks = {"waste": 0.7, "person": 0.1, "vehicle": 0.1, "other": 0.1, "edge_ratio": 3.0, **shows}
    thing = bag(until_s=11.0 + stay_s, appeared_s=11.0 - at_once_s, **looks)
    points = tuple(point.model_copy(update={"score": score}) for point in thing.points)
    return thing.model_copy(update={"points": points})


PASSES = moving(Label.PERSON, lambda t: person(0.01 * (t - 6.0)), 6.0, 40.0)


@pytest.mark.parametrize("actors", [(), (PASSES,)], ids=["nobody", "somebody far off"])
def test_waste_that_lies_still_as_soon_as_it_appears_with_nobody_there_was_flung(
    actors: tuple[Track, ...],
) -> None:
    (finding,) = left_behind(flung(), *actors)
    assert finding.alarm_at_s == pytest.approx(10.8 + 4.0, abs=0.21)
    assert "nobody at the spot when it appeared" in finding.reasons


@pytest.mark.parametrize(
    ("condition", "thing"),
    [
        ("it is found surely", flung(score=0.6)),
        ("it has edges", flung(edge_ratio=1.5)),
        ("it looks like waste", flung(waste=0.3)),
        ("it does not look like ground", flung(other=0.3)),
        ("it comes to rest at once", flung(at_once_s=1.2)),
        ("it stays", flung(stay_s=3.0)),
    ],
)
def test_without_this_condition_nothing_was_flung(condition: str, thing: Track) -> None:
    assert left_behind(thing) == (), condition


def test_what_somebody_put_down_was_not_flung() -> None:
    assert left_behind(flung(), steps_to(0.1, 12.0)) == ()


def test_what_was_flung_counts_once_it_lies_uncovered() -> None:
    before = moving(Label.PERSON, lambda _: person(0.47), 13.8, 18.0)
    (finding,) = left_behind(flung(stay_s=12.0), before)
    assert finding.alarm_at_s == pytest.approx(20.0, abs=0.41)


def test_a_faint_find_where_a_vehicle_drove_off_is_light_on_the_ground() -> None:
    looks = {"waste": 0.3, "person": 0.1, "vehicle": 0.0, "other": 0.6}
    vehicle = moving(Label.TRUCK, van, 4.0, 22.0, number=2)
    for score, found_there in ((0.45, 0), (0.55, 1)):
        thing = bag(**looks)
        points = tuple(point.model_copy(update={"score": score}) for point in thing.points)
        thing = thing.model_copy(update={"points": points})
        assert len(left_behind(thing, vehicle)) == found_there


# Something thrown


FROM_HAND, BESIDE = Box(0.50, 0.40, 0.52, 0.42), Box(0.80, 0.64, 0.82, 0.66)


def flight(
    start: Box = FROM_HAND,
    end: Box = BESIDE,
    *,
    drop_m: float = 1.4,
    landed: float = 1.0,
    metre: float = METRE,
    score: float = 0.8,
) -> Track:
    """From 10.0 s to 10.6 s, and seen to lie there until 11.4 s."""
    shares = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    points = [
        TrackPoint(
            t_s=10 + 0.6 * share,
            box=Box(*(a + (b - a) * (share if n % 2 == 0 else share**2)
                      for n, (a, b) in enumerate(zip(start, end, strict=True)))),
            score=score,
        )
        for share in shares
    ]  # fmt: skip
    if landed:
        points += [TrackPoint(t_s=t_s, box=end, score=score) for t_s in (10.8, 11.4)]
    traits = {"metre": metre, "drop_m": drop_m, "descent_s": 0.5, "residual": 0.01,
              "landed": landed, "ended_s": 10.6}  # fmt: skip
    return Track(track_id=3, label=Label.THROWN_OBJECT, points=tuple(points), traits=traits)


THROWER = moving(Label.PERSON, lambda _: person(0.40), 6.0, 20.0)
FALLEN = Box(0.505, 0.90, 0.525, 0.92)


def lies(at: Box, since_s: float = 10.7, score: float = 0.6, edge_ratio: float = 2.0) -> Track:
    """Something that the look for things left behind found to have come to rest."""
    points = tuple(TrackPoint(t_s=since_s + n, box=at, score=score) for n in range(3))
    traits = {"edge_ratio": edge_ratio, "appeared_s": since_s}
    return Track(track_id=9, label=Label.STATIC_OBJECT, points=points, traits=traits)


def thrown(
    thing: Track,
    *actors: Track,
    finds: tuple[Track, ...] | None = None,
    others: tuple[Track, ...] = (),
    **params: Any,
) -> tuple[Finding, ...]:
    """What the rule says, by default with a find where the flight ended."""
    finds = (lies(thing.points[-1].box),) if finds is None else finds
    return found(RuleKind.THROWN, finds, actors, (thing, *others), **params)


def test_what_flies_from_somebody_and_lies_there_was_thrown() -> None:
    (finding,) = thrown(flight(), THROWER)
    assert (finding.onset_s, finding.alarm_at_s) == (10.0, 11.4)
    assert finding.box == BESIDE
    assert finding.subjects == {FLIGHTS: (3,), YOLO: (1,)}
    assert "person where the flight began" in finding.reasons


@pytest.mark.parametrize(
    ("condition", "thing", "actors"),
    [
        ("nothing lies there", flight(landed=0.0), (THROWER,)),
        ("hardly falls", flight(drop_m=0.5), (THROWER,)),
        ("flies too flat", flight(end=Box(0.97, 0.53, 0.99, 0.55), drop_m=0.8), (THROWER,)),
        ("unsure", flight(score=0.2), (THROWER,)),
        ("nobody there", flight(), ()),
        ("starts far from everybody", flight(Box(0.70, 0.30, 0.72, 0.32)), (THROWER,)),
        ("put down at the feet", flight(end=Box(0.51, 0.64, 0.53, 0.66)), (THROWER,)),
        ("by its scale the person would be a giant", flight(metre=METRE / 4), (THROWER,)),
        ("by its scale the person would be a dwarf", flight(metre=METRE * 4), (THROWER,)),
        (
            "part of a vehicle that passes",
            flight(),
            (THROWER, moving(Label.CAR, lambda _: Box(0.3, 0.3, 0.9, 0.7), 9.0, 12.0, number=2)),
        ),
    ],
)
def test_without_this_condition_nothing_was_thrown(
    condition: str, thing: Track, actors: tuple[Track, ...]
) -> None:
    assert thrown(thing, *actors) == (), condition


def test_what_falls_from_high_up_needs_nobody_to_be_seen() -> None:
    (finding,) = thrown(flight(end=FALLEN, drop_m=3.4))
    assert set(finding.subjects) == {FLIGHTS}
    assert finding.reasons[0].startswith("fell from high up")


@pytest.mark.parametrize(
    ("condition", "thing"),
    [
        ("not high", flight(end=FALLEN, drop_m=2.6)),
        ("far aside", flight(drop_m=3.4)),
    ],
)
def test_without_this_condition_nothing_fell_from_high_up(condition: str, thing: Track) -> None:
    assert thrown(thing) == (), condition


def test_a_short_fall_counts_only_where_something_was_found_to_lie() -> None:
    assert thrown(flight(drop_m=1.4), THROWER, finds=()) == ()
    assert thrown(flight(drop_m=1.6), THROWER, finds=())


@pytest.mark.parametrize(
    ("what", "find"),
    [
        ("elsewhere", lies(Box(0.70, 0.64, 0.72, 0.66))),
        ("there before", lies(BESIDE, since_s=9.9)),
        ("there later", lies(BESIDE, since_s=11.5)),
        ("faint", lies(BESIDE, score=0.3)),
        ("a ghost", lies(BESIDE, edge_ratio=1.1)),
    ],
)
def test_what_lies_there_must_have_come_with_the_flight(what: str, find: Track) -> None:
    assert thrown(flight(drop_m=1.4), THROWER, finds=(find,)) == (), what


@pytest.mark.parametrize(("earlier_s", "counts"), [(29.0, False), (31.0, True)])
def test_where_flights_abound_an_unconfirmed_one_is_no_throw(
    earlier_s: float, counts: bool
) -> None:
    other = flight(drop_m=1.0)
    shifted = tuple(
        point.model_copy(update={"t_s": point.t_s + 40.0}) for point in flight(drop_m=2.0).points
    )
    traits = {**flight(drop_m=2.0).traits, "ended_s": 10.6 + 40.0}
    late = flight().model_copy(update={"points": shifted, "traits": traits})
    ended_s = 50.0 - earlier_s
    other = other.model_copy(update={"track_id": 4, "traits": {**other.traits, "ended_s": ended_s}})
    thrower = moving(Label.PERSON, lambda _: person(0.40), 44.0, 60.0)
    assert bool(thrown(late, thrower, finds=(), others=(other,))) is counts
    confirmed = thrown(late, thrower, finds=(lies(BESIDE, 50.7),), others=(other,))
    assert confirmed
