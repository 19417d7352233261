"""How a feed is doing, and what is wrong with it: for those who keep feeds running.

Nothing here opens a case: what is wrong with a feed is a matter between us and the feed.
"""

from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum

from enforcement.footage import ViewProblem
from enforcement.model import Name, Record, Utc

DAY = timedelta(days=1)
DAYS_SHOWN = 14
"""So many days of 24 hours of a feed's growth are told; the last one ends now."""
_DAYS_OF_RATE = 7
DAYS_REFUSED = 7
"""So long a flight that was refused is told."""

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


class RefusedFlight(Record):
    """A flight of which nobody may look at anything, or not at everything, or which can't be
    compared with the one before."""

    mission_id: str
    flight_id: str
    reasons: tuple[str, ...]
    """Each once."""


class FeedHealth(Record):
    """All that is known about one feed; counts are of the last day."""

    feed_id: Name
    last_captured_at: Utc | None = None
    """By the device's clock."""
    last_received_at: Utc | None = None
    captures: int = 0
    stored_bytes: int = 0
    stored_bytes_ever: int = 0
    stored_bytes_by_day: tuple[int, ...] = (0,) * DAYS_SHOWN
    """Of the last 14 days, the earliest first."""
    waiting: int = 0
    """Captures whose way to the queue is not finished."""
    quarantined: int = 0
    gaps: tuple[FeedGap, ...] = ()
    view: tuple[ViewProblem, ...] = ()
    sensors: tuple[SensorTrouble, ...] = ()
    strays: tuple[str, ...] = ()
    """Of a drone's source: what lies there outside of any flight at present, and why."""
    refused_flights: tuple[RefusedFlight, ...] = ()
    """Of the last seven days, the last ones first."""
    missed_missions: tuple[Name, ...] = ()
    """Whose last turn is over without a flight, though they were flown before."""
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


class StorageOutlook(Record):
    """How the captures of all feeds fill the store, in bytes; evidence and what detectors saw come
    on top."""

    stored: int
    by_day: tuple[int, ...]
    """Of the last 14 days, the earliest first."""
    per_day: int
    """Mean of the last seven days, but of none before the first with a capture."""
    free: int | None = None
    """Left on the store's disk; None where nobody can tell."""
    days_left: float | None = None
    """Until it is full at that rate; None without one."""


def storage_outlook(feeds: Iterable[FeedHealth], free: int | None) -> StorageOutlook:
    """All feeds together, those that the catalog no longer has as well."""
    given = list(feeds)
    by_day = tuple(sum(one.stored_bytes_by_day[day] for one in given) for day in range(DAYS_SHOWN))
    first = next((day for day, size in enumerate(by_day) if size), DAYS_SHOWN - 1)
    recent = by_day[max(first, DAYS_SHOWN - _DAYS_OF_RATE) :]
    per_day = sum(recent) // len(recent)
    return StorageOutlook(
        stored=sum(one.stored_bytes_ever for one in given),
        by_day=by_day,
        per_day=per_day,
        free=free,
        days_left=None if free is None or not per_day else free / per_day,
    )


class Trouble(StrEnum):
    """What can be wrong with a feed, the gravest first."""

    SILENT = "silent"
    COLLECTOR_DOWN = "collector_down"
    NOT_RECORDING = "not_recording"
    VIEW = "view"
    SENSOR = "sensor"
    CLOCK = "clock"
    QUARANTINE = "quarantine"
    STRAY = "stray"
    FLIGHT_REFUSED = "flight_refused"
    FLIGHT_MISSED = "flight_missed"
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
    found += [Trouble.STRAY] if health.strays else []
    found += [Trouble.FLIGHT_REFUSED] if health.refused_flights else []
    found += [Trouble.FLIGHT_MISSED] if health.missed_missions else []
    found += [Trouble.GAPS] if health.gaps else []
    return tuple(sorted(found, key=list(Trouble).index))
