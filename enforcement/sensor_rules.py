"""Sensor rules: the parameters of each kind, and how far back each needs readings.

Examples of limits, to be put into a catalog's rules: noise at the boundary of a construction site,
LAeq 70 dB(A) by day and 55 dB(A) from 22:00 to 06:00, at night no maximum more than 15 dB(A) above
that (GB 12523-2011; GB 12523-2025 replaces it from 2026 on); ambient noise in a residential area
(class 1), 55 and 45 dB(A) (GB 3096-2008); waste water, class I-A of GB 18918-2002: COD 50 mg/L,
ammonia nitrogen 5 mg/L, pH 6 to 9. Check the edition in force where you work.
"""

from datetime import datetime, time, timedelta
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, model_validator

from enforcement.episodes import Duration, number
from enforcement.model import Name, Record, Score
from enforcement.readings import Mean, ReadingKind, SpanSeconds, mean_of

HOUR_S = 3600


class SensorLimit(Record):
    """What values must stay within, in the canonical unit; the limit itself is allowed."""

    above: float | None = None
    """Values above this exceed it."""
    below: float | None = None
    """Values below this fall short of it."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.above is None and self.below is None:
            raise ValueError("a limit needs `above` or `below`")
        if self.above is not None and self.below is not None and self.below > self.above:
            raise ValueError("no value would be within the limit")
        return self

    def excess(self, value: float) -> float:
        """How far the value lies outside; 0 or less if it does not."""
        over = [] if self.above is None else [value - self.above]
        under = [] if self.below is None else [self.below - value]
        return max(over + under)

    def broken_by(self, value: float) -> str:
        """In words, which side of the limit the value is on."""
        if self.above is not None and value > self.above:
            return f"above {number(self.above)}"
        return f"below {number(self.below if self.below is not None else value)}"


def _is_written_out(given: object) -> object:
    # YAML reads 22:00 without quotes as the number 1320.
    if not isinstance(given, str | time):
        raise ValueError("write a time of day in quotes, such as '22:00'")
    return given


TimeOfDay = Annotated[time, BeforeValidator(_is_written_out)]


class LimitByTime(Record):
    """A limit, and perhaps another one at night, by the clock of the site."""

    limit: SensorLimit
    night: SensorLimit | None = None
    """None: ``limit`` holds at night as well."""
    night_from: TimeOfDay = time(22)
    night_until: TimeOfDay = time(6)

    def is_night(self, moment: datetime, zone: ZoneInfo) -> bool:
        clock = moment.astimezone(zone).time()
        if self.night_from <= self.night_until:
            return self.night_from <= clock < self.night_until
        return clock >= self.night_from or clock < self.night_until

    def limit_at(
        self, since: datetime, until: datetime, value: float, zone: ZoneInfo
    ) -> SensorLimit:
        """The limit in force; of two within a value's span, the one that it exceeds less."""
        if self.night is None:
            return self.limit
        last = max(since, until - timedelta(microseconds=1))
        limits = [
            self.night if self.is_night(moment, zone) else self.limit for moment in (since, last)
        ]
        return min(limits, key=lambda limit: limit.excess(value))

    def held_words(self, limit: SensorLimit, zone: ZoneInfo) -> tuple[str, ...]:
        """Which limit held, where day and night have their own."""
        if self.night is None:
            return ()
        night = limit is self.night
        begins, ends = (self.night_from, self.night_until)
        if not night:
            begins, ends = ends, begins
        part = "night" if night else "day"
        return (f"limit of the {part}, {begins:%H:%M} to {ends:%H:%M} local time ({zone.key})",)


class CountOf(Record):
    """So many of the latest readings, the present one among them."""

    by: Literal["count"] = "count"
    exceeding: Annotated[int, Field(ge=1, le=10000)] = 1
    of: Annotated[int, Field(ge=1, le=10000)] = 1

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.exceeding > self.of:
            raise ValueError("`exceeding` can't be more than `of`")
        return self


class Lasting(Record):
    """For so long, from one exceeding reading to the present one."""

    by: Literal["time"] = "time"
    for_s: Duration
    share_min: Score = 1.0
    """So large a share of the readings in that time must exceed."""


class SensorThreshold(LimitByTime):
    """Readings lie beyond a limit, and persistently so."""

    kind: Literal["sensor_threshold"] = "sensor_threshold"
    quantity: Name
    reading_kind: ReadingKind = ReadingKind.INSTANTANEOUS
    span_s: SpanSeconds | None = None
    """None: any."""
    persistence: Annotated[CountOf | Lasting, Field(discriminator="by")] = CountOf()
    gap_max_s: Duration = 600.0
    """Readings further apart than this do not add up."""
    calm_s: Duration = 1800.0
    """After so long a time without, it is another episode."""

    @model_validator(mode="after")
    def _calm_outlasts_gaps(self) -> Self:
        if self.calm_s < self.gap_max_s:
            raise ValueError("calm_s must be at least gap_max_s")
        return self


