"""Approvals, and poses held against them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from enforcement.flights import (
    AircraftPose,
    FlightApproval,
    GroundPoint,
    TelemetryConventions,
    Trespass,
    ground_contains,
    pose_at,
    trespasses,
    turned,
)

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SQUARE = tuple(
    GroundPoint(latitude, longitude)
    for latitude, longitude in ((31.0, 121.0), (31.0, 121.1), (31.1, 121.1), (31.1, 121.0))
)


def approval(**changes: Any) -> FlightApproval:
    values = {"approval_id": "CAAC-1", "valid_from": NOON, "valid_until": NOON + HOUR,
              "area": SQUARE, "max_height_m": 120.0}  # fmt: skip
    return FlightApproval(**{**values, **changes})


def pose(**changes: Any) -> AircraftPose:
    values = {"latitude_deg": 31.05, "longitude_deg": 121.05, "moment": NOON, "height_m": 60.0}
    return AircraftPose(**{**values, **changes})


def test_a_pose_inside_area_time_and_height_gives_no_reason() -> None:
    assert trespasses(pose(), approval()) == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"latitude_deg": 31.1001}, Trespass.OUTSIDE_AREA),
        ({"longitude_deg": 120.9999}, Trespass.OUTSIDE_AREA),
        ({"moment": NOON - timedelta(microseconds=1)}, Trespass.BEFORE_APPROVAL),
        ({"moment": NOON + HOUR}, Trespass.AFTER_APPROVAL),
        ({"moment": None}, Trespass.TIME_UNKNOWN),
        ({"height_m": 120.1}, Trespass.TOO_HIGH),
    ],
)
def test_each_way_out_of_an_approval_is_a_reason(change: dict[str, Any], reason: Trespass) -> None:
    assert trespasses(pose(**change), approval()) == (reason,)


def test_all_reasons_are_given_at_once() -> None:
    lost = pose(latitude_deg=0.0, moment=NOON + 2 * HOUR, height_m=300.0)
    assert trespasses(lost, approval()) == (
        Trespass.OUTSIDE_AREA, Trespass.AFTER_APPROVAL, Trespass.TOO_HIGH,
    )  # fmt: skip


def test_the_edges_of_area_time_and_height_still_belong_to_the_approval() -> None:
    assert trespasses(pose(latitude_deg=31.0, height_m=120.0), approval()) == ()
    last = pose(moment=NOON + HOUR - timedelta(microseconds=1))
    assert trespasses(last, approval()) == ()


def test_no_height_or_no_limit_is_no_reason() -> None:
    assert trespasses(pose(height_m=None), approval()) == ()
    assert trespasses(pose(height_m=900.0), approval(max_height_m=None)) == ()


def test_an_area_across_the_180th_meridian_is_one_area() -> None:
    fiji = tuple(
        GroundPoint(*corner) for corner in ((-17, 179), (-17, -179), (-16, -179), (-16, 179))
    )
    assert ground_contains(fiji, GroundPoint(-16.5, 179.9))
    assert ground_contains(fiji, GroundPoint(-16.5, -179.9))
    assert not ground_contains(fiji, GroundPoint(-16.5, 0.0))
    assert not ground_contains(fiji, GroundPoint(-16.5, 178.9))


def test_an_area_that_bends_inwards_leaves_its_bay_outside() -> None:
    horseshoe = tuple(
        GroundPoint(*corner)
        for corner in ((0, 0), (0, 3), (3, 3), (3, 2), (1, 2), (1, 1), (3, 1), (3, 0))
    )
    assert not ground_contains(horseshoe, GroundPoint(2.0, 1.5))
    assert ground_contains(horseshoe, GroundPoint(0.5, 1.5))


def test_an_approval_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValidationError, match="valid_until must lie after"):
        approval(valid_until=NOON)


def test_an_approval_without_an_area_is_refused() -> None:
    with pytest.raises(ValidationError):
        approval(area=SQUARE[:2])


@pytest.mark.parametrize("zone", ["Shanghai", "UTC+8", "../etc/passwd", "", "/etc/localtime"])
def test_a_zone_that_does_not_exist_is_refused(zone: str) -> None:
    with pytest.raises(ValidationError, match="no time zone"):
        TelemetryConventions(time_zone=zone)


def test_a_position_that_is_no_number_or_beyond_the_pole_is_refused() -> None:
    for change in ({"latitude_deg": 90.1}, {"longitude_deg": float("nan")},
                   {"height_m": float("inf")}, {"t_s": float("nan")}):  # fmt: skip
        with pytest.raises(ValidationError):
            pose(**change)


def at(t_s: float, **changes: Any) -> AircraftPose:
    return pose(t_s=t_s, moment=NOON + timedelta(seconds=t_s), **changes)


def test_between_two_poses_everything_goes_straight() -> None:
    first = at(
        1.0, latitude_deg=31.0, height_m=50.0, gimbal_pitch_deg=-90.0, position_step_deg=1e-4
    )
    second = at(3.0, latitude_deg=31.2, height_m=60.0, gimbal_pitch_deg=-60.0)
    middle = pose_at((first, second), 1.5, max_gap_s=2.0)
    assert middle is not None
    assert middle.latitude_deg == pytest.approx(31.05)
    assert middle.height_m == pytest.approx(52.5)
    assert middle.gimbal_pitch_deg == pytest.approx(-82.5)
    assert middle.moment == NOON + timedelta(seconds=1.5)
    assert middle.t_s == 1.5
    assert middle.position_step_deg == 1e-4


def test_between_two_poses_angles_and_longitudes_take_the_shorter_way() -> None:
    first = at(0.0, gimbal_yaw_deg=170.0, longitude_deg=179.9, heading_deg=350.0)
    second = at(1.0, gimbal_yaw_deg=-170.0, longitude_deg=-179.9, heading_deg=10.0)
    middle = pose_at((first, second), 0.25, max_gap_s=2.0)
    assert middle is not None
    assert middle.gimbal_yaw_deg == pytest.approx(175.0)
    assert middle.longitude_deg == pytest.approx(179.95)
    assert middle.heading_deg == pytest.approx(-5.0)


def test_between_two_poses_nothing_is_made_up() -> None:
    poses = (at(0.0, gimbal_yaw_deg=5.0), pose(t_s=1.0, moment=None))
    middle = pose_at(poses, 0.5, max_gap_s=2.0)
    assert middle is not None
    assert middle.gimbal_yaw_deg is None
    assert middle.moment is None


def test_no_pose_is_invented_across_a_gap_or_far_outside_the_log() -> None:
    log = (at(0.0), at(1.0), at(5.0))
    assert pose_at(log, 3.0, max_gap_s=2.0) is None
    assert pose_at(log, 6.9, max_gap_s=2.0) == log[2]
    assert pose_at(log, 7.1, max_gap_s=2.0) is None
    assert pose_at(log, -1.0, max_gap_s=2.0) == log[0]
    assert pose_at(log, -2.1, max_gap_s=2.0) is None
    assert pose_at(log, 5.0, max_gap_s=0.0) == log[2]
    assert pose_at((), 0.0, max_gap_s=2.0) is None


@given(st.floats(-1e6, 1e6))
def test_a_turned_angle_is_the_same_direction(angle: float) -> None:
    assert -180.0 <= turned(angle) <= 180.0
    assert (turned(angle) - angle) % 360.0 == pytest.approx(0, abs=1e-6) or (
        (turned(angle) - angle) % 360.0 == pytest.approx(360.0, abs=1e-6)
    )
