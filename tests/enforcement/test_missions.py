"""Missions: what they may plan, and when a flight has arrived."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from enforcement.flights import AircraftPose, FlightApproval, GroundPoint
from enforcement.missions import (
    Completeness,
    FileCounts,
    Flight,
    FlightState,
    Mission,
    Waypoint,
    camera_of,
    completeness,
    counted,
    is_of_turn,
    refusal,
)

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


def flight(state: FlightState = FlightState.ACCEPTED, **changes: Any) -> Flight:
    values = {"feed_id": "drone-1", "mission_id": "north", "flight_id": "f", "state": state,
              "first_file_at": NOON + 2 * HOUR, "last_file_at": NOON + 2 * HOUR}  # fmt: skip
    return Flight(**{**values, **changes})


def test_a_flight_belongs_to_the_turn_that_it_was_flown_for() -> None:
    assert is_of_turn(flight(began_at=NOON), NOON)
    assert is_of_turn(flight(began_at=NOON - timedelta(minutes=15)), NOON)
    assert not is_of_turn(flight(began_at=NOON - timedelta(minutes=16)), NOON)
    # Before it is judged, only when it came is known.
    assert is_of_turn(flight(FlightState.AWAITED), NOON + 2 * HOUR)
    assert not is_of_turn(flight(FlightState.REPEATED), NOON)


def test_positions_outside_are_told_with_their_times_and_their_share() -> None:
    inside: dict[str, Any] = {
        "latitude_deg": 31.05,
        "longitude_deg": 121.05,
        "moment": NOON,
        "height_m": 60.0,
    }
    poses = [AircraftPose(**{**inside, "t_s": float(n)}) for n in range(4)]
    assert refusal(poses, APPROVAL) is None
    away = poses[2].model_copy(update={"latitude_deg": 31.2, "moment": None})
    told = refusal([*poses[:2], away, poses[3]], APPROVAL)
    assert told is not None
    assert "CAAC-1" in told
    assert "outside the approved area from 2.0 s to 2.0 s (1 of 4 positions)" in told
    assert "nobody can tell" in told
    assert refusal([], APPROVAL) is not None


@pytest.mark.parametrize(
    ("name", "camera"),
    [
        ("DJI_20260511093000_0001_V.JPG", "V"),
        ("card/DJI_20260511093000_0412_w.jpg", "W"),
        ("DJI_20260511093000_0001_Z.MP4", "Z"),
        ("DJI_20260511093000_0001_T.JPG", None),
        ("DJI_0001.MP4", ""),
        ("DJI_0001.JPG", ""),
        ("100_V/IMG.JPG", ""),
        ("survey_T.JPG", ""),
    ],
)
def test_the_camera_is_told_by_the_end_of_the_name(name: str, camera: str | None) -> None:
    assert camera_of(name) == camera


def test_files_are_told_by_their_endings_and_all_of_them_are_counted() -> None:
    names = ["a.MP4", "x/b.ts", "c.JPG", "d.srt", "e.obs", "README"]
    counts = counted(names)
    assert counts == FileCounts(videos=2, stills=1, telemetry=1, others=2)
    assert counts.total == 6
    assert completeness(mission(), counts, NOON, NOON, (6, 6)) is Completeness.COMPLETE
