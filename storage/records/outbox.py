"""The transactional outbox: the only module that writes what leaves.

A row is written in the same transaction that makes its case dispatched, carries a fixed event id,
and is handed over as often as needed until a recipient acknowledges that id.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import sqlalchemy as sa

from enforcement.cases import ConfirmedCase
from storage.records import schema


class EventKind(StrEnum):
    DISPATCH = "dispatch"
    RECALL = "recall"


class Outgoing(NamedTuple):
    """An event to hand over: ``payload`` is the exact body, fixed when it was written."""

    event_id: str
    lead_id: str
    kind: EventKind
    recipient_id: str
    payload: str
    attempts: int
    last_attempt_at: datetime | None


RETRY_DELAYS = tuple(timedelta(seconds=s) for s in (0, 5, 30, 120, 600, 3600, 4 * 3600, 12 * 3600))
"""Wait before each attempt, then the last one for ever: an event is never dropped."""


def write_dispatch(
    connection: sa.Connection,
    case: ConfirmedCase,
    *,
    event_id: str,
    recipient_id: str,
    payload: str,
    now: datetime,
) -> None:
    """Queue a confirmed case for one recipient. The database checks the confirmations again."""
    _write(
        connection,
        event_id=event_id,
        lead_id=case.lead_id,
        kind=EventKind.DISPATCH,
        recipient_id=recipient_id,
        evidence_digest=case.evidence_digest,
        payload=payload,
        created_at=now,
    )


def write_recall(
    connection: sa.Connection,
    dispatched: Outgoing,
    *,
    event_id: str,
    payload: str,
    now: datetime,
) -> None:
    """Queue the recall of an event that a recipient may have."""
    digest = connection.scalar(
        sa.select(schema.outbox.c.evidence_digest).where(
            schema.outbox.c.event_id == dispatched.event_id
        )
    )
    _write(
        connection,
        event_id=event_id,
        lead_id=dispatched.lead_id,
        kind=EventKind.RECALL,
        recipient_id=dispatched.recipient_id,
        evidence_digest=digest,
        payload=payload,
        created_at=now,
    )


def undelivered(connection: sa.Connection, now: datetime) -> list[Outgoing]:
    """Events whose next attempt is due, oldest first.

    The dispatch of a case that was recalled meanwhile is not among them.
    """
    recalled = sa.exists().where(
        schema.cases.c.lead_id == schema.outbox.c.lead_id, schema.cases.c.state == "recalled"
    )
    due = _outgoing(
        connection,
        ~_delivered(),
        sa.or_(schema.outbox.c.kind == EventKind.RECALL, ~recalled),
    )
    return [event for event in due if _is_due(event, now)]


def to_recall(connection: sa.Connection) -> list[Outgoing]:
    """Dispatches of recalled cases that a recipient may have and was not told to drop yet."""
    o = schema.outbox
    other = o.alias()
    told = sa.exists().where(
        other.c.lead_id == o.c.lead_id,
        other.c.recipient_id == o.c.recipient_id,
        other.c.kind == EventKind.RECALL,
    )
    recalled = sa.exists().where(
        schema.cases.c.lead_id == o.c.lead_id, schema.cases.c.state == "recalled"
    )
    found = _outgoing(connection, o.c.kind == EventKind.DISPATCH, recalled, ~told)
    # Even a failed attempt may have reached the recipient before its answer was lost.
    return [event for event in found if event.attempts]


def note_attempt(
    connection: sa.Connection, event: Outgoing, delivered: bool, answer: str, now: datetime
) -> None:
    """Log an attempt; a delivered one is the receipt."""
    connection.execute(
        schema.deliveries.insert().values(
            event_id=event.event_id,
            attempt=event.attempts + 1,
            at=now,
            delivered=delivered,
            answer=answer[:500],
        )
    )


def fully_delivered(connection: sa.Connection, lead_id: str) -> bool:
    """Whether every recipient of a dispatched case acknowledged it."""
    waiting = connection.scalar(
        sa.select(sa.func.count())
        .select_from(schema.outbox)
        .where(
            schema.outbox.c.lead_id == lead_id,
            schema.outbox.c.kind == EventKind.DISPATCH,
            ~_delivered(),
        )
    )
    return waiting == 0


def count(connection: sa.Connection) -> int:
    """How many events were ever written."""
    return connection.scalar(sa.select(sa.func.count()).select_from(schema.outbox)) or 0


def _write(connection: sa.Connection, **row: object) -> None:
    connection.execute(schema.outbox.insert().values(row))


def _delivered() -> sa.ColumnElement[bool]:
    receipt = schema.deliveries.alias()
    return sa.exists().where(receipt.c.event_id == schema.outbox.c.event_id, receipt.c.delivered)


def _outgoing(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> list[Outgoing]:
    o, d = schema.outbox, schema.deliveries
    rows = connection.execute(
        sa.select(
            o,
            sa.func.count(d.c.attempt).label("attempts"),
            sa.func.max(d.c.at, type_=schema.Moment).label("last"),
        )
        .outerjoin(d, d.c.event_id == o.c.event_id)
        .where(*conditions)
        .group_by(*o.c)
        .order_by(o.c.created_at, o.c.event_id)
    )
    return [
        Outgoing(
            row["event_id"],
            row["lead_id"],
            EventKind(row["kind"]),
            row["recipient_id"],
            row["payload"],
            row["attempts"],
            row["last"],
        )
        for row in rows.mappings()
    ]


def _is_due(event: Outgoing, now: datetime) -> bool:
    if event.last_attempt_at is None:
        return True
    delay = RETRY_DELAYS[min(event.attempts, len(RETRY_DELAYS) - 1)]
    return now >= event.last_attempt_at + delay
