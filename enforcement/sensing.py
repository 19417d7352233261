"""The pure check of sensor readings against sensor rules.

Only readings that may open a case are held against a limit; all others at most support what these
have opened. The findings of a window follow from the readings of that window and of ``lookback_s``
before it, in whatever order and however often they are given.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import accumulate
from math import fsum, log10
from zoneinfo import ZoneInfo

from enforcement.episodes import (
    Evaluation,
    Moment,
    Opening,
    Peak,
    SensorFinding,
    Window,
    episodes,
    in_order,
    moment_text,
    number,
    titled,
    unbroken_from,
)
from enforcement.episodes import joined as episodes_joined
from enforcement.model import Name
from enforcement.readings import (
    CalibrationInterval,
    Mean,
    Reading,
    may_open,
    mean_of,
)
from enforcement.sensor_health import missing, stuck
from enforcement.sensor_rules import (
    HOUR_S,
    CountOf,
    Lasting,
    SensorHourlyMean,
    SensorLimit,
    SensorMissing,
    SensorParams,
    SensorRateOfChange,
    SensorStuck,
    SensorThreshold,
    calm_s,
    lookback_s,
)


def evaluate(
    params: SensorParams,
    readings: Iterable[Reading],
    calibrations: Iterable[CalibrationInterval],
    window: Window,
    zone: str,
    devices: Iterable[Name] = (),
) -> Evaluation:
    """All episodes that the window shows.

    ``readings`` reach from ``lookback_s`` before the window to its end; others do no harm. ``zone``
    is the IANA name of the site's time zone. ``devices`` are those that should report: a missing
    sensor is looked for among them only. Of several readings of one series and moment, the same
    one is taken whatever their order: feeds leave only the one received first.
    """
    first = window.start - timedelta(seconds=lookback_s(params))
    within = _distinct(
        one for one in readings if one.quantity == params.quantity and first <= one.at < window.end
    )
    if isinstance(params, SensorMissing):
        return Evaluation(window=window, findings=missing(params, within, devices, window))
    known = tuple(calibrations)
    found: list[SensorFinding] = []
    for series in _by_series(params, within):
        mine = [one for one in known if one.device_id == series[0].device_id]
        opening = [one for one in series if may_open(one, mine)]
        others = [one for one in series if not may_open(one, mine)]
        moments, supports = _look(params, series, opening, others, ZoneInfo(zone))
        found += episodes(moments, supports, series[0], window, calm_s(params))
    return Evaluation(window=window, findings=in_order(found))


def joined(params: SensorParams, earlier: Evaluation, later: Evaluation) -> Evaluation:
    """What one look at two windows that adjoin would have found. Raises ValueError else."""
    return episodes_joined(earlier, later, calm_s(params))


def _look(
    params: SensorThreshold | SensorRateOfChange | SensorHourlyMean | SensorStuck,
    series: Sequence[Reading],
    opening: Sequence[Reading],
    others: Sequence[Reading],
    zone: ZoneInfo,
) -> tuple[Iterable[Moment], Sequence[Reading]]:
    """When the condition holds in a series, and the readings that support it."""
    match params:
        case SensorStuck():
            return stuck(params, series), ()
        case SensorRateOfChange():
            return _changes(params, opening), others
        case SensorThreshold():
            held = [_held(params, one, zone) for one in opening]
            supports = [one for one in others if _held(params, one, zone).excess > 0]
            return _beyond(params, held, zone), supports
        case SensorHourlyMean():
            supports = [one for one in others if _held(params, one, zone).excess > 0]
            return _hours_beyond(params, opening, zone), supports


def _distinct(readings: Iterable[Reading]) -> list[Reading]:
    """In the order of time, one for each series and moment."""
    one_each: dict[tuple[tuple[str, str, str, float], datetime], Reading] = {}
    for one in sorted(readings, key=lambda one: (one.at, one.series, one.value, one.status)):
        one_each.setdefault((one.series, one.at), one)
    return list(one_each.values())


def _by_series(params: SensorParams, readings: Iterable[Reading]) -> list[list[Reading]]:
    """Readings of the wanted kind, those that can be compared together."""
    found: dict[tuple[str, str, str, float], list[Reading]] = {}
    for one in readings:
        if isinstance(params, SensorMissing) or (
            one.kind is params.reading_kind and params.span_s in {None, one.span_s}
        ):
            found.setdefault(one.series, []).append(one)
    return list(found.values())


# Beyond a limit


@dataclass(frozen=True)
class _Held:
    """A reading, held against the limit in force."""

    reading: Reading
    limit: SensorLimit

    @property
    def excess(self) -> float:
        return self.limit.excess(self.reading.value)


def _held(params: SensorThreshold | SensorHourlyMean, reading: Reading, zone: ZoneInfo) -> _Held:
    limit = params.limit_at(reading.since, reading.at, reading.value, zone)
    return _Held(reading, limit)


def _beyond(params: SensorThreshold, held: Sequence[_Held], zone: ZoneInfo) -> Iterator[Moment]:
    starts = unbroken_from([one.reading for one in held], params.gap_max_s)
    exceeding = [one.excess > 0 for one in held]
    counts = list(accumulate(exceeding, initial=0))
    times = [one.reading.at for one in held]
    for i, one in enumerate(held):
        if not exceeding[i]:
            continue
        match params.persistence:
            case CountOf() as count:
                first = max(starts[i], i - count.of + 1)
                holds = counts[i + 1] - counts[first] >= count.exceeding
                find: Callable[[], int] = partial(int, first)
            case Lasting() as lasting:
                first = bisect_right(times, times[i] - timedelta(seconds=lasting.for_s)) - 1
                share = (counts[i + 1] - counts[first]) / (i + 1 - first) if first >= 0 else 0.0
                holds = first >= starts[i] and exceeding[first] and share >= lasting.share_min
                find = partial(_run_start, params, lasting, held, first, i)
        if holds:
            peak = Peak(excess=one.excess, value=one.reading.value, at=one.reading.at)
            yield Moment(one.reading.at, partial(_opened, params, held, find, i, zone), peak)


def _run_start(
    params: SensorThreshold, lasting: Lasting, held: Sequence[_Held], first: int, last: int
) -> int:
    """The first of the exceeding readings that lead up to ``first``, as far as the lookback."""
    reach = timedelta(seconds=lasting.for_s + params.gap_max_s)
    gap = timedelta(seconds=params.gap_max_s)
    while first > 0:
        before, here = held[first - 1], held[first].reading.at
        if before.excess <= 0 or here - before.reading.at > gap:
            break
        if held[last].reading.at - before.reading.at > reach:
            break
        first -= 1
    return first


def _opened(
    params: SensorThreshold,
    held: Sequence[_Held],
    find: Callable[[], int],
    last: int,
    zone: ZoneInfo,
) -> Opening:
    first = next(i for i in range(find(), last + 1) if held[i].excess > 0)
    looked_at = held[first : last + 1]
    readings = tuple(one.reading for one in looked_at if one.excess > 0)
    alarm = held[last]
    side = alarm.limit.broken_by(alarm.reading.value)
    unit = alarm.reading.unit
    reasons = (
        f"{titled(params.quantity)} {side} {_said(unit)}in {len(readings)} of "
        f"{len(looked_at)} readings from {moment_text(readings[0].since)} to "
        f"{moment_text(alarm.reading.at)}",
        f"{number(alarm.reading.value, unit)} at {moment_text(alarm.reading.at)}",
        *params.held_words(alarm.limit, zone),
        _CALIBRATED,
    )
    return Opening(readings[0].since, readings, reasons)


_CALIBRATED = "all of these readings are calibrated and flagged normal"


def _said(unit: str) -> str:
    return "" if unit == "1" else f"{unit} "


# Means of hours


@dataclass(frozen=True)
class _Hour:
    """A full hour of the site's clock."""

    start: datetime
    readings: tuple[Reading, ...]
    share: float
    """Of its slots, how many are filled."""
    mean: float

    @property
    def end(self) -> datetime:
        return self.start + timedelta(seconds=HOUR_S)


