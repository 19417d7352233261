"""One incident, one case: what joins voids what was confirmed, and what is decided stays."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from enforcement.cases import CaseState, ConfirmVerdict, Lead
from enforcement.errors import EvidenceError, GateRefusal, NotConfirmed, StaleVersion
from enforcement.evidence import CaseFacts, Place
from enforcement.evidence import Manifest as Package
from enforcement.lifecycle import TriageReason, TriageVerdict
from enforcement.rules import Rule
from pipelines.dispatch import deliver_due, dispatch_confirmed
from pipelines.incidents import enter
from pipelines.verify import verify_all
from storage.canonical import canonical_bytes, parse_canonical
from storage.records import captures, casebook, incidents, outbox, schema
from storage.records.incidents import JoinedLead
from tests.gate.house import RULE, House
from tests.gate.test_database import forge_step, insert, run

_WORDS = {"en": "…", "zh": "…"}
THROWN = "thrown-out"


def _rule(rule_id: str, matter: str) -> Rule:
    return Rule.model_validate(
        {
            "rule_id": rule_id, "version": 1, "kind": "left_behind", "purpose": "no_dumping",
            "title": _WORDS, "matter": matter, "text": _WORDS, "legal_basis": _WORDS,
            "models": ["left-behind"],
        }
    )  # fmt: skip


@pytest.fixture
def yard(house: House) -> House:
    """The house with two rules of one matter, and one of another."""
    rules = (
        _rule(RULE, "illegal_dumping"), _rule(THROWN, "illegal_dumping"),
        _rule("parking", "parking"),
    )  # fmt: skip
    catalog = house.wiring.catalog.model_copy(update={"rules": rules})
    house.wiring.__dict__["catalog"] = catalog
    return house


def raised(house: House, rule_id: str = THROWN, **changes: object) -> tuple[Lead, CaseFacts]:
    """A sealed lead that is not in the queue yet, and the facts of a case of its own."""
    capture = house._capture()
    fields = {
        "lead_id": capture.capture_id[::-1], "rule_id": rule_id, "rule_version": 1,
        "rule_digest": "0" * 64, "feed_id": "yard", "site_id": "depot", "zone_id": "gate",
        "capture_id": capture.capture_id, "alarm_at": house.now, "alarm_at_s": 3.0,
        "onset_s": 2.0, "end_s": None, "score": 0.9, "box": (0.1, 0.1, 0.2, 0.2),
        "reasons": ("it flew",), "raised_at": house.now,
    }  # fmt: skip
    lead = Lead.model_validate(fields | changes)
    rule = house.wiring.catalog.rule(rule_id, 1)
    manifest = house._manifest(capture, lead).model_copy(update={"rule_id": rule_id})
    facts = CaseFacts(
        lead_id=lead.lead_id, revision=1, rule_id=rule_id, rule_version=1, matter=rule.matter,
        manifest=house._put(canonical_bytes(manifest), "application/json"),
        place=Place(site_id=lead.site_id), device_status="valid", confirmations_required=2,
        seeded=lead.seeded,
    )  # fmt: skip
    with house.pipeline.transaction() as connection:
        captures.file_capture(connection, capture)
        casebook.raise_lead(connection, lead)
    return lead, facts


def entered(house: House, rule_id: str = THROWN, **changes: object) -> str:
    """Another lead, put into the queue; returns under which lead's id its case is."""
    lead, facts = raised(house, rule_id, **changes)
    enter(house.wiring, lead, facts)
    return case_of(house, lead.lead_id)


def case_of(house: House, lead_id: str) -> str:
    with house.owner.transaction() as connection:
        found = incidents.case_of(connection, lead_id)
    assert found is not None
    return found


def facts_of(house: House, lead_id: str) -> CaseFacts:
    with house.owner.transaction() as connection:
        return casebook.current_facts(connection, lead_id)


def to_lead(house: House) -> str:
    return house.sealed_lead()


def to_triage(house: House) -> str:
    lead_id = house.sealed_lead()
    house.desk.claim(house.people["ana"], lead_id, 1)
    return lead_id


def to_first(house: House) -> str:
    lead_id = house.candidate()
    house.say(lead_id, "olga")
    return lead_id


