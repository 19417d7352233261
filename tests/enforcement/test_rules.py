"""What counts as an incident, and what does not: one row for each condition of each rule."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from enforcement.dumping import LeftBehind
from enforcement.errors import ConfigurationError
from enforcement.footage import Label, Observation, Track, TrackPoint
from enforcement.geometry import WHOLE_FRAME, Box, Point, Polygon
from enforcement.places import Zone, ZonePurpose
from enforcement.rules import Finding, Rule, RuleKind, Wording, find

YOLO, LEFT = "yolov8n-coco", "left-behind"
BAG = Box(0.50, 0.60, 0.54, 0.66)
PURPOSES = {
    RuleKind.LEFT_BEHIND: ZonePurpose.NO_DUMPING,
    RuleKind.THROWN: ZonePurpose.NO_DUMPING,
    RuleKind.ZONE_INTRUSION: ZonePurpose.FORBIDDEN,
    RuleKind.STOPPED_VEHICLE: ZonePurpose.NO_STOPPING,
    RuleKind.NO_HELMET: ZonePurpose.HELMETS_REQUIRED,
    RuleKind.OPEN_FIRE: ZonePurpose.NO_FIRE,
    RuleKind.SMOKE: ZonePurpose.SMOKE_WATCH,
}


def rule(kind: RuleKind, **changes: Any) -> Rule:
    text = Wording(en="…", zh="…")
    models = (LEFT, YOLO) if kind is RuleKind.LEFT_BEHIND else (YOLO,)
    given = {
        "rule_id": "r", "version": 1, "kind": kind, "title": text, "matter": "m", "text": text,
        "legal_basis": text, "purpose": PURPOSES[kind], "models": models, **changes,
    }  # fmt: skip
    return Rule.model_validate(given)


def zone(kind: RuleKind, polygon: Polygon = WHOLE_FRAME) -> Zone:
    return Zone(zone_id="z", purpose=PURPOSES[kind], polygon=polygon)


def track(
    label: Label,
    place: Callable[[float], Box],
    first_s: float,
    last_s: float,
    *,
    track_id: int = 1,
    score: float = 0.8,
    traits: dict[str, float] | None = None,
) -> Track:
    """Points every 0.2 s from first to last."""
    count = round((last_s - first_s) / 0.2)
    times = [round(first_s + number * 0.2, 3) for number in range(count + 1)]
    points = tuple(TrackPoint(t_s=t_s, box=place(t_s), score=score) for t_s in times)
    return Track(track_id=track_id, label=label, points=points, traits=traits or {})


def observation(model: str, *tracks: Track, duration_s: float = 30.0) -> Observation:
    return Observation(
        capture_id="c", model=model, model_digest="0" * 64, config_digest="1" * 64, config={},
        width_px=1000, height_px=1000, duration_s=duration_s, frames_seen=150, sample_fps=5.0,
        tracks=tracks,
    )  # fmt: skip


def bag(box: Box = BAG, until_s: float = 30.0, score: float = 0.9, edges: float = 2.0) -> Track:
    traits = {"edge_ratio": edges, "appeared_s": 10.0, "stay_s": until_s - 10.0}
    return track(
        Label.STATIC_OBJECT, lambda _: box, 10.4, until_s, score=score, traits=traits, track_id=7
    )


def standing(left: float, width: float = 0.10, height: float = 0.30) -> Box:
    """Somebody whose feet are level with the bag's foot."""
    return Box(left, 0.66 - height, left + width, 0.66)


def passer(t_s: float) -> Box:
    """Comes from the left, is at the bag from 9.6 to 11 s, walks off to the right."""
    if t_s < 10.0:
        return standing(0.42 - 0.1 * (10.0 - t_s) * 0.4)
    return standing(min(0.85, 0.42 + 0.1 * max(0.0, t_s - 11.0)))


def dumper(until_s: float = 20.0, label: Label = Label.PERSON) -> Track:
    return track(label, passer, 6.0, until_s)


def unseen_from_7_to_13() -> Track:
    whole = dumper()
    points = tuple(point for point in whole.points if not 7.0 < point.t_s < 13.0)
    return whole.model_copy(update={"points": points})


