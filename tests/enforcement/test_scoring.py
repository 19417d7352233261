"""What counts as found, false and missed, with the boundary rows first."""

from typing import Any

import pytest
from pydantic import ValidationError

from enforcement.geometry import Box, Point
from enforcement.places import ZonePurpose
from enforcement.rules import RuleKind
from enforcement.scoring import (
    Alarm,
    Judgement,
    ScoredClip,
    Verdict,
    counts,
    family_figures,
    family_of,
    is_moving,
    judge,
    poisson_upper,
    quiet_figures,
    rate,
    score_clip,
)
from enforcement.truth import (
    DUMPING,
    FIRE,
    NO_HELMET,
    SMOKE,
    STOPPED_VEHICLE,
    ZONE_INTRUSION,
    Event,
    Expected,
    IndexEntry,
    events_of,
    zones_of,
)

TRUE = Box(0.40, 0.40, 0.50, 0.50)
ONSET_S = 20.0
COVERED = frozenset({DUMPING, ZONE_INTRUSION, STOPPED_VEHICLE, NO_HELMET, FIRE, SMOKE})


def event(family: str = DUMPING, onset_s: float = ONSET_S, **changes: Any) -> Event:
    return Event(**{"family": family, "onset_s": onset_s, "box": TRUE, **changes})


def alarm(t_s: float, family: str = DUMPING, box: Box = TRUE, rule: str = "r") -> Alarm:
    return Alarm(
        family=family, rule=rule, t_s=t_s, onset_s=t_s, end_s=None, box=box, score=0.9,
        reasons=("it lies there",),
    )  # fmt: skip


def clip(
    *alarms: Alarm, duration_s: float = 60.0, covered: frozenset[str] = COVERED, **expected: Any
) -> ScoredClip:
    """A clip of 1000 × 500 pixels; keywords are fields of ``expect``."""
    asked = Expected.model_validate(expected)
    return score_clip("clip.mp4", asked, (1000, 500, duration_s), alarms, covered)


def dumped(onset_s: float = ONSET_S, **changes: Any) -> dict[str, Any]:
    """An entry of ``alarms`` as it stands in an index."""
    return {"family": DUMPING, "onset_s": onset_s, "box_px": (400, 200, 500, 250), **changes}


def verdict_of(scored: ScoredClip, family: str = DUMPING) -> Judgement:
    return next(one for one in scored.judgements if one.family == family)


@pytest.mark.parametrize(
    ("alarm_s", "verdict"),
    [
        (ONSET_S - 5.0, Verdict.TRUE_POSITIVE),
        (ONSET_S - 5.001, Verdict.OUT_OF_WINDOW),
        (ONSET_S, Verdict.TRUE_POSITIVE),
        (ONSET_S + 10.0, Verdict.TRUE_POSITIVE),
        (ONSET_S + 10.001, Verdict.OUT_OF_WINDOW),
    ],
)
def test_an_alarm_is_right_from_5_s_before_to_10_s_after_the_onset(
    alarm_s: float, verdict: Verdict
) -> None:
    judged = judge(DUMPING, [event()], [alarm(alarm_s)])
    assert judged.verdict is verdict
    delay_s = alarm_s - ONSET_S if verdict is Verdict.TRUE_POSITIVE else None
    assert judged.delay_s == (None if delay_s is None else pytest.approx(delay_s))


def test_only_the_first_alarm_counts() -> None:
    late, good = alarm(ONSET_S + 1.0), alarm(ONSET_S - 9.0)
    assert judge(DUMPING, [event()], [late, good]).verdict is Verdict.OUT_OF_WINDOW
    assert judge(DUMPING, [event()], [late, alarm(50.0)]).verdict is Verdict.TRUE_POSITIVE


def test_alarms_of_another_family_count_for_nothing() -> None:
    assert judge(DUMPING, [event()], [alarm(ONSET_S, FIRE)]).verdict is Verdict.MISSED
    assert judge(DUMPING, [event(FIRE)], [alarm(ONSET_S)]).verdict is Verdict.FALSE_POSITIVE


def test_an_alarm_may_fit_any_of_several_events() -> None:
    judged = judge(DUMPING, [event(), event(onset_s=40.0, manner="throw")], [alarm(42.0)])
    assert judged.verdict is Verdict.TRUE_POSITIVE
    assert (judged.onset_s, judged.manner, judged.delay_s) == (40.0, "throw", 2.0)


