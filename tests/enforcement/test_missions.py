"""Missions: what they may plan, and when a flight has arrived."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from enforcement.flights import FlightApproval, GroundPoint
from enforcement.missions import Completeness, FileCounts, Mission, Waypoint, completeness

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SQUARE = tuple(
    GroundPoint(latitude, longitude)
    for latitude, longitude in ((31.0, 121.0), (31.0, 121.1), (31.1, 121.1), (31.1, 121.0))
)


APPROVAL = FlightApproval(
    approval_id="CAAC-1", valid_from=NOON, valid_until=NOON + HOUR, area=SQUARE, max_height_m=120.0
)


def mission(**changes: Any) -> Mission:
    values = {"mission_id": "north", "title": "North", "feed_id": "drone-1",
              "purpose": "illegal dumping", "approval": APPROVAL}  # fmt: skip
    return Mission(**{**values, **changes})


def test_a_route_that_leaves_the_approved_area_or_height_is_refused() -> None:
    inside = Waypoint(latitude_deg=31.01, longitude_deg=121.01, height_m=60)
    assert mission(route=(inside,)).route == (inside,)
    outside = inside.model_copy(update={"latitude_deg": 31.2})
    with pytest.raises(ValidationError, match="waypoint 2 lies outside"):
        mission(route=(inside, outside))
    high = inside.model_copy(update={"height_m": 121.0})
    with pytest.raises(ValidationError, match="waypoint 1 lies above the approved 120 m"):
        mission(route=(high,))


def test_a_schedule_has_five_cron_fields() -> None:
    assert mission(schedule="0 9 * * 1-5").schedule == "0 9 * * 1-5"
    with pytest.raises(ValidationError):
        mission(schedule="every morning")


EXPECTED = FileCounts(videos=2, stills=3, telemetry=2)


def test_a_flight_is_complete_when_every_kind_of_file_is_there() -> None:
    patrol = mission(expected_files=EXPECTED, grace_s=600)
    assert completeness(patrol, EXPECTED, NOON, NOON) is Completeness.COMPLETE
    for kind in ("videos", "stills", "telemetry"):
        short = EXPECTED.model_copy(update={kind: 1})
        more = short.model_copy(update={"stills": short.stills + 5} if kind == "videos" else {})
        assert completeness(patrol, more, NOON, NOON) is Completeness.AWAITED


def test_a_flight_with_missing_files_is_closed_once_the_grace_time_has_passed() -> None:
    patrol = mission(expected_files=EXPECTED, grace_s=600)
    last = NOON + timedelta(seconds=600)
    before = last - timedelta(microseconds=1)
    assert completeness(patrol, FileCounts(), NOON, before) is Completeness.AWAITED
    assert completeness(patrol, FileCounts(), NOON, last) is Completeness.OVERDUE


def test_the_docks_count_completes_a_flight_only_when_the_files_are_here_too() -> None:
    patrol, seven = mission(), EXPECTED
    assert completeness(patrol, seven, NOON, NOON, (7, 7)) is Completeness.COMPLETE
    assert completeness(patrol, seven, NOON, NOON, (8, 7)) is Completeness.AWAITED
    assert completeness(patrol, seven, NOON, NOON, (7, 6)) is Completeness.AWAITED
    assert completeness(patrol, seven, NOON, NOON, (8, 8)) is Completeness.AWAITED
    assert completeness(patrol, seven, NOON, NOON, (0, 0)) is Completeness.AWAITED
    assert completeness(patrol, seven, NOON, NOON) is Completeness.AWAITED


def test_counts_that_contradict_each_other_do_not_complete_a_flight() -> None:
    patrol = mission(expected_files=EXPECTED)
    few = FileCounts(videos=1)
    assert completeness(patrol, few, NOON, NOON, (1, 1)) is Completeness.AWAITED
