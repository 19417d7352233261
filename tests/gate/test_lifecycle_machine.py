"""Whatever people and programs do, in whatever order: dispatched means N valid confirmations."""

import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from enforcement import lifecycle
from enforcement.cases import (
    Attestations,
    Case,
    CaseState,
    Confirmation,
    ConfirmedCase,
    ConfirmVerdict,
)
from enforcement.errors import GateRefusal
from enforcement.evidence import CaseFacts, Place
from enforcement.footage import StoredObject
from enforcement.lifecycle import Step, TriageReason, TriageVerdict
from enforcement.people import Account, Role
from storage.canonical import canonical_bytes, sha256_hex
from tests.gate.house import person

START = datetime(2026, 6, 1, tzinfo=UTC)
LATER = datetime(2026, 6, 2, tzinfo=UTC)

STAFF = [
    person("ana", Role.ANALYST),
    person("abe", Role.ANALYST),
    person("olga", Role.OFFICER),
    person("otto", Role.OFFICER),
    person("oskar", Role.OFFICER),
    person("olga-2", Role.OFFICER, person_id="person-olga"),
    person("ana-2", Role.OFFICER, person_id="person-ana"),
    person("old", Role.OFFICER, certificate_valid_until=START),
    person("gone", Role.OFFICER, active=False),
    person("sue", Role.SUPERVISOR),
    person("robot", Role.SERVICE),
]

people = st.sampled_from(STAFF)
yes_or_no = st.booleans()


def facts_of(revision: int, matter: str, required: int, **changes: object) -> CaseFacts:
    manifest = StoredObject(
        bucket="b", key="k", version_id="v", sha256="0" * 64, size=1, media_type="x/y"
    )
    return CaseFacts.model_validate(
        {
            "lead_id": "lead",
            "revision": revision,
            "manifest": manifest,
            "rule_id": "rule",
            "rule_version": 1,
            "matter": matter,
            "place": Place(site_id="site"),
            "device_status": "valid",
            "confirmations_required": required,
        }
        | changes
    )