def to_dispute(house: House) -> str:
    lead_id = to_first(house)
    house.say(lead_id, "otto", ConfirmVerdict.REJECT)
    return lead_id


OPEN: dict[CaseState, tuple[Callable[[House], str], CaseState]] = {
    CaseState.LEAD: (to_lead, CaseState.LEAD),
    CaseState.IN_TRIAGE: (to_triage, CaseState.IN_TRIAGE),
    CaseState.CANDIDATE: (House.candidate, CaseState.CANDIDATE),
    CaseState.FIRST_CONFIRMED: (to_first, CaseState.CANDIDATE),
    CaseState.DISPUTED: (to_dispute, CaseState.CANDIDATE),
    CaseState.CONFIRMED: (House.confirmed, CaseState.CANDIDATE),
}


@pytest.mark.parametrize("state", OPEN)
def test_evidence_joins_an_open_case_and_voids_what_was_confirmed(
    yard: House, state: CaseState
) -> None:
    make, after = OPEN[state]
    lead_id = make(yard)
    before = yard.case(lead_id)
    assert before.state is state
    assert entered(yard) == lead_id
    case, facts = yard.case(lead_id), facts_of(yard, lead_id)
    assert (case.state, case.version) == (after, before.version + 1)
    assert case.evidence_digest != before.evidence_digest
    assert (case.claimed_by, case.lease_until) == (before.claimed_by, before.lease_until)
    assert case.triaged_by == before.triaged_by
    assert (case.facts_revision, facts.revision) == (2, 2)
    assert len(facts.further) == 1
    with yard.owner.transaction() as connection:
        last = casebook.events_of(connection, lead_id)[-1]
        with pytest.raises(NotConfirmed):
            casebook.confirmed_case(connection, lead_id)
    assert (last.kind, last.actor, last.actor_role) == ("evidence_joined", "seal", "pipeline")
    assert last.detail["manifest_sha256"] == facts.further[0].sha256
    assert dispatch_confirmed() == []


def test_officers_confirm_all_of_it_anew_and_all_of_it_leaves(yard: House) -> None:
    lead_id = yard.confirmed()
    assert entered(yard) == lead_id
    old = yard.case(lead_id)
    yard.say(lead_id, "olga")
    assert dispatch_confirmed() == []
    yard.say(lead_id, "otto")
    assert yard.state(lead_id) is CaseState.CONFIRMED
    assert dispatch_confirmed() == [lead_id]
    facts = facts_of(yard, lead_id)
    with yard.owner.transaction() as connection:
        [event] = outbox.undelivered(connection, yard.now)
    for manifest in facts.manifests:
        assert manifest.sha256 in event.payload
        package = parse_canonical(Package, yard.store.read(manifest))
        for stored in (manifest, *(item.object for item in package.items)):
            assert yard.store.lock_of(stored).legal_hold
    assert old.evidence_digest in event.payload


def test_an_officer_cannot_confirm_what_was_shown_before_it_joined(yard: House) -> None:
    lead_id = yard.candidate()
    shown = yard.case(lead_id).evidence_digest
    entered(yard)
    with pytest.raises(StaleVersion, match="reload"):
        yard.say(lead_id, "olga", digest=shown)
    claimed = to_triage(yard)
    version = yard.case(claimed).version
    assert entered(yard, alarm_at=yard.now) in {lead_id, claimed}
    assert yard.case(claimed).version >= version


def screened_out(house: House) -> str:
    lead_id = to_triage(house)
    ana, verdict = house.people["ana"], TriageVerdict.NOT_A_VIOLATION
    house.desk.triage(ana, lead_id, 2, verdict, TriageReason.NOTHING_THERE, "")
    return lead_id


def rejected(house: House) -> str:
    lead_id = house.candidate()
    house.say(lead_id, "olga", ConfirmVerdict.REJECT)
    return lead_id


def dispatched(house: House) -> str:
    lead_id = house.confirmed()
    assert dispatch_confirmed() == [lead_id]
    return lead_id


def acknowledged(house: House) -> str:
    lead_id = dispatched(house)
    assert deliver_due()["delivered"] == 1
    return lead_id


def recalled(house: House) -> str:
    lead_id = dispatched(house)
    house.desk.recall(house.people["sue"], lead_id, house.case(lead_id).version, "mistake")
    return lead_id


