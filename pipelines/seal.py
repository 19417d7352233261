"""Seal: make a lead's evidence package, lock it, and put the lead into the review queue.

The package: the original as received, a clip around the event, key frames with boxes, what the
models saw, and a manifest with all digests. The manifest's bytes are stored once; its digest is
part of the facts that people confirm.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from enforcement.cases import Lead
from enforcement.errors import ModelError
from enforcement.evidence import (
    CaseFacts,
    DeviceStatus,
    EvidenceItem,
    EvidenceKind,
    Manifest,
    ModelUsed,
    Place,
    Provenance,
)
from enforcement.footage import Capture, StoredObject
from enforcement.geometry import Box
from enforcement.places import Feed
from feeds.messages import MEDIA_TYPE as MESSAGES
from media.drawing import draw_boxes, draw_zones, encode_jpeg
from media.footage import Image, Piece, frame_at, join_clip, probe
from pipelines import VERSION
from pipelines.incidents import enter
from pipelines.missions import telemetry_of
from pipelines.model_versions import versions_behind
from pipelines.observe import ModelKey, observations_of
from pipelines.wiring import Wiring, wire
from storage.canonical import canonical_bytes
from storage.evidence_store import BucketRole
from storage.records import captures, casebook, flights
from storage.records.incidents import case_of

_LEAD_IN_S = 6.0
_LEAD_OUT_S = 6.0
"""Seconds of footage kept before the onset and after the end (or the alarm, whichever is later)."""


def seal_capture(capture_id: str, keys: Sequence[ModelKey] | None = None) -> list[str]:
    """Seal every lead of a capture that is not in the queue yet; returns all its lead ids.

    ``keys``: the observations that they rest on; by default those that give them.
    The last step of a capture's way: it is pending no more. Raises ModelError for a capture that
    was not correlated yet: its leads are not known.
    """
    wiring = wire()
    with wiring.database.transaction() as connection:
        if captures.quarantine_reason(connection, capture_id) is not None:
            return []
        capture = captures.load_capture(connection, capture_id)
        if capture.object.media_type == MESSAGES:
            # Leads of readings are sealed with their window.
            return []
        if not captures.is_correlated(connection, capture_id):
            raise ModelError(f"capture {capture_id} has not been correlated yet")
        leads = casebook.leads_of_capture(connection, capture_id)
        unsealed = [
            lead
            for lead in leads
            if case_of(connection, lead.lead_id) is None and _rests_on_one_capture(wiring, lead)
        ]
    if unsealed:
        with wiring.footage_of(capture) as path:
            for lead in unsealed:
                _seal(wiring, capture, lead, path, versions_behind(wiring, capture, lead, keys))
    with wiring.database.transaction() as connection:
        captures.finish(connection, capture_id)
    return [lead.lead_id for lead in leads]


def _rests_on_one_capture(wiring: Wiring, lead: Lead) -> bool:
    """Leads of changes from flight to flight are sealed with their comparison."""
    return wiring.catalog.rule(lead.rule_id, lead.rule_version).kind.is_of_footage


def _seal(
    wiring: Wiring, capture: Capture, lead: Lead, footage: Path, keys: Sequence[ModelKey]
) -> None:
    feed = wiring.catalog.feed(capture.feed_id)
    with _preceding(wiring, capture, lead, keys) as preceding:
        items = (
            EvidenceItem(
                item_id="original",
                kind=EvidenceKind.ORIGINAL,
                object=capture.object,
                made_by=f"sightline.pull@{VERSION}",
            ),
            *([] if preceding is None else [preceding.item]),
            _clip(wiring, lead, footage, preceding),
            *_key_frames(wiring, feed, lead, footage, preceding),
            *_observations(wiring, capture, keys),
            *_telemetry(wiring, feed, capture),
        )
    manifest = manifest_of(wiring, lead, capture, feed.device_id, items, keys)
    put_in_queue(wiring, lead, manifest, device_status(wiring, feed, capture))


def put_in_queue(
    wiring: Wiring, lead: Lead, manifest: Manifest, device_status: DeviceStatus
) -> None:
    """Lock the manifest in the store; the lead opens a case or joins that of its incident."""
    stored = put_evidence(wiring, lead, canonical_bytes(manifest), "application/json")
    rule = wiring.catalog.rule(lead.rule_id, lead.rule_version)
    facts = CaseFacts(
        lead_id=lead.lead_id,
        revision=1,
        manifest=stored,
        rule_id=rule.rule_id,
        rule_version=rule.version,
        matter=rule.matter,
        place=Place(site_id=lead.site_id, text=_place_text(wiring, lead)),
        device_status=device_status,
        confirmations_required=wiring.settings.confirmations_required,
        seeded=lead.seeded,
    )
    enter(wiring, lead, facts)


def _place_text(wiring: Wiring, lead: Lead) -> str:
    """Where on the ground it is, if that is known."""
    with wiring.database.transaction() as connection:
        fix = flights.fix_of(connection, lead.lead_id)
    if fix is None:
        return ""
    (latitude_deg, longitude_deg), radius_m = fix
    return f"{latitude_deg:.6f}, {longitude_deg:.6f} ± {radius_m:.1f} m"


@dataclass(frozen=True)
class _Preceding:
    """The capture before, where the matter began."""

    item: EvidenceItem
    footage: Piece


@contextmanager
def _preceding(
    wiring: Wiring, capture: Capture, lead: Lead, keys: Sequence[ModelKey]
) -> Iterator[_Preceding | None]:
    """The capture before as a local file, if the lead's onset lies in it."""
    observation = observations_of(wiring, capture, keys)[0] if lead.onset_s < 0 else None
    if observation is None or observation.carried_from is None:
        yield None
        return
    with wiring.database.transaction() as connection:
        before = captures.load_capture(connection, observation.carried_from)
    with wiring.footage_of(before) as path:
        item = EvidenceItem(
            item_id="preceding",
            kind=EvidenceKind.PRECEDING,
            object=before.object,
            made_by=f"sightline.pull@{VERSION}",
        )
        starts_s = -(probe(path).duration_s + observation.gap_s)
        yield _Preceding(item, Piece(path, starts_s))


