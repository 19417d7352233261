"""What a sensor rule finds, what it does not, and that windows do not change it."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import reduce
from itertools import pairwise
from math import log10
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from enforcement.episodes import Evaluation, Peak, SensorFinding, Window
from enforcement.readings import (
    CalibrationInterval,
    Reading,
    ReadingKind,
    ReadingStatus,
    may_open,
)
from enforcement.sensing import evaluate, joined
from enforcement.sensor_rules import (
    CountOf,
    SensorHourlyMean,
    SensorLimit,
    SensorMissing,
    SensorParams,
    SensorRateOfChange,
    SensorStuck,
    SensorThreshold,
    calm_s,
    is_of_health,
    lookback_s,
)

DAY = datetime(2026, 3, 10, tzinfo=UTC)
NOON_IN_CHINA = DAY + timedelta(hours=4)
CHINA = "Asia/Shanghai"
LONG_AGO, LATER = datetime(2025, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
CALIBRATED = CalibrationInterval(device_id="d1", valid_from=LONG_AGO, valid_until=LATER)


def at(seconds: float, start: datetime = NOON_IN_CHINA) -> datetime:
    return start + timedelta(seconds=seconds)


def reading(
    seconds: float,
    value: float,
    *,
    start: datetime = NOON_IN_CHINA,
    status: ReadingStatus = ReadingStatus.NORMAL,
    device_id: str = "d1",
    quantity: str = "laeq",
    unit: str = "dB(A)",
    span_s: float = 0.0,
) -> Reading:
    kind = ReadingKind.AVERAGE if span_s else ReadingKind.INSTANTANEOUS
    return Reading(
        device_id=device_id, quantity=quantity, kind=kind, span_s=span_s, at=at(seconds, start),
        value=value, unit=unit, status=status,
    )  # fmt: skip


def row(
    values: Iterable[float], step_s: float = 60.0, first_s: float = 0.0, **more: Any
) -> list[Reading]:
    return [reading(first_s + i * step_s, value, **more) for i, value in enumerate(values)]


def look(
    params: SensorParams,
    readings: Sequence[Reading],
    *,
    first_s: float = 0.0,
    last_s: float = 6 * 3600.0,
    start: datetime = NOON_IN_CHINA,
    zone: str = CHINA,
    calibrations: tuple[CalibrationInterval, ...] = (CALIBRATED,),
    devices: tuple[str, ...] = ("d1",),
) -> tuple[SensorFinding, ...]:
    window = Window(start=at(first_s, start), end=at(last_s, start))
    return evaluate(params, readings, calibrations, window, zone, devices).findings


# Beyond a limit


def loud(**changes: Any) -> SensorThreshold:
    given: dict[str, Any] = {"quantity": "laeq", "limit": {"above": 70}, **changes}
    return SensorThreshold.model_validate(given)


THREE_OF_FIVE = {"by": "count", "exceeding": 3, "of": 5}


def test_three_of_five_readings_above_the_limit_are_one_finding() -> None:
    readings = row([60, 71, 60, 72, 73, 60, 60, 60])
    (finding,) = look(loud(persistence=THREE_OF_FIVE), readings)
    assert (finding.onset_at, finding.alarm_at) == (at(60), at(240))
    assert finding.end_at == at(240)
    assert finding.opened_by == (readings[1], readings[3], readings[4])
    assert finding.supported_by == ()
    assert not finding.continues
    assert finding.peak is not None
    assert (finding.peak.excess, finding.peak.value, finding.peak.at) == (3.0, 73.0, at(240))
    assert finding.reasons == (
        "equivalent sound level LAeq above 70 dB(A) in 3 of 4 readings "
        "from 2026-03-10 04:01:00 UTC to 2026-03-10 04:04:00 UTC",
        "73 dB(A) at 2026-03-10 04:04:00 UTC",
        "all of these readings are calibrated and flagged normal",
    )


@pytest.mark.parametrize(
    ("why", "readings"),
    [
        ("at the limit", row([70.0] * 10)),
        ("too few", row([71, 60, 60, 71, 60, 60, 71])),
        ("gaps too long", row([71] * 10, step_s=601)),
        ("another quantity", row([71] * 10, quantity="la")),
        ("averages", row([71] * 10, span_s=60)),
        ("not calibrated", row([71] * 10, device_id="d2")),
        ("flagged", row([71] * 10, status=ReadingStatus.MAINTENANCE)),
        ("never flagged", row([71] * 10, status=ReadingStatus.UNKNOWN)),
        ("two sensors", [*row([71, 71]), *row([71, 71], device_id="d3", first_s=30)]),
    ],
)
def test_without_this_condition_nothing_exceeds(why: str, readings: list[Reading]) -> None:
    also = CalibrationInterval(**{**dict(CALIBRATED), "device_id": "d3"})
    found = look(loud(persistence=THREE_OF_FIVE), readings, calibrations=(CALIBRATED, also))
    assert found == (), why


def test_readings_as_far_apart_as_allowed_add_up() -> None:
    assert look(loud(persistence=THREE_OF_FIVE), row([71] * 3, step_s=600))


def test_a_value_below_the_lower_limit_falls_short() -> None:
    acid = SensorThreshold(quantity="ph", limit=SensorLimit(above=9, below=6))
    readings = row([6, 9, 5.5, 7], quantity="ph", unit="1")
    (finding,) = look(acid, readings)
    assert finding.opened_by == (readings[2],)
    assert finding.peak is not None
    assert finding.peak.excess == 0.5
    assert finding.reasons[0].startswith("pH below 6 in 1 of 1 readings")


def test_the_peak_is_where_it_was_farthest_beyond_the_limit_first() -> None:
    acid = SensorThreshold(quantity="ph", limit=SensorLimit(above=9, below=6))
    readings = row([9.25, 5, 5.5, 5, 9.5], quantity="ph", unit="1")
    (finding,) = look(acid, readings)
    assert finding.peak == Peak(excess=1.0, value=5.0, at=at(60))


@pytest.mark.parametrize(("step_s", "found"), [(100, True), (99, False)])
def test_it_must_last_so_long(step_s: float, found: bool) -> None:
    lasting = loud(persistence={"by": "time", "for_s": 600})
    assert bool(look(lasting, row([71] * 7, step_s=step_s))) is found


def test_what_lasts_is_dated_from_its_first_reading() -> None:
    lasting = loud(persistence={"by": "time", "for_s": 600})
    # The jump of 501 s satisfies the duration at once, with two earlier readings in the run.
    readings = [*row([71, 60, 71, 71, 71], step_s=50), reading(701, 71)]
    (finding,) = look(lasting, readings)
    assert (finding.onset_at, finding.alarm_at) == (at(100), at(701))
    assert finding.opened_by == tuple(readings[2:])


def test_what_lasts_is_dated_no_further_back_than_its_lookback() -> None:
    persistence = {"by": "time", "for_s": 1000, "share_min": 0.1}
    lasting = loud(persistence=persistence, gap_max_s=100, calm_s=100)
    first, second = look(lasting, row([71] * 21 + [60] * 8 + [71], step_s=100))
    assert (first.onset_at, first.last_at) == (at(0), at(2000))
    assert (second.onset_at, second.alarm_at) == (at(1800), at(2900))


def test_what_lasts_has_no_long_gap_in_it() -> None:
    lasting = loud(persistence={"by": "time", "for_s": 600})
    assert look(lasting, row([71, 71], step_s=600))
    assert look(lasting, row([71, 71, 71], step_s=601)) == ()


def test_what_lasts_begins_with_a_reading_beyond_the_limit() -> None:
    lasting = loud(persistence={"by": "time", "for_s": 600, "share_min": 0.5})
    assert look(lasting, row([60] + [71] * 10)) == ()
    assert look(lasting, row([60] + [71] * 11))


@pytest.mark.parametrize(
    "other",
    [
        reading(0, 60),
        reading(0, 71, status=ReadingStatus.FAULT),
        reading(0, 71, status=ReadingStatus.MAINTENANCE),
    ],
)
def test_of_two_readings_for_one_moment_it_is_always_the_same(other: Reading) -> None:
    pair = [reading(0, 71), other]
    assert look(loud(), pair) == look(loud(), pair[::-1])


def test_a_reading_twice_is_one_reading() -> None:
    pair = [reading(0, 71), reading(0, 71)]
    assert look(loud(persistence={"by": "count", "exceeding": 2, "of": 2}), pair) == ()


@pytest.mark.parametrize(("quiet", "found"), [(2, True), (3, False)])
def test_a_share_of_the_readings_may_keep_to_the_limit(quiet: int, found: bool) -> None:
    lasting = loud(persistence={"by": "time", "for_s": 600, "share_min": 0.8})
    values = [71.0] * 11
    for number in range(quiet):
        values[3 + number] = 60.0
    assert bool(look(lasting, row(values))) is found


def test_one_reading_within_the_limit_breaks_a_run_of_all() -> None:
    lasting = loud(persistence={"by": "time", "for_s": 600})
    assert look(lasting, row([71] * 6 + [60] + [71] * 6)) == ()


def test_after_a_calm_it_is_another_episode() -> None:
    readings = row([71, 71, 60], step_s=1800) + row([71], first_s=1800 + 1801)
    first, second = look(loud(), readings)
    assert (first.alarm_at, first.last_at, first.end_at) == (at(0), at(1800), at(1800))
    assert second.alarm_at == at(3601)


def test_it_is_going_on_until_the_calm_has_passed() -> None:
    readings = row([71, 71])
    assert look(loud(), readings, last_s=60 + 1800)[0].end_at is None
    assert look(loud(), readings, last_s=60 + 1801)[0].end_at == at(60)


def test_readings_that_may_not_open_support_what_others_opened() -> None:
    flagged = [
        reading(30, 75, status=ReadingStatus.OVER_RANGE),
        reading(40, 60, status=ReadingStatus.OVER_RANGE),
        reading(61, 76, status=ReadingStatus.FAULT),
        reading(121, 76, status=ReadingStatus.FAULT),
    ]
    (finding,) = look(loud(), [*row([71, 72, 73]), *flagged])
    assert finding.supported_by == (flagged[0], flagged[2])
    assert finding.opened_by == (reading(0, 71),)


def test_what_may_not_open_neither_counts_nor_breaks_a_row() -> None:
    lasting = loud(persistence={"by": "time", "for_s": 120})
    between = reading(90, 50, status=ReadingStatus.CALIBRATION)
    assert look(lasting, [*row([71, 71, 71]), between])
    ends = [reading(0, 71), reading(120, 71, status=ReadingStatus.FAULT)]
    assert look(lasting, ends) == ()


# Day and night


NIGHTS = {"limit": {"above": 70}, "night": {"above": 55}}


@pytest.mark.parametrize(
    ("clock", "zone", "found"),
    [
        (datetime(2026, 3, 10, 13, 59, 59, tzinfo=UTC), CHINA, False),
        (datetime(2026, 3, 10, 14, 0, 0, tzinfo=UTC), CHINA, True),
        (datetime(2026, 3, 10, 21, 59, 59, tzinfo=UTC), CHINA, True),
        (datetime(2026, 3, 10, 22, 0, 0, tzinfo=UTC), CHINA, False),
        # In Berlin 22:00 is 21:00 UTC in winter and 20:00 UTC in summer.
        (datetime(2026, 3, 28, 20, 30, 0, tzinfo=UTC), "Europe/Berlin", False),
        (datetime(2026, 3, 29, 20, 30, 0, tzinfo=UTC), "Europe/Berlin", True),
        (datetime(2026, 10, 25, 4, 59, 59, tzinfo=UTC), "Europe/Berlin", True),
        (datetime(2026, 10, 25, 5, 0, 0, tzinfo=UTC), "Europe/Berlin", False),
        (datetime(2026, 3, 10, 16, 30, 0, tzinfo=UTC), "Asia/Kolkata", True),
    ],
)
def test_the_night_is_that_of_the_sites_clock(clock: datetime, zone: str, found: bool) -> None:
    readings = row([60], start=clock)
    assert bool(look(loud(**NIGHTS), readings, start=clock, zone=zone)) is found


def test_reasons_say_which_limit_held() -> None:
    midnight = datetime(2026, 3, 10, 16, tzinfo=UTC)
    (finding,) = look(loud(**NIGHTS), row([60], start=midnight), start=midnight)
    assert "limit of the night, 22:00 to 06:00 local time (Asia/Shanghai)" in finding.reasons
    (finding,) = look(loud(**NIGHTS), row([75]))
    assert "limit of the day, 06:00 to 22:00 local time (Asia/Shanghai)" in finding.reasons


@pytest.mark.parametrize(("value", "found"), [(60, False), (71, True)])
def test_a_span_of_day_and_night_must_exceed_both_limits(value: float, found: bool) -> None:
    ten = datetime(2026, 3, 10, 14, tzinfo=UTC)
    averages = loud(**NIGHTS, reading_kind="average")
    readings = row([value], start=ten, first_s=300, span_s=600)
    assert bool(look(averages, readings, start=ten)) is found


def test_a_span_that_ends_when_the_night_begins_is_of_the_day() -> None:
    ten = datetime(2026, 3, 10, 14, tzinfo=UTC)
    averages = loud(**NIGHTS, reading_kind="average")
    assert look(averages, row([60], start=ten, span_s=600), start=ten) == ()
    assert look(averages, row([60], start=ten, first_s=600, span_s=600), start=ten)


# Means of hours


def hourly(**changes: Any) -> SensorHourlyMean:
    given: dict[str, Any] = {"quantity": "laeq", "limit": {"above": 70}, **changes}
    return SensorHourlyMean.model_validate(given)


def test_an_hour_is_averaged_by_energy() -> None:
    # Half an hour at 80 dB and half at 50 dB: 77 dB by energy, 65 dB by arithmetic.
    (finding,) = look(hourly(), row([80] * 30 + [50] * 30))
    assert finding.peak is not None
    assert finding.peak.value == pytest.approx(10 * log10((1e8 + 1e5) / 2), abs=1e-6)
    assert (finding.onset_at, finding.alarm_at, finding.end_at) == (at(0), at(3600), at(3600))
    assert len(finding.opened_by) == 60
    assert finding.reasons[:2] == (
        "hourly mean of equivalent sound level LAeq is 76.994 dB(A) from 2026-03-10 04:00:00 UTC "
        "to 2026-03-10 05:00:00 UTC, above 70 dB(A)",
        "100% of that hour measured",
    )


def test_what_is_no_level_is_averaged_arithmetically() -> None:
    dust = hourly(quantity="pm10", limit={"above": 149})
    readings = row([200] * 30 + [100] * 30, quantity="pm10", unit="µg/m³")
    (finding,) = look(dust, readings)
    assert finding.peak is not None
    assert finding.peak.value == 150


def test_an_hour_exactly_at_the_limit_does_not_exceed() -> None:
    assert look(hourly(limit={"above": 40.6}), row([40.6] * 60)) == ()


@pytest.mark.parametrize(("minutes", "found"), [(45, True), (44, False)])
def test_three_quarters_of_an_hour_must_be_measured(minutes: int, found: bool) -> None:
    assert bool(look(hourly(), row([80] * minutes))) is found


def test_a_burst_fills_no_more_than_its_own_time() -> None:
    assert look(hourly(), row([80] * 3600, step_s=0.5)) == ()


def test_a_burst_weighs_no_more_than_its_own_time() -> None:
    burst = row([90] * 600, step_s=0.1)  # 600 values in the first minute
    quiet = row([50] * 59, first_s=60)
    (finding,) = look(hourly(limit={"above": 60}), [*burst, *quiet])
    assert finding.peak is not None
    assert finding.peak.value == pytest.approx(10 * log10((1e9 + 59e5) / 60), abs=1e-6)


def test_flagged_readings_leave_a_hole_in_the_hour() -> None:
    good, bad = row([80] * 44), row([80] * 16, first_s=44 * 60, status=ReadingStatus.FAULT)
    assert look(hourly(), [*good, *bad]) == ()
    (finding,) = look(
        hourly(), [*row([80] * 50), *row([80] * 9, first_s=3001, status=ReadingStatus.FAULT)]
    )
    assert len(finding.supported_by) == 9


def test_an_average_over_ten_minutes_fills_ten_slots() -> None:
    averages = hourly(reading_kind="average")
    readings = row([80] * 5, first_s=600, step_s=600, span_s=600)
    (finding,) = look(averages, readings)
    assert "83% of that hour measured" in finding.reasons
    assert look(averages, readings[:4]) == ()


def test_an_average_across_the_hour_belongs_to_neither() -> None:
    averages = hourly(reading_kind="average")
    assert look(averages, row([80] * 12, first_s=300, step_s=3600, span_s=3600)) == ()


@pytest.mark.parametrize(("hours", "found"), [(3, True), (2, False)])
def test_hours_must_exceed_in_a_row(hours: int, found: bool) -> None:
    readings = row([80] * 60 * hours)
    assert bool(look(hourly(hours_min=3), readings)) is found


def test_an_hour_not_measured_breaks_the_row() -> None:
    readings = [*row([80] * 60), *row([80] * 60, first_s=2 * 3600)]
    assert look(hourly(hours_min=2), readings) == ()
    (finding,) = look(hourly(hours_min=2), row([80] * 120))
    assert "the hourly mean exceeds in 2 hours in a row" in finding.reasons
    assert finding.onset_at == at(0)


def test_hours_are_those_of_the_sites_clock() -> None:
    half_past = NOON_IN_CHINA + timedelta(minutes=30)
    readings = row([80] * 60, start=half_past)
    assert look(hourly(), readings, start=half_past) == ()
    assert look(hourly(), readings, start=half_past, zone="Asia/Kolkata")


@pytest.mark.parametrize(("hours_utc", "found"), [(13, False), (14, True), (21, True), (22, False)])
def test_an_hour_of_the_night_has_the_limit_of_the_night(hours_utc: int, found: bool) -> None:
    start = DAY + timedelta(hours=hours_utc)
    assert bool(look(hourly(**NIGHTS), row([60] * 60, start=start), start=start)) is found


@pytest.mark.parametrize(
    "wrong",
    [
        {"every_s": 7}, {"quantity": "wind_direction"}, {"night_from": "22:30"},
        {"limit": {}}, {"limit": {"above": 1, "below": 2}}, {"night_from": 1320},
    ],
)  # fmt: skip
def test_a_contradictory_rule_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        hourly(**wrong)


def test_other_contradictory_rules_are_refused() -> None:
    with pytest.raises(ValidationError, match="gap_max_s"):
        loud(gap_max_s=1801)
    with pytest.raises(ValidationError, match="exceeding"):
        loud(persistence={"by": "count", "exceeding": 3, "of": 2})
    with pytest.raises(ValidationError, match="rise"):
        SensorRateOfChange(quantity="cod")
    with pytest.raises(ValidationError, match="quotes"):
        loud(night_from=1320)
    assert loud(night_from="23:30").night_from == time(23, 30)


def test_parameters_survive_being_written_down() -> None:
    adapter: TypeAdapter[SensorParams] = TypeAdapter(SensorParams)
    for params in RULES:
        assert adapter.validate_json(adapter.dump_json(params)) == params


# Rate of change


def jump(**changes: Any) -> SensorRateOfChange:
    given: dict[str, Any] = {"quantity": "laeq", "rise": 10, "within_s": 300, **changes}
    return SensorRateOfChange.model_validate(given)


def test_a_rise_within_the_time_is_found() -> None:
    readings = row([60, 58, 58, 68, 60])
    (finding,) = look(jump(), readings)
    assert (finding.onset_at, finding.alarm_at) == (at(120), at(180))
    assert finding.opened_by == (readings[2], readings[3])
    assert finding.reasons[0] == "equivalent sound level LAeq rose by 10 dB(A) within 60 s"


@pytest.mark.parametrize(
    ("why", "readings"),
    [
        ("too little", row([60, 69.9])),
        ("a fall", row([70, 60])),
        ("too slow", row([60, 63, 66, 69, 72], step_s=101)),
        ("across a gap", row([60, 71], step_s=301)),
        ("flagged", [reading(0, 60), reading(60, 71, status=ReadingStatus.FAULT)]),
    ],
)
def test_without_this_condition_nothing_jumps(why: str, readings: list[Reading]) -> None:
    assert look(jump(), readings) == (), why


def test_a_gap_separates_values() -> None:
    assert look(jump(), row([60, 71], step_s=200))
    assert look(jump(gap_max_s=100), row([60, 71], step_s=200)) == ()


def test_a_fall_is_found_where_it_is_looked_for() -> None:
    (finding,) = look(jump(rise=None, fall=5), row([70, 64]))
    assert finding.reasons[0] == "equivalent sound level LAeq fell by 6 dB(A) within 60 s"


# The sensor itself


def stuck(**changes: Any) -> SensorStuck:
    given: dict[str, Any] = {"quantity": "laeq", "for_s": 600, "readings_min": 5, **changes}
    return SensorStuck.model_validate(given)


def test_a_sensor_that_says_the_same_for_so_long_is_stuck() -> None:
    (finding,) = look(stuck(), row([61.0] * 20 + [62.0]))
    assert (finding.onset_at, finding.alarm_at, finding.last_at) == (at(0), at(600), at(1140))
    assert finding.opened_by == ()
    assert finding.reasons == (
        "equivalent sound level LAeq stays at 61 dB(A) in 11 readings from 2026-03-10 04:00:00 UTC "
        "to 2026-03-10 04:10:00 UTC",
    )


@pytest.mark.parametrize(
    ("why", "readings"),
    [
        ("too short", row([61.0] * 10)),
        ("another value between", row([61.0] * 6 + [61.1] + [61.0] * 6)),
        ("too few", row([61.0] * 4, step_s=300)),
        ("gaps too long", row([61.0] * 6, step_s=601)),
        ("a gap within", [*row([61.0] * 6), *row([61.0] * 6, first_s=1001)]),
        ("may stay there", row([0.0] * 20)),
        ("in maintenance", row([61.0] * 20, status=ReadingStatus.MAINTENANCE)),
    ],
)
def test_without_this_condition_no_sensor_is_stuck(why: str, readings: list[Reading]) -> None:
    assert look(stuck(apart_from=(0.0,)), readings) == (), why


def test_a_stuck_sensor_need_not_be_calibrated() -> None:
    assert look(stuck(), row([61.0] * 20), calibrations=())


def test_stuck_at_another_value_is_another_finding() -> None:
    first, second = look(stuck(gap_max_s=1000), row([61.0] * 20 + [62.0] * 20))
    assert (first.last_at, second.onset_at) == (at(19 * 60), at(20 * 60))


def silent(silent_s: float = 600) -> SensorMissing:
    return SensorMissing(quantity="laeq", silent_s=silent_s)


def silences(readings: Sequence[Reading], last_s: float) -> list[SensorFinding]:
    """Those that begin in sight: before its first reading a sensor is missing, too."""
    return [one for one in look(silent(), readings, last_s=last_s) if not one.continues]


def test_a_sensor_that_says_nothing_for_longer_is_missing() -> None:
    readings = [*row([60] * 3), *row([60], first_s=5000)]
    (finding,) = silences(readings, last_s=5001)
    assert (finding.onset_at, finding.alarm_at, finding.end_at) == (at(120), at(720), at(5000))
    assert finding.reasons == (
        "no reading of equivalent sound level LAeq since 2026-03-10 04:02:00 UTC",
    )


@pytest.mark.parametrize(("step_s", "found"), [(600, False), (600.001, True)])
def test_silence_must_exceed_what_is_allowed(step_s: float, found: bool) -> None:
    assert bool(silences(row([60] * 3, step_s=step_s), last_s=1201)) is found


def test_flagged_readings_are_a_sign_of_life() -> None:
    assert silences(row([60] * 3, step_s=500, status=ReadingStatus.FAULT), last_s=1500) == []


def test_other_sensors_are_no_sign_of_life() -> None:
    other = row([60] * 20, device_id="d2")
    assert [one.device_id for one in silences([reading(0, 60), *other], last_s=1200)] == ["d1"]


def test_a_sensor_that_is_expected_and_never_heard_goes_on_missing() -> None:
    (finding,) = look(silent(), [], devices=("d1",))
    assert finding.continues
    assert finding.end_at is None
    assert look(silent(), [], devices=()) == ()


def test_only_findings_about_the_sensor_are_of_health() -> None:
    assert [is_of_health(params) for params in RULES] == [
        isinstance(params, SensorStuck | SensorMissing) for params in RULES
    ]


# Windows


RULES: tuple[SensorParams, ...] = (
    loud(limit={"above": 6}, gap_max_s=100, calm_s=150),
    loud(limit={"above": 6}, persistence=THREE_OF_FIVE, gap_max_s=100, calm_s=100),
    loud(limit={"above": 6, "below": 2}, persistence=THREE_OF_FIVE, gap_max_s=60, calm_s=300),
    loud(limit={"above": 5}, persistence={"by": "time", "for_s": 120}, gap_max_s=100, calm_s=100),
    loud(
        limit={"above": 4}, persistence={"by": "time", "for_s": 150, "share_min": 0.6},
        gap_max_s=100, calm_s=200,
    ),
    loud(limit={"above": 9}, night={"above": 3}, night_from="12:05", night_until="12:20",
         gap_max_s=100, calm_s=100, persistence=CountOf(exceeding=2, of=3)),
    loud(limit={"above": 6}, reading_kind="average", span_s=300, gap_max_s=60, calm_s=60),
    jump(rise=4, fall=6, within_s=100, gap_max_s=60, calm_s=90),
    hourly(limit={"above": 6}, every_s=600, valid_share_min=0.3, calm_s=3600),
    hourly(limit={"above": 5}, every_s=600, valid_share_min=0.2, hours_min=2, calm_s=4000),
    stuck(for_s=60, readings_min=3, gap_max_s=60),
    silent(90),
)  # fmt: skip


@dataclass(frozen=True)
class Story:
    """Readings as they may come, and windows that cut their time into pieces."""

    readings: list[Reading]
    borders: list[datetime]


@st.composite
def stories(draw: st.DrawFn, params: SensorParams) -> Story:
    """Readings about as far apart as the rule's durations, and borders where it gets critical."""
    span_s = getattr(params, "span_s", None) or 0.0
    step_s = 400.0 if isinstance(params, SensorHourlyMean) else 20.0
    readings = []
    for device_id in ("d1", "d2"):
        seconds = 0.0
        for _ in range(draw(st.integers(0, 40))):
            seconds += step_s * draw(st.sampled_from([0.5, 1, 1, 1, 1, 2, 3, 4, 5, 7]))
            normal = draw(st.integers(0, 5)) > 0
            status = ReadingStatus.NORMAL if normal else ReadingStatus.FAULT
            value = float(draw(st.sampled_from([0, 3, 5, 5, 7, 8, 10])))
            one = reading(seconds, value, device_id=device_id, status=status, span_s=span_s)
            readings.append(one)
    first, last = at(0), at(40 * 7 * step_s)
    offsets_s = st.sampled_from([0.0, 1.0, calm_s(params), calm_s(params) + 1.0])
    cuts = st.tuples(st.sampled_from([at(100), *(one.at for one in readings)]), offsets_s)
    borders = {
        moment + timedelta(seconds=more) for moment, more in draw(st.lists(cuts, max_size=12))
    }
    within = {border for border in borders if first < border < last}
    return Story(readings, sorted({first, last, *within}))