@pytest.mark.parametrize("make", [screened_out, rejected, dispatched, acknowledged, recalled])
def test_what_is_decided_stays_and_the_lead_opens_a_case_of_its_own(
    yard: House, make: Callable[[House], str]
) -> None:
    lead_id = make(yard)
    before, facts = yard.case(lead_id), facts_of(yard, lead_id)
    lead, own = raised(yard)
    enter(yard.wiring, lead, own)
    assert case_of(yard, lead.lead_id) == lead.lead_id
    assert (yard.case(lead_id), facts_of(yard, lead_id)) == (before, facts)
    # Not by force either: the database holds it as well.
    third, more = raised(yard, alarm_at=yard.now - timedelta(days=1))
    with pytest.raises(StaleVersion), yard.pipeline.transaction() as connection:
        casebook.join_case(connection, before, more, yard.now)
    with pytest.raises(GateRefusal, match=r"no further evidence|stay as they are"):
        forced(yard, lead_id, third.lead_id, more)


def forced(house: House, case_id: str, lead_id: str, own: CaseFacts) -> None:
    """Revise the facts and write the joined lead, past the application."""
    with house.pipeline.transaction() as connection:
        facts = casebook.current_facts(connection, case_id)
        after = facts.model_copy(
            update={"revision": facts.revision + 1, "further": (own.manifest,)}
        )
        casebook.add_facts(connection, after, house.now)
        joined = JoinedLead(lead_id, case_id, after.revision, own.manifest, house.now)
        incidents.note_joined(connection, joined)


def test_entering_it_again_changes_nothing(yard: House) -> None:
    lead_id = yard.candidate()
    lead, own = raised(yard)
    enter(yard.wiring, lead, own)
    once = yard.case(lead_id), facts_of(yard, lead_id)
    for _ in range(2):
        enter(yard.wiring, lead, own)
        enter(yard.wiring, lead, own.model_copy(update={"manifest": once[1].manifest}))
    assert (yard.case(lead_id), facts_of(yard, lead_id)) == once
    with yard.owner.transaction() as connection:
        assert len(incidents.joined_leads(connection)) == 1
        assert casebook.find_case(connection, lead.lead_id) is None


def test_another_matter_time_place_or_device_status_stays_apart(yard: House) -> None:
    first = yard.sealed_lead()
    hour = timedelta(hours=1)
    apart: list[tuple[str, dict[str, object]]] = [
        ("parking", {}),
        (THROWN, {"alarm_at": yard.now + hour}),
        (THROWN, {"box": (0.8, 0.8, 0.9, 0.9)}),
        (THROWN, {"site_id": "elsewhere", "feed_id": "far"}),
        (RULE, {}),
        (THROWN, {"seeded": True}),
    ]
    for rule_id, changes in apart:
        lead, own = raised(yard, rule_id, **changes)
        enter(yard.wiring, lead, own)
        assert case_of(yard, lead.lead_id) == lead.lead_id, changes
    lead, own = raised(yard)
    enter(yard.wiring, lead, own.model_copy(update={"device_status": "invalid"}))
    assert case_of(yard, lead.lead_id) == lead.lead_id
    assert facts_of(yard, first).further == ()


def test_nothing_joins_a_planted_case(yard: House) -> None:
    planted = yard.sealed_lead(seeded=True)
    lead, own = raised(yard)
    enter(yard.wiring, lead, own)
    assert case_of(yard, lead.lead_id) == lead.lead_id
    third, more = raised(yard)
    with pytest.raises(GateRefusal, match="planted"):
        forced(yard, planted, third.lead_id, more)


def test_a_third_lead_joins_by_what_it_shares_with_the_second(yard: House) -> None:
    """A rule of the same feed sees it at two ends; something between them joins both."""
    first = yard.sealed_lead()
    assert entered(yard, feed_id="other") == first
    assert entered(yard, box=(0.8, 0.8, 0.9, 0.9), feed_id="third") == first
    facts = facts_of(yard, first)
    assert (facts.revision, len(facts.further)) == (3, 2)
    assert len({one.sha256 for one in facts.manifests}) == 3