def _clip(wiring: Wiring, lead: Lead, footage: Path, preceding: _Preceding | None) -> EvidenceItem:
    end_s = max(lead.alarm_at_s, lead.end_s or lead.alarm_at_s) + _LEAD_OUT_S
    earliest_s = 0.0 if preceding is None else preceding.footage.starts_s
    start_s = max(earliest_s, lead.onset_s - _LEAD_IN_S)
    end_s = min(end_s, max(probe(footage).duration_s, lead.alarm_at_s))
    target = footage.with_name(f"{lead.lead_id}.mp4")
    before = [] if preceding is None else [preceding.footage]
    join_clip([*before, Piece(footage, 0.0)], target, start_s, end_s)
    stored = wiring.store.put_file(
        BucketRole.EVIDENCE, target, "video/mp4", prefix=evidence_prefix(lead)
    )
    target.unlink()
    return EvidenceItem(
        item_id="clip",
        kind=EvidenceKind.CLIP,
        object=stored,
        derived_from="original",
        made_by=f"sightline.cut_clip@{VERSION}",
        start_s=start_s,
        end_s=end_s,
    )


def _key_frames(
    wiring: Wiring, feed: Feed, lead: Lead, footage: Path, preceding: _Preceding | None
) -> Iterator[EvidenceItem]:
    """The picture at the onset and at the alarm, the latter plain and with box and zone."""
    zones = [zone for zone in feed.zones if zone.zone_id == lead.zone_id]
    boxed: list[tuple[Box, str]] = [(lead.box, lead.rule_id)]
    at_alarm = frame_at(footage, lead.alarm_at_s)
    onset_s, at_onset = _at_onset(lead, footage, preceding)
    pictures = [
        ("onset", onset_s, at_onset, "plain"),
        ("alarm", lead.alarm_at_s, at_alarm, "plain"),
        ("alarm-marked", lead.alarm_at_s, draw_boxes(draw_zones(at_alarm, zones), boxed), "marked"),
    ]
    for item_id, moment_s, picture, drawn in pictures:
        yield EvidenceItem(
            item_id=item_id,
            kind=EvidenceKind.KEY_FRAME,
            object=put_evidence(wiring, lead, encode_jpeg(picture), "image/jpeg"),
            derived_from="original" if moment_s >= 0 else "preceding",
            made_by=f"sightline.key_frame@{VERSION}",
            parameters={"drawn": drawn},
            start_s=moment_s,
            end_s=moment_s,
        )


