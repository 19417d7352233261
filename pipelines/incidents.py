"""Incidents: a sealed lead opens a case, or its package joins the open case of its incident.

Camera, drone and sensor tell of one matter at one place and time in their own ways, and an officer
should judge it once, over all of the evidence. What is decided stays as it is: then a lead opens
a case of its own.
"""

from collections.abc import Iterator
from datetime import timedelta

import sqlalchemy as sa

from enforcement.cases import JOINABLE, Case, Lead
from enforcement.errors import ConfigurationError, StaleVersion
from enforcement.evidence import CaseFacts
from enforcement.fusion import SENSOR_REACH_M, Sighting, is_one_incident, lead_span
from pipelines.wiring import Wiring
from storage.records import casebook, incidents, sensor_leads

_REACH = timedelta(days=7)
"""Alarms further from a lead's time than this are not looked at, however long they went on."""

_TRIES = 3


def enter(wiring: Wiring, lead: Lead, facts: CaseFacts) -> None:
    """Put a sealed lead into the queue, by itself or as a part of its incident's case.

    Entering it again changes nothing. ``facts`` are those of a case of its own.
    """
    for _ in range(_TRIES):
        try:
            with wiring.database.transaction() as connection:
                _enter(wiring, connection, lead, facts)
        except StaleVersion:
            # Somebody acted on that case meanwhile, or its facts are not what they were: look anew.
            continue
        return
    with wiring.database.transaction() as connection:
        casebook.open_case(connection, facts, wiring.clock())


def _enter(wiring: Wiring, connection: sa.Connection, lead: Lead, facts: CaseFacts) -> None:
    found = None if lead.seeded else _case_of_incident(wiring, connection, lead, facts)
    if incidents.case_of(connection, lead.lead_id) is not None:
        return
    if found is None:
        casebook.open_case(connection, facts, wiring.clock())
    else:
        casebook.join_case(connection, found, facts, wiring.clock())


def _case_of_incident(
    wiring: Wiring, connection: sa.Connection, lead: Lead, facts: CaseFacts
) -> Case | None:
    """The open case of the same matter, place and time, under lock; the nearest in time."""
    for case_id in _open_cases(wiring, connection, lead, facts.matter):
        case = casebook.load_case(connection, case_id, lock=True)
        if case.state not in JOINABLE:
            continue
        known = casebook.current_facts(connection, case_id)
        # Evidence of an instrument that no review covered would keep a good case from leaving, and
        # must not leave with it.
        same_status = known.device_status == facts.device_status
        if known.matter == facts.matter and same_status and not known.seeded:
            return case
    return None


def _open_cases(
    wiring: Wiring, connection: sa.Connection, lead: Lead, matter: str
) -> Iterator[str]:
    mine = _sighting(wiring, connection, lead)
    rules = {one.rule_id for one in wiring.catalog.rules if one.matter == matter}
    near = incidents.open_near(
        connection, matter, rules, mine.span[0] - _REACH, mine.span[1] + _REACH
    )
    own_s = _same_incident_s(wiring, lead)
    found: list[tuple[timedelta, str]] = []
    for lead_id, case_id in near:
        other = casebook.load_lead(connection, lead_id)
        sighting = _sighting(wiring, connection, other)
        if is_one_incident(mine, sighting, max(own_s, _same_incident_s(wiring, other))):
            found.append((abs(other.alarm_at - lead.alarm_at), case_id))
    yield from dict.fromkeys(case_id for _, case_id in sorted(found))


def _same_incident_s(wiring: Wiring, lead: Lead) -> float:
    try:
        return wiring.catalog.rule(lead.rule_id, lead.rule_version).same_incident_s
    except ConfigurationError:
        return 0.0


def _sighting(wiring: Wiring, connection: sa.Connection, lead: Lead) -> Sighting:
    """What is known of a lead's place: a fix, the ground in its camera's view, or its site."""
    ground = incidents.on_ground(connection, lead.lead_id)
    if ground is not None:
        return Sighting(lead, span=ground[1], fix=ground[0])
    finding = sensor_leads.finding_of(connection, lead.lead_id)
    if finding is not None:
        places = {one.device_id: one.place for one in wiring.catalog.devices}
        place = places.get(finding.device_id)
        return Sighting(
            lead,
            span=(finding.onset_at, max(finding.alarm_at, finding.last_at)),
            fix=None if place is None else (place, SENSOR_REACH_M),
        )
    views = {one.feed_id: one.in_view for one in wiring.catalog.feeds}
    return Sighting(lead, span=lead_span(lead), in_view=views.get(lead.feed_id))
