"""Windows: hold the readings of an hour against the rules; each new episode is one lead.

A window is due once its time and the feed's allowed lateness have passed, and again whenever
readings come that concern it. What it gives follows from the readings alone, in whatever order
windows are evaluated, and however often.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from enforcement import incidents
from enforcement.cases import CaseState, Lead
from enforcement.episodes import SensorFinding, Window
from enforcement.errors import ConfigurationError, SightlineError, StepsFailed
from enforcement.geometry import WHOLE_BOX
from enforcement.places import Feed, Zone
from enforcement.readings import Reading
from enforcement.rules import Rule
from enforcement.sensing import evaluate
from enforcement.sensor_rules import SensorParams, calm_s, is_of_health, lookback_s
from pipelines.seal_readings import seal_sensor_lead
from pipelines.sensing import WINDOW, FeedReadings, window_of
from pipelines.wiring import Wiring, wire
from settings.catalog import rule_digest
from storage.records import sensor_leads, windows
from storage.records.windows import SensorProblem

_LEADS = uuid.UUID("0b0c9a4e-2f63-4f0e-8a35-5d1b6c8e7a90")
"""Namespace of the ids of leads that rest on readings: the same alarm always has the same id."""

_ONE_EPISODE = timedelta(days=1)
"""Leads so much later are looked at: whether late readings made them part of this episode."""

_INSTANT = timedelta(microseconds=1)

Pins = Mapping[str, int]
"""Rules that are to be held in an earlier version than the current one."""


def due(now: datetime | None = None) -> list[list[str]]:
    """Windows to be evaluated, as ``feed start``: one batch a feed, in the order of time."""
    wiring = wire()
    now = now or wiring.clock()
    feeds = {feed.feed_id: feed for feed in wiring.catalog.feeds}
    with wiring.database.transaction() as connection:
        found = windows.open_windows(connection, now)
    batches: dict[str, list[str]] = {}
    for one in found:
        feed = feeds.get(one.feed_id)
        if feed is not None and one.end_at + timedelta(seconds=feed.allowed_lateness_s) <= now:
            batches.setdefault(one.feed_id, []).append(f"{one.feed_id} {one.start_at.isoformat()}")
    return list(batches.values())


def evaluate_all(batch: Sequence[str]) -> list[str]:
    """Evaluate each window; returns the ids of new leads. Raises StepsFailed at the end for those
    that could not be evaluated."""
    raised: list[str] = []
    failed: list[str] = []
    for one in batch:
        feed_id, start = one.split(" ", 1)
        try:
            raised += evaluate_window(feed_id, datetime.fromisoformat(start))
        except SightlineError as error:
            failed.append(f"{one}: {error}")
    if failed:
        raise StepsFailed(f"{len(failed)} of {len(batch)} windows: " + "; ".join(failed))
    return raised


def evaluate_window(
    feed_id: str, start: datetime, pins: Pins | None = None, *, all_readings: bool = False
) -> list[str]:
    """Hold the readings of one window against the rules; returns the ids of new leads.

    New leads are sealed and in the queue at the end. ``all_readings``: those that came too late
    as well. Raises ConfigurationError for a feed or a pinned rule that the catalog lacks.
    """
    wiring = wire()
    feed = wiring.catalog.feed(feed_id)
    look = _Look(wiring, feed, FeedReadings(wiring, feed, with_late=all_readings))
    window = Window(start=start, end=start + WINDOW)
    held = look.rules(pins or {})
    with wiring.database.transaction() as connection:
        revision = windows.revision_of(connection, feed_id, window.start)
    readings = look.readings_for(window, [params for _, _, params in held])
    problems: list[SensorProblem] = []
    raised: list[str] = []
    for rule, zone, params in held:
        for finding in look.findings(params, window, readings):
            if not rule.is_valid_at(finding.alarm_at):
                continue
            if is_of_health(params):
                problems.append(SensorProblem.of(feed_id, rule.rule_id, rule.kind, finding))
            elif not finding.continues and _raise_once(look, rule, zone, finding):
                raised.append(lead_id_of(rule, look.feed, zone, finding))
    with wiring.database.transaction() as connection:
        unsealed = sensor_leads.unsealed(connection, feed_id, window.start, window.end)
    for lead in unsealed:
        seal_sensor_lead(wiring, lead)
    with wiring.database.transaction() as connection:
        windows.note_problems(connection, feed_id, window.start, problems)
        windows.note_evaluated(
            connection, feed_id, window.start, revision, wiring.catalog.rules_digest, wiring.clock()
        )
    return raised


def lead_id_of(rule: Rule, feed: Feed, zone: Zone, finding: SensorFinding) -> str:
    """The id of the lead that this finding makes, whichever version of the rule found it."""
    name = (
        f"{rule.rule_id} {feed.feed_id} {zone.zone_id} {sensor_leads.series_text(finding)}"
        f" {finding.alarm_at.isoformat()}"
    )
    return str(uuid.uuid5(_LEADS, name))


@dataclass(frozen=True)
class _Look:
    """A look at the readings of a feed."""

    wiring: Wiring
    feed: Feed
    readings: FeedReadings

    def rules(self, pins: Pins) -> list[tuple[Rule, Zone, SensorParams]]:
        """The feed's sensor rules, each with a zone to which it applies."""
        return [
            (rule, zone, rule.sensor_params)
            for rule in self.wiring.catalog.rules_at(pins)
            for zone in self.feed.zones
            if rule.sensor_params is not None and zone.purpose is rule.purpose
        ]

    def readings_for(self, window: Window, rules: Iterable[SensorParams]) -> tuple[Reading, ...]:
        """All that these rules need to tell what the window shows."""
        reach_s = max((lookback_s(params) for params in rules), default=0.0)
        return self.readings.between(window.start - timedelta(seconds=reach_s), window.end)

    def findings(
        self, params: SensorParams, window: Window, readings: Iterable[Reading]
    ) -> tuple[SensorFinding, ...]:
        """All episodes that the window shows."""
        site = self.wiring.catalog.site(self.feed.site_id)
        if site.time_zone is None:
            raise ConfigurationError(f"site {site.site_id} has sensor rules, so it needs time_zone")
        sensors = self.feed.sensors
        devices = [one for one in self.wiring.catalog.devices if one.device_id in sensors]
        calibrations = [one for device in devices for one in device.calibration_intervals]
        return evaluate(params, readings, calibrations, window, site.time_zone, sensors).findings


