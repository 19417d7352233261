"""Seal a lead of readings: messages as received, readings, a picture, the nearest camera's clip."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

from enforcement.cases import Lead
from enforcement.episodes import SensorFinding, titled
from enforcement.errors import EvidenceError
from enforcement.evidence import (
    DeviceStatus,
    EvidenceItem,
    EvidenceKind,
)
from enforcement.footage import Capture
from enforcement.model import Record, Sha256
from enforcement.readings import CalibrationInterval, Reading, ZoneName, may_open
from enforcement.rules import Rule
from enforcement.sensor_rules import SensorHourlyMean, SensorThreshold
from media.traces import Level, Trace, Value, draw_trace
from pipelines import VERSION
from pipelines.nearby import camera_evidence
from pipelines.seal import manifest_of, put_evidence, put_in_queue
from pipelines.sensing import FeedReadings
from pipelines.wiring import Wiring
from storage.canonical import canonical_bytes
from storage.records import captures, sensor_leads

_LEAST_AROUND = timedelta(minutes=30)
"""So much of the time before the onset and after the alarm is shown, at least."""
_STEP = timedelta(minutes=1)
"""How finely day and night are told apart in the picture."""


class Held(Record):
    """A reading on which the lead rests, and the digest of the capture that holds it."""

    reading: Reading
    capture_sha256: Sha256


class ReadingsDocument(Record):
    """What a lead of readings rests on, with the readings around it."""

    finding: SensorFinding
    time_zone: ZoneName
    calibrations: tuple[CalibrationInterval, ...]
    """Of the device."""
    opened_by: tuple[Held, ...]
    around: tuple[Reading, ...]
    """All readings of the same series, from before the onset to after the alarm."""


def seal_sensor_lead(wiring: Wiring, lead: Lead) -> None:
    """Make the evidence package of a lead of readings and put the lead into the review queue.

    Sealing it again changes nothing. Raises EvidenceError if its readings are not there.
    """
    with wiring.database.transaction() as connection:
        finding = sensor_leads.finding_of(connection, lead.lead_id)
        original = captures.load_capture(connection, lead.capture_id)
    if finding is None:
        raise EvidenceError(f"lead {lead.lead_id} does not rest on readings")
    document, holders = _document(wiring, lead, finding)
    rule = wiring.catalog.rule(lead.rule_id, lead.rule_version)
    status = _device_status(wiring, finding)
    camera = camera_evidence(wiring, lead, finding, status)
    items = (
        *_originals(original, holders),
        EvidenceItem(
            item_id="readings",
            kind=EvidenceKind.READINGS,
            object=put_evidence(wiring, lead, canonical_bytes(document), "application/json"),
            derived_from="original",
            made_by=f"sightline.readings@{VERSION}",
        ),
        EvidenceItem(
            item_id="trace",
            kind=EvidenceKind.KEY_FRAME,
            object=put_evidence(wiring, lead, draw_trace(_trace(rule, document)), "image/png"),
            derived_from="readings",
            made_by=f"sightline.trace@{VERSION}",
        ),
        *camera.items,
    )
    manifest = manifest_of(wiring, lead, original, finding.device_id, items, notes=camera.notes)
    put_in_queue(wiring, lead, manifest, status)


def _document(
    wiring: Wiring, lead: Lead, finding: SensorFinding
) -> tuple[ReadingsDocument, list[Capture]]:
    """What is sealed of the readings, and the captures of those that opened the lead."""
    feed = wiring.catalog.feed(lead.feed_id)
    readings = FeedReadings(wiring, feed, with_late=True)
    holders = readings.holders(finding.opened_by)
    held = zip(finding.opened_by, holders, strict=True)
    margin = max(_LEAST_AROUND, finding.alarm_at - finding.onset_at)
    end = max(finding.alarm_at, finding.last_at) + margin
    around = readings.between(finding.onset_at - margin, end)
    devices = [one for one in wiring.catalog.devices if one.device_id == finding.device_id]
    document = ReadingsDocument(
        finding=finding,
        time_zone=wiring.catalog.site(lead.site_id).time_zone or "UTC",
        calibrations=tuple(one for device in devices for one in device.calibration_intervals),
        opened_by=tuple(
            Held(reading=reading, capture_sha256=capture.object.sha256) for reading, capture in held
        ),
        around=tuple(one for one in around if one.series == finding.series),
    )
    return document, holders


def _originals(original: Capture, holders: Sequence[Capture]) -> Iterator[EvidenceItem]:
    """The capture with the reading of the alarm, and the others with readings that opened it."""
    others = {
        one.capture_id: one for one in holders if one.capture_id != original.capture_id
    }.values()
    for number, capture in enumerate((original, *others)):
        yield EvidenceItem(
            item_id=f"original-{number + 1}" if number else "original",
            kind=EvidenceKind.FURTHER_ORIGINAL if number else EvidenceKind.ORIGINAL,
            object=capture.object,
            made_by=f"sightline.collect@{VERSION}",
        )


def _device_status(wiring: Wiring, finding: SensorFinding) -> DeviceStatus:
    """Whether review covered the instrument during all that the lead rests on."""
    devices = [one for one in wiring.catalog.devices if one.device_id == finding.device_id]
    if not devices:
        return "unregistered"
    moments = [moment for one in finding.opened_by for moment in (one.since, one.at)]
    return "valid" if all(devices[0].is_valid_at(moment) for moment in moments) else "invalid"


def _trace(rule: Rule, document: ReadingsDocument) -> Trace:
    finding, zone = document.finding, ZoneInfo(document.time_zone)
    readings = sorted(document.around, key=lambda one: one.at)
    since = min(readings[0].since, finding.onset_at)
    until = max(readings[-1].at, finding.alarm_at)
    held = _limits_held(rule, since, until, zone)
    return Trace(
        title=f"{titled(finding.quantity)} at {finding.device_id}",
        unit=readings[0].unit,
        values=[Value(one.at, one.value, may_open(one, document.calibrations)) for one in readings],
        limits=[
            Level(begin, end, value)
            for begin, end, night in held
            for value in _limit_values(rule, night)
        ],
        nights=[(begin, end) for begin, end, night in held if night],
        onset_at=finding.onset_at,
        alarm_at=finding.alarm_at,
        zone=zone,
    )


def _limits_held(
    rule: Rule, since: datetime, until: datetime, zone: ZoneInfo
) -> list[tuple[datetime, datetime, bool]]:
    """The days and nights in that time, as (start, end, whether night)."""
    params = rule.sensor_params
    if not isinstance(params, SensorThreshold | SensorHourlyMean):
        return []
    steps = int((until - since) / _STEP) + 1
    moments = [since + _STEP * number for number in range(steps)]
    parts = [
        (night, list(part))
        for night, part in groupby(moments, lambda at: params.is_night(at, zone))
    ]
    starts = [part[0] for _, part in parts]
    ends = [*starts[1:], until]
    nights = [night for night, _ in parts]
    return list(zip(starts, ends, nights, strict=True))


def _limit_values(rule: Rule, night: bool) -> list[float]:
    params = rule.sensor_params
    if not isinstance(params, SensorThreshold | SensorHourlyMean):
        return []
    limit = params.night if night and params.night is not None else params.limit
    return [value for value in (limit.below, limit.above) if value is not None]
