"""Leads, cases, facts, events and confirmations: reading them, and moving a case one step."""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from enforcement.cases import (
    Attestations,
    Case,
    CaseEvent,
    CaseState,
    Confirmation,
    ConfirmedCase,
    Lead,
)
from enforcement.errors import NotConfirmed, NotPermitted, StaleVersion
from enforcement.evidence import CaseFacts
from enforcement.footage import StoredObject
from enforcement.geometry import Box
from enforcement.lifecycle import Step, join_evidence
from storage.canonical import canonical_bytes, sha256_hex
from storage.records import schema
from storage.records.database import serialise
from storage.records.incidents import JoinedLead, note_joined, with_cases


def incidents_near(
    connection: sa.Connection, rule_id: str, feed_id: str, zone_id: str, moment: datetime,
    reach: timedelta,
) -> list[tuple[Lead, CaseState]]:  # fmt: skip
    """Leads of this rule, feed and zone within ``reach`` of the moment, with their states.

    Takes the lock that keeps two transactions from raising the same incident.
    """
    serialise(connection, "incident", rule_id, feed_id, zone_id)
    l, k = schema.leads, schema.cases  # noqa: E741
    rows = connection.execute(
        sa.select(l, k.c.state)
        .select_from(with_cases(l, l.c.lead_id))
        .where(
            l.c.rule_id == rule_id,
            l.c.feed_id == feed_id,
            l.c.zone_id == zone_id,
            l.c.alarm_at.between(moment - reach, moment + reach),
        )
        .order_by(l.c.alarm_at)
    ).mappings()
    return [(_lead(row), CaseState(row["state"] or CaseState.LEAD)) for row in rows]


def raise_lead(connection: sa.Connection, lead: Lead) -> None:
    """Write a new lead. The caller has made sure that its incident is new."""
    row = lead.model_dump()
    row["box"], row["reasons"] = list(lead.box), list(lead.reasons)
    connection.execute(schema.leads.insert().values(row))


def load_lead(connection: sa.Connection, lead_id: str) -> Lead:
    """Raises KeyError if there is no such lead."""
    table = schema.leads
    row = connection.execute(sa.select(table).where(table.c.lead_id == lead_id)).mappings().first()
    if row is None:
        raise KeyError(lead_id)
    return _lead(row)


def leads_of_capture(connection: sa.Connection, capture_id: str) -> list[Lead]:
    """All leads whose original this capture is, in order of alarm."""
    table = schema.leads
    rows = connection.execute(
        sa.select(table).where(table.c.capture_id == capture_id).order_by(table.c.alarm_at_s)
    )
    return [_lead(row) for row in rows.mappings()]


def open_case(connection: sa.Connection, facts: CaseFacts, now: datetime) -> Case:
    """Put a sealed lead into the review queue, with its first facts and its first event.

    Sealing the same lead again changes nothing: the case as it stands is returned.
    """
    serialise(connection, "case", facts.lead_id)
    known = find_case(connection, facts.lead_id)
    if known is not None:
        return known
    digest = add_facts(connection, facts, now)
    case = Case(lead_id=facts.lead_id, state=CaseState.LEAD, version=1, evidence_digest=digest)
    _write_event(
        connection,
        CaseEvent(
            lead_id=facts.lead_id,
            version=1,
            kind="sealed",
            actor="seal",
            actor_role="pipeline",
            at=now,
            from_state=CaseState.LEAD,
            to_state=CaseState.LEAD,
            detail={"evidence_digest": digest, "manifest_sha256": facts.manifest.sha256},
        ),
    )
    connection.execute(schema.cases.insert().values(case.model_dump()))
    return case


def join_case(connection: sa.Connection, case: Case, facts: CaseFacts, now: datetime) -> Case:
    """Let a sealed lead, as its own ``facts`` tell of it, be part of a case that is open.

    Its manifest becomes part of the facts to be confirmed, and every confirmation so far is void.
    Raises StaleVersion if the case is not as it was read or takes no further evidence.
    """
    before = current_facts(connection, case.lead_id)
    after = CaseFacts.model_validate(
        before.model_dump()
        | {
            "revision": before.revision + 1,
            "further": (*before.further, facts.manifest),
            "confirmations_required": max(
                before.confirmations_required, facts.confirmations_required
            ),
        }
    )
    digest = sha256_hex(canonical_bytes(after))
    step = join_evidence(case, digest, facts.lead_id, facts.manifest.sha256, now)
    add_facts(connection, after, now)
    joined = JoinedLead(facts.lead_id, case.lead_id, after.revision, facts.manifest, now)
    note_joined(connection, joined)
    return take(connection, case, step)


