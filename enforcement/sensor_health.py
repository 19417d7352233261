"""What is wrong with a sensor itself: it says the same over and over, or nothing at all."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial

from enforcement.episodes import (
    Moment,
    Opening,
    SensorFinding,
    Window,
    in_order,
    moment_text,
    number,
    titled,
    unbroken_from,
)
from enforcement.model import Name
from enforcement.readings import Reading, ReadingStatus
from enforcement.sensor_rules import SensorMissing, SensorStuck


def stuck(params: SensorStuck, series: Sequence[Reading]) -> Iterator[Moment]:
    """When a sensor has been saying the same for long enough, by the readings of one series."""
    readings = [one for one in series if one.status is ReadingStatus.NORMAL]
    starts = unbroken_from(readings, params.gap_max_s)
    times = [one.at for one in readings]
    run = 0
    for i, one in enumerate(readings):
        if i and one.value != readings[i - 1].value:
            run = i
        first = bisect_right(times, one.at - timedelta(seconds=params.for_s)) - 1
        if (
            first >= max(run, starts[i])
            and i + 1 - first >= params.readings_min
            and one.value not in params.apart_from
        ):
            opening = partial(_stayed, readings[first], one, i + 1 - first)
            yield Moment(one.at, opening, matter=one.value)


def _stayed(first: Reading, last: Reading, count: int) -> Opening:
    reasons = (
        f"{titled(last.quantity)} stays at {number(last.value, last.unit)} in {count} readings "
        f"from {moment_text(first.at)} to {moment_text(last.at)}",
    )
    return Opening(first.at, (), reasons)


def missing(
    params: SensorMissing, readings: Sequence[Reading], devices: Iterable[Name], window: Window
) -> tuple[SensorFinding, ...]:
    """The silences that the window shows, from the readings since ``silent_s`` before it."""
    found: list[SensorFinding] = []
    for device_id in sorted(set(devices)):
        times = [one.at for one in readings if one.device_id == device_id]
        found += _silences(params, device_id, times, window)
    return in_order(found)


def _silences(
    params: SensorMissing, device_id: Name, times: Sequence[datetime], window: Window
) -> Iterator[SensorFinding]:
    """``times``: of all readings from ``silent_s`` before the window on, in order."""
    silent = timedelta(seconds=params.silent_s)
    inside = times[bisect_left(times, window.start) :]
    if len(inside) == len(times):
        until = inside[0] if inside else None
        yield _silence(params, device_id, None, until, window)
    for index, since in enumerate(times):
        until = times[index + 1] if index + 1 < len(times) else None
        alarm_at = since + silent
        if alarm_at < (until or window.end):
            yield _silence(params, device_id, since, until, window)


def _silence(
    params: SensorMissing,
    device_id: Name,
    since: datetime | None,
    until: datetime | None,
    window: Window,
) -> SensorFinding:
    """A silence; since before the lookback if ``since`` is None."""
    reason = f"no reading of {titled(params.quantity)}"
    alarm_at = window.start if since is None else since + timedelta(seconds=params.silent_s)
    return SensorFinding(
        device_id=device_id,
        quantity=params.quantity,
        continues=since is None,
        onset_at=window.start if since is None else since,
        alarm_at=alarm_at,
        last_at=until or window.end,
        end_at=until,
        reasons=() if since is None else (f"{reason} since {moment_text(since)}",),
    )
