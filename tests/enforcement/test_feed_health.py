"""What is wrong with a feed, and when it is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from enforcement.feed_health import (
    DAYS_SHOWN,
    CollectorReport,
    FeedGap,
    FeedHealth,
    RefusedFlight,
    SensorTrouble,
    Trouble,
    storage_outlook,
    troubles,
)
from enforcement.footage import ViewProblem

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def collector(state: str = "recording", at_s: float = 5.0, **more: Any) -> CollectorReport:
    return CollectorReport(at=ago(at_s), state=state, **more)


STUCK = SensorTrouble(
    device_id="noise-7", quantity="la", kind="sensor_stuck", since=ago(4000), is_over=False
)
REFUSED = RefusedFlight(mission_id="river", flight_id="f1", reasons=("too high",))
GAP = FeedGap(from_at=ago(100), to_at=ago(90), reason="the camera closed the connection")


@pytest.mark.parametrize(
    ("known", "silent_after_s", "wrong"),
    [
        ({}, None, ()),
        ({}, 60.0, (Trouble.SILENT,)),
        ({"last_received_at": ago(59)}, 60.0, ()),
        ({"last_received_at": ago(61)}, 60.0, (Trouble.SILENT,)),
        ({"collector": collector()}, None, ()),
        ({"collector": collector("listening")}, None, ()),
        ({"collector": collector(at_s=61)}, None, (Trouble.COLLECTOR_DOWN,)),
        ({"collector": collector("refused")}, None, (Trouble.NOT_RECORDING,)),
        ({"collector": collector(clock_offset_s=-2.1)}, None, (Trouble.CLOCK,)),
        ({"collector": collector(clock_offset_s=1.9)}, None, ()),
        ({"view": (ViewProblem.COVERED,)}, None, (Trouble.VIEW,)),
        ({"sensors": (STUCK,)}, None, (Trouble.SENSOR,)),
        ({"sensors": (STUCK.model_copy(update={"is_over": True}),)}, None, ()),
        ({"quarantined": 1}, None, (Trouble.QUARANTINE,)),
        ({"strays": ("a.mp4: lies outside",)}, None, (Trouble.STRAY,)),
        ({"refused_flights": (REFUSED,)}, None, (Trouble.FLIGHT_REFUSED,)),
        ({"missed_missions": ("river",)}, None, (Trouble.FLIGHT_MISSED,)),
        ({"gaps": (GAP,)}, None, (Trouble.GAPS,)),
        (
            {"gaps": (GAP,), "view": (ViewProblem.BLACK,), "last_received_at": ago(90)},
            60.0,
            (Trouble.SILENT, Trouble.VIEW, Trouble.GAPS),
        ),
    ],
)
def test_what_is_wrong_with_a_feed_the_gravest_first(
    known: dict[str, Any], silent_after_s: float | None, wrong: tuple[Trouble, ...]
) -> None:
    health = FeedHealth(feed_id="gate-cam", **known)
    assert troubles(health, NOW, silent_after_s) == wrong


def test_the_lag_runs_from_taking_to_receiving() -> None:
    health = FeedHealth(feed_id="f", last_captured_at=ago(30), last_received_at=ago(10))
    assert health.lag_s == 20.0
    assert FeedHealth(feed_id="f").lag_s is None
    assert FeedHealth(feed_id="f", gaps=(GAP, GAP)).gap_s == 20.0


def grown(*latest: int, ever: int = 0) -> FeedHealth:
    """A feed whose last days brought so many bytes."""
    by_day = (0,) * (DAYS_SHOWN - len(latest)) + latest
    return FeedHealth(feed_id="f", stored_bytes_by_day=by_day, stored_bytes_ever=ever)


def test_the_store_fills_at_the_rate_of_the_last_week_over_all_feeds() -> None:
    feeds = [grown(900, 70, 0, 70, 70, 70, 70, 70, ever=5000), grown(70, ever=100)]
    outlook = storage_outlook(feeds, free=700)
    assert outlook.by_day == (*(0,) * 6, 900, 70, 0, 70, 70, 70, 70, 140)
    assert (outlook.stored, outlook.per_day, outlook.days_left) == (5100, 70, 10.0)


@pytest.mark.parametrize(
    ("feeds", "free", "per_day", "days_left"),
    [
        ([grown(30, 10)], 200, 20, 10.0),  # no day before the first counts
        ([grown(30, 0, 0)], 200, 10, 20.0),
        ([grown(40)], None, 40, None),
        ([grown()], 200, 0, None),
        ([], 200, 0, None),
        ([grown(40)], 0, 40, 0.0),
    ],
)
def test_how_long_the_store_lasts_is_told_where_it_is_known(
    feeds: list[FeedHealth], free: int | None, per_day: int, days_left: float | None
) -> None:
    outlook = storage_outlook(feeds, free)
    assert (outlook.per_day, outlook.days_left) == (per_day, days_left)