def dumping(
    things: tuple[Track, ...] = (bag(),),
    actors: tuple[Track, ...] = (dumper(),),
    polygon: Polygon = WHOLE_FRAME,
    **params: Any,
) -> tuple[Finding, ...]:
    kind = RuleKind.LEFT_BEHIND
    seen = (observation(LEFT, *things), observation(YOLO, *actors))
    return find(rule(kind, params=params), (zone(kind, polygon),), seen)


# Something left behind


def test_a_bag_whose_bringer_walked_off_is_one_finding() -> None:
    (finding,) = dumping()
    assert finding.onset_s == 10.0
    assert 14.0 < finding.alarm_at_s < 16.0
    assert finding.end_s is None
    assert finding.box == BAG
    assert finding.subjects == {LEFT: (7,), YOLO: (1,)}
    assert any("away since" in reason for reason in finding.reasons)


@pytest.mark.parametrize(
    ("condition", "case"),
    [
        ("zone", {"polygon": (Point(0, 0), Point(1, 0), Point(1, 0.65), Point(0, 0.65))}),
        ("ghost", {"things": (bag(edges=0.7),)}),
        ("score", {"things": (bag(score=0.3),)}),
        ("stay", {"things": (bag(until_s=13.0),)}),
        ("nobody there", {"actors": ()}),
        ("actor never near", {"actors": (track(Label.PERSON, lambda _: standing(0.1), 6, 20),)}),
        ("actor came too early", {"actors": (track(Label.PERSON, passer, 6.0, 7.8),)}),
        ("actor stays", {"actors": (track(Label.PERSON, lambda _: standing(0.42), 6, 30),)}),
        ("actor lost from sight beside it", {"actors": (dumper(until_s=11.0),)}),
        ("actor only guessed there, out of sight", {"actors": (unseen_from_7_to_13(),)}),
        (
            "one of two persons stays beside it",
            {
                "actors": (
                    dumper(),
                    track(Label.PERSON, lambda _: standing(0.38), 6.0, 30, track_id=2),
                )
            },
        ),
        (
            "covered by a person all the time",
            {
                "actors": (
                    dumper(),
                    track(Label.PERSON, lambda _: standing(0.47), 14.0, 30, track_id=2),
                )
            },
        ),
        (
            "part of a vehicle that parks",
            {
                "actors": (
                    dumper(),
                    track(Label.CAR, lambda _: Box(0.3, 0.4, 0.8, 0.8), 9.0, 30, track_id=2),
                )
            },
        ),
    ],
)
def test_without_this_condition_nothing_was_dumped(condition: str, case: dict[str, Any]) -> None:
    assert dumping(**case) == (), condition


def test_a_foot_on_the_edge_of_the_zone_is_inside() -> None:
    assert dumping(polygon=(Point(0, 0), Point(1, 0), Point(1, 0.66), Point(0, 0.66)))


@pytest.mark.parametrize(("stay_s", "found"), [(9.0, True), (19.0, True), (20.2, False)])
def test_the_stay_counts_from_the_moment_of_appearance(stay_s: float, found: bool) -> None:
    findings = dumping(stay_s=stay_s)
    assert bool(findings) is found
    if findings:
        assert findings[0].alarm_at_s == pytest.approx(10.0 + stay_s, abs=0.21)


def test_the_alarm_waits_until_the_actor_is_away() -> None:
    (soon,) = dumping(away=0.1)
    (late,) = dumping(away=0.8)
    assert soon.alarm_at_s < late.alarm_at_s


def test_the_alarm_waits_until_the_bag_is_uncovered() -> None:
    other = track(Label.PERSON, lambda _: standing(0.47), 13.0, 20.0, track_id=2)
    (finding,) = dumping(actors=(dumper(), other))
    assert finding.alarm_at_s >= 22.0


def test_who_leaves_the_picture_beside_the_bag_is_away() -> None:
    at_the_edge = Box(0.0, 0.36, 0.1, 0.66)
    corner = bag(Box(0.12, 0.60, 0.16, 0.66))
    gone = track(Label.PERSON, lambda _: at_the_edge, 6.0, 11.0)
    assert dumping(things=(corner,), actors=(gone,))


