"""One incident, one lead: what repeats a lead and what is new."""

from datetime import UTC, datetime, timedelta

import pytest

from enforcement.cases import CaseState, Lead
from enforcement.geometry import Box
from enforcement.incidents import is_known, reach
from enforcement.rules import Rule

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HERE = Box(0.4, 0.4, 0.5, 0.5)
FAR = Box(0.8, 0.8, 0.9, 0.9)
BESIDE = Box(0.5, 0.4, 0.6, 0.5)

PURPOSES = {
    "left_behind": "no_dumping",
    "zone_intrusion": "forbidden",
    "stopped_vehicle": "no_stopping",
    "no_helmet": "helmets_required",
    "open_fire": "no_fire",
    "smoke": "smoke_watch",
}


def rule(kind: str) -> Rule:
    words = {"en": "x", "zh": "x"}
    return Rule.model_validate(
        {
            "rule_id": "r",
            "version": 1,
            "kind": kind,
            "title": words,
            "matter": "m",
            "text": words,
            "legal_basis": words,
            "purpose": PURPOSES[kind],
            "models": ["yolo"],
            "same_incident_s": 60,
            "quiet_after_rejection_s": 600,
        }
    )


def lead(box: Box = HERE) -> Lead:
    return Lead(
        lead_id="l", rule_id="r", rule_version=1, rule_digest="0" * 64, feed_id="f", site_id="s",
        zone_id="z", capture_id="c", alarm_at=NOON, alarm_at_s=1, onset_s=1, end_s=None, score=0.5,
        box=box, reasons=("x",), raised_at=NOON,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("after_s", "known"), [(0, True), (60, True), (-60, True), (60.1, False), (-60.1, False)]
)
def test_alarms_close_in_time_at_one_place_are_one_incident(after_s: float, known: bool) -> None:
    alarm_at = NOON + timedelta(seconds=after_s)
    assert is_known(rule("left_behind"), alarm_at, HERE, lead(), CaseState.CANDIDATE) is known


@pytest.mark.parametrize(
    ("kind", "box", "known"),
    [
        ("left_behind", HERE, True),
        ("left_behind", BESIDE, True),
        ("left_behind", FAR, False),
        ("zone_intrusion", FAR, True),
        ("stopped_vehicle", HERE, True),
        ("stopped_vehicle", BESIDE, False),
        ("no_helmet", FAR, True),
        ("open_fire", FAR, True),
        ("smoke", FAR, True),
    ],
)
def test_what_one_place_means_depends_on_the_rule(kind: str, box: Box, known: bool) -> None:
    assert is_known(rule(kind), NOON, box, lead(), CaseState.LEAD) is known


@pytest.mark.parametrize(
    ("state", "after_s", "known"),
    [
        (CaseState.SCREENED_OUT, 600, True),
        (CaseState.NOT_CONFIRMED, 600, True),
        (CaseState.SCREENED_OUT, 600.1, False),
        (CaseState.SCREENED_OUT, -61, False),
        (CaseState.CONFIRMED, 600, False),
    ],
)
def test_a_rejection_keeps_its_place_quiet_for_a_while(
    state: CaseState, after_s: float, known: bool
) -> None:
    alarm_at = NOON + timedelta(seconds=after_s)
    assert is_known(rule("left_behind"), alarm_at, HERE, lead(), state) is known


def test_reach_covers_both_spans() -> None:
    assert reach(rule("left_behind")) == timedelta(seconds=600)
