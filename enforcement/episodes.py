"""Episodes: stretches of time in which a sensor rule's condition holds again and again.

A rule says at which moments its condition holds, and each of them must follow from the readings
shortly before it. Moments no further apart than the rule's calm are one episode, and the first of
them is its alarm. So an alarm can be told from the readings of a window and a short time before it,
whoever looks, in whatever order the windows are looked at, and however often.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from enforcement.model import Name, Record, Utc
from enforcement.readings import QUANTITIES, Reading, ReadingKind, SpanSeconds

Duration = Annotated[float, Field(ge=0, le=7 * 86400)]
"""A parameter that is a duration of at most a week."""


class Window(Record):
    """A stretch of time, the start included and the end not."""

    start: Utc
    end: Utc

    @model_validator(mode="after")
    def _runs_forwards(self) -> Self:
        if self.start >= self.end:
            raise ValueError("a window ends after it starts")
        return self


class Peak(Record):
    """Where an episode was farthest beyond what is allowed."""

    excess: float
    """Beyond the limit in force then, or the whole change, in the unit of the quantity."""
    value: float
    at: Utc


class SensorFinding(Record):
    """One episode at one device, as far as one window shows it."""

    device_id: Name
    quantity: Name
    reading_kind: ReadingKind | None = None
    """None if it is about readings of any kind."""
    span_s: SpanSeconds = 0.0
    continues: bool
    """It goes on from before the window, which therefore does not show how it began: then nothing
    is to be raised, and onset and alarm are where the window shows it first."""
    onset_at: Utc
    """When what it is about began."""
    alarm_at: Utc
    """When the last condition became true."""
    last_at: Utc
    """The last moment in the window at which it is known to go on."""
    end_at: Utc | None
    """When it ended; None if it may still be going on."""
    opened_by: tuple[Reading, ...] = ()
    """The readings on which the alarm rests, each of which may open a case."""
    supported_by: tuple[Reading, ...] = ()
    """Readings that say the same, but may not open a case."""
    peak: Peak | None = None
    reasons: tuple[str, ...] = ()
    """Short facts, each of which the rule relied on."""

    @property
    def series(self) -> tuple[str, str, str, float]:
        return self.device_id, self.quantity, self.reading_kind or "", self.span_s


class Evaluation(Record):
    """All that a rule finds in a window."""

    window: Window
    findings: tuple[SensorFinding, ...]
    """In the order of their alarms."""


@dataclass(frozen=True)
class Opening:
    """What the first moment of an episode rests on."""

    onset_at: datetime
    opened_by: tuple[Reading, ...]
    reasons: tuple[str, ...]

    @property
    def since(self) -> datetime:
        """From when on other readings may support it."""
        return self.opened_by[0].at if self.opened_by else self.onset_at


@dataclass(frozen=True)
class Moment:
    """A moment at which the condition holds."""

    at: datetime
    opening: Callable[[], Opening]
    """Asked for only where the episode begins."""
    peak: Peak | None = None
    matter: float = 0.0
    """Moments of different matters belong to different episodes."""


def episodes(
    moments: Iterable[Moment],
    supports: Sequence[Reading],
    of: Reading,
    window: Window,
    calm_s: float,
) -> list[SensorFinding]:
    """The episodes that the window shows.

    ``moments`` are in order, and complete from ``calm_s`` before the window on; ``supports`` are
    readings that may support a case; ``of`` is any reading of the series.
    """
    calm = timedelta(seconds=calm_s)
    chains: list[list[Moment]] = []
    for moment in moments:
        if moment.at >= window.end:
            break
        last = chains[-1][-1] if chains else None
        if last and moment.at - last.at <= calm and moment.matter == last.matter:
            chains[-1].append(moment)
        else:
            chains.append([moment])
    shown = (chain for chain in chains if chain[-1].at >= window.start)
    return [_finding(chain, supports, of, window, calm) for chain in shown]


def _finding(
    chain: Sequence[Moment],
    supports: Sequence[Reading],
    of: Reading,
    window: Window,
    calm: timedelta,
) -> SensorFinding:
    before = [moment for moment in chain if moment.at < window.start]
    inside = chain[len(before) :]
    first, last = inside[0], inside[-1]
    opening = Opening(first.at, (), ()) if before else first.opening()
    since = before[-1].at if before else opening.since
    return SensorFinding(
        device_id=of.device_id,
        quantity=of.quantity,
        reading_kind=of.kind,
        span_s=of.span_s,
        continues=bool(before),
        onset_at=opening.onset_at,
        alarm_at=first.at,
        last_at=last.at,
        end_at=_ended(last.at, calm, window),
        opened_by=opening.opened_by,
        supported_by=tuple(one for one in supports if since <= one.at <= last.at),
        peak=_highest(moment.peak for moment in inside),
        reasons=opening.reasons,
    )


def joined(earlier: Evaluation, later: Evaluation, calm_s: float) -> Evaluation:
    """What one look at both windows would have found. Raises ValueError unless they adjoin."""
    if earlier.window.end != later.window.start:
        raise ValueError("the later window must start where the earlier one ends")
    window = Window(start=earlier.window.start, end=later.window.end)
    open_ends: dict[tuple[str, str, str, float], SensorFinding] = {}
    for finding in sorted(earlier.findings, key=lambda one: one.last_at):
        open_ends[finding.series] = finding
    going_on = {one.series: one for one in later.findings if one.continues}
    found: list[SensorFinding] = []
    for finding in earlier.findings:
        more = going_on.get(finding.series) if open_ends[finding.series] is finding else None
        if more is not None:
            del going_on[finding.series]
            found.append(_continued(finding, more))
        elif finding.end_at is None:
            end_at = _ended(finding.last_at, timedelta(seconds=calm_s), window)
            found.append(finding.model_copy(update={"end_at": end_at}))
        else:
            found.append(finding)
    found += [one for one in later.findings if not one.continues or one.series in going_on]
    return Evaluation(window=window, findings=in_order(found))


def in_order(findings: Iterable[SensorFinding]) -> tuple[SensorFinding, ...]:
    return tuple(sorted(findings, key=lambda one: (one.alarm_at, one.series, one.onset_at)))


def _continued(finding: SensorFinding, more: SensorFinding) -> SensorFinding:
    supports = {*finding.supported_by, *more.supported_by}
    return finding.model_copy(
        update={
            "last_at": more.last_at,
            "end_at": more.end_at,
            "supported_by": tuple(sorted(supports, key=lambda one: (one.at, one.value))),
            "peak": _highest([finding.peak, more.peak]),
        }
    )


def _ended(last_at: datetime, calm: timedelta, window: Window) -> datetime | None:
    """None as long as another moment could still belong to the episode."""
    return last_at if last_at + calm < window.end else None


def _highest(peaks: Iterable[Peak | None]) -> Peak | None:
    known = [peak for peak in peaks if peak is not None]
    return max(known, key=lambda peak: (peak.excess, -peak.at.timestamp()), default=None)


def unbroken_from(readings: Sequence[Reading], gap_max_s: float) -> list[int]:
    """For each reading, the index of the first from which on no gap was too long."""
    starts: list[int] = []
    for i, one in enumerate(readings):
        apart = i > 0 and one.at - readings[i - 1].at > timedelta(seconds=gap_max_s)
        starts.append(i if i == 0 or apart else starts[-1])
    return starts


def titled(quantity: str) -> str:
    """How reasons call a quantity."""
    known = QUANTITIES.get(quantity)
    return quantity.replace("_", " ") if known is None else known.title


def number(value: float, unit: str = "") -> str:
    """A value as reasons say it, with its unit if it has one."""
    return f"{value:.6g}" if unit in {"", "1"} else f"{value:.6g} {unit}"


def moment_text(moment: datetime) -> str:
    """A moment as reasons say it, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
