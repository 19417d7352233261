"""Correlate: hold a capture's observations against the rules; each new incident is one lead."""

import uuid
from collections.abc import Mapping
from datetime import timedelta

from enforcement import incidents
from enforcement.cases import Lead
from enforcement.footage import Capture, Observation
from enforcement.places import Feed
from enforcement.rules import Finding, Rule, find
from feeds.messages import MEDIA_TYPE as MESSAGES
from pipelines.observe import observations_of
from pipelines.wiring import Wiring, wire
from settings.catalog import rule_digest
from storage.records import captures, casebook

_LEADS = uuid.UUID("6f0b5c3e-6a4e-4a57-9d4b-3f4d3b0f6f21")
"""Namespace of lead ids: the same finding in the same capture always has the same id."""


def correlate(capture_id: str, pins: Mapping[str, int] | None = None) -> list[str]:
    """Raise leads for what the rules find; returns the ids of all leads of this capture.

    ``pins``: versions of rules to be held instead of the current ones.
    Running it again raises nothing twice. A quarantined capture has no leads.
    """
    wiring = wire()
    with wiring.database.transaction() as connection:
        if captures.quarantine_reason(connection, capture_id) is not None:
            return []
        capture = captures.load_capture(connection, capture_id)
    if capture.object.media_type == MESSAGES:
        # Readings are held against rules window by window: see ``pipelines.windows``.
        return []
    feed = wiring.catalog.feed(capture.feed_id)
    observations = observations_of(wiring, capture)
    found = 0
    for rule in wiring.catalog.rules_at(pins or {}):
        for finding in _findings(rule, feed, capture, observations):
            found += 1
            _raise_once(wiring, rule, feed, capture, finding)
    digest = wiring.catalog.rules_digest
    with wiring.database.transaction() as connection:
        captures.note_correlation(connection, capture_id, digest, found, wiring.clock())
        return [lead.lead_id for lead in casebook.leads_of_capture(connection, capture_id)]


def _findings(
    rule: Rule, feed: Feed, capture: Capture, observations: list[Observation]
) -> tuple[Finding, ...]:
    if not rule.kind.is_of_footage or not rule.is_valid_at(capture.captured_at):
        return ()
    zones = tuple(zone for zone in feed.zones if zone.purpose is rule.purpose)
    return find(rule, zones, tuple(observations)) if zones else ()


def _raise_once(wiring: Wiring, rule: Rule, feed: Feed, capture: Capture, finding: Finding) -> None:
    alarm_at = (
        capture.captured_at
        + timedelta(seconds=capture.clock_offset_s)
        + timedelta(seconds=finding.alarm_at_s)
    )
    name = f"{capture.capture_id} {rule.rule_id} {finding.zone_id} {finding.alarm_at_s:.3f}"
    lead = Lead(
        lead_id=str(uuid.uuid5(_LEADS, name)),
        rule_id=rule.rule_id,
        rule_version=rule.version,
        rule_digest=rule_digest(rule),
        feed_id=feed.feed_id,
        site_id=feed.site_id,
        zone_id=finding.zone_id,
        capture_id=capture.capture_id,
        alarm_at=alarm_at,
        alarm_at_s=finding.alarm_at_s,
        onset_s=finding.onset_s,
        end_s=finding.end_s,
        score=finding.score,
        box=finding.box,
        reasons=finding.reasons,
        raised_at=wiring.clock(),
    )
    with wiring.database.transaction() as connection:
        known = casebook.incidents_near(
            connection, rule.rule_id, feed.feed_id, finding.zone_id, alarm_at,
            incidents.reach(rule),
        )  # fmt: skip
        if any(incidents.is_known(rule, alarm_at, finding.box, *earlier) for earlier in known):
            return
        casebook.raise_lead(connection, lead)
