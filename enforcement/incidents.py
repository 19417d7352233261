"""One incident, one undecided lead: whether a finding repeats what a lead already says."""

from datetime import datetime, timedelta
from math import hypot

from enforcement.cases import UNDECIDED, CaseState, Lead
from enforcement.changes import Fix, metres_apart
from enforcement.episodes import SensorFinding
from enforcement.geometry import Box, intersection, iou
from enforcement.occupancy import SAME_VEHICLE
from enforcement.rules import Rule, RuleKind
from enforcement.sensor_rules import calm_s

NEARBY = 0.25
"""Boxes are grown by a quarter of their size on each side before they are compared: the same bag
seen from another frame rate or by another model version is never outlined exactly alike."""

_NONE = timedelta(0)


def is_known(rule: Rule, alarm_at: datetime, box: Box, lead: Lead, state: CaseState) -> bool:
    """Whether a lead of the same rule, feed and zone covers this finding.

    Alarms closer in time than the rule's ``same_incident_s`` at overlapping places are one
    incident. After a rejection, the place stays quiet for ``quiet_after_rejection_s``.
    """
    if not _same_place(rule, box, lead.box):
        return False
    apart = alarm_at - lead.alarm_at
    if abs(apart) <= timedelta(seconds=rule.same_incident_s):
        return True
    rejected = state in {CaseState.SCREENED_OUT, CaseState.NOT_CONFIRMED}
    quiet = timedelta(seconds=rule.quiet_after_rejection_s)
    return rejected and timedelta(0) <= apart <= quiet


def reach(rule: Rule) -> timedelta:
    """How far in time a lead can lie from a finding and still cover it."""
    return timedelta(seconds=max(rule.same_incident_s, rule.quiet_after_rejection_s))


def _same_place(rule: Rule, a: Box, b: Box) -> bool:
    if rule.kind.is_of_whole_zone:
        return True
    # Vehicles stand close to each other, and each is an incident of its own.
    if rule.kind is RuleKind.STOPPED_VEHICLE:
        return iou(a, b) > SAME_VEHICLE
    return intersection(a.grown(NEARBY), b.grown(NEARBY)) > 0


def is_known_episode(
    rule: Rule, finding: SensorFinding, earlier: SensorFinding, state: CaseState
) -> bool:
    """Whether a lead of the same rule, zone and series rests on the same episode of readings.

    Two episodes that one look tells apart are never taken for one here, so that what is raised
    does not depend on the order in which windows are looked at. Late readings may move an alarm;
    then one of the alarms lies in the other's episode.
    """
    params = rule.sensor_params
    if params is None:
        return False
    calm = timedelta(seconds=calm_s(params))
    if earlier.alarm_at > finding.alarm_at:
        return earlier.alarm_at <= finding.last_at + (calm if finding.end_at is None else _NONE)
    if finding.alarm_at <= earlier.last_at + calm:
        return True
    apart = finding.alarm_at - earlier.alarm_at
    rejected = state in {CaseState.SCREENED_OUT, CaseState.NOT_CONFIRMED}
    return rejected and apart <= timedelta(seconds=rule.quiet_after_rejection_s)


Span = tuple[datetime, datetime]
"""When something came to be where it is: after the first moment, at the second at the latest."""


def is_known_on_ground(
    rule: Rule, fix: Fix, span: Span, other: Fix, other_span: Span, state: CaseState
) -> bool:
    """Whether a lead of the same rule and mission is about the same thing on the ground.

    It is if it may lie at the same place, and came there in the same span of time or is still
    undecided. After a rejection, the place stays quiet for ``quiet_after_rejection_s``.
    """
    if metres_apart(fix[0], other[0]) > hypot(fix[1], other[1]):
        return False
    if span[0] < other_span[1] and other_span[0] < span[1]:
        return True
    if state in UNDECIDED:
        return True
    rejected = state in {CaseState.SCREENED_OUT, CaseState.NOT_CONFIRMED}
    quiet = timedelta(seconds=rule.quiet_after_rejection_s)
    return rejected and timedelta(0) <= span[1] - other_span[1] <= quiet