def test_silence_is_a_miss_with_an_event_and_right_without() -> None:
    assert judge(DUMPING, [event()], []).verdict is Verdict.MISSED
    assert judge(DUMPING, [], []).verdict is Verdict.TRUE_NEGATIVE
    assert judge(DUMPING, [], [alarm(1.0)]).verdict is Verdict.FALSE_POSITIVE


@pytest.mark.parametrize("family", [DUMPING, ZONE_INTRUSION, STOPPED_VEHICLE])
def test_in_an_unsuitable_view_silence_is_right_and_every_alarm_false(family: str) -> None:
    events = [event(family)]
    silent = judge(family, events, [], view="unsuitable")
    assert silent.verdict is Verdict.NOT_COUNTED
    assert not silent.positive
    raised = judge(family, events, [alarm(ONSET_S, family)], view="unsuitable")
    assert raised.verdict is Verdict.FALSE_POSITIVE
    assert counts([silent, raised])["false_negatives"] == 0


@pytest.mark.parametrize("family", [NO_HELMET, FIRE])
def test_helmets_and_fire_are_judged_by_clip_in_any_view(family: str) -> None:
    raised = judge(family, [event(family)], [alarm(55.0, family)], view="unsuitable")
    assert raised.verdict is Verdict.TRUE_POSITIVE
    assert judge(family, [event(family)], [], view="unsuitable").verdict is Verdict.MISSED


def test_what_no_rule_looks_for_is_neither_missed_nor_right() -> None:
    without = COVERED - {FIRE}
    scored = clip(alarms=[{"family": FIRE, "onset_s": 1.0}], covered=without)
    assert verdict_of(scored, FIRE).verdict is Verdict.NOT_COVERED
    assert verdict_of(clip(covered=without), FIRE).verdict is Verdict.NOT_COVERED
    figures = family_figures(FIRE, [scored, clip()], covered=False)
    assert (figures.covered, figures.positives, figures.negatives) == (False, 1, 1)
    assert (figures.recall, figures.precision, figures.false_negatives) == (None, None, 0)


@pytest.mark.parametrize(
    ("centre", "at_it"),
    [((0.45, 0.45), True), ((0.376, 0.45), True), ((0.374, 0.45), False), ((0.45, 0.526), False)],
)
def test_localised_is_a_centre_in_the_true_box_grown_by_half(
    centre: tuple[float, float], at_it: bool
) -> None:
    x, y = centre
    box = Box(x - 0.02, y - 0.02, x + 0.02, y + 0.02)
    assert judge(DUMPING, [event()], [alarm(ONSET_S, box=box)]).localised is at_it


def test_where_no_box_is_known_nothing_is_said_of_the_place() -> None:
    assert judge(DUMPING, [event(box=None)], [alarm(ONSET_S)]).localised is None
    assert judge(DUMPING, [event()], [alarm(ONSET_S + 11)]).localised is None


def test_an_alarm_out_of_the_window_is_false_and_a_miss() -> None:
    figures = family_figures(DUMPING, [clip(alarm(40.0), alarms=[dumped()])], covered=True)
    assert figures.true_positives == 0
    assert (figures.false_positives, figures.false_negatives) == (1, 1)
    assert (figures.precision, figures.recall, figures.f1) == (0.0, 0.0, 0.0)
    assert figures.delay_s is None


def test_figures_of_a_family_over_right_late_missed_and_false_clips() -> None:
    clips = [
        clip(alarm(22.0), alarms=[dumped(manner="left_behind")]),
        clip(alarm(26.0), alarms=[dumped(manner="left_behind")]),
        clip(alarm(45.0), alarms=[dumped(manner="throw")]),
        clip(alarms=[dumped(manner="throw")]),
        clip(alarm(3.0), alarm(9.0), duration_s=1800.0),
        clip(duration_s=1800.0),
    ]
    figures = family_figures(DUMPING, clips, covered=True)
    assert (figures.true_positives, figures.false_positives, figures.false_negatives) == (2, 2, 2)
    assert (figures.precision, figures.recall, figures.f1) == (0.5, 0.5, 0.5)
    assert (figures.delay_s, figures.delay_max_s) == (4.0, 6.0)
    assert (figures.localised, figures.localised_of) == (1.0, 2)
    assert figures.by_manner["left_behind"] == {"positives": 2, "found": 2, "recall": 1.0}
    assert figures.by_manner["throw"] == {"positives": 2, "found": 0, "recall": 0.0}
    assert figures.by_rule == {"r": {"right": 2, "wrong": 2}}
    assert (figures.false_alarms, figures.negative_hours) == (2, 1.0)
    assert figures.false_alarms_per_camera_hour == 2.0
    assert figures.false_alarms_per_camera_hour_upper_95 == pytest.approx(6.296, abs=0.001)