def _at_onset(lead: Lead, footage: Path, preceding: _Preceding | None) -> tuple[float, Image]:
    """The picture at the onset, or the earliest that there is."""
    if lead.onset_s >= 0 or preceding is None:
        return max(0.0, lead.onset_s), frame_at(footage, max(0.0, lead.onset_s))
    before = preceding.footage
    onset_s = max(lead.onset_s, before.starts_s)
    return onset_s, frame_at(before.path, onset_s - before.starts_s)


def _observations(
    wiring: Wiring, capture: Capture, keys: Sequence[ModelKey]
) -> Iterator[EvidenceItem]:
    with wiring.database.transaction() as connection:
        stored = captures.observation_objects(connection, capture.capture_id)
    for key in keys:
        model, model_digest, _ = key
        yield EvidenceItem(
            item_id=f"observation-{model}",
            kind=EvidenceKind.OBSERVATION,
            object=stored[key],
            derived_from="original",
            made_by=f"{model}@{model_digest[:12]}",
        )


def _telemetry(wiring: Wiring, feed: Feed, capture: Capture) -> Iterator[EvidenceItem]:
    """The positions of a drone's footage, where they lie in a file of their own."""
    beside = None if feed.view_is_fixed else telemetry_of(wiring, capture)
    if beside is not None:
        yield EvidenceItem(
            item_id="telemetry",
            kind=EvidenceKind.TELEMETRY,
            object=beside.object,
            made_by=f"sightline.pull@{VERSION}",
        )


def manifest_of(
    wiring: Wiring,
    lead: Lead,
    original: Capture,
    device_id: str | None,
    items: tuple[EvidenceItem, ...],
    models: Iterable[ModelKey] = (),
    notes: tuple[str, ...] = (),
) -> Manifest:
    """What belongs to a lead's package, and what it rests on."""
    return Manifest(
        lead_id=lead.lead_id,
        created_at=wiring.clock(),
        items=items,
        provenance=Provenance(
            capture_id=original.capture_id,
            feed_id=original.feed_id,
            site_id=lead.site_id,
            device_id=device_id,
            source_name=original.source_name,
            captured_at=original.captured_at,
            received_at=original.received_at,
            clock_offset_s=original.clock_offset_s,
        ),
        rule_id=lead.rule_id,
        rule_version=lead.rule_version,
        rule_digest=lead.rule_digest,
        models=tuple(
            ModelUsed(name=name, digest=digest, config_digest=config)
            for name, digest, config in models
        ),
        alarm_at=lead.alarm_at,
        finding_box=lead.box,
        reasons=lead.reasons,
        notes=notes,
        software_version=VERSION,
    )


def device_status(wiring: Wiring, feed: Feed, capture: Capture) -> DeviceStatus:
    if feed.device_id is None:
        return "unregistered"
    covered = wiring.catalog.device(feed.device_id).is_valid_at(capture.began_at)
    return "valid" if covered else "invalid"


def evidence_prefix(lead: Lead) -> str:
    """Under which keys a lead's evidence lies in the store."""
    return f"{lead.feed_id}/{lead.alarm_at:%Y/%m/%d}/{lead.lead_id}"


def put_evidence(wiring: Wiring, lead: Lead, data: bytes, media_type: str) -> StoredObject:
    """Lock a piece of a lead's evidence in the store."""
    return wiring.store.put_bytes(
        BucketRole.EVIDENCE, data, media_type, prefix=evidence_prefix(lead)
    )