def lost_then(label: Label, place: Callable[[float], Box], from_s: float) -> tuple[Track, ...]:
    """Somebody is lost from sight beside the bag at 11.4 s; another track begins later."""
    lost = track(Label.PERSON, lambda _: standing(0.38), 6.0, 11.4)
    return lost, track(label, place, from_s, 26.0, track_id=2)


def leaving(t_s: float) -> Box:
    return standing(max(0.05, 0.38 - 0.05 * (t_s - 12.0)))


def test_a_track_that_goes_on_where_one_was_lost_is_the_same_actor() -> None:
    (finding,) = dumping(actors=lost_then(Label.PERSON, leaving, 12.0))
    assert finding.alarm_at_s > 12.5
    assert finding.subjects[YOLO] == (2,)


@pytest.mark.parametrize(
    ("condition", "actors"),
    [
        ("elsewhere", lost_then(Label.PERSON, lambda t: leaving(t + 6.0), 12.0)),
        ("much later", lost_then(Label.PERSON, lambda t: leaving(t - 3.0), 15.0)),
        ("another kind", lost_then(Label.CAR, leaving, 12.0)),
    ],
)
def test_another_track_does_not_lead_away_who_was_lost_beside_the_bag(
    condition: str, actors: tuple[Track, ...]
) -> None:
    assert dumping(actors=actors) == (), condition


def test_an_actor_whose_track_begins_anew_far_away_does_not_delay_the_alarm() -> None:
    (plain,) = dumping(actors=(dumper(until_s=14.0),))
    again = track(Label.PERSON, passer, 15.4, 20.0, track_id=2)
    (finding,) = dumping(actors=(dumper(until_s=14.0), again))
    assert finding.alarm_at_s == plain.alarm_at_s


def test_a_parked_car_nearby_does_not_hide_a_dumping() -> None:
    parked = track(Label.CAR, lambda _: Box(0.2, 0.4, 0.48, 0.66), 0.0, 30.0, track_id=2)
    assert dumping(actors=(dumper(), parked))


def test_a_load_left_by_a_vehicle_that_drove_off_counts() -> None:
    assert dumping(actors=(dumper(label=Label.TRUCK),))


def test_two_bags_of_one_dumper_are_one_finding() -> None:
    second = bag(Box(0.50, 0.67, 0.54, 0.73)).model_copy(update={"track_id": 8})
    (finding,) = dumping(things=(bag(), second))
    assert finding.subjects[LEFT] == (7, 8)


def test_bags_of_one_dumper_are_one_incident_even_apart_and_fragments_even_of_two() -> None:
    apart = bag(Box(0.30, 0.60, 0.34, 0.66)).model_copy(update={"track_id": 8})
    (finding,) = dumping(things=(bag(), apart))
    assert finding.subjects[LEFT] == (7, 8)
    other = track(Label.PERSON, lambda t: passer(t - 4.0), 10.0, 24.0, track_id=2)
    back = track(Label.PERSON, lambda t: leaving(t + 1.0), 9.0, 20.0)
    traits = {"edge_ratio": 2.0, "appeared_s": 14.2}
    beside = track(
        Label.STATIC_OBJECT, lambda _: Box(0.55, 0.60, 0.59, 0.66), 14.6, 30.0,
        track_id=9, traits=traits,
    )  # fmt: skip
    (finding,) = dumping(things=(bag(), beside), actors=(back, other))
    assert finding.subjects == {LEFT: (7, 9), YOLO: (1, 2)}


def test_one_bag_in_two_zones_is_a_finding_in_each() -> None:
    kind = RuleKind.LEFT_BEHIND
    zones = tuple(zone(kind).model_copy(update={"zone_id": name}) for name in ("a", "b"))
    findings = find(rule(kind), zones, (observation(LEFT, bag()), observation(YOLO, dumper())))
    assert [finding.zone_id for finding in findings] == ["a", "b"]


def test_a_bag_that_is_taken_away_later_has_an_end() -> None:
    (finding,) = dumping(things=(bag(until_s=18.0),))
    assert finding.end_s == 18.0


# Persons in a zone