BOTH_CALIBRATED = (
    CALIBRATED,
    # The second sensor's interval ends in the middle of its readings.
    CalibrationInterval(
        device_id="d2", valid_from=datetime(2025, 1, 1, tzinfo=UTC), valid_until=at(900)
    ),
)


def evaluation(
    params: SensorParams, readings: Sequence[Reading], start: datetime, end: datetime
) -> Evaluation:
    window = Window(start=start, end=end)
    return evaluate(params, readings, BOTH_CALIBRATED, window, CHINA, ("d1", "d2", "d3"))


def needed(
    params: SensorParams, readings: Iterable[Reading], start: datetime, end: datetime
) -> list[Reading]:
    """No more than what a window is entitled to."""
    first = start - timedelta(seconds=lookback_s(params))
    return [one for one in readings if first <= one.at < end]


RUN_S = (0.0, 100.0, 150.0, 219.999999, 319.999999)
"""The fourth is the first that lasts 120 s, since the first; the last is 100 s after that."""


@pytest.mark.parametrize(
    ("params", "readings", "border_s"),
    [
        (
            loud(persistence={"by": "count", "exceeding": 2, "of": 3}, gap_max_s=100, calm_s=100),
            row([71, 0, 71, 71], step_s=100),
            300.0,
        ),
        (
            loud(persistence={"by": "time", "for_s": 120}, gap_max_s=100, calm_s=100),
            [reading(seconds, 71) for seconds in RUN_S],
            RUN_S[-1],
        ),
        (
            jump(rise=4, within_s=100, gap_max_s=100, calm_s=90),
            [reading(0, 0), reading(100, 8), reading(190, 13)],
            190.0,
        ),
        (
            hourly(hours_min=2, every_s=600, valid_share_min=1, calm_s=3600),
            row([71] * 18, step_s=600),
            3 * 3600.0,
        ),
        (
            stuck(for_s=120, readings_min=2, gap_max_s=100),
            [reading(seconds, 71) for seconds in RUN_S],
            RUN_S[-1],
        ),
        (silent(90), [reading(0, 60)], 90.0),
    ],
)
def test_a_window_needs_the_readings_of_its_lookback_and_no_others(
    params: SensorParams, readings: list[Reading], border_s: float
) -> None:
    start, border, end = at(-1), at(border_s), at(border_s + 1)
    whole = evaluation(params, readings, start, end)
    assert not all(one.continues for one in whole.findings)

    def in_two(lookback: float) -> Evaluation:
        first = border - timedelta(seconds=lookback)
        later = [one for one in readings if first <= one.at]
        earlier = [one for one in readings if one.at < border]
        return joined(
            params,
            evaluation(params, earlier, start, border),
            evaluation(params, later, border, end),
        )

    assert in_two(lookback_s(params)) == whole
    assert in_two(lookback_s(params) - 0.001) != whole


