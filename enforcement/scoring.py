"""Scoring: alarms held against what is true in a clip, by the IWDD clip metric.

For each family of events a clip is judged by its *first* alarm: right from `EARLY_S` before the
onset to `LATE_S` after it. An alarm outside that window on a clip with an event counts twice, as a
false alarm and as a miss.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from math import exp
from typing import Literal, TypedDict

from pydantic import Field

from enforcement.geometry import Box
from enforcement.model import Name, Record, Score
from enforcement.rules import Finding, RuleKind
from enforcement.truth import (
    DUMPING,
    FAMILIES,
    FIRE,
    JUDGED_BY_CLIP,
    NEEDS_FIXED_VIEW,
    NEEDS_ZONE,
    NO_HELMET,
    SMOKE,
    STOPPED_VEHICLE,
    ZONE_INTRUSION,
    Event,
    Expected,
    events_of,
    families_looked_for,
)

EARLY_S, LATE_S = 5.0, 10.0
"""Window of the IWDD 2026 contest around the true onset."""

MOVING_SHARE = 0.25
"""A view that is unsteady for more of the clip than this is a moving one."""


class Alarm(Record):
    """Something that a rule raised in a clip; ``t_s`` is the moment of the alarm."""

    family: Name
    rule: Name
    t_s: float
    onset_s: float
    end_s: float | None
    box: Box
    score: Score
    reasons: tuple[str, ...]


class Verdict(StrEnum):
    """How a clip went for one family, by its first alarm."""

    TRUE_POSITIVE = "true_positive"
    TRUE_NEGATIVE = "true_negative"
    FALSE_POSITIVE = "false_positive"
    MISSED = "missed"
    OUT_OF_WINDOW = "out_of_window"
    """Raised, but too early or too late: a false alarm and a miss."""
    NOT_COVERED = "not_covered"
    """No rule looks for it."""
    NOT_COUNTED = "not_counted"
    """An event in an unsuitable view, where silence is right."""


class Judgement(Record):
    """One clip and one family."""

    family: Name
    verdict: Verdict
    positive: bool
    """Whether there is an event that counts."""
    manner: Name | None = None
    alarm_s: float | None = None
    onset_s: float | None = None
    delay_s: float | None = None
    """From the onset to a right alarm; negative if that came early."""
    localised: bool | None = None
    """Of a right alarm: its box's centre lies in the true box grown by half; None without one."""


class ScoredClip(Record):
    """A clip that was watched, with all that the figures need."""

    file: str
    duration_s: float
    difficult: bool
    expects_alarms: bool
    """Whether the index has any event for it but those of zone checks."""
    events: tuple[Event, ...]
    alarms: tuple[Alarm, ...]
    judgements: tuple[Judgement, ...]


class FamilyFigures(Record):
    """What one family comes to over all clips that count."""

    covered: bool
    """Whether any rule looks for it; if not, there is nothing to count."""
    positives: int
    """Clips with an event; also of a family that is not covered."""
    negatives: int
    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    delay_s: float | None = None
    """Mean over true positives."""
    delay_max_s: float | None = None
    localised: float | None = None
    """Share of the true positives with a true box."""
    localised_of: int = 0
    by_manner: dict[str, dict[str, float | int | None]] = Field(default_factory=dict)
    by_rule: dict[str, dict[str, int]] = Field(default_factory=dict)
    """For each rule: clips in which it raised the first alarm, rightly and wrongly."""
    false_alarms: int = 0
    """All alarms on clips without an event of this family, not only first ones."""
    negative_hours: float = 0.0
    false_alarms_per_camera_hour: float | None = None
    false_alarms_per_camera_hour_upper_95: float | None = None


class Quiet(Record):
    """False alarms on footage on which nothing must be raised."""

    false_alarms: int
    negative_hours: float
    false_alarms_per_camera_hour: float | None
    false_alarms_per_camera_hour_upper_95: float | None


def family_of(kind: RuleKind) -> str:
    """The family of events that a kind of rule looks for. Raises ValueError for rules for sensors,
    which are not scored on footage."""
    match kind:
        case RuleKind.LEFT_BEHIND | RuleKind.THROWN:
            return DUMPING
        case RuleKind.ZONE_INTRUSION:
            return ZONE_INTRUSION
        case RuleKind.STOPPED_VEHICLE:
            return STOPPED_VEHICLE
        case RuleKind.NO_HELMET:
            return NO_HELMET
        case RuleKind.OPEN_FIRE:
            return FIRE
        case RuleKind.SMOKE:
            return SMOKE
        case _:
            raise ValueError(f"{kind} is held against readings, not footage")


def alarm_of(finding: Finding, kind: RuleKind) -> Alarm:
    """A rule's finding as an evaluation sees it."""
    return Alarm(
        family=family_of(kind),
        rule=finding.rule_id,
        t_s=finding.alarm_at_s,
        onset_s=finding.onset_s,
        end_s=finding.end_s,
        box=finding.box,
        score=finding.score,
        reasons=finding.reasons,
    )


