"""Leads that rest on readings: what each rests on, and which are about the same episode."""

from datetime import datetime

import sqlalchemy as sa

from enforcement.cases import CaseState, Lead
from enforcement.episodes import SensorFinding
from storage.records import schema
from storage.records.casebook import load_lead, raise_lead
from storage.records.database import serialise
from storage.records.incidents import with_cases


def series_text(finding: SensorFinding) -> str:
    """Device, quantity, kind and span, as one text."""
    device_id, quantity, kind, span_s = finding.series
    return f"{device_id} {quantity} {kind} {span_s:g}"


def leads_of_series(
    connection: sa.Connection, rule_id: str, feed_id: str, zone_id: str, series: str,
    since: datetime, until: datetime,
) -> list[tuple[Lead, SensorFinding, CaseState]]:  # fmt: skip
    """Leads with an alarm from ``since`` to ``until``, with what they rest on and their states.

    Takes the lock that keeps two transactions from raising the same incident.
    """
    serialise(connection, "incident", rule_id, feed_id, zone_id)
    s, l, k = schema.sensor_leads, schema.leads, schema.cases  # noqa: E741
    rows = connection.execute(
        sa.select(s.c.lead_id, s.c.finding, k.c.state)
        .select_from(with_cases(s.join(l, l.c.lead_id == s.c.lead_id), s.c.lead_id))
        .where(
            s.c.feed_id == feed_id,
            s.c.series == series,
            s.c.alarm_at.between(since, until),
            l.c.rule_id == rule_id,
            l.c.zone_id == zone_id,
        )
        .order_by(s.c.alarm_at)
    ).all()
    return [
        (
            load_lead(connection, lead_id),
            SensorFinding.model_validate(finding),
            CaseState(state or CaseState.LEAD),
        )
        for lead_id, finding, state in rows
    ]


def raise_sensor_lead(connection: sa.Connection, lead: Lead, finding: SensorFinding) -> None:
    """Write a new lead and what it rests on. The caller has made sure that its incident is new."""
    raise_lead(connection, lead)
    connection.execute(
        schema.sensor_leads.insert().values(
            lead_id=lead.lead_id,
            feed_id=lead.feed_id,
            series=series_text(finding),
            alarm_at=finding.alarm_at,
            last_at=finding.last_at,
            finding=finding.model_dump(mode="json"),
        )
    )


def finding_of(connection: sa.Connection, lead_id: str) -> SensorFinding | None:
    """What a lead rests on, if it rests on readings."""
    table = schema.sensor_leads
    found = connection.scalar(sa.select(table.c.finding).where(table.c.lead_id == lead_id))
    return None if found is None else SensorFinding.model_validate(found)


def unsealed(connection: sa.Connection, feed_id: str, start: datetime, end: datetime) -> list[Lead]:
    """Leads of readings with an alarm in ``[start, end)`` that are not in the queue yet."""
    s, k = schema.sensor_leads, schema.cases
    ids = connection.scalars(
        sa.select(s.c.lead_id)
        .select_from(with_cases(s, s.c.lead_id))
        .where(s.c.feed_id == feed_id, s.c.alarm_at >= start, s.c.alarm_at < end)
        .where(k.c.lead_id.is_(None))
        .order_by(s.c.alarm_at, s.c.lead_id)
    ).all()
    return [load_lead(connection, lead_id) for lead_id in ids]
