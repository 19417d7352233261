"""A lead and what becomes of it: case, confirmations, events, and the proof that it may leave."""

import hashlib
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from enforcement.errors import NotConfirmed
from enforcement.evidence import CaseFacts
from enforcement.geometry import Box
from enforcement.model import Name, Record, Score, Sha256, Utc


class CaseState(StrEnum):
    LEAD = "lead"
    IN_TRIAGE = "in_triage"
    SCREENED_OUT = "screened_out"
    CANDIDATE = "candidate"
    FIRST_CONFIRMED = "first_confirmed"
    DISPUTED = "disputed"
    CONFIRMED = "confirmed"
    NOT_CONFIRMED = "not_confirmed"
    DISPATCHED = "dispatched"
    ACKNOWLEDGED = "acknowledged"
    RECALLED = "recalled"


TRANSITIONS: dict[CaseState, frozenset[CaseState]] = {
    CaseState.LEAD: frozenset({CaseState.LEAD, CaseState.IN_TRIAGE}),
    CaseState.IN_TRIAGE: frozenset(
        {CaseState.IN_TRIAGE, CaseState.LEAD, CaseState.SCREENED_OUT, CaseState.CANDIDATE}
    ),
    CaseState.SCREENED_OUT: frozenset(),
    CaseState.CANDIDATE: frozenset(
        {
            CaseState.CANDIDATE,
            CaseState.FIRST_CONFIRMED,
            CaseState.CONFIRMED,
            CaseState.NOT_CONFIRMED,
        }
    ),
    CaseState.FIRST_CONFIRMED: frozenset(
        {
            CaseState.FIRST_CONFIRMED,
            CaseState.CONFIRMED,
            CaseState.DISPUTED,
            CaseState.NOT_CONFIRMED,
            CaseState.CANDIDATE,
        }
    ),
    CaseState.DISPUTED: frozenset(
        {
            CaseState.FIRST_CONFIRMED,
            CaseState.CONFIRMED,
            CaseState.NOT_CONFIRMED,
            CaseState.CANDIDATE,
        }
    ),
    CaseState.CONFIRMED: frozenset({CaseState.DISPATCHED, CaseState.CANDIDATE, CaseState.RECALLED}),
    CaseState.NOT_CONFIRMED: frozenset(),
    CaseState.DISPATCHED: frozenset({CaseState.ACKNOWLEDGED, CaseState.RECALLED}),
    CaseState.ACKNOWLEDGED: frozenset({CaseState.RECALLED}),
    CaseState.RECALLED: frozenset(),
}
"""Every step there is. The databases enforce the same table with triggers."""

UNDECIDED = frozenset(
    {
        CaseState.LEAD,
        CaseState.IN_TRIAGE,
        CaseState.CANDIDATE,
        CaseState.FIRST_CONFIRMED,
        CaseState.DISPUTED,
    }
)

JOINABLE = UNDECIDED | {CaseState.CONFIRMED}
"""Evidence of further leads may still join these; what has left or was rejected stays."""


class Lead(Record):
    """Observations that satisfy one rule: a machine's opinion, unproven. Never changes."""

    lead_id: str
    rule_id: Name
    rule_version: int
    rule_digest: Sha256
    feed_id: Name
    site_id: Name
    zone_id: Name
    capture_id: str
    alarm_at: Utc
    """Moment of the alarm in true UTC (device clock + offset)."""
    alarm_at_s: float
    """The same in seconds from the first frame of the capture."""
    onset_s: float
    end_s: float | None
    score: Score
    box: Box
    reasons: tuple[str, ...]
    seeded: bool = False
    """A planted quality-control lead; it can never leave."""
    raised_at: Utc


class Case(Record):
    """Where a lead stands now; it exists from the moment its evidence is sealed.

    ``version`` counts its events and guards every change.
    """

    lead_id: str
    state: CaseState
    version: Annotated[int, Field(ge=1)]
    claimed_by: str | None = None
    """Account that holds the triage lease."""
    lease_until: Utc | None = None
    triaged_by: str | None = None
    """Person (not account) who accepted the lead; never one of its confirmers."""
    facts_revision: Annotated[int, Field(ge=1)] = 1
    evidence_digest: Sha256
    """SHA-256 of the current CaseFacts document."""


class ConfirmVerdict(StrEnum):
    CONFIRM = "confirm"
    REJECT = "reject"


class Attestations(Record):
    """What Administrative Penalty Law 41(2) asks of a record used as evidence, yes or no."""

    true: bool
    clear: bool
    complete: bool
    accurate: bool

    @property
    def all_given(self) -> bool:
        return self.true and self.clear and self.complete and self.accurate


class Confirmation(Record):
    """One officer's act over one exact evidence digest. Never changes."""

    confirmation_id: str
    lead_id: str
    evidence_digest: Sha256
    account_id: str
    person_id: str
    certificate_no: str
    certificate_valid_from: Utc
    certificate_valid_until: Utc
    verdict: ConfirmVerdict
    reason: str
    attestations: Attestations
    decided_at: Utc

    def counts_for(self, digest: str, triaged_by: str | None) -> bool:
        """Whether it is a valid yes to this evidence by somebody other than the triager."""
        return (
            self.verdict is ConfirmVerdict.CONFIRM
            and self.attestations.all_given
            and self.evidence_digest == digest
            and self.person_id != triaged_by
            and self.certificate_valid_from <= self.decided_at < self.certificate_valid_until
        )


class CaseEvent(Record):
    """One step of a case, written in the same transaction as the step itself."""

    lead_id: str
    version: Annotated[int, Field(ge=1)]
    kind: str
    actor: str
    """Account id, or the name of a pipeline step."""
    actor_role: str
    at: Utc
    from_state: CaseState
    to_state: CaseState
    detail: dict[str, str | int | float | bool | None] = Field(default_factory=dict)


class ConfirmedCase(Record):
    """Proof that a case may leave; the only thing that dispatch accepts.

    It can't be built, nor loaded, unless the confirmations that it carries suffice:
    enough distinct people, each other than the triager, each with a certificate valid at the time,
    over exactly the evidence digest of exactly the facts document that it carries.
    """

    facts_document: str
    """The CaseFacts as sealed (canonical JSON); its SHA-256 is the evidence digest."""
    triaged_by: str
    confirmations: tuple[Confirmation, ...]

    @property
    def evidence_digest(self) -> str:
        return hashlib.sha256(self.facts_document.encode()).hexdigest()

    @property
    def facts(self) -> CaseFacts:
        return CaseFacts.model_validate_json(self.facts_document)

    @property
    def lead_id(self) -> str:
        return self.facts.lead_id

    @model_validator(mode="after")
    def _may_leave(self) -> Self:
        facts = self.facts
        digest = self.evidence_digest
        people = {
            confirmation.person_id
            for confirmation in self.confirmations
            if confirmation.lead_id == facts.lead_id
            and confirmation.counts_for(digest, self.triaged_by)
        }
        if len(people) < facts.confirmations_required:
            raise NotConfirmed(
                f"{len(people)} of {facts.confirmations_required} confirmations "
                "over the current evidence"
            )
        if facts.seeded:
            raise NotConfirmed("a quality-control case never leaves")
        if facts.device_status != "valid":
            raise NotConfirmed(f"the device was {facts.device_status} when it recorded this")
        return self
