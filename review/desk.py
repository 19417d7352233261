"""The acts of people on cases: each one transaction, each refusal logged.

Every act loads the case under lock, asks ``enforcement.lifecycle`` for the next step and writes
through ``storage.records.casebook``. Nothing here decides what is allowed.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa

from enforcement import lifecycle
from enforcement.cases import Attestations, Case, CaseState, Confirmation, ConfirmVerdict
from enforcement.errors import GateRefusal, NotPermitted, StaleVersion
from enforcement.evidence import CaseFacts
from enforcement.lifecycle import AWAITING_CONFIRMATION, TriageReason, TriageVerdict
from enforcement.people import Account, Role
from settings.catalog import Catalog
from settings.environment import Settings
from storage.evidence_store import EvidenceStore
from storage.records import accounts, casebook
from storage.records.database import Database
from storage.verified_cache import VerifiedCache

UNTRIAGED = frozenset({CaseState.LEAD, CaseState.IN_TRIAGE})


class RejectReason(StrEnum):
    """Why an officer says no; the first six are the grounds of the road-traffic procedure."""

    UNCLEAR_RECORD = "unclear_record"
    NECESSITY = "necessity"
    EMERGENCY_VEHICLE = "emergency_vehicle"
    STOLEN_PLATE = "stolen_plate"
    CONFLICTING_SIGNS = "conflicting_signs"
    ALREADY_HANDLED = "already_handled"
    NO_VIOLATION = "no_violation"
    WRONG_FACTS = "wrong_facts"


class NotFound(KeyError):
    """There is no such lead, or no such item in its manifest."""


@dataclass(frozen=True)
class Verdict:
    """An officer's answer as it was given, before it becomes a confirmation.

    ``evidence_digest`` is the one that was shown. An attestation that was not given is False.
    """

    evidence_digest: str
    verdict: ConfirmVerdict
    reason: RejectReason | None
    note: str
    attestations: Attestations


@dataclass(frozen=True)
class FactsChange:
    """What a supervisor changes: the three things that people write into the facts."""

    matter: str
    party: str
    place_text: str


@dataclass(frozen=True)
class Desk:
    """What the review application works with, and the acts."""

    database: Database
    store: EvidenceStore
    cache: VerifiedCache
    catalogs: Callable[[], Catalog]
    settings: Settings
    clock: Callable[[], datetime]

    @property
    def catalog(self) -> Catalog:
        """The catalog as it stands; people edit it while the application runs."""
        return self.catalogs()

    def claim(self, account: Account, lead_id: str, version: int) -> Case:
        """Take a lead for triage for 15 minutes."""
        with self._act(account, "claim", lead_id) as connection:
            case = _untriaged(connection, account, lead_id, version)
            return casebook.take(connection, case, lifecycle.claim(case, account, self.clock()))

    def release(self, account: Account, lead_id: str, version: int) -> Case:
        """Give a claimed lead back."""
        with self._act(account, "release", lead_id) as connection:
            case = _untriaged(connection, account, lead_id, version)
            return casebook.take(connection, case, lifecycle.release(case, account, self.clock()))

    def triage(
        self,
        account: Account,
        lead_id: str,
        version: int,
        verdict: TriageVerdict,
        reason: TriageReason,
        note: str,
    ) -> Case:
        """An analyst's verdict on a claimed lead."""
        with self._act(account, "triage", lead_id) as connection:
            case = _untriaged(connection, account, lead_id, version)
            step = lifecycle.triage(case, account, verdict, reason, note, self.clock())
            return casebook.take(connection, case, step)

    def judge(self, account: Account, lead_id: str, answer: Verdict) -> Case:
        """An officer's verdict over exactly the evidence that was shown."""
        with self._act(account, "confirm", lead_id) as connection:
            account.require(Role.OFFICER)
            case = locked_case(connection, lead_id)
            _refuse_supervising_person(connection, account)
            now = self.clock()
            confirmation = _confirmation(account, lead_id, answer, now)
            step = lifecycle.confirm(
                case,
                casebook.current_facts(connection, lead_id),
                account,
                confirmation,
                casebook.confirmations_of(connection, lead_id),
                casebook.is_recused(connection, lead_id, account.person_id),
                now,
            )
            casebook.add_confirmation(connection, confirmation)
            return casebook.take(connection, case, step)

    def recuse(self, account: Account, lead_id: str, reason: str) -> None:
        """An officer declares a conflict of interest, before any verdict of his or hers."""
        with self._act(account, "recuse", lead_id) as connection:
            account.require(Role.OFFICER)
            case = locked_case(connection, lead_id)
            if not reason.strip():
                raise GateRefusal("a recusal needs a reason")
            if case.state not in AWAITING_CONFIRMATION:
                raise StaleVersion("this case does not wait for a confirmation")
            if casebook.is_recused(connection, lead_id, account.person_id):
                raise StaleVersion("you have already declared a conflict of interest")
            earlier = casebook.confirmations_of(connection, lead_id)
            if any(one.person_id == account.person_id for one in earlier):
                raise NotPermitted("you have already decided on this case")
            casebook.recuse(connection, lead_id, account.person_id, reason, self.clock())

    def revise_facts(
        self, account: Account, lead_id: str, version: int, change: FactsChange
    ) -> Case:
        """Correct matter, party or place; every confirmation given so far is void then."""
        with self._act(account, "revise_facts", lead_id) as connection:
            account.require(Role.SUPERVISOR)
            case = locked_case(connection, lead_id, version)
            if case.state not in AWAITING_CONFIRMATION | {CaseState.CONFIRMED}:
                raise StaleVersion("the facts of this case can no longer be revised")
            now = self.clock()
            facts = _changed(casebook.current_facts(connection, lead_id), change)
            digest = casebook.add_facts(connection, facts, now)
            step = lifecycle.revise_facts(case, account, digest, now)
            return casebook.take(connection, case, step)

    def recall(self, account: Account, lead_id: str, version: int, reason: str) -> Case:
        """Call a case back; the recipients are told by the pipeline."""
        with self._act(account, "recall", lead_id) as connection:
            account.require(Role.SUPERVISOR)
            case = locked_case(connection, lead_id, version)
            step = lifecycle.recall(case, account, reason, self.clock())
            return casebook.take(connection, case, step)

    def log_denial(self, actor: str, action: str, lead_id: str | None, reason: str) -> None:
        """Write down a refused act, in a transaction of its own."""
        with self.database.transaction() as connection:
            casebook.deny(connection, actor, action, lead_id, reason[:1000], self.clock())

    @contextmanager
    def refusals_logged(self, account: Account, action: str, lead_id: str | None) -> Iterator[None]:
        """Log every GateRefusal raised inside as a denial, and let it go on."""
        try:
            yield
        except GateRefusal as refusal:
            self.log_denial(account.account_id, action, lead_id, str(refusal))
            raise

    @contextmanager
    def _act(self, account: Account, action: str, lead_id: str) -> Iterator[sa.Connection]:
        with (
            self.refusals_logged(account, action, lead_id),
            self.database.transaction() as connection,
        ):
            yield connection


