"""The acts that move a case, each a pure function from the case as it is to the next step.

::

    lead ─claim─▶ in_triage ─triage─▶ screened_out
                               └────▶ candidate ─confirm─▶ first_confirmed ─confirm─▶ confirmed
                                          │                     └─reject─▶ disputed ─▶ a third
                                          └─reject─▶ not_confirmed
    confirmed ─dispatch─▶ dispatched ─acknowledge─▶ acknowledged;   recall from the last three

A change of facts, or evidence that joins, moves an undispatched case back to ``candidate``: earlier
confirmations are over another digest and count no more. Time never confirms anything.
"""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum

from enforcement.cases import (
    JOINABLE,
    TRANSITIONS,
    Case,
    CaseEvent,
    CaseState,
    Confirmation,
    ConfirmVerdict,
)
from enforcement.errors import GateRefusal, NotPermitted, StaleVersion
from enforcement.evidence import CaseFacts
from enforcement.model import Record, Utc
from enforcement.people import Account, Role

LEASE = timedelta(minutes=15)
"""How long a claim keeps others from triaging the same lead."""

AWAITING_CONFIRMATION = frozenset(
    {CaseState.CANDIDATE, CaseState.FIRST_CONFIRMED, CaseState.DISPUTED}
)


class TriageVerdict(StrEnum):
    VIOLATION = "violation"
    NOT_A_VIOLATION = "not_a_violation"
    UNCLEAR = "unclear"
    OTHER_VIOLATION = "other_violation"


class TriageReason(StrEnum):
    AS_DESCRIBED = "as_described"
    LAWFUL_ACTIVITY = "lawful_activity"
    NOTHING_THERE = "nothing_there"
    WRONG_OBJECT = "wrong_object"
    NOT_IN_ZONE = "not_in_zone"
    POOR_PICTURE = "poor_picture"
    OTHER_MATTER = "other_matter"


class Step(Record):
    """What an act does to a case: its next state and the event that records it."""

    case: Case
    event: CaseEvent


def claim(case: Case, account: Account, now: Utc) -> Step:
    """Take a lead for triage, for 15 minutes; one's own claim can be renewed."""
    account.require(Role.ANALYST)
    held = case.claimed_by is not None and case.lease_until is not None and now < case.lease_until
    if held and case.claimed_by != account.account_id:
        raise StaleVersion("somebody else is looking at this lead")
    return _step(
        case,
        CaseState.IN_TRIAGE,
        "claimed",
        account,
        now,
        claimed_by=account.account_id,
        lease_until=now + LEASE,
    )


def release(case: Case, account: Account, now: Utc) -> Step:
    """Give a claimed lead back to the queue."""
    _require_lease(case, account, now)
    return _step(case, CaseState.LEAD, "released", account, now, claimed_by=None, lease_until=None)


def triage(
    case: Case,
    account: Account,
    verdict: TriageVerdict,
    reason: TriageReason,
    note: str,
    now: Utc,
) -> Step:
    """An analyst's verdict on a claimed lead. Only ``violation`` makes it a candidate case."""
    _require_lease(case, account, now)
    accepted = verdict is TriageVerdict.VIOLATION
    if accepted != (reason is TriageReason.AS_DESCRIBED):
        raise GateRefusal(f"the reason {reason} does not go with the verdict {verdict}")
    return _step(
        case,
        CaseState.CANDIDATE if accepted else CaseState.SCREENED_OUT,
        "triaged",
        account,
        now,
        detail={"verdict": verdict, "reason": reason, "note": note},
        claimed_by=None,
        lease_until=None,
        triaged_by=account.person_id if accepted else case.triaged_by,
    )


def confirm(
    case: Case,
    facts: CaseFacts,
    account: Account,
    confirmation: Confirmation,
    earlier: Sequence[Confirmation],
    recused: bool,
    now: Utc,
) -> Step:
    """An officer's verdict over exactly the evidence that was shown.

    ``earlier`` are all confirmations of this case so far, of any digest.
    Raises NotPermitted (role, certificate, recusal, same person) or StaleVersion (state or digest).
    """
    _may_confirm(case, account, recused, now)
    if confirmation.evidence_digest != case.evidence_digest:
        raise StaleVersion("the evidence or the facts changed since you opened the case: reload")
    current = [c for c in earlier if c.evidence_digest == case.evidence_digest]
    if any(c.person_id == account.person_id for c in current):
        raise NotPermitted("you have already decided on this evidence")
    if confirmation.verdict is ConfirmVerdict.CONFIRM and not confirmation.attestations.all_given:
        raise GateRefusal("confirming needs all four attestations: true, clear, complete, accurate")
    state = _after_verdict(case, facts, [*current, confirmation])
    return _step(case, state, "judged", account, now, detail={"by": account.person_id})


