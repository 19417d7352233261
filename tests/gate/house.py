"""A whole Sightline without cameras: database roles, a real store, people, a sealed lead."""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from enforcement.cases import Attestations, Case, CaseState, Lead
from enforcement.cases import ConfirmVerdict as Answer
from enforcement.evidence import (
    CaseFacts,
    EvidenceItem,
    EvidenceKind,
    Manifest,
    ModelUsed,
    Place,
    Provenance,
)
from enforcement.footage import Capture, StoredObject
from enforcement.geometry import Box
from enforcement.lifecycle import TriageReason, TriageVerdict
from enforcement.people import Account, Role
from pipelines.wiring import Wiring
from review.desk import Desk, RejectReason, Verdict
from settings.catalog import Catalog
from storage.canonical import canonical_bytes
from storage.evidence_store import BucketRole, EvidenceStore
from storage.records import captures, casebook, outbox, schema
from storage.records.database import Database
from storage.verified_cache import VerifiedCache

ALL_FOUR = Attestations(true=True, clear=True, complete=True, accurate=True)
RULE = "object-left-behind"


def person(name: str, role: Role, person_id: str | None = None, **changes: object) -> Account:
    """An account; an officer's certificate runs from 2025 to 2035 unless changed."""
    officer = role is Role.OFFICER
    fields: dict[str, object] = {
        "account_id": f"account-{name}",
        "username": name,
        "person_id": person_id or f"person-{name}",
        "display_name": name.title(),
        "role": role,
        "certificate_no": f"C-{name}" if officer else None,
        "certificate_valid_from": datetime(2025, 1, 1, tzinfo=UTC) if officer else None,
        "certificate_valid_until": datetime(2035, 1, 1, tzinfo=UTC) if officer else None,
    }
    return Account.model_validate(fields | changes)