def locked_case(connection: sa.Connection, lead_id: str, version: int | None = None) -> Case:
    """The case under lock. Raises NotFound, or StaleVersion if it is not at ``version``."""
    case = casebook.find_case(connection, lead_id, lock=True)
    if case is None:
        raise NotFound(lead_id)
    if version is not None and case.version != version:
        raise StaleVersion("somebody else acted on this case meanwhile: reload")
    return case


def _untriaged(connection: sa.Connection, account: Account, lead_id: str, version: int) -> Case:
    # The role comes first: whoever may not triage learns nothing from the order of the checks.
    account.require(Role.ANALYST)
    case = locked_case(connection, lead_id)
    if case.state not in UNTRIAGED:
        raise StaleVersion("this lead has been triaged already")
    if case.version != version:
        raise StaleVersion("somebody else acted on this case meanwhile: reload")
    return case


def _refuse_supervising_person(connection: sa.Connection, account: Account) -> None:
    """Whoever can read the first verdict under another account would not judge blind."""
    for other in accounts.all_accounts(connection):
        if other.person_id == account.person_id and other.role is Role.SUPERVISOR and other.active:
            raise NotPermitted("whoever supervises cases cannot confirm them")


def _confirmation(account: Account, lead_id: str, answer: Verdict, now: datetime) -> Confirmation:
    account.require_certificate(now)
    if answer.verdict is ConfirmVerdict.REJECT and answer.reason is None:
        raise GateRefusal("a rejection needs a reason")
    if answer.verdict is ConfirmVerdict.CONFIRM and answer.reason is not None:
        raise GateRefusal("a reason goes with a rejection only")
    return Confirmation.model_validate(
        {
            "confirmation_id": str(uuid.uuid4()),
            "lead_id": lead_id,
            "evidence_digest": answer.evidence_digest,
            "account_id": account.account_id,
            "person_id": account.person_id,
            "certificate_no": account.certificate_no,
            "certificate_valid_from": account.certificate_valid_from,
            "certificate_valid_until": account.certificate_valid_until,
            "verdict": answer.verdict,
            "reason": ": ".join(part for part in (answer.reason, answer.note.strip()) if part),
            "attestations": answer.attestations,
            "decided_at": now,
        }
    )


def _changed(facts: CaseFacts, change: FactsChange) -> CaseFacts:
    """The next revision of the facts; validated, unlike ``model_copy``."""
    return CaseFacts.model_validate(
        facts.model_dump()
        | {
            "revision": facts.revision + 1,
            "matter": change.matter,
            "party": change.party,
            "place": {"site_id": facts.place.site_id, "text": change.place_text},
        }
    )