def add_facts(connection: sa.Connection, facts: CaseFacts, now: datetime) -> str:
    """Write a revision of the facts; returns its digest, the case's new evidence digest."""
    document = canonical_bytes(facts)
    digest = sha256_hex(document)
    connection.execute(
        schema.case_facts.insert().values(
            lead_id=facts.lead_id,
            revision=facts.revision,
            digest=digest,
            document=document.decode(),
            confirmations_required=facts.confirmations_required,
            device_status=facts.device_status,
            seeded=facts.seeded,
            at=now,
        )
    )
    return digest


def facts_document(connection: sa.Connection, lead_id: str) -> str:
    """The current facts as sealed. Raises KeyError without facts, StaleVersion if altered."""
    table = schema.case_facts
    row = connection.execute(
        sa.select(table.c.document, table.c.digest)
        .where(table.c.lead_id == lead_id)
        .order_by(table.c.revision.desc())
        .limit(1)
    ).first()
    if row is None:
        raise KeyError(lead_id)
    if sha256_hex(row.document.encode()) != row.digest:
        raise StaleVersion("the facts of this case do not match their digest: they were altered")
    return str(row.document)


def current_facts(connection: sa.Connection, lead_id: str) -> CaseFacts:
    """The current facts; see ``facts_document``."""
    return CaseFacts.model_validate_json(facts_document(connection, lead_id))


def find_case(connection: sa.Connection, lead_id: str, *, lock: bool = False) -> Case | None:
    """The case as it stands; ``lock`` keeps others from moving it until the transaction ends."""
    table = schema.cases
    statement = sa.select(table).where(table.c.lead_id == lead_id)
    row = connection.execute(statement.with_for_update() if lock else statement).mappings().first()
    return Case.model_validate(dict(row)) if row is not None else None


def load_case(connection: sa.Connection, lead_id: str, *, lock: bool = False) -> Case:
    """Like ``find_case``, but raises KeyError if there is no such case."""
    case = find_case(connection, lead_id, lock=lock)
    if case is None:
        raise KeyError(lead_id)
    return case


def take(connection: sa.Connection, before: Case, step: Step) -> Case:
    """Move a case: its event and the compare-and-swap of its row, in the caller's transaction.

    Raises StaleVersion if the case is not as it was read.
    """
    if find_case(connection, before.lead_id, lock=True) != before:
        raise StaleVersion("somebody else acted on this case meanwhile: reload")
    _write_event(connection, step.event)
    table = schema.cases
    moved = connection.execute(
        table.update()
        .where(table.c.lead_id == before.lead_id, table.c.version == before.version)
        .values(step.case.model_dump(exclude={"lead_id"}))
    )
    if moved.rowcount != 1:
        raise StaleVersion("somebody else acted on this case meanwhile: reload")
    return step.case


def add_confirmation(connection: sa.Connection, confirmation: Confirmation) -> None:
    """Write an officer's verdict. Raises NotPermitted if the person gave one on this evidence."""
    table = schema.confirmations
    twice = connection.scalar(
        sa.select(table.c.confirmation_id).where(
            table.c.lead_id == confirmation.lead_id,
            table.c.evidence_digest == confirmation.evidence_digest,
            table.c.person_id == confirmation.person_id,
        )
    )
    if twice is not None:
        raise NotPermitted("you have already decided on this evidence")
    row = confirmation.model_dump() | {"attested": confirmation.attestations.all_given}
    connection.execute(table.insert().values(row))


def confirmations_of(connection: sa.Connection, lead_id: str) -> list[Confirmation]:
    """All verdicts of officers on a case, of every evidence digest, in order of time."""
    table = schema.confirmations
    rows = connection.execute(
        sa.select(table).where(table.c.lead_id == lead_id).order_by(table.c.decided_at)
    ).mappings()
    return [
        Confirmation(
            attestations=Attestations(**row["attestations"]),
            **{n: row[n] for n in Confirmation.model_fields if n != "attestations"},
        )
        for row in rows
    ]


