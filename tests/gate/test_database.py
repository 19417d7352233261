"""The database itself refuses: raw SQL by the application's own roles gets past no gate."""

import uuid
from datetime import timedelta

import pytest
import sqlalchemy as sa

from enforcement.cases import CaseState
from enforcement.errors import GateRefusal
from enforcement.evidence import CaseFacts
from pipelines.dispatch import dispatch_confirmed
from storage.canonical import canonical_bytes, sha256_hex
from storage.records import casebook, schema
from storage.records.database import Database
from tests.gate.house import ALL_FOUR, House


def run(database: Database, statement: str, **values: object) -> int:
    with database.transaction() as connection:
        return connection.execute(sa.text(statement), values).rowcount


def outbox_row(house: House, lead_id: str, **changes: object) -> dict[str, object]:
    return {
        "event_id": str(uuid.uuid4()),
        "lead_id": lead_id,
        "kind": "dispatch",
        "recipient_id": "agency",
        "evidence_digest": house.case(lead_id).evidence_digest,
        "payload": "{}",
        "created_at": house.now,
    } | changes


def confirmation_row(house: House, lead_id: str, who: str, **changes: object) -> dict[str, object]:
    account = house.people[who]
    return {
        "confirmation_id": str(uuid.uuid4()),
        "lead_id": lead_id,
        "evidence_digest": house.case(lead_id).evidence_digest,
        "account_id": account.account_id,
        "person_id": account.person_id,
        "certificate_no": account.certificate_no or "",
        "certificate_valid_from": account.certificate_valid_from or house.now,
        "certificate_valid_until": account.certificate_valid_until or house.now,
        "verdict": "confirm",
        "reason": "",
        "attestations": ALL_FOUR.model_dump(),
        "attested": True,
        "decided_at": house.now,
    } | changes


def insert(database: Database, table: sa.Table, row: dict[str, object]) -> None:
    with database.transaction() as connection:
        connection.execute(table.insert().values(row))


def forge_step(
    database: Database, house: House, lead_id: str, version: int, before: str, after: str
) -> None:
    """Write a step's event and then the step, as only the application should."""
    with database.transaction() as connection:
        connection.execute(
            schema.events.insert().values(
                lead_id=lead_id, version=version, kind="forged", actor="x", actor_role="officer",
                at=house.now, from_state=before, to_state=after, detail={},
            )
        )  # fmt: skip
        connection.execute(
            schema.cases.update()
            .where(schema.cases.c.lead_id == lead_id)
            .values(state=after, version=version)
        )


def test_an_outbox_row_without_confirmations_is_refused(house: House) -> None:
    for lead_id in (house.sealed_lead(), house.candidate()):
        with pytest.raises(GateRefusal, match="not confirmed"):
            insert(house.pipeline, schema.outbox, outbox_row(house, lead_id))
    assert house.outbox_size() == 0


def test_an_outbox_row_over_another_digest_is_refused(house: House) -> None:
    lead_id = house.confirmed()
    row = outbox_row(house, lead_id, evidence_digest="e" * 64)
    with pytest.raises(GateRefusal, match="current evidence"):
        insert(house.pipeline, schema.outbox, row)
    assert house.outbox_size() == 0


def test_an_outbox_row_over_facts_that_nobody_confirmed_is_refused(house: House) -> None:
    """The case still says confirmed; its facts were changed past the application."""
    lead_id = house.confirmed()
    with house.owner.transaction() as connection:
        facts = casebook.current_facts(connection, lead_id)
        changed = facts.model_copy(update={"revision": 2, "matter": "noise"})
        digest = casebook.add_facts(connection, changed, house.now)
    for stated in (digest, facts_digest(facts)):
        row = outbox_row(house, lead_id, evidence_digest=stated)
        with pytest.raises(GateRefusal, match="current evidence"):
            insert(house.pipeline, schema.outbox, row)
    assert house.outbox_size() == 0


def facts_digest(facts: CaseFacts) -> str:
    return sha256_hex(canonical_bytes(facts))


def test_an_outbox_row_for_a_planted_lead_is_refused(house: House) -> None:
    lead_id = house.candidate(seeded=True)
    house.say(lead_id, "olga")
    house.say(lead_id, "otto")
    with pytest.raises(GateRefusal, match="planted"):
        insert(house.pipeline, schema.outbox, outbox_row(house, lead_id))


def test_a_recall_without_a_dispatch_is_refused(house: House) -> None:
    row = outbox_row(house, house.confirmed(), kind="recall")
    with pytest.raises(GateRefusal, match="called back"):
        insert(house.pipeline, schema.outbox, row)


@pytest.mark.parametrize("state", ["confirmed", "dispatched", "first_confirmed", "acknowledged"])
def test_a_state_set_by_hand_is_refused(house: House, state: str) -> None:
    lead_id = house.candidate()
    with pytest.raises(GateRefusal):
        run(
            house.pipeline,
            "UPDATE cases SET state = :state, version = version + 1 WHERE lead_id = :lead",
            state=state,
            lead=lead_id,
        )
    assert house.state(lead_id) is CaseState.CANDIDATE
    assert dispatch_confirmed() == []


def test_confirmed_with_a_forged_event_but_no_confirmations_is_refused(house: House) -> None:
    lead_id = house.candidate()
    case = house.case(lead_id)
    with pytest.raises(GateRefusal, match="too few confirmations"):
        forge_step(house.owner, house, lead_id, case.version + 1, "candidate", "confirmed")
    assert house.state(lead_id) is CaseState.CANDIDATE