@pytest.mark.parametrize("params", RULES, ids=lambda params: params.kind)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_windows_one_after_another_find_what_one_look_at_all_finds(
    params: SensorParams, data: st.DataObject
) -> None:
    story = data.draw(stories(params))
    borders = story.borders
    pieces = [
        evaluation(params, needed(params, story.readings, start, end), start, end)
        for start, end in pairwise(borders)
    ]
    whole = evaluation(params, story.readings, borders[0], borders[-1])
    assert reduce(lambda a, b: joined(params, a, b), pieces) == whole


@pytest.mark.parametrize("params", RULES, ids=lambda params: params.kind)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_late_and_repeated_readings_in_any_order_change_nothing_in_the_end(
    params: SensorParams, data: st.DataObject
) -> None:
    story = data.draw(stories(params))
    windows = list(pairwise(story.borders))
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    again = chance.sample(story.readings, len(story.readings) // 3)
    arrivals = [*story.readings, *(one.model_copy() for one in again)]
    chance.shuffle(arrivals)
    kept: dict[tuple[datetime, datetime], Evaluation] = {}
    for number in range(0, len(arrivals) + 10, 10):
        arrived = arrivals[:number]
        for start, end in chance.sample(windows, len(windows)):
            enough = needed(params, arrived, start, end)
            chance.shuffle(enough)
            kept[start, end] = evaluation(params, enough, start, end)
    in_time_order = [evaluation(params, story.readings, *window) for window in windows]
    assert [kept[window] for window in windows] == in_time_order


@pytest.mark.parametrize("params", RULES[:10], ids=lambda params: params.kind)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_reading_that_may_not_open_a_case_never_does(
    params: SensorParams, data: st.DataObject
) -> None:
    story = data.draw(stories(params))
    start, end = story.borders[0], story.borders[-1]
    able = [one for one in story.readings if may_open(one, BOTH_CALIBRATED)]
    bare = {"supported_by": ()}
    found = evaluation(params, story.readings, start, end).findings
    of_able = evaluation(params, able, start, end).findings
    assert [one.model_copy(update=bare) for one in found] == list(of_able)
    for finding in found:
        assert finding.opened_by
        assert all(may_open(one, BOTH_CALIBRATED) for one in finding.opened_by)
        assert not any(may_open(one, BOTH_CALIBRATED) for one in finding.supported_by)


def test_windows_that_do_not_adjoin_are_not_joined() -> None:
    params = loud()
    first = evaluation(params, [], at(0), at(10))
    with pytest.raises(ValueError, match="must start where"):
        joined(params, first, evaluation(params, [], at(11), at(20)))


def test_an_alarm_belongs_to_the_window_that_holds_its_moment() -> None:
    readings = row([71], first_s=100)
    assert look(loud(), readings, last_s=100) == ()
    assert look(loud(), readings, first_s=100, last_s=200)
    (finding,) = look(loud(), row([71, 71], first_s=100), first_s=101, last_s=200)
    assert finding.continues
    assert finding.opened_by == ()
    assert finding.reasons == ()