LAWN: Polygon = (Point(0.5, 0.5), Point(1, 0.5), Point(1, 1), Point(0.5, 1))


def walker(t_s: float) -> Box:
    """Feet cross into the lawn at 10 s and out of the picture's right at 20 s."""
    centre = min(0.99, 0.5 + 0.05 * (t_s - 10.0))
    return Box(max(0.0, centre - 0.03), 0.5, min(1.0, centre + 0.03), 0.7)


def intrusion(*tracks: Track, **params: Any) -> tuple[Finding, ...]:
    kind = RuleKind.ZONE_INTRUSION
    return find(rule(kind, params=params), (zone(kind, LAWN),), (observation(YOLO, *tracks),))


def test_a_person_inside_for_long_enough_is_one_finding() -> None:
    (finding,) = intrusion(track(Label.PERSON, walker, 4.0, 18.0))
    assert finding.onset_s == pytest.approx(10.0, abs=0.21)
    assert finding.alarm_at_s == pytest.approx(finding.onset_s + 1.5)
    assert finding.end_s == 18.0


@pytest.mark.parametrize(
    ("condition", "seen"),
    [
        ("outside", track(Label.PERSON, walker, 4.0, 9.8)),
        ("too short", track(Label.PERSON, walker, 4.0, 11.4)),
        ("a car", track(Label.CAR, walker, 4.0, 18.0)),
        ("too weak", track(Label.PERSON, walker, 4.0, 18.0, score=0.3)),
        ("only the head is inside", track(Label.PERSON, lambda _: Box(0.6, 0.2, 0.7, 0.49), 4, 18)),
    ],
)
def test_without_this_condition_nobody_intruded(condition: str, seen: Track) -> None:
    assert intrusion(seen) == (), condition


def test_two_short_visits_are_not_one_long_one() -> None:
    first, second = (
        track(Label.PERSON, lambda _: Box(0.7, 0.5, 0.8, 0.8), s, s + 1) for s in (5, 9)
    )
    one = first.model_copy(update={"points": first.points + second.points})
    assert intrusion(one) == ()


def test_exactly_the_dwell_time_is_long_enough() -> None:
    inside = track(Label.PERSON, lambda _: Box(0.7, 0.5, 0.8, 0.8), 5.0, 7.0)
    assert intrusion(inside, dwell_s=2.0)
    assert intrusion(inside, dwell_s=2.1) == ()


def test_two_intruders_at_once_are_one_incident_and_much_later_another() -> None:
    first = track(Label.PERSON, walker, 4.0, 14.0)
    second = track(Label.PERSON, walker, 8.0, 16.0, track_id=2)
    (finding,) = intrusion(first, second)
    assert finding.subjects == {YOLO: (1, 2)}
    late = track(Label.PERSON, lambda _: Box(0.7, 0.5, 0.8, 0.8), 25.0, 29.0, track_id=3)
    kind = RuleKind.ZONE_INTRUSION
    strict = rule(kind, same_incident_s=5.0)
    assert len(find(strict, (zone(kind, LAWN),), (observation(YOLO, first, late),))) == 2


# Vehicles that stand


def van(t_s: float) -> Box:
    """Drives in, stands from 10 to 20 s, drives off."""
    shift = 0.1 * (max(0.0, 10.0 - t_s) + max(0.0, t_s - 20.0))
    left = min(0.78, max(0.0, 0.5 - 0.5 * shift if t_s < 15 else 0.5 + 0.5 * shift))
    return Box(left, 0.6, left + 0.2, 0.8)


def stopping(*tracks: Track, polygon: Polygon = LAWN, **params: Any) -> tuple[Finding, ...]:
    kind = RuleKind.STOPPED_VEHICLE
    return find(rule(kind, params=params), (zone(kind, polygon),), (observation(YOLO, *tracks),))


def test_a_van_that_stands_in_the_lane_is_one_finding() -> None:
    (finding,) = stopping(track(Label.TRUCK, van, 2.0, 26.0))
    assert finding.alarm_at_s == pytest.approx(finding.onset_s + 5.0)
    assert finding.onset_s == pytest.approx(10.0, abs=1.0)
    assert finding.end_s == pytest.approx(20.0, abs=1.0)
    assert "was seen to arrive" in finding.reasons


