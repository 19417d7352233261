"""Incidents: leads whose evidence is part of another lead's case."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from enforcement.cases import JOINABLE
from enforcement.changes import Fix
from enforcement.flights import GroundPoint
from enforcement.footage import StoredObject
from enforcement.fusion import Span
from storage.records import schema
from storage.records.database import serialise


class JoinedLead(NamedTuple):
    """A lead that opened no case of its own."""

    lead_id: str
    case_id: str
    """The lead whose case its package is part of."""
    facts_revision: int
    """The revision of that case's facts that was the first to name the package."""
    manifest: StoredObject
    at: datetime


def with_cases(leads: sa.FromClause, lead_id: sa.ColumnElement[str]) -> sa.Join:
    """These rows, each with the case of its lead (``schema.cases``): its own or the one it joined.

    Both are NULL for a lead that is not in the queue yet.
    """
    j, k = schema.joined_leads, schema.cases
    joined = leads.outerjoin(j, j.c.lead_id == lead_id)
    return joined.outerjoin(k, k.c.lead_id == sa.func.coalesce(j.c.case_id, lead_id))


def case_of(connection: sa.Connection, lead_id: str) -> str | None:
    """Under which lead's id the case is that holds this lead's evidence; None: not in the queue."""
    l, k = schema.leads, schema.cases  # noqa: E741
    return connection.scalar(
        sa.select(k.c.lead_id).select_from(with_cases(l, l.c.lead_id)).where(l.c.lead_id == lead_id)
    )


def joined_leads(connection: sa.Connection, case_id: str | None = None) -> list[JoinedLead]:
    """The leads that joined a case, or any case, in the order in which they did."""
    table = schema.joined_leads
    statement = sa.select(table).order_by(table.c.case_id, table.c.facts_revision)
    if case_id is not None:
        statement = statement.where(table.c.case_id == case_id)
    return [
        JoinedLead(
            row["lead_id"],
            row["case_id"],
            row["facts_revision"],
            StoredObject(**{name: row[name] for name in StoredObject.model_fields}),
            row["at"],
        )
        for row in connection.execute(statement).mappings()
    ]


def note_joined(connection: sa.Connection, joined: JoinedLead) -> None:
    """Record that a lead's package is part of a case. Raises GateRefusal if the case is decided."""
    row = joined._asdict() | joined.manifest.model_dump()
    del row["manifest"]
    connection.execute(schema.joined_leads.insert().values(row))


def open_near(
    connection: sa.Connection, matter: str, rules: Collection[str], since: datetime, until: datetime
) -> list[tuple[str, str]]:
    """(lead, case) of these rules, with an alarm between, whose case takes further evidence.

    Takes the lock that keeps two leads of one matter from opening two cases at once.
    """
    serialise(connection, "matter", matter)
    l, k = schema.leads, schema.cases  # noqa: E741
    rows = connection.execute(
        sa.select(l.c.lead_id, k.c.lead_id)
        .select_from(with_cases(l, l.c.lead_id))
        .where(
            l.c.rule_id.in_(sorted(rules)),
            l.c.alarm_at.between(since, until),
            k.c.state.in_(sorted(JOINABLE)),
        )
        .order_by(l.c.alarm_at, l.c.lead_id)
    )
    return [(lead_id, case_id) for lead_id, case_id in rows]


def on_ground(connection: sa.Connection, lead_id: str) -> tuple[Fix, Span] | None:
    """Where a drone's lead is, and between which flights it came to be there."""
    table = schema.ground_fixes
    row = connection.execute(sa.select(table).where(table.c.lead_id == lead_id)).first()
    if row is None:
        return None
    place = GroundPoint(row.latitude_deg, row.longitude_deg)
    return (place, row.radius_m), (row.from_at, row.to_at)
