"""When missions are to be flown, on ordinary days and where clocks change."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from enforcement.missions import Mission
from settings.schedules import last_turn, next_turn, problem

BERLIN = "Europe/Berlin"  # forward on 2026-03-29 at 01:00 UTC, back on 2026-10-25 at 01:00 UTC


def flown(schedule: str | None, zone: str | None = None) -> Mission:
    return Mission.model_validate(
        {
            "mission_id": "fields",
            "title": "Fields",
            "feed_id": "drone",
            "purpose": "dumped waste",
            "approval": {
                "approval_id": "A-1",
                "valid_from": "2026-01-01T00:00:00Z",
                "valid_until": "2027-01-01T00:00:00Z",
                "area": [[31.0, 121.0], [31.1, 121.0], [31.1, 121.1]],
            },
            "schedule": schedule,
            "conventions": {"time_zone": zone},
        }
    )


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


def turns(mission: Mission, start: datetime, end: datetime) -> list[str]:
    """All turns after ``start`` and before ``end``; those found backwards are the same."""
    found: list[datetime] = []
    turn = next_turn(mission, start)
    while turn is not None and turn < end:
        found.append(turn)
        turn = next_turn(mission, turn)
    back: list[datetime] = []
    turn = last_turn(mission, end - timedelta(seconds=1))
    while turn is not None and turn > start:
        back.append(turn)
        turn = last_turn(mission, turn - timedelta(seconds=1))
    assert found == back[::-1]
    return [f"{one:%d %H:%M}" for one in found]


def test_without_a_zone_a_schedule_is_in_utc_and_with_one_in_that() -> None:
    noon = utc("11-20T12:00")
    assert next_turn(flown("30 6 * * *"), noon) == utc("11-21T06:30")
    assert next_turn(flown("30 6 * * *", "Asia/Shanghai"), noon) == utc("11-20T22:30")
    assert last_turn(flown("30 6 * * 1", "Asia/Shanghai"), noon) == utc("11-15T22:30")
    assert last_turn(flown("30 6 * * *"), noon).utcoffset() == timedelta(0)  # type: ignore[union-attr]


def test_a_turn_is_the_last_one_from_its_moment_on_and_the_next_one_until_then() -> None:
    mission, turn = flown("30 6 * * *"), utc("11-20T06:30")
    instant = timedelta(microseconds=1)
    assert next_turn(mission, turn - instant) == turn
    assert next_turn(mission, turn) == turn + timedelta(days=1)
    assert last_turn(mission, turn) == turn
    assert last_turn(mission, turn - instant) == turn - timedelta(days=1)


def test_a_mission_that_is_flown_when_called_for_has_no_turns() -> None:
    assert next_turn(flown(None), utc("11-20T12:00")) is None
    assert last_turn(flown(None), utc("11-20T12:00")) is None


def test_a_time_that_is_left_out_comes_right_after_the_change() -> None:
    span = utc("03-28T00:00"), utc("03-31T00:00")
    assert turns(flown("30 2 * * *", BERLIN), *span) == ["28 01:30", "29 01:00", "30 00:30"]
    assert turns(flown("30 1 * * *", BERLIN), *span) == [
        "28 00:30",
        "29 00:30",
        "29 23:30",
        "30 23:30",
    ]
    half_hourly = turns(flown("*/30 * * * *", BERLIN), utc("03-29T00:15"), utc("03-29T02:15"))
    assert half_hourly == ["29 00:30", "29 01:00", "29 01:30", "29 02:00"]


def test_a_time_that_is_there_twice_is_one_turn_unless_every_hour_is_flown() -> None:
    span = utc("10-24T00:00"), utc("10-27T00:00")
    assert turns(flown("30 2 * * *", BERLIN), *span) == ["24 00:30", "25 00:30", "26 01:30"]
    between = utc("10-25T00:45")  # 02:45 in summer time: 02:30 comes once more
    assert next_turn(flown("30 2 * * *", BERLIN), between) == utc("10-26T01:30")
    assert last_turn(flown("30 2 * * *", BERLIN), utc("10-25T01:45")) == utc("10-25T00:30")
    hourly = turns(flown("0 * * * *", BERLIN), utc("10-24T23:30"), utc("10-25T03:30"))
    assert hourly == ["25 00:00", "25 01:00", "25 02:00", "25 03:00"]
    odd = turns(flown("0 1-3 * * *", BERLIN), utc("10-24T22:30"), utc("10-25T03:30"))
    assert odd == ["24 23:00", "25 00:00", "25 02:00"]


def test_half_an_hour_of_change_is_one_too() -> None:
    """Lord Howe Island puts its clocks back from 02:00 to 01:30."""
    mission = flown("45 1 * * *", "Australia/Lord_Howe")
    found = turns(mission, utc("04-03T12:00"), utc("04-06T12:00"))
    assert found == ["03 14:45", "04 14:45", "05 15:15"]
    local = ZoneInfo("Australia/Lord_Howe")
    assert utc("04-05T15:15").astimezone(local).strftime("%H:%M") == "01:45"


@pytest.mark.parametrize(
    "wrong",
    [
        "99 * * * *",
        "a b c d e",
        "0 0 30 2 *",
        "0 0 * * 8",
        "R 6 * * *",
        "0 h(1-5) * * *",
        "0 0 , * *",
    ],
)
def test_what_is_no_schedule_is_named(wrong: str) -> None:
    assert problem(wrong)


@pytest.mark.parametrize(
    "right", ["30 6 * * *", "*/15 8-18 * * mon-fri", "0 0 29 2 *", "0 12 l * *", "0 8 * * thu"]
)
def test_a_schedule_is_no_problem(right: str) -> None:
    assert problem(right) is None
    assert next_turn(flown(right), utc("11-20T12:00")) is not None