def is_moving(unsteady_s: Iterable[tuple[float, float]], duration_s: float) -> bool:
    """Whether the view was unsteady for too much of the clip."""
    return sum(end_s - start_s for start_s, end_s in unsteady_s) > MOVING_SHARE * duration_s


def score_clip(
    file: str,
    expected: Expected,
    footage: tuple[int, int, float],
    alarms: Sequence[Alarm],
    covered: frozenset[str],
) -> ScoredClip:
    """Judge a clip for every family that it says something about.

    ``footage`` is its width and height in pixels and its length in seconds; ``covered`` the
    families that rules look for.
    """
    width_px, height_px, duration_s = footage
    events = events_of(expected, width_px, height_px)
    zoned = families_looked_for(expected)
    families = [
        family
        for family in dict.fromkeys((*FAMILIES, *(event.family for event in events)))
        if family not in NEEDS_ZONE or family in zoned
    ]
    return ScoredClip(
        file=file,
        duration_s=duration_s,
        difficult=expected.difficult,
        expects_alarms=bool(expected.alarms),
        events=events,
        alarms=tuple(alarms),
        judgements=tuple(
            judge(family, events, alarms, covered=family in covered, view=expected.view)
            for family in families
        ),
    )


def judge(
    family: str,
    events: Iterable[Event],
    alarms: Iterable[Alarm],
    *,
    covered: bool = True,
    view: Literal["suitable", "unsuitable"] = "suitable",
) -> Judgement:
    """One family of one clip, by the first alarm."""
    mine = [event for event in events if event.family == family]
    first = min((a for a in alarms if a.family == family), key=lambda a: a.t_s, default=None)
    manner = mine[0].manner if mine else None
    alarm_s = None if first is None else first.t_s
    if not covered:
        verdict = Verdict.NOT_COVERED
        return Judgement(family=family, verdict=verdict, positive=bool(mine), manner=manner)
    if view == "unsuitable" and family in NEEDS_FIXED_VIEW:
        silent = Verdict.NOT_COUNTED if mine else Verdict.TRUE_NEGATIVE
        verdict = silent if first is None else Verdict.FALSE_POSITIVE
        return Judgement(
            family=family, verdict=verdict, positive=False, manner=manner, alarm_s=alarm_s
        )
    if not mine:
        verdict = Verdict.TRUE_NEGATIVE if first is None else Verdict.FALSE_POSITIVE
        return Judgement(family=family, verdict=verdict, positive=False, alarm_s=alarm_s)
    if first is None:
        return Judgement(
            family=family, verdict=Verdict.MISSED, positive=True, manner=manner,
            onset_s=mine[0].onset_s,
        )  # fmt: skip
    return _judged_by_alarm(family, mine, first)


def _judged_by_alarm(family: str, events: Sequence[Event], first: Alarm) -> Judgement:
    """A clip with events and an alarm: right if the alarm fits any of them."""
    by_clip = family in JUDGED_BY_CLIP
    fitting = [event for event in events if by_clip or _in_window(first.t_s, event)]
    event = min(fitting or events, key=lambda event: abs(first.t_s - event.onset_s))
    localised = None
    if fitting and event.box is not None:
        localised = _is_at(first.box, event.box)
    return Judgement(
        family=family,
        verdict=Verdict.TRUE_POSITIVE if fitting else Verdict.OUT_OF_WINDOW,
        positive=True,
        manner=event.manner,
        alarm_s=first.t_s,
        onset_s=event.onset_s,
        delay_s=round(first.t_s - event.onset_s, 3) if fitting else None,
        localised=localised,
    )


def family_figures(family: str, clips: Iterable[ScoredClip], *, covered: bool) -> FamilyFigures:
    """Counts and figures of one family; difficult clips are left out."""
    judged = [
        (clip, judgement)
        for clip in clips
        if not clip.difficult
        for judgement in clip.judgements
        if judgement.family == family
    ]
    positives = sum(judgement.positive for _, judgement in judged)
    negatives = len(judged) - positives
    if not covered:
        return FamilyFigures(covered=False, positives=positives, negatives=negatives)
    judgements = [judgement for _, judgement in judged]
    right = [j for j in judgements if j.verdict is Verdict.TRUE_POSITIVE]
    delays = [j.delay_s for j in right if j.delay_s is not None]
    placed = [j.localised for j in right if j.localised is not None]
    silent = [clip for clip, j in judged if not any(e.family == family for e in clip.events)]
    false = [alarm for clip in silent for alarm in clip.alarms if alarm.family == family]
    return FamilyFigures(
        covered=True,
        positives=positives,
        negatives=negatives,
        **counts(judgements),
        delay_s=_mean(delays),
        delay_max_s=max(delays, default=None),
        localised=_mean([float(one) for one in placed]),
        localised_of=len(placed),
        by_manner=_by_manner(judgements),
        by_rule=_by_rule(judged),
        **rate(len(false), sum(clip.duration_s for clip in silent) / 3600),
    )