class SensorRateOfChange(Record):
    """A value rises or falls by much within a short time."""

    kind: Literal["sensor_rate_of_change"] = "sensor_rate_of_change"
    quantity: Name
    reading_kind: ReadingKind = ReadingKind.INSTANTANEOUS
    span_s: SpanSeconds | None = None
    rise: Annotated[float, Field(gt=0)] | None = None
    """By at least so much, in the canonical unit."""
    fall: Annotated[float, Field(gt=0)] | None = None
    within_s: Annotated[float, Field(gt=0, le=86400)] = 600.0
    gap_max_s: Duration = 600.0
    calm_s: Duration = 1800.0

    @model_validator(mode="after")
    def _looks_for_something(self) -> Self:
        if self.rise is None and self.fall is None:
            raise ValueError("give `rise` or `fall`")
        return self


class SensorHourlyMean(LimitByTime):
    """Means over the hours of the site's clock lie beyond a limit.

    An hour is cut into slots of ``every_s``; the mean is that of the slots' means, so that bursts
    weigh no more than pauses. Levels in dB are averaged by energy. An hour with too few slots has
    no mean and breaks a row of hours.
    """

    kind: Literal["sensor_hourly_mean"] = "sensor_hourly_mean"
    quantity: Name
    reading_kind: ReadingKind = ReadingKind.INSTANTANEOUS
    span_s: SpanSeconds | None = None
    every_s: Annotated[int, Field(ge=1, le=3600)] = 60
    """How often the device measures; an hour must be a multiple of it."""
    valid_share_min: Annotated[float, Field(gt=0, le=1)] = 0.75
    """So large a share of the slots must be filled (GB 3095-2012: 45 minutes of an hour)."""
    hours_min: Annotated[int, Field(ge=1, le=72)] = 1
    """So many hours in a row must exceed."""
    calm_s: Duration = 3600.0

    @model_validator(mode="after")
    def _has_hours(self) -> Self:
        if HOUR_S % self.every_s:
            raise ValueError("every_s must divide an hour")
        if mean_of(self.quantity) is Mean.NONE:
            raise ValueError(f"{self.quantity} has no mean")
        if self.night_from.minute or self.night_until.minute:
            raise ValueError("for hourly means, the night must begin and end on the hour")
        return self


class SensorStuck(Record):
    """A sensor says the same value over and over. A finding about the sensor, never a case."""

    kind: Literal["sensor_stuck"] = "sensor_stuck"
    quantity: Name
    reading_kind: ReadingKind = ReadingKind.INSTANTANEOUS
    span_s: SpanSeconds | None = None
    for_s: Duration = 3600.0
    """So long."""
    readings_min: Annotated[int, Field(ge=2, le=10000)] = 10
    """In so many readings at least."""
    gap_max_s: Duration = 600.0
    apart_from: tuple[float, ...] = ()
    """Values at which the quantity may well stay, such as 0 for rain."""


class SensorMissing(Record):
    """A sensor says nothing. A finding about the sensor, never a case."""

    kind: Literal["sensor_missing"] = "sensor_missing"
    quantity: Name
    silent_s: Annotated[float, Field(gt=0, le=7 * 86400)] = 3600.0


SensorParams = Annotated[
    SensorThreshold | SensorRateOfChange | SensorHourlyMean | SensorStuck | SensorMissing,
    Field(discriminator="kind"),
]


def is_of_health(params: SensorParams) -> bool:
    """Whether its findings are about the sensor itself, and never open a case."""
    return isinstance(params, SensorStuck | SensorMissing)


def calm_s(params: SensorParams) -> float:
    """After so long a time without, in seconds, it is another episode."""
    match params:
        case SensorStuck():
            return params.gap_max_s
        case SensorMissing():
            return 0.0
        case _:
            return params.calm_s


def lookback_s(params: SensorParams) -> float:
    """From how long before a window the rule needs readings, in seconds."""
    match params:
        case SensorThreshold():
            persistence = params.persistence
            if isinstance(persistence, CountOf):
                needed_s = (persistence.of - 1) * params.gap_max_s
            else:
                needed_s = persistence.for_s + params.gap_max_s
        case SensorRateOfChange():
            needed_s = params.within_s
        case SensorHourlyMean():
            needed_s = params.hours_min * HOUR_S
        case SensorStuck():
            needed_s = params.for_s + params.gap_max_s
        case SensorMissing():
            needed_s = params.silent_s
    return needed_s + calm_s(params)
