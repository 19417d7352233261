"""Correlate: hold a capture's observations against the rules; each new incident is one lead."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from enforcement import incidents
from enforcement.cases import Lead
from enforcement.footage import Capture, Observation
from enforcement.places import Feed
from enforcement.rules import Finding, Rule, find
from feeds.messages import MEDIA_TYPE as MESSAGES
from pipelines.observe import ModelKey, observations_of
from pipelines.overflight import Overflight, Placed
from pipelines.wiring import Wiring, wire
from settings.catalog import rule_digest
from storage.records import captures, casebook, flights

_LEADS = uuid.UUID("6f0b5c3e-6a4e-4a57-9d4b-3f4d3b0f6f21")
"""Namespace of lead ids: the same finding in the same capture always has the same id."""


def correlate(
    capture_id: str,
    pins: Mapping[str, int] | None = None,
    keys: Sequence[ModelKey] | None = None,
) -> list[str]:
    """Raise leads for what the rules find; returns the ids of all leads of this capture.

    ``pins``: versions of rules to be held instead of the current ones. ``keys``: the observations
    to hold them against instead of today's.
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
    observations = observations_of(wiring, capture, keys)
    over = None
    if not feed.view_is_fixed:
        over = Overflight.of(wiring, capture, observations)
    found = 0
    for rule in wiring.catalog.rules_at(pins or {}):
        for finding in _findings(rule, feed, capture, observations):
            found += 1
            if over is None:
                _raise_once(wiring, rule, feed, capture, finding)
            else:
                _raise_once_on_ground(wiring, rule, feed, over, over.placed(finding))
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
    if not zones:
        return ()
    return find(rule, zones, tuple(observations), view_is_fixed=feed.view_is_fixed)


def _raise_once(wiring: Wiring, rule: Rule, feed: Feed, capture: Capture, finding: Finding) -> None:
    alarm_at = capture.began_at + timedelta(seconds=finding.alarm_at_s)
    lead = _lead(wiring, rule, feed, capture, finding, alarm_at)
    with wiring.database.transaction() as connection:
        known = casebook.incidents_near(
            connection, rule.rule_id, feed.feed_id, finding.zone_id, alarm_at,
            incidents.reach(rule),
        )  # fmt: skip
        if any(incidents.is_known(rule, alarm_at, finding.box, *earlier) for earlier in known):
            return
        casebook.raise_lead(connection, lead)


def _raise_once_on_ground(
    wiring: Wiring, rule: Rule, feed: Feed, over: Overflight, placed: Placed
) -> None:
    """What is seen time and again from one flight is one lead if it may lie at one place."""
    told = (*placed.finding.reasons, placed.where)
    finding = placed.finding.model_copy(update={"reasons": told})
    if placed.fix is None:
        _raise_once(wiring, rule, feed, over.capture, finding)
        return
    lead = _lead(wiring, rule, feed, over.capture, finding, placed.alarm_at)
    span = over.began_at, placed.alarm_at
    with wiring.database.transaction() as connection:
        known = flights.leads_on_ground(
            connection, rule.rule_id, over.mission_id, over.began_at - incidents.reach(rule),
            placed.alarm_at,
        )  # fmt: skip
        if any(
            incidents.is_known_on_ground(
                rule, placed.fix, span, (one.place, one.radius_m), (one.from_at, one.to_at),
                one.state,
            )
            for one in known
        ):  # fmt: skip
            return
        flights.raise_ground_lead(connection, lead, over.mission_id, *placed.fix, over.began_at)


def _lead(
    wiring: Wiring, rule: Rule, feed: Feed, capture: Capture, finding: Finding, alarm_at: datetime
) -> Lead:
    name = f"{capture.capture_id} {rule.rule_id} {finding.zone_id} {finding.alarm_at_s:.3f}"
    return Lead(
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