def test_of_two_open_cases_the_nearest_in_time_takes_it(yard: House) -> None:
    far = yard.sealed_lead()
    start = yard.now
    yard.now = start + timedelta(seconds=100)
    near = yard.sealed_lead()
    assert far != near
    assert entered(yard, alarm_at=start + timedelta(seconds=60)) == near


def test_two_leads_sealed_at_once_are_one_case(yard: House) -> None:
    pairs = [raised(yard, feed_id=f"feed-{n}") for n in range(6)]
    start = threading.Barrier(len(pairs))
    failed: list[BaseException] = []

    def run(lead: Lead, own: CaseFacts) -> None:
        start.wait()
        try:
            enter(yard.wiring, lead, own)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must tell it
            failed.append(error)

    threads = [threading.Thread(target=run, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    cases = {case_of(yard, lead.lead_id) for lead, _ in pairs}
    assert len(cases) == 1
    facts = facts_of(yard, cases.pop())
    assert {one.sha256 for one in facts.manifests} == {own.manifest.sha256 for _, own in pairs}


def test_evidence_that_joins_while_somebody_confirms_is_never_dispatched_unseen(
    yard: House,
) -> None:
    """Whoever comes first: two verdicts over the old digest, or the evidence."""
    for _ in range(5):
        yard.now += timedelta(hours=3)
        lead_id = to_first(yard)
        lead, own = raised(yard)
        start = threading.Barrier(2)

        def confirm(lead_id: str = lead_id, start: threading.Barrier = start) -> None:
            shown = yard.case(lead_id).evidence_digest
            start.wait()
            try:
                yard.say(lead_id, "otto", digest=shown)
            except StaleVersion:
                return

        person = threading.Thread(target=confirm)
        person.start()
        start.wait()
        enter(yard.wiring, lead, own)
        person.join()
        assert case_of(yard, lead.lead_id) == lead_id
        assert yard.state(lead_id) is CaseState.CANDIDATE
        assert len(facts_of(yard, lead_id).further) == 1
        assert dispatch_confirmed() == []


def test_verifying_hashes_what_joined_as_well(yard: House) -> None:
    lead_id = yard.sealed_lead()
    before = verify_all(yard.wiring)
    lead, own = raised(yard)
    enter(yard.wiring, lead, own)
    after = verify_all(yard.wiring)
    assert (after.cases, after.damaged) == (before.cases, ())
    # The capture, the manifest, the clip and the picture of the second lead.
    assert after.objects == before.objects + 4
    gone = own.model_copy(update={"manifest": own.manifest.model_copy(update={"sha256": "0" * 64})})
    third, _ = raised(yard)
    enter(yard.wiring, third, gone.model_copy(update={"lead_id": third.lead_id}))
    assert case_of(yard, third.lead_id) == lead_id
    assert any(own.manifest.key in one for one in verify_all(yard.wiring).damaged)


def test_a_damaged_package_that_joined_keeps_the_case_from_leaving(yard: House) -> None:
    lead_id = yard.sealed_lead()
    lead, own = raised(yard)
    damaged = own.manifest.model_copy(update={"sha256": "0" * 64})
    enter(yard.wiring, lead, own.model_copy(update={"manifest": damaged}))
    yard.accept(lead_id)
    yard.say(lead_id, "olga")
    yard.say(lead_id, "otto")
    assert yard.state(lead_id) is CaseState.CONFIRMED
    assert dispatch_confirmed() == []
    assert yard.outbox_size() == 0
    with pytest.raises(EvidenceError):
        yard.store.read(damaged)


def forge_joining(house: House, case_id: str, **changes: object) -> None:
    """A joining step of the pipeline's role, some of it other than it should be."""
    lead, own = raised(house)
    case = house.case(case_id)
    with house.pipeline.transaction() as connection:
        facts = casebook.current_facts(connection, case_id)
        after = facts.model_copy(
            update={"revision": facts.revision + 1, "further": (own.manifest,)}
        )
        digest = casebook.add_facts(connection, after, house.now)
        joined = JoinedLead(lead.lead_id, case_id, after.revision, own.manifest, house.now)
        if not changes.pop("unjoined", False):
            incidents.note_joined(connection, joined)
        row = {
            "state": "candidate", "version": case.version + 1, "facts_revision": after.revision,
            "evidence_digest": digest,
        } | changes  # fmt: skip
        connection.execute(
            schema.events.insert().values(
                lead_id=case_id, version=row["version"], kind="evidence_joined", actor="seal",
                actor_role="pipeline", at=house.now, from_state=case.state, to_state=row["state"],
                detail={},
            )
        )  # fmt: skip
        table = schema.cases
        connection.execute(table.update().where(table.c.lead_id == case_id).values(row))


def test_the_pipelines_role_joins_evidence_and_does_no_more_by_it(yard: House) -> None:
    if yard.owner.is_sqlite:
        pytest.skip("SQLite knows no roles: only the triggers guard an embedded installation")
    forge_joining(yard, yard.candidate())
    refused = pytest.raises(GateRefusal, match="only the review application")
    for changes in (
        {"unjoined": True},
        {"state": "first_confirmed"},
        {"state": "not_confirmed"},
        {"triaged_by": "person-olga"},
        {"claimed_by": "account-ana"},
        {"lease_until": yard.now},
        {"facts_revision": 1},
    ):
        case_id = yard.candidate()
        with refused:
            forge_joining(yard, case_id, **changes)
    case_id = yard.sealed_lead()
    with refused:
        forge_joining(yard, case_id, state="in_triage")
    row = joined_row(yard, raised(yard)[0].lead_id, case_id, 2)
    with pytest.raises(GateRefusal, match="permission denied"):
        insert(yard.review, schema.joined_leads, row)


def test_the_database_holds_what_joins_to_one_case(yard: House) -> None:
    first, second = yard.candidate(), yard.candidate()
    lead, own = raised(yard)
    enter(yard.wiring, lead, own)
    joined = case_of(yard, lead.lead_id)
    refused = pytest.raises(GateRefusal, match="part of another case")
    with refused, yard.pipeline.transaction() as connection:
        casebook.open_case(connection, own, yard.now)
    with pytest.raises(GateRefusal, match="case of its own"):
        forced(yard, first, second, own)
    free = raised(yard)[0].lead_id
    for case_id, revision, reason in (
        (first, 7, "no further evidence"),
        (free, 1, "no further evidence"),
        (first, yard.case(first).facts_revision + 1, "must name the evidence"),
    ):
        with pytest.raises(GateRefusal, match=reason):
            insert(yard.pipeline, schema.joined_leads, joined_row(yard, free, case_id, revision))
    for statement in ("DELETE FROM joined_leads", "UPDATE joined_leads SET case_id = 'x'"):
        with pytest.raises(GateRefusal, match=r"insert-only|permission denied"):
            run(yard.pipeline, statement)
    assert joined in {first, second}


def joined_row(house: House, lead_id: str, case_id: str, revision: int) -> dict[str, object]:
    manifest = house._put(b"a manifest", "application/json")
    return manifest.model_dump() | {
        "lead_id": lead_id, "case_id": case_id, "facts_revision": revision, "at": house.now,
    }  # fmt: skip


def test_facts_that_change_leave_no_case_confirmed(yard: House) -> None:
    """Not even for who may take human steps, and with two verdicts over the new facts ahead."""
    lead_id = to_first(yard)
    case, facts = yard.case(lead_id), facts_of(yard, lead_id)
    after = facts.model_copy(update={"revision": 2, "party": "somebody"})
    step = {
        "lead_id": lead_id, "version": case.version + 1, "kind": "x", "actor": "x",
        "actor_role": "x", "at": yard.now, "from_state": case.state, "to_state": case.state,
        "detail": {},
    }  # fmt: skip
    refused = pytest.raises(GateRefusal, match="void what was confirmed")
    with refused, yard.owner.transaction() as connection:
        digest = casebook.add_facts(connection, after, yard.now)
        connection.execute(schema.events.insert().values(step))
        connection.execute(
            schema.cases.update()
            .where(schema.cases.c.lead_id == lead_id)
            .values(version=case.version + 1, facts_revision=2, evidence_digest=digest)
        )


def test_a_lead_in_the_queue_does_not_step_onto_itself_without_evidence(yard: House) -> None:
    lead_id = yard.sealed_lead()
    with pytest.raises(GateRefusal, match="no such step"):
        forge_step(yard.owner, yard, lead_id, 2, "lead", "lead")