def test_a_car_that_stood_there_from_the_start_is_said_so() -> None:
    (finding,) = stopping(track(Label.CAR, lambda _: van(15.0), 0.0, 30.0))
    assert finding.end_s is None
    assert "stood there when first seen" in finding.reasons


@pytest.mark.parametrize(
    ("condition", "seen"),
    [
        ("drives on", track(Label.CAR, lambda t: van(10.0 - t), 2.0, 10.0)),
        ("too short", track(Label.CAR, van, 10.0, 14.8)),
        ("a person", track(Label.PERSON, lambda _: van(15.0), 0.0, 30.0)),
        ("a bicycle", track(Label.BICYCLE, lambda _: van(15.0), 0.0, 30.0)),
        ("too weak", track(Label.CAR, van, 2.0, 26.0, score=0.3)),
        ("beside the zone", track(Label.CAR, lambda _: Box(0.1, 0.6, 0.3, 0.8), 0.0, 30.0)),
    ],
)
def test_without_this_condition_nobody_stopped(condition: str, seen: Track) -> None:
    assert stopping(seen) == (), condition


def test_a_crawling_vehicle_does_not_stand() -> None:
    crawl = track(Label.CAR, lambda t: Box(0.5 + 0.01 * t, 0.6, 0.7 + 0.01 * t, 0.8), 0.0, 20.0)
    assert stopping(crawl) == ()


def test_one_odd_box_is_no_departure_but_two_are() -> None:
    stands = track(Label.CAR, lambda _: van(15.0), 0.0, 7.0)
    odd = Box(0.5, 0.6, 0.9, 0.8)

    def with_odd(*numbers: int) -> Track:
        points = list(stands.points)
        for number in numbers:
            points[number] = points[number].model_copy(update={"box": odd})
        return stands.model_copy(update={"points": tuple(points)})

    assert stopping(with_odd(17))
    assert stopping(with_odd(17, 18)) == ()


def test_a_track_that_was_lost_behind_a_passer_by_goes_on() -> None:
    before = track(Label.CAR, van, 10.0, 13.0)
    after = track(Label.CAR, van, 15.0, 18.0, track_id=2)
    (finding,) = stopping(before, after)
    assert finding.subjects == {YOLO: (1, 2)}


def test_two_vans_side_by_side_are_two_findings() -> None:
    other = track(Label.CAR, lambda _: Box(0.71, 0.6, 0.91, 0.8), 10.0, 20.0, track_id=2)
    assert len(stopping(track(Label.CAR, van, 10.0, 20.0), other)) == 2


# Rules themselves


def test_a_rule_applies_only_to_zones_of_its_purpose() -> None:
    kind = RuleKind.STOPPED_VEHICLE
    seen = (observation(YOLO, track(Label.CAR, lambda _: van(15.0), 0.0, 30.0)),)
    assert find(rule(kind), (zone(RuleKind.LEFT_BEHIND),), seen) == ()


def test_a_model_that_has_not_looked_is_an_error_not_an_empty_scene() -> None:
    kind = RuleKind.LEFT_BEHIND
    with pytest.raises(ConfigurationError, match="has not looked"):
        find(rule(kind), (zone(kind),), (observation(YOLO, dumper()),))


def test_parameters_of_another_kind_are_refused() -> None:
    with pytest.raises(ValidationError, match="parameters of left_behind"):
        rule(RuleKind.ZONE_INTRUSION, params=LeftBehind())
    with pytest.raises(ValidationError, match="stay_s"):
        rule(RuleKind.ZONE_INTRUSION, params={"stay_s": 3.0})


def test_a_rule_survives_being_written_and_read() -> None:
    for kind in PURPOSES:
        written = rule(kind).model_dump_json()
        assert Rule.model_validate_json(written) == rule(kind)


def sensor_rule(**changes: Any) -> Rule:
    text = Wording(en="…", zh="…")
    given = {
        "rule_id": "noise", "version": 1, "kind": "sensor_threshold", "title": text, "matter": "m",
        "text": text, "legal_basis": text, "purpose": ZonePurpose.NOISE_LIMIT,
        "params": {"quantity": "laeq", "limit": {"above": 70}, "night": {"above": 55}}, **changes,
    }  # fmt: skip
    return Rule.model_validate(given)