def _raise_once(look: _Look, rule: Rule, zone: Zone, finding: SensorFinding) -> bool:
    """Raise a lead unless there is one of the same episode; tells whether it did."""
    near = _near(look, rule, zone, finding)
    if any(other.lead_id == lead_id_of(rule, look.feed, zone, finding) for other, _, _ in near):
        return False
    later = [one.alarm_at for _, one, _ in near if one.alarm_at > finding.alarm_at]
    whole = _until(look, rule, finding, max(later)) if later else finding
    lead = _lead(look, rule, zone, finding)
    with look.wiring.database.transaction() as connection:
        known = _leads_near(connection, look, rule, zone, finding)
        for other, earlier, state in known:
            if other.lead_id == lead.lead_id:
                return False
            if incidents.is_known_episode(rule, whole, earlier, state):
                return False
        sensor_leads.raise_sensor_lead(connection, lead, finding)
    return True


def _near(
    look: _Look, rule: Rule, zone: Zone, finding: SensorFinding
) -> list[tuple[Lead, SensorFinding, CaseState]]:
    with look.wiring.database.transaction() as connection:
        return _leads_near(connection, look, rule, zone, finding)


def _leads_near(
    connection: sa.Connection, look: _Look, rule: Rule, zone: Zone, finding: SensorFinding
) -> list[tuple[Lead, SensorFinding, CaseState]]:
    """Leads that may be about the same episode."""
    calm_and_quiet_s = rule.quiet_after_rejection_s
    if rule.sensor_params is not None:
        calm_and_quiet_s += calm_s(rule.sensor_params)
    reach = WINDOW + timedelta(seconds=calm_and_quiet_s)
    return sensor_leads.leads_of_series(
        connection, rule.rule_id, look.feed.feed_id, zone.zone_id,
        sensor_leads.series_text(finding),
        finding.alarm_at - reach, finding.alarm_at + reach + _ONE_EPISODE,
    )  # fmt: skip


def _until(look: _Look, rule: Rule, finding: SensorFinding, later: datetime) -> SensorFinding:
    """The finding, followed until a later moment."""
    if rule.sensor_params is None or finding.end_at is not None:
        return finding
    span = Window(start=window_of(finding.alarm_at), end=later + _INSTANT)
    readings = look.readings_for(span, [rule.sensor_params])
    followed = look.findings(rule.sensor_params, span, readings)
    same = [
        one for one in followed if (one.series, one.alarm_at) == (finding.series, finding.alarm_at)
    ]
    return same[0] if same else finding


def _lead(look: _Look, rule: Rule, zone: Zone, finding: SensorFinding) -> Lead:
    """Its capture is the one with the reading of the alarm, and its seconds count from that."""
    [capture] = look.readings.holders([max(finding.opened_by, key=lambda one: one.at)])

    def seconds(moment: datetime) -> float:
        return round((moment - capture.captured_at).total_seconds(), 3)

    return Lead(
        lead_id=lead_id_of(rule, look.feed, zone, finding),
        rule_id=rule.rule_id,
        rule_version=rule.version,
        rule_digest=rule_digest(rule),
        feed_id=look.feed.feed_id,
        site_id=look.feed.site_id,
        zone_id=zone.zone_id,
        capture_id=capture.capture_id,
        alarm_at=finding.alarm_at,
        alarm_at_s=seconds(finding.alarm_at),
        onset_s=seconds(finding.onset_at),
        end_s=None if finding.end_at is None else seconds(finding.end_at),
        # A limit is exceeded or not: there is no opinion of a model to give.
        score=1.0,
        box=WHOLE_BOX,
        reasons=finding.reasons,
        raised_at=look.wiring.clock(),
    )