def test_difficult_clips_are_judged_but_not_counted() -> None:
    hard = clip(alarm(50.0), alarms=[dumped()], difficult=True)
    assert verdict_of(hard).verdict is Verdict.OUT_OF_WINDOW
    figures = family_figures(DUMPING, [hard], covered=True)
    assert (figures.positives, figures.negatives) == (0, 0)
    assert (figures.false_positives, figures.false_negatives) == (0, 0)
    assert quiet_figures([clip(alarm(1.0), difficult=True)]).false_alarms == 0


def test_nothing_is_divided_by_zero_hours_or_zero_clips() -> None:
    assert family_figures(DUMPING, [], covered=True).f1 is None
    empty = quiet_figures([])
    assert empty.negative_hours == 0.0
    assert empty.false_alarms_per_camera_hour is None
    assert empty.false_alarms_per_camera_hour_upper_95 is None
    assert rate(3, 0.0)["false_alarms_per_camera_hour"] is None


@pytest.mark.parametrize(
    ("count", "bound"),
    [(0, 2.9957), (1, 4.7439), (2, 6.2958), (10, 16.9622), (100, 118.079)],
)
def test_the_poisson_bound_is_that_of_the_tables(count: int, bound: float) -> None:
    assert poisson_upper(count) == pytest.approx(bound, abs=0.001)


def test_negative_footage_is_what_expects_no_alarm_and_there_every_alarm_counts() -> None:
    clips = [
        clip(alarm(1.0), alarm(30.0), duration_s=3600.0),
        clip(alarm(1.0), alarms=[dumped()], duration_s=3600.0),
    ]
    figures = quiet_figures(clips)
    assert (figures.false_alarms, figures.negative_hours) == (2, 1.0)


SQUARE = [(0, 250), (500, 250), (500, 500), (0, 500)]


def checked(*occupied_s: tuple[float, float]) -> list[dict[str, Any]]:
    return [{"family": ZONE_INTRUSION, "zone_px": SQUARE, "occupied_s": occupied_s}]


def test_an_alarm_that_a_zone_check_explains_is_no_false_one() -> None:
    def figures(alarm_s: float) -> int:
        scored = clip(alarm(alarm_s, ZONE_INTRUSION), zone_checks=checked((10.0, 40.0)))
        return quiet_figures([scored]).false_alarms

    assert [figures(t_s) for t_s in (4.9, 5.0, 35.0, 40.1)] == [1, 0, 0, 1]


def test_a_zone_check_is_an_event_of_its_family() -> None:
    found = clip(alarm(11.5, ZONE_INTRUSION), zone_checks=checked((10.0, 40.0)))
    assert verdict_of(found, ZONE_INTRUSION).verdict is Verdict.TRUE_POSITIVE
    empty = clip(alarm(11.5, ZONE_INTRUSION), zone_checks=checked())
    assert verdict_of(empty, ZONE_INTRUSION).verdict is Verdict.FALSE_POSITIVE


def test_zone_families_are_judged_only_where_the_index_gives_a_zone() -> None:
    assert {one.family for one in clip().judgements} == {DUMPING, FIRE}
    zoned = {one.family for one in clip(zone_checks=checked()).judgements}
    assert zoned == {DUMPING, ZONE_INTRUSION, FIRE}
    site = {one.family for one in clip(helmets_required=True).judgements}
    assert site == {DUMPING, NO_HELMET, FIRE}
    smoking = {one.family for one in clip(alarms=[{"family": SMOKE, "onset_s": 1.0}]).judgements}
    assert smoking == {DUMPING, FIRE, SMOKE}