def _hours_beyond(
    params: SensorHourlyMean, opening: Sequence[Reading], zone: ZoneInfo
) -> Iterator[Moment]:
    row: list[tuple[_Hour, SensorLimit]] = []
    for hour in _hours(params, opening, zone):
        limit = params.limit_at(hour.start, hour.end, hour.mean, zone)
        if row and row[-1][0].end != hour.start:
            row = []
        if hour.share < params.valid_share_min - 1e-9 or limit.excess(hour.mean) <= 0:
            row = []
            continue
        row = [*row, (hour, limit)][-params.hours_min :]
        if len(row) == params.hours_min:
            peak = Peak(excess=limit.excess(hour.mean), value=hour.mean, at=hour.end)
            yield Moment(hour.end, partial(_opened_by_hours, params, tuple(row), zone), peak)


def _hours(
    params: SensorHourlyMean, readings: Sequence[Reading], zone: ZoneInfo
) -> Iterator[_Hour]:
    by_hour: dict[datetime, list[Reading]] = {}
    for one in readings:
        start = _hour_of(one.since, zone)
        if one.at <= start + timedelta(seconds=HOUR_S):
            by_hour.setdefault(start, []).append(one)
    for start, within in sorted(by_hour.items()):
        slots: dict[int, list[float]] = {}
        for one in within:
            for slot in _slots(one, start, params.every_s):
                slots.setdefault(slot, []).append(one.value)
        how = mean_of(params.quantity)
        mean = _mean(how, [_mean(how, values) for _, values in sorted(slots.items())])
        yield _Hour(start, tuple(within), len(slots) * params.every_s / HOUR_S, mean)