def quiet_figures(clips: Iterable[ScoredClip]) -> Quiet:
    """False alarms of all families on the clips for which the index expects no alarm.

    There every alarm counts, not only the first; but one that a zone check explains is none.
    """
    silent = [clip for clip in clips if not clip.difficult and not clip.expects_alarms]
    false = [
        alarm for clip in silent for alarm in clip.alarms if not _is_explained(alarm, clip.events)
    ]
    return Quiet(**rate(len(false), sum(clip.duration_s for clip in silent) / 3600))


class Counts(TypedDict):
    """Clips by verdict, and the shares that follow."""

    true_positives: int
    false_positives: int
    false_negatives: int
    precision: float | None
    recall: float | None
    f1: float | None


class Rate(TypedDict):
    """False alarms and the hours of footage in which they came."""

    false_alarms: int
    negative_hours: float
    false_alarms_per_camera_hour: float | None
    false_alarms_per_camera_hour_upper_95: float | None


def counts(judgements: Iterable[Judgement]) -> Counts:
    """Precision, recall and F1; None where there is nothing to divide by."""
    verdicts = [judgement.verdict for judgement in judgements]
    late = verdicts.count(Verdict.OUT_OF_WINDOW)
    right = verdicts.count(Verdict.TRUE_POSITIVE)
    false = verdicts.count(Verdict.FALSE_POSITIVE) + late
    missed = verdicts.count(Verdict.MISSED) + late
    return Counts(
        true_positives=right,
        false_positives=false,
        false_negatives=missed,
        precision=_ratio(right, right + false),
        recall=_ratio(right, right + missed),
        f1=_ratio(2 * right, 2 * right + false + missed),
    )


def rate(false_alarms: int, hours: float) -> Rate:
    """False alarms an hour with the exact Poisson 95 % upper bound; None without footage."""
    bound = poisson_upper(false_alarms) / hours if hours > 0 else None
    return Rate(
        false_alarms=false_alarms,
        negative_hours=round(hours, 5),
        false_alarms_per_camera_hour=round(false_alarms / hours, 3) if hours > 0 else None,
        false_alarms_per_camera_hour_upper_95=None if bound is None else round(bound, 3),
    )


def poisson_upper(count: int, confidence: float = 0.95) -> float:
    """One-sided exact upper bound of a Poisson mean of which ``count`` was seen.

    The mean at which so few or fewer come with probability 1 − confidence (Garwood 1936).
    """
    low, high = float(count), 10.0 + 3.0 * count
    for _ in range(100):
        mean = (low + high) / 2
        term = total = exp(-mean)
        for number in range(1, count + 1):
            term *= mean / number
            total += term
        low, high = (mean, high) if total > 1 - confidence else (low, mean)
    return (low + high) / 2


def _in_window(t_s: float, event: Event) -> bool:
    grain_s = 1e-6  # times are rounded to milliseconds; the window's ends belong to it
    return event.onset_s - EARLY_S - grain_s <= t_s <= event.onset_s + LATE_S + grain_s


def _is_at(alarm: Box, truth: Box) -> bool:
    """Whether the alarm's centre lies in the true box grown by half its size."""
    around, centre = truth.grown(0.25), alarm.centre
    across = around.left <= centre.x <= around.right
    return across and around.top <= centre.y <= around.bottom


def _is_explained(alarm: Alarm, events: Iterable[Event]) -> bool:
    return any(
        event.family == alarm.family
        and (_in_window(alarm.t_s, event) or event.onset_s <= alarm.t_s <= (event.end_s or 0.0))
        for event in events
    )


def _by_manner(judgements: Iterable[Judgement]) -> dict[str, dict[str, float | int | None]]:
    by_manner: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        if judgement.positive and judgement.manner is not None:
            by_manner.setdefault(judgement.manner, []).append(judgement)
    figures: dict[str, dict[str, float | int | None]] = {}
    for manner, mine in sorted(by_manner.items()):
        found = [one.verdict for one in mine].count(Verdict.TRUE_POSITIVE)
        figures[manner] = {
            "positives": len(mine), "found": found, "recall": _ratio(found, len(mine)),
        }  # fmt: skip
    return figures


def _by_rule(judged: Iterable[tuple[ScoredClip, Judgement]]) -> dict[str, dict[str, int]]:
    figures: dict[str, dict[str, int]] = {}
    for clip, judgement in judged:
        mine = [alarm for alarm in clip.alarms if alarm.family == judgement.family]
        if mine:
            rule = min(mine, key=lambda alarm: alarm.t_s).rule
            right = judgement.verdict is Verdict.TRUE_POSITIVE
            tally = figures.setdefault(rule, {"right": 0, "wrong": 0})
            tally["right" if right else "wrong"] += 1
    return figures


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 3) if values else None
