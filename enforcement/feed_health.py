"""How a feed is doing, and what is wrong with it: for those who keep feeds running.

Nothing here opens a case: what is wrong with a feed is a matter between us and the feed.
"""

from datetime import timedelta
from enum import StrEnum

from enforcement.footage import ViewProblem
from enforcement.model import Name, Record, Utc

DAY = timedelta(days=1)

CLOCK_OFF_S = 2.0
"""A device clock that is off by more is told: limits by local time and places of moving things
then are, too."""
COLLECTOR_SILENT_S = 60.0
"""The collector reports every few seconds; after this it is taken to be down."""


class FeedGap(Record):
    """Nothing of a feed was kept between two moments."""

    from_at: Utc
    to_at: Utc
    reason: str

    @property
    def duration_s(self) -> float:
        return (self.to_at - self.from_at).total_seconds()


class CollectorReport(Record):
    """What the collector last said about a live feed."""

    at: Utc
    state: str
    clock_offset_s: float | None = None
    """The device's clock minus ours."""
    last_error: str | None = None


class SensorTrouble(Record):
    """A sensor that says the same over and over, or nothing."""

    device_id: Name
    quantity: Name
    kind: str
    """``sensor_stuck`` or ``sensor_missing``."""
    since: Utc
    is_over: bool


class FeedHealth(Record):
    """All that is known about one feed; counts are of the last day."""

    feed_id: Name
    last_captured_at: Utc | None = None
    """By the device's clock."""
    last_received_at: Utc | None = None
    captures: int = 0
    stored_bytes: int = 0
    stored_bytes_ever: int = 0
    waiting: int = 0
    """Captures whose way to the queue is not finished."""
    quarantined: int = 0
    gaps: tuple[FeedGap, ...] = ()
    view: tuple[ViewProblem, ...] = ()
    sensors: tuple[SensorTrouble, ...] = ()
    collector: CollectorReport | None = None
    """Only of live feeds that are, or were, collected."""

    @property
    def lag_s(self) -> float | None:
        """From when the latest footage or readings were taken to when they were received."""
        if self.last_captured_at is None or self.last_received_at is None:
            return None
        return (self.last_received_at - self.last_captured_at).total_seconds()

    @property
    def gap_s(self) -> float:
        return sum(gap.duration_s for gap in self.gaps)


class Trouble(StrEnum):
    """What can be wrong with a feed, the gravest first."""

    SILENT = "silent"
    COLLECTOR_DOWN = "collector_down"
    NOT_RECORDING = "not_recording"
    VIEW = "view"
    SENSOR = "sensor"
    CLOCK = "clock"
    QUARANTINE = "quarantine"
    GAPS = "gaps"


def troubles(health: FeedHealth, now: Utc, silent_after_s: float | None) -> tuple[Trouble, ...]:
    """What is wrong with an enabled feed at this moment.

    ``silent_after_s``: how long it may give nothing; None where it gives something now and then.
    """
    found = []
    last, collector = health.last_received_at, health.collector
    if silent_after_s is not None and (
        last is None or (now - last).total_seconds() > silent_after_s
    ):
        found.append(Trouble.SILENT)
    if collector is not None:
        if (now - collector.at).total_seconds() > COLLECTOR_SILENT_S:
            found.append(Trouble.COLLECTOR_DOWN)
        elif collector.state not in {"recording", "listening", "stopped"}:
            found.append(Trouble.NOT_RECORDING)
        if abs(collector.clock_offset_s or 0.0) > CLOCK_OFF_S:
            found.append(Trouble.CLOCK)
    found += [Trouble.VIEW] if health.view else []
    found += [Trouble.SENSOR] if any(not one.is_over for one in health.sensors) else []
    found += [Trouble.QUARANTINE] if health.quarantined else []
    found += [Trouble.GAPS] if health.gaps else []
    return tuple(sorted(found, key=list(Trouble).index))
