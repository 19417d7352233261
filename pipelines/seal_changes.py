"""Seal a lead of a change on the ground: footage and telemetry of both flights, the place before
and after, a clip, and what the comparison said."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from detectors.change import MODEL
from detectors.change_votes import ChangeConfig
from detectors.detector import digest_of
from enforcement.cases import Lead
from enforcement.changes import Change, ChangeFinding
from enforcement.evidence import EvidenceItem, EvidenceKind
from enforcement.model import Record, Sha256, Utc
from media.drawing import draw_boxes, encode_jpeg
from media.footage import Image, cut_clip, probe
from pipelines import VERSION
from pipelines.flown import Sighting
from pipelines.missions import telemetry_of
from pipelines.seal import (
    device_status,
    evidence_prefix,
    manifest_of,
    put_evidence,
    put_in_queue,
)
from pipelines.wiring import Wiring
from storage.canonical import canonical_bytes
from storage.evidence_store import BucketRole
from storage.records.incidents import case_of

_LEAD_IN_S = _LEAD_OUT_S = 6.0
"""Seconds of the later flight before and after it shows the thing best."""


@dataclass(frozen=True)
class Seen:
    """What a lead of a change rests on, while its footage is at hand."""

    before: Sighting
    after: Sighting
    change: Change
    finding: ChangeFinding
    pictures: tuple[Image, Image]
    """The same square of ground before and after, ``(N, N, 3)`` uint8 BGR, north up."""
    model_digest: Sha256
    config: ChangeConfig


class ComparisonDocument(Record):
    """What the comparison of two flights said of one thing."""

    before_sha256: Sha256
    after_sha256: Sha256
    before_captured_at: Utc
    after_captured_at: Utc
    change: Change
    finding: ChangeFinding


def seal_change(wiring: Wiring, lead: Lead, seen: Seen) -> bool:
    """Make the evidence package of a lead and put it into the queue; tells whether it was not
    there yet."""
    with wiring.database.transaction() as connection:
        if case_of(connection, lead.lead_id) is not None:
            return False
    items = (*_originals(wiring, seen), *_made(wiring, lead, seen))
    feed = wiring.catalog.feed(lead.feed_id)
    models = [(MODEL, seen.model_digest, digest_of(seen.config.model_dump(mode="json")))]
    manifest = manifest_of(wiring, lead, seen.after.capture, feed.device_id, items, models)
    put_in_queue(wiring, lead, manifest, device_status(wiring, feed, seen.after.capture))
    return True


def _originals(wiring: Wiring, seen: Seen) -> Iterator[EvidenceItem]:
    before, after = seen.before.capture, seen.after.capture
    files = (
        ("original", EvidenceKind.ORIGINAL, after),
        ("before", EvidenceKind.FURTHER_ORIGINAL, before),
        ("telemetry", EvidenceKind.TELEMETRY, telemetry_of(wiring, after)),
        ("telemetry-before", EvidenceKind.TELEMETRY, telemetry_of(wiring, before)),
    )
    for item_id, kind, capture in files:
        if capture is not None:
            yield EvidenceItem(
                item_id=item_id, kind=kind, object=capture.object,
                made_by=f"sightline.pull@{VERSION}",
            )  # fmt: skip


def _made(wiring: Wiring, lead: Lead, seen: Seen) -> Iterator[EvidenceItem]:
    before, after = seen.before, seen.after
    document = ComparisonDocument(
        before_sha256=before.capture.object.sha256,
        after_sha256=after.capture.object.sha256,
        before_captured_at=before.capture.began_at,
        after_captured_at=after.capture.began_at,
        # In the seconds of these two files, whatever else of their flights was compared.
        change=seen.change.model_copy(update={"before_t_s": before.t_s, "after_t_s": after.t_s}),
        finding=seen.finding,
    )
    yield EvidenceItem(
        item_id="comparison",
        kind=EvidenceKind.COMPARISON,
        object=put_evidence(wiring, lead, canonical_bytes(document), "application/json"),
        derived_from="original",
        made_by=f"{MODEL}@{seen.model_digest[:12]}",
    )
    frame = after.picture()
    marked = draw_boxes(frame, [(lead.box, lead.rule_id)])
    pictures = (
        ("ground-before", "before", seen.pictures[0], "from_above"),
        ("ground-after", "original", seen.pictures[1], "from_above"),
        ("alarm", "original", frame, "plain"),
        ("alarm-marked", "original", marked, "marked"),
    )
    for item_id, origin, picture, drawn in pictures:
        taken_at = (after if origin == "original" else before).moment
        yield EvidenceItem(
            item_id=item_id,
            kind=EvidenceKind.KEY_FRAME,
            object=put_evidence(wiring, lead, encode_jpeg(picture), "image/jpeg"),
            derived_from=origin,
            made_by=f"sightline.key_frame@{VERSION}",
            parameters={"drawn": drawn, "taken_at": taken_at.isoformat()},
            # Seconds of the manifest are those of its original; the earlier flight has its own.
            start_s=lead.alarm_at_s if origin == "original" else None,
            end_s=lead.alarm_at_s if origin == "original" else None,
        )
    if not after.capture.object.is_still:
        yield _clip(wiring, lead, after.path)


def _clip(wiring: Wiring, lead: Lead, footage: Path) -> EvidenceItem:
    start_s = max(0.0, lead.alarm_at_s - _LEAD_IN_S)
    end_s = min(probe(footage).duration_s, lead.alarm_at_s + _LEAD_OUT_S)
    with wiring.work_folder() as folder:
        target = folder / "clip.mp4"
        cut_clip(footage, target, start_s, end_s)
        stored = wiring.store.put_file(
            BucketRole.EVIDENCE, target, "video/mp4", prefix=evidence_prefix(lead)
        )
    return EvidenceItem(
        item_id="clip",
        kind=EvidenceKind.CLIP,
        object=stored,
        derived_from="original",
        made_by=f"sightline.cut_clip@{VERSION}",
        start_s=start_s,
        end_s=end_s,
    )
