"""Questions over many cases at once, for supervisors and the queue; reads only."""

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from enforcement.cases import CaseState
from storage.records import schema


class Delivery(NamedTuple):
    """One attempt to hand an event over to a recipient."""

    lead_id: str
    kind: str
    recipient_id: str
    attempt: int
    at: datetime
    delivered: bool
    answer: str


class View(NamedTuple):
    """Somebody was shown a piece of evidence."""

    at: datetime
    account_id: str
    item_id: str


def deliveries(
    connection: sa.Connection, lead_id: str | None = None, limit: int = 200
) -> list[Delivery]:
    """Attempts, newest first; of one case or of all."""
    o, d = schema.outbox, schema.deliveries
    columns = (
        o.c.lead_id, o.c.kind, o.c.recipient_id, d.c.attempt, d.c.at, d.c.delivered, d.c.answer
    )  # fmt: skip
    statement = sa.select(*columns).join(d, d.c.event_id == o.c.event_id)
    if lead_id is not None:
        statement = statement.where(o.c.lead_id == lead_id)
    rows = connection.execute(statement.order_by(d.c.at.desc()).limit(limit))
    return [Delivery(*row) for row in rows]


def views(connection: sa.Connection, lead_id: str, limit: int = 500) -> list[View]:
    """Who was shown which evidence of a case, newest first."""
    v = schema.evidence_views
    rows = connection.execute(
        sa.select(v.c.at, v.c.account_id, v.c.item_id)
        .where(v.c.lead_id == lead_id)
        .order_by(v.c.at.desc())
        .limit(limit)
    )
    return [View(*row) for row in rows]


def judged_by(connection: sa.Connection, person_id: str) -> set[tuple[str, str]]:
    """(lead, evidence digest) of all verdicts that this person gave."""
    c = schema.confirmations
    rows = connection.execute(
        sa.select(c.c.lead_id, c.c.evidence_digest).where(c.c.person_id == person_id)
    )
    return {(lead_id, digest) for lead_id, digest in rows}


def recused_by(connection: sa.Connection, person_id: str) -> set[str]:
    """Cases in which this person declared a conflict of interest."""
    r = schema.recusals
    return set(connection.scalars(sa.select(r.c.lead_id).where(r.c.person_id == person_id)))


def counts_by_state(connection: sa.Connection) -> dict[CaseState, int]:
    """How many cases there are in each state that has any."""
    k = schema.cases
    rows = connection.execute(sa.select(k.c.state, sa.func.count()).group_by(k.c.state))
    return {CaseState(state): number for state, number in rows}