def _hour_of(moment: datetime, zone: ZoneInfo) -> datetime:
    """The start of its hour by the clock of the zone; some zones are half an hour off."""
    local = moment.astimezone(zone)
    into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return moment - into


def _slots(reading: Reading, start: datetime, every_s: int) -> range:
    """The slots of the hour in which the reading lies; of one with a span, all that it fills."""
    slot = timedelta(seconds=every_s)
    first = (reading.since - start) // slot
    return range(first, max(first + 1, -((start - reading.at) // slot)))


def _mean(how: Mean, values: Sequence[float]) -> float:
    if how is Mean.ENERGETIC:
        mean = 10 * log10(fsum(10 ** (value / 10) for value in values) / len(values))
    else:
        mean = fsum(values) / len(values)
    # Hours that keep exactly to the limit must not exceed it by a rounding error.
    return round(mean, 6)


def _opened_by_hours(
    params: SensorHourlyMean, row: Sequence[tuple[_Hour, SensorLimit]], zone: ZoneInfo
) -> Opening:
    hour, limit = row[-1]
    readings = tuple(one for exceeding, _ in row for one in exceeding.readings)
    in_a_row = (f"the hourly mean exceeds in {len(row)} hours in a row",) if len(row) > 1 else ()
    unit = readings[-1].unit
    reasons = (
        f"hourly mean of {titled(params.quantity)} is {number(hour.mean, unit)} from "
        f"{moment_text(hour.start)} to {moment_text(hour.end)}, "
        f"{limit.broken_by(hour.mean)} {_said(unit)}".rstrip(),
        f"{hour.share:.0%} of that hour measured",
        *in_a_row,
        *params.held_words(limit, zone),
        _CALIBRATED,
    )
    return Opening(row[0][0].start, readings, reasons)


# Rate of change


def _changes(params: SensorRateOfChange, readings: Sequence[Reading]) -> Iterator[Moment]:
    starts = unbroken_from(readings, params.gap_max_s)
    lowest = _extremes(readings, starts, params.within_s, 1.0)
    highest = _extremes(readings, starts, params.within_s, -1.0)
    for one, lowest_at, highest_at in zip(readings, lowest, highest, strict=True):
        low, high = readings[lowest_at], readings[highest_at]
        rise, fall = one.value - low.value, high.value - one.value
        rises = params.rise is not None and rise >= params.rise
        falls = params.fall is not None and fall >= params.fall
        if rises or falls:
            upwards = rises and (not falls or rise >= fall)
            since, change = (low, rise) if upwards else (high, fall)
            peak = Peak(excess=change, value=one.value, at=one.at)
            yield Moment(one.at, partial(_changed, since, one, "rose" if upwards else "fell"), peak)


def _extremes(
    readings: Sequence[Reading], starts: Sequence[int], within_s: float, sign: float
) -> Iterator[int]:
    """For each reading the last index of the lowest (sign 1) or highest (−1) value so shortly
    before it, itself included."""
    within = timedelta(seconds=within_s)
    candidates: deque[int] = deque()
    for i, one in enumerate(readings):
        while candidates and sign * readings[candidates[-1]].value >= sign * one.value:
            candidates.pop()
        candidates.append(i)
        while candidates[0] < starts[i] or one.at - readings[candidates[0]].at > within:
            candidates.popleft()
        yield candidates[0]


def _changed(since: Reading, until: Reading, verb: str) -> Opening:
    change, unit = abs(until.value - since.value), until.unit
    seconds = (until.at - since.at).total_seconds()
    reasons = (
        f"{titled(until.quantity)} {verb} by {number(change, unit)} within {number(seconds)} s",
        f"from {number(since.value, unit)} at {moment_text(since.at)} to "
        f"{number(until.value, unit)} at {moment_text(until.at)}",
        _CALIBRATED,
    )
    return Opening(since.at, (since, until), reasons)