class CaseMachine(RuleBasedStateMachine):
    """One case, anybody acting in any order. The only oracle: ``dispatched`` is earned."""

    digests = Bundle("digests")

    @initialize(
        target=digests,
        required=st.integers(1, 3),
        device=st.sampled_from(["valid", "valid", "valid", "invalid"]),
        seeded=st.sampled_from([False, False, False, True]),
    )
    def begin(self, required: int, device: str, seeded: bool) -> str:
        self.now = START
        self.facts = facts_of(1, "dumping", required, device_status=device, seeded=seeded)
        digest = self._digest()
        self.case = Case(lead_id="lead", state=CaseState.LEAD, version=1, evidence_digest=digest)
        self.confirmations: list[Confirmation] = []
        self.recused: set[str] = set()
        return digest

    @rule(who=people)
    def claim(self, who: Account) -> None:
        self._try(lambda: lifecycle.claim(self.case, who, self.now))

    @rule(who=people)
    def release(self, who: Account) -> None:
        self._try(lambda: lifecycle.release(self.case, who, self.now))

    @rule(who=people, verdict=st.sampled_from(TriageVerdict), reason=st.sampled_from(TriageReason))
    def triage(self, who: Account, verdict: TriageVerdict, reason: TriageReason) -> None:
        self._try(lambda: lifecycle.triage(self.case, who, verdict, reason, "", self.now))

    @rule()
    def accepted_by_ana(self) -> None:
        """The common way, so that the machine often gets past triage."""
        ana = STAFF[0]
        self.claim(ana)
        self.triage(ana, TriageVerdict.VIOLATION, TriageReason.AS_DESCRIBED)

    @rule(who=people, digest=digests, yes=yes_or_no, complete=st.sampled_from([True, True, False]))
    def judge(self, who: Account, digest: str, yes: bool, complete: bool) -> None:
        given = self._confirmation(who, digest, yes, complete)

        def act() -> Step:
            step = lifecycle.confirm(
                self.case,
                self.facts,
                who,
                given,
                self.confirmations,
                who.person_id in self.recused,
                self.now,
            )
            self.confirmations.append(given)
            return step

        self._try(act)

    @rule(who=people)
    def judge_what_is_shown(self, who: Account) -> None:
        """An honest yes to the current evidence."""
        self.judge(who, self.case.evidence_digest, True, True)

    @rule(who=people)
    def recuse(self, who: Account) -> None:
        self.recused.add(who.person_id)

    @rule(target=digests, who=people, matter=st.sampled_from(["dumping", "noise", "smoke"]))
    def revise(self, who: Account, matter: str) -> str:
        changed = self.facts.model_copy(
            update={"revision": self.facts.revision + 1, "matter": matter}
        )
        digest = sha256_hex(canonical_bytes(changed))

        def act() -> Step:
            step = lifecycle.revise_facts(self.case, who, digest, self.now)
            self.facts = changed
            return step

        self._try(act)
        return digest

    @rule(target=digests)
    def evidence_joins(self) -> str:
        changed = self.facts.model_copy(
            update={
                "revision": self.facts.revision + 1,
                "further": (*self.facts.further, self.facts.manifest),
            }
        )
        digest = sha256_hex(canonical_bytes(changed))

        def act() -> Step:
            step = lifecycle.join_evidence(self.case, digest, "other", "0" * 64, self.now)
            self.facts = changed
            return step

        self._try(act)
        return digest

    @rule(who=people)
    def recall(self, who: Account) -> None:
        self._try(lambda: lifecycle.recall(self.case, who, "a reason", self.now))

    @rule(minutes=st.integers(1, 60))
    def wait(self, minutes: int) -> None:
        self.now = min(self.now + timedelta(minutes=minutes), LATER)

    @rule()
    def dispatch(self) -> None:
        def act() -> Step:
            if self.case.state is not CaseState.CONFIRMED or self.case.triaged_by is None:
                raise GateRefusal("not confirmed")
            ConfirmedCase(
                facts_document=canonical_bytes(self.facts).decode(),
                triaged_by=self.case.triaged_by,
                confirmations=tuple(self.confirmations),
            )
            return lifecycle.by_pipeline(
                self.case, CaseState.DISPATCHED, "dispatched", "dispatch", self.now
            )

        self._try(act)

    @rule(state=st.sampled_from(CaseState))
    def program_pushes(self, state: CaseState) -> None:
        """A program tries to move the case itself; what needs people must not work."""
        if state is not CaseState.DISPATCHED:
            self._try(lambda: lifecycle.by_pipeline(self.case, state, "pushed", "x", self.now))

    @invariant()
    def dispatched_is_earned(self) -> None:
        if not hasattr(self, "case") or self.case.state not in {
            CaseState.DISPATCHED,
            CaseState.ACKNOWLEDGED,
        }:
            return
        # Counted from the raw acts, not by the code under test.
        valid = {
            c.person_id
            for c in self.confirmations
            if c.verdict == "confirm"
            and c.evidence_digest == self._digest()
            and all(c.attestations.model_dump().values())
            and c.person_id != self.case.triaged_by
        }
        assert len(valid) >= self.facts.confirmations_required
        assert not valid & {"person-old", "person-gone", "person-sue", "person-robot"}
        assert self.facts.device_status == "valid"
        assert not self.facts.seeded

    def _digest(self) -> str:
        return sha256_hex(canonical_bytes(self.facts))

    def _try(self, act: Callable[[], Step]) -> None:
        with suppress(GateRefusal):
            self.case = act().case

    def _confirmation(self, who: Account, digest: str, yes: bool, complete: bool) -> Confirmation:
        return Confirmation(
            confirmation_id=str(uuid.uuid4()),
            lead_id="lead",
            evidence_digest=digest,
            account_id=who.account_id,
            person_id=who.person_id,
            certificate_no=who.certificate_no or "none",
            certificate_valid_from=who.certificate_valid_from or START,
            certificate_valid_until=who.certificate_valid_until or LATER,
            verdict=ConfirmVerdict.CONFIRM if yes else ConfirmVerdict.REJECT,
            reason="",
            attestations=Attestations(true=True, clear=complete, complete=True, accurate=True),
            decided_at=self.now,
        )


CaseMachine.TestCase.settings = settings(
    max_examples=300,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestDispatchedIsEarned = CaseMachine.TestCase