def test_a_rule_for_sensors_survives_too_and_is_never_held_against_footage() -> None:
    assert {kind for kind in RuleKind if kind.is_of_footage} == set(PURPOSES)
    rule_of_noise = sensor_rule()
    assert Rule.model_validate_json(rule_of_noise.model_dump_json()) == rule_of_noise
    zone_of_noise = Zone(zone_id="z", purpose=ZonePurpose.NOISE_LIMIT)
    with pytest.raises(ConfigurationError, match="single capture"):
        find(rule_of_noise, (zone_of_noise,), ())


def test_only_a_rule_for_sensors_needs_no_model() -> None:
    with pytest.raises(ValidationError, match="needs no model"):
        sensor_rule(models=(YOLO,))
    with pytest.raises(ValidationError, match="needs at least one model"):
        rule(RuleKind.SMOKE, models=())


def test_a_rule_is_in_force_from_the_first_moment_and_until_before_the_last() -> None:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    dated = rule(RuleKind.LEFT_BEHIND, valid_from=start, valid_until=end)
    moment = timedelta(microseconds=1)
    assert [dated.is_valid_at(at) for at in (start - moment, start, end - moment, end)] == [
        False, True, True, False,
    ]  # fmt: skip
    with pytest.raises(ValidationError, match="valid_until"):
        rule(RuleKind.LEFT_BEHIND, valid_from=end, valid_until=start)


# A view that does not stand still


def at_rest(kind: RuleKind, *unsteady_s: tuple[float, float]) -> tuple[Finding, ...]:
    """One incident of the kind from 2 s on, seen by a model beside one that watches the view."""
    label = Label.CAR if kind is RuleKind.STOPPED_VEHICLE else Label.PERSON
    there = track(label, lambda _: standing(0.42), 2.0, 20.0)
    view = observation(LEFT).model_copy(update={"unsteady_s": unsteady_s})
    return find(rule(kind), (zone(kind),), (observation(YOLO, there), view))


def dumping_in_view(*unsteady_s: tuple[float, float]) -> tuple[Finding, ...]:
    kind = RuleKind.LEFT_BEHIND
    view = observation(LEFT, bag()).model_copy(update={"unsteady_s": unsteady_s})
    return find(rule(kind), (zone(kind),), (view, observation(YOLO, dumper())))


@pytest.mark.parametrize("kind", [RuleKind.ZONE_INTRUSION, RuleKind.STOPPED_VEHICLE])
@pytest.mark.parametrize("span_s", [(0.0, 30.0), (1.0, 25.0), (0.0, 29.9995)])
def test_nothing_is_found_in_a_view_that_moves_meanwhile(
    kind: RuleKind, span_s: tuple[float, float]
) -> None:
    assert len(at_rest(kind)) == 1
    assert at_rest(kind, span_s) == ()


def test_nothing_is_left_behind_in_a_view_that_moves_to_the_end() -> None:
    assert len(dumping_in_view()) == 1
    assert dumping_in_view((9.0, 30.0)) == ()


@pytest.mark.parametrize("kind", [RuleKind.ZONE_INTRUSION, RuleKind.STOPPED_VEHICLE])
def test_what_outlasts_a_shaken_view_is_found_once_the_view_stands_still(kind: RuleKind) -> None:
    (undisturbed,) = at_rest(kind)
    alarm_s = undisturbed.alarm_at_s
    (found,) = at_rest(kind, (alarm_s, alarm_s + 1.0), (alarm_s + 1.0, alarm_s + 2.0))
    assert found.alarm_at_s == pytest.approx(alarm_s + 2.0)
    assert found.onset_s == undisturbed.onset_s


def test_a_view_that_moved_before_or_after_the_alarm_changes_nothing() -> None:
    (undisturbed,) = at_rest(RuleKind.ZONE_INTRUSION)
    alarm_s = undisturbed.alarm_at_s
    assert at_rest(RuleKind.ZONE_INTRUSION, (0.0, alarm_s), (alarm_s + 0.1, 30.0)) == (undisturbed,)
