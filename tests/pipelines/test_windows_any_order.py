"""A month of windows gives the same leads, in whatever order they are evaluated and data come."""

import itertools
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from enforcement.episodes import Window
from enforcement.sensing import evaluate
from feeds.messages import Message
from pipelines import windows
from pipelines.sensing import FeedReadings, window_of
from storage.seaweed import SeaweedServer
from tests.gate.conftest import postgresql_roles
from tests.pipelines.sensor_site import NIGHT, SensorSite, message, migrated, sensor_site

pytestmark = pytest.mark.timeout(300)

MONTH, HOUR, STEP = timedelta(days=30), timedelta(hours=1), timedelta(minutes=10)
LATENESS_S = 600.0

Month = list[tuple[int, list[tuple[int, int]]]]


def _without_waiting_for_the_disk(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture(params=["sqlite", "postgresql"])
def site(
    request: pytest.FixtureRequest,
    s3_server: SeaweedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[SensorSite]:
    if request.param == "sqlite":
        urls = [f"sqlite:///{tmp_path / 'records.sqlite'}"] * 3
    else:
        urls = postgresql_roles(request.getfixturevalue("postgresql_url"))
    site = sensor_site(tmp_path, migrated(urls), s3_server, monkeypatch)
    if site.wiring.database.is_sqlite:  # nothing here is about what a power cut leaves
        sa.event.listen(site.wiring.database.engine, "connect", _without_waiting_for_the_disk)
    yield site
    site.wiring.database.close()


runs = st.lists(
    st.tuples(st.sampled_from((50, 62, 75, 0)), st.integers(1, 9)), min_size=2, max_size=6
)
"""Levels, and how many readings in a row have them; 0: no reading."""

months = st.lists(st.tuples(st.integers(0, 30 * 24 * 6 - 54), runs), min_size=4, max_size=6)
"""Stretches of time with readings: from which ten minutes of the month on."""


def month(stretches: Month, chance: random.Random) -> list[Message]:
    """The messages of a month, each received within the lateness that is allowed."""
    levels: dict[int, int] = {}
    for first, levelled in stretches:
        values = [level for level, length in levelled for _ in range(length)]
        levels |= {first + number: level for number, level in enumerate(values) if level}
    return [
        message(
            NIGHT + STEP * number, level,
            flag="C" if chance.random() < 0.1 else "N",
            received_s=chance.choice((1.0, 30.0, LATENESS_S - 5)),
        )
        for number, level in sorted(levels.items())
    ]  # fmt: skip


def by_hour(messages: list[Message]) -> list[list[Message]]:
    ordered = sorted(messages, key=lambda one: one.received_at)
    groups = itertools.groupby(ordered, key=lambda one: window_of(one.received_at))
    return [list(group) for _, group in groups]


def in_order(site: SensorSite, feed_id: str, messages: list[Message]) -> None:
    """As it goes by itself: what has come is read, and what is due is evaluated, every hour."""
    for batch in by_hour(messages):
        start = window_of(batch[0].received_at)
        site.sweep(start)
        site.now = start + HOUR
        site.deliver(batch, feed_id)
    site.sweep(NIGHT + MONTH + timedelta(days=1))


def in_any_order(
    site: SensorSite, feed_id: str, messages: list[Message], chance: random.Random
) -> None:
    """Doubled, shuffled and cut elsewhere; windows in any order, and some again and again."""
    doubled = messages + chance.sample(messages, len(messages) // 3)
    chance.shuffle(doubled)
    site.now = NIGHT + MONTH + timedelta(days=1)
    cuts = sorted(chance.sample(range(len(doubled)), min(6, len(doubled) // 2)))
    for begin, end in itertools.pairwise((0, *cuts, len(doubled))):
        if doubled[begin:end]:
            site.deliver(doubled[begin:end], feed_id)
    due = [one for batch in windows.due() for one in batch if one.startswith(f"{feed_id} ")]
    again = chance.sample(due, len(due) // 4)
    for one in chance.sample(due, len(due)) + again:
        windows.evaluate_all([one])
    # What is said again much later reopens windows and changes nothing.
    if messages:
        site.deliver([chance.choice(messages)._replace(received_at=site.now)], feed_id)
    site.sweep()


numbers = itertools.count()


EXAMPLES = {"sqlite": 12, "postgresql": 4}


def test_a_month_in_any_order_with_late_and_repeated_data_gives_the_same_leads(
    site: SensorSite,
) -> None:
    @settings(
        max_examples=EXAMPLES[site.wiring.database.engine.dialect.name], deadline=None,
        derandomize=True, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(stretches=months, chance=st.randoms(use_true_random=False))
    def gives_the_same_leads(stretches: Month, chance: random.Random) -> None:
        messages = month(stretches, chance)
        first, second = (f"meter-{next(numbers)}" for _ in range(2))
        in_order(site, first, messages)
        in_any_order(site, second, messages, chance)
        assert site.alarms(first) == site.alarms(second)

    gives_the_same_leads()


def test_a_month_that_surely_has_leads_is_among_those(site: SensorSite) -> None:
    chance = random.Random(11)
    stretches = [
        (chance.randrange(30 * 24 * 6), [(62, 8), (50, 2), (75, 6), (0, 5), (75, 9)])
        for _ in range(6)
    ]
    messages = month(stretches, chance)
    in_order(site, "meter-62", messages)
    in_any_order(site, "meter-63", messages, chance)
    assert len(site.alarms("meter-62")) >= 6
    assert site.alarms("meter-62") == site.alarms("meter-63")


def test_what_comes_after_the_lateness_leaves_no_episode_without_a_lead_and_raises_none_elsewhere(
    site: SensorSite,
) -> None:
    """Then an alarm may be later than with all data at hand, since a lead is never taken back."""
    chance = random.Random(5)
    stretches = [(chance.randrange(30 * 24 * 6), [(62, 9), (50, 3), (75, 9)]) for _ in range(5)]
    messages = month(stretches, chance)
    held_back = chance.sample(messages, len(messages) // 4)
    site.now = NIGHT + MONTH + timedelta(days=1)
    site.deliver([one for one in messages if one not in held_back], "meter-60")
    site.sweep()
    late = [one._replace(received_at=one.received_at + timedelta(days=3)) for one in held_back]
    for batch in (late[::2], late[1::2]):
        site.deliver(batch, "meter-60")
        site.sweep()
    alarms = [lead.alarm_at for lead, _ in site.queue("meter-60")]
    episodes = whole_month(site, "meter-60")
    within = [[alarm for alarm in alarms if begin <= alarm <= end] for begin, end in episodes]
    assert len(episodes) >= 5
    assert all(within)
    assert sum(map(len, within)) == len(alarms)


def whole_month(site: SensorSite, feed_id: str) -> list[tuple[datetime, datetime]]:
    """Alarm and end of each episode, by one look at everything."""
    catalog = site.wiring.catalog
    [params] = [rule.sensor_params for rule in catalog.current_rules if "noise" in rule.rule_id]
    assert params is not None
    span = Window(start=NIGHT - HOUR, end=NIGHT + MONTH + timedelta(days=1))
    readings = FeedReadings(site.wiring, catalog.feed(feed_id)).between(span.start, span.end)
    [meter] = catalog.devices
    found = evaluate(params, readings, meter.calibration_intervals, span, "Asia/Shanghai")
    return [(one.alarm_at, one.last_at) for one in found.findings]
