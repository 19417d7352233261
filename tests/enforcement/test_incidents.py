"""One incident, one lead: what repeats a lead and what is new."""

from datetime import UTC, datetime, timedelta

import pytest

from enforcement.cases import CaseState, Lead
from enforcement.episodes import SensorFinding
from enforcement.geometry import Box
from enforcement.incidents import is_known, is_known_episode, reach
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


NOISE = Rule.model_validate(
    {
        "rule_id": "noise", "version": 1, "kind": "sensor_threshold", "matter": "m",
        "title": {"en": "x", "zh": "x"}, "text": {"en": "x", "zh": "x"},
        "legal_basis": {"en": "x", "zh": "x"}, "purpose": "noise_limit",
        "params": {"quantity": "laeq", "limit": {"above": 70}, "calm_s": 1800},
        "quiet_after_rejection_s": 7200,
    }
)  # fmt: skip


def episode(alarm_min: float, last_min: float, *, ended: bool = True) -> SensorFinding:
    """Minutes from noon."""
    last_at = NOON + timedelta(minutes=last_min)
    return SensorFinding(
        device_id="meter", quantity="laeq", continues=False, onset_at=NOON,
        alarm_at=NOON + timedelta(minutes=alarm_min), last_at=last_at,
        end_at=last_at if ended else None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "earlier", "state", "known"),
    [
        (episode(30, 40), episode(0, 10), CaseState.LEAD, True),
        (episode(40.5, 50), episode(0, 10), CaseState.LEAD, False),
        (episode(0, 20), episode(20, 30), CaseState.DISPATCHED, True),
        (episode(0, 20), episode(20.5, 30), CaseState.LEAD, False),
        (episode(0, 20, ended=False), episode(50, 60), CaseState.LEAD, True),
        (episode(0, 20, ended=False), episode(50.5, 60), CaseState.LEAD, False),
        (episode(120, 130), episode(0, 10), CaseState.SCREENED_OUT, True),
        (episode(120, 130), episode(0, 10), CaseState.CANDIDATE, False),
        (episode(120.5, 130), episode(0, 10), CaseState.NOT_CONFIRMED, False),
    ],
)
def test_an_episode_is_known_by_a_lead_whose_alarm_lies_in_it_or_that_goes_on_to_it(
    found: SensorFinding, earlier: SensorFinding, state: CaseState, known: bool
) -> None:
    assert is_known_episode(NOISE, found, earlier, state) is known