def _may_confirm(case: Case, account: Account, recused: bool, now: Utc) -> None:
    account.require(Role.OFFICER)
    account.require_certificate(now)
    if recused:
        raise NotPermitted("you declared a conflict of interest in this case")
    if account.person_id == case.triaged_by:
        raise NotPermitted("whoever accepted the lead cannot confirm it")
    if case.state not in AWAITING_CONFIRMATION:
        raise StaleVersion("this case does not wait for a confirmation")


def _after_verdict(case: Case, facts: CaseFacts, verdicts: Sequence[Confirmation]) -> CaseState:
    yes = {c.person_id for c in verdicts if c.counts_for(case.evidence_digest, case.triaged_by)}
    rejections = sum(c.verdict is ConfirmVerdict.REJECT for c in verdicts)
    if verdicts[-1].verdict is ConfirmVerdict.REJECT:
        # A lone no ends the case; a no after a yes is a dispute that a third person settles.
        return CaseState.DISPUTED if yes and rejections == 1 else CaseState.NOT_CONFIRMED
    if len(yes) >= facts.confirmations_required:
        return CaseState.CONFIRMED
    return CaseState.FIRST_CONFIRMED


def revise_facts(case: Case, account: Account, digest: str, now: Utc) -> Step:
    """Record that matter, party or place changed; voids every confirmation given so far."""
    account.require(Role.SUPERVISOR)
    if case.state not in AWAITING_CONFIRMATION | {CaseState.CONFIRMED}:
        raise StaleVersion("the facts of this case can no longer be revised")
    return _step(
        case,
        CaseState.CANDIDATE,
        "facts_revised",
        account,
        now,
        detail={"evidence_digest": digest},
        facts_revision=case.facts_revision + 1,
        evidence_digest=digest,
    )


def join_evidence(case: Case, digest: str, lead_id: str, manifest_sha256: str, now: Utc) -> Step:
    """Record that the package of another lead of the same incident joined.

    Voids every confirmation given so far. What nobody has accepted yet keeps its place in the
    queue and its claim, but whoever looks at it must load it again.
    """
    if case.state not in JOINABLE:
        raise StaleVersion("this case takes no further evidence")
    accepted = case.state in AWAITING_CONFIRMATION | {CaseState.CONFIRMED}
    return _moved(
        case,
        CaseState.CANDIDATE if accepted else case.state,
        "evidence_joined",
        "seal",
        "pipeline",
        now,
        {"evidence_digest": digest, "manifest_sha256": manifest_sha256, "joined_lead": lead_id},
        facts_revision=case.facts_revision + 1,
        evidence_digest=digest,
    )


def recall(case: Case, account: Account, reason: str, now: Utc) -> Step:
    """Call a case back; every recipient that may have it is told."""
    account.require(Role.SUPERVISOR)
    if not reason.strip():
        raise GateRefusal("a recall needs a reason")
    return _step(case, CaseState.RECALLED, "recalled", account, now, detail={"reason": reason})


def by_pipeline(case: Case, state: CaseState, kind: str, step: str, now: Utc) -> Step:
    """A step that a program takes after people have decided: dispatched, acknowledged."""
    if state not in {CaseState.DISPATCHED, CaseState.ACKNOWLEDGED}:
        raise NotPermitted(f"a program cannot make a case {state}")
    return _moved(case, state, kind, step, "pipeline", now, {})


def _require_lease(case: Case, account: Account, now: Utc) -> None:
    account.require(Role.ANALYST)
    if case.state is not CaseState.IN_TRIAGE or case.claimed_by != account.account_id:
        raise StaleVersion("claim this lead first")
    if case.lease_until is None or now >= case.lease_until:
        raise StaleVersion("your claim ran out; claim the lead again")


def _step(
    case: Case,
    state: CaseState,
    kind: str,
    account: Account,
    now: Utc,
    detail: dict[str, str | int | float | bool | None] | None = None,
    **changes: object,
) -> Step:
    return _moved(case, state, kind, account.account_id, account.role, now, detail or {}, **changes)


def _moved(
    case: Case,
    state: CaseState,
    kind: str,
    actor: str,
    role: str,
    now: Utc,
    detail: dict[str, str | int | float | bool | None],
    **changes: object,
) -> Step:
    if state not in TRANSITIONS[case.state]:
        raise StaleVersion(f"a case that is {case.state} cannot become {state}")
    version = case.version + 1
    after = case.model_copy(update={**changes, "state": state, "version": version})
    event = CaseEvent(
        lead_id=case.lead_id,
        version=version,
        kind=kind,
        actor=actor,
        actor_role=role,
        at=now,
        from_state=case.state,
        to_state=state,
        detail=detail,
    )
    return Step(case=after, event=event)
