"""The acts as pure functions: who may do what, when, and what it makes of a case."""

from datetime import UTC, datetime, timedelta

import pytest

from enforcement.cases import TRANSITIONS, Case, CaseState, Confirmation, ConfirmVerdict
from enforcement.errors import GateRefusal, NotPermitted, StaleVersion
from enforcement.lifecycle import (
    LEASE,
    TriageReason,
    TriageVerdict,
    by_pipeline,
    claim,
    confirm,
    recall,
    release,
    revise_facts,
    triage,
)
from enforcement.people import Account, Role
from tests.gate.house import ALL_FOUR, person
from tests.gate.test_lifecycle_machine import facts_of

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DIGEST = "a" * 64
ANA, SUE = person("ana", Role.ANALYST), person("sue", Role.SUPERVISOR)
OLGA, OTTO = person("olga", Role.OFFICER), person("otto", Role.OFFICER)


def case(state: CaseState, **changes: object) -> Case:
    fields = {"lead_id": "lead", "state": state, "version": 3, "evidence_digest": DIGEST}
    return Case.model_validate(fields | {"triaged_by": "person-ana"} | changes)


def said(by: Account, verdict: ConfirmVerdict = ConfirmVerdict.CONFIRM) -> Confirmation:
    assert by.certificate_no is not None
    return Confirmation(
        confirmation_id=f"by-{by.username}",
        lead_id="lead",
        evidence_digest=DIGEST,
        account_id=by.account_id,
        person_id=by.person_id,
        certificate_no=by.certificate_no,
        certificate_valid_from=datetime(2025, 1, 1, tzinfo=UTC),
        certificate_valid_until=datetime(2035, 1, 1, tzinfo=UTC),
        verdict=verdict,
        reason="",
        attestations=ALL_FOUR,
        decided_at=NOW,
    )


def judged(
    state: CaseState,
    by: Account,
    *earlier: Confirmation,
    required: int = 2,
    verdict: ConfirmVerdict = ConfirmVerdict.CONFIRM,
) -> CaseState:
    facts = facts_of(1, "dumping", required)
    step = confirm(case(state), facts, by, said(by, verdict), earlier, False, NOW)
    return step.case.state


@pytest.mark.parametrize(
    ("required", "state", "earlier", "after"),
    [
        (1, CaseState.CANDIDATE, (), CaseState.CONFIRMED),
        (2, CaseState.CANDIDATE, (), CaseState.FIRST_CONFIRMED),
        (2, CaseState.FIRST_CONFIRMED, (said(OLGA),), CaseState.CONFIRMED),
        (3, CaseState.FIRST_CONFIRMED, (said(OLGA),), CaseState.FIRST_CONFIRMED),
    ],
)
def test_a_case_is_confirmed_by_exactly_as_many_people_as_required(
    required: int, state: CaseState, earlier: tuple[Confirmation, ...], after: CaseState
) -> None:
    assert judged(state, OTTO, *earlier, required=required) is after


def test_a_person_decides_once_on_the_same_evidence() -> None:
    with pytest.raises(NotPermitted, match="already decided"):
        judged(CaseState.FIRST_CONFIRMED, OLGA, said(OLGA))


def test_a_first_no_ends_a_case_and_a_later_one_disputes_it() -> None:
    reject = ConfirmVerdict.REJECT
    assert judged(CaseState.CANDIDATE, OTTO, verdict=reject) is CaseState.NOT_CONFIRMED
    disputed = judged(CaseState.FIRST_CONFIRMED, OTTO, said(OLGA), verdict=reject)
    assert disputed is CaseState.DISPUTED


@pytest.mark.parametrize(
    "state", sorted(set(CaseState) - {"candidate", "first_confirmed", "disputed"})
)
def test_only_a_case_that_waits_for_it_can_be_confirmed(state: CaseState) -> None:
    with pytest.raises(StaleVersion):
        judged(state, OTTO)


@pytest.mark.parametrize(
    ("after", "refused"), [(LEASE, False), (LEASE - timedelta(seconds=1), True)]
)
def test_a_lease_ends_after_exactly_its_length(after: timedelta, refused: bool) -> None:
    held = claim(case(CaseState.LEAD, triaged_by=None), ANA, NOW).case
    abe = person("abe", Role.ANALYST)
    if refused:
        with pytest.raises(StaleVersion, match="somebody else"):
            claim(held, abe, NOW + after)
    else:
        assert claim(held, abe, NOW + after).case.claimed_by == abe.account_id
        with pytest.raises(StaleVersion, match="ran out"):
            release(held, ANA, NOW + after)


@pytest.mark.parametrize("verdict", TriageVerdict)
@pytest.mark.parametrize("reason", TriageReason)
def test_a_reason_must_go_with_its_verdict(verdict: TriageVerdict, reason: TriageReason) -> None:
    held = claim(case(CaseState.LEAD, triaged_by=None), ANA, NOW).case
    if (verdict == "violation") != (reason == "as_described"):
        with pytest.raises(GateRefusal, match="does not go with"):
            triage(held, ANA, verdict, reason, "", NOW)
        return
    after = triage(held, ANA, verdict, reason, "", NOW).case
    assert after.state is (
        CaseState.CANDIDATE if verdict == "violation" else CaseState.SCREENED_OUT
    )
    assert after.triaged_by == ("person-ana" if verdict == "violation" else None)


@pytest.mark.parametrize("state", CaseState)
def test_a_program_moves_no_case_that_people_have_not_decided(state: CaseState) -> None:
    allowed = {
        CaseState.DISPATCHED: {CaseState.CONFIRMED},
        CaseState.ACKNOWLEDGED: {CaseState.DISPATCHED},
    }
    for start in CaseState:
        if start in allowed.get(state, set()):
            assert by_pipeline(case(start), state, "x", "step", NOW).case.state is state
        else:
            with pytest.raises(GateRefusal):
                by_pipeline(case(start), state, "x", "step", NOW)


@pytest.mark.parametrize("who", [ANA, OLGA])
def test_only_supervisors_recall_and_revise(who: Account) -> None:
    with pytest.raises(NotPermitted):
        recall(case(CaseState.DISPATCHED), who, "a reason", NOW)
    with pytest.raises(NotPermitted):
        revise_facts(case(CaseState.CONFIRMED), who, "b" * 64, NOW)


def test_a_recall_needs_a_reason() -> None:
    with pytest.raises(GateRefusal, match="reason"):
        recall(case(CaseState.DISPATCHED), SUE, "  ", NOW)


def test_every_step_counts_one_version_and_writes_one_event() -> None:
    step = recall(case(CaseState.ACKNOWLEDGED), SUE, "wrong van", NOW)
    assert (step.case.version, step.event.version) == (4, 4)
    assert (step.event.from_state, step.event.to_state) == ("acknowledged", "recalled")
    assert step.event.detail == {"reason": "wrong van"}


def test_no_way_leads_to_dispatch_but_through_confirmed() -> None:
    before = {start for start, targets in TRANSITIONS.items() if CaseState.DISPATCHED in targets}
    assert before == {CaseState.CONFIRMED}