def confirmed_case(connection: sa.Connection, lead_id: str) -> ConfirmedCase:
    """The proof that a case may leave, from the records. Raises NotConfirmed otherwise."""
    case = load_case(connection, lead_id, lock=True)
    if case.state is not CaseState.CONFIRMED or case.triaged_by is None:
        raise NotConfirmed(f"the case is {case.state}")
    proof = ConfirmedCase(
        facts_document=facts_document(connection, lead_id),
        triaged_by=case.triaged_by,
        confirmations=tuple(confirmations_of(connection, lead_id)),
    )
    if proof.evidence_digest != case.evidence_digest:
        raise NotConfirmed("the case does not point to its current facts")
    return proof


def recuse(
    connection: sa.Connection, lead_id: str, person_id: str, reason: str, now: datetime
) -> None:
    """Record that an officer declared a conflict of interest."""
    schema_row = {"lead_id": lead_id, "person_id": person_id, "reason": reason, "at": now}
    connection.execute(schema.recusals.insert().values(schema_row))


def is_recused(connection: sa.Connection, lead_id: str, person_id: str) -> bool:
    table = schema.recusals
    return (
        connection.execute(
            sa.select(table.c.at).where(table.c.lead_id == lead_id, table.c.person_id == person_id)
        ).first()
        is not None
    )


def events_of(connection: sa.Connection, lead_id: str) -> list[CaseEvent]:
    """The full record of a case, in order."""
    table = schema.events
    rows = connection.execute(
        sa.select(table).where(table.c.lead_id == lead_id).order_by(table.c.version)
    ).mappings()
    return [CaseEvent.model_validate(dict(row)) for row in rows]


def queue(
    connection: sa.Connection,
    states: Collection[CaseState] | None = None,
    limit: int = 500,
    *,
    newest_first: bool = False,
) -> list[tuple[Lead, Case]]:
    """Leads with their cases, oldest alarm first; of all states if none are named."""
    l, k = schema.leads, schema.cases  # noqa: E741
    statement = sa.select(l, *[c.label(f"case_{c.name}") for c in k.c]).join(
        k, k.c.lead_id == l.c.lead_id
    )
    if states is not None:
        statement = statement.where(k.c.state.in_(sorted(states)))
    order = l.c.alarm_at.desc() if newest_first else l.c.alarm_at
    rows = connection.execute(statement.order_by(order, l.c.lead_id).limit(limit))
    return [
        (_lead(row), Case.model_validate({n: row[f"case_{n}"] for n in Case.model_fields}))
        for row in rows.mappings()
    ]


def lead_ids_in(connection: sa.Connection, states: Sequence[CaseState]) -> list[str]:
    """Ids of the cases in these states, oldest first."""
    table = schema.cases
    return list(
        connection.scalars(
            sa.select(table.c.lead_id).where(table.c.state.in_(states)).order_by(table.c.lead_id)
        )
    )


def note_view(
    connection: sa.Connection,
    lead_id: str,
    item_id: str,
    stored: StoredObject,
    account_id: str,
    now: datetime,
) -> None:
    """Log that somebody was shown a piece of evidence."""
    connection.execute(
        schema.evidence_views.insert().values(
            view_id=str(uuid.uuid4()),
            lead_id=lead_id,
            item_id=item_id,
            sha256=stored.sha256,
            account_id=account_id,
            at=now,
        )
    )


def deny(
    connection: sa.Connection,
    actor: str,
    action: str,
    lead_id: str | None,
    reason: str,
    now: datetime,
) -> None:
    """Log an act that the gate refused. Give it a transaction of its own."""
    connection.execute(
        schema.denials.insert().values(
            denial_id=str(uuid.uuid4()),
            at=now,
            actor=actor,
            action=action,
            lead_id=lead_id,
            reason=reason,
        )
    )


def denials(connection: sa.Connection, limit: int = 200) -> list[dict[str, Any]]:
    """Refused acts, newest first."""
    table = schema.denials
    rows = connection.execute(sa.select(table).order_by(table.c.at.desc()).limit(limit))
    return [dict(row) for row in rows.mappings()]


def _write_event(connection: sa.Connection, event: CaseEvent) -> None:
    connection.execute(schema.events.insert().values(event.model_dump()))


def _lead(row: sa.RowMapping) -> Lead:
    fields = {n: row[n] for n in Lead.model_fields if n not in {"box", "reasons"}}
    return Lead(box=Box(*row["box"]), reasons=tuple(row["reasons"]), **fields)