@dataclass
class House:
    owner: Database
    pipeline: Database
    review: Database
    store: EvidenceStore
    wiring: Wiring
    folder: Path
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    people: dict[str, Account] = field(default_factory=dict)

    def clock(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    @property
    def desk(self) -> Desk:
        cache = VerifiedCache(self.store, self.folder / "cache", 10**7)
        settings = self.wiring.settings
        return Desk(self.review, self.store, cache, Catalog, settings, self.clock)

    def add(self, account: Account) -> Account:
        # Nobody signs in here: a hash that fits no password saves seconds of hashing.
        row = account.model_dump() | {"username_key": account.username, "password_hash": "!"}
        with self.owner.transaction() as connection:
            connection.execute(schema.accounts.insert().values(row))
        self.people[account.username] = account
        return account

    def staff(self) -> None:
        """An analyst, three officers, a supervisor."""
        self.add(person("ana", Role.ANALYST))
        for name in ("olga", "otto", "oskar"):
            self.add(person(name, Role.OFFICER))
        self.add(person("sue", Role.SUPERVISOR))

    def sealed_lead(self, required: int = 2, seeded: bool = False, swapped: bool = False) -> str:
        """A lead with a package in the store, open for triage.

        ``swapped``: the clip in the store is not the one that its manifest names.
        """
        capture = self._capture()
        lead = Lead(
            lead_id=str(uuid.uuid4()),
            rule_id=RULE,
            rule_version=1,
            rule_digest="0" * 64,
            feed_id="yard",
            site_id="depot",
            zone_id="gate",
            capture_id=capture.capture_id,
            alarm_at=self.now,
            alarm_at_s=3.0,
            onset_s=2.0,
            end_s=None,
            score=0.9,
            box=Box(0.1, 0.1, 0.2, 0.2),
            reasons=("it stayed",),
            seeded=seeded,
            raised_at=self.now,
        )
        manifest = self._manifest(capture, lead)
        if swapped:
            manifest = _with_other_clip(manifest)
        facts = CaseFacts(
            lead_id=lead.lead_id,
            revision=1,
            manifest=self._put(canonical_bytes(manifest), "application/json"),
            rule_id=RULE,
            rule_version=1,
            matter="illegal_dumping",
            place=Place(site_id="depot"),
            device_status="valid",
            confirmations_required=required,
            seeded=seeded,
        )
        with self.pipeline.transaction() as connection:
            captures.file_capture(connection, capture)
            casebook.raise_lead(connection, lead)
            casebook.open_case(connection, facts, self.now)
        return lead.lead_id

    def candidate(self, required: int = 2, seeded: bool = False) -> str:
        """A lead that the analyst accepted."""
        lead_id = self.sealed_lead(required, seeded)
        self.accept(lead_id)
        return lead_id

    def confirmed(self, swapped: bool = False) -> str:
        """A case that two officers confirmed."""
        lead_id = self.sealed_lead(swapped=swapped)
        self.accept(lead_id)
        self.say(lead_id, "olga")
        self.say(lead_id, "otto")
        return lead_id

    def accept(self, lead_id: str, by: str = "ana") -> Case:
        analyst = self.people[by]
        claimed = self.desk.claim(analyst, lead_id, self.case(lead_id).version)
        return self.desk.triage(
            analyst, lead_id, claimed.version, TriageVerdict.VIOLATION,
            TriageReason.AS_DESCRIBED, "",
        )  # fmt: skip

    def say(
        self, lead_id: str, who: str, answer: Answer = Answer.CONFIRM, digest: str | None = None
    ) -> Case:
        """An officer's verdict on the evidence as it is, or as ``digest`` names it."""
        reason = RejectReason.NO_VIOLATION if answer is Answer.REJECT else None
        shown = digest or self.case(lead_id).evidence_digest
        verdict = Verdict(shown, answer, reason, "", ALL_FOUR)
        return self.desk.judge(self.people[who], lead_id, verdict)

    def case(self, lead_id: str) -> Case:
        with self.owner.transaction() as connection:
            return casebook.load_case(connection, lead_id)

    def state(self, lead_id: str) -> CaseState:
        return self.case(lead_id).state

    def outbox_size(self) -> int:
        with self.owner.transaction() as connection:
            return outbox.count(connection)

    def denials(self, lead_id: str) -> list[str]:
        with self.owner.transaction() as connection:
            rows = casebook.denials(connection)
        return [row["reason"] for row in rows if row["lead_id"] == lead_id]

    def _capture(self) -> Capture:
        return Capture(
            capture_id=str(uuid.uuid4()),
            feed_id="yard",
            object=self._put(uuid.uuid4().bytes * 8, "video/mp4", BucketRole.CAPTURES),
            captured_at=self.now,
            received_at=self.now,
            clock_offset_s=0.0,
            source_name="yard.mp4",
        )

    def _manifest(self, capture: Capture, lead: Lead) -> Manifest:
        def derived(item_id: str, kind: EvidenceKind, media_type: str) -> EvidenceItem:
            return EvidenceItem(
                item_id=item_id,
                kind=kind,
                object=self._put(uuid.uuid4().bytes, media_type),
                derived_from="original",
                made_by="test@1",
            )

        return Manifest(
            lead_id=lead.lead_id,
            created_at=self.now,
            items=(
                EvidenceItem(
                    item_id="original",
                    kind=EvidenceKind.ORIGINAL,
                    object=capture.object,
                    made_by="test@1",
                ),
                derived("clip", EvidenceKind.CLIP, "video/mp4"),
                derived("alarm", EvidenceKind.KEY_FRAME, "image/jpeg"),
            ),
            provenance=Provenance(
                capture_id=capture.capture_id,
                feed_id="yard",
                site_id="depot",
                source_name="yard.mp4",
                captured_at=self.now,
                received_at=self.now,
                clock_offset_s=0.0,
            ),
            rule_id=RULE,
            rule_version=1,
            rule_digest="0" * 64,
            models=(ModelUsed(name="left-behind", digest="0" * 64, config_digest="0" * 64),),
            alarm_at=self.now,
            finding_box=lead.box,
            reasons=lead.reasons,
            software_version="test",
        )

    def _put(
        self, data: bytes, media_type: str, role: BucketRole = BucketRole.EVIDENCE
    ) -> StoredObject:
        return self.store.put_bytes(role, data, media_type, prefix="gate-tests")


def _with_other_clip(manifest: Manifest) -> Manifest:
    original, clip, *frames = manifest.items
    other = clip.object.model_copy(update={"sha256": "0" * 64})
    items = (original, clip.model_copy(update={"object": other}), *frames)
    return manifest.model_copy(update={"items": items})