def test_a_step_without_its_event_is_refused(house: House) -> None:
    lead_id = house.sealed_lead()
    with pytest.raises(GateRefusal, match="needs its event"):
        run(
            house.review,
            "UPDATE cases SET state = 'in_triage', version = 2 WHERE lead_id = :lead",
            lead=lead_id,
        )


@pytest.mark.parametrize(
    ("who", "changes", "said"),
    [
        ("ana", {}, "person's confirmation"),
        ("sue", {}, "only an active officer"),
        ("olga", {"person_id": "person-somebody"}, "only an active officer"),
        ("olga", {"evidence_digest": "d" * 64}, "current evidence"),
        ("olga", {"attested": False}, "attestations"),
        ("olga", {"certificate_no": "forged"}, "only an active officer"),
    ],
)
def test_a_confirmation_row_that_is_not_an_officers_is_refused(
    house: House, who: str, changes: dict[str, object], said: str
) -> None:
    lead_id = house.candidate()
    row = confirmation_row(house, lead_id, who, **changes)
    with pytest.raises(GateRefusal, match=said):
        insert(house.review, schema.confirmations, row)


def test_a_confirmation_dated_outside_the_certificate_is_refused(house: House) -> None:
    lead_id = house.candidate()
    later = house.now + timedelta(days=365 * 20)
    row = confirmation_row(house, lead_id, "olga", decided_at=later)
    with pytest.raises(GateRefusal, match="only an active officer"):
        insert(house.review, schema.confirmations, row)


def test_a_confirmation_row_of_a_recused_or_closed_officer_is_refused(house: House) -> None:
    lead_id = house.candidate()
    house.desk.recuse(house.people["olga"], lead_id, "a friend")
    with pytest.raises(GateRefusal, match="recused"):
        insert(house.review, schema.confirmations, confirmation_row(house, lead_id, "olga"))
    run(house.owner, "UPDATE accounts SET active = false WHERE username = 'otto'")
    with pytest.raises(GateRefusal, match="only an active officer"):
        insert(house.review, schema.confirmations, confirmation_row(house, lead_id, "otto"))


def test_what_was_recorded_cannot_be_changed_or_removed(house: House) -> None:
    lead_id = house.confirmed()
    dispatch_confirmed()
    filled = {"captures", "leads", "case_facts", "events", "confirmations", "outbox"}
    for name in sorted(filled):
        table = schema.metadata.tables[name]
        column = next(c.name for c in table.columns if not c.primary_key)
        for change in (table.update().values({column: table.c[column]}), table.delete()):
            with pytest.raises(GateRefusal, match="insert-only"), house.owner.transaction() as c:
                c.execute(change)
    assert house.state(lead_id) is CaseState.DISPATCHED


def test_every_insert_only_table_has_its_guard(house: House) -> None:
    for table in schema.INSERT_ONLY:
        with house.owner.transaction() as connection:
            inspector = (
                "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :t"
                " AND (sql LIKE '%BEFORE UPDATE%' OR sql LIKE '%BEFORE DELETE%')"
                if house.owner.is_sqlite
                else "SELECT 2 * count(*) FROM pg_trigger WHERE tgrelid = CAST(:t AS regclass)"
                " AND tgname = :t || '_insert_only'"
            )
            assert connection.scalar(sa.text(inspector), {"t": table.name}) == 2, table.name


def test_a_recorded_row_cannot_be_replaced(house: House) -> None:
    if not house.owner.is_sqlite:
        pytest.skip("REPLACE is SQLite's own; PostgreSQL's ON CONFLICT DO UPDATE needs UPDATE")
    lead_id = house.sealed_lead()
    with pytest.raises(GateRefusal, match="already holds"):
        run(house.owner, "INSERT OR REPLACE INTO cases SELECT * FROM cases")
    house.accept(lead_id)
    house.say(lead_id, "olga")
    with pytest.raises(GateRefusal, match="already holds"):
        run(house.owner, "INSERT OR REPLACE INTO confirmations SELECT * FROM confirmations")


def test_the_pipelines_role_cannot_confirm_and_the_reviews_role_cannot_dispatch(
    house: House,
) -> None:
    if house.owner.is_sqlite:
        pytest.skip("SQLite knows no roles: only the triggers guard an embedded installation")
    lead_id = house.confirmed()
    other = house.candidate()
    with pytest.raises(GateRefusal, match="permission denied for table confirmations"):
        insert(house.pipeline, schema.confirmations, confirmation_row(house, other, "olga"))
    with pytest.raises(GateRefusal, match="permission denied for table outbox"):
        insert(house.review, schema.outbox, outbox_row(house, lead_id))
    with pytest.raises(GateRefusal, match="permission denied for table accounts"):
        run(house.pipeline, "SELECT password_hash FROM accounts")
    with pytest.raises(GateRefusal, match="permission denied for table accounts"):
        run(house.review, "UPDATE accounts SET role = 'officer'")
    assert house.outbox_size() == 0


def test_the_pipelines_role_takes_no_human_step(house: House) -> None:
    if house.owner.is_sqlite:
        pytest.skip("SQLite knows no roles: only the triggers guard an embedded installation")
    lead_id = house.sealed_lead()
    with pytest.raises(GateRefusal, match="only the review application"):
        forge_step(house.pipeline, house, lead_id, 2, "lead", "in_triage")


def test_the_migrated_schema_is_the_declared_one(house: House) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with house.owner.transaction() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, schema.metadata) == []
