"""What is wrong with a feed, and when it is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from enforcement.feed_health import (
    CollectorReport,
    FeedGap,
    FeedHealth,
    SensorTrouble,
    Trouble,
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