def test_zones_are_the_whole_frame_against_dumping_and_fire_and_those_of_the_index() -> None:
    expected = Expected.model_validate({"zone_checks": checked()})
    given, dumping, fire = zones_of(expected, 1000, 500)
    assert (dumping.purpose, fire.purpose) == (ZonePurpose.NO_DUMPING, ZonePurpose.NO_FIRE)
    assert dumping.polygon == (Point(0, 0), Point(1, 0), Point(1, 1), Point(0, 1))
    assert given.purpose is ZonePurpose.FORBIDDEN
    assert given.polygon == (Point(0, 0.5), Point(0.5, 0.5), Point(0.5, 1), Point(0, 1))


@pytest.mark.parametrize(
    ("family", "purpose"),
    [
        (DUMPING, ZonePurpose.NO_DUMPING),
        (FIRE, ZonePurpose.NO_FIRE),
        (NO_HELMET, ZonePurpose.HELMETS_REQUIRED),
        (SMOKE, ZonePurpose.SMOKE_WATCH),
    ],
)
def test_a_drawn_zone_takes_the_place_of_the_whole_frame(family: str, purpose: ZonePurpose) -> None:
    check = {"family": family, "zone_px": SQUARE}
    expected = {"zone_checks": [check], "alarms": [{"family": family, "onset_s": 1.0}]}
    zones = zones_of(Expected.model_validate(expected), 1000, 500)
    assert [zone.zone_id for zone in zones if zone.purpose is purpose] == ["check-1"]


@pytest.mark.parametrize(
    ("kind", "required"),
    [
        ("PPE negative/turnstile", True),
        ("workers with Helmets", True),
        ("construction site, dusk", True),
        ("fire positive/helmet camera, moving", False),
        ("negative/opposite pavement", False),
        ("", False),
    ],
)
def test_helmets_are_looked_for_where_the_index_speaks_of_a_site(kind: str, required: bool) -> None:
    entry: dict[str, Any] = {"file": "a.mp4", "kind": kind, "expect": {"alarms": []}}
    purposes = {zone.purpose for zone in zones_of(expected_of(entry), 1000, 500)}
    assert (ZonePurpose.HELMETS_REQUIRED in purposes) is required
    entry["expect"]["helmets_required"] = not required
    assert expected_of(entry).helmets_required is not required


def expected_of(entry: dict[str, Any]) -> Expected:
    expected = IndexEntry.model_validate(entry).expect
    assert expected is not None
    return expected


def test_an_expected_bare_head_is_looked_for_everywhere() -> None:
    alarms = [{"family": NO_HELMET, "onset_s": 3.0}]
    zones = zones_of(Expected.model_validate({"alarms": alarms}), 1000, 500)
    assert ZonePurpose.HELMETS_REQUIRED in {zone.purpose for zone in zones}


def test_an_expected_stop_without_a_zone_is_looked_for_everywhere() -> None:
    alarms = [{"family": STOPPED_VEHICLE, "onset_s": 3.0}]
    zones = zones_of(Expected.model_validate({"alarms": alarms}), 1000, 500)
    assert ZonePurpose.NO_STOPPING in {zone.purpose for zone in zones}


def test_boxes_in_pixels_become_fractions() -> None:
    (one,) = events_of(Expected.model_validate({"alarms": [dumped()]}), 1000, 500)
    assert one.box == Box(0.4, 0.4, 0.5, 0.5)


def test_an_entry_may_say_more_but_not_misspell_what_is_scored() -> None:
    entry = {"file": "a.mp4", "licence": "MIT", "truth": {"x": 1}, "expect": {"alarms": []}}
    assert IndexEntry.model_validate(entry).expect == Expected()
    with pytest.raises(ValidationError, match="dificult"):
        IndexEntry.model_validate({**entry, "expect": {"dificult": True}})


@pytest.mark.parametrize(
    ("spans_s", "moving"), [((), False), (((0, 2.5),), False), (((0, 2), (5, 5.6)), True)]
)
def test_a_view_moves_when_more_than_a_quarter_of_it_was_unsteady(
    spans_s: tuple[tuple[float, float], ...], moving: bool
) -> None:
    assert is_moving(spans_s, 10.0) is moving


def test_every_kind_of_rule_belongs_to_a_family() -> None:
    assert {family_of(kind) for kind in RuleKind if kind.is_of_footage} == COVERED
